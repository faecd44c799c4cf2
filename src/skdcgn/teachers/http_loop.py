"""One request to a service, bounded in time and in bytes.

A request has a deadline for all of it: names, connection, headers and body. So a body that comes a byte at a time ends
as one that does not come. Requests run in one event loop, in a thread of its own, where a deadline can stop
any of them; callers in many threads wait for theirs. Connections are kept alive.

The client is httpx2, which huggingface_hub brings: the maintained continuation of httpx, whose last release is of 2024.
It verifies TLS and takes proxies from the environment. requests has no deadline for the whole of a request.
"""

import asyncio
import os
import ssl
import threading
from collections.abc import Mapping
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from typing import NamedTuple

import httpx2

from skdcgn.base.errors import RefusedError, shortened
from skdcgn.teachers.http_address import is_loopback

MOST_REASON = 4096  # bytes that are read of an answer that is an error
KEPT_ALIVE = 2.0  # seconds; services drop an idle connection after five or more
OK = 200


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
        retry_after: the longest pause that a service may ask for by ``Retry-After``.
    """

    connect: float = 10.0
    read: float = 300.0
    total: float = 900.0
    tries: int = 10
    first: float = 0.1
    longest: float = 20.0
    retry_after: float = 120.0


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


class Live:
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
