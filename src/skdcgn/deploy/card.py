"""The model card of a student: metadata for the Hugging Face Hub, and in words and tables what is known of it.

Its numbers are those of the student's run, or of the student itself; what was not measured is not in it.
"""

import html
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from skdcgn.cgn.captions import with_heading
from skdcgn.cgn.compose import compose
from skdcgn.cgn.drawer import draw
from skdcgn.cgn.drawings import class_columns
from skdcgn.cgn.mechanism import Mechanism, Spec
from skdcgn.cgn.pictures import as_rgb, encode, grid, join_vertically
from skdcgn.deploy.origin import AnyResults, Origin
from skdcgn.results.head_lines import head_lines
from skdcgn.results.photo_record import PhotosResults
from skdcgn.results.records import ImageNetResults, MnistResults
from skdcgn.results.versions import versions
from skdcgn.students.generator import StudentCGN
from skdcgn.students.licence import licence_metadata

SAMPLES = "samples.png"
MARK = "<!-- skdcgn push writes this card again; delete this line to keep a card of your own -->"
WIDTH, MOST_COLUMNS, MOST_NAMES, MOST_CHANGES = 1024, 10, 30, 20
DISTRIBUTIONS = {
    "normal": "each from N(0, 1)",
    "truncated-normal": "each from N(0, 1) within [-2, 2]",
    "uniform": "each uniform in [-1, 1]",
}
TRAINED_ON = {
    "biased": "the biased training images",
    "teacher": "counterfactuals of the teacher",
    "student": "counterfactuals of this student",
    "oracle": "real images without the bias",
}
PAPERS = """- Sauer and Geiger, *Counterfactual Generative Networks*, ICLR 2021.
- Ambekar et al., *SKDCGN: Source-free Knowledge Distillation of Counterfactual Generative Networks using cGANs*, ECCV
  Workshops 2022, [doi:10.1007/978-3-031-25069-9_43](https://doi.org/10.1007/978-3-031-25069-9_43).
- Chang and Lu, *TinyGAN: Distilling BigGAN for Conditional Image Generation*, ACCV 2020."""
WORDS = """A tiny Counterfactual Generative Network (CGN). From noise and a class each it draws a shape mask `m`, a
texture `t` and a background `b`, and composes images `x = m * t + (1 - m) * b`. It was distilled from a teacher's
answers."""


@dataclass(frozen=True)
class Repository:
    """Where a student goes: ``user/student``, and the branch; None: ``main``."""

    name: str
    revision: str | None = None


def card_text(student: StudentCGN, origin: Origin, licence: str, repository: Repository) -> str:
    """Return the card (``README.md``): front matter, picture, lines that load, tables, making, licence."""
    title = repository.name.rpartition("/")[2]
    parts = [
        f"---\n{metadata(origin, licence, title)}\n---",
        f"# {title}",
        WORDS,
        f"![Masks, textures and backgrounds by class, and counterfactuals]({SAMPLES})",
        f"## Use\n\n```python\n{use_lines(student, repository)}\n```",
        f"## What it draws\n\n{table(('', ''), spec_rows(student))}",
        *measured(origin),
        f"## How it was made\n\n{making(origin)}",
        f"## Licence\n\n{licence}: the licence of its teacher, stated by {licensor(origin)}.",
        f"## Papers\n\n{PAPERS}",
        MARK,
    ]
    return "\n\n".join(parts) + "\n"


def metadata(origin: Origin, licence: str, title: str) -> str:
    """Return the YAML of the card, by huggingface_hub; a run on digits or MNIST gives it a ``model-index``."""
    from huggingface_hub import EvalResult, ModelCardData

    results, scores, lines = origin.results, None, dict[str, Any](licence_metadata(licence))
    if isinstance(results, MnistResults):
        scores = [
            EvalResult(
                task_type="image-classification",
                task_name="classifier trained on counterfactuals of this student",
                dataset_type=results.preset,
                dataset_name=f"{results.preset}: {results.test_images:,} test images whose appearance is random",
                metric_type="accuracy",
                metric_name="out-of-domain accuracy, %",
                metric_value=results.ood_accuracy.student,
            )
        ]
    data = ModelCardData(
        library_name="skdcgn",
        tags=["skdcgn", "counterfactual", "distillation", "image-generation"],
        metrics=["accuracy"] if scores else None,
        model_name=title if scores else None,
        eval_results=scores,
        **lines,
    )
    return str(data.to_yaml()).rstrip("\n")


