"""The one training loop: methods, callbacks, schedules.

A :class:`Method` holds modules and optimisers and defines ``step(batch, now)``. :func:`fit` yields a record
per step; whatever else happens (logs, checkpoints, guards) is a callback. Everything random in step s is a
function of (seed, s), and so is its batch.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from skdcgn.base.errors import TrainingStoppedError, UserError, shortened
from skdcgn.base.progress import Tell, Watch
from skdcgn.base.seeds import generator, seed_global
from skdcgn.base.weights import below, check_fit
from skdcgn.training.optimizer_state import load_optimizer_state, optimizer_state
from skdcgn.training.processes import average_gradients, average_losses, synchronise

Batch = dict[str, Tensor]
Tensors = tuple[Tensor, ...] | list[Tensor]


class Step(NamedTuple):
    """Which step it is: its number, from 0, of how many, in the run of which seed."""

    number: int = 0
    total: int = 1
    seed: int = 0

    @property
    def progress(self) -> float:
        """0 at the first step, 1 at the last."""
        return self.number / max(self.total - 1, 1)

    def generator(self, purpose: str) -> torch.Generator:
        """Return a CPU generator of this step alone for one purpose."""
        return generator(self.seed, purpose, self.number)


class Record(NamedTuple):
    """The result of one step: its number (from 1), how many there will be, its losses by name."""

    step: int
    total: int
    losses: dict[str, float]


Callback = Callable[[Record], None]
Schedule = Callable[[float], float]


class Method:
    """An algorithm to fit: modules and optimisers by name, and ``step``. Subclasses set both and define step.

    Modules are saved with the run; ``frozen`` ones never change, and are moved to its device but not saved.
    Computations within :meth:`autocast` are in bfloat16 if ``bf16`` is set; ``channels_last`` applies to the modules
    that are saved, ``compiled`` to all.
    """

    bf16 = channels_last = compiled = False

    def __init__(
        self,
        modules: dict[str, nn.Module],
        optimizers: dict[str, torch.optim.Optimizer],
        frozen: dict[str, nn.Module] | None = None,
    ) -> None:
        self.modules, self.optimizers, self.frozen = modules, optimizers, frozen or {}
        self.rates = {name: optimizer.param_groups[0]["lr"] for name, optimizer in optimizers.items()}
        self.backward: Callable[[Tensor], None] = torch.Tensor.backward
        self.device = torch.device("cpu")

    def step(self, batch: Batch, now: Step) -> dict[str, float]:
        """Update the modules from one batch; return the losses.

        Torch's global random state is set before each call; further generators are those of ``now``.
        """
        raise NotImplementedError

    def descend(self, name: str, loss: Tensor) -> None:
        """Take one step of the optimiser called ``name`` down the gradient of ``loss``."""
        self.optimizers[name].zero_grad()
        self.backward(loss)
        self.update(name)

    def update(self, name: str) -> None:
        """Take one step of the optimiser called ``name`` down the gradients that were computed."""
        average_gradients(self.optimizers[name])
        self.optimizers[name].step()

    def autocast(self) -> torch.autocast:
        """Return the context of forward passes."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def to(self, accelerator: Accelerator) -> None:
        """Place everything on the accelerator's device; batch norms of several processes share their moments."""
        self.device, self.backward = accelerator.device, accelerator.backward
        self.modules = {name: synchronise(module).to(self.device) for name, module in self.modules.items()}
        self.frozen = {name: module.to(self.device) for name, module in self.frozen.items()}
        for module in self.modules.values() if self.channels_last else ():
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for module in (*self.modules.values(), *self.frozen.values()) if self.compiled else ():
            module.compile()

    def state(self) -> dict[str, Tensor]:
        """Every number needed to go on: weights, buffers and optimiser states, under flat names."""
        state = {f"{name}/{key}": t for name, module in self.modules.items() for key, t in module.state_dict().items()}
        for name, optimizer in self.optimizers.items():
            state |= {f"{name}.optimizer/{key}": value for key, value in optimizer_state(optimizer).items()}
        return state

    def load_state(self, state: dict[str, Tensor], origin: object) -> None:
        """Load the numbers that :meth:`state` returned.

        Raises:
            UserError: a tensor is missing, of another shape or type, one too many, or not finite; the line names it and
                ``origin``.
        """
        parts = {*self.modules, *(f"{name}.optimizer" for name in self.optimizers)}
        surplus = next((name for name in state if name.partition("/")[0] not in parts), None)
        if surplus is not None:
            raise UserError(f"{origin}: {shortened(surplus)} is no tensor of this run: delete it to start afresh")
        for name, module in self.modules.items():
            own = below(state, f"{name}/")
            module.load_state_dict(check_fit(module, own, f"{origin} ({name})", f"the {name} of this version"))
        for name, optimizer in self.optimizers.items():
            load_optimizer_state(optimizer, below(state, f"{name}.optimizer/"), f"{origin} ({name}.optimizer)")


