"""Several processes train one model: started by ``torchrun`` (or ``accelerate launch``), on one machine or many.

Every process holds the same weights and takes its share of each batch; gradients are averaged before each optimiser
step, and batch norms take their moments over all shares, so that n processes train as one with the whole batch, up
to rounding. One of them writes. In a single process all of this does nothing.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from skdcgn.base.errors import UserError
from skdcgn.base.rank import MEETING, launched

M = TypeVar("M", bound=nn.Module)
PLACES = ("RANK", "LOCAL_RANK", "WORLD_SIZE")  # numbers that a launcher gives each process
MPI = ("PMI_", "OMPI_COMM_", "MV2_COMM_", "MPI_LOCAL")  # their names under MPI begin so
SETTINGS = "ACCELERATE_"  # of accelerate: precision, accumulation of gradients, plugins
logger = logging.getLogger(__name__)


@contextmanager
def launcher_environment() -> Iterator[None]:
    """Hide in the block the environment variables that other tools left: places of a process, accelerate's settings.

    Raises:
        UserError: this process was launched, but its place is no number.
    """
    hidden = [name for name in os.environ if name.startswith(SETTINGS) and name != "ACCELERATE_USE_CPU"]
    if not launched():
        hidden += [name for name in os.environ if name in PLACES or name.startswith(MPI)]
    for name in PLACES if launched() else ():
        if not os.environ.get(name, "0").isdecimal():
            raise UserError(f"{name} is {os.environ[name]!r}, no number: unset {', '.join(MEETING)}, or use torchrun")
    values = {name: os.environ.pop(name) for name in hidden}
    try:
        yield
    finally:
        os.environ.update(values)


def process_count() -> int:
    """How many processes share this training."""
    return dist.get_world_size() if dist.is_initialized() else 1


def process_index() -> int:
    """Which of them this is, from 0; the first one writes."""
    return dist.get_rank() if dist.is_initialized() else 0


def wait_for_all() -> None:
    """Return when every process is here."""
    if process_count() > 1:
        dist.barrier()


def leave() -> None:
    """End this process with the others; if the interpreter ends it, gloo may abort after all work is done."""
    if process_count() > 1:
        dist.barrier()
        dist.destroy_process_group()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def own_share(rows: Tensor) -> Tensor:
    """Return this process's part of the ``rows`` (B,) of a batch."""
    return share_of(rows, process_index(), process_count())


def share_of(rows: Tensor, index: int, count: int) -> Tensor:
    """Return every ``count``-th of the ``rows`` (B,), from ``index`` on.

    A batch that does not divide is filled up with its own first rows: shares have equal size and weight.
    """
    full = -(-len(rows) // count) * count
    return rows[torch.arange(full) % len(rows)][index::count]


def average_gradients(optimizer: torch.optim.Optimizer) -> None:
    """Replace the gradients by their mean over all processes, in one message.

    DistributedDataParallel gives the same within rounding, but refuses a module of which a step uses a part.
    """
    if process_count() == 1:
        return
    gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    together = _mean(torch.cat([gradient.flatten() for gradient in gradients]))
    parts = together.split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def average_losses(losses: dict[str, float]) -> dict[str, float]:
    """Return the mean of each loss over all processes, the same in each."""
    if process_count() == 1:
        return losses
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    together = _mean(torch.tensor(list(losses.values()), dtype=torch.float64, device=device))
    return dict(zip(losses, together.tolist(), strict=True))


class _Mean(torch.autograd.Function):
    """The mean over all processes, through which gradients flow back to each."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return _mean(values)

    @staticmethod
    def backward(ctx: Any, gradients: Tensor) -> Tensor:
        return _mean(gradients)


def _mean(values: Tensor) -> Tensor:
    if process_count() == 1:
        return values.clone()
    together = values.contiguous().clone()
    dist.all_reduce(together)
    return together / process_count()


class SharedBatchNorm2d(_NormBase):
    """Batch norm of images (B, C, H, W) whose mean and variance are those of all processes' batches together.

    PyTorch's own needs a GPU. In evaluation mode it is the usual one; every process must hold equally many images.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        mean: Tensor = _Mean.apply(x.mean((0, 2, 3)))  # (C,)
        centred = x - mean[:, None, None]
        variance: Tensor = _Mean.apply(centred.square().mean((0, 2, 3)))
        self._remember(mean.detach(), variance.detach(), x.numel() // x.shape[1] * process_count())
        normal = centred * (variance + self.eps).rsqrt()[:, None, None]
        return normal if self.weight is None else normal * self.weight[:, None, None] + self.bias[:, None, None]

    def _remember(self, mean: Tensor, variance: Tensor, count: int) -> None:
        momentum = cast(float, self.momentum)
        cast(Tensor, self.num_batches_tracked).add_(1)
        cast(Tensor, self.running_mean).lerp_(mean, momentum)
        cast(Tensor, self.running_var).lerp_(variance * count / (count - 1), momentum)


def synchronise(module: M) -> M:
    """Let every batch norm of images inside ``module`` share its moments; nothing changes in a single process."""
    if process_count() > 1:
        for parent in list(module.modules()):
            for name, part in parent.named_children():
                if isinstance(part, nn.BatchNorm2d):
                    setattr(parent, name, _shared(part))
    return module


def _shared(norm: nn.BatchNorm2d) -> SharedBatchNorm2d:
    """Return a batch norm with the same parameters and buffers, themselves."""
    shared = SharedBatchNorm2d(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    shared._parameters, shared._buffers = norm._parameters, norm._buffers
    return shared.train(norm.training)
