"""A record of an audit for tests: three classes, a classifier that follows the background."""

from skdcgn.evaluation.audit_record import (
    MECHANISMS,
    SUBSETS,
    AuditRecord,
    Carried,
    CurvePoint,
    Floor,
    Interval,
    Pair,
    Reaction,
)

FLIPS = {"shape": 60.0, "texture": 6.0, "background": 34.0}


def near(value: float) -> Interval:
    """Return an interval of one point on each side."""
    return Interval(value, max(value - 1, 0), value + 1)


def reaction(flip: float, follow: float) -> Reaction:
    """Return a reaction with these two shares."""
    return Reaction(near(flip), near(follow), near(90 - flip), near(90), near(follow))


def small_record() -> AuditRecord:
    """Return the record of a classifier of three classes that follows the background."""
    floor = Floor(near(5), near(2))
    return AuditRecord(
        classifier="mine.onnx",
        cgn="teacher",
        classes=("cat", "dog", "fox"),
        images=200,
        seed=0,
        mechanisms={name: reaction(flip, flip - 4) for name, flip in FLIPS.items()},
        noise_floor=dict.fromkeys((*MECHANISMS, *SUBSETS), floor),
        subsets={name: reaction(70, 60) for name in SUBSETS},
        carried={name: Carried(80, 75, 85, 33.3) for name in MECHANISMS},
        curves={
            name: tuple(CurvePoint(a, near(flip * a), near(flip * a / 2)) for a in (0.25, 0.5, 0.75, 1.0))
            for name, flip in FLIPS.items()
        },
        confusion=dict.fromkeys(MECHANISMS, ((50, 10, 5), (8, 60, 7), (20, 10, 30))),
        pairs=(
            Pair("background", (0, 1, 1), 2, 0, 2, 98.0, 91.0, 7),
            Pair("background", (1, 0, 0), 2, 1, 2, 90, 88, 9),
        ),
        follows=("background",),
        warnings=(),
        verdict="follows the background: in 34 % [33, 35] of pictures a new background changes the answer",
    )
