"""The one entry for pairs of a teacher: questions as planned, or active ones."""

from dataclasses import replace
from pathlib import Path

from skdcgn.base.config import Noise, QueryConfig
from skdcgn.base.errors import UserError
from skdcgn.base.progress import Watch, log_progress
from skdcgn.base.rank import Rank
from skdcgn.cgn.mechanism import Teacher
from skdcgn.pairs.query import query_all
from skdcgn.students.active import ROUND, active_questions


def ask(
    teacher: Teacher,
    out: Path,
    config: QueryConfig,
    *,
    seed: int = 0,
    rank: Rank = Rank(),  # noqa: B008  # immutable
    watch: Watch = log_progress,
) -> dict[str, int]:
    """Store training and held-out pairs of all mechanisms in ``out/MECHANISM/{train,held-out}``.

    Questions are those of :func:`~skdcgn.pairs.query.query_all` or, with active noise, those of
    :func:`~skdcgn.students.active.active_questions`, in rounds of ``ROUND`` questions at most.

    Returns the queries that this rank spent on training pairs, by mechanism.

    Raises:
        UserError: active noise with several ranks, and what :func:`~skdcgn.pairs.query.query_all` raises.
    """
    if config.noise is not Noise.ACTIVE:
        return query_all(teacher, out, config, seed=seed, rank=rank, watch=watch)
    if rank.ranks > 1:
        raise UserError("active questions depend on all answers before: query with one process, or pass --noise random")
    rounds = replace(config, shard_size=min(config.shard_size, ROUND))
    return query_all(teacher, out, rounds, seed=seed, questions=active_questions(teacher, out), watch=watch)
