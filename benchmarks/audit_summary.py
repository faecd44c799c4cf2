"""From audits of planted classifiers to what can be said of them: ranks, coverage, false alarms, power, agreement."""

from collections.abc import Sequence
from itertools import combinations
from statistics import mean
from typing import Any

from pydantic.dataclasses import dataclass
from scipy.stats import pearsonr, spearmanr

from skdcgn.evaluation.audit_answers import Answers
from skdcgn.evaluation.audit_pictures import RECIPES
from skdcgn.evaluation.audit_record import BOTH, Floor, Interval, Reaction
from skdcgn.evaluation.reactions import Reactions, reactions

FOLLOWED = ("texture", "background", BOTH)  # what a verdict may name
OF_FAMILY = {"texture": "texture", "background": "background", "both": BOTH}
MARGINS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0)
STATISTICS = ("flip", "follow", "accuracy", "agree", "excess")
COVERED = ("shape", *FOLLOWED)


@dataclass(frozen=True)
class Audited:
    """An audit of a planted classifier: its reactions and noise floors, and its percent correct before."""

    family: str
    share: float
    seed: int
    accuracy: float
    cgn: str
    images: int
    reactions: dict[str, Reaction]
    floors: dict[str, Floor]

    @property
    def name(self) -> str:
        return f"{self.family}-{self.share:g}-{self.seed}"

    def follows(self, margin: float) -> tuple[str, ...]:
        """Return the subsets that a verdict with this margin names."""
        return tuple(name for name in FOLLOWED if self.reactions[name].excess.low > margin)

    def short(self) -> dict[str, Any]:
        """Return what results keep: value, low and high of what the tables state."""
        kept = {name: self.reactions[name] for name in COVERED}
        numbers = {
            name: {kind: ends(getattr(one, kind)) for kind in STATISTICS}
            | {"floor": ends(self.floors[name].follow), "floor_flip": ends(self.floors[name].flip)}
            for name, one in kept.items()
        }
        head = {"family": self.family, "share": self.share, "seed": self.seed, "accuracy": self.accuracy}
        return {**head, "cgn": self.cgn, "images": self.images, **numbers}


@dataclass(frozen=True)
class Coverage:
    """How many of the repeated audits have an interval that holds the truth, in percent.

    Args:
        mechanism: or subset.
        statistic: flip, follow, accuracy, agree, excess, floor or floor flip.
        truth: of all base pictures together, in percent or points.
        share: of repeats, in percent.
        width: mean width of the intervals, in points.
    """

    mechanism: str
    statistic: str
    truth: float
    share: float
    width: float


def ends(interval: Interval) -> list[float]:
    """Return value, low and high."""
    return [interval.value, interval.low, interval.high]


def covered(answers: Answers, repeats: int) -> list[Coverage]:
    """Return the coverage of the intervals of ``repeats`` equal parts of an audit, with the whole as the truth."""
    truth, size = cells(reactions(answers)), len(answers.before) // repeats
    parts = [cells(reactions(rows(answers, slice(size * i, size * (i + 1))), seed=i)) for i in range(repeats)]
    return [_coverage(key, value.value, [part[key] for part in parts]) for key, value in truth.items()]


def _coverage(key: tuple[str, str], truth: float, intervals: Sequence[Interval]) -> Coverage:
    inside = [one.low <= truth <= one.high for one in intervals]
    return Coverage(*key, truth, 100 * mean(inside), mean(one.high - one.low for one in intervals))


def rows(answers: Answers, part: slice) -> Answers:
    """Return the answers on some of the base pictures, without mixtures."""
    return Answers(
        answers.labels[part],
        answers.new_labels[part],
        answers.classes,
        {of: answers.decisions[of][part] for of in RECIPES},
        {of: answers.confidences[of][part] for of in RECIPES},
    )


def cells(parts: Reactions) -> dict[tuple[str, str], Interval]:
    """Return the intervals by mechanism and statistic."""
    return {
        **{(name, kind): getattr(parts.reactions[name], kind) for name in COVERED for kind in STATISTICS},
        **{(name, "floor"): parts.floors[name].follow for name in COVERED},
        **{(name, "floor flip"): parts.floors[name].flip for name in COVERED},
    }


def summarise(
    digits: Sequence[Audited], coverage: dict[str, list[Coverage]], photos: Sequence[Audited]
) -> dict[str, Any]:
    """Return all that the page states, by section."""
    cgns = {name: [one for one in digits if one.cgn == name] for name in ("teacher", "student", "glyphs")}
    return {
        "accuracy": {
            name: by_share(audits) for name, audits in {"digits": cgns["teacher"], "photographs": photos}.items()
        },
        "follow": {name: follows_by_share(audits) for name, audits in {**cgns, "photographs": list(photos)}.items()},
        "rank_correlation": {
            name: {family: rank_correlation(audits, family) for family in OF_FAMILY if has(audits, family)}
            for name, audits in {**cgns, "photographs": list(photos)}.items()
        },
        "coverage": {name: coverage_summary(part) for name, part in coverage.items()},
        "margins": {f"{margin:g}": alarms_and_power(cgns["teacher"], margin) for margin in MARGINS},
        "margins_of_photographs": {f"{margin:g}": alarms_and_power(photos, margin) for margin in MARGINS},
        "low_ends_of_excess": low_ends(cgns["teacher"]),
        "agreement": {
            f"{a} and {b}": agreement(cgns[a], cgns[b]) for a, b in combinations(cgns, 2) if cgns[a] and cgns[b]
        },
    }


def has(audits: Sequence[Audited], family: str) -> bool:
    return any(one.family == family for one in audits)


