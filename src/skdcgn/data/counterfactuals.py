"""Streams of counterfactuals for training: composed by a CGN at every step, or drawn from a file of composed ones."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from skdcgn.base.seeds import derive_seed, generator
from skdcgn.cgn.classes import Classes, match_classes
from skdcgn.cgn.compose import compose
from skdcgn.cgn.counterfactuals import Counterfactuals
from skdcgn.cgn.mechanism import Teacher
from skdcgn.cgn.policy import Intervention, parse_policy
from skdcgn.data.counterfactual_file import read_counterfactuals


class CounterfactualStream(NamedTuple):
    """Counterfactuals of each training step.

    Args:
        origin: names the stream in a run's digest.
        classes: whose numbers the labels are.
        at: ``step -> counterfactuals``, a function of the step alone.
        at_least: the number of classes is a lower bound: a file without a Spec shows only the labels that occur in it.
    """

    origin: str
    classes: Classes
    at: Callable[[int], Counterfactuals]
    at_least: bool = False

    def numbered_as(self, own: Classes, mend: str) -> "CounterfactualStream":
        """Return the stream with labels in the order of other classes; see :func:`skdcgn.cgn.classes.match_classes`.

        Args:
            own: whose order.
            mend: what a user can do about classes that do not fit.
        """
        few = self.at_least and self.classes.count < own.count
        numbers = match_classes(own, replace(self.classes, count=own.count) if few else self.classes, mend)

        def at(step: int) -> Counterfactuals:
            images, *labels = self.at(step).to_dict().values()
            return Counterfactuals(images, *(numbers[part] for part in labels))

        return self._replace(classes=own, at=at, at_least=False)


def stream_from_cgn(
    cgn: Teacher,
    count: int,
    *,
    policy: Sequence[str | Intervention] = (),
    shared_noise: bool = False,
    seed: int = 0,
) -> CounterfactualStream:
    """Compose ``count`` new counterfactuals at every step.

    Args:
        cgn, policy, shared_noise: as :func:`skdcgn.cgn.compose.compose` takes them.
        count: of each step.
        seed: of all steps.

    Raises:
        UserError: an intervention is unknown.
    """
    words = [str(one) for one in parse_policy(policy, cgn.spec.classes).interventions]
    origin = " ".join([cgn.digest, *words, *(["shared noise"] if shared_noise else [])])

    def at(step: int) -> Counterfactuals:
        own = derive_seed(seed, "counterfactuals", step)
        return compose(cgn, count, policy=words, shared_noise=shared_noise, seed=own)

    return CounterfactualStream(origin, Classes.of("the CGN", cgn.spec), at)


def stream_from_file(path: Path, count: int, *, seed: int = 0) -> CounterfactualStream:
    """Draw ``count`` counterfactuals at every step from a file that ``skdcgn generate`` wrote; only they are read.

    Raises:
        UserError: as :func:`skdcgn.data.counterfactual_file.read_counterfactuals` does.
    """
    file = read_counterfactuals(path)

    def at(step: int) -> Counterfactuals:
        rows = torch.randint(len(file), (count,), generator=generator(seed, "counterfactuals", step))
        return file.counterfactuals(rows)

    return CounterfactualStream(file.digest, file.classes(path), at, at_least=file.spec is None)
