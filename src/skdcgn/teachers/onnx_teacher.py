"""ONNX files as teachers: a file that skdcgn export wrote, a network with a mechanism input, or three networks.

A file has three outputs, of names as mask, texture and background, or one output and an input that says which mechanism
to draw: 0 for the shape, 1 for the texture, 2 for the background, or a one-hot row. A folder has ``shape.onnx``,
``texture.onnx`` and ``background.onnx``.

Which input is what is read off names, types and shapes: noise (B, Z) or (B, Z, 1, 1); labels as integers (B,) or (B, 1)
or as one-hot rows (B, K); a truncation as one number. An image is (B, C, H, W) or (B, H, W, C). Fixed batches are
filled up. What shapes do not state stands in the metadata under ``spec``, a JSON object of a Spec's fields, or in what
the user states (:mod:`skdcgn.cgn.stated_spec`).
"""

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from skdcgn.base.door import is_file, is_folder, parse_record
from skdcgn.base.errors import UserError
from skdcgn.base.files import sha256
from skdcgn.base.onnx_models import onnx_errors, open_onnx
from skdcgn.cgn.black_box import Access
from skdcgn.cgn.mechanism import SPEC_KEY, Mechanism, Spec, as_mechanism, check_query
from skdcgn.cgn.stated_spec import NOTHING, StatedSpec
from skdcgn.teachers.onnx_ports import Graph, Ports, graph_of, mechanism_outputs, read_ports

logger = logging.getLogger(__name__)
FILES = {mechanism: f"{mechanism}.onnx" for mechanism in Mechanism}
GREY = 1e-3  # that the channels of a mask may differ by
DRAWS = (
    "a teacher draws three mechanisms: name three outputs mask, texture and background, give it an input mechanism, or "
    "pass a folder with shape.onnx, texture.onnx and background.onnx"
)


class Network(NamedTuple):
    """The network of one mechanism: its file, session, output, inputs, and the number of the mechanism."""

    path: Path
    session: Any
    output: str
    ports: Ports
    number: int

    def run(self, noise: Tensor, labels: Tensor, classes: int, truncation: float) -> Tensor:
        """Return the output for rows, as many as a fixed batch has at most."""
        count, size = len(noise), self.ports.batch or len(noise)
        rows = torch.arange(size).clamp(max=count - 1)
        feeds = self.ports.feeds(noise[rows], labels[rows], self.number, classes, truncation)
        with onnx_errors(self.path):
            (answer,) = self.session.run([self.output], feeds)
        return torch.from_numpy(np.array(answer))[:count]


class OnnxTeacher:
    """Networks in ONNX files behind ``query``; they run on the CPU.

    Args:
        networks: by mechanism.
        spec: of noise, labels and images.
        digest: names the files and the truncation.
    """

    size: int | None = None

    def __init__(self, networks: Mapping[Mechanism, Network], spec: Spec, digest: str) -> None:
        self.networks, self.spec, self.digest = networks, spec, digest

    @property
    def access(self) -> Access:
        return Access()

    def query(self, mechanism: str, noise: Tensor, labels: Tensor) -> Tensor:
        """Draw (B, C, H, W) on the CPU for noise (B, Z) and labels (B,) int64."""
        check_query(self.spec, noise, labels)
        network = self.networks[as_mechanism(mechanism)]
        size = network.ports.batch or max(len(noise), 1)
        parts = zip(noise.split(size), labels.split(size), strict=True)
        draw = partial(network.run, classes=self.spec.classes, truncation=self.spec.truncation)
        return torch.cat([as_images(draw(u, y), as_mechanism(mechanism), network) for u, y in parts])


def is_onnx_folder(path: Path) -> bool:
    """Say whether a folder has the three files of a teacher's mechanisms."""
    return is_folder(path) and all(is_file(path / name) for name in FILES.values())


def open_onnx_teacher(path: Path, stated: StatedSpec = NOTHING, truncation: float | None = None) -> OnnxTeacher:
    """Return the teacher in an ONNX file, or in a folder of three.

    Args:
        path: the file or the folder.
        stated: what neither shapes nor metadata state.
        truncation: for a network with an input for it; None: that of the Spec.

    Raises:
        UserError: a file is damaged, inputs or outputs do not fit, or something is not stated; the line names it.
    """
    if is_folder(path):
        graphs = {mechanism: graph_of(open_onnx(path / name), path / name) for mechanism, name in FILES.items()}
        networks = {m: _network(path / FILES[m], graphs[m], graphs[m].picture, m, stated) for m in Mechanism}
        files = [path / name for name in FILES.values()]
    else:
        graph = graph_of(open_onnx(path), path)
        graphs, files = dict.fromkeys(Mechanism, graph), [path]
        outputs = mechanism_outputs(graph)
        networks = {m: _network(path, graph, outputs.get(m), m, stated) for m in Mechanism}
        if not outputs and not networks[Mechanism.SHAPE].ports.has_mechanism:
            raise UserError(f"{path} has {graph}: {DRAWS}")
    spec = _spec(path, networks, stated, _metadata(path, graphs[Mechanism.SHAPE]), truncation)
    by_truncation = f"@{spec.truncation:g}" if _has_truncation(networks) else ""
    logger.info(f"{path}: {networks[Mechanism.SHAPE].ports}; {spec}")
    return OnnxTeacher(networks, spec, "+".join(map(sha256, files)) + by_truncation)


