"""The command line: one function per stage. torch is imported inside them, so that ``--help`` answers at once."""

import logging
import os
import sys
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from skdcgn.base.config import (
    ClassifyConfig,
    DistillConfig,
    EnsembleConfig,
    ImageNetConfig,
    Precision,
    QueryConfig,
    RunConfig,
)
from skdcgn.base.ending import run_at_success
from skdcgn.base.errors import UserError, find
from skdcgn.base.presets import DEFAULT, IMAGENET_RUNS, IMAGENET_TEACHERS, RUNS, TEACHERS, run_preset, teach_preset
from skdcgn.base.records import digest, from_dict, merge, override, to_dict
from skdcgn.cli.flags import with_flags
from skdcgn.cli.terminal import (
    err_console,
    log_to_standard_error,
    out_console,
    point_to,
    show_bench,
    show_confusion,
    show_imagenet,
    show_quality,
    show_study,
    show_table,
    watching,
)
from skdcgn.experiments.studies import STUDIES, TABLES

app = typer.Typer(
    help="Distill a black-box Counterfactual Generative Network (CGN) into a tiny student, and train classifiers "
    "on its counterfactuals x = m * t + (1 - m) * b.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


class Format(StrEnum):
    SAFETENSORS = "safetensors"
    PNG = "png"


class Device(StrEnum):
    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


OutOption = Annotated[Path | None, typer.Option("--out", help="Folder of the run. Default: runs/NAME-DIGEST.")]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="JSON file laid over the preset; flags win over it.")
]
PresetOption = Annotated[
    str | None, typer.Option("--preset", help="Begin with the settings that this preset has here.")
]
DataRoot = Annotated[
    Path | None,
    typer.Option(
        envvar="SKDCGN_DATA", help="Folder with MNIST's four idx files, or with mnist/ in it. Default: download."
    ),
]
DeviceOption = Annotated[Device, typer.Option(help="Where networks run.")]
SeedOption = Annotated[int, typer.Option(help="Seed of everything random.")]
TeacherArgument = Annotated[
    str, typer.Argument(help="A zoo name, a CGN's .safetensors or .pth file, or a student's folder.")
]
OF_CLASSIFIER, OF_CGN, OF_ENSEMBLE = "Of a classifier", "Of a CGN", "Of an ensemble"
FullOption = Annotated[bool, typer.Option("--full", help="The published classifier budget: 100,000 images, 10 epochs.")]


def main() -> None:
    """Run the command line; a user's mistake ends in one line and exit status 2."""
    log_to_standard_error(logging.INFO)
    try:
        app()
    except SystemExit as done:
        if not done.code:
            run_at_success()
        raise
    except UserError as error:
        _fail(str(error))
    except OSError as error:
        _fail(_os_error(error))
    except KeyboardInterrupt:
        err_console.print("interrupted: run the same command again to go on")
        sys.exit(130)


