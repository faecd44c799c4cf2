"""Options that several verbs share, and what lays them over a preset."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeVar

from cyclopts import Parameter, validators

from skdcgn.base.bounds import MOST_COUNT, MOST_RANKS, MOST_SEED, MOST_SIDE
from skdcgn.base.presets import runs_with
from skdcgn.base.records import digest, merge, override
from skdcgn.cli.help_page import FURTHER

C = TypeVar("C")
POSITIVE = validators.Number(gte=1, lte=MOST_COUNT)


class Device(StrEnum):
    """Where networks run."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Tracker(StrEnum):
    """Where training logs, beside metrics.jsonl."""

    TENSORBOARD = "tensorboard"
    WANDB = "wandb"


OutOption = Annotated[Path | None, Parameter(help="Folder of the run. Default: runs/NAME-DIGEST.")]
OutFolder = Annotated[Path, Parameter(help="Folder of the run.")]
NumbersOption = Annotated[Path | None, Parameter(help="JSON file for the numbers.")]
ConfigOption = Annotated[
    Path | None, Parameter(help="JSON file of settings that replace the preset's, as skdcgn config prints them.")
]
DataRoot = Annotated[
    Path | None,
    Parameter(env_var="SKDCGN_DATA", help="Folder with MNIST's four idx files. Default: MNIST is downloaded."),
]
DeviceOption = Annotated[Device, Parameter(help="Where networks run.")]
TrackOption = Annotated[Tracker | None, Parameter(group=FURTHER, help="Log to a tracker too, beside metrics.jsonl.")]
ContinueOption = Annotated[
    bool,
    Parameter(name="--continue", negative=(), show_default=False, help="Continue the shorter run that is in --out."),
]
SeedOption = Annotated[
    int, Parameter(validator=validators.Number(gte=0, lte=MOST_SEED), help="Seed of all random numbers.")
]
RankOption = Annotated[
    int,
    Parameter(
        validator=validators.Number(gte=0, lte=MOST_RANKS), env_var="RANK", help="Number of this process, from 0."
    ),
]
RanksOption = Annotated[
    int,
    Parameter(
        validator=validators.Number(gte=1, lte=MOST_RANKS),
        env_var="WORLD_SIZE",
        help="Number of processes that share the work.",
    ),
]
TruncationOption = Annotated[
    float | None,
    Parameter(group=FURTHER, show_default=False, help="Factor on the noise of an ImageNet CGN. Default: its own."),
]
SpecOption = Annotated[
    str | None,
    Parameter(group=FURTHER, help="What a CGN does not state: a JSON file, or image_size=64,classes=5."),
]
ModelArgument = Annotated[str, Parameter(help="Run folder, .onnx file, module:function or efficientnet-lite0.")]
CGNArgument = Annotated[str, Parameter(help="A name, file, folder, module:function, URL, recorded:DIR or user/repo.")]


@Parameter(name="*")
@dataclass(frozen=True)
class ClassifierOptions:
    """What a user says of a classifier's input and classes, by the names of :func:`open_classifier`'s arguments."""

    preprocess: Annotated[
        str | None, Parameter(help="imagenet, unit, signed or MEAN,DEVIATION. Default: the model's.")
    ] = None
    size: Annotated[
        int | None,
        Parameter(validator=validators.Number(gte=1, lte=MOST_SIDE), help="Pixels of a side. Default: the model's."),
    ] = None
    names: Annotated[Path | None, Parameter(help="File of class names, in order. Default: the model's.")] = None
    bgr: Annotated[
        bool, Parameter(negative=(), show_default=False, help="The model takes blue first.", group=FURTHER)
    ] = False


DEFAULT_CLASSIFIER = ClassifierOptions()


def preset_words(stage: str) -> str:
    """Return the help of a stage's ``--preset``."""
    return f"Start from this preset's settings: {', '.join(runs_with(stage))}."


def configure(base: C, file: Path | None, changes: dict[str, Any]) -> C:
    """Return ``base`` with the settings of a JSON file laid over it, and then those of the command line."""
    if file:
        from skdcgn.base.door import read_object

        base = merge(base, read_object(file, "write an object with the configuration's keys"), str(file))
    return override(base, changes, "command line")


def default_out(out: Path | None, name: str, config: Any) -> Path:
    """Return ``out``, or the folder that is named by the configuration."""
    return out or Path("runs") / f"{name}-{digest(config)}"
