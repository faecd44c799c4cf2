"""Groups of pictures, and what methods that use them compute.

A group is a class and whether the shortcut agrees with it: 2 K groups of K classes, number 2 y + a. *Worst-group
accuracy* is the least of their accuracies.
"""

import torch
from torch import Tensor


def groups_of(labels: Tensor, agrees: Tensor) -> Tensor:
    """Return the group (N,) int64 of classes (N,) and of whether the shortcut agrees with them (N,) bool."""
    return 2 * labels + agrees.long()


def group_accuracies(correct: Tensor, groups: Tensor) -> dict[int, float]:
    """Return the percentage of ``correct`` (N,) bool in each group that has a picture."""
    return {group: 100 * float(correct[groups == group].double().mean()) for group in groups.unique().tolist()}


def evenly_by_group(groups: Tensor, rng: torch.Generator) -> Tensor:
    """Return rows with equally many pictures of each group, as many as the smallest has, drawn without replacement."""
    rows = [torch.nonzero(groups == group)[:, 0] for group in groups.unique().tolist()]
    least = min(map(len, rows))
    return torch.cat([own[torch.randperm(len(own), generator=rng)[:least]] for own in rows])


def upweighted(errors: Tensor, factor: int) -> Tensor:
    """Return each row once and the rows of ``errors`` (N,) bool ``factor`` times (Liu et al., ICML 2021, Alg. 1)."""
    return torch.arange(len(errors)).repeat_interleave(torch.where(errors, factor, 1))


class GroupWeights:
    """The loss of GroupDRO (Sagawa et al., ICLR 2020, Alg. 1): sum_g q_g l_g, for the mean loss l_g of group g.

    After each batch q_g is multiplied by exp(eta l_g), and q is divided by its sum. A group without pictures in the
    batch has the loss 0.
    """

    def __init__(self, groups: int, eta: float) -> None:
        self.weights, self.eta = torch.full((groups,), 1 / groups), eta

    def __call__(self, losses: Tensor, groups: Tensor) -> Tensor:
        """Update q by the losses (B,) of pictures of groups (B,); return the weighted loss."""
        zeros = torch.zeros_like(self.weights)
        counts = zeros.index_add(0, groups, torch.ones_like(losses))
        means = zeros.index_add(0, groups, losses) / counts.clamp(min=1)
        raised = self.weights * (self.eta * means.detach()).exp()
        self.weights = raised / raised.sum()
        return self.weights @ means
