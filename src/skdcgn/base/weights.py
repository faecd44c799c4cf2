"""Named tensors into modules: names, types, shapes and numbers are checked, and the error names the tensor."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import save as to_bytes
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from skdcgn.base.door import regular_file
from skdcgn.base.errors import UserError, shortened, shown
from skdcgn.base.pytorch_files import MOST_WEIGHTS, load_pytorch
from skdcgn.base.tensors import read_tensors

M = TypeVar("M", bound=nn.Module)
MOST_SIZE = 2**20  # of a dimension from which a module's size is read off
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

# Under which checkpoints keep a state dict, the averaged weights first; in safetensors they are prefixes.
WRAPPERS = (
    *("g_ema", "params_ema", "state_dict_ema", "model_ema", "ema"),
    *("state_dict", "model_state_dict", "params", "model", "generator"),
)
PREFIXES = (*WRAPPERS, "module", "net", "network", "cgn")  # taken off if all names begin with the same one
COMPILED = "_orig_mod"  # torch.compile's part of a name
AVERAGED = "n_averaged"  # the counter of torch's AveragedModel
LAYERS = 4  # of wrappers and of prefixes
INITIAL = (nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_, nn.init.constant_)
SHARED = 4  # times a number may be part of a tensor


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
            raise UserError(f"{origin} is not whole, {name} is missing{_example(state)}: fetch or write it again")


def shape_of(state: dict[str, Tensor], origin: object, name: str, dimensions: int) -> tuple[int, ...]:
    """Return the shape of a floating point tensor from which sizes of a module are read off.

    Raises:
        UserError: it is missing, has another number of dimensions or another type, or a dimension above 2^20.
    """
    require(state, origin, name)
    tensor = state[name]
    if tensor.ndim != dimensions or not tensor.is_floating_point() or max(tensor.shape, default=0) > MOST_SIZE:
        raise UserError(
            f"{origin}: {name} has shape {tuple(tensor.shape)} and type {tensor.dtype}, not {dimensions} dimensions of "
            f"floating point numbers, each of at most {MOST_SIZE:,}: fetch or write it again"
        )
    return tuple(tensor.shape)


def check_finite(state: Mapping[str, Tensor], origin: object) -> None:
    """Raise UserError that names the first tensor with NaN or infinity in it."""
    floats = {name: value for name, value in state.items() if value.is_floating_point() and not value.is_meta}
    for name, value in floats.items():
        if not all(bool(end.isfinite()) for end in value.aminmax()):  # NaN reaches both
            raise UserError(
                f"{origin}: {shortened(name)} holds NaN or infinity: take weights of before training diverged"
            )


def check_fit(module: nn.Module, state: dict[str, Tensor], origin: object, kind: str) -> dict[str, Tensor]:
    """Return ``state`` in the types of ``module``'s tensors, if it has their names and shapes and is finite.

    Args:
        origin: the file that the error names.
        kind: what the file should hold, as in "the MNIST CGN".

    Raises:
        UserError: a tensor is missing, of another shape or type, one too many, or not finite.
    """
    expected = module.state_dict()
    shapes, actual = ({name: tuple(t.shape) for name, t in tensors.items()} for tensors in (expected, state))
    wrong = [name for name in {**shapes, **actual} if shapes.get(name) != actual.get(name)]
    if wrong:
        name, example = wrong[0], "" if wrong[0] in actual else _example(state, shapes)
        raise UserError(
            f"{origin} is a checkpoint of another architecture: {shortened(name)} is {actual.get(name, 'missing')}, "
            f"{kind} has {shapes.get(name, 'no such tensor')}{example}"
        )
    for name, value in state.items():
        if value.dtype not in (FLOATS if expected[name].is_floating_point() else (expected[name].dtype,)):
            raise UserError(f"{origin}: {name} is of type {value.dtype}, {kind} has {expected[name].dtype}: convert it")
    converted = {name: value.to(expected[name].dtype) for name, value in state.items()}
    check_finite(converted, origin)
    return converted


def fill(module: M, state: dict[str, Tensor], origin: object, kind: str) -> M:
    """Put ``state`` into ``module``, which may lie on the meta device; return the module. See :func:`check_fit`."""
    module.load_state_dict(check_fit(module, state, origin, kind), assign=True)
    return module


def _example(state: Mapping[Any, object], expected: Mapping[str, object] | None = None) -> str:
    """Name a tensor of ``state`` in brackets, one that is not ``expected`` if there is one."""
    name = next((name for name in state if name not in (expected or {})), next(iter(state), None))
    return "" if name is None else f" (it holds {shortened(name)})"


def parameter_count(module: nn.Module) -> int:
    """Return how many numbers the parameters of ``module`` hold; statistics of batch norms are none of them."""
    return sum(p.numel() for p in module.parameters())


def on_meta(make: type[M], *arguments: object) -> M:
    """Return ``make(*arguments)`` without memory for its weights, to count or to fill them."""
    with torch.device("meta"), _NoInitialValues():
        return make(*arguments)


class _NoInitialValues(TorchFunctionMode):
    """Skip the functions of ``torch.nn.init``: on the meta device they draw nothing and import a second of code."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return kwargs["tensor"] if func in INITIAL else func(*args, **kwargs or {})


