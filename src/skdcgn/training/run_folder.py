"""A run folder: its configuration, its log, its checkpoint, and the shorter runs that it continues."""

import json
import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pydantic_core import from_json  # NaN of a step that diverged too

from skdcgn.base.bounds import Count, Whole
from skdcgn.base.contents import NOTHING, Reads, digests
from skdcgn.base.door import parse_record, read_object, read_record, read_text
from skdcgn.base.errors import UserError, shortened, shown
from skdcgn.base.files import append_text, write_bytes, write_json
from skdcgn.base.progress import format_losses
from skdcgn.base.records import IDENTITY, digest, from_dict, to_dict
from skdcgn.base.tensors import open_tensors, read_tensors, write_tensors
from skdcgn.training.loop import Method, Record
from skdcgn.training.processes import process_index
from skdcgn.training.trackers import Send, open_tracker, send_nowhere

LENGTHS = ("steps", "epochs")  # keys of a configuration that say how long a run is
CHECKPOINT = "checkpoint.safetensors"
AFRESH = "delete it to start afresh"
OTHER_FOLDER = "choose another --out, or delete that folder"
logger = logging.getLogger(__name__)


class LogLine(NamedTuple):
    """A line of metrics.jsonl: the number of a step, from 1, and its values by name, all of them finite."""

    step: int
    values: dict[str, float]

    def to_json(self) -> str:
        return json.dumps({"step": self.step, **self.values}, allow_nan=False) + "\n"


def log_line(step: int, values: Mapping[str, float]) -> LogLine:
    """Return the line of a step: values that are not finite, which JSON does not have, are left out."""
    return LogLine(step, {name: value for name, value in values.items() if math.isfinite(value)})


@dataclass(frozen=True)
class Identity:
    """What ``config.json`` says of a run beside its settings: digests of all of it, and of each thing that it reads."""

    digest: str
    reads: dict[str, str] | None = None


