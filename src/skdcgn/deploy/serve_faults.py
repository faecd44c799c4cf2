"""Faults of a service, for tests of clients: in the shares of a rate, in an order that the seed gives.

======  =====================================================================================
share   of POST /query
======  =====================================================================================
rate    429 with ``Retry-After``, 500 or 503; nothing is computed, nothing is paid
/ 5     the connection breaks: before anything is computed, or after it was, and is paid
/ 5     the answer comes a second late
/ 10    a wrong answer, which is paid: its body ends half-way, lacks a row of pixels, or holds NaN
======  =====================================================================================
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, MutableMapping
from enum import Enum, auto
from typing import Any

import torch
from torch import Tensor

from skdcgn.base.seeds import derive_seed
from skdcgn.deploy.serve_book import Book

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]
FAULT = "skdcgn.fault"  # in the scope of a request
LATE = 1.0  # seconds


class Fault(Enum):
    """What goes wrong with one request."""

    TOO_MANY = auto()
    ERROR = auto()
    UNAVAILABLE = auto()
    DROP_BEFORE = auto()
    DROP_AFTER = auto()
    LATE = auto()
    CUT = auto()
    SHAPE = auto()
    NAN = auto()


SHARES = {
    **dict.fromkeys((Fault.TOO_MANY, Fault.ERROR, Fault.UNAVAILABLE), 1 / 3),
    **dict.fromkeys((Fault.DROP_BEFORE, Fault.DROP_AFTER), 1 / 10),
    Fault.LATE: 1 / 5,
    **dict.fromkeys((Fault.CUT, Fault.SHAPE, Fault.NAN), 1 / 30),
}
MOST_RATE = 0.5  # all faults together have 1.5 times the rate
STATUSES = {Fault.TOO_MANY: 429, Fault.ERROR: 500, Fault.UNAVAILABLE: 503}


class Faults:
    """Draws the fault of one request after another.

    Args:
        rate: of errors, from 0 to 0.5; the others are in proportion.
        seed: of the order.
    """

    def __init__(self, rate: float, seed: int) -> None:
        self._rate, self._random = rate, random.Random(derive_seed("faults", seed))

    def draw(self) -> Fault | None:
        """Return the next request's fault, None for most."""
        place = self._random.random()
        for fault, share in SHARES.items():
            place -= self._rate * share
            if place < 0:
                return fault
        return None


def distorted(images: Tensor, fault: Fault | None) -> Tensor:
    """Return images (B, C, H, W) of another shape or with NaN, if that is the fault."""
    if fault is Fault.SHAPE:
        return images[:, :, 1:]
    if fault is Fault.NAN:
        images = images.clone()
        images[-1, 0, 0, 0] = torch.nan
    return images


class Faulty:
    """An ASGI application whose queries are counted and fail as ``faults`` says; others of its requests do not."""

    def __init__(self, app: Application, faults: Faults, book: Book) -> None:
        self._app, self._faults, self._book = app, faults, book

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] != "/query":
            await self._app(scope, receive, send)
            return
        self._book.requests += 1
        fault = self._faults.draw()
        if fault in STATUSES:
            await _refuse(STATUSES[fault], receive, send)
        elif fault is Fault.DROP_BEFORE:
            await _drain(receive)
            await _drop(send)
        elif fault is Fault.DROP_AFTER:
            await self._app(scope, receive, _nowhere)
            await _drop(send)
        else:
            await asyncio.sleep(LATE if fault is Fault.LATE else 0)
            cut = fault is Fault.CUT
            await self._app({**scope, FAULT: fault}, receive, _half(send) if cut else send)


async def _drain(receive: Receive) -> None:
    """Receive the whole of a request: a client that still sends would not see the answer."""
    while (await receive()).get("more_body", False):
        pass


async def _refuse(status: int, receive: Receive, send: Send) -> None:
    await _drain(receive)
    headers = [(b"content-type", b"application/json"), (b"retry-after", b"0")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b'{"detail": "this service fails at times, as --fail says"}'})


async def _drop(send: Send) -> None:
    """Begin an answer and end: the server closes the connection."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000")]})


async def _nowhere(message: Message) -> None:
    pass


def _half(send: Send) -> Send:
    """Return a ``send`` that sends half of the body and nothing after."""

    async def send_half(message: Message) -> None:
        if message["type"] == "http.response.body":
            body = message.get("body", b"")
            message = {**message, "body": body[: len(body) // 2], "more_body": True}
        await send(message)

    return send_half