def digest_of(module: nn.Module) -> str:
    """Name the tensors of ``module`` by the sha256 of their names and numbers."""
    return hashlib.sha256(to_bytes(module.state_dict())).hexdigest()


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read the named tensors of a network from ``.safetensors`` or a PyTorch file; nothing is unpickled.

    Wrappers of checkpoints and prefixes of :mod:`torch` and of Lightning are taken off the names.

    Raises:
        UserError: there is no such file, it is damaged or holds no state dict, or a tensor is neither floating point
            nor int64, is sparse, quantised or nested, has no numbers, or has more of them than the file.
    """
    if path.suffix.lower() == ".safetensors":
        regular_file(path, MOST_WEIGHTS)
        values: Any = read_tensors(path)[0]
    else:
        values = load_pytorch(path)
    state = _named_tensors(path, values)
    check_tensors(path, state)
    return {name: value.detach().clone() for name, value in _without_prefixes(path, state).items()}


def _named_tensors(path: Path, values: Any) -> dict[str, Tensor]:
    """Return the state dict inside the wrappers of a checkpoint."""
    for _ in range(LAYERS):
        wrapper = next((w for w in WRAPPERS if isinstance(values, dict) and isinstance(values.get(w), dict)), None)
        values = values if wrapper is None else values[wrapper]
    advice = "pass one saved by torch.save(m.state_dict())"
    if not isinstance(values, dict) or not values:
        raise UserError(f"{path} holds no state dict of named tensors: {advice}")
    for name, value in values.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise UserError(f"{path} holds no state dict of named tensors ({shown(name)} is none): {advice}")
    return values


def check_tensors(path: Path, state: dict[str, Tensor]) -> None:
    """Raise UserError that names the first tensor of a file that is no weight of a network."""
    for name, tensor in state.items():
        if fault := _fault(tensor):
            raise UserError(f"{path}: {shortened(name)} {fault}: pass weights in dense floating point tensors")
    if sum(tensor.nbytes for tensor in state.values()) > SHARED * path.stat().st_size:
        raise UserError(f"{path} claims tensors of more bytes than it has: fetch or write it again")


def _fault(tensor: Tensor) -> str | None:
    """Return in words why a tensor is no weight; None if it may be one."""
    if type(tensor) not in (Tensor, nn.Parameter) or tensor.layout is not torch.strided or tensor.is_nested:
        return "is sparse, nested or of a type of its own"
    if tensor.device.type != "cpu":
        return f"has no numbers (device {tensor.device})"
    if tensor.dtype not in (*FLOATS, torch.int64):
        return f"is of type {tensor.dtype}"
    if not tensor.numel():
        return f"has shape {tuple(tensor.shape)} and no numbers"
    if tensor.nbytes > tensor.untyped_storage().nbytes():
        return f"has shape {tuple(tensor.shape)}, more numbers than are stored"
    return None


def _without_prefixes(path: Path, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Take off what torch.compile, wrappers and Lightning put before all names."""
    names = {name: ".".join(part for part in name.split(".") if part != COMPILED) for name in state}
    if len(set(names.values())) < len(state):
        raise UserError(f"{path} holds a tensor both with and without {COMPILED}: save one state dict")
    state = {names[name]: value for name, value in state.items()}
    for _ in range(LAYERS):
        first = {name.partition(".")[:2] for name in state if name != AVERAGED}
        prefix, dot = first.pop() if len(first) == 1 else ("", "")
        if dot and prefix in PREFIXES:
            state = below(state, f"{prefix}.")
    return state
