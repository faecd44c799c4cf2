"""The studies by name: which question each asks, and the points it measures. No torch here, as in the presets.

A point is what is laid over a preset, and for a teacher that is to be taught again, over its teaching preset. Points of
one ``curve`` differ in a number, ``at``; the report draws them as a line.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from skdcgn.base.config import TINYGAN_CHANNELS, RunConfig
from skdcgn.base.errors import find
from skdcgn.base.presets import CUT_MASKS_AT_RANDOM_LEVELS
from skdcgn.base.records import override
from skdcgn.results.published import PUBLISHED, RECIPE
from skdcgn.results.study_record import Changes, StudyPoint

MECHANISMS = ("shape", "texture", "background")
ALL = ("biased", "teacher", "student", "oracle")
BOTH = ("teacher", "student")

Channels = tuple[int, ...]


class Study(NamedTuple):
    """What a study asks, what its axis says, its points for a preset, and whether its students are timed too."""

    name: str
    question: str
    axis: str
    points: Callable[[RunConfig], list[StudyPoint]]
    timed: bool = False


def named(points: dict[str, Changes], sources: tuple[str, ...] = ("student",)) -> list[StudyPoint]:
    """Return a point per name."""
    return [StudyPoint(name, changes, sources) for name, changes in points.items()]


# What a student costs


LOSSES: dict[str, Changes] = {
    "pixel": {},
    "pixel + feature": {"distill.feature": 1.0},
    "pixel + KL": {"distill.kl": 1.0},
    "pixel + adversarial": {"distill.adversarial": 0.01},
    "pixel + perceptual": {"distill.perceptual": 1.0},
    "pixel + feature + adversarial": {"distill.feature": 1.0, "distill.adversarial": 0.01},
    "pixel + feature + KL + adversarial": {"distill.feature": 1.0, "distill.kl": 1.0, "distill.adversarial": 0.01},
    "feature": {"distill.pixel": 0.0, "distill.feature": 1.0},
    "feature + KL + adversarial": {
        "distill.pixel": 0.0,
        "distill.feature": 1.0,
        "distill.kl": 1.0,
        "distill.adversarial": 0.01,
    },
}
FEW = 4  # times fewer steps than the preset's: with a discriminator each takes ten times as long as without
BUDGETS = (100, 300, 1000, 5000, 20_000)
MANY = 1000  # queries, beyond which it can hardly matter how evenly they lie

# Channels of shape, texture and background; side of the initial grid; TinyGAN's separable convolutions,
# and its input layer, which gets no class. Embedding and rank are the preset's.
# fmt: off
LAYOUTS: dict[str, tuple[Channels, Channels, Channels, int, bool]] = {
    "plain, smallest": ((6, 6),      (3, 3),    (3, 3),    4, False),
    "plain, smaller":  ((10, 10),    (4, 4),    (4, 4),    4, False),
    "plain, larger":   ((24, 24),    (8, 8),    (6, 6),    4, False),
    "TinyGAN, dim 4":  (*3 * (tuple(4 * c for c in TINYGAN_CHANNELS),), 1, True),
}
# fmt: on


def beside_teacher(points: list[StudyPoint]) -> list[StudyPoint]:
    """Return points of students, the first with the teacher too, which no change of its students touches."""
    first, *others = points
    return [replace(first, sources=BOTH), *others]


def losses(base: RunConfig) -> list[StudyPoint]:
    """Each loss over as many steps; then what the preset makes of its own steps, which cost less."""
    few: Changes = {"distill.steps": base.distill.steps // FEW}
    points = {name: few | changes for name, changes in LOSSES.items()}
    return beside_teacher(named(points | {"the preset's": {}}))


def queries(base: RunConfig) -> list[StudyPoint]:
    return beside_teacher(
        [
            StudyPoint(
                f"{count:,}, {noise}",
                {"query.noise": noise, **{f"query.{m}": count for m in MECHANISMS}},
                curve=noise,
                at=count,
            )
            for noise, counts in (("random", BUDGETS), ("sobol", [count for count in BUDGETS if count <= MANY]))
            for count in counts
        ]
    )


def masks(base: RunConfig) -> list[StudyPoint]:
    """What a student draws where it cannot know, masks' median or mean; each as it is, and cut at any level."""
    from skdcgn.cgn.policy import parse_intervention  # imports torch

    plain = [word for word in base.classify.policy if word != CUT_MASKS_AT_RANDOM_LEVELS]
    names = [parse_intervention(word).name for word in plain]
    end = names.index("sharpen") if "sharpen" in names else len(plain)
    whole, cut = (
        {"classify.policy": words} for words in (plain, [*plain[:end], CUT_MASKS_AT_RANDOM_LEVELS, *plain[end:]])
    )
    median, mean = ({"distill.masks": name} for name in ("l1", "l2"))
    of_both = named({"median": median | whole, "median, any level": median | cut}, BOTH)
    return [*of_both, *named({"mean": mean | whole, "mean, any level": mean | cut})]