@dataclass(frozen=True)
class ShorterRun:
    """An entry of ``continued.json``: a run that was continued, and its length."""

    digest: str
    steps: Count | None = None
    epochs: Count | None = None

    def to_dict(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Counters:
    """The counters in the header of a checkpoint: the steps that are done, and the digest of the run."""

    step: Whole
    digest: str


class RunFolder:
    """One run: ``config.json``, ``metrics.jsonl``, ``checkpoint.safetensors`` (its counters in the header).

    ``config.json`` has the configuration, its ``digest``, and ``reads``: the digest of each thing that the run reads.

    A run that was continued has ``continued.json`` too: the digests and lengths of the shorter configurations.
    """

    def __init__(self, path: Path, config: Any, *, reads: Reads = NOTHING, extend: bool = False) -> None:
        """Open or begin the run of ``config`` at ``path``.

        Args:
            reads: the contents of all that the run reads, by name; they belong to its identity.
            extend: if a run lives there that differs in being shorter alone, continue it.

        Raises:
            UserError: another run lives there, or one on other data, or a shorter one and ``extend`` is False.
        """
        values = to_dict(config) | {"reads": digests(reads)}
        self.path, self.digest = path, digest(values)
        self._send: Send = send_nowhere
        file = path / "config.json"
        if file.exists():
            stored = read_object(file, OTHER_FOLDER)
            before = from_dict(Identity, stored, str(file), OTHER_FOLDER)
            if before.digest == self.digest:
                return
            self._continue(before, stored, values, reads, extend)
        write_json(file, {"digest": self.digest, **values})

    def _continue(
        self, before: "Identity", stored: dict[str, Any], values: dict[str, Any], reads: Reads, extend: bool
    ) -> None:
        """Note in ``continued.json`` that this run continues the ``stored`` one; raise UserError if it may not."""
        length = self._length(before, stored, values, reads)
        steps, longer = stored[length], values[length]
        if steps > longer:
            raise UserError(
                f"{self.path} holds this run with {steps} {length}, more than {longer} {length}: {OTHER_FOLDER}"
            )
        if not extend:
            raise UserError(
                f"{self.path} holds this run with {steps} {length}: pass --continue (in Python extend=True) "
                f"to train on to {longer}, or choose another --out"
            )
        logger.warning(
            f"{self.path}: continued from {steps} to {longer} {length}; where learning rates depend on the length of a "
            f"run, the weights will not be those of {longer} {length} from the start"
        )
        shorter = {"digest": before.digest, length: steps}
        write_json(self._continued, [*(one.to_dict() for one in self._shorter_runs()), shorter])

    def _length(self, before: "Identity", stored: dict[str, Any], values: dict[str, Any], reads: Reads) -> str:
        """Return the key of the length of the run, in which alone it differs from the ``stored`` one.

        Raises:
            UserError: it differs in something else: its configuration, what it reads, or the version that began it.
        """
        keys = [key for key in {**values, **stored} if key not in IDENTITY]
        changes = [key for key in keys if stored.get(key) != values.get(key)]
        length = next((key for key in LENGTHS if changes == [key] and type(stored.get(key)) is int), None)
        words = []
        if changes and length is None:
            words.append(f"with another configuration (differs in {shortened(', '.join(changes))})")
        if changed := _changed(before.reads, reads):
            words.append(f"on other data ({changed})")
        if words or length is None:
            raise UserError(f"{self.path} holds a run {' '.join(words) or 'of another version'}: {OTHER_FOLDER}")
        return length

    @property
    def _continued(self) -> Path:
        return self.path / "continued.json"

    def _shorter_runs(self) -> tuple["ShorterRun", ...]:
        if not self._continued.exists():
            return ()
        return read_record(self._continued, tuple[ShorterRun, ...], OTHER_FOLDER)

    @property
    def checkpoint(self) -> Path:
        return self.path / CHECKPOINT

    def save(self, method: Method, step: int) -> None:
        """Write weights, optimisers and the step counter in one atomic file."""
        counters = json.dumps(asdict(Counters(step, self.digest)))
        write_tensors(self.checkpoint, method.state(), {"counters": counters})

    def restore(self, method: Method) -> int:
        """Load the checkpoint if there is one; return the number of steps done. Later log lines are dropped.

        Raises:
            UserError: the checkpoint is damaged, or of another configuration or another version of the method.
        """
        if not self.checkpoint.exists():
            self._drop_log_after(0)
            return 0
        state, metadata = read_tensors(self.checkpoint)
        counters = _read_counters(metadata, self.checkpoint)
        if counters.digest not in (self.digest, *(run.digest for run in self._shorter_runs())):
            raise UserError(f"{self.checkpoint} belongs to another configuration: {AFRESH}")
        method.load_state(state, self.checkpoint)
        self._drop_log_after(counters.step)
        return counters.step

    @contextmanager
    def tracking(self, tracker: str | None, start: int) -> Iterator[None]:
        """Let :meth:`log` write to a tracker too (:mod:`skdcgn.training.trackers`), after ``start`` steps."""
        with open_tracker(tracker, self.path, start) as self._send:
            yield
        self._send = send_nowhere

    def log(self, record: Record) -> None:
        """Append a line to metrics.jsonl and send it to the tracker; see :func:`log_line`."""
        line, losses = log_line(record.step, record.losses), format_losses(record.losses, len(record.losses))
        logger.debug(f"{self.path.name}: step {record.step} of {record.total}, {losses}")
        append_text(self._log, line.to_json())
        self._send(line.values, line.step)

    def metrics(self) -> list[LogLine]:
        """Read metrics.jsonl; a half-written last line of a killed run is left out."""
        return read_metrics(self._log)

    @property
    def _log(self) -> Path:
        return self.path / "metrics.jsonl"

    def _drop_log_after(self, step: int) -> None:
        if process_index() == 0 and self._log.exists():
            kept = "".join(line.to_json() for line in self.metrics() if line.step <= step)
            if kept != read_text(self._log):
                write_bytes(self._log, kept.encode())


def steps_done(folder: Path) -> int:
    """Return the number of steps in the checkpoint of a run folder; 0 if there is none."""
    checkpoint = folder / CHECKPOINT
    if not checkpoint.exists():
        return 0
    with open_tensors(checkpoint) as file:
        return _read_counters(file.metadata() or {}, checkpoint).step


def _read_counters(metadata: Mapping[str, str], checkpoint: Path) -> Counters:
    return parse_record(metadata.get("counters", "{}"), Counters, checkpoint, AFRESH)


def _changed(stored: dict[str, str] | None, reads: Reads) -> str:
    """Return in words what a run read before and reads otherwise now; nothing if it is all the same."""
    if stored is None:
        return "an earlier version began it, which did not note what it reads"
    changes = [contents.words for name, contents in reads.items() if stored.get(name) != contents.digest]
    changes += [f"the {name}" for name in stored if name not in reads]
    return f"different now: {', '.join(changes)}" if changes else ""


def read_metrics(path: Path) -> list[LogLine]:
    """Read a metrics.jsonl; a half-written last line of a killed run is left out.

    Raises:
        UserError: a line is no JSON object with a step and finite numbers.
    """
    if not path.exists():
        return []
    return [_read_line(line, path) for line in read_text(path).split("\n")[:-1]]


def _read_line(line: str, path: Path) -> LogLine:
    try:
        values = from_dict(dict[str, int | float], from_json(line))
    except (UserError, ValueError):
        values = {}
    step = values.pop("step", None)
    if not isinstance(step, int) or step < 0:
        raise UserError(f"{path} holds a line that is no JSON object with a step: {shown(line)}: delete it")
    return log_line(step, values)
