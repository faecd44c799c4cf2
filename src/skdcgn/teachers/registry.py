"""One way to load a teacher: a name from the zoo, a file, a student's folder, or any callable.

Foreign ``.pth`` files are read with ``weights_only=True``: what would run code is refused, nothing is unpickled.
"""

import io
import json
import pickle
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from skdcgn.errors import UserError
from skdcgn.files import read_tensors, sha256
from skdcgn.mechanism import Spec, Teacher, as_mechanism, check_query
from skdcgn.students.generator import StudentCGN
from skdcgn.teachers.cgn import CGN, GRID, SIZES, CGNTeacher

QueryFunction = Callable[[str, Tensor, Tensor], Tensor]
PREFIX = "module."
UNREADABLE = (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, AttributeError)


@dataclass(frozen=True)
class CallableTeacher:
    """A function ``f(mechanism, noise, labels) -> images`` as a teacher; its size is unknown."""

    function: QueryFunction
    spec: Spec
    digest: str
    size: int | None = None

    def query(self, mechanism: str, noise: Tensor, labels: Tensor) -> Tensor:
        """Ask the function; noise (B, Z), labels (B,) int64 -> (B, C, H, W)."""
        check_query(self.spec, noise, labels)
        return self.function(as_mechanism(mechanism).value, noise, labels)


def load_teacher(source: str | Path | QueryFunction, *, spec: Spec | None = None, device: str = "cpu") -> Teacher:
    """Return a teacher.

    Args:
        source: a zoo name (see :func:`cards`), a ``.safetensors`` or ``.pth`` file with the names of the
            published MNIST CGN, a folder written by ``save_pretrained``, or a callable
            ``(mechanism, noise (B, Z), labels (B,)) -> images (B, C, H, W)``.
        spec: image size, noise and classes of a callable; None takes 32 pixels, N(0, I) of 32 numbers, 10 classes.
        device: where a file's network runs.

    Raises:
        UserError: no such name or file, or a file that is damaged or holds something else.
    """
    if not isinstance(source, str | Path):
        name = getattr(source, "__qualname__", type(source).__qualname__)
        return CallableTeacher(source, spec or Spec(), digest=f"callable:{source.__module__}.{name}")
    if str(source) in cards():
        return _from_card(str(source), device)
    path = Path(source).expanduser()
    if path.is_dir():
        return StudentCGN.load(path).to(device)
    if not path.is_file():
        raise UserError(f"no teacher {str(source)!r}: pass a file, a student's folder or one of {', '.join(cards())}")
    return load_cgn(path, device)


def load_student(folder: str | Path, *, device: str = "cpu") -> StudentCGN:
    """Return the student CGN that ``save_pretrained`` wrote to ``folder``."""
    return StudentCGN.load(Path(folder)).to(device)


def load_cgn(path: Path, device: str = "cpu") -> CGNTeacher:
    """Load an MNIST CGN from ``.safetensors`` or a ``.pth`` state dict; half precision is widened."""
    state = {
        name: value.float() if value.is_floating_point() else value for name, value in read_state_dict(path).items()
    }
    cgn = CGN(_spec_of(path, state))
    try:
        cgn.load_state_dict(state)
    except RuntimeError:
        wanted = {name: tuple(value.shape) for name, value in cgn.state_dict().items()}
        found = {name: tuple(value.shape) for name, value in state.items()}
        wrong = sorted(set(wanted.items()) ^ set(found.items()))[0][0]
        raise UserError(
            f"{path} is a checkpoint of another architecture: {wrong} is {found.get(wrong, 'missing')}, "
            f"the MNIST CGN has {wanted.get(wrong, 'no such tensor')}"
        ) from None
    return CGNTeacher(cgn, sha256(path), device)


def _spec_of(path: Path, state: dict[str, Tensor]) -> Spec:
    try:
        classes, embedding = state["label_emb.weight"].shape
        doublings = sum(value.ndim == 4 for name, value in state.items() if name.startswith("f_shape."))
        size = GRID * 2**doublings if GRID * 2**doublings in SIZES else SIZES[0]
        return Spec(image_size=size, noise_dim=state["f_shape.0.weight"].shape[1] - embedding, classes=classes)
    except (KeyError, ValueError, IndexError):
        raise UserError(
            f"{path} is a checkpoint of another architecture: an MNIST CGN has label_emb.weight and f_shape.0.weight"
        ) from None


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read named tensors from ``.safetensors`` or a PyTorch file without unpickling anything else."""
    if path.suffix == ".safetensors":
        return read_tensors(path)[0]
    try:
        data = io.BytesIO(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: check the path") from None
    try:
        with warnings.catch_warnings(action="ignore"):  # about pickle protocols: what cannot be read is told below
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


def cards() -> dict[str, dict[str, Any]]:
    """Return every teacher the package knows: its own weights and the published ones, by name."""
    found = {}
    for file in sorted(resources.files("skdcgn.zoo").iterdir(), key=lambda f: f.name):
        if file.name.endswith(".json"):
            found[file.name.removesuffix(".json")] = json.loads(file.read_text(encoding="utf-8"))
    return found


def _from_card(name: str, device: str) -> CGNTeacher:
    card = cards()[name]
    bundled = resources.files("skdcgn.zoo") / f"{name}.safetensors"
    if bundled.is_file():
        with resources.as_file(bundled) as path:
            if sha256(path) != card["sha256"]:
                raise UserError(f"the zoo's {name} is damaged (checksum differs): reinstall skdcgn")
            return load_cgn(path, device)
    return load_cgn(_download(name, card), device)


def _download(name: str, card: dict[str, Any]) -> Path:
    import pooch

    try:
        return Path(pooch.retrieve(card["url"], card["sha256"], f"{name}.pth", pooch.os_cache("skdcgn")))
    except (OSError, ValueError) as error:
        raise UserError(
            f"could not download {name} from {card['url']} ({type(error).__name__}): "
            "pass a local file by --teacher PATH"
        ) from None
