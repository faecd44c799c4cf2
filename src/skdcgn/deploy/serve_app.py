"""The application behind ``skdcgn serve``: its addresses, what they take and what they answer."""

import asyncio
import hmac
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

from fastapi import FastAPI, Header, HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse

import skdcgn
from skdcgn.base.errors import UserError, as_line
from skdcgn.base.templates import templates
from skdcgn.cgn.drawer import draw
from skdcgn.cgn.mechanism import Teacher
from skdcgn.cgn.wire import (
    ANSWERS,
    KEY_HEADER,
    MIMES,
    QUESTIONS,
    Body,
    Question,
    Service,
    answer_to_bytes,
    body_of,
    most_question,
    parse_question,
    service_of,
)
from skdcgn.deploy.serve_book import Book
from skdcgn.deploy.serve_faults import FAULT, distorted

IN_FLIGHT = 2  # one is computed while the next is received
SECONDS = 60.0  # for the body of a request
MOST_KEY = 256  # characters
BINARY = {"schema": {"type": "string", "format": "binary"}}
JSON_QUESTION = {
    "schema": {
        "type": "object",
        "required": ["noise", "labels"],
        "properties": {
            "mechanism": {"type": "string", "enum": ["shape", "texture", "background"]},
            "noise": {"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
            "labels": {"type": "array", "items": {"type": "integer"}},
        },
    }
}
QUERY_BODY = {
    "required": True,
    "content": {body.mime: JSON_QUESTION if body is Body.JSON else BINARY for body in QUESTIONS},
}
BODIES = {  # what the page says of each content type
    Body.SAFETENSORS.mime: {
        "question": "tensors noise float32 (B, Z), labels int64 (B,); metadata mechanism",
        "answer": "tensor images float32 (B, C, H, W): a mask in [0, 1], a picture in [-1, 1]",
    },
    Body.NPZ.mime: {"question": "arrays noise, labels, mechanism", "answer": "array images, as above"},
    Body.JSON.mime: {"question": '{"mechanism": "shape", "noise": [[...], ...], "labels": [...]}'},
    Body.PNG.mime: {"answer": "B pictures of 8 bits, one below another"},
}
QUERY_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "images (B, C, H, W), by `Accept`", "content": {body.mime: BINARY for body in ANSWERS}},
    401: {"description": "the token is missing or wrong"},
    406: {"description": "no such form of an answer"},
    408: {"description": "the body did not come in time"},
    413: {"description": "more pairs than `batch`, or a longer body"},
    415: {"description": "no such form of a question"},
    422: {"description": "noise, labels or mechanism are not as /spec says, or the key came with another question"},
    500: {"description": "the CGN failed"},
}


def create_app(teacher: Teacher, book: Book, *, batch: int, token: str | None = None) -> FastAPI:
    """Return a CGN as an ASGI application.

    Args:
        teacher: any CGN; it is asked by one thread.
        book: counts what is answered.
        batch: most pairs in one query.
        token: that requests must have as ``Authorization: Bearer``; None: any request is answered.
    """
    app = FastAPI(
        title="A CGN over HTTP",
        version=skdcgn.__version__,
        description="Draws shape masks, textures and backgrounds from noise and labels.",
        docs_url=None,
        redoc_url=None,
    )
    service = service_of(
        teacher.spec, digest=teacher.digest, size=teacher.size, batch=batch, in_flight=IN_FLIGHT, idempotent=True
    )
    _add_pages(app, service, token)
    _add_query(app, _SerialCGN(teacher), service, book, token)
    return app


def _add_pages(app: FastAPI, service: Service, token: str | None) -> None:
    page = templates().get_template("service.html")

    @app.get("/health", summary="Whether the service runs")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/spec", summary="How to ask: the Spec of the CGN, and the limits of the service")
    async def spec(request: Request) -> JSONResponse:
        _authorise(request, token)
        return JSONResponse(stated(service))

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        address = str(request.base_url).rstrip("/")
        return HTMLResponse(page.render(schema=app.openapi(), address=address, spec=stated(service), bodies=BODIES))

    @app.get("/", include_in_schema=False)
    async def root() -> RedirectResponse:
        return RedirectResponse("docs")


def stated(service: Service) -> dict[str, Any]:
    """Return what ``GET /spec`` answers."""
    return {**service.spec.to_dict(), **{name: getattr(service, name) for name in STATED}, "formats": list(Body)}