def _has_truncation(networks: Mapping[Mechanism, Network]) -> bool:
    return any(network.ports.has_truncation for network in networks.values())


def _network(path: Path, graph: Graph, output: str | None, mechanism: Mechanism, stated: StatedSpec) -> Network:
    """Open the network of one output of a file."""
    several = output is not None and len(graph.outputs) > 1
    session = open_onnx(path, output if several else None)
    own = graph_of(session, path)
    return Network(path, session, output or own.picture, read_ports(own, stated), list(Mechanism).index(mechanism))


def _metadata(path: Path, graph: Graph) -> StatedSpec:
    if SPEC_KEY not in graph.metadata:
        return NOTHING
    origin = f"{path}: the spec in its metadata"
    return parse_record(graph.metadata[SPEC_KEY], StatedSpec, origin, "write the file again")


def _spec(
    path: Path,
    networks: Mapping[Mechanism, Network],
    stated: StatedSpec,
    metadata: StatedSpec,
    truncation: float | None,
) -> Spec:
    """Return the Spec that shapes and statements make; the side of images is that of a first answer.

    Raises:
        UserError: a size that nobody states, or that two state otherwise; a truncation without an input for it.
    """
    if truncation is not None and not _has_truncation(networks):
        raise UserError(f"{path} has no input for a truncation: leave --truncation out")
    _agree(path, metadata, stated, "--spec says")
    said = StatedSpec(truncation=truncation).with_defaults(stated.with_defaults(metadata))
    inputs = _agreed(path, [network.ports.facts for network in networks.values()])
    for name, words in (("noise_dim", "how many numbers its noise has"), ("classes", "how many classes it has")):
        if name not in inputs.values | said.values:
            raise UserError(f"{path} does not state {words}: pass --spec {name}=...")
    _agree(path, inputs, stated, "--spec says")
    _agree(path, inputs, metadata, "its metadata say")
    spec = said.over(inputs.over(Spec()))
    outputs = _agreed(path, [StatedSpec(image_size=_side(m, networks[m], spec)) for m in Mechanism])
    _agree(path, outputs, stated, "--spec says")
    _agree(path, outputs, metadata, "its metadata say")
    return outputs.over(spec)


def _agree(path: Path, facts: StatedSpec, said: StatedSpec, speaker: str) -> None:
    """Raise UserError if somebody says something else than the facts."""
    said.check(facts.over(said.over(Spec())), path, speaker)


def _agreed(path: Path, facts: list[StatedSpec]) -> StatedSpec:
    """Return what the networks of all mechanisms state; raise UserError if two state otherwise."""
    common = NOTHING
    for own in facts:
        _agree(path, common, own, "the network of another mechanism says")
        common = common.with_defaults(own)
    return common


def _side(mechanism: Mechanism, network: Network, spec: Spec) -> int:
    """Return the side in pixels of a first answer."""
    noise, labels = torch.zeros(1, spec.noise_dim), torch.zeros(1, dtype=torch.int64)
    answer = network.run(noise, labels, spec.classes, spec.truncation)
    return as_images(answer, mechanism, network).shape[-1]


def as_images(answer: Tensor, mechanism: Mechanism, network: Network) -> Tensor:
    """Return an output as (B, C, H, W), of floating point numbers in single precision.

    The mask of a network that draws all mechanisms may have three channels, if they are equal.

    Raises:
        UserError: it is no batch of square images, or a mask in colours.
    """
    if answer.ndim == 4 and answer.shape[1] not in (1, 3) and answer.shape[3] in (1, 3):
        answer = answer.permute(0, 3, 1, 2)
    channels = answer.shape[1] if answer.ndim == 4 and answer.shape[2] == answer.shape[3] else 0
    if channels not in (1, 3) or channels < mechanism.channels:
        raise UserError(
            f"{network.path}: its output {network.output} has shape {tuple(answer.shape)}: the {mechanism} is "
            f"(B, {mechanism.channels}, H, H) or (B, H, H, {mechanism.channels})"
        )
    if channels > mechanism.channels:
        if float((answer - answer[:, :1]).abs().max()) > GREY:
            raise UserError(
                f"{network.path}: its shape has colours: a mask has one channel, or three that are equal; wrap the "
                "file in a function and pass module:function"
            )
        answer = answer[:, :1]
    return answer.float() if answer.is_floating_point() else answer
