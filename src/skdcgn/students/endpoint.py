"""An endpoint of the Hugging Face Hub: one request, sent once and with a deadline, says whether there is one.

huggingface_hub itself repeats a request for half a minute, and waits for an endpoint without a limit.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, Queue
from threading import Thread
from time import monotonic
from typing import NamedTuple, TypeVar

import httpx2

from skdcgn.base.door import MOST_JSON
from skdcgn.base.errors import UserError, as_line, shortened

T = TypeVar("T")
SECONDS = 2.5  # until the first request must be answered
SECONDS_KEY = "HF_HUB_ETAG_TIMEOUT"  # huggingface_hub's own name for these seconds
NO_ANSWER = frozenset({408, 429, *range(500, 600)})  # statuses of an endpoint that does not work at the moment


class NoAnswerError(UserError):
    """The endpoint cannot be reached, or does not work at the moment."""


class Endpoint(NamedTuple):
    """A server with the Hub's interface, and the token that it gets, if any."""

    url: str
    token: str | None = None


def endpoint_at(url: str | None = None, token: str | None = None) -> Endpoint:
    """Return an endpoint and its token.

    Args:
        url: None: that of the environment variable ``HF_ENDPOINT``, else the Hub itself.
        token: None: that of ``HF_TOKEN`` or ``hf auth login``, if any.
    """
    from huggingface_hub import constants, get_token

    implicit = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
    return Endpoint((url or os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/"), token or implicit)


class Answer(NamedTuple):
    """What an endpoint answered: the status, the Hub's word for what is wrong, if any, and the text."""

    status: int
    fault: str | None
    text: str


def answer(place: Endpoint, path: str, subject: str, alternative: str) -> Answer:
    """Send GET ``path`` once, and wait for ``HF_HUB_ETAG_TIMEOUT`` or 2.5 seconds; return the answer.

    Raises:
        NoAnswerError: there is none, or the endpoint does not work at the moment; the line begins with ``subject``
            and ends with ``alternative``, beside what mends the network.
    """
    seconds = float(os.environ.get(SECONDS_KEY) or SECONDS)
    try:
        result = within(seconds, lambda: _ask(place, path, seconds))
    except (TimeoutError, httpx2.TimeoutException):
        late = f"{subject}, and {place.url} did not answer within {seconds:g} s"
        raise NoAnswerError(f"{late}: check the network, set {SECONDS_KEY}=30 for a slow one, {alternative}") from None
    except (OSError, ValueError, httpx2.HTTPError, httpx2.InvalidURL) as error:
        unreachable = f"{subject}, and {place.url} cannot be reached ({_reason(error)})"
        raise NoAnswerError(f"{unreachable}: check the network, {alternative}") from None
    if result.status in NO_ANSWER:
        unable = f"{subject}, and {place.url} does not work at the moment (it answered {result.status})"
        raise NoAnswerError(f"{unable}: try again later, {alternative}")
    return result


def _ask(place: Endpoint, path: str, seconds: float) -> Answer:
    """Send GET ``path``, and read the answer for ``seconds`` and up to 8 MiB; raise TimeoutError or ValueError."""
    from huggingface_hub import get_session

    end, body = monotonic() + seconds, bytearray()
    headers = {"Authorization": f"Bearer {place.token}"} if place.token else {}
    with get_session().stream("GET", place.url + path, headers=headers, timeout=seconds) as response:
        for piece in response.iter_bytes():
            body += piece
            if monotonic() > end:
                raise TimeoutError
            if len(body) > MOST_JSON:
                raise ValueError(f"its answer has more than {MOST_JSON:,} bytes")
    return Answer(response.status_code, response.headers.get("X-Error-Code"), body.decode(errors="replace"))


def within(seconds: float, call: Callable[[], T]) -> T:
    """Return what ``call`` returns; raise TimeoutError after ``seconds``, even if it waits for the name of a host."""
    answers: Queue[T | Exception] = Queue()

    def work() -> None:
        try:
            answers.put(call())
        except (OSError, ValueError, httpx2.HTTPError, httpx2.InvalidURL) as error:
            answers.put(error)

    Thread(target=work, daemon=True).start()
    try:
        result = answers.get(timeout=seconds)
    except Empty:
        raise TimeoutError from None
    if isinstance(result, Exception):
        raise result
    return result


@contextmanager
def explained(subject: str) -> Iterator[None]:
    """Raise UserError that begins with ``subject`` for what goes wrong in a transfer."""
    try:
        yield
    except (OSError, ValueError, httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise UserError(f"{subject} ({_reason(error)}): check the network and the token, and try again") from None


def _reason(error: Exception) -> str:
    """Return the words of an error, of one line; those of a malformed request would show its token."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set"
    words = "" if isinstance(error, httpx2.LocalProtocolError) else as_line(str(error))
    return shortened(words or type(error).__name__)
