"""When answers are enough: looks at what the last thousand gained, with a bound that holds whenever one looks.

A look at n answers compares two quick students (:mod:`skdcgn.students.quick`) that begin with the same weights and
learn for the same number of steps: one of the first n - s answers, one of all n. On held-out pair i of the mechanism,

.. math:: d_i = \\overline{|G_{n - s}(u_i, y_i) - x_i|} - \\overline{|G_n(u_i, y_i) - x_i|}

is what the last s = 1,000 answers gained, in mean absolute difference of pixel values: of masks in [0, 1], of textures
and backgrounds in [-1, 1]. No d_i exceeds r_i, the mean :math:`|G_{n - s} - G_n|` at (u_i, y_i), which needs no
answer. So R, the greatest r of many random inputs, bounds all but a small share p of the d_i, and

.. math:: E[d] \\le E[\\min(d, R)] + p (a - R),

where a is the range of the pixel values. The first term is bounded by :mod:`skdcgn.metrics.confidence`, p by the number
of free inputs. Look k may err with probability ``ALPHA`` / (k (k + 1)), so that with probability 1 - ``ALPHA`` no bound
of a mechanism is too low, however many looks are taken and whenever one stops. Held-out pairs count as independent;
their balanced labels make their mean vary less than that.

Assumptions: learning curves flatten, that is, a further s answers gain no more than the last s did; and the student
that is distilled needs no more answers than a quick one, which is smaller or learns for fewer steps.
"""

from pathlib import Path

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor

from skdcgn.base.bounds import Count, Measure
from skdcgn.base.door import read_record
from skdcgn.base.files import write_json
from skdcgn.base.records import to_dict
from skdcgn.base.seeds import derive_seed, generator
from skdcgn.cgn.drawer import BATCH
from skdcgn.cgn.mechanism import Mechanism, Teacher
from skdcgn.metrics.confidence import level_of_look, unseen_share, upper_bound
from skdcgn.pairs.manifest import HELD_OUT, TRAIN
from skdcgn.pairs.stored import Pairs, StoredPairs, read_pairs
from skdcgn.students.generator import StudentGenerator
from skdcgn.students.quick import DEFAULT_EFFORT, Effort, draw_quick, quick_student

LOOKS = "looks.json"
ALPHA = 0.05
FOR_RANGE = 0.1  # share of a look's probability of error that its bound of p has


@dataclass(frozen=True)
class Look:
    """A look, as ``looks.json`` of a mechanism keeps it.

    Args:
        answers: how many there were.
        step: how many of them were the last.
        error: held-out L1 of the student of all of them.
        gain: how much more that of the student without the last ``step`` is.
        greatest_gain: the upper bound of the gain.
    """

    answers: Count
    step: Count
    error: Measure
    gain: Measure
    greatest_gain: Measure

    def says(self, enough: float) -> str:
        """Return the decision and its reason in one line."""
        gained = f"the last {self.step:,} lowered the held-out L1 of a quick student by {self.gain:.4f}"
        if self.greatest_gain <= enough:
            return (
                f"{self.answers:,} answers are enough: {gained}, by {self.greatest_gain:.4f} at most, so a further "
                f"{self.step:,} cannot gain more than --enough {enough:g}"
            )
        return (
            f"{self.answers:,} answers are not enough: {gained}, maybe by {self.greatest_gain:.4f}, more than "
            f"--enough {enough:g}"
        )


class Looks:
    """Takes looks at the folders of mechanisms; each is kept in ``looks.json`` of the folder.

    Args:
        teacher: queried again if the pairs store no images.
        seed: of the quick students and the free inputs.
    """

    def __init__(self, teacher: Teacher | None = None, *, seed: int = 0, effort: Effort = DEFAULT_EFFORT) -> None:
        self.teacher, self.seed, self.effort = teacher, seed, effort
        self._students: dict[Path, tuple[int, StudentGenerator]] = {}  # the last one of each folder

    def __call__(self, folder: Path, answers: int) -> Look:
        """Return the look at the first ``answers`` training pairs of ``folder``, a multiple of ``effort.step``."""
        file = folder / LOOKS
        looks = {look.answers: look for look in read_looks(file)} if file.exists() else {}
        if answers not in looks:
            looks[answers] = self._look(folder, answers)
            write_json(file, to_dict(tuple(looks[number] for number in sorted(looks))))
        return looks[answers]

    def _look(self, folder: Path, answers: int) -> Look:
        held_out = read_pairs(folder / HELD_OUT, self.teacher, purpose=HELD_OUT)
        before, after = (self._student(folder, count) for count in (answers - self.effort.step, answers))
        errors = [errors_of(student, held_out) for student in (before, after)]
        ranges = free_ranges(before, after, self.effort.free, seed=derive_seed(self.seed, "free", answers))
        gains, number = errors[0] - errors[1], answers // self.effort.step - 1
        bound = greatest_gain(gains, ranges, number, before.mechanism)
        return Look(answers, self.effort.step, float(errors[1].mean()), float(gains.mean()), bound)

    def _student(self, folder: Path, answers: int) -> StudentGenerator:
        number, student = self._students.get(folder, (0, None))
        if student is None or number != answers:
            pairs = StoredPairs(folder / TRAIN, self.teacher, first=answers)
            student = quick_student(pairs, self.effort.look_steps, derive_seed(self.seed, "look"))
            self._students[folder] = answers, student
        return student


def read_looks(file: Path) -> tuple[Look, ...]:
    """Read ``looks.json``; raise UserError if it holds something else."""
    return read_record(file, tuple[Look, ...], "delete it, and the looks are taken again")


def errors_of(student: StudentGenerator, pairs: Pairs) -> Tensor:
    """Return the L1 of a student at each of its ``pairs``: (N,) float64."""
    return (draw_quick(student, pairs.noise, pairs.labels) - pairs.images).double().abs().flatten(1).mean(1)


def free_ranges(before: StudentGenerator, after: StudentGenerator, count: int, *, seed: int) -> Tensor:
    """Return the L1 between two students at ``count`` random inputs: (count,) float64."""
    spec = after.spec
    noise, labels = spec.sample_noise(count, generator(seed)), torch.arange(count) % spec.classes
    parts = zip(noise.split(BATCH), labels.split(BATCH), strict=True)
    return torch.cat(
        [(draw_quick(before, *part) - draw_quick(after, *part)).double().abs().flatten(1).mean(1) for part in parts]
    )


def greatest_gain(gains: Tensor, ranges: Tensor, look: int, mechanism: Mechanism) -> float:
    """Return the upper bound of the mean gain, at the ``look``-th look from 1.

    Args:
        gains: (N,) of the held-out pairs.
        ranges: (M,) of the free inputs, each of which bounds the gain there.
    """
    level, greatest = level_of_look(look, ALPHA), float(ranges.max())
    beyond = unseen_share(len(ranges), FOR_RANGE * level) * (1 - mechanism.low - greatest)
    return upper_bound(gains.clamp(max=greatest), greatest, (1 - FOR_RANGE) * level) + beyond
