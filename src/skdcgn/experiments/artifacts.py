"""What a folder or a name holds: a run, a classifier, an ensemble or a CGN."""

from enum import StrEnum
from pathlib import Path

from skdcgn.base.door import read_json
from skdcgn.base.errors import UserError
from skdcgn.results.records import RESULTS_FILE


class ArtifactKind(StrEnum):
    """What a folder or a name holds."""

    ENSEMBLE = "an ensemble"
    IMAGENET_RUN = "a run on photographs"
    RUN = "a run"
    CLASSIFIER = "a classifier"
    CGN = "a CGN"


_PASS = {
    ArtifactKind.CLASSIFIER: "the folder that skdcgn classify wrote, or a folder in the run's folder classifiers",
    ArtifactKind.ENSEMBLE: "the folder that skdcgn ensemble wrote",
}


def artifact_kind(path: str | Path) -> ArtifactKind:
    """Say what ``path`` holds; what is no folder names a CGN.

    Raises:
        UserError: a folder that holds none of them.
    """
    folder = Path(path)
    config_file, results = folder / "config.json", folder / RESULTS_FILE
    config = read_json(config_file) if config_file.is_file() else {}
    if isinstance(config, dict) and "backbone" in config:
        return ArtifactKind.ENSEMBLE
    if results.exists():
        return ArtifactKind.IMAGENET_RUN if "ensembles" in read_json(results) else ArtifactKind.RUN
    if (folder / "checkpoint.safetensors").exists():
        return ArtifactKind.CLASSIFIER
    if folder.is_dir() and not (folder / "model.safetensors").exists():
        raise UserError(f"{folder} holds no run, no classifier and no student: {_right_folder(folder)}")
    return ArtifactKind.CGN


def must_hold(folder: Path, kind: ArtifactKind) -> None:
    """Raise UserError if ``folder`` does not exist or holds something other than a ``kind``."""
    if not folder.is_dir():
        raise UserError(f"no folder {folder}: check the path")
    actual = artifact_kind(folder)
    if actual is not kind:
        raise UserError(f"{folder} is {actual}, not {kind}: pass {_PASS[kind]}")


def _right_folder(folder: Path) -> str:
    student = folder / "student"
    if (student / "model.safetensors").is_file():
        return f"distill writes its student one level below: pass {student}"
    if any((folder / name).exists() for name in ("pairs", "students", "classifiers")):
        return "a run that has not ended: repeat its command"
    return "pass the folder of a run, a classifier or a student"
