"""Inputs and outputs of a foreign generator: which is noise, label, mechanism, truncation, which output an image."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from skdcgn.base.errors import UserError, shortened
from skdcgn.base.onnx_models import onnx_errors
from skdcgn.cgn.mechanism import Mechanism
from skdcgn.cgn.stated_spec import NOTHING, StatedSpec


class Role(StrEnum):
    """What an input of a generator is."""

    MECHANISM = "mechanism"
    TRUNCATION = "truncation"
    LABELS = "labels"
    NOISE = "noise"


ROLE_WORDS = {
    Role.MECHANISM: {"mechanism", "mechanisms"},
    Role.TRUNCATION: {"truncation", "trunc", "psi"},
    Role.LABELS: {"label", "labels", "class", "classes", "cls", "onehot", "condition", "cond", "c", "y"},
    Role.NOISE: {"noise", "latent", "latents", "z", "u"},
}
OUTPUT_WORDS = {
    Mechanism.SHAPE: {"shape", "mask", "alpha"},
    Mechanism.TEXTURE: {"texture", "foreground", "fg"},
    Mechanism.BACKGROUND: {"background", "bg"},
}
TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
}
ONE_HOT = 3  # numbers of a one-hot mechanism
TAKES = (
    "a generator takes noise (B, Z), labels (B,), (B, 1) or one-hot (B, K), and where it has them a mechanism and one "
    "number of truncation: name its inputs noise, labels, mechanism and truncation"
)


class Port(NamedTuple):
    """An input or an output: name, sizes (None: free), type of ONNX Runtime."""

    name: str
    shape: tuple[int | None, ...]
    kind: str

    @property
    def is_float(self) -> bool:
        return TYPES.get(self.kind) in (np.float32, np.float16, np.float64)

    @property
    def words(self) -> set[str]:
        return set(re.findall("[a-z]+", self.name.lower()))

    def __str__(self) -> str:
        sizes = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{shortened(self.name)} ({sizes}{',' * (len(self.shape) == 1)}) {self.kind.removeprefix('tensor')}"


class Graph(NamedTuple):
    """What a file states of itself."""

    path: Path
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    metadata: Mapping[str, str]

    @property
    def picture(self) -> str:
        """The output that is an image: the first of four dimensions, else the first."""
        return next((one.name for one in self.outputs if len(one.shape) == 4), self.outputs[0].name)

    def __str__(self) -> str:
        sides = (f"{kind} {listed(ports)}" for kind, ports in (("inputs", self.inputs), ("outputs", self.outputs)))
        return " and ".join(sides)


def graph_of(session: Any, path: Path) -> Graph:
    """Return the inputs, outputs and metadata of a session."""
    with onnx_errors(path):  # of names and metadata that are no text
        metadata = dict(session.get_modelmeta().custom_metadata_map)
        return Graph(path, _ports(session.get_inputs()), _ports(session.get_outputs()), metadata)


def _ports(values: Iterable[Any]) -> tuple[Port, ...]:
    return tuple(Port(one.name, tuple(map(_size, one.shape)), str(one.type)) for one in values)


def _size(value: Any) -> int | None:
    return value if isinstance(value, int) and value > 0 else None


def listed(ports: Iterable[Port]) -> str:
    """Return ports in words."""
    return shortened(", ".join(map(str, ports)))


def mechanism_outputs(graph: Graph) -> dict[Mechanism, str]:
    """Return the output of each mechanism by its name; empty if a file has not one for each."""
    names = {m: [one.name for one in graph.outputs if one.words & words] for m, words in OUTPUT_WORDS.items()}
    return {m: own[0] for m, own in names.items()} if all(len(own) == 1 for own in names.values()) else {}


@dataclass(frozen=True)
class Ports:
    """The inputs of a generator by their role, and its fixed batch (None: free)."""

    roles: Mapping[Role, Port]
    batch: int | None

    @property
    def has_mechanism(self) -> bool:
        return Role.MECHANISM in self.roles

    @property
    def has_truncation(self) -> bool:
        return Role.TRUNCATION in self.roles

    @property
    def facts(self) -> StatedSpec:
        """What shapes state: the numbers of the noise, the classes of one-hot labels, one class without labels."""
        labels = self.roles.get(Role.LABELS)
        classes = 1 if labels is None else labels.shape[1] if _one_hot(labels) else None
        return StatedSpec(noise_dim=self.roles[Role.NOISE].shape[1], classes=classes)

    def feeds(
        self, noise: Tensor, labels: Tensor, mechanism: int, classes: int, truncation: float
    ) -> dict[str, np.ndarray[Any, Any]]:
        """Return the arrays of a run for noise (B, Z) and labels (B,)."""
        values: dict[Role, Tensor] = {
            Role.NOISE: noise,
            Role.LABELS: labels,
            Role.MECHANISM: torch.full((len(noise),), mechanism),
            Role.TRUNCATION: torch.tensor(truncation),
        }
        arrays = {}
        for role, port in self.roles.items():
            value = values[role]
            if role is Role.MECHANISM:
                value = _as_mechanism(value, port, self.batch)
            elif role is Role.LABELS and _one_hot(port):
                value = torch.nn.functional.one_hot(value, classes)
            rank = len(port.shape)
            shaped = value.reshape(*value.shape, *[1] * (rank - value.ndim)) if rank > value.ndim else value
            arrays[port.name] = shaped.numpy().astype(TYPES[port.kind])
        return arrays

    def __str__(self) -> str:
        batch = f"; batches of {self.batch}" if self.batch else ""
        return ", ".join(f"{role}: {port}" for role, port in self.roles.items()) + batch


def _one_hot(port: Port) -> bool:
    """Say whether labels are one-hot rows: two dimensions, the second of which is not 1."""
    return len(port.shape) == 2 and (port.shape[1] or 0) != 1 and (port.shape[1] is not None or port.is_float)


def _as_mechanism(numbers: Tensor, port: Port, batch: int | None) -> Tensor:
    """Return the numbers (B,) of a mechanism in the form of its input."""
    rows = torch.nn.functional.one_hot(numbers, ONE_HOT)
    if len(port.shape) == 2:
        return rows if port.shape[1] == ONE_HOT else numbers
    if len(port.shape) == 0:
        return numbers[0]
    if port.shape == (ONE_HOT,) and batch != ONE_HOT:
        return rows[0]
    return numbers[:1] if port.shape == (1,) else numbers


def read_ports(graph: Graph, stated: StatedSpec = NOTHING) -> Ports:
    """Return what each input of a generator is.

    Raises:
        UserError: an input is of no role or two are of one, there is no noise, or fixed batches differ.
    """
    roles: dict[Role, Port] = {}
    for port in sorted(graph.inputs, key=lambda one: _named_role(one) is None):  # those that a name tells first
        role = _named_role(port) or _likely_role(port, roles, graph, stated)
        if role is None or role in roles or not _fits(role, port):
            raise UserError(
                f"{graph.path}: its input {port} is unknown; its inputs are {listed(graph.inputs)}: {TAKES}"
            )
        roles[role] = port
    if Role.NOISE not in roles:
        raise UserError(f"{graph.path} has no input of noise among {listed(graph.inputs)}: {TAKES}")
    batches = {port.shape[0] for role, port in roles.items() if role in (Role.NOISE, Role.LABELS)} - {None}
    if len(batches) > 1:
        raise UserError(f"{graph.path}: its inputs have other batches ({listed(graph.inputs)}): export it with one")
    return Ports({role: roles[role] for role in Role if role in roles}, next(iter(batches), None))


def _named_role(port: Port) -> Role | None:
    return next((role for role, words in ROLE_WORDS.items() if port.words & words), None)


def _likely_role(port: Port, roles: Mapping[Role, Port], graph: Graph, stated: StatedSpec) -> Role | None:
    """Return the role of an input whose name says nothing, by its type and shape."""
    rank = len(port.shape)
    if not port.is_float:
        return Role.LABELS if rank and Role.LABELS not in roles else Role.MECHANISM
    if rank == 0 or port.shape == (1,):
        return Role.TRUNCATION
    rivals = [one for one in graph.inputs if one.is_float and len(one.shape) == 2 and _named_role(one) is None]
    if rank == 2 and len(rivals) == 2 and Role.NOISE not in roles:
        return _by_size(port, stated)
    return Role.NOISE if Role.NOISE not in roles else Role.LABELS


def _by_size(port: Port, stated: StatedSpec) -> Role | None:
    """Return the role of one of two matrices without telling names, by the sizes that a user states."""
    classes = stated.values.get("classes")
    if port.shape[1] == stated.noise_dim != classes:
        return Role.NOISE
    return Role.LABELS if port.shape[1] == classes != stated.noise_dim else None


def _fits(role: Role, port: Port) -> bool:
    """Say whether type and shape of an input are those of its role."""
    rank = len(port.shape)
    if port.kind not in TYPES:
        return False
    if role is Role.NOISE:
        return port.is_float and (rank == 2 or (rank == 4 and port.shape[2:] == (1, 1)))
    if role is Role.TRUNCATION:
        return port.is_float and (rank == 0 or port.shape == (1,))
    if role is Role.LABELS:
        return rank in (1, 2)
    return rank < 2 or port.shape[1] in (1, ONE_HOT)
