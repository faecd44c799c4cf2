"""Named tensors into modules: a tensor that is missing or of another shape is named in the error."""

import hashlib
import io
import pickle
import warnings
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from skdcgn.base.errors import UserError
from skdcgn.base.tensors import read_tensors

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
    expected = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    actual = {name: tuple(value.shape) for name, value in state.items()}
    wrong = sorted(name for name in expected.keys() | actual.keys() if expected.get(name) != actual.get(name))
    if wrong:
        raise UserError(
            f"{origin} is a checkpoint of another architecture: {wrong[0]} is {actual.get(wrong[0], 'missing')}, "
            f"{kind} has {expected.get(wrong[0], 'no such tensor')}"
        )
    module.load_state_dict(state, assign=True)
    return module


def parameter_count(module: nn.Module) -> int:
    """Return how many numbers the parameters of ``module`` hold; statistics of batch norms are none of them."""
    return sum(p.numel() for p in module.parameters())


def on_meta(make: type[M], *arguments: object) -> M:
    """Return ``make(*arguments)`` without memory for its weights, to count or to fill them."""
    with torch.device("meta"):
        return make(*arguments)


def digest_of(module: nn.Module) -> str:
    """Name the tensors of ``module`` by the sha256 of their names and numbers."""
    return hashlib.sha256(to_bytes(module.state_dict())).hexdigest()


PREFIX = "module."
UNREADABLE = (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, AttributeError)


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read named tensors from ``.safetensors`` or a PyTorch file without unpickling anything else."""
    if path.suffix == ".safetensors":
        return read_tensors(path)[0]
    try:
        data = io.BytesIO(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: check the path") from None
    try:
        with warnings.catch_warnings(action="ignore"):  # about pickle protocols; the error below names unreadable files
            state = torch.load(data, map_location="cpu", weights_only=True)
    except UNREADABLE:
        raise UserError(
            f"{path} is no plain state dict: it is damaged or cut short, another kind of file, or holds objects that "
            "would run code when unpickled, which is refused; pass a state dict saved by torch.save or a .safetensors"
        ) from None
    return _plain(path, state)


def _plain(path: Path, state: Any) -> dict[str, Tensor]:
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()) or not state:
        raise UserError(f"{path} holds no state dict of named tensors: pass one saved by torch.save(m.state_dict())")
    return {str(name).removeprefix(PREFIX): value for name, value in state.items()}
