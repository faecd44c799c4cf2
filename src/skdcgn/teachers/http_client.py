"""How often a request to a service is sent again, and what its failure means: refused, or lost and perhaps paid."""

import os
import random
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from skdcgn.base.errors import LostAnswerError, RefusedError, UserError, shortened
from skdcgn.base.progress import logger
from skdcgn.base.seeds import derive_seed
from skdcgn.teachers.http_address import TOKEN
from skdcgn.teachers.http_loop import BrokenError, Live, Patience, Reply, Request, UnsentError

T = TypeVar("T")
UNAUTHORISED = 401
RESENT = (408, 409, 425, 429)  # temporary; of those from 500 on, all but NOT_IMPLEMENTED
NOT_IMPLEMENTED = 501
UNSURE = (502, 504)  # a gateway's: the service behind it may have answered
MENDS = {
    401: f"set {TOKEN} to the service's token",
    403: f"check {TOKEN}",
    404: "check the address",
    413: "its /spec should state a smaller batch",
}


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
        self._lock, self._live = threading.Lock(), Live(url, token, patience)
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
                self._live = Live(self.url, self.token, self.patience)
                weakref.finalize(self, self._live.stop)
            live = self._live
        return live.run(self.url, request)

    def _refusal(self, reply: Reply, lost: bool) -> tuple[str, float]:
        """Return why a request was refused, and the pause that the service asks for, if it may be sent again."""
        reason = self._without_token(f"the service answers {reply.status} ({reply.reason})")
        if reply.status in UNSURE or 200 <= reply.status < 300:
            raise BrokenError(reason)
        if reply.status in RESENT or (reply.status >= 500 and reply.status != NOT_IMPLEMENTED):
            return reason, min(retry_after(reply.headers.get("retry-after", "")), self.patience.retry_after)
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

    def _pause(self, number: int, stated: float, reason: str) -> None:
        """Wait before a request is sent again: up to first x 2^number seconds more than the service asks for."""
        most = min(self.patience.first * 2**number, self.patience.longest)
        seconds = stated + self._jitter.uniform(0, most)
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
