"""What a folder or a name holds: a run, a classifier, an ensemble or a CGN."""

from enum import StrEnum
from pathlib import Path
from typing import Any

from skdcgn.base.door import is_folder, read_object
from skdcgn.base.errors import UserError
from skdcgn.classifiers.any import names_classifier
from skdcgn.classifiers.sources import CLASSIFIER_KEY, ENSEMBLE_KEY, run_folder_kind
from skdcgn.results.records import RESULTS_FILE
from skdcgn.teachers.load import names_black_box


class ArtifactKind(StrEnum):
    """What a folder or a name holds."""

    ENSEMBLE = "an ensemble"
    IMAGENET_RUN = "a run on photographs"
    PHOTOS_RUN = "a run on your own photographs"
    RUN = "a run"
    CLASSIFIER = "a classifier"
    CGN = "a CGN"


_PASS = {
    ArtifactKind.CLASSIFIER: "the folder that skdcgn classify wrote, or a folder in the run's folder classifiers",
    ArtifactKind.ENSEMBLE: "the folder that skdcgn ensemble wrote",
}


def artifact_kind(path: str | Path) -> ArtifactKind:
    """Say what ``path`` holds; what is no folder and names no classifier names a CGN.

    Raises:
        UserError: a folder that holds none of them, or a damaged ONNX file.
    """
    folder = Path(path)
    if names_black_box(str(path)):
        return ArtifactKind.CGN
    if not is_folder(folder):
        return ArtifactKind.CLASSIFIER if names_classifier(str(path)) else ArtifactKind.CGN
    kind = run_folder_kind(folder)
    if kind == ENSEMBLE_KEY:
        return ArtifactKind.ENSEMBLE
    if (folder / RESULTS_FILE).exists():
        return _kind_of_run(read_object(folder / RESULTS_FILE))
    if kind == CLASSIFIER_KEY:
        return ArtifactKind.CLASSIFIER
    if (folder / "model.safetensors").exists():
        return ArtifactKind.CGN
    raise UserError(f"{folder} holds no run, no classifier and no student: {_right_folder(folder)}")


def _kind_of_run(results: dict[str, Any]) -> ArtifactKind:
    if "photo_cgn" in results:
        return ArtifactKind.PHOTOS_RUN
    return ArtifactKind.IMAGENET_RUN if "ensembles" in results else ArtifactKind.RUN


def must_hold(folder: Path, kind: ArtifactKind) -> None:
    """Raise UserError if ``folder`` does not exist or holds something other than a ``kind``."""
    if not folder.is_dir():
        raise UserError(f"no folder {folder}: check the path")
    actual = artifact_kind(folder)
    if actual is not kind:
        raise UserError(f"{folder} is {actual}, not {kind}: pass {_PASS[kind]}")


def _right_folder(folder: Path) -> str:
    student, teacher, checkpoint = folder / "student", folder / "teacher.safetensors", folder / "checkpoint.safetensors"
    if (student / "model.safetensors").is_file():
        return f"distill writes its student one level below: pass {student}"
    if teacher.is_file():
        return f"teach writes its teacher there: pass {teacher}"
    if checkpoint.is_file() and not (folder / "config.json").is_file():
        return "it has a checkpoint without config.json: restore that file, or train again"
    if checkpoint.is_file():
        return "a training that others build on: pass what they wrote, as a student's folder or teacher.safetensors"
    if any((folder / name).exists() for name in ("pairs", "students", "classifiers", "ensembles")):
        return "a run that has not ended: repeat its command"
    return "pass the folder of a run, a classifier or a student"
