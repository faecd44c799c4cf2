"""Verbs that train classifiers: classify, ensemble."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter, validators

from skdcgn.base.bounds import MOST_THREADS
from skdcgn.base.config import ClassifyConfig, EnsembleConfig
from skdcgn.base.presets import find_stage
from skdcgn.cli.flags import with_flags
from skdcgn.cli.help_page import FURTHER
from skdcgn.cli.options import (
    ConfigOption,
    ContinueOption,
    Device,
    DeviceOption,
    OutFolder,
    SeedOption,
    SpecOption,
    TrackOption,
    configure,
    preset_words,
)
from skdcgn.cli.terminal import place_of, point_to, progress


@with_flags(
    ClassifyConfig(),
    main=("epochs", "batch_size", "learning_rate", "cooldown"),
    leave_out=("images", "real", "per_shape", "policy", "agreement"),
)
def classify(
    images: Annotated[Path, Parameter(help="counterfactuals.safetensors that generate wrote.")],
    /,
    *,
    out: OutFolder,
    seed: SeedOption = 0,
    preset: Annotated[str | None, Parameter(help=preset_words("classify"))] = None,
    config: ConfigOption = None,
    device: DeviceOption = Device.AUTO,
    track: TrackOption = None,
    extend: ContinueOption = False,
    changes: dict[str, Any],
) -> None:
    """Train a classifier on counterfactuals."""
    settings = configure(find_stage("classify", preset) if preset else ClassifyConfig(), config, changes)
    from skdcgn.classifiers.small_cnn import classify as train_classifier
    from skdcgn.data.counterfactual_file import read_counterfactuals
    from skdcgn.training.loop import report_to

    data = read_counterfactuals(images)
    with progress() as watch:
        report = report_to(watch, "classify")
        train_classifier(
            data,
            settings,
            out,
            seed=seed,
            device=device,
            callbacks=(report,),
            track=track,
            extend=extend,
        )
    point_to("classifier", out)


@with_flags(EnsembleConfig(), main=("heads", "backbone", "image_size", "epochs"))
def ensemble(
    *,
    real: Annotated[Path, Parameter(help="Folder of real images, a sub-folder per class: ImageNet's train.")],
    out: OutFolder,
    cgn: Annotated[
        str | None, Parameter(help="CGN that composes new counterfactuals at every step: a name, a file or a folder.")
    ] = None,
    spec: SpecOption = None,
    images: Annotated[Path | None, Parameter(help="Or else counterfactuals.safetensors that generate wrote.")] = None,
    seed: SeedOption = 0,
    preset: Annotated[str | None, Parameter(help=preset_words("ensemble"))] = None,
    config: ConfigOption = None,
    workers: Annotated[
        int | None,
        Parameter(
            validator=validators.Number(gte=1, lte=MOST_THREADS),
            group=FURTHER,
            help="Threads that decode images. Default: one per core.",
        ),
    ] = None,
    device: DeviceOption = Device.AUTO,
    track: TrackOption = None,
    extend: ContinueOption = False,
    changes: dict[str, Any],
) -> None:
    """Train the invariant ensemble."""
    settings = configure(find_stage("ensemble", preset) if preset else EnsembleConfig(), config, changes)
    from skdcgn.classifiers.ensemble import WORKERS, train_ensemble
    from skdcgn.classifiers.photo_batches import open_stream
    from skdcgn.teachers.load import load_teacher
    from skdcgn.training.loop import report_to

    loaded = load_teacher(cgn, spec=spec, device=place_of(device)) if cgn is not None else None
    source = open_stream(settings, cgn=loaded, images=images, seed=seed)
    with progress() as watch:
        report = report_to(watch, "ensemble")
        train_ensemble(
            real,
            source,
            settings,
            out,
            seed=seed,
            workers=workers or WORKERS,
            device=device,
            callbacks=(report,),
            track=track,
            extend=extend,
        )
    point_to("ensemble", out)
