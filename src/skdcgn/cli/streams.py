"""Standard streams that take every character and never fail: a finished job does not end in the error of a terminal."""

import io
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

NARROWEST, WIDEST = 40, 1000  # columns that tables are laid out for


class Sink(io.RawIOBase):
    """Writes to a file descriptor; after the first error, which it keeps, to nowhere."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.error: OSError | None = None

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.descriptor

    def isatty(self) -> bool:
        return os.isatty(self.descriptor)

    def write(self, data: Any, /) -> int:
        """Return how many bytes were written or dropped."""
        if self.error is None:
            try:
                return os.write(self.descriptor, data)
            except OSError as error:
                self.error = error
        return len(data)


def text_stream(sink: Sink, encoding: str, *, by_line: bool) -> io.TextIOWrapper:
    """Return a text stream into ``sink`` that escapes what its encoding does not have."""
    buffer = io.BufferedWriter(sink)
    return io.TextIOWrapper(buffer, encoding=encoding, errors="backslashreplace", line_buffering=by_line)


@contextmanager
def lasting_streams() -> Iterator[Sink]:
    """Let the process write to standard streams that do not fail; yield the sink of the standard output.

    Streams that a program or a test has replaced stay as they are.
    """
    _open_closed_descriptors()
    before, sinks = (sys.stdout, sys.stderr), (Sink(1), Sink(2))
    sys.stdout, sys.stderr = (_lasting(stream, sink) for stream, sink in zip(before, sinks, strict=True))
    try:
        yield sinks[0]
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


def _lasting(stream: TextIO | None, sink: Sink) -> TextIO:
    if stream is None:  # the descriptor was closed; print would take the other stream
        return text_stream(sink, "utf-8", by_line=False)
    if stream not in (sys.__stdout__, sys.__stderr__) or not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.flush()
    return text_stream(sink, stream.encoding, by_line=stream.line_buffering or stream.write_through)


def _open_closed_descriptors() -> None:
    """Open a closed standard descriptor to nowhere: a file that is opened later would get its number, and its text."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


def limit_width() -> None:
    """Let tables and help be laid out for a sensible number of columns, whatever COLUMNS or the terminal says."""
    width = shutil.get_terminal_size().columns
    if "COLUMNS" in os.environ or not NARROWEST <= width <= WIDEST:
        os.environ["COLUMNS"] = str(min(max(width, NARROWEST), WIDEST))
