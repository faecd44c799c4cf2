"""Figures of the audit's proof: planted share against follow, coverage, and three CGNs side by side."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from audit_summary import FOLLOWED, OF_FAMILY, Audited, Coverage, has, of_ladder
from picture import GREY, INK
from planted import SHARES

FIGURES = Path(__file__).parents[1] / "docs" / "results" / "figures"
COLOURS = {"teacher": "#0b6e6e", "student": "#c46a12", "glyphs": "#6a4fb3", "photographs": "#1f5fa8"}
WORDS = {"teacher": "zoo's teacher", "student": "its student", "glyphs": "real glyphs", "photographs": "photographs"}
TITLES = {"texture": "texture planted", "background": "background planted", "both": "both planted together"}
MECHANISM_COLOURS = ("#444444", "#0b6e6e", "#c46a12", "#6a4fb3")
AIM = (93, 97)  # percent, of coverage


def draw_figures(digits: Sequence[Audited], photos: Sequence[Audited], coverage: dict[str, list[Coverage]]) -> None:
    """Draw all figures."""
    cgns = {name: [one for one in digits if one.cgn == name] for name in ("teacher", "student", "glyphs")}
    draw_ladders({**cgns, "photographs": list(photos)}, FIGURES / "audit-follow.png")
    if cgns["student"] and cgns["glyphs"]:
        draw_agreement(cgns, FIGURES / "audit-agreement.png")
    if coverage:
        draw_coverage(coverage, FIGURES / "audit-coverage.png")


def tidy(axes: Axes, x: str, y: str, title: str) -> None:
    """Label the axes and take away what carries nothing."""
    axes.set_xlabel(x, color=GREY)
    axes.set_ylabel(y, color=GREY)
    axes.set_title(title, fontsize=11, color=INK)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def draw_ladders(cgns: dict[str, list[Audited]], out: Path) -> None:
    """Draw follow with its interval against the planted share: a panel per family, a colour per CGN."""
    figure, panels = plt.subplots(1, 3, figsize=(10.5, 3.6), sharey=True, layout="constrained", facecolor="white")
    for axes, (family, name) in zip(panels, OF_FAMILY.items(), strict=True):
        present = [cgn for cgn, audits in cgns.items() if has(audits, family)]
        for place, cgn in enumerate(present):
            draw_ladder(axes, of_ladder(cgns[cgn], family), name, cgn, 0.022 * (place - (len(present) - 1) / 2))
        axes.set_xticks(SHARES)
        tidy(axes, "planted share", "", TITLES[family])
    panels[0].set_ylabel("follow of the planted mechanism, %", color=GREY)
    panels[0].legend(frameon=False, fontsize=9, labelcolor=INK)
    figure.savefig(out, dpi=110)
    plt.close(figure)


def draw_ladder(axes: Axes, audits: Sequence[Audited], name: str, cgn: str, shift: float) -> None:
    follow = [one.reactions[name].follow for one in audits]
    below, above = [f.value - f.low for f in follow], [f.high - f.value for f in follow]
    axes.errorbar(
        [one.share + shift + 0.006 * (one.seed - 1) for one in audits],
        [f.value for f in follow],
        yerr=[below, above],
        fmt="o",
        markersize=3.5,
        linewidth=1,
        color=COLOURS[cgn],
        label=WORDS[cgn],
    )


def draw_agreement(cgns: dict[str, list[Audited]], out: Path) -> None:
    """Draw follow by the student and by real glyphs against follow by the teacher, of every classifier and subset."""
    figure, panels = plt.subplots(1, 2, figsize=(7.6, 3.8), sharey=True, layout="constrained", facecolor="white")
    teacher = {one.name: one for one in cgns["teacher"]}
    for axes, cgn in zip(panels, ("student", "glyphs"), strict=True):
        axes.plot([0, 100], [0, 100], color="#cccccc", linewidth=1, zorder=0)
        for name, colour in zip(FOLLOWED, MECHANISM_COLOURS[1:], strict=True):
            pairs = [(teacher[one.name].reactions[name].follow.value, one) for one in cgns[cgn]]
            y = [one.reactions[name].follow.value for _, one in pairs]
            axes.plot([x for x, _ in pairs], y, "o", markersize=3.5, color=colour, label=name)
        tidy(axes, "follow by the teacher, %", "follow by the other, %", WORDS[cgn])
    panels[0].legend(frameon=False, fontsize=9, labelcolor=INK)
    figure.savefig(out, dpi=110)
    plt.close(figure)


def draw_coverage(coverage: dict[str, list[Coverage]], out: Path) -> None:
    """Draw a dot for each classifier, mechanism and statistic, and the band of the aim."""
    statistics = list(dict.fromkeys(one.statistic for part in coverage.values() for one in part))
    mechanisms = list(dict.fromkeys(one.mechanism for part in coverage.values() for one in part))
    figure, axes = plt.subplots(figsize=(8.4, 3.6), layout="constrained", facecolor="white")
    axes.axhspan(*AIM, color="#e8f1f1", zorder=0)
    axes.axhline(95, color="#9bbcbc", linewidth=1, zorder=0)
    for row, (mechanism, colour) in enumerate(zip(mechanisms, MECHANISM_COLOURS, strict=True)):
        points = [
            (place + 0.16 * (row - 1.5) + 0.04 * (index - 1), one.share)
            for index, part in enumerate(coverage.values())
            for place, statistic in enumerate(statistics)
            for one in part
            if (one.statistic, one.mechanism) == (statistic, mechanism)
        ]
        axes.plot(*zip(*points, strict=True), "o", markersize=4, color=colour, label=mechanism)
    axes.set_xticks(range(len(statistics)), statistics)
    axes.set_ylim(86, 100.5)
    tidy(axes, "", "intervals that hold the truth, %", "")
    axes.legend(frameon=False, fontsize=9, labelcolor=INK, ncols=4, loc="lower left")
    figure.savefig(out, dpi=110)
    plt.close(figure)
