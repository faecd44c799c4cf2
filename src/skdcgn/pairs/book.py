"""The book of a ledger: what happened to each query of a paid black box, as lines of JSON.

A query is ``asked`` before it is sent, and then ``answered``, ``refused`` (it costs nothing) or ``lost`` (it may have
cost something). What is asked counts as spent until it is refused. A killed process may leave half a line, whose query
was not sent yet.
"""

import json
from collections import Counter
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field

from skdcgn.base.bounds import Duration, Whole
from skdcgn.base.door import decode_text, parse_record, read_bytes, regular_file
from skdcgn.base.files import append_durably, append_text, write_bytes
from skdcgn.cgn.mechanism import Mechanism
from skdcgn.pairs.manifest import Part, Purpose

MOST_BOOK = 2**30  # bytes
MEND = "restore it: without it nobody knows what was spent; or choose another --out"


class State(StrEnum):
    """``asked``, ``answered``, ``refused`` or ``lost``; ``compared``: the first look at a mechanism is done."""

    ASKED = "asked"
    ANSWERED = "answered"
    REFUSED = "refused"
    LOST = "lost"
    COMPARED = "compared"


CHARGED = (State.ASKED, State.ANSWERED, State.LOST)


@dataclass(frozen=True)
class Entry:
    """A line: the state of a query of ``rows`` pairs; ``repeat``: its answers are compared, not kept."""

    query: Annotated[str, Field(pattern="^[0-9]+-[0-9]+$")]
    state: State
    mechanism: Mechanism
    purpose: Purpose
    rows: Whole
    repeat: bool = False
    seconds: Duration = 0.0

    @property
    def key(self) -> tuple[State, bool, Part]:
        return self.state, self.repeat, (self.mechanism, self.purpose)

    def to_line(self) -> str:
        return json.dumps(asdict(self)) + "\n"


class Book:
    """The entries of one rank's book, by query: the last state of each.

    Raises:
        UserError: a line is no entry.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.queries = path, dict[str, Entry]()
        self.compared, self.names = set[Mechanism](), 0
        self._rows = Counter[tuple[State, bool, Part]]()
        self._end, self._lines, self.torn = 0, 0, False
        if path.exists() or path.is_symlink():
            self.read_on()

    def read_on(self) -> None:
        """Read the entries that another process has added; raise UserError if a line is no entry."""
        data = read_bytes(self.path, MOST_BOOK, self._end)
        whole = data[: data.rfind(b"\n") + 1]
        self.torn = whole != data
        for line in decode_text(whole, self.path).split("\n")[:-1]:
            self._lines += 1
            self._note(parse_record(line, Entry, f"{self.path}, line {self._lines}", MEND))
        self._end += len(whole)

    @property
    def is_read(self) -> bool:
        """Whether the file is as long as what was read of it."""
        return regular_file(self.path).stat().st_size == self._end

    def _note(self, entry: Entry) -> None:
        self.names += entry.state in (State.ASKED, State.COMPARED)
        if entry.state is State.COMPARED:
            self.compared.add(entry.mechanism)
            return
        if before := self.queries.get(entry.query):
            self._rows[before.key] -= before.rows
        self.queries[entry.query] = entry
        self._rows[entry.key] += entry.rows

    def mend(self) -> None:
        """Remove the half line that a killed process left; no other process may write the book."""
        if self.torn:
            write_bytes(self.path, read_bytes(self.path, MOST_BOOK)[: self._end])
            self.torn = False

    def add(self, entry: Entry) -> None:
        """Append an entry; it is on disk when this returns. An answer has a file, and waits for the next entry."""
        append = append_text if entry.state is State.ANSWERED else append_durably
        append(self.path, entry.to_line())
        self._end, self._lines = self._end + len(entry.to_line().encode()), self._lines + 1
        self._note(entry)

    @property
    def pending(self) -> list[Entry]:
        """The queries without an outcome."""
        return [entry for entry in self.queries.values() if entry.state is State.ASKED]

    @property
    def spent(self) -> int:
        """The answers that may have been charged."""
        return sum(rows for (state, _, _), rows in self._rows.items() if state in CHARGED)

    def spent_on(self, part: Part) -> int:
        """Return the answers of a mechanism and purpose that may have been charged."""
        return sum(rows for (state, _, own), rows in self._rows.items() if state in CHARGED and own == part)

    @property
    def lost(self) -> int:
        """The answers that may have been charged and never came."""
        return sum(rows for (state, _, _), rows in self._rows.items() if state is State.LOST)

    @property
    def wasted(self) -> int:
        """The answers that may have been charged and are no pairs: those that were lost, and repeats."""
        items = self._rows.items()
        return self.lost + sum(rows for (state, repeat, _), rows in items if repeat and state in CHARGED[:2])

    @property
    def rate(self) -> float | None:
        """Answers in a second of waiting for one query; None before the first answer."""
        answered = [entry for entry in self.queries.values() if entry.state is State.ANSWERED]
        seconds = sum(entry.seconds for entry in answered)
        return sum(entry.rows for entry in answered) / seconds if seconds else None