def _fail(message: str) -> None:
    print("error: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(2)


def _os_error(error: OSError) -> str:
    place = error.filename or "the output folder"
    return f"{place}: {error.strerror or error}: free some space, check its permissions, or choose another --out"


def _default_out(out: Path | None, name: str, config: Any) -> Path:
    return out or Path("runs") / f"{name}-{digest(config)}"


def _laid_over(config: Any, file: Path | None, changes: dict[str, Any]) -> Any:
    if file:
        from skdcgn.base.files import read_json

        values = read_json(file)
        if not isinstance(values, dict):
            raise UserError(f"{file} holds no JSON object: write one with the configuration's keys")
        config = merge(config, values, str(file))
    return override(config, changes, "command line")


def _begin(stage: str, default: Any, preset: str | None) -> Any:
    """Return what a stage begins with: its part of a preset that has one, or the default."""
    having = {name: getattr(whole, stage) for name, whole in (RUNS | IMAGENET_RUNS).items() if hasattr(whole, stage)}
    return find("preset", preset, having) if preset else default


@app.command(rich_help_panel="The whole")
@with_flags(RUNS[DEFAULT], IMAGENET_RUNS["imagenet-smoke"], leave_out=("preset",))
def run(
    preset: Annotated[str, typer.Argument(help=f"One of {', '.join((*RUNS, *IMAGENET_RUNS))}.")] = DEFAULT,
    out: OutOption = None,
    data_root: DataRoot = None,
    device: DeviceOption = Device.AUTO,
    config: ConfigOption = None,
    full: FullOption = False,
    *,
    changes: dict[str, Any],
) -> None:
    """Do everything: query, distill, compose, classify, evaluate; ends with the table and report.html."""
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise UserError("run is one process: launch query, distill and ensemble by torchrun instead, one after another")
    if preset in IMAGENET_RUNS:
        if full:
            raise UserError(f"--full is a budget of the digits' classifiers: leave it out with {preset}")
        _run_imagenet(_laid_over(IMAGENET_RUNS[preset], config, changes), out, device)
        return
    chosen = _laid_over(run_preset(preset, full=full), config, changes)
    folder = _default_out(out, preset, chosen)
    from skdcgn.experiments.run_mnist import run_mnist

    with watching() as watch:
        results = run_mnist(chosen, folder, data_root=data_root, device=device, watch=watch)
    show_table(results, chosen)
    point_to("report", folder / "report.html")


def _run_imagenet(chosen: ImageNetConfig, out: Path | None, device: Device) -> None:
    """Do everything with photographs: query, distill, an ensemble on each CGN's counterfactuals, evaluate."""
    folder = _default_out(out, chosen.preset, chosen)
    from skdcgn.experiments.run_imagenet import run_imagenet

    with watching() as watch:
        run_imagenet(chosen, folder, device=device, watch=watch)
    show_imagenet(folder)
    point_to("report", folder / "report.html")


SeedsOption = Annotated[int, typer.Option(min=1, help="How many seeds, from 0.")]
QuickOption = Annotated[bool, typer.Option("--quick", help="A miniature: small budgets, one seed, minutes.")]


@app.command(rich_help_panel="The whole")
def study(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(STUDIES)}.")],
    preset: Annotated[str, typer.Argument(help=f"One of {', '.join(RUNS)}.")] = DEFAULT,
    out: Annotated[Path | None, typer.Option("--out", help="Its folder. Default: runs/study-PRESET-DIGEST.")] = None,
    seeds: SeedsOption = 3,
    teacher: Annotated[str | None, typer.Option(help="A zoo name or a file. Default: the preset's.")] = None,
    textures: Annotated[Path | None, typer.Option(help="Folder of texture pictures; default: the preset's.")] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Of its points only this one, by its name. Repeat for more.")
    ] = None,
    quick: QuickOption = False,
    data_root: DataRoot = None,
    device: DeviceOption = Device.AUTO,
) -> None:
    """Measure the points of a study over seeds: losses, queries, sizes, composition, distortions, correlation.

    The same command in another shell, or on another machine that sees the folder, takes a share of the work.
    """
    from skdcgn.experiments.run_study import run_study

    with watching() as watch:
        results = run_study(
            name,
            preset,
            out,
            teacher=teacher,
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


def _print_line(line: str) -> None:
    print(line, flush=True)


@app.command(rich_help_panel="The whole")
def reproduce(
    table: Annotated[str, typer.Argument(help=f"One of {', '.join(TABLES)}.")],
    out: Annotated[Path, typer.Option(help="Folder of its runs, a sub-folder per preset.")] = Path("runs/reproduce"),
    seeds: SeedsOption = 3,
    quick: QuickOption = False,
    data_root: DataRoot = None,
    device: DeviceOption = Device.AUTO,
) -> None:
    """Measure a table of the README again: each cell beside its band, and beside the paper's where there is one."""
    from skdcgn.experiments import run_study as studies

    with watching() as watch:
        for results in studies.reproduce(
            table,
            out,
            seeds=seeds,
            quick=quick,
            data_root=data_root,
            device=device,
            watch=watch,
            announce=_print_line,
        ):
            show_study(results.record)
            point_to("report", results.report)


@app.command(rich_help_panel="Stages")
@with_flags(TEACHERS[DEFAULT], IMAGENET_TEACHERS["imagenet-smoke"])
def teach(
    preset: Annotated[str, typer.Argument(help=f"One of {', '.join((*TEACHERS, *IMAGENET_TEACHERS))}.")] = DEFAULT,
    out: OutOption = None,
    data_root: DataRoot = None,
    device: DeviceOption = Device.AUTO,
    config: ConfigOption = None,
    sample_every: Annotated[
        int | None, typer.Option(min=1, help="Steps between sample grids. Default: 500; photographs: save-every.")
    ] = None,
    *,
    changes: dict[str, Any],
) -> None:
    """Train a teacher CGN on biased data: adversarial, binary, perceptual losses and reconstruction.

    Presets of photographs need no data: BigGAN draws what the CGN learns to take apart.
    """
    if preset in IMAGENET_TEACHERS:
        from skdcgn.teachers.teach_imagenet import teach_imagenet

        chosen = _laid_over(IMAGENET_TEACHERS[preset], config, changes)
        folder = _default_out(out, f"teach-{preset}", chosen)
        _teach(teach_imagenet, chosen, folder, device, sample_every or chosen.save_every)
        return
    chosen = _laid_over(teach_preset(preset), config, changes)
    folder = _default_out(out, f"teach-{Path(chosen.images).name if chosen.images else preset}", chosen)
    from skdcgn.teachers.teach import teach as train_teacher

    _teach(partial(train_teacher, data_root=data_root), chosen, folder, device, sample_every or 500)


def _teach(train: Callable[..., Any], chosen: Any, folder: Path, device: Device, sample_every: int) -> None:
    from skdcgn.training.loop import report_to

    with watching() as watch:
        train(
            chosen,
            folder,
            device=device,
            sample_every=sample_every,
            callbacks=(report_to(watch, "teach"),),
        )
    point_to("teacher", folder / "teacher.safetensors")


@app.command(rich_help_panel="Stages")
@with_flags(QueryConfig())
def query(
    teacher: TeacherArgument,
    out: Annotated[Path, typer.Option(help="Folder for the pairs; processes and machines may share it.")],
    seed: SeedOption = 0,
    rank: Annotated[int, typer.Option(min=0, envvar="RANK", help="Which of the processes this is, from 0.")] = 0,
    ranks: Annotated[int, typer.Option(min=1, envvar="WORLD_SIZE", help="How many share the work.")] = 1,
    device: DeviceOption = Device.AUTO,
    preset: PresetOption = None,
    config: ConfigOption = None,
    *,
    changes: dict[str, Any],
) -> None:
    """Ask a teacher for (noise, label, image) pairs of each mechanism, within a query budget."""
    chosen = _laid_over(_begin("query", QueryConfig(), preset), config, changes)
    from skdcgn.pairs.query import Rank, query_all
    from skdcgn.teachers.load import load_teacher

    loaded = load_teacher(teacher, device=_place(device))
    with watching() as watch:
        spent = query_all(loaded, out, chosen, seed=seed, rank=Rank(rank, ranks), watch=watch)
    print(", ".join(f"{mechanism}: {count} queries" for mechanism, count in spent.items()))


@app.command(rich_help_panel="Stages")
@with_flags(DistillConfig())
def distill(
    pairs: Annotated[Path, typer.Argument(help="Folder that query wrote.")],
    out: Annotated[Path, typer.Option(help="Folder of the run; the student lands in its sub-folder student.")],
    teacher: Annotated[str | None, typer.Option(help="To be asked again, where query kept no images.")] = None,
    seed: SeedOption = 0,
    device: DeviceOption = Device.AUTO,
    preset: PresetOption = None,
    config: ConfigOption = None,
    *,
    changes: dict[str, Any],
) -> None:
    """Distill each mechanism's pairs into a tiny conditional generator: pixel, feature, KL, hinge losses."""
    chosen = _laid_over(_begin("distill", DistillConfig(), preset), config, changes)
    from skdcgn.students.distill import distill as distill_pairs
    from skdcgn.teachers.load import load_teacher

    asked = load_teacher(teacher, device=_place(device)) if teacher else None
    with watching() as watch:
        student = distill_pairs(pairs, out, chosen, teacher=asked, seed=seed, device=device, watch=watch)
    print(f"student: {out / 'student'} ({student.size:,} parameters)")


@app.command(rich_help_panel="Stages")
def generate(
    cgn: TeacherArgument,
    out: Annotated[Path, typer.Option(help="Folder for the images.")],
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="How many counterfactuals.")] = 1000,
    per_shape: Annotated[int, typer.Option(min=1, help="Counterfactuals that share a mask (k).")] = 1,
    policy: Annotated[
        list[str] | None, typer.Option(help="Intervention on each, as shape.elastic:1.5; repeat the flag.")
    ] = None,
    seed: SeedOption = 0,
    form: Annotated[
        Format, typer.Option("--format", help="One safetensors file, or a PNG each with labels.csv.")
    ] = Format.SAFETENSORS,
    interpolate: Annotated[
        str | None, typer.Option(help="Instead: a strip and an animated GIF in shape, texture, background or all.")
    ] = None,
    classes: Annotated[tuple[int, int], typer.Option(help="The two classes to interpolate between.")] = (3, 5),
    frames: Annotated[int, typer.Option(min=2, help="Frames of the interpolation.")] = 12,
    device: DeviceOption = Device.AUTO,
) -> None:
    """Compose counterfactuals x = m * t + (1 - m) * b with independent labels; or interpolate."""
    from skdcgn.deploy.generate import write_counterfactuals, write_interpolation
    from skdcgn.teachers.load import load_teacher

    loaded = load_teacher(cgn, device=_place(device))
    if interpolate:
        written = write_interpolation(loaded, out, interpolate, classes, frames=frames, seed=seed)
    else:
        words = tuple(policy or ())
        written = write_counterfactuals(loaded, out, n, per_shape=per_shape, policy=words, seed=seed, form=form)
    print("\n".join(map(str, written)))


