"""The published composition and recipe of classifiers, and the accuracies that the paper reports for them."""

from skdcgn.base.config import RunConfig
from skdcgn.base.presets import PUBLISHED_TRAINING
from skdcgn.base.records import override

PUBLISHED = {"classify.per_shape": 10, "classify.policy": [], "classify.agreement": 0.0}
RECIPE = {
    f"classify.{name}": getattr(PUBLISHED_TRAINING, name)
    for name in ("optimizer", "he_init", "batch_size", "learning_rate", "decay", "warmup", "cooldown", "bf16")
}
# Sauer & Geiger (2021), Table 1: one seed, 10 epochs; the CGN's counterfactuals, and the biased originals.
PAPER = {
    "colored-mnist": {"biased": 35.9, "teacher": 95.1},
    "double-colored-mnist": {"biased": 10.3, "teacher": 89.0},
    "wildlife-mnist": {"biased": 10.1, "teacher": 85.7},
}


def published_accuracy(config: RunConfig, source: str) -> float | None:
    """Return the accuracy in ``PAPER``; a teacher's only if ``config`` composes and trains as published."""
    if source == "teacher" and override(config, PUBLISHED | RECIPE) != config:
        return None
    return PAPER.get(config.preset, {}).get(source)
