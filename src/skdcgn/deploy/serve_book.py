"""What a service counts: the requests, the pairs it answered as paid, and those paid twice."""

import hashlib
from dataclasses import dataclass, field

from skdcgn.base.errors import UserError
from skdcgn.cgn.wire import Question

ROW = 12  # bytes of the name of a pair


@dataclass
class Book:
    """Counts of ``GET /stats``; one event loop writes them.

    Args:
        requests: POST /query that came.
        answers: pairs answered as paid.
        repeated: of them, those whose (mechanism, noise, label) had been answered before.
    """

    requests: int = 0
    answers: int = 0
    repeated: int = 0
    _keys: dict[str, str] = field(default_factory=dict)
    _pairs: set[bytes] = field(default_factory=set)

    def check(self, question: Question, key: str | None) -> None:
        """Raise UserError if the key came with another question before."""
        if key is not None and self._keys.get(key, question.key) != question.key:
            raise UserError("this Idempotency-Key came with another question before: use a new key for each question")

    def pay(self, question: Question, key: str | None) -> None:
        """Count the pairs of a question that was answered, unless its key was paid before."""
        if key is not None and key in self._keys:
            return
        if key is not None:
            self._keys[key] = question.key
        pairs = _names(question)
        self.answers += len(pairs)
        self.repeated += sum(pair in self._pairs for pair in pairs)
        self._pairs.update(pairs)


def _names(question: Question) -> list[bytes]:
    noise, labels = question.rows
    count = len(question.labels)
    wide = len(noise) // count
    rows = [noise[wide * row : wide * (row + 1)] + labels[8 * row : 8 * (row + 1)] for row in range(count)]
    return [hashlib.blake2b(question.mechanism.encode() + row, digest_size=ROW).digest() for row in rows]
