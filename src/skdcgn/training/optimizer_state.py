"""The numbers of an optimiser, under flat names ``index/slot``: which slots there are is rehearsed, not listed."""

import torch
from torch import Tensor, nn

from skdcgn.base.errors import UserError, shortened
from skdcgn.base.weights import check_finite

MEND = "delete it to start afresh"


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the numbers of each parameter that has taken a step, by its index and the name of the slot."""
    slots = optimizer.state_dict()["state"].items()
    return {f"{index}/{slot}": value for index, own in slots for slot, value in own.items()}


def load_optimizer_state(optimizer: torch.optim.Optimizer, state: dict[str, Tensor], origin: object) -> None:
    """Load what :func:`optimizer_state` returned.

    Raises:
        UserError: a number belongs to no parameter or slot, has another shape, is missing or not finite; the line names
            it and ``origin``.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    shaped, slots = _rehearsed(optimizer), dict[int, dict[str, Tensor]]()
    for index, parameter in enumerate(parameters):
        own = {slot: state[key] for slot in shaped if (key := f"{index}/{slot}") in state}
        for slot, value in own.items():
            expected = parameter.shape if shaped[slot] else torch.Size()
            if value.shape != expected or not value.is_floating_point():
                raise UserError(f"{origin}: {index}/{slot} is {tuple(value.shape)}, not {tuple(expected)}: {MEND}")
        if own:
            slots[index] = {slot: _laid_out(value, parameter) if shaped[slot] else value for slot, value in own.items()}
    surplus = state.keys() - {f"{index}/{slot}" for index, own in slots.items() for slot in own}
    missing = sorted(f"{index}/{slot}" for index, own in slots.items() for slot in shaped.keys() - own.keys())
    if surplus or missing:
        fault = f"{shortened(min(surplus))} is none of this run's" if surplus else f"{missing[0]} is missing"
        raise UserError(f"{origin}: {fault}: {MEND}")
    check_finite(state, origin)
    optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})


def _laid_out(value: Tensor, parameter: Tensor) -> Tensor:
    """Return a value in its parameter's layout in memory, channels-last or not: fused optimisers count on it."""
    return torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)


def _rehearsed(optimizer: torch.optim.Optimizer) -> dict[str, bool]:
    """Return the slots that such an optimiser has after a step, and whether each has its parameter's shape."""
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.zeros(2)
    options = {key: value for key, value in optimizer.param_groups[0].items() if key != "params"}
    rehearsal = type(optimizer)([{**options, "params": [parameter]}])  # type: ignore[call-arg]
    rehearsal.step()
    slots = rehearsal.state[parameter].items()
    return {slot: value.shape == parameter.shape for slot, value in slots if isinstance(value, Tensor)}
