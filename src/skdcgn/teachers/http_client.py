"""One request to a service, bounded in time and in bytes, and how often it is sent again.

A request has a deadline for all of it: names, connection, headers and body. So a body that comes a byte at a time ends
as one that does not come. Requests run in one event loop, in a thread of its own, where a deadline can stop
any of them; callers in many threads wait for theirs. Connections are kept alive.

The client is httpx2, which huggingface_hub brings: the maintained continuation of httpx, whose last release is of 2024.
It verifies TLS and takes proxies from the environment. requests has no deadline for the whole of a request.
"""

import asyncio
import os
import random
import ssl
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple, TypeVar

import httpx2

from skdcgn.base.errors import LostAnswerError, RefusedError, UserError, shortened
from skdcgn.base.progress import logger
from skdcgn.base.seeds import derive_seed
from skdcgn.teachers.http_address import TOKEN, is_loopback

T = TypeVar("T")
MOST_REASON = 4096  # bytes that are read of an answer that is an error
KEPT_ALIVE = 2.0  # seconds; services drop an idle connection after five or more
OK, UNAUTHORISED = 200, 401
RESENT = (408, 409, 425, 429)  # temporary; of those from 500 on, all but NOT_IMPLEMENTED
NOT_IMPLEMENTED = 501
UNSURE = (502, 504)  # a gateway's: the service behind it may have answered
MENDS = {
    401: f"set {TOKEN} to the service's token",
    403: f"check {TOKEN}",
    404: "check the address",
    413: "its /spec should state a smaller batch",
}


@dataclass(frozen=True)
class Patience:
    """How long to wait for a service, in seconds, and how often a request is sent.

    Args:
        connect: for a connection.
        read: for the next bytes of an answer.
        total: for the whole of an answer.
        tries: times that a request is sent, at most.
        first: the longest first pause between two; it doubles from one to the next.
        longest: the longest pause.
        asked: the longest pause that a service may ask for by ``Retry-After``.
    """

    connect: float = 10.0
    read: float = 300.0
    total: float = 900.0
    tries: int = 10
    first: float = 0.1
    longest: float = 20.0
    asked: float = 120.0


@dataclass(frozen=True)
class Request:
    """A request to a service.

    Args:
        method: GET or POST.
        path: behind the service's address.
        most: bytes that an answer may have.
        paid: whether an answer may cost something.
        repeatable: whether it may be sent again although it may have been answered.
        body: of the request.
        headers: of the request, by name.
        statuses: of answers that are read.
        tries: times that it is sent, at most; None: as the client's patience says.
    """

    method: str
    path: str
    most: int
    paid: bool = False
    repeatable: bool = True
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    statuses: tuple[int, ...] = (OK,)
    tries: int | None = None