@contextmanager
def fixed_weights(module: nn.Module) -> Iterator[nn.Module]:
    """Let gradients pass through ``module`` to its inputs, not to its weights."""
    module.requires_grad_(False)
    yield module
    module.requires_grad_(True)


def moving_average(module: nn.Module, decay: float) -> AveragedModel:
    """Return an average that begins as ``module``: mean <- decay mean + (1 - decay) value, of weights and buffers.

    ``update_parameters(module)`` takes one step. Counters of batches are copied.
    """
    average_floats = get_ema_multi_avg_fn(decay)

    def update(means: Tensors, values: Tensors, updates: Tensor | int) -> None:
        if means[0].is_floating_point():
            average_floats(means, values, updates)
        else:
            torch._foreach_copy_(means, values)

    average = AveragedModel(module, multi_avg_fn=update, use_buffers=True).requires_grad_(False)
    average.update_parameters(module)
    return average


def balanced_rows(labels: Tensor) -> Callable[[int, torch.Generator], Tensor]:
    """Return a function that draws ``count`` rows of labels (N,), each class equally often (up to one).

    Batch norm sees the same mixture of classes at every step, so that its running statistics describe them all.
    """
    sizes = labels.unique(return_counts=True)[1]  # of the classes that occur, in their order
    order, starts = labels.argsort(stable=True), sizes.cumsum(0) - sizes

    def rows(count: int, rng: torch.Generator) -> Tensor:
        classes = (torch.arange(count) + torch.randint(len(sizes), (1,), generator=rng)) % len(sizes)  # (count,)
        return order[starts[classes] + (torch.rand(count, generator=rng) * sizes[classes]).long()]

    return rows


def constant(progress: float) -> float:
    """Keep the learning rate."""
    return 1.0


def decay_after(start: float) -> Schedule:
    """Keep the rate until ``start`` of the run (0 to 1), then lower it linearly to a hundredth."""
    return lambda progress: 1.0 if progress < start else max(0.01, (1 - progress) / (1 - start))


def fit(
    method: Method,
    batch_at: Callable[[int], Batch],
    steps: int,
    *,
    start: int = 0,
    until: int | None = None,
    seed: int = 0,
    schedule: Schedule = constant,
    accelerator: Accelerator | None = None,
) -> Iterator[Record]:
    """Run ``method`` from step ``start`` to ``steps``, or ``until`` a step of these; yield a record after each.

    ``batch_at(step)`` must be a function of the step alone. The global random state is set from (seed, step).
    """
    for step in range(start, steps if until is None else min(until, steps)):
        seed_global(seed, "step", step)
        for name, optimizer in method.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = method.rates[name] * schedule(step / steps)
        batch = batch_at(step)
        batch = send_to_device(batch, accelerator.device) if accelerator else batch
        losses = method.step(batch, Step(step, steps, seed))
        yield Record(step + 1, steps, average_losses(losses))


def every(steps: int, act: Callback) -> Callback:
    """Call ``act`` at each multiple of ``steps``."""
    return lambda record: act(record) if record.step % steps == 0 else None


def every_and_at_end(steps: int, act: Callback) -> Callback:
    """Call ``act`` at each multiple of ``steps`` and after the last step."""
    return lambda record: act(record) if record.step % steps == 0 or record.step == record.total else None


def report_to(watch: Watch, name: str) -> Callback:
    """Report each step and its losses as progress of the task ``name``, which begins with the first one."""
    tell: Tell | None = None

    def report(record: Record) -> None:
        nonlocal tell
        tell = tell or watch(name, record.total)
        tell(record.step, record.losses)

    return report


def stop_if_not_finite(record: Record) -> None:
    """Raise TrainingStoppedError when a loss is NaN or infinite."""
    for name, value in record.losses.items():
        if not math.isfinite(value):
            raise TrainingStoppedError(
                f"loss {name!r} became {value} at step {record.step}: the last good checkpoint is kept; "
                "lower the learning rate or the loss's weight"
            )
