"""``report.html`` of an audit: which mechanism a classifier follows, how sure that is, and pairs that show it."""

from pathlib import Path
from typing import NamedTuple

from skdcgn.cgn.mechanism import Mechanism
from skdcgn.evaluation.audit_record import AuditRecord, Floor, Interval, Pair, Reaction, pair_files, read_audit
from skdcgn.report.audit_figures import curves_figure, reactions_figure
from skdcgn.report.audit_maps import confusion_maps
from skdcgn.report.audit_words import spaced
from skdcgn.report.page import write_page
from skdcgn.report.pictures import Picture, embedded_picture
from skdcgn.report.words import count

HEADINGS = (
    *("Flip", "Follow", "Accuracy if it contradicts", "Accuracy if it agrees", "Excess, points"),
    *("Noise floor: flip", "Noise floor: follow"),
)
SHOWN_SIDE = 128  # CSS pixels: small pictures are enlarged to it by a whole factor, large ones shrunk


class Line(NamedTuple):
    """A row of the main table: a mechanism or a subset, (heading, number), and whether the classifier follows it."""

    name: str
    numbers: list[tuple[str, str]]
    followed: bool


class Side(NamedTuple):
    """One picture of a pair, its size in CSS pixels, and the decision on it with its confidence in percent."""

    picture: Picture
    width: int
    height: int
    decision: str
    confidence: str


class Card(NamedTuple):
    """A pair: the varied mechanism, its old and its new class, (mechanism, class) that stay, and two pictures."""

    mechanism: str
    old: str
    new: str
    others: list[tuple[str, str]]
    before: Side
    after: Side


def write_audit_report(out: Path) -> Path:
    """Write ``out/report.html`` from ``out/audit.json`` and the pictures in ``out/pairs``; return its path.

    The pictures of pair number NN are ``NN-before.png`` and ``NN-after.png``; a pair without them is left out.

    Raises:
        UserError: audit.json is missing or damaged, or a picture is not a PNG.
    """
    record = read_audit(out)
    return write_page(
        out,
        "audit.html",
        record=record,
        reactions=reactions_figure(record),
        cards=cards(record, out),
        lines=lines(record),
        curves=curves_figure(record.curves),
        maps=confusion_maps(record.classes, record.confusion),
        headings=HEADINGS,
        carried=carried(record),
        count=count,
    )


def lines(record: AuditRecord) -> list[Line]:
    """Return the main table: the mechanisms, then the subsets."""
    return [
        Line(spaced(name), _numbers(one, record.noise_floor[name]), name in record.follows)
        for name, one in {**record.mechanisms, **record.subsets}.items()
    ]


def _numbers(one: Reaction, floor: Floor) -> list[tuple[str, str]]:
    every = (one.flip, one.follow, one.accuracy, one.agree, one.excess, floor.flip, floor.follow)
    return [(heading, number.text()) for heading, number in zip(HEADINGS, every, strict=True)]


def carried(record: AuditRecord) -> list[tuple[str, str, str]]:
    """Return how well each layer of the CGN carries its class: mechanism, accuracy, accuracy of chance."""
    return [
        (name, Interval(one.value, one.low, one.high).text(), f"{one.chance:.3g}")
        for name, one in record.carried.items()
    ]


def cards(record: AuditRecord, out: Path) -> list[Card]:
    """Return the pairs whose pictures are in the folder of the audit."""
    listed = []
    for index, pair in enumerate(record.pairs):
        before, after = (out / name for name in pair_files(index))
        if before.is_file() and after.is_file():
            listed.append(_card(pair, record.classes, embedded_picture(before), embedded_picture(after)))
    return listed


def _card(pair: Pair, classes: tuple[str, ...], before: Picture, after: Picture) -> Card:
    names = {mechanism.value: classes[label] for mechanism, label in zip(Mechanism, pair.labels, strict=True)}
    return Card(
        pair.mechanism,
        names.pop(pair.mechanism),
        classes[pair.new_label],
        list(names.items()),
        _side(before, classes[pair.decision_before], pair.confidence_before),
        _side(after, classes[pair.decision_after], pair.confidence_after),
    )


def _side(picture: Picture, decision: str, confidence: float) -> Side:
    factor = max(SHOWN_SIDE // picture.width, 1)
    width = min(picture.width * factor, SHOWN_SIDE)
    height = round(width * picture.height / picture.width)
    return Side(picture, width, height, decision, f"{confidence:.0f}")
