"""A run folder: its configuration, its log, its checkpoint."""

import json
from pathlib import Path
from typing import Any

from skdcgn.base.errors import UserError
from skdcgn.base.files import read_json, read_tensors, write_bytes, write_json, write_tensors
from skdcgn.base.records import digest, to_dict
from skdcgn.training.loop import Method, Record
from skdcgn.training.processes import process_index


class RunFolder:
    """One run: ``config.json``, ``metrics.jsonl``, ``checkpoint.safetensors`` (its counters in the header)."""

    def __init__(self, path: Path, config: Any) -> None:
        """Open or begin the run of ``config`` at ``path``; raise UserError if another run lives there."""
        self.path, self.digest = path, digest(config)
        known = path / "config.json"
        if not known.exists():
            write_json(known, {"digest": self.digest, **to_dict(config)})
            return
        before = read_json(known)
        if before.get("digest") != self.digest:
            changed = [key for key, value in to_dict(config).items() if before.get(key) != value]
            raise UserError(
                f"{path} holds a run with another configuration (differs in {', '.join(changed) or 'its kind'}): "
                "choose another --out, or delete that folder"
            )

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.safetensors"

    def save(self, method: Method, step: int) -> None:
        """Write weights, optimisers and the step counter in one atomic file."""
        counters = {"step": step, "digest": self.digest}
        write_tensors(self.checkpoint, method.state(), {"counters": json.dumps(counters)})

    def restore(self, method: Method) -> int:
        """Load the checkpoint if there is one; return the number of steps done. Later log lines are dropped."""
        if not self.checkpoint.exists():
            self._keep_log_until(0)
            return 0
        state, metadata = read_tensors(self.checkpoint)
        counters = json.loads(metadata.get("counters", "{}"))
        if counters.get("digest") != self.digest:
            raise UserError(f"{self.checkpoint} belongs to another configuration: delete it to start afresh")
        method.load_state(state)
        self._keep_log_until(counters["step"])
        return int(counters["step"])

    def log(self, record: Record) -> None:
        """Append a line to metrics.jsonl."""
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": record.step, **record.losses}) + "\n")

    def metrics(self) -> list[dict[str, float]]:
        """Read metrics.jsonl; a half-written last line of a killed run is left out."""
        return read_metrics(self.path / "metrics.jsonl")

    def _keep_log_until(self, step: int) -> None:
        if process_index():
            return
        lines = [json.dumps(line) + "\n" for line in self.metrics() if line["step"] <= step]
        if lines or (self.path / "metrics.jsonl").exists():
            write_bytes(self.path / "metrics.jsonl", "".join(lines).encode())


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Read a metrics.jsonl; a half-written last line of a killed run is left out."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("}\n")]
