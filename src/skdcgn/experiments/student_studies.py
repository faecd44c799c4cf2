"""Studies of students: losses, query budgets, masks, sizes. No torch here."""

from dataclasses import replace

from skdcgn.base.config import TINYGAN_CHANNELS, Noise, RunConfig
from skdcgn.base.presets import CUT_MASKS_AT_RANDOM_LEVELS
from skdcgn.experiments.study_points import BOTH, MECHANISMS, PRESET, named
from skdcgn.results.study_record import Changes, StudyPoint

Channels = tuple[int, ...]

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
FEWER_STEPS = 4  # losses are compared over the preset's steps divided by this
BUDGETS: dict[Noise, tuple[int, ...]] = {  # numbers of queries per mechanism, by the choice of their noise
    Noise.RANDOM: (100, 300, 1000, 2000, 5000, 20_000),
    Noise.SOBOL: (100, 300, 1000),  # the layout of more than these hardly matters
    Noise.ACTIVE: (1000, 2000),
}

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


def with_teacher(points: list[StudyPoint]) -> list[StudyPoint]:
    """Return points of students, the first with the teacher too, which no change of a student touches."""
    first, *others = points
    return [replace(first, sources=BOTH), *others]


def losses(base: RunConfig) -> list[StudyPoint]:
    """Each loss over the same, smaller number of steps; then the preset."""
    fewer: Changes = {"distill.steps": base.distill.steps // FEWER_STEPS}
    points = {name: fewer | changes for name, changes in LOSSES.items()}
    return with_teacher(named(points | {PRESET: {}}))


def queries(base: RunConfig) -> list[StudyPoint]:
    """Query budgets, with random noise, with Sobol noise and with active questions."""
    return with_teacher(
        [
            StudyPoint(
                f"{count:,}, {noise.value}",
                {"query.noise": noise.value, **{f"query.{mechanism}": count for mechanism in MECHANISMS}},
                curve=noise.value,
                at=count,
            )
            for noise, counts in BUDGETS.items()
            for count in counts
        ]
    )


def masks(base: RunConfig) -> list[StudyPoint]:
    """Masks distilled by their median or their mean; each as it is, and cut at a random level."""
    from skdcgn.cgn.policy import parse_intervention  # imports torch

    words = [word for word in base.classify.policy if word != CUT_MASKS_AT_RANDOM_LEVELS]
    names = [parse_intervention(word).name for word in words]
    end = names.index("sharpen") if "sharpen" in names else len(words)
    levels = [*words[:end], CUT_MASKS_AT_RANDOM_LEVELS, *words[end:]]
    as_is, cut = ({"classify.policy": policy} for policy in (words, levels))
    median, mean = ({"distill.masks": distance} for distance in ("l1", "l2"))
    both = named({"median": median | as_is, "median, random level": median | cut}, BOTH)
    return [*both, *named({"mean": mean | as_is, "mean, random level": mean | cut})]


def sizes(base: RunConfig) -> list[StudyPoint]:
    """The preset's student, and students of other layouts."""
    changes: dict[str, Changes] = {PRESET: {}} | {
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
    return with_teacher(named(changes))