@app.command(rich_help_panel="Stages")
def export(
    cgn: TeacherArgument,
    out: Annotated[Path, typer.Option(help="The .onnx file to write.")],
    precision: Annotated[Precision, typer.Option(help="Of the weights; int8: of activations too.")] = Precision.FP32,
) -> None:
    """Write one ONNX file that draws counterfactuals from noise, three labels and crop offsets; composer included."""
    from skdcgn.deploy.export import export_cgn
    from skdcgn.teachers.load import load_teacher

    written = export_cgn(load_teacher(cgn), out, precision)
    print(
        f"{out}: {written.size / 1024:.0f} KB; from PyTorch it differs by {written.mean:#.2g} of 256 grey levels on "
        f"average, {written.greatest:#.3g} at most"
    )


@app.command(rich_help_panel="Stages")
def bench(
    student: Annotated[Path, typer.Argument(help="The student's folder.")],
    teacher: Annotated[str, typer.Option(help="Its teacher: a zoo name or a file.")] = DEFAULT,
    batch: Annotated[list[int] | None, typer.Option(min=1, help="Batch size; repeat the flag. [64 256]")] = None,
    form: Annotated[list[str] | None, typer.Option(help="Form to time; repeat the flag. Default: all at hand.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Timings of each form, in turn; the median counts.")] = 9,
    device: DeviceOption = Device.CPU,
    out: Annotated[Path | None, typer.Option(help="JSON file for the numbers.")] = None,
) -> None:
    """Time student and teacher in turn in one process: eager, channels-last, compiled, ONNX Runtime."""
    from skdcgn.base.files import write_json
    from skdcgn.deploy.bench import ORDER, measure
    from skdcgn.teachers.load import load_student, load_teacher

    batches, forms = tuple(batch or (64, 256)), tuple(form or ORDER)
    told = measure(
        load_teacher(teacher),
        load_student(student),
        batches=batches,
        rounds=rounds,
        wanted=forms,
        device=_place(device),
    )
    show_bench(told)
    if out:
        write_json(out, told)