STATED = ("digest", "size", "batch", "in_flight", "idempotent", "paid")


class _SerialCGN:
    """A CGN that one thread asks."""

    def __init__(self, teacher: Teacher) -> None:
        self._teacher, self._worker = teacher, ThreadPoolExecutor(1, "skdcgn-serve")

    async def draw(self, question: Question, answer: Body, fault: Any) -> bytes:
        """Return the body of an answer."""

        def compute() -> bytes:
            images = draw(self._teacher, question.mechanism, question.noise, question.labels)
            return answer_to_bytes(distorted(images, fault), answer)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._worker, compute)
        except UserError as error:
            raise HTTPException(500, as_line(str(error))) from None


def _add_query(app: FastAPI, cgn: _SerialCGN, service: Service, book: Book, token: str | None) -> None:

    @app.get("/stats", summary="What was asked and answered since the start")
    async def stats(request: Request) -> dict[str, int]:
        """requests: queries that came; answers: pairs that were answered as paid; repeated: those of them that had been
        answered before."""
        _authorise(request, token)
        return {"requests": book.requests, "answers": book.answers, "repeated": book.repeated}

    @app.post(
        "/query",
        summary="Draw one image for each row of noise and labels",
        response_class=Response,
        responses=QUERY_ANSWERS,
        openapi_extra={"requestBody": QUERY_BODY},
    )
    async def query(
        request: Request,
        mechanism: Annotated[str | None, Query(description="shape, texture or background; else in the body")] = None,
        key: Annotated[
            str | None, Header(alias=KEY_HEADER, description="a query that is repeated with its key is paid once")
        ] = None,
    ) -> Response:
        _authorise(request, token)
        answer = _answer_body(request.headers.get("accept", ""))
        question = await _question(request, service, mechanism)
        key = _checked_key(book, question, key)
        images = await cgn.draw(question, answer, request.scope.get(FAULT))
        book.pay(question, key)
        return Response(images, media_type=MIMES[answer])


def _authorise(request: Request, token: str | None) -> None:
    if token is None:
        return
    sent = request.headers.get("authorization", "")
    if not hmac.compare_digest(sent.encode(), f"Bearer {token}".encode()):
        raise HTTPException(401, "set SKDCGN_TOKEN to this service's token", {"WWW-Authenticate": "Bearer"})


def _answer_body(accept: str) -> Body:
    """Return the first form that a client accepts."""
    words = [word.partition(";")[0].strip().lower() for word in accept.split(",")]
    bodies = [Body.SAFETENSORS if word in ("", "*/*", "application/*") else body_of(word) for word in words]
    for body in bodies:
        if body in ANSWERS:
            return body
    raise HTTPException(406, f"answers are {', '.join(MIMES[body] for body in ANSWERS)}")


async def _question(request: Request, service: Service, mechanism: str | None) -> Question:
    """Return the question of a request, whose size and time are bounded before it is read."""
    form = body_of(request.headers.get("content-type", ""))
    if form not in QUESTIONS:
        raise HTTPException(415, f"send a question as {', '.join(MIMES[body] for body in QUESTIONS)}")
    data = await _body(request, most_question(service))
    try:
        question = await asyncio.to_thread(parse_question, data, form, service, mechanism)
    except UserError as error:
        raise HTTPException(422, as_line(str(error))) from None
    if not 1 <= len(question.labels) <= service.rows:
        raise HTTPException(413, f"{len(question.labels)} pairs in one query: send 1 to {service.rows}")
    return question


async def _body(request: Request, most: int) -> bytes:
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or len(length) > 18 or int(length) > most:
        raise HTTPException(413, f"the body is too long: at most {most} bytes are read")
    data = bytearray()
    try:
        async with asyncio.timeout(SECONDS):
            async for part in request.stream():
                data += part
                if len(data) > most:
                    raise HTTPException(413, f"the body is too long: at most {most} bytes are read")
    except TimeoutError:
        raise HTTPException(408, f"the body did not come within {SECONDS:.0f} s") from None
    return bytes(data)


def _checked_key(book: Book, question: Question, key: str | None) -> str | None:
    if key is not None and len(key) > MOST_KEY:
        raise HTTPException(422, f"{KEY_HEADER} has more than {MOST_KEY} characters")
    try:
        book.check(question, key)
    except UserError as error:
        raise HTTPException(422, str(error)) from None
    return key
