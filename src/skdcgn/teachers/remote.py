"""A CGN behind HTTP as a teacher, by the protocol of :mod:`skdcgn.cgn.wire`."""

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait

import numpy as np
import torch
from torch import Tensor

from skdcgn.base.door import MOST_JSON
from skdcgn.base.errors import LostAnswerError, RefusedError, UserError, shortened
from skdcgn.cgn.black_box import Access
from skdcgn.cgn.mechanism import Mechanism, Spec, check_answer, check_query
from skdcgn.cgn.stated_spec import OPTION, StatedSpec, stated_spec
from skdcgn.cgn.wire import (
    ANSWERS,
    KEY_HEADER,
    QUESTIONS,
    Body,
    Question,
    Service,
    answer_shape,
    as_question,
    body_of,
    most_answer,
    parse_answer,
    parse_service,
    question_to_bytes,
    service_of,
)
from skdcgn.data.decoding import decode_picture
from skdcgn.pairs.stores import from_levels
from skdcgn.teachers.http_address import check_address, token_for
from skdcgn.teachers.http_client import HttpClient
from skdcgn.teachers.http_loop import OK, Patience, Reply, Request

NOT_FOUND, UNSUPPORTED = 404, 415
NEEDED = ("image_size", "noise_dim", "classes")
TRIES_AT_FIRST = 3  # times that a service is asked for its Spec
USUAL = Patience()


class HttpTeacher:
    """A service that draws images; a black box. It is pickled as its address, and asked anew for its Spec.

    Args:
        url: address of the service, without a password; the token is that of ``SKDCGN_TOKEN``.
        spec: of a service that has no ``/spec``: a Spec, or its stated fields.
        patience: how long to wait, and how often to ask.

    Raises:
        UserError: the address is wrong, the service does not answer, states no Spec or another one than ``spec``.
    """

    def __init__(self, url: str, spec: Spec | StatedSpec | None = None, patience: Patience = USUAL) -> None:
        self.url, self._stated, self._patience = check_address(url), stated_spec(spec), patience
        self._client = HttpClient(self.url, token_for(self.url), patience)
        self.service = self._open(self._stated)

    def __reduce__(self) -> tuple[type["HttpTeacher"], tuple[str, StatedSpec, Patience]]:
        return HttpTeacher, (self.url, self._stated, self._patience)

    def close(self) -> None:
        """Close the connections; requests that are under way are lost."""
        self._client.close()

    @property
    def spec(self) -> Spec:
        return self.service.spec

    @property
    def digest(self) -> str:
        """What the service states; else the digest of its address and Spec."""
        if self.service.digest is not None:
            return self.service.digest
        words = json.dumps([self.url, self.spec.to_dict()], sort_keys=True)
        return f"http:{hashlib.sha256(words.encode()).hexdigest()}"

    @property
    def size(self) -> int | None:
        return self.service.size

    @property
    def access(self) -> Access:
        service = self.service
        return Access(service.rows, service.in_flight, paid=service.paid, idempotent=service.idempotent)

    def query(self, mechanism: str, noise: Tensor, labels: Tensor) -> Tensor:
        """Ask the service in queries of at most ``access.batch`` rows, ``access.in_flight`` at a time.

        Args:
            mechanism: shape, texture or background.
            noise: (B, Z).
            labels: (B,) int64.

        Returns:
            Images (B, C, H, W) in the order of the rows.

        Raises:
            LostAnswerError: some rows may have been answered, and their images are lost.
            RefusedError: surely no row was answered.
        """
        check_query(self.spec, noise, labels)
        whole = as_question(mechanism, noise, labels)
        if not len(labels):
            return noise.new_empty(answer_shape(self.spec, whole.mechanism, 0))
        rows = self.service.rows
        parts = [
            Question(whole.mechanism, *part)
            for part in zip(whole.noise.split(rows), whole.labels.split(rows), strict=True)
        ]
        answers = [self._ask(parts[0])] if len(parts) == 1 else self._ask_all(parts)
        return torch.cat(answers).to(noise.device)

    def _open(self, stated: StatedSpec) -> Service:
        """Ask for ``/spec``; where there is none, take the Spec that the caller states."""
        request = Request("GET", "/spec", MOST_JSON, statuses=(OK, NOT_FOUND), tries=TRIES_AT_FIRST)
        reply = self._client.ask(request, lambda reply: reply)
        if reply.status == OK:
            service = parse_service(_text(reply, self.url), f"{self.url}/spec")
            stated.check(service.spec, self.url)
            return service
        missing = [name for name in NEEDED if name not in stated.values]
        if missing:
            raise UserError(
                f"{self.url} has no /spec: check the address, or state {', '.join(missing)} by {OPTION} NAME=NUMBER,..."
            )
        return service_of(stated.over(Spec()))

    def _ask_all(self, parts: Sequence[Question]) -> list[Tensor]:
        """Ask several queries at a time; return their answers in order."""
        pool = ThreadPoolExecutor(min(self.service.in_flight, len(parts)))
        try:
            futures = [pool.submit(self._ask, part) for part in parts]
            wait(futures, return_when=FIRST_EXCEPTION)
        except BaseException:  # an interrupt: nobody waits for the answers that are under way
            self.close()
            raise
        finally:
            pool.shutdown(cancel_futures=True)
        return _all_of(futures, self.url)

    def _ask(self, question: Question) -> Tensor:
        """Ask one query, in the first form of a question that the service takes."""
        for form in (body for body in QUESTIONS if body in self.service.formats):
            images = self._client.ask(self._request(question, form), lambda reply: self._images(reply, question))
            if images is not None:
                return images
        raise RefusedError(f"{self.url} takes none of its own formats: mend the service (its /spec)")

    def _request(self, question: Question, form: Body) -> Request:
        return Request(
            "POST",
            f"/query?mechanism={question.mechanism}",
            most_answer(self.spec, question.mechanism, len(question.labels)),
            paid=self.service.paid,
            repeatable=self.service.idempotent or not self.service.paid,
            body=question_to_bytes(question, form),
            headers={"Content-Type": form.mime, "Accept": self._accepted, KEY_HEADER: f'"{question.key}"'},
            statuses=(OK, UNSUPPORTED),
        )

    @property
    def _accepted(self) -> str:
        """The content types of answers, the one that it prefers first."""
        return ", ".join(body.mime for body in ANSWERS if body in self.service.formats)

    def _images(self, reply: Reply, question: Question) -> Tensor | None:
        """Return the images of an answer; None if the service does not take this form of a question.

        Raises:
            UserError: it has others than were asked for.
        """
        if reply.status == UNSUPPORTED:
            return None
        kind, origin = reply.headers.get("content-type", ""), f"the answer of {self.url}"
        body = body_of(kind)
        if body not in ANSWERS:
            raise UserError(f"{origin} is of type {shortened(kind) or 'none'}, not {self._accepted} ({reply.reason})")
        return answer_images(reply.body, body, self.spec, question.mechanism, len(question.labels), origin)


