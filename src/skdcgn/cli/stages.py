"""Verbs of the stages before classification: teach, query, distill."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from skdcgn.base.config import DistillConfig, QueryConfig, TeachConfig
from skdcgn.base.errors import UserError
from skdcgn.base.presets import DEFAULT, IMAGENET_TEACHERS, TEACHERS, find_stage, find_teaching
from skdcgn.cli.flags import with_flags
from skdcgn.cli.help_page import FURTHER
from skdcgn.cli.options import (
    POSITIVE,
    CGNArgument,
    ConfigOption,
    ContinueOption,
    DataRoot,
    Device,
    DeviceOption,
    OutOption,
    RankOption,
    RanksOption,
    SeedOption,
    SpecOption,
    TrackOption,
    TruncationOption,
    configure,
    default_out,
    preset_words,
)
from skdcgn.cli.terminal import place_of, point_to, progress


@with_flags(
    TEACHERS[DEFAULT],
    IMAGENET_TEACHERS["imagenet-smoke"],
    main=("images", "masks", "image_size", "glyphs", "appearance", "steps", "seed"),
)
def teach(
    preset: Annotated[str, Parameter(help=f"One of {', '.join((*TEACHERS, *IMAGENET_TEACHERS))}.")] = DEFAULT,
    /,
    *,
    out: OutOption = None,
    config: ConfigOption = None,
    sample_every: Annotated[
        int | None,
        Parameter(
            validator=POSITIVE, help="Steps between sample pictures. Default: 500; for photographs, --save-every."
        ),
    ] = None,
    data_root: DataRoot = None,
    device: DeviceOption = Device.AUTO,
    track: TrackOption = None,
    extend: ContinueOption = False,
    changes: dict[str, Any],
) -> None:
    """Train a teacher CGN."""
    settings = configure(find_teaching(preset), config, changes)
    from skdcgn.training.loop import report_to

    with progress() as watch:
        callbacks = (report_to(watch, "teach"),)
        if isinstance(settings, TeachConfig):
            from skdcgn.teachers.teach import teach as teach_digits

            folder = default_out(out, f"teach-{Path(settings.images).name if settings.images else preset}", settings)
            teach_digits(
                settings,
                folder,
                data_root=data_root,
                device=device,
                sample_every=sample_every or 500,
                callbacks=callbacks,
                track=track,
                extend=extend,
            )
        else:
            from skdcgn.teachers.teach_imagenet import teach_imagenet

            folder = default_out(out, f"teach-{preset}", settings)
            every = sample_every or settings.save_every
            teach_imagenet(
                settings,
                folder,
                device=device,
                sample_every=every,
                callbacks=callbacks,
                track=track,
                extend=extend,
            )
    point_to("teacher", folder / "teacher.safetensors")


@with_flags(QueryConfig(), main=("shape", "texture", "background", "classes", "budget"))
def query(
    teacher: CGNArgument,
    /,
    *,
    out: Annotated[Path, Parameter(help="Folder of the pairs; processes and machines may share it.")],
    dry_run: Annotated[bool, Parameter(negative="", help="Say what it would ask and cost; ask nothing.")] = False,
    truncation: TruncationOption = None,
    spec: SpecOption = None,
    seed: SeedOption = 0,
    preset: Annotated[str | None, Parameter(help=preset_words("query"))] = None,
    config: ConfigOption = None,
    rank: RankOption = 0,
    ranks: RanksOption = 1,
    device: DeviceOption = Device.AUTO,
    changes: dict[str, Any],
) -> None:
    """Ask a teacher for pairs."""
    settings = configure(find_stage("query", preset) if preset else QueryConfig(), config, changes)
    from skdcgn.base.rank import Rank
    from skdcgn.pairs.estimate import held_out_in
    from skdcgn.students.asking import ask, estimate
    from skdcgn.teachers.load import load_teacher

    loaded = load_teacher(teacher, spec=spec, truncation=truncation, device=place_of(device))
    if dry_run:
        print("\n".join(estimate(loaded, out, settings, seed=seed).lines()))
        return
    with progress() as watch:
        queries = ask(loaded, out, settings, seed=seed, rank=Rank(rank, ranks), watch=watch)
    print(", ".join(f"{mechanism}: {count} queries" for mechanism, count in queries.items()), end="")
    print(f"; of each, {held_out_in(out)} more are held out (--held-out)")


@with_flags(DistillConfig(), main=("steps", "batch_size", "learning_rate", "feature", "kl", "adversarial"))
def distill(
    pairs: Annotated[Path, Parameter(help="Folder that query wrote.")],
    /,
    *,
    out: Annotated[Path, Parameter(help="Folder of the run; the student is written to its sub-folder student.")],
    teacher: Annotated[str | None, Parameter(help="Teacher to query again if the pairs store no images.")] = None,
    truncation: Annotated[float | None, Parameter(group=FURTHER, help="Factor on that teacher's noise.")] = None,
    spec: SpecOption = None,
    seed: SeedOption = 0,
    preset: Annotated[str | None, Parameter(help=preset_words("distill"))] = None,
    config: ConfigOption = None,
    device: DeviceOption = Device.AUTO,
    track: TrackOption = None,
    extend: ContinueOption = False,
    changes: dict[str, Any],
) -> None:
    """Distill a student CGN from pairs."""
    settings = configure(find_stage("distill", preset) if preset else DistillConfig(), config, changes)
    if teacher is None and (truncation, spec) != (None, None):
        raise UserError("--truncation and --spec are of a teacher: pass --teacher too, or leave them out")
    from skdcgn.students.distill import distill as distill_pairs
    from skdcgn.teachers.load import load_teacher

    place = place_of(device)
    source = load_teacher(teacher, spec=spec, truncation=truncation, device=place) if teacher else None
    with progress() as watch:
        student = distill_pairs(
            pairs,
            out,
            settings,
            teacher=source,
            seed=seed,
            device=device,
            watch=watch,
            track=track,
            extend=extend,
        )
    point_to("student", out / "student", f"({student.size:,} parameters)")
