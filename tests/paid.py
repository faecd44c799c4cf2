"""A paid black box for tests: it counts each answer that it charges, and fails as one asks it to."""

import threading
import time
from collections import Counter

import torch

from skdcgn.base.errors import LostAnswerError, RefusedError
from skdcgn.cgn.black_box import Access
from skdcgn.cgn.mechanism import Mechanism, Spec
from skdcgn.pairs.answers import row_keys

SPEC = Spec(image_size=8, noise_dim=3, classes=4)


class Killed(BaseException):
    """Ends a process at once, as SIGKILL would."""


class Formula:
    """Flat pictures whose tone is a function of noise and label; its answers cost nothing."""

    spec, digest, size = SPEC, "formula", None

    def query(self, mechanism, noise, labels):
        mechanism = Mechanism(mechanism)
        tone = torch.sigmoid(noise.sum(1) + labels)[:, None, None, None]
        return (mechanism.low + (1 - mechanism.low) * tone).expand(-1, mechanism.channels, 8, 8).clone()


class Paid(Formula):
    """The formula as a service. ``fail(n)`` says what happens to its n-th query, from 1, of ``None`` (all is well).

    ``lost`` and ``killed`` come after the answer was charged, ``refused`` and ``dead`` (killed, too) before.
    """

    def __init__(self, access, fail=lambda number: None, *, seconds=0.0):
        self.access, self.fail, self.seconds = access, fail, seconds
        self.charged, self.queries, self.at_once, self.most_at_once = Counter(), [], 0, 0
        self._lock, self._known = threading.Lock(), {}

    @property
    def answers(self):
        return sum(self.charged.values())

    def query(self, mechanism, noise, labels):
        with self._lock:
            self.queries.append((Mechanism(mechanism), len(labels)))
            outcome = self.fail(len(self.queries))
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            time.sleep(self.seconds)
            if outcome in ("refused", "dead"):
                raise {"refused": RefusedError, "dead": Killed}[outcome]("no")
            self._charge(mechanism, row_keys(noise, labels))
            if outcome in ("lost", "killed"):
                raise {"lost": LostAnswerError, "killed": Killed}[outcome]("the line is cut")
            images = super().query(mechanism, noise, labels)
            return {"wrong": 255, "noisy": 1 / len(self.queries)}.get(outcome, 1) * images
        finally:
            with self._lock:
                self.at_once -= 1

    def _charge(self, mechanism, keys):
        query = (mechanism, *keys)
        with self._lock:
            if not (self.access.idempotent and query in self._known):
                self.charged.update((Mechanism(mechanism), key) for key in keys)
            self._known[query] = True


SERVICE = Access(batch=4, in_flight=1, paid=True, idempotent=True)
FUNCTION = Access(batch=4, in_flight=1, paid=True, idempotent=False)


def at(number, outcome):
    """Fail at that query alone."""
    return lambda n: outcome if n == number else None


def distill_from(source, folder, query, config):
    """Query a CGN by name or address within a budget and distill it: what a test kills."""
    from skdcgn.pairs.query import query_all
    from skdcgn.students.distill import distill
    from skdcgn.teachers.load import load_teacher

    torch.set_num_threads(1)
    query_all(load_teacher(source), folder / "pairs", query)
    distill(folder / "pairs", folder / "run", config, device="cpu")