def sizes(base: RunConfig) -> list[StudyPoint]:
    changes: dict[str, Changes] = {"the preset's": {}} | {
        name: {
            f"distill.{mechanism}.{key}": value
            for mechanism, width in zip(MECHANISMS, (shape, texture, background), strict=True)
            for key, value in (
                ("channels", list(width)),
                ("grid", grid),
                ("separable", separable),
                ("class_input", not separable),
            )
        }
        for name, (shape, texture, background, grid, separable) in LAYOUTS.items()
    }
    return beside_teacher(named(changes))


# What a composition is worth


def composition(base: RunConfig) -> list[StudyPoint]:
    """Each step from the published composition to the preset's, in turn."""
    steps: dict[str, Changes] = {"published": PUBLISHED | RECIPE}
    told = base.classify
    for name, key, value in (
        ("He's weights", "he_init", told.he_init),
        ("rate to zero", "cooldown", told.cooldown),
        (f"k = {told.per_shape}", "per_shape", told.per_shape),
        *((f"+ {word}", "policy", list(told.policy[: i + 1])) for i, word in enumerate(told.policy)),
        ("+ judged shapes", "agreement", told.agreement),
    ):
        before = list(steps.values())[-1]
        if before[f"classify.{key}"] != value:
            steps[name] = {**before, f"classify.{key}": value}
    return named(steps, BOTH)


def main(base: RunConfig) -> list[StudyPoint]:
    return [
        StudyPoint("published composition", PUBLISHED | RECIPE, BOTH),
        StudyPoint("the preset's", {}, ALL),
    ]


def budget(base: RunConfig) -> list[StudyPoint]:
    return [
        StudyPoint(
            f"k = {k}, {count:,}", {"classify.per_shape": k, "classify.images": count}, BOTH, curve=f"k = {k}", at=count
        )
        for k in (1, 5, 10, 20)
        for count in (1000, 10_000, 100_000)
    ]


def epochs(base: RunConfig) -> list[StudyPoint]:
    """Composition and recipe, the published ones and the preset's, once classifiers pass over their images longer."""
    counts = (base.classify.epochs, 5 * base.classify.epochs)
    return [
        StudyPoint(f"{curve}, {count}", {**changes, "classify.epochs": count}, sources, curve, count)
        for curve, changes, sources in (
            ("published", PUBLISHED | RECIPE, ("teacher", "oracle")),
            ("the preset's", {}, (*BOTH, "oracle")),
        )
        for count in counts
    ]


def mixture(base: RunConfig) -> list[StudyPoint]:
    """How many of the images may be real ones, with the shortcut in them."""
    images = min(base.classify.images, GLANCE)
    return [
        StudyPoint(
            f"{share:g}", {"classify.images": images, "classify.real": share}, BOTH, curve="real images", at=share
        )
        for share in (0.0, 0.25, 0.5, 0.75, 0.9)
    ]


# What a distortion does


GLANCE = 30_000  # counterfactuals that tell what a distortion does
# Amounts begin with the one that changes nothing.
SHAPE_WORDS = {
    "noise": ("shape.noise", (0.0, 0.25, 0.5, 1.0)),
    "rotation": ("shape.spin", (0.0, 45.0, 90.0, 180.0)),
    "opacity": ("shape.opacity", (1.0, 0.75, 0.5, 0.25)),
}


def shape(base: RunConfig) -> list[StudyPoint]:
    """Noise, rotation and opacity of the mask in the composition alone (SKDCGN's study, there with re-training)."""
    return [
        StudyPoint(
            f"{name} {amount:g}",
            _words(base, f"{word}:{amount:g}" if amount != none else ""),
            BOTH,
            curve=name,
            at=amount,
        )
        for name, (word, (none, *amounts)) in SHAPE_WORDS.items()
        for amount in (none, *amounts)
    ]


DISTORTIONS: dict[str, dict[str, str]] = {
    "noise of 0.5": {m: f"{m}.noise:0.5" for m in MECHANISMS},
    "blur of 2 pixels": {m: f"{m}.blur:2" for m in MECHANISMS},
    "binary": {"shape": "shape.binarise:0.5"},
    "half opaque": {"shape": "shape.opacity:0.5"},
    "any rotation": {"shape": "shape.spin:180"},
    "grey": {"texture": "texture.grey:1", "background": "background.grey:1"},
    "one colour": {"texture": "texture.constant:#808080", "background": "background.constant:#808080"},
    "of one class": {"texture": "texture.freeze:0", "background": "background.freeze:0"},
    "of the shape's class": {"texture": "texture.correlate:1", "background": "background.correlate:1"},
    "of another class": {"shape": "shape.relabel:0.5"},
}


def distortions(base: RunConfig) -> list[StudyPoint]:
    """Every mechanism distorted in every way that it can be, one at a time, in the composition alone."""
    return [
        StudyPoint("plain", _words(base), BOTH),
        *(
            StudyPoint(f"{mechanism}, {row}", _words(base, word), BOTH, cell=(row, mechanism))
            for row, words in DISTORTIONS.items()
            for mechanism, word in words.items()
        ),
    ]


