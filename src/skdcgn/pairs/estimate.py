"""What a query will ask, cost and take, before it is sent."""

from dataclasses import dataclass
from pathlib import Path

from skdcgn.base.config import QueryConfig
from skdcgn.base.progress import duration
from skdcgn.cgn.black_box import access_of
from skdcgn.cgn.mechanism import Mechanism, Teacher
from skdcgn.cgn.subset import of_classes, parse_classes
from skdcgn.pairs.answers import ANSWERED, read_answered
from skdcgn.pairs.budget import Counts, affordable, most_answers, planned_counts, repeats
from skdcgn.pairs.manifest import HELD_OUT, TRAIN, grown, read_manifests, shards_of
from skdcgn.pairs.orders import read_books
from skdcgn.pairs.query import plans_of, requested_of


@dataclass(frozen=True)
class Estimate:
    """What a query will ask.

    Args:
        planned: pairs by mechanism and purpose.
        stored: of them, those that are there.
        twice: answers that are asked twice, to see whether they differ.
        spent: answers that were charged so far, or may have been.
        limit: the most answers that may be charged; None: any number.
        price: of an answer; None: not stated.
        rate: answers per second so far; None: nothing was asked here yet.
    """

    planned: Counts
    stored: Counts
    twice: int
    spent: int
    limit: int | None
    price: float | None
    rate: float | None

    @property
    def answers(self) -> int:
        """How many answers will be asked for."""
        return sum(self.planned.values()) - sum(self.stored.values()) + self.twice

    def lines(self) -> list[str]:
        """Return a line for each mechanism, and one for the sum."""
        return [self._line(mechanism) for mechanism in Mechanism] + [self._sum()]

    def _line(self, mechanism: Mechanism) -> str:
        parts = (mechanism, TRAIN), (mechanism, HELD_OUT)
        planned, stored = ([counts[part] for part in parts] for counts in (self.planned, self.stored))
        return (
            f"{mechanism}: {planned[0]:,} pairs and {planned[1]:,} held out; there already: {stored[0]:,} and "
            f"{stored[1]:,}; to ask: {sum(planned) - sum(stored):,}"
        )

    def _sum(self) -> str:
        twice = f" ({self.twice} of them a second time)" if self.twice else ""
        budget = "" if self.limit is None else f" of a budget of {self.limit:,}"
        spent = f"; spent so far: {self.spent:,}{budget}" if self.spent or budget else ""
        cost = "" if self.price is None else f"; cost: {self.answers * self.price:,.2f}"
        seconds = "unknown before the first answer" if self.rate is None else duration(self.answers / self.rate)
        return f"{self.answers:,} answers to ask{twice}{spent}{cost}; time: {seconds}"


def estimate_query(teacher: Teacher, out: Path, config: QueryConfig, *, seed: int = 0) -> Estimate:
    """Return what :func:`~skdcgn.pairs.query.query_all` with the same arguments will ask; ask nothing, write nothing.

    Raises:
        UserError: that query would be refused.
    """
    teacher = of_classes(teacher, parse_classes(config.classes, teacher.spec.classes))
    access, books = access_of(teacher), read_books(out)
    planned = affordable(config, requested_of(teacher, config, seed), out, access, books)
    stored = Counts()
    for plan in plans_of(teacher, config, seed, planned):
        part = plan.mechanism, plan.purpose
        manifests = read_manifests(out.joinpath(*part))
        grown(plan, manifests, out.joinpath(*part))
        answers = out.joinpath(*part, "ledger").glob(f"{ANSWERED}*.safetensors")
        shards = sum(shard.count for shard in shards_of(manifests).values())
        stored[part] = min(planned[part], shards + sum(len(read_answered(path, plan.spec).labels) for path in answers))
    most = min(config.shard_size, *(planned[mechanism, HELD_OUT] for mechanism in Mechanism))
    asks = sum(planned.values()) > sum(stored.values())
    rates = [book.rate for book in books if book.rate is not None]
    return Estimate(
        planned,
        stored,
        twice=repeats(access, books, most) if asks else 0,
        spent=sum(book.spent for book in books),
        limit=most_answers(config),
        price=config.price,
        rate=max(rates) * access.in_flight if rates and access else None,
    )


def held_out_in(out: Path) -> int:
    """Return how many pairs of each mechanism are planned as held-out ones in ``out``, at least."""
    return min(planned_counts(out, [(mechanism, HELD_OUT) for mechanism in Mechanism]).values())
