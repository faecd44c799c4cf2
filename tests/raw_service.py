"""A service of raw sockets, which answers each query as a list says: soundly, or as no service should."""

import json
import socket
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO

import numpy as np
import torch

from skdcgn.cgn.wire import Body, Service, answer_to_bytes, parse_question, service_of


@dataclass
class Raw:
    """A service: its address, what it states, the answers to come, and the heads of the queries that came."""

    address: str
    service: Service
    teacher: object
    stated: bytes | None = None
    answers: list = field(default_factory=list)
    heads: list[str] = field(default_factory=list)

    def keys(self):
        return [line for head in self.heads for line in head.splitlines() if line.lower().startswith("idempotency-key")]

    def images(self, head, body):
        mechanism = head.split("mechanism=")[1].split(" ")[0]
        form = next(form for form in Body if form.mime in head.lower().split("content-type: ")[1].splitlines()[0])
        question = parse_question(body, form, self.service, mechanism)
        return self.teacher.query(question.mechanism, question.noise, question.labels)


def response(body=b"", status="200 OK", kind=Body.SAFETENSORS.mime, length=None, **headers):
    """The bytes of an answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}"]
    lines += [] if length == "none" else [f"Content-Length: {len(body) if length is None else length}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + body


def sound(raw, head, body):
    return response(answer_to_bytes(raw.images(head, body), Body.SAFETENSORS))


def status(line, body=b'{"detail": "no"}', **headers):
    return lambda raw, head, asked: response(body, line, "application/json", **headers)


def changed(change, form=Body.SAFETENSORS, **how):
    """An answer whose images are changed."""
    return lambda raw, head, body: response(
        answer_to_bytes(change(raw.images(head, body)), form), kind=form.mime, **how
    )


@contextmanager
def raw_service(teacher, answers=(), stated=None, **more):
    """Serve for the block; the last answer is that of all later queries. ``stated``: the whole answer to GET /spec."""
    listener = socket.create_server(("127.0.0.1", 0))
    service = service_of(teacher.spec, **{"digest": "raw", "idempotent": True, **more})
    spec = {**teacher.spec.to_dict(), **{"digest": "raw", "idempotent": True, **more}}
    known = response(json.dumps(spec).encode(), kind="application/json") if stated is None else stated
    raw = Raw(f"http://127.0.0.1:{listener.getsockname()[1]}", service, teacher, known, [*answers, sound])

    def serve(connection):
        with connection, connection.makefile("rb") as file:
            head = b"".join(iter(file.readline, b"\r\n")).decode()
            if not head:
                return
            length = [line for line in head.lower().splitlines() if line.startswith("content-length:")]
            body = file.read(int(length[0].split(":")[1]) if length else 0)
            if head.startswith("GET"):
                connection.sendall(raw.stated)
                return
            raw.heads.append(head)
            answer = raw.answers.pop(0) if len(raw.answers) > 1 else raw.answers[0]
            parts = answer(raw, head, body)
            for part in [parts] if isinstance(parts, bytes) else parts:
                connection.sendall(part)

    def accept():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=quietly, args=(serve, connection), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield raw
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def quietly(serve, connection):
    with suppress(OSError):  # the client went away
        serve(connection)


def zip_bomb():
    buffer = BytesIO()
    np.savez_compressed(buffer, images=np.zeros(2**22, np.float32))
    return buffer.getvalue()


NAN = torch.tensor(float("nan"))
