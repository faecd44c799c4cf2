"""Studies of distortions, in the composition or while the CGN is taught, and of correlated labels. No torch here.

All use the published composition with no other intervention, so that nothing hides the effect of a distortion.
"""

from skdcgn.base.config import RunConfig
from skdcgn.experiments.composition_studies import SMALL_SET
from skdcgn.experiments.study_points import BOTH, MECHANISMS
from skdcgn.results.published import PUBLISHED
from skdcgn.results.study_record import Changes, StudyPoint

# The first amount changes nothing.
SHAPE_DISTORTIONS = {
    "noise": ("shape.noise", (0.0, 0.25, 0.5, 1.0)),
    "rotation": ("shape.spin", (0.0, 45.0, 90.0, 180.0)),
    "opacity": ("shape.opacity", (1.0, 0.75, 0.5, 0.25)),
}
DISTORTIONS: dict[str, dict[str, str]] = {
    "noise of 0.5": {mechanism: f"{mechanism}.noise:0.5" for mechanism in MECHANISMS},
    "blur of 2 pixels": {mechanism: f"{mechanism}.blur:2" for mechanism in MECHANISMS},
    "binary": {"shape": "shape.binarise:0.5"},
    "half opaque": {"shape": "shape.opacity:0.5"},
    "any rotation": {"shape": "shape.spin:180"},
    "grey": {"texture": "texture.grey:1", "background": "background.grey:1"},
    "one colour": {"texture": "texture.constant:#808080", "background": "background.constant:#808080"},
    "one class": {"texture": "texture.freeze:0", "background": "background.freeze:0"},
    "class of the shape": {"texture": "texture.correlate:1", "background": "background.correlate:1"},
    "wrong labels": {"shape": "shape.relabel:0.5"},
}
TEACHING_STEPS = 1000  # enough to compare CGNs that were taught with and without a distortion
TEACHING_DISTORTIONS = {"noise": "shape.noise:1", "rotation": "shape.spin:180", "opacity": "shape.opacity:0.75"}
IN_COMPOSITION, IN_TEACHING = "in composition", "in teaching"


def shape(base: RunConfig) -> list[StudyPoint]:
    """Noise, rotation and opacity of the mask in the composition (as in SKDCGN, which teaches again)."""
    return [
        StudyPoint(
            f"{name} {amount:g}",
            _only(base, f"{word}:{amount:g}" if amount != neutral else ""),
            BOTH,
            curve=name,
            at=amount,
        )
        for name, (word, (neutral, *amounts)) in SHAPE_DISTORTIONS.items()
        for amount in (neutral, *amounts)
    ]


def distortions(base: RunConfig) -> list[StudyPoint]:
    """Each distortion of each mechanism in the composition, one at a time."""
    return [
        StudyPoint("plain", _only(base), BOTH),
        *(
            StudyPoint(f"{mechanism}, {row}", _only(base, word), BOTH, cell=(row, mechanism))
            for row, words in DISTORTIONS.items()
            for mechanism, word in words.items()
        ),
    ]


def taught(base: RunConfig) -> list[StudyPoint]:
    """SKDCGN's points: the distortion in the composition, and the distortion while the CGN is taught again."""
    steps: Changes = {"steps": min(TEACHING_STEPS, base.distill.steps)}
    plain = _only(base)
    points = [StudyPoint("plain", plain, BOTH, teach=steps)]
    for name, word in TEACHING_DISTORTIONS.items():
        for place, changes, teach in (
            (IN_COMPOSITION, _only(base, word), steps),
            (IN_TEACHING, plain, {**steps, "policy": [word]}),
        ):
            points.append(StudyPoint(f"{name} {place}", changes, BOTH, teach=teach, cell=(name, place)))
    return points


def correlation(base: RunConfig) -> list[StudyPoint]:
    """Shares of counterfactuals whose texture, background or both have the class of the shape."""
    return [
        StudyPoint(
            f"{name} {share:g}",
            _only(base, *(f"{mechanism}.correlate:{share:g}" for mechanism in mechanisms if share)),
            BOTH,
            curve=name,
            at=share,
        )
        for name, mechanisms in (("texture", ("texture",)), ("background", ("background",)), ("both", MECHANISMS[1:]))
        for share in (0.0, 0.5, 0.9, 1.0)
    ]


def _only(base: RunConfig, *words: str) -> Changes:
    """The published composition with these interventions alone, and a training set that takes seconds."""
    images = min(base.classify.images, SMALL_SET)
    return {**PUBLISHED, "classify.images": images, "classify.policy": [word for word in words if word]}