@app.command(rich_help_panel="Stages")
@with_flags(ClassifyConfig(), leave_out=("images", "real", "per_shape", "policy", "agreement"))
def classify(
    images: Annotated[Path, typer.Argument(help="counterfactuals.safetensors that generate wrote.")],
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    seed: SeedOption = 0,
    device: DeviceOption = Device.AUTO,
    preset: PresetOption = None,
    config: ConfigOption = None,
    *,
    changes: dict[str, Any],
) -> None:
    """Train the published classifier on counterfactuals; their shape label is the class."""
    chosen = _laid_over(_begin("classify", ClassifyConfig(), preset), config, changes)
    from skdcgn.base.files import sha256
    from skdcgn.classifiers.small_cnn import classify as train_classifier
    from skdcgn.data.counterfactuals import read_counterfactuals
    from skdcgn.training.loop import report_to

    data, checksum = read_counterfactuals(images), sha256(images)
    with watching() as watch:
        report = report_to(watch, "classify")
        train_classifier(data, chosen, out, seed=seed, device=device, origin=checksum, callbacks=(report,))
    print(f"classifier: {out}")


@app.command(rich_help_panel="Stages")
@with_flags(EnsembleConfig())
def ensemble(
    real: Annotated[Path, typer.Option(help="Folder of real images, a sub-folder per class: ImageNet's train.")],
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    cgn: Annotated[
        str | None, typer.Option(help="A CGN that composes counterfactuals at every step: as for generate.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Instead: counterfactuals.safetensors that generate wrote.")
    ] = None,
    seed: SeedOption = 0,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads that decode; default: one per core.")] = None,
    device: DeviceOption = Device.AUTO,
    preset: PresetOption = None,
    config: ConfigOption = None,
    *,
    changes: dict[str, Any],
) -> None:
    """Train the invariant ensemble, heads for shape, texture and background, on real images and counterfactuals."""
    chosen = _laid_over(_begin("ensemble", EnsembleConfig(), preset), config, changes)
    if (cgn is None) == (images is None):
        raise UserError("pass counterfactuals either by --cgn or by --images")
    from skdcgn.classifiers.ensemble import WORKERS, train_ensemble
    from skdcgn.data.counterfactuals import stream_from_cgn, stream_from_file
    from skdcgn.teachers.load import load_teacher
    from skdcgn.training.loop import report_to

    if cgn is not None:
        source = stream_from_cgn(load_teacher(cgn, device=_place(device)), chosen.counterfactuals, seed=seed)
    else:
        source = stream_from_file(Path(str(images)), chosen.counterfactuals, seed=seed)
    with watching() as watch:
        report = report_to(watch, "ensemble")
        train_ensemble(
            real, source, chosen, out, seed=seed, workers=workers or WORKERS, device=device, callbacks=(report,)
        )
    print(f"ensemble: {out}")


