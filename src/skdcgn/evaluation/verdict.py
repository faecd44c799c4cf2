"""The verdict of an audit: one sentence from its numbers."""

from collections.abc import Mapping

from skdcgn.evaluation.audit_record import BOTH, PICTURES, Carried, Floor, Interval, Reaction

DOUBT = "cannot tell what it follows"
CHECK = "check how it reads pictures (--preprocess, --size, channel order) and its class names"


def near_chance(low: float, chance: float) -> bool:
    """Say whether an accuracy with this lower end tells little more than guessing, in percent.

    It is less than half as good again, and less than a twentieth of the way from guessing to always right.
    """
    return low <= chance + min(chance / 2, (100 - chance) / 20)


def sanity_warning(agree: Interval, classes: int) -> str | None:
    """Return a warning if the decision is near chance even where the labels of all mechanisms agree, else None."""
    chance = 100 / classes
    if not near_chance(agree.low, chance):
        return None
    return (
        f"the classifier is right in {agree} of pictures whose three labels agree, where guessing reaches "
        f"{_percent(chance)}: {CHECK}"
    )


def carried_warning(mechanism: str, carried: Carried) -> str | None:
    """Return a warning if a mechanism's layers hardly carry their class, else None."""
    if not _blank(carried):
        return None
    return f"the CGN's {_plural(mechanism)} carry their class in {_carried(carried)}"


def obstacle(shape: Reaction, carried: Mapping[str, Carried], classes: int) -> str | None:
    """Return one sentence if these pictures cannot tell what the decision follows, else None."""
    one, guessing = carried.get("shape"), 100 / classes
    if one and _blank(one):
        return (
            f"{DOUBT}: the shapes of this CGN carry their class in {_carried(one)}, so that no classifier can read them"
        )
    if near_chance(shape.agree.low, guessing):
        return (
            f"{DOUBT}: it is right in {shape.agree} of pictures whose three labels agree "
            f"(guessing: {_percent(guessing)}); {CHECK}"
        )
    return None


def verdict(
    reactions: Mapping[str, Reaction],
    floors: Mapping[str, Floor],
    follows: tuple[str, ...],
    carried: Mapping[str, Carried],
) -> str:
    """Return one sentence: what the decision follows, and how it reacts to the rest."""
    parts = [_reaction(name, reactions[name], floors[name], name in follows) for name in _order(follows)]
    if not follows:
        parts.append(_reaction("shape", reactions["shape"], floors["shape"], True))
    blind = [name for name in PICTURES if name in carried and name not in follows and _blank(carried[name])]
    return f"{_head(follows, reactions['shape'], blind)}: {'; '.join(parts)}{_blind(blind, carried)}"


def _blank(one: Carried) -> bool:
    return near_chance(one.low, one.chance)


def _head(follows: tuple[str, ...], shape: Reaction, blind: list[str]) -> str:
    single = [f"the {name}" for name in PICTURES if name in follows]
    if single:
        return f"follows {' and '.join(single)}"
    if follows:
        return "follows texture and background where both agree"
    if shape.excess.low <= 0:
        return "follows none of the three"
    return "follows the shape alone" + (", as far as this CGN can tell" if blind else "")


def _order(follows: tuple[str, ...]) -> list[str]:
    """Return what the sentence names: what is followed first; both together unless one alone is followed."""
    single, rest = [x for x in PICTURES if x in follows], [x for x in PICTURES if x not in follows]
    if not single:
        return [BOTH, *rest] if follows else rest
    return [*single, *rest] if rest else [*single, BOTH]


def _reaction(name: str, reaction: Reaction, floor: Floor, followed: bool) -> str:
    if not followed:
        return f"{name} {reaction.flip}, {_against(reaction.flip, floor.flip)}"
    new = "one new class of both changes" if name == BOTH else f"a new {name} changes"
    own = "that" if name == BOTH else "its own"
    return f"in {reaction.flip} of pictures {new} the answer, {_percent(reaction.follow.value)} to {own} class"


def _against(flip: Interval, floor: Interval) -> str:
    level = _percent(floor.value)
    if flip.low <= floor.high:
        return f"within the noise floor of {level}"
    return f"above the noise floor of {level}, but not to its own class"


def _blind(blind: list[str], carried: Mapping[str, Carried]) -> str:
    return "".join(
        f"; the {_plural(name)} of this CGN carry their class in {_carried(carried[name])}" for name in blind
    )


def _carried(one: Carried) -> str:
    return f"{Interval(one.value, one.low, one.high)} (guessing: {_percent(one.chance)})"


def _plural(mechanism: str) -> str:
    return f"{mechanism}s"


def _percent(value: float) -> str:
    return f"{value:.0f} %" if value >= 9.95 else f"{value:.1f} %"
