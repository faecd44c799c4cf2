"""Evaluation of whatever a folder or a name turns out to be."""

from enum import StrEnum
from pathlib import Path

from skdcgn.base.errors import UserError
from skdcgn.base.files import read_json


class Kind(StrEnum):
    """What a folder or name that is to be evaluated turns out to be."""

    ENSEMBLE = "an ensemble"
    IMAGENET_RUN = "a run on photographs"
    RUN = "a whole run"
    CLASSIFIER = "a classifier"
    CGN = "a CGN"


def kind_of(folder: Path) -> Kind:
    """Say what ``folder`` holds; what is no folder names a CGN. Raise UserError if a folder holds nothing known."""
    told, results = (folder / name for name in ("config.json", "results.json"))
    config = read_json(told) if told.is_file() else {}
    if isinstance(config, dict) and "backbone" in config:
        return Kind.ENSEMBLE
    if results.exists():
        return Kind.IMAGENET_RUN if "ensembles" in read_json(results) else Kind.RUN
    if (folder / "checkpoint.safetensors").exists():
        return Kind.CLASSIFIER
    if folder.is_dir() and not (folder / "model.safetensors").exists():
        raise UserError(f"{folder} holds no run, no classifier and no student: name the folder that one was written to")
    return Kind.CGN
