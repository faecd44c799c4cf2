"""Studies of the composition: its steps, its budget, longer training, a mixture with real images. No torch here."""

from skdcgn.base.config import RunConfig
from skdcgn.experiments.study_points import ALL, BOTH, PRESET, named
from skdcgn.results.published import PUBLISHED, RECIPE
from skdcgn.results.study_record import Changes, StudyPoint

SMALL_SET = 30_000  # images, enough to compare compositions


def main(base: RunConfig) -> list[StudyPoint]:
    """The published composition and the preset's."""
    return [StudyPoint("published composition", PUBLISHED | RECIPE, BOTH), StudyPoint(PRESET, {}, ALL)]


def composition(base: RunConfig) -> list[StudyPoint]:
    """Each step from the published composition to the preset's, in turn; steps that change nothing are left out."""
    steps: dict[str, Changes] = {"published": PUBLISHED | RECIPE}
    config = base.classify
    for name, key, value in (
        ("He initialisation", "he_init", config.he_init),
        ("cooldown", "cooldown", config.cooldown),
        (f"k = {config.per_shape}", "per_shape", config.per_shape),
        *((f"+ {word}", "policy", list(config.policy[: i + 1])) for i, word in enumerate(config.policy)),
        ("+ mask filter", "agreement", config.agreement),
    ):
        before = list(steps.values())[-1]
        if before[f"classify.{key}"] != value:
            steps[name] = {**before, f"classify.{key}": value}
    return named(steps, BOTH)


def budget(base: RunConfig) -> list[StudyPoint]:
    """Numbers of counterfactuals, for several numbers k of counterfactuals per shape."""
    return [
        StudyPoint(
            f"k = {k}, {count:,}", {"classify.per_shape": k, "classify.images": count}, BOTH, curve=f"k = {k}", at=count
        )
        for k in (1, 5, 10, 20)
        for count in (1000, 10_000, 100_000)
    ]


def epochs(base: RunConfig) -> list[StudyPoint]:
    """Composition and recipe, the published ones and the preset's, over once and five times the preset's epochs."""
    counts = (base.classify.epochs, 5 * base.classify.epochs)
    return [
        StudyPoint(f"{curve}, {count}", {**changes, "classify.epochs": count}, sources, curve, count)
        for curve, changes, sources in (
            ("published", PUBLISHED | RECIPE, ("teacher", "oracle")),
            (PRESET, {}, (*BOTH, "oracle")),
        )
        for count in counts
    ]


def mixture(base: RunConfig) -> list[StudyPoint]:
    """Shares of real, biased images among the counterfactuals."""
    images = min(base.classify.images, SMALL_SET)
    return [
        StudyPoint(
            f"{share:g}", {"classify.images": images, "classify.real": share}, BOTH, curve="real images", at=share
        )
        for share in (0.0, 0.25, 0.5, 0.75, 0.9)
    ]
