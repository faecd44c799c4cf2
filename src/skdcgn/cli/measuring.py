"""Verbs that measure: evaluate with its four kinds, and bench."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Group, Parameter, validators

from skdcgn.base.bounds import MOST_BATCH, MOST_COMPARED
from skdcgn.base.presets import DEFAULT
from skdcgn.cli.help_page import ARGUMENTS, OPTIONS
from skdcgn.cli.options import (
    DEFAULT_CLASSIFIER,
    POSITIVE,
    CGNArgument,
    ClassifierOptions,
    DataRoot,
    Device,
    DeviceOption,
    ModelArgument,
    NumbersOption,
    SpecOption,
    TruncationOption,
)
from skdcgn.cli.terminal import (
    place_of,
    save_numbers,
    show_bench,
    show_cgn,
    show_classifier,
    show_ensemble,
    show_imagenet,
    show_mnist,
    show_photos,
)

evaluate = App(
    name="evaluate",
    usage="skdcgn evaluate [KIND] PATH [OPTIONS]",
    group_commands=Group("Kinds", sort_key=0),
    group_arguments=ARGUMENTS,
    group_parameters=OPTIONS,
)
TestPreset = Annotated[str, Parameter(help="Preset whose decorrelated test images are taken.")]
Textures = Annotated[Path | None, Parameter(help="Folder of texture pictures. Default: the preset's.")]
TestPictures = Annotated[Path | None, Parameter(help="Your own test pictures instead, a sub-folder per class.")]

CueConflict = Annotated[
    Path | None, Parameter(help="Cue-conflict images, as airplane/airplane1-bear2.png: shape bias.")
]
ImageNet9 = Annotated[Path | None, Parameter(help="ImageNet-9, as mixed_rand/val/00_dog/x.JPEG: BG-gap.")]
ImageNet9Map = Annotated[
    Path | None,
    Parameter(help="JSON of which of the nine classes each class is. Default: in_to_in9.json in or beside --in9."),
]


def name_kind(tokens: tuple[str, ...]) -> tuple[str, ...]:
    """Insert the detected kind of PATH after ``evaluate``, unless the user named it."""
    from skdcgn.experiments.artifacts import ArtifactKind, artifact_kind

    kinds = {ArtifactKind.CLASSIFIER: "classifier", ArtifactKind.CGN: "cgn", ArtifactKind.ENSEMBLE: "ensemble"}
    verb, *rest = tokens
    if not rest or rest[0].startswith("-") or rest[0] in (*kinds.values(), "run"):
        return tokens
    return (verb, kinds.get(artifact_kind(rest[0]), "run"), *rest)


@evaluate.command
def classifier(
    model: ModelArgument,
    /,
    *,
    images: TestPictures = None,
    cgn: Annotated[
        str | None, Parameter(help="CGN: adds the effect of each label; skdcgn audit says how sure it is.")
    ] = None,
    spec: SpecOption = None,
    cue_conflict: CueConflict = None,
    in9: ImageNet9 = None,
    in9_map: ImageNet9Map = None,
    preset: TestPreset = DEFAULT,
    textures: Textures = None,
    options: ClassifierOptions = DEFAULT_CLASSIFIER,
    out: NumbersOption = None,
    data_root: DataRoot = None,
    device: DeviceOption = Device.AUTO,
) -> None:
    """Test any classifier out of domain: which class it takes for which, shape bias, the effect of backgrounds.

    Out of domain: on images whose colours and textures are independent of the class, or on folders of your own.
    """
    from skdcgn.experiments.evaluate_classifier import evaluate_classifier

    result = evaluate_classifier(
        model,
        images=images,
        cgn=cgn,
        spec=spec,
        cue_conflict=cue_conflict,
        in9=in9,
        in9_map=in9_map,
        preset=preset,
        textures=textures,
        data_root=data_root,
        device=device,
        **vars(options),
    )
    show_classifier(result)
    save_numbers(out, result.to_dict())


@evaluate.command
def cgn(
    cgn: CGNArgument,
    /,
    *,
    spec: SpecOption = None,
    images: TestPictures = None,
    extractor: Annotated[
        str, Parameter(help="Features: digits, efficientnet-lite0, a classifier's folder or an .onnx file.")
    ] = "digits",
    n: Annotated[
        int,
        Parameter(
            name=("--n", "-n"),
            validator=validators.Number(gte=20, lte=MOST_COMPARED),
            help="Number of counterfactuals.",
        ),
    ] = 5000,
    pairs: Annotated[
        Path | None, Parameter(help="Folder of its teacher's pairs: L1, PSNR and SSIM to held-out answers.")
    ] = None,
    mechanism_classifiers: Annotated[
        Path | None,
        Parameter(help="Folder for a classifier of each mechanism: measures the axioms of counterfactuals too."),
    ] = None,
    teacher: Annotated[
        str | None, Parameter(help="CGN whose counterfactuals these classifiers learn. Default: the measured one.")
    ] = None,
    preset: TestPreset = DEFAULT,
    textures: Textures = None,
    out: NumbersOption = None,
    data_root: DataRoot = None,
    device: DeviceOption = Device.AUTO,
) -> None:
    """Compare a CGN's counterfactuals with real images.

    Frechet and kernel distance, precision, recall, density, coverage and diversity on an extractor's features; with
    --mechanism-classifiers effectiveness, composition, minimality and realism.
    """
    from skdcgn.experiments.evaluate import evaluate_cgn

    result = evaluate_cgn(
        cgn,
        spec=spec,
        images=images,
        extractor=extractor,
        n=n,
        pairs=pairs,
        mechanism_classifiers=mechanism_classifiers,
        teacher=teacher,
        preset=preset,
        textures=textures,
        data_root=data_root,
        device=device,
    )
    show_cgn(result)
    save_numbers(out, result.to_dict())


@evaluate.command
def ensemble(
    folder: Annotated[Path, Parameter(help="Folder that ensemble wrote.")],
    /,
    *,
    images: Annotated[Path | None, Parameter(help="Photographs, a sub-folder per class: top-1, top-5.")] = None,
    cue_conflict: CueConflict = None,
    in9: ImageNet9 = None,
    in9_map: ImageNet9Map = None,
    out: NumbersOption = None,
    device: DeviceOption = Device.AUTO,
) -> None:
    """Measure an ensemble and each of its heads."""
    from skdcgn.experiments.evaluate import evaluate_ensemble

    scores = evaluate_ensemble(
        folder, images=images, cue_conflict=cue_conflict, in9=in9, in9_map=in9_map, device=device
    )
    show_ensemble(scores)
    save_numbers(out, scores)


@evaluate.command
def run(folder: Annotated[Path, Parameter(help="Folder that run wrote.")], /) -> None:
    """Show the table of a finished run again, with the band that each accuracy should lie in."""
    from skdcgn.experiments.evaluate import RunEvaluation, evaluate_run
    from skdcgn.results.photo_record import PhotosResults

    evaluation = evaluate_run(folder)
    if isinstance(evaluation, RunEvaluation):
        show_mnist(evaluation.results, evaluation.config)
    elif isinstance(evaluation, PhotosResults):
        show_photos(evaluation)
    else:
        show_imagenet(evaluation)


def bench(
    student: Annotated[Path, Parameter(help="The student's folder.")],
    /,
    *,
    teacher: Annotated[str, Parameter(help="Its teacher: a name or a file.")] = DEFAULT,
    truncation: TruncationOption = None,
    spec: SpecOption = None,
    batch: Annotated[
        list[int] | None,
        Parameter(
            validator=validators.Number(gte=1, lte=MOST_BATCH), help="Batch size; repeat the option. [default: 64 256]"
        ),
    ] = None,
    form: Annotated[
        list[str] | None,
        Parameter(
            help="Form to time: eager, channels-last, fast, compiled, onnx-fp32, onnx-fp16 or onnx-int8; "
            "repeat the option. Default: all that this machine can run."
        ),
    ] = None,
    rounds: Annotated[int, Parameter(validator=POSITIVE, help="Timings of each form; the median is shown.")] = 9,
    device: DeviceOption = Device.CPU,
    out: NumbersOption = None,
) -> None:
    """Time a student and its teacher."""
    from skdcgn.deploy.bench import FORMS, time_forms
    from skdcgn.teachers.load import load_student, load_teacher

    timings = time_forms(
        load_teacher(teacher, spec=spec, truncation=truncation),
        load_student(student),
        batches=tuple(batch or (64, 256)),
        rounds=rounds,
        names=tuple(form or FORMS),
        device=place_of(device),
    )
    show_bench(timings)
    save_numbers(out, timings)