class Reply(NamedTuple):
    """The answer to a request."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def reason(self) -> str:
        """What an error says, as a piece of one line."""
        return shortened(" ".join(self.body.decode(errors="replace").split())) or "without a reason"


class UnsentError(Exception):
    """A request was surely not answered."""


class BrokenError(Exception):
    """A request may have been answered, and no sound answer came."""


class HttpClient:
    """Sends requests to one service.

    Args:
        url: address of the service, as :func:`check_address` returns it.
        token: sent as ``Authorization: Bearer``; None: none is.
        patience: how long and how often.
    """

    def __init__(self, url: str, token: str | None, patience: Patience) -> None:
        self.url, self.token, self.patience = url, token, patience
        self._jitter = random.Random(derive_seed("http", url))
        self._lock, self._live = threading.Lock(), _Live(url, token, patience)
        weakref.finalize(self, self._live.stop)

    def close(self) -> None:
        """Close the connections; requests that are under way are lost."""
        self._live.stop()

    def ask(self, request: Request, read: Callable[[Reply], T]) -> T:
        """Send a request until ``read`` takes its answer, and return what it returns.

        Args:
            request: the request.
            read: raises UserError for an answer that is not sound.

        Raises:
            LostAnswerError: the request may have been answered, and no sound answer came.
            RefusedError: it was surely not answered.
        """
        lost, reason = False, ""
        for number in range(tries := request.tries or self.patience.tries):
            pause = 0.0
            try:
                reply = self._send(request)
                if reply.status in request.statuses:
                    return _sound(read, reply)
                reason, pause = self._refusal(reply, lost)
            except UnsentError as error:
                reason = str(error)
            except BrokenError as error:
                reason, lost = str(error), request.paid
                if lost and not request.repeatable:
                    break
            if number + 1 < tries:
                self._pause(number, pause, reason)
        raise _failure(f"{self.url}{request.path}: {reason}", lost)

    def _send(self, request: Request) -> Reply:
        with self._lock:
            if self._live.process != os.getpid():  # forked: the thread of the loop stayed behind
                self._live = _Live(self.url, self.token, self.patience)
                weakref.finalize(self, self._live.stop)
            live = self._live
        return live.run(self.url, request)

    def _refusal(self, reply: Reply, lost: bool) -> tuple[str, float]:
        """Return why a request was refused, and the pause that the service asks for, if it may be sent again."""
        reason = self._without_token(f"the service answers {reply.status} ({reply.reason})")
        if reply.status in UNSURE or 200 <= reply.status < 300:
            raise BrokenError(reason)
        if reply.status in RESENT or (reply.status >= 500 and reply.status != NOT_IMPLEMENTED):
            return reason, min(retry_after(reply.headers.get("retry-after", "")), self.patience.asked)
        if 300 <= reply.status < 400:
            place = self._without_token(shortened(reply.headers.get("location", "nowhere")))
            mend = f"it redirects to {place}; pass the address where the service is"
        else:
            mend = MENDS.get(reply.status, "see docs/guides/http.md")
        if reply.status == UNAUTHORISED and self.token:
            mend = f"check {TOKEN}, which it does not take"
        raise _failure(f"{self.url}: {reason}: {mend}", lost, "")

    def _without_token(self, text: str) -> str:
        return text.replace(self.token, "***") if self.token else text

    def _pause(self, number: int, asked: float, reason: str) -> None:
        """Wait before a request is sent again: up to first x 2^number seconds more than the service asks for."""
        most = min(self.patience.first * 2**number, self.patience.longest)
        seconds = asked + self._jitter.uniform(0, most)
        logger.log(20 if seconds >= 5 else 10, "%s: %s; asking again in %.1f s", self.url, reason, seconds)
        time.sleep(seconds)


def _sound(read: Callable[[Reply], T], reply: Reply) -> T:
    try:
        return read(reply)
    except UserError as error:
        raise BrokenError(str(error)) from None


def _failure(line: str, lost: bool, mend: str | None = None) -> UserError:
    if lost:
        return LostAnswerError(f"{line}{': the answer, which may have been paid, is lost' if mend is None else mend}")
    return RefusedError(f"{line}{': check the service and run again' if mend is None else mend}")


def retry_after(value: str) -> float:
    """Return the seconds that the header ``Retry-After`` asks to wait: of a number or a date; 0 if it is neither."""
    if value.isascii() and value.isdecimal():
        return float(value[:9])
    with suppress(ValueError, TypeError, OverflowError):
        date = parsedate_to_datetime(value)
        return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
    return 0.0


class _Live:
    """The event loop of a process, its thread and its connections."""

    def __init__(self, url: str, token: str | None, patience: Patience) -> None:
        self.process, self.patience, self._stopped = os.getpid(), patience, False
        self._loop = asyncio.new_event_loop()
        self._client = httpx2.AsyncClient(
            headers={"Accept-Encoding": "identity", "User-Agent": "skdcgn"}
            | ({"Authorization": f"Bearer {token}"} if token else {}),
            timeout=httpx2.Timeout(patience.read, connect=patience.connect, pool=None),
            limits=httpx2.Limits(max_connections=64, keepalive_expiry=KEPT_ALIVE),
            follow_redirects=False,
            trust_env=not is_loopback(url),  # no proxy sees what stays on this machine
        )
        self._thread = threading.Thread(target=_run_loop, args=(self._loop, self._client), daemon=True)
        self._thread.start()

    def run(self, url: str, request: Request) -> Reply:
        """Send one request; raise UnsentError or BrokenError if no answer comes."""
        if self._stopped:
            raise UnsentError("the client is closed")
        headers = dict(request.headers)
        built = self._client.build_request(request.method, url + request.path, content=request.body, headers=headers)
        answer = _bounded(self._client, built, request.most, self.patience.total)
        task = asyncio.run_coroutine_threadsafe(answer, self._loop)
        try:
            return task.result()
        except CancelledError:
            raise BrokenError("the client was closed") from None
        finally:
            task.cancel()  # an interrupt may have ended the wait

    def stop(self) -> None:
        """Let the loop close the connections and end."""
        if self.process == os.getpid() and not self._stopped:
            self._stopped = True
            self._loop.call_soon_threadsafe(self._loop.stop)
            if threading.current_thread() is not self._thread:
                self._thread.join(timeout=5)


def _run_loop(loop: asyncio.AbstractEventLoop, client: httpx2.AsyncClient) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.run_until_complete(client.aclose())
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


async def _bounded(client: httpx2.AsyncClient, request: httpx2.Request, most: int, total: float) -> Reply:
    try:
        async with asyncio.timeout(total):
            return await _receive(client, request, most)
    except TimeoutError:
        raise BrokenError(f"no whole answer within {total:g} s") from None
    except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError) as error:
        raise _unsent(error) from None
    except httpx2.TransportError as error:
        raise BrokenError(f"the connection broke ({_words(error)})") from None


async def _receive(client: httpx2.AsyncClient, request: httpx2.Request, most: int) -> Reply:
    response = await client.send(request, stream=True)
    try:
        if response.status_code != OK:
            return Reply(response.status_code, response.headers, await _first_bytes(response, MOST_REASON))
        if (encoding := response.headers.get("content-encoding", "identity")) != "identity":
            raise BrokenError(f"the answer is encoded ({shortened(encoding)})")
        stated = response.headers.get("content-length", "0")
        too_long = not stated.isdecimal() or len(stated) > 18 or int(stated) > most
        body = b"" if too_long else await _first_bytes(response, most + 1)
        if too_long or len(body) > most:
            raise BrokenError(f"the answer has more than {most:,} bytes")
        return Reply(response.status_code, response.headers, body)
    finally:
        await response.aclose()


async def _first_bytes(response: httpx2.Response, most: int) -> bytes:
    parts, size = [], 0
    async for part in response.aiter_raw():
        size += len(part)
        parts.append(part)
        if size >= most:
            break
    return b"".join(parts)[:most]


def _unsent(error: httpx2.TransportError) -> Exception:
    """Return the error of a request that did not leave; a certificate that is not trusted will not change."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return RefusedError(
                f"its certificate is not trusted ({shortened(cause.verify_message)}): name your authority's file by "
                "SSL_CERT_FILE"
            )
        cause = cause.__cause__ or cause.__context__
    return UnsentError(f"no connection ({_words(error)})")


def _words(error: Exception) -> str:
    return shortened(str(error)) or type(error).__name__