@app.command(rich_help_panel="Stages")
def evaluate(
    what: Annotated[
        str, typer.Argument(help="A classifier's folder, a CGN (student's folder, file or zoo name), or a whole run's.")
    ],
    preset: Annotated[str, typer.Option(help="Whose decorrelated test images are measured against.")] = DEFAULT,
    textures: Annotated[Path | None, typer.Option(help="Folder of texture pictures; default: the preset's.")] = None,
    out: Annotated[Path | None, typer.Option(help="JSON file for the numbers.")] = None,
    data_root: DataRoot = None,
    device: DeviceOption = Device.AUTO,
    images: Annotated[
        Path | None,
        typer.Option(
            help="Your own images instead, a sub-folder per class; an ensemble's val.", rich_help_panel=OF_CLASSIFIER
        ),
    ] = None,
    cgn: Annotated[
        str | None,
        typer.Option(
            help="A CGN, to vary one mechanism's label at a time; of a CGN: whose counterfactuals --judges learn from.",
            rich_help_panel=OF_CLASSIFIER,
        ),
    ] = None,
    extractor: Annotated[
        str,
        typer.Option(
            help="digits, efficientnet-lite0, a classifier's folder or an .onnx file.", rich_help_panel=OF_CGN
        ),
    ] = "digits",
    n: Annotated[
        int, typer.Option("--n", "-n", min=20, help="How many counterfactuals.", rich_help_panel=OF_CGN)
    ] = 5000,
    pairs: Annotated[
        Path | None,
        typer.Option(help="Its teacher's pairs: L1, PSNR, SSIM of held-out answers.", rich_help_panel=OF_CGN),
    ] = None,
    judges: Annotated[
        Path | None,
        typer.Option(
            help="Folder for a judge of each mechanism: effectiveness, composition, minimality, realism.",
            rich_help_panel=OF_CGN,
        ),
    ] = None,
    cue_conflict: Annotated[
        Path | None,
        typer.Option(help="Cue-conflict images, as airplane/airplane1-bear2.png.", rich_help_panel=OF_ENSEMBLE),
    ] = None,
    in9: Annotated[
        Path | None, typer.Option(help="ImageNet-9, as mixed_rand/val/00_dog/x.JPEG.", rich_help_panel=OF_ENSEMBLE)
    ] = None,
    in9_map: Annotated[
        Path | None,
        typer.Option(
            help="Which of the nine a class is; default: in_to_in9.json in or beside --in9.",
            rich_help_panel=OF_ENSEMBLE,
        ),
    ] = None,
) -> None:
    """Measure a classifier out of domain, a CGN's counterfactuals beside real images, or show a run's table again.

    Out of domain: on test images whose colours and textures say nothing of the class; and which class is taken for
    which. Of a whole run, say whether each accuracy lies within the band on its recipe's card. Of a CGN: distances on
    an extractor's features, and the axioms of counterfactuals. Of an ensemble: top-1 and top-5, shape bias of each
    head, ImageNet-9 and its gap between backgrounds.
    """
    from skdcgn.base.files import read_json, write_json
    from skdcgn.experiments.evaluate import Kind, kind_of
    from skdcgn.results.records import MnistResults, read_results

    folder, shown = Path(what), override(run_preset(preset), {"textures": str(textures)} if textures else {})
    kind = kind_of(folder)
    for flag, value, kinds in (
        ("--out", out, (Kind.CLASSIFIER, Kind.CGN, Kind.ENSEMBLE)),
        ("--images", images, (Kind.CLASSIFIER, Kind.ENSEMBLE)),
        ("--cgn", cgn, (Kind.CLASSIFIER, Kind.CGN)),
        ("--pairs", pairs, (Kind.CGN,)),
        ("--judges", judges, (Kind.CGN,)),
        ("--cue-conflict", cue_conflict, (Kind.ENSEMBLE,)),
        ("--in9", in9, (Kind.ENSEMBLE,)),
        ("--in9-map", in9_map, (Kind.ENSEMBLE,)),
    ):
        if value and kind not in kinds:
            raise UserError(f"{flag} measures {' or '.join(kinds)}, and {what} is {kind}: leave it out")
    numbers: dict[str, Any] = {}
    match kind:
        case Kind.IMAGENET_RUN:
            show_imagenet(folder)
        case Kind.RUN:
            told = {key: value for key, value in read_json(folder / "config.json").items() if key != "digest"}
            show_table(read_results(folder, MnistResults), from_dict(RunConfig, told, str(folder / "config.json")))
        case Kind.ENSEMBLE:
            numbers = _evaluate_ensemble(folder, images, cue_conflict, in9, in9_map, device)
        case Kind.CLASSIFIER:
            numbers = _evaluate_classifier(folder, shown, images, cgn, data_root)
        case Kind.CGN:
            numbers = _evaluate_cgn(what, shown, extractor, n, pairs, cgn, judges, data_root, device)
    if out:
        write_json(out, numbers)


