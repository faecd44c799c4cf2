"""The verb that cures a classifier of its shortcuts: cure."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter, validators

from skdcgn.base.bounds import LEAST_AUDITED, MOST_AUDITED
from skdcgn.base.cure_config import CureConfig, Trained
from skdcgn.base.records import to_dict
from skdcgn.cli.flags import with_flags
from skdcgn.cli.help_page import FURTHER
from skdcgn.cli.options import (
    DEFAULT_CLASSIFIER,
    ClassifierOptions,
    Device,
    DeviceOption,
    OutOption,
    SeedOption,
    SpecOption,
    configure,
    default_out,
)
from skdcgn.cli.terminal import new_table, output, point_to, progress

if TYPE_CHECKING:
    from skdcgn.experiments.cure_record import CureRecord

NOT_KEPT = 1  # exit status


@with_flags(CureConfig(), main=("steps",))
def cure(
    module: Annotated[str, Parameter(help="Run folder of a classifier or an ensemble, or module:function.")],
    /,
    *,
    cgn: Annotated[str, Parameter(help="CGN of its classes: a name, a file or a folder.")],
    spec: SpecOption = None,
    train: Annotated[Path, Parameter(help="Folder of real pictures, a sub-folder per class.")],
    test: Annotated[Path | None, Parameter(help="Held-out real pictures. Default: a tenth of --train.")] = None,
    out: OutOption = None,
    layers: Annotated[Trained, Parameter(help="Layers to train: last (the deciding one) or all.")] = Trained.LAST,
    vary: Annotated[
        list[str] | None,
        Parameter(help="Mechanism to vary, texture or background. Default: all followed."),
    ] = None,
    most_lost: Annotated[
        float,
        Parameter(
            validator=validators.Number(gte=0, lte=100),
            help="Points of accuracy on real pictures that may be lost.",
        ),
    ] = 2.0,
    seed: SeedOption = 0,
    reading: ClassifierOptions = DEFAULT_CLASSIFIER,
    crops: Annotated[
        bool | None, Parameter(group=FURTHER, help="Train on mirrored crops. Default: unless the CGN tiles.")
    ] = None,
    n: Annotated[
        int,
        Parameter(
            name=("--n", "-n"),
            validator=validators.Number(gte=LEAST_AUDITED, lte=MOST_AUDITED),
            group=FURTHER,
            help="Number of base pictures of an audit.",
        ),
    ] = 2000,
    config: Annotated[
        Path | None, Parameter(group=FURTHER, help="JSON file of settings, as --help-all names them.")
    ] = None,
    device: DeviceOption = Device.AUTO,
    changes: dict[str, Any],
) -> int:
    """Cure a classifier of its shortcuts."""
    settings = configure(CureConfig(), config, changes)
    place = default_out(
        out,
        "cure",
        {**to_dict(settings), "of": [module, cgn, str(train), layers, vary, seed, *([spec] if spec else [])]},
    )
    from skdcgn.experiments.cure import cure as cure_classifier
    from skdcgn.experiments.cured_weights import weights_place

    with progress() as watch:
        record, _ = cure_classifier(
            module,
            cgn,
            train,
            spec=spec,
            out=place,
            layers=layers,
            vary=vary,
            test=test,
            most_lost=most_lost,
            config=settings,
            n=n,
            seed=seed,
            **vars(reading),
            crops=crops,
            device=device,
            watch=watch,
        )
    show_cure(record)
    if record.kept:
        point_to("cured classifier", weights_place(place))
    point_to("cure", place)
    return NOT_KEPT if record.after and not record.kept else 0


def show_cure(record: "CureRecord") -> None:
    """Print a row per mechanism and measure, before and after, and the verdict."""
    from skdcgn.experiments.cure_record import cure_rows

    if record.after:
        shown = new_table(f"cure, layers {record.layers}", ["", "measure"], ["before", "after"])
        for row in cure_rows(record):
            shown.add_row(*row)
        output().print(shown)
    print(record.verdict)
