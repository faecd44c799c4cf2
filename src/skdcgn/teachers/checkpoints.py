"""Checkpoints: files of an MNIST CGN, an ImageNet CGN, or the two networks that an ImageNet CGN is assembled from.

The names of its tensors tell what a file holds: one of the CGNs, a BigGAN or a U2-Net.

Foreign ``.pth`` files are read with ``weights_only=True``: files that would run code are refused, nothing is unpickled.
"""

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import cast

from torch import Tensor

from skdcgn.base.errors import UserError, naming, shortened
from skdcgn.base.files import sha256
from skdcgn.base.home import from_home
from skdcgn.base.tensors import open_tensors
from skdcgn.base.weights import fill, on_meta, read_state_dict, shape_of
from skdcgn.cgn.mechanism import Spec, spec_from_metadata
from skdcgn.features.u2net import u2net_from
from skdcgn.teachers.biggan import biggan_from
from skdcgn.teachers.cgn import CGN, GRID, SIZES, CGNTeacher, NeuralCGN
from skdcgn.teachers.cgn_imagenet import TRUNCATION, assembled, imagenet_cgn_from


class CheckpointKind(StrEnum):
    """The network whose tensors a state dict holds."""

    MNIST = "an MNIST CGN"
    IMAGENET = "an ImageNet CGN"
    BIGGAN = "a BigGAN"
    U2NET = "a U2-Net"


PREFIXES = {  # of names that no other kind has
    CheckpointKind.MNIST: ("label_emb.",),
    CheckpointKind.IMAGENET: ("f_shape.generator.", "f_text.", "f_bg."),
    CheckpointKind.BIGGAN: ("generator.",),
    CheckpointKind.U2NET: ("stage",),
}
PARTS = {CheckpointKind.BIGGAN: "biggan-deep-256-pytorch_model.bin", CheckpointKind.U2NET: "u2net.pth"}


def load_cgn(
    path: Path, device: str = "cpu", truncation: float | None = None, *, names: tuple[str, ...] = ()
) -> CGNTeacher:
    """Load an MNIST or ImageNet CGN from ``.safetensors`` or a state dict of PyTorch; half precision is widened.

    Args:
        path: the file.
        device: where the network runs.
        truncation: of an ImageNet CGN, see :func:`skdcgn.teachers.load.load_teacher`.
        names: of the classes, if the file states none. :func:`skdcgn.teachers.teach.teach` writes them into its files'
            metadata; a CGN of ImageNet's thousand classes has their WordNet ids.

    Raises:
        UserError: the file is missing, damaged, holds something else, or metadata of another CGN.
    """
    state, digest, stored = read_state_dict(path), sha256(path), _stored_spec(path)
    kind, cgn = checkpoint_kind(state), cast(NeuralCGN | None, None)
    if kind is CheckpointKind.MNIST:
        no_truncation(path, truncation)
        cgn = _mnist_cgn(path, state)
    elif kind is CheckpointKind.IMAGENET:
        factor = _stored_truncation(stored) if truncation is None else truncation
        cgn, digest = imagenet_cgn_from(state, path, factor), f"{digest}@{factor:g}"
    if cgn is not None:
        cgn.spec = _completed(cgn.spec, stored, path, names)
        return CGNTeacher(cgn, digest, device)
    if kind is None:
        raise UserError(
            f"{path} is a checkpoint of another architecture: an MNIST CGN has label_emb.weight and f_shape.0.weight, "
            f"an ImageNet CGN f_shape.generator.gen_z.bias, and it holds {shortened(next(iter(state)))}"
        )
    raise UserError(
        f"{path} is {kind}, a part of a CGN: assemble one by skdcgn.teachers.checkpoints.initial_cgn(biggan, u2net)"
    )


def initial_cgn(
    biggan: str | Path, u2net: str | Path, *, truncation: float = TRUNCATION, device: str = "cpu"
) -> CGNTeacher:
    """Assemble the ImageNet CGN that the published training starts from: three times one BigGAN, and a U2-Net.

    ``write_tensors(path, teacher.cgn.state_dict(), teacher.spec.to_metadata())`` makes a file of it that
    :func:`skdcgn.teachers.load.load_teacher` takes.

    Args:
        biggan: ``biggan-deep-256-pytorch_model.bin``, or that of 128 or 512 pixels.
        u2net: ``u2net.pth``, or the small ``u2netp.pth``.
        truncation: in (0, 1]; the noise of a query is multiplied by it.
        device: where the networks run.

    Raises:
        UserError: a file is missing, damaged or holds something else.
    """
    paths = Path(from_home(str(biggan))), Path(from_home(str(u2net)))
    states = [_part(path, kind) for path, kind in zip(paths, PARTS, strict=True)]
    cgn = assembled(biggan_from(states[0], paths[0]), u2net_from(states[1], paths[1]), truncation)
    return CGNTeacher(cgn, f"{sha256(paths[0])}+{sha256(paths[1])}@{truncation:g}", device)


def checkpoint_kind(state: dict[str, Tensor]) -> CheckpointKind | None:
    """Return the network whose tensors these are, by their names; None for anything else."""
    kinds = (kind for kind, names in PREFIXES.items() if any(name.startswith(names) for name in state))
    return next(kinds, None)


def _part(path: Path, kind: CheckpointKind) -> dict[str, Tensor]:
    state = read_state_dict(path)
    actual = checkpoint_kind(state)
    if actual is not kind:
        raise UserError(f"{path} is {actual or 'something else'}, not {kind}: pass {PARTS[kind]}")
    return state


def no_truncation(source: object, truncation: float | None) -> None:
    """Raise UserError for a truncation of a teacher that has none."""
    if truncation is not None:
        raise UserError(f"{source} is no ImageNet CGN, and no other teacher has a truncation: leave it out")


def _mnist_cgn(path: Path, state: dict[str, Tensor]) -> CGN:
    with naming(path):
        cgn = on_meta(CGN, _spec_of(path, state))
    return fill(cgn, state, path, "the MNIST CGN")


def _stored_spec(path: Path) -> Spec | None:
    """Return the Spec in the metadata of a safetensors file; None if there is none."""
    if path.suffix.lower() != ".safetensors":
        return None
    with open_tensors(path) as file:
        return spec_from_metadata(file.metadata() or {}, path)


def _stored_truncation(stored: Spec | None) -> float:
    """Return the truncation of an ImageNet CGN's metadata; metadata that says that it tiles states no truncation."""
    return TRUNCATION if stored is None or stored.tiles else stored.truncation


def _completed(spec: Spec, stored: Spec | None, path: Path, names: tuple[str, ...]) -> Spec:
    """Return the Spec of a file's tensors with what its metadata alone states; without metadata, with ``names``."""
    if stored is None:
        return replace(spec, names=names or spec.names)
    if replace(stored, names=spec.names, tiles=spec.tiles, truncation=spec.truncation) != spec:
        raise UserError(f"{path}: the spec in its metadata is not that of its tensors: fetch or write it again")
    return replace(spec, names=stored.names or names or spec.names, tiles=spec.tiles and stored.tiles)


def _spec_of(path: Path, state: dict[str, Tensor]) -> Spec:
    classes, embedding = shape_of(state, path, "label_emb.weight", 2)
    doublings = sum(value.ndim == 4 for name, value in state.items() if name.startswith("f_shape."))
    size = next((size for size in SIZES if size == GRID * 2**doublings), SIZES[0])
    noise_dim = shape_of(state, path, "f_shape.0.weight", 2)[1] - embedding
    return Spec(image_size=size, noise_dim=noise_dim, classes=classes)
