"""The one entry for pairs of a teacher: questions as planned or active ones, all of them or until they are enough."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from skdcgn.base.config import Noise, QueryConfig
from skdcgn.base.errors import UserError
from skdcgn.base.progress import Watch, log_progress, logger
from skdcgn.base.rank import Rank
from skdcgn.base.records import override
from skdcgn.cgn.mechanism import Mechanism, Teacher
from skdcgn.pairs.estimate import Estimate, estimate_query
from skdcgn.pairs.filling import plan_shard
from skdcgn.pairs.manifest import TRAIN, read_manifests
from skdcgn.pairs.query import query_all
from skdcgn.students.active import active_questions
from skdcgn.students.enough import LOOKS, Looks, read_looks
from skdcgn.students.quick import DEFAULT_EFFORT, Effort


def ask(
    teacher: Teacher,
    out: Path,
    config: QueryConfig,
    *,
    seed: int = 0,
    rank: Rank = Rank(),  # noqa: B008  # immutable
    watch: Watch = log_progress,
    effort: Effort = DEFAULT_EFFORT,
) -> dict[str, int]:
    """Store training and held-out pairs of all mechanisms in ``out/MECHANISM/{train,held-out}``.

    Questions are those of :func:`~skdcgn.pairs.query.query_all` or, with active noise, those of
    :func:`~skdcgn.students.active.active_questions`, in rounds of ``effort.round`` questions at most. With
    ``config.enough``, a mechanism gets no further question once a look says that its answers are enough
    (:mod:`skdcgn.students.enough`); its folder then holds as many pairs as were asked, and its manifest says so.

    Returns the queries that this rank spent on training pairs, by mechanism.

    Raises:
        UserError: active noise or ``enough`` with several ranks, and what :func:`~skdcgn.pairs.query.query_all` raises.
    """
    if config.noise is not Noise.ACTIVE and config.enough is None:
        return query_all(teacher, out, config, seed=seed, rank=rank, watch=watch)
    if rank.ranks > 1:
        words = "active questions" if config.noise is Noise.ACTIVE else "the looks of --enough"
        raise UserError(f"{words} depend on all answers before: query with one process, or leave this out")
    questions = active_questions(teacher, out, effort) if config.noise is Noise.ACTIVE else plan_shard
    config = in_rounds(config, effort)
    query = partial(query_all, teacher, out, seed=seed, questions=questions, watch=watch)
    if config.enough is None:
        return query(config)
    return _until_enough(query, out, config, Looks(teacher, seed=seed, effort=effort))


def estimate(
    teacher: Teacher, out: Path, config: QueryConfig, *, seed: int = 0, effort: Effort = DEFAULT_EFFORT
) -> Estimate:
    """Return what :func:`ask` with the same arguments will ask at most; ask nothing, write nothing."""
    config = in_rounds(config, effort)
    stopped = {one.value: _planned(out, one) for one in Mechanism if _is_enough(out, one, config)}
    return estimate_query(teacher, out, override(config, stopped), seed=seed)


def in_rounds(config: QueryConfig, effort: Effort = DEFAULT_EFFORT) -> QueryConfig:
    """Return the configuration with shards of a round at most, if its questions are active."""
    return replace(config, shard_size=min(config.shard_size, effort.round)) if config.noise is Noise.ACTIVE else config


def _is_enough(out: Path, mechanism: Mechanism, config: QueryConfig) -> bool:
    """Return whether the look at all pairs of a mechanism was taken and says that they are enough."""
    file, planned = out / mechanism / LOOKS, _planned(out, mechanism)
    looks = read_looks(file) if file.exists() and config.enough is not None else ()
    return any(look.answers == planned and look.greatest_gain <= (config.enough or 0) for look in looks)


def _until_enough(
    query: Callable[[QueryConfig], dict[str, int]],
    out: Path,
    config: QueryConfig,
    look: Looks,
) -> dict[str, int]:
    """Let the folder grow by a step of pairs of each mechanism whose answers are not enough yet."""
    most = dict(zip(Mechanism, (config.shape, config.texture, config.background), strict=True))
    going, count, spent = set(Mechanism), 0, dict[str, int]()
    while going:
        count += look.effort.step
        counts = {one: min(most[one], max(count * (one in going), _planned(out, one))) for one in Mechanism}
        spent = query(override(config, {one.value: number for one, number in counts.items()}))
        going = {one for one in going if count < most[one] and count <= _planned(out, one)}
        for one in [one for one in Mechanism if one in going and count > look.effort.step]:
            result = look(out / one, count)
            logger.info(f"query {one}: {result.says(config.enough or 0)}")
            going -= {one} if result.greatest_gain <= (config.enough or 0) else set()
    return spent


def _planned(out: Path, mechanism: Mechanism) -> int:
    """Return the number of pairs that the folder of a mechanism is planned to hold; 0 if there is none."""
    return max((manifest.count for manifest in read_manifests(out / mechanism / TRAIN)), default=0)
