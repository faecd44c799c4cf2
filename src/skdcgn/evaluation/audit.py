"""An audit: what a classifier does when the label of one mechanism alone changes.

For each of n base pictures, an intervention do(labels of S := y') gives the mechanisms of a subset S one class that
nothing in the picture shows, and keeps all else, noise and crops included (:mod:`skdcgn.evaluation.audit_pictures`).

- *flip*: the decision changes.
- *follow*: the decision changes, and becomes y'.
- *accuracy*: the decision is the shape's label, that of the picture after the intervention, though the varied mechanism
  contradicts it (where the shape varies: the others do); *agree*: accuracy where the varied mechanism has the shape's
  label and all else is as in the base picture (where the shape varies: where the others have y' too).
- *noise floor*: flip, and how often the decision becomes y', where the noise of S is new and its labels are not.
- *excess*: what following alone explains of follow (:mod:`skdcgn.evaluation.reactions`). A subset of texture and
  background is followed if the interval of its excess lies above ``reactions.MARGIN``.
- *carried*: how well a probe reads the class from each mechanism's own layer (:mod:`skdcgn.evaluation.carried`).
- *curves*: flip and follow where the layer becomes (1 - a) * old + a * new.

Shares are of base pictures, with 95 % intervals by the paired Bayesian bootstrap (:mod:`skdcgn.metrics.intervals`).
"""

from typing import NamedTuple

from torch import Tensor

from skdcgn.base.progress import Watch, silent
from skdcgn.cgn.mechanism import Mechanism, Teacher
from skdcgn.evaluation.audit_answers import Answers, Probabilities, ask
from skdcgn.evaluation.audit_record import MECHANISMS, SUBSETS, AuditRecord
from skdcgn.evaluation.carried import carried
from skdcgn.evaluation.reactions import curves, reactions
from skdcgn.evaluation.telling_pairs import draw_pairs, telling_pairs
from skdcgn.evaluation.verdict import carried_warning, obstacle, sanity_warning, verdict

MOST_CONFUSED = 100  # classes of a confusion that is kept
IMAGES = 2000


class Audit(NamedTuple):
    """The record of an audit, and its telling pairs: (P, 2, 3, H, W) uint8, before and after."""

    record: AuditRecord
    pictures: Tensor


def audit_classifier(
    classifier: Probabilities,
    cgn: Teacher,
    *,
    n: int = IMAGES,
    whole: bool | None = None,
    seed: int = 0,
    watch: Watch = silent,
    name: str = "the classifier",
    cgn_name: str = "the CGN",
) -> Audit:
    """Measure what a classifier follows; the same seed gives the same bytes on the same machine.

    Args:
        classifier: images (B, 3, H, W) in [-1, 1] -> probabilities (B, classes), in the order of the CGN's classes.
        cgn: a teacher or a student.
        n: base pictures; memory holds one decision and one probability of each picture, and one batch of images.
        whole: base pictures show whole objects, texture and shape of one photograph
            (:mod:`skdcgn.evaluation.audit_pictures`), or the labels of all three are independent; None: whole objects
            of a CGN whose pictures do not tile.
        seed: of the pictures and of the bootstrap.
        watch: shows progress.
        name: of the classifier in the record.
        cgn_name: of the CGN in the record.

    Raises:
        UserError: a CGN of one class, or answers that are no probabilities of its classes.
    """
    whole = not cgn.spec.tiles if whole is None else whole
    answers = ask(classifier, cgn, n, whole=whole, seed=seed, watch=watch)
    parts = reactions(answers, seed=seed)
    shape, basis = parts.reactions["shape"], carried(cgn, n, seed=seed)
    doubt = obstacle(shape, basis, answers.classes)
    warnings = (sanity_warning(shape.agree, answers.classes), *(carried_warning(m, one) for m, one in basis.items()))
    follows = () if doubt else parts.follows
    pairs = telling_pairs(answers, follows)
    record = AuditRecord(
        classifier=name,
        cgn=cgn_name,
        classes=cgn.spec.class_names,
        images=n,
        whole=whole,
        seed=seed,
        mechanisms={key: parts.reactions[key] for key in MECHANISMS},
        noise_floor=parts.floors,
        subsets={key: parts.reactions[key] for key in SUBSETS},
        carried=basis,
        curves=curves(answers, seed=seed),
        confusion=_confusion(answers),
        pairs=pairs,
        follows=follows,
        warnings=tuple(warning for warning in warnings if warning),
        verdict=doubt or verdict(parts.reactions, parts.floors, follows, basis),
    )
    return Audit(record, draw_pairs(cgn, pairs, n, whole=whole, seed=seed))


def _confusion(answers: Answers) -> dict[str, tuple[tuple[int, ...], ...]]:
    if answers.classes > MOST_CONFUSED:
        return {}
    return {str(m): tuple(map(tuple, answers.confusion(m).tolist())) for m in Mechanism}
