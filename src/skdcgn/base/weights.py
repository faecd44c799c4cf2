"""Named tensors into modules: what a foreign file lacks or has in another shape is told by name."""

import hashlib
from typing import TypeVar

import torch
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from skdcgn.base.errors import UserError

M = TypeVar("M", bound=nn.Module)


def widened(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with every floating point one in single precision."""
    return {name: value.float() if value.is_floating_point() else value for name, value in state.items()}


def below(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with ``prefix``, named without it."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def require(state: dict[str, Tensor], origin: object, *names: str) -> None:
    """Raise UserError unless ``state`` holds every one of ``names``; the line says which is missing in ``origin``."""
    for name in names:
        if name not in state:
            raise UserError(f"{origin} is not whole, {name} is missing: fetch or write it again")


def fill(module: M, state: dict[str, Tensor], origin: object, kind: str) -> M:
    """Put ``state`` into ``module``, which may lie on the meta device, name for name; return the module.

    Args:
        origin: the file that the error names.
        kind: what the file should hold, as in "the MNIST CGN".

    Raises:
        UserError: a tensor is missing, of another shape, or one too many.
    """
    wanted = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in state.items()}
    wrong = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    if wrong:
        raise UserError(
            f"{origin} is a checkpoint of another architecture: {wrong[0]} is {found.get(wrong[0], 'missing')}, "
            f"{kind} has {wanted.get(wrong[0], 'no such tensor')}"
        )
    module.load_state_dict(state, assign=True)
    return module


def parameter_count(module: nn.Module) -> int:
    """Return how many numbers the parameters of ``module`` hold; statistics of batch norms are none of them."""
    return sum(p.numel() for p in module.parameters())


def on_meta(make: type[M], *arguments: object) -> M:
    """Return ``make(*arguments)`` without memory for its weights: to be counted or filled."""
    with torch.device("meta"):
        return make(*arguments)


def digest_of(module: nn.Module) -> str:
    """Name the tensors of ``module`` by the sha256 of their names and numbers."""
    return hashlib.sha256(to_bytes(module.state_dict())).hexdigest()