def use_lines(student: StudentCGN, repository: Repository) -> str:
    """Return the three lines of Python that load the student and sample of it."""
    side = student.spec.image_size
    revision = f', revision="{repository.revision}"' if repository.revision else ""
    return (
        "import skdcgn\n"
        f'student = skdcgn.load_student("{repository.name}"{revision})\n'
        f"images = skdcgn.compose(student, n=16, seed=0).images  # (16, 3, {side}, {side}) in [-1, 1]"
    )


def spec_rows(student: StudentCGN) -> list[tuple[str, str]]:
    """Return the lines of the table of what a student takes and draws."""
    spec = student.spec
    crops = "tile, and are cropped at random when composed" if spec.tiles else "do not tile, and are not cropped"
    return [
        ("images", f"{spec.image_size} x {spec.image_size} pixels; masks in [0, 1], colours in [-1, 1]"),
        ("noise", f"{spec.noise_dim} numbers, {DISTRIBUTIONS[spec.distribution]}"),
        (f"{spec.classes:,} classes", class_words(spec)),
        ("textures and backgrounds", crops),
        ("parameters", f"{student.size:,}"),
        ("digest of the weights", f"`{student.digest}`"),
    ]


def class_words(spec: Spec) -> str:
    """Return the names of the classes, of many the first ones."""
    if not spec.names:
        return f"0 to {spec.classes - 1}, without names"
    more = f" and {spec.classes - MOST_NAMES:,} more, see `config.json`" if spec.classes > MOST_NAMES else ""
    return ", ".join(spec.names[:MOST_NAMES]) + more


def measured(origin: Origin) -> list[str]:
    """Return the section of what the run measured; nothing without a run."""
    results = origin.results
    if results is None:
        return []
    scope = f"One run, seed {results.seed}: the numbers of other seeds differ."
    parts = [f"## Measured\n\n{scope}", accuracies(results), *costs(results), *fidelity(results)]
    return ["\n\n".join(parts)]


def accuracies(results: AnyResults) -> str:
    """Return the table of the classifiers."""
    if not isinstance(results, MnistResults):
        scores = results.classifiers if isinstance(results, PhotosResults) else results.ensembles
        rows = [(line.measure, line.images, *map(str, line.values)) for line in head_lines(scores)]
        columns = table(("measure, %", "images", *scores), rows)
        return f"By what a classifier was trained on:\n\n{columns}\n\n{reservation(results)}".rstrip()
    by_training = [(words, f"{asdict(results.ood_accuracy)[name]:.1f}") for name, words in TRAINED_ON.items()]
    return table(("classifier trained on", f"accuracy, % of {results.test_images:,} test images"), by_training) + (
        "\n\nIn the biased images the appearance gives the class away, in the test images it does not."
    )


def reservation(results: ImageNetResults | PhotosResults) -> str:
    """Say that the pictures of a run are none of a camera, if so."""
    if isinstance(results, PhotosResults):
        return "The photographs of this run are drawings." if results.synthetic else ""
    return "The images of this run were drawn by the teacher, and stand in for ImageNet." if results.stand_in else ""


def costs(results: AnyResults) -> list[str]:
    """Return the table of sizes and speeds beside the teacher's; nothing of a run that did not time them."""
    if isinstance(results, PhotosResults):
        return []
    sizes, speeds = results.parameters, results.counterfactuals_per_second
    machine = results.versions.get("machine", "an unknown machine")
    rows = [
        ("teacher", f"{sizes.teacher:,}" if sizes.teacher else "unknown", f"{speeds.teacher:,.0f}"),
        ("this student", f"{sizes.student:,}", f"{speeds.student:,.0f}"),
    ]
    return [table(("", "parameters", f"counterfactuals per second ({machine})"), rows)]