def answer_images(data: bytes, body: Body, spec: Spec, mechanism: Mechanism, rows: int, origin: str) -> Tensor:
    """Return the images (B, C, H, W) of an answer to ``rows`` pairs; raise UserError if it has others."""
    if body is Body.PNG:
        return _from_png(data, spec, mechanism, rows, origin)
    images = parse_answer(data, body, origin, most_answer(spec, mechanism, rows))
    return check_answer(spec, mechanism, images, rows).float()


def open_http(url: str, spec: Spec | StatedSpec | None = None) -> HttpTeacher:
    """Return the service at an address as a teacher; see :class:`HttpTeacher`."""
    return HttpTeacher(url, spec)


def _from_png(data: bytes, spec: Spec, mechanism: Mechanism, rows: int, origin: str) -> Tensor:
    """Return the pictures of a PNG, one below another, as images (B, C, H, W): masks by their grey levels."""
    picture = decode_picture(data, origin, (spec.image_size, rows * spec.image_size))
    levels = torch.from_numpy(np.array(picture if mechanism.channels == 3 else picture.convert("L")))
    return from_levels(levels.reshape(rows, spec.image_size, spec.image_size, -1).permute(0, 3, 1, 2), mechanism)


def _text(reply: Reply, url: str) -> str:
    try:
        return reply.body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{url}/spec is not UTF-8 text: check the address") from None


def _all_of(futures: Sequence[Future[Tensor]], url: str) -> list[Tensor]:
    """Return the results of all; if one has none, raise its error, as lost if others were or may have been answered."""
    errors = [future.exception() for future in futures if future.done() and not future.cancelled()]
    failed = [error for error in errors if error is not None]
    if not failed:
        return [future.result() for future in futures]
    if len(failed) == len(errors) and all(isinstance(error, RefusedError) for error in failed):
        raise failed[0]
    answered = len(errors) - len(failed)
    raise LostAnswerError(f"{url}: {answered} of {len(futures)} queries were answered, and then: {failed[0]}")
