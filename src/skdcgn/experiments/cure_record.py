"""The record of a cure, ``cure.json``: the audit before and after, and the accuracy on real pictures. No torch here."""

from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import Field
from pydantic.dataclasses import dataclass

from skdcgn.base.bounds import Count, Percent, Seed
from skdcgn.base.cure_config import Trained
from skdcgn.base.door import read_record
from skdcgn.base.records import to_dict
from skdcgn.evaluation.audit_record import BOTH, MECHANISMS, PICTURES, AuditRecord, Interval

FILE = "cure.json"
MEASURES = ("flip", "follow", "accuracy", "agree")


@dataclass(frozen=True, kw_only=True)
class CureRecord:
    """What a cure measured, in percent.

    Args:
        classifier, cgn: their names.
        layers: those that were trained.
        varied: the mechanisms whose labels vary in the counterfactuals; empty if the audit shows no shortcut.
        before, after: the audits; after: None if nothing was trained.
        accuracy_before, accuracy_after: of held-out real pictures.
        held_out: number of these pictures.
        most_lost: points of accuracy that may be lost.
        kept: whether the cured weights were kept.
        verdict: one sentence.
    """

    classifier: str
    cgn: str
    seed: Seed
    layers: Trained
    varied: tuple[str, ...]
    before: AuditRecord
    after: AuditRecord | None
    accuracy_before: Percent
    accuracy_after: Percent | None
    held_out: Count
    most_lost: Annotated[float, Field(ge=0, le=100)]
    kept: bool
    verdict: str

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return to_dict(self)


class CureRow(NamedTuple):
    """One number of the table: of a mechanism or subset, a measure, before and after."""

    name: str
    measure: str
    before: str
    after: str


def varied_mechanisms(audit: AuditRecord) -> tuple[str, ...]:
    """Return what a cure varies: the mechanisms whose class the decision follows, alone or together.

    Who follows one of texture and background mostly follows the two together, and both vary: with one alone the
    decision moves to the other (Li et al., "A Whac-A-Mole Dilemma", CVPR 2023).
    """
    followed = {name for one in audit.follows for name in one.split("+")}
    return tuple(name for name in PICTURES if name in followed)


def cure_policy(varied: tuple[str, ...], *, whole: bool = False) -> tuple[str, ...]:
    """Return the policy under which the labels of all other mechanisms are the shape's.

    Of ``whole`` objects a texture that does not vary has the shape's noise too.
    """
    same = {"texture": "texture.whole:1" if whole else "texture.correlate:1", "background": "background.correlate:1"}
    return tuple(word for name, word in same.items() if name not in varied)


def cure_rows(record: CureRecord) -> list[CureRow]:
    """Return the table of a cure."""
    rows = []
    for name in (*MECHANISMS, BOTH):
        pair = [_numbers(audit, name) for audit in (record.before, record.after)]
        rows += [CureRow(name, measure, pair[0][measure], pair[1][measure]) for measure in MEASURES]
    after = "-" if record.accuracy_after is None else f"{record.accuracy_after:.1f} %"
    rows.append(CureRow(f"{record.held_out:,} real pictures", "accuracy", f"{record.accuracy_before:.1f} %", after))
    return rows


def _numbers(audit: AuditRecord | None, name: str) -> dict[str, str]:
    if audit is None:
        return dict.fromkeys(MEASURES, "-")
    one = audit.mechanisms[name] if name in audit.mechanisms else audit.subsets[name]
    values: dict[str, Interval] = {"flip": one.flip, "follow": one.follow, "accuracy": one.accuracy, "agree": one.agree}
    return {measure: str(value) for measure, value in values.items()}


def follow_words(record: AuditRecord, names: tuple[str, ...]) -> str:
    """Return ``texture 34 %, background 5 %``: how often the decision follows each."""
    return ", ".join(f"{name} {record.mechanisms[name].follow.value:.1f} %" for name in names)


def read_cure(folder: Path) -> CureRecord:
    """Return the record in a folder that ``cure`` wrote; raise UserError if there is none."""
    return read_record(folder / FILE, CureRecord)