def _evaluate_classifier(
    folder: Path, shown: RunConfig, images: Path | None, cgn: str | None, data_root: Path | None
) -> dict[str, Any]:
    from skdcgn.base.files import read_json
    from skdcgn.classifiers.small_cnn import accuracy, load_classifier, predict
    from skdcgn.evaluation.attribution import confusion, run_trial, sensitivity
    from skdcgn.experiments.training_sets import own_test_set, test_set
    from skdcgn.teachers.load import load_teacher

    classifier = load_classifier(folder)
    classes = classifier.head.out_features
    if images:
        told = read_json(folder / "config.json")
        data, where = own_test_set(images, told.get("image_size", 32), classes), str(images)
    else:
        data, where = test_set(shown, data_root), shown.preset
    reached = accuracy(classifier, data)
    counts = confusion(partial(predict, classifier), data, max(classes, int(data.labels.max()) + 1))
    print(f"out-of-domain accuracy on {where}: {reached:.2f} %")
    show_confusion(counts.tolist())
    numbers: dict[str, Any] = {"ood_accuracy": reached, "confusion": counts.tolist()}
    if cgn:
        found = sensitivity(partial(predict, classifier), run_trial(load_teacher(cgn)))
        for mechanism, one in found.items():
            print(
                f"{mechanism} varied: {one.accuracy:.1f} % right, {one.unchanged:.1f} % unchanged, "
                f"{one.followed:.1f} % followed it"
            )
        numbers["sensitivity"] = {mechanism: one._asdict() for mechanism, one in found.items()}
    return numbers


