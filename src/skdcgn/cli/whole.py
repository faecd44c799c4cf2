"""Verbs of whole experiments: run, study, reproduce."""

import os
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter, validators

from skdcgn.base.bounds import MOST_SEEDS
from skdcgn.base.config import RunConfig
from skdcgn.base.errors import UserError
from skdcgn.base.photo_config import PhotosConfig
from skdcgn.base.presets import DEFAULT, IMAGENET_RUNS, PHOTO_RUNS, RUNS, find_run
from skdcgn.cli.flags import with_flags
from skdcgn.cli.options import (
    ConfigOption,
    DataRoot,
    Device,
    DeviceOption,
    OutOption,
    SpecOption,
    configure,
    default_out,
)
from skdcgn.cli.terminal import point_to, progress, show_imagenet, show_mnist, show_photos, show_study
from skdcgn.experiments.studies import STUDIES, TABLES

SeedsOption = Annotated[
    int, Parameter(validator=validators.Number(gte=1, lte=MOST_SEEDS), help="Number of seeds, from 0.")
]
QuickOption = Annotated[
    bool,
    Parameter(
        negative=(), show_default=False, help="A miniature, in minutes: small budgets, one seed, not comparable."
    ),
]
MAIN = ("teacher", "seed", "glyphs", "appearance", "images", "test", "masks", "image_size")


@with_flags(RUNS[DEFAULT], IMAGENET_RUNS["imagenet-smoke"], PHOTO_RUNS["photos"], main=MAIN, leave_out=("preset",))
def run(
    preset: Annotated[str, Parameter(help=f"One of {', '.join((*RUNS, *IMAGENET_RUNS, *PHOTO_RUNS))}.")] = DEFAULT,
    /,
    *,
    out: OutOption = None,
    config: ConfigOption = None,
    full: Annotated[
        bool,
        Parameter(negative=(), show_default=False, help="The published classifier budget: 100,000 images, 10 epochs."),
    ] = False,
    data_root: DataRoot = None,
    device: DeviceOption = Device.AUTO,
    changes: dict[str, Any],
) -> None:
    """Run every stage of a preset, show its table and write its report."""
    from skdcgn.base.rank import launched

    if launched() and os.environ.get("WORLD_SIZE", "1") != "1":
        raise UserError("run is one process: start query, distill and ensemble by torchrun instead, one after another")
    if "image_size" in changes:  # the input of the classifiers has the side of the counterfactuals
        changes = {"ensemble.image_size": changes["image_size"]} | changes
    settings = configure(find_run(preset, full=full), config, changes)
    folder = default_out(out, settings.preset, settings)
    if isinstance(settings, RunConfig):
        from skdcgn.experiments.early import processes_of_run

        with processes_of_run(settings) as processes, progress() as watch:
            from skdcgn.experiments.run_mnist import run_mnist

            results = run_mnist(settings, folder, data_root=data_root, device=device, watch=watch, processes=processes)
        show_mnist(results, settings)
    elif isinstance(settings, PhotosConfig):
        from skdcgn.experiments.run_photos import run_photos

        with progress() as watch:
            challenged = run_photos(settings, folder, device=device, watch=watch)
        show_photos(challenged)
    else:
        from skdcgn.experiments.run_imagenet import run_imagenet

        with progress() as watch:
            photographs = run_imagenet(settings, folder, device=device, watch=watch)
        show_imagenet(photographs)
    point_to("report", folder / "report.html")


def study(
    name: Annotated[str, Parameter(help=f"One of {', '.join(STUDIES)}.")],
    preset: Annotated[str, Parameter(help=f"One of {', '.join(RUNS)}.")] = DEFAULT,
    /,
    *,
    out: Annotated[Path | None, Parameter(help="Folder of the study. Default: runs/study-PRESET-DIGEST.")] = None,
    seeds: SeedsOption = 3,
    teacher: Annotated[str | None, Parameter(help="A teacher's name or file. Default: the preset's teacher.")] = None,
    spec: SpecOption = None,
    textures: Annotated[Path | None, Parameter(help="Folder of texture pictures. Default: the preset's.")] = None,
    only: Annotated[
        list[str] | None, Parameter(help="Name of a point: leave out the others. Repeat the option for more points.")
    ] = None,
    quick: QuickOption = False,
    data_root: DataRoot = None,
    device: DeviceOption = Device.AUTO,
) -> None:
    """Measure the points of a study over seeds, show the table and write the report."""
    from skdcgn.experiments.run_study import run_study

    with progress() as watch:
        results = run_study(
            name,
            preset,
            out,
            teacher=teacher,
            spec=spec,
            textures=str(textures) if textures else None,
            only=only or (),
            seeds=seeds,
            quick=quick,
            data_root=data_root,
            device=device,
            watch=watch,
            announce=_print_line,
        )
    show_study(results.record)
    point_to("report", results.report)


def reproduce(
    table: Annotated[str, Parameter(help=f"One of {', '.join(TABLES)}.")],
    /,
    *,
    out: Annotated[Path, Parameter(help="Folder of the studies, a sub-folder per preset.")] = Path("runs/reproduce"),
    seeds: SeedsOption = 3,
    quick: QuickOption = False,
    data_root: DataRoot = None,
    device: DeviceOption = Device.AUTO,
) -> None:
    """Measure a published table again, preset by preset."""
    from skdcgn.experiments import run_study as studies

    with progress() as watch:
        for results in studies.reproduce(
            table, out, seeds=seeds, quick=quick, data_root=data_root, device=device, watch=watch, announce=_print_line
        ):
            show_study(results.record)
            point_to("report", results.report)


def _print_line(line: str) -> None:
    print(line, flush=True)