def of_ladder(audits: Sequence[Audited], family: str) -> list[Audited]:
    """Return the audits of a family, and those of share 0 with the same seeds."""
    own = [one for one in audits if one.family == family]
    seeds = {one.seed for one in own}
    return [one for one in audits if one.share == 0 and one.seed in seeds] + own


def rank_correlation(audits: Sequence[Audited], family: str) -> float:
    """Return Spearman's correlation of the planted share and follow, over classifiers."""
    ladder = of_ladder(audits, family)
    follow = [one.reactions[OF_FAMILY[family]].follow.value for one in ladder]
    return round(float(spearmanr([one.share for one in ladder], follow).statistic), 4)


def by_share(audits: Sequence[Audited]) -> dict[str, float]:
    """Return the mean percent correct on decorrelated images by family and share."""
    groups = dict[str, list[float]]()
    for one in audits:
        groups.setdefault(f"{one.family} {one.share:g}", []).append(one.accuracy)
    return {key: round(mean(values), 2) for key, values in groups.items()}


def follows_by_share(audits: Sequence[Audited]) -> dict[str, dict[str, dict[str, float]]]:
    """Return means over seeds of follow and excess in each family, by share."""
    result = dict[str, dict[str, dict[str, float]]]()
    for family, name in OF_FAMILY.items():
        ladder = of_ladder(audits, family)
        for share in sorted({one.share for one in ladder}):
            parts = [one.reactions[name] for one in ladder if one.share == share]
            numbers = {kind: round(mean(getattr(p, kind).value for p in parts), 2) for kind in STATISTICS}
            result.setdefault(family, {})[f"{share:g}"] = numbers
    return result


def coverage_summary(part: Sequence[Coverage]) -> dict[str, dict[str, float]]:
    """Return the mean coverage of each statistic over mechanisms, and the least and the greatest."""
    result = {}
    for statistic in (*dict.fromkeys(one.statistic for one in part), "all"):
        shares = [one.share for one in part if statistic in (one.statistic, "all")]
        result[statistic] = {"mean": round(mean(shares), 2), "least": min(shares), "greatest": max(shares)}
    return result


def alarms_and_power(audits: Sequence[Audited], margin: float) -> dict[str, Any]:
    """Return counts of classifiers: false alarms among those in whom nothing, or another mechanism, is planted; found.

    A false alarm of a classifier with a planted texture names the background, and the other way round.
    """
    clean = [one for one in audits if one.share == 0]
    other = {"texture": "background", "background": "texture"}
    planted = [one for one in audits if one.family in other]
    groups = sorted({(one.family, one.share) for one in audits if one.share})
    return {
        "false_alarms": _count([bool(one.follows(margin)) for one in clean]),
        "false_alarms_of_the_other": _count([other[one.family] in one.follows(margin) for one in planted]),
        "power": {
            f"{family} {share:g}": _count(
                [
                    OF_FAMILY[family] in one.follows(margin)
                    for one in audits
                    if (one.family, one.share) == (family, share)
                ]
            )
            for family, share in groups
        },
    }


def low_ends(audits: Sequence[Audited]) -> dict[str, float]:
    """Return what a margin has to separate: the greatest low end of an innocent excess, the least of a planted one."""
    innocent = [one.reactions[name].excess.low for one in audits if one.share == 0 for name in FOLLOWED]
    planted = [one.reactions[OF_FAMILY[one.family]].excess.low for one in audits if one.share]
    return {"greatest_decorrelated": max(innocent), "least_planted": min(planted)}


def _count(found: Sequence[bool]) -> str:
    return f"{sum(found)} of {len(found)}"


def agreement(first: Sequence[Audited], second: Sequence[Audited], margin: float = 1.0) -> dict[str, Any]:
    """Compare the audits of the same classifiers with two CGNs, over the subsets that a verdict may name."""
    others = {one.name: one for one in second}
    pairs = [(one, others[one.name]) for one in first if one.name in others]
    follow = [[both[i].reactions[name].follow.value for both in pairs for name in FOLLOWED] for i in (0, 1)]
    same = [(name in a.follows(margin)) == (name in b.follows(margin)) for a, b in pairs for name in FOLLOWED]
    return {
        "classifiers": len(pairs),
        "correlation": round(float(pearsonr(*follow).statistic), 4),
        "rank_correlation": round(float(spearmanr(*follow).statistic), 4),
        "mean_absolute_difference": round(mean(abs(a - b) for a, b in zip(*follow, strict=True)), 2),
        "same_answers": _count(same),
        "same_verdicts": _count([a.follows(margin) == b.follows(margin) for a, b in pairs]),
    }


def markdown(summary: dict[str, Any]) -> str:
    """Return the tables of the page."""
    lines = ["| family | " + " | ".join(f"{cgn}" for cgn in summary["rank_correlation"]) + " |", "| --- |"]
    for family in OF_FAMILY:
        cells = [f"{part.get(family, '-')}" for part in summary["rank_correlation"].values()]
        lines.append(f"| {family} | {' | '.join(cells)} |")
    lines.append("\n| margin | false alarms | of the other | found |")
    for margin, part in summary["margins"].items():
        found = ", ".join(f"{key}: {count}" for key, count in part["power"].items())
        lines.append(f"| {margin} | {part['false_alarms']} | {part['false_alarms_of_the_other']} | {found} |")
    for name, part in summary["coverage"].items():
        lines.append(
            f"\n{name}: " + ", ".join(f"{k} {v['mean']} ({v['least']} to {v['greatest']})" for k, v in part.items())
        )
    for name, part in summary["agreement"].items():
        lines.append(f"\n{name}: {part}")
    return "\n".join(lines)