def _evaluate_cgn(
    what: str,
    shown: RunConfig,
    extractor: str,
    n: int,
    pairs: Path | None,
    judged_by: str | None,
    judges: Path | None,
    data_root: Path | None,
    device: Device,
) -> dict[str, Any]:
    from skdcgn.evaluation.attribution import axioms, train_mechanism_classifiers
    from skdcgn.evaluation.measure import compare_cgn, compare_with_pairs
    from skdcgn.experiments.training_sets import test_set
    from skdcgn.features.extractors import load_extractor
    from skdcgn.teachers.load import load_teacher

    if judged_by and not judges:
        raise UserError(f"--cgn {judged_by} has no judges to teach: name a folder for them: --judges DIR")
    place = _place(device)
    drawn, seen = load_teacher(what, device=place), load_extractor(extractor, device=place)
    real = test_set(shown, data_root)
    numbers: dict[str, Any] = {}
    if pairs:
        compared = compare_with_pairs(drawn, pairs)
        for mechanism, one in compared.items():
            print(f"{mechanism}: L1 {one.l1:.4f}, PSNR {one.psnr:.2f} dB, SSIM {one.ssim:.3f} ({one.pairs:,} pairs)")
        numbers["pairs"] = {mechanism: one._asdict() for mechanism, one in compared.items()}
    measured = compare_cgn(drawn, seen, real, n=n)
    for number in measured.values():
        print(number)
    numbers |= {name: number.to_dict() for name, number in measured.items()}
    if judges:
        known = train_mechanism_classifiers(load_teacher(judged_by or what, device=place), judges, device=device)
        found = axioms(drawn, known, seen, real.images)
        show_quality(found)
        numbers["quality"] = found.to_dict()
    return numbers


def _evaluate_ensemble(
    folder: Path, images: Path | None, cue_conflict: Path | None, in9: Path | None, in9_map: Path | None, device: Device
) -> dict[str, Any]:
    if not (images or cue_conflict or in9):
        raise UserError(f"{folder} is an ensemble: say what to measure it by: --images, --cue-conflict or --in9")
    from skdcgn.base.files import read_json
    from skdcgn.classifiers.ensemble import load_ensemble
    from skdcgn.evaluation.imagenet import BG_GAP, measure_ensemble, open_challenges

    loaded, names = load_ensemble(folder)
    size = int(read_json(folder / "config.json")["image_size"])
    challenges = open_challenges(names, images=images, cue_conflict=cue_conflict, in9_folder=in9, in9_map=in9_map)
    scores = measure_ensemble(loaded.to(_place(device)), names, size, challenges)
    for metric, by_head in scores.items():
        for head, value in by_head.percent.items():
            print(f"{head}: {metric} {value:.1f} {'points' if metric == BG_GAP else '%'} of {by_head.images:,} images")
    return to_dict(scores)


@app.command(rich_help_panel="Help")
def doctor(data_root: DataRoot = None) -> None:
    """Say what is installed, which device, teachers and data are at hand, and what to do about the rest."""
    from skdcgn.experiments.doctor import examine

    for name, fine, words in examine(data_root):
        mark = "[green]ok[/green]     " if fine else "[yellow]missing[/yellow]"
        out_console.print(f"{mark} [bold]{escape(name)}[/bold]: {escape(words)}", soft_wrap=True)


def _place(device: Device) -> str:
    from skdcgn.training.train import make_accelerator

    return str(make_accelerator(device).device)


if __name__ == "__main__":
    main()