def fidelity(results: AnyResults) -> list[str]:
    """Return the table of the distances to held-out answers of the teacher."""
    measures = results.student if isinstance(results, PhotosResults) else results
    if measures is None:
        return []
    rows = [(name, f"{one.student:.4f}", f"{one.label_mean:.4f}") for name, one in measures.pixel_l1.items()]
    return [table(("mean L1 to held-out answers", "this student", "mean image of each class"), rows)]


def making(origin: Origin) -> str:
    """Say in a list which teacher, pairs, command and versions made a student, as far as they are known."""
    results, name = origin.results, origin.zoo_name or origin.teacher
    teacher = f"Teacher: {code(name)}, " if name else "Teacher: "
    lines = [f"{teacher}digest {code(origin.digest)}." if origin.digest else "Teacher: not stated."]
    if origin.distillations and not results:
        seeds = sorted({one.seed for one in origin.distillations.values()})
        lines.append(f"Seed of the distillation: {', '.join(map(str, seeds))}.")
    if origin.distillations:
        pairs = ", ".join(f"{one.pairs.count:,} of {mechanism}" for mechanism, one in origin.distillations.items())
        lines.append(f"Pairs of noise, label and answer that it learnt from: {pairs}.")
    if results:
        lines.append(f"Command: {code(f'skdcgn run {results.preset} --seed {results.seed}')}{changed(origin)}.")
        lines.append(f"Versions of the run: {', '.join(f'{key} {value}' for key, value in results.versions.items())}.")
    lines.append(f"Card and samples: skdcgn {versions()['skdcgn']}.")
    return "\n".join(f"- {line}" for line in lines)


def changed(origin: Origin) -> str:
    """Say which settings of a run are not its preset's."""
    if not origin.changes:
        return ""
    shown = ", ".join(map(code, origin.changes[:MOST_CHANGES]))
    more = f" and {len(origin.changes) - MOST_CHANGES} more" if len(origin.changes) > MOST_CHANGES else ""
    return f", with other settings than the preset's: {shown}{more}"


def licensor(origin: Origin) -> str:
    """Say who states the licence."""
    return f"the zoo of skdcgn ({code(origin.zoo_name)})" if origin.zoo_name else "whoever pushed this student"


def samples(student: StudentCGN, seed: int = 0) -> bytes:
    """Return the card's picture as PNG: masks, textures and backgrounds by class, below them counterfactuals."""
    spec = student.spec
    scale = 2 if spec.image_size <= WIDTH // (2 * MOST_COLUMNS) else 1
    columns = max(1, min(MOST_COLUMNS, WIDTH // (spec.image_size * scale), spec.classes))
    noise, labels = class_columns(student, 1, seed, columns)
    names, rows = spec.class_names[:columns], []
    for mechanism in Mechanism:
        images = enlarged(as_rgb(draw(student, mechanism, noise, labels)), scale)
        rows.append(with_heading(grid(images, columns), f"{mechanism}, by class", names))
    images = enlarged(as_rgb(compose(student, 4 * columns, seed=seed).images), scale)
    rows.append(with_heading(grid(images, columns), "counterfactuals: three classes drawn independently", ()))
    return encode(join_vertically(rows))


def enlarged(images: Tensor, scale: int) -> Tensor:
    """Repeat each pixel of (N, 3, H, W) ``scale`` times in both directions."""
    return images.repeat_interleave(scale, dim=-1).repeat_interleave(scale, dim=-2)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(map(cell, line))} |" for line in lines)


def cell(text: str) -> str:
    """Return text as a cell of a Markdown table, whatever it holds."""
    return html.escape(" ".join(text.split()), quote=False).replace("|", "&#124;")


def code(text: str | None) -> str:
    """Return text of one line as code in Markdown, whatever it holds."""
    return f"`{' '.join(str(text).split()).replace('`', chr(39))}`"