RETAUGHT = 1000  # steps that tell what a CGN taught under a distortion is worth beside one that was not
TAUGHT = {"noise": "shape.noise:1", "rotation": "shape.spin:180", "opacity": "shape.opacity:0.75"}


def taught(base: RunConfig) -> list[StudyPoint]:
    """SKDCGN's points: a CGN is taught again under the distortion, or its composition alone is distorted."""
    steps: Changes = {"steps": min(RETAUGHT, base.distill.steps)}
    plain = _words(base)
    return [
        StudyPoint("plain", plain, BOTH, teach=steps),
        *(
            plan
            for name, word in TAUGHT.items()
            for plan in (
                StudyPoint(f"{name}, composed", _words(base, word), BOTH, teach=steps, cell=(name, "composed")),
                StudyPoint(f"{name}, taught", plain, BOTH, teach={**steps, "policy": [word]}, cell=(name, "taught")),
            )
        ),
    ]


def correlation(base: RunConfig) -> list[StudyPoint]:
    """How much of the shortcut a composition may keep: textures and backgrounds of the shape's class, at a rate."""
    return [
        StudyPoint(
            f"{name} {share:g}",
            _words(base, *(f"{m}.correlate:{share:g}" for m in which if share)),
            BOTH,
            name,
            share,
        )
        for name, which in (("texture", ("texture",)), ("background", ("background",)), ("both", MECHANISMS[1:]))
        for share in (0.0, 0.5, 0.9, 1.0)
    ]


def _words(base: RunConfig, *words: str) -> Changes:
    """The published composition and nothing but these words: no augmentation hides what they do; seconds a point."""
    images = min(base.classify.images, GLANCE)
    return {**PUBLISHED, "classify.images": images, "classify.policy": [word for word in words if word]}


STUDIES = {
    study.name: study
    for study in (
        Study(
            "main", "What do teacher and student lead to, under the published composition and the preset's?", "", main
        ),
        Study("losses", "Which losses of distillation earn their place?", "", losses),
        Study("queries", "How many answers does a student need?", "queries per mechanism", queries),
        Study("masks", "What should a student draw of a mask that it cannot know?", "", masks),
        Study("sizes", "What do size and layout of a student cost?", "", sizes, timed=True),
        Study("composition", "What is each step of the preset's composition worth?", "", composition),
        Study("budget", "How many counterfactuals, and how many per shape?", "counterfactuals", budget),
        Study("epochs", "What is a composition worth once classifiers learn for longer?", "epochs", epochs),
        Study("mixture", "What do real, biased images among the counterfactuals do?", "share of real images", mixture),
        Study("shape", "What if the composition distorts shapes?", "amount", shape),
        Study("distortions", "Which mechanism's distortion costs a classifier what?", "", distortions),
        Study("taught", "What if the CGN is taught again with distorted shapes?", "", taught),
        Study(
            "correlation", "How much correlation brings the shortcut back?", "share that follows the shape", correlation
        ),
    )
}

MNIST = ("colored-mnist", "double-colored-mnist", "wildlife-mnist")
# What `skdcgn reproduce TABLE` runs: a study, and the presets it is run on.
TABLES = {
    "mnist": ("main", MNIST),
    "epochs": ("epochs", MNIST),
    "losses": ("losses", ("double-colored-mnist", "wildlife-mnist")),
    "mixture": ("mixture", ("double-colored-digits",)),
    "shape": ("shape", ("double-colored-mnist",)),
    "taught": ("taught", ("double-colored-mnist",)),
    "correlation": ("correlation", ("double-colored-mnist",)),
    "budget": ("budget", ("double-colored-mnist",)),
    "sizes": ("sizes", ("double-colored-mnist", "wildlife-mnist")),
}
QUICK: Changes = {
    "test_copies": 1,
    "query.shape": 1000,
    "query.texture": 500,
    "query.background": 500,
    "query.held_out": 200,
    "distill.steps": 400,
    "classify.images": 5000,
    "classify.epochs": 3,
    "classify.cooldown": 1.0,
}


def find_study(name: str) -> Study:
    """Return the study called ``name``; raise UserError that tells the nearest."""
    return find("study", name, STUDIES)


def select_points(points: Sequence[StudyPoint], only: Sequence[str]) -> list[StudyPoint]:
    """Return the points whose names are in ``only``, or all if it is empty; raise UserError on an unknown name."""
    by_name = {point.name: point for point in points}
    names = {find("point", name, by_name).name for name in only}
    return [point for point in points if point.name in names or not names]


def find_table(name: str) -> tuple[str, tuple[str, ...]]:
    """Return the study and the presets of the table called ``name``; raise UserError that tells the nearest."""
    return find("table", name, TABLES)


def miniature(base: RunConfig) -> RunConfig:
    """Return a miniature of a preset: minutes instead of hours, numbers that only show the way."""
    return override(base, QUICK)
