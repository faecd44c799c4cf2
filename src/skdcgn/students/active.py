"""Active questions: of random candidates, those whose answers two quick students disagree about.

A round is a shard. The first is random and balanced over the classes. Before each later one, two quick students
(:mod:`skdcgn.students.quick`) of other initial weights learn the answers so far: a committee (Seung, Opper &
Sompolinsky 1992). Each question of the round has a class, balanced as in a random round, and ``CANDIDATES`` random
noises. With d(u) = G_1(u, y) - G_2(u, y), reduced to ``SIDE`` pixels, the noises of a class are picked one after the
other, each with probability proportional to

.. math:: \\min(|d(u)|^2, \\min_j |d(u) - d(u_j)|^2)

over those u_j that were picked before: k-means++ seeding (Arthur & Vassilvitskii 2007, Sec. 2.2), whose first centre is
d = 0, agreement; BADGE (Ash et al. 2020, Algorithm 1) does so with gradients. So questions are asked where the students
differ, and no two of a round for the same difference. Nothing is asked while the students learn; what is picked is on
disk before it is asked.
"""

from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from skdcgn.base.config import Noise
from skdcgn.base.seeds import derive_seed, generator
from skdcgn.base.tensors import write_tensors
from skdcgn.cgn.drawer import BATCH
from skdcgn.cgn.mechanism import Spec, Teacher
from skdcgn.pairs.filling import Questions, plan_shard
from skdcgn.pairs.manifest import HELD_OUT, Plan
from skdcgn.pairs.stored import StoredPairs, read_inputs
from skdcgn.students.quick import DEFAULT_EFFORT, Effort, draw_quick, quick_student

CANDIDATES = 8  # for each question
SIDE = 16  # pixels to which a disagreement is reduced


def active_questions(teacher: Teacher, pairs: Path, effort: Effort = DEFAULT_EFFORT) -> Questions:
    """Return the choice of questions of the folder ``pairs``; held-out ones stay random.

    Args:
        teacher: queried again for the answers that the students learn, if the pairs store no images.
    """

    def questions(size: int, index: int, plan: Plan) -> tuple[Tensor, Tensor]:
        if plan.purpose == HELD_OUT or index == 0:
            return random_questions(size, index, plan)
        folder = pairs / plan.mechanism / plan.purpose
        file = folder / "questions" / f"round-{index:05d}.safetensors"
        if not file.exists():
            answers = StoredPairs(folder, teacher, first=plan.rows(index).start)
            noise, labels = choose_questions(size, index, plan, answers, steps=effort.round_steps)
            write_tensors(file, {"noise": noise, "labels": labels})
        return read_questions(file, size, plan.spec)

    return questions


def random_questions(size: int, index: int, plan: Plan) -> tuple[Tensor, Tensor]:
    """Return the random noise (size, Z) and balanced labels (size,) of a shard."""
    return plan_shard(size, index, replace(plan, noise=Noise.RANDOM))


def read_questions(file: Path, size: int, spec: Spec) -> tuple[Tensor, Tensor]:
    """Read the noise (size, Z) and labels (size,) of a round; raise UserError if the file holds something else."""
    return read_inputs(file, spec, {"noise": ("F32", [size, spec.noise_dim]), "labels": ("I64", [size])})


def choose_questions(size: int, index: int, plan: Plan, answers: StoredPairs, *, steps: int) -> tuple[Tensor, Tensor]:
    """Return the noise (size, Z) and labels (size,) of round ``index``, from the ``answers`` before it."""
    labels = random_questions(size, index, plan)[1]
    rng = generator(plan.seed, "active", plan.mechanism, index)
    candidates = plan.spec.sample_noise(size * CANDIDATES, rng)
    seed = derive_seed(plan.seed, "committee", index)
    vectors = disagreement(answers, candidates, labels.repeat(CANDIDATES), seed=seed, steps=steps)
    noise = torch.empty(size, plan.spec.noise_dim)
    for label in labels.unique():
        own = (labels.repeat(CANDIDATES) == label).nonzero()[:, 0]
        noise[labels == label] = candidates[own[pick(vectors[own], int((labels == label).sum()), rng)]]
    return noise, labels


def disagreement(answers: StoredPairs, noise: Tensor, labels: Tensor, *, seed: int, steps: int) -> Tensor:
    """Return how two quick students of ``answers`` differ at each noise (N, Z) and label (N,): (N, C side side)."""
    first, second = (quick_student(answers, steps, derive_seed(seed, member)) for member in range(2))
    side = min(SIDE, answers.spec.image_size)
    parts = zip(noise.split(BATCH), labels.split(BATCH), strict=True)
    return torch.cat(
        [F.adaptive_avg_pool2d(draw_quick(first, *part) - draw_quick(second, *part), side).flatten(1) for part in parts]
    )


def pick(vectors: Tensor, count: int, rng: torch.Generator) -> Tensor:
    """Return ``count`` different rows of ``vectors`` (N, D), far from 0 and from each other."""
    rows: list[int] = []
    weights = vectors.square().sum(1)
    for _ in range(count):
        if not bool(weights.sum() > 0):  # nothing is left that differs
            weights = torch.ones_like(weights).index_fill(0, torch.tensor(rows, dtype=torch.int64), 0)
        rows.append(int(torch.multinomial(weights, 1, generator=rng)))
        weights = torch.minimum(weights, (vectors - vectors[rows[-1]]).square().sum(1))
    return torch.tensor(rows)
