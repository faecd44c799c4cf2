"""One way to load a teacher: a name from the zoo, a file, a student's folder, or any callable.

The names of its tensors tell what a file holds: an MNIST CGN, an ImageNet CGN, or one of the two networks that
an ImageNet CGN is assembled from, a BigGAN and a U2-Net.

Foreign ``.pth`` files are read with ``weights_only=True``: files that would run code are refused, nothing is unpickled.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from importlib import resources
from inspect import isroutine
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from skdcgn.base.door import is_file, is_folder
from skdcgn.base.errors import UserError, current_name, naming, shortened
from skdcgn.base.files import sha256
from skdcgn.base.home import from_home
from skdcgn.base.tensors import open_tensors
from skdcgn.base.weights import digest_of, fill, on_meta, read_state_dict, shape_of
from skdcgn.cgn.black_box import Access
from skdcgn.cgn.mechanism import Spec, Teacher, as_mechanism, check_query, spec_from_metadata
from skdcgn.data.glyphs import DIGITS
from skdcgn.features.u2net import u2net_from
from skdcgn.students.generator import StudentCGN
from skdcgn.students.hub import is_repository_name
from skdcgn.teachers.biggan import biggan_from
from skdcgn.teachers.cgn import CGN, GRID, SIZES, CGNTeacher, NeuralCGN
from skdcgn.teachers.cgn_imagenet import TRUNCATION, assembled, imagenet_cgn_from, random_cgn
from skdcgn.teachers.photographs import is_photo_cgn, load_photo_cgn
from skdcgn.teachers.recorded import PREFIX as RECORDED
from skdcgn.teachers.recorded import open_recorded
from skdcgn.zoo import cards

UNKNOWN_CODE = Access(paid=True, idempotent=False)  # nobody knows what a function does inside
QueryFunction = Callable[[str, Tensor, Tensor], Tensor]


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


@dataclass(frozen=True)
class CallableTeacher:
    """A function ``f(mechanism, noise, labels) -> images`` as a teacher; its size is unknown."""

    function: QueryFunction
    spec: Spec
    digest: str
    size: int | None = None
    access: Access = UNKNOWN_CODE

    def query(self, mechanism: str, noise: Tensor, labels: Tensor) -> Tensor:
        """Ask the function; noise (B, Z), labels (B,) int64 -> (B, C, H, W)."""
        check_query(self.spec, noise, labels)
        return self.function(as_mechanism(mechanism).value, noise, labels)


class NamedTeacher:
    """The teacher that :func:`load_teacher` returns for a name or a path; pickled, it is its name, loaded again."""

    def __init__(self, name: str | Path) -> None:
        self.name, self._teacher = name, load_teacher(name)

    def __reduce__(self) -> tuple[type["NamedTeacher"], tuple[str | Path]]:
        return NamedTeacher, (self.name,)

    @property
    def spec(self) -> Spec:
        return self._teacher.spec

    @property
    def digest(self) -> str:
        return self._teacher.digest

    @property
    def size(self) -> int | None:
        return self._teacher.size

    def query(self, mechanism: str, noise: Tensor, labels: Tensor) -> Tensor:
        """Draw (B, C, H, W) for noise (B, Z) and labels (B,) int64."""
        return self._teacher.query(mechanism, noise, labels)


def load_teacher(
    source: str | Path | QueryFunction,
    *,
    spec: Spec | None = None,
    truncation: float | None = None,
    device: str = "cpu",
) -> Teacher:
    """Return a teacher.

    Args:
        source: a zoo name (see :func:`cards`), a ``.safetensors``, ``.pth`` or ``.bin`` file with the names of the
            published MNIST or ImageNet CGN, a photo CGN, a folder written by ``save_pretrained``, a callable
            ``(mechanism, noise (B, Z), labels (B,)) -> images (B, C, H, W)`` or, where there is no such name, file or
            folder, a student ``user/student`` on the Hugging Face Hub.
        spec: image size, noise, classes and their names of a callable; None takes 32 pixels, N(0, I) of 32 numbers and
            10 classes without names.
        truncation: factor on the noise of an ImageNet CGN, in (0, 1]; None takes that of the file's metadata, else 0.5.
            Other teachers have none.
        device: where a file's network runs.

    Raises:
        UserError: no such name or file, or a file that is damaged or holds something else.
    """
    if isinstance(source, StudentCGN | CGNTeacher):
        raise UserError(f"load_teacher takes a name, a file, a folder or a function: this {_type(source)} is a teacher")
    if not isinstance(source, str | Path):
        if not callable(source):
            raise UserError(f"load_teacher takes a name, a file, a folder or a function, but got: {_type(source)}")
        name = source.__qualname__ if isroutine(source) else type(source).__qualname__
        _no_truncation(name, truncation)
        return CallableTeacher(source, spec or Spec(), digest=f"callable:{source.__module__}.{name}")
    name = current_name(str(source))
    if name in cards():
        return _from_card(name, device, truncation)
    if name.startswith(RECORDED):
        _no_truncation(name, truncation)
        return open_recorded(Path(from_home(name.removeprefix(RECORDED))))
    path = Path(from_home(str(source)))
    if is_folder(path):
        _no_truncation(path, truncation)
        return StudentCGN.load(path).to(device)
    if not is_file(path) and is_repository_name(name):
        _no_truncation(name, truncation)
        return load_student(name, device=device)
    if not is_file(path):
        raise UserError(f"no teacher {str(source)!r}: pass a file, a student's folder or one of {', '.join(cards())}")
    if is_photo_cgn(path):
        _no_truncation(path, truncation)
        return load_photo_cgn(path)
    return load_cgn(path, device, truncation)


def open_cgn(cgn: str | Path | Teacher, device: str = "cpu") -> tuple[Teacher, str]:
    """Return a CGN, loaded if it is a name or a path, and what a message calls it."""
    return (load_teacher(cgn, device=device), str(cgn)) if isinstance(cgn, str | Path) else (cgn, "the CGN")


def load_student(folder: str | Path, *, revision: str | None = None, device: str = "cpu") -> StudentCGN:
    """Return the student CGN in a folder or, by the name of its repository, on the Hugging Face Hub.

    Args:
        folder: what ``save_pretrained`` wrote, or ``user/student``; a folder wins over a name.
        revision: branch, tag or commit of the repository; None: ``main``.
        device: where the student runs.

    Raises:
        UserError: there is no student, or the Hub does not answer and has not been asked for it before.
    """
    if not isinstance(folder, str | Path):
        raise UserError(f"load_student takes the folder of a student, but got: {_type(folder)}")
    if not is_folder(Path(folder)) and is_repository_name(str(folder)):
        return StudentCGN.from_pretrained(folder, revision=revision).to(device)
    return StudentCGN.load(Path(folder)).to(device)


def _type(value: object) -> str:
    return type(value).__name__


def load_cgn(
    path: Path, device: str = "cpu", truncation: float | None = None, *, names: tuple[str, ...] = ()
) -> CGNTeacher:
    """Load an MNIST or ImageNet CGN from ``.safetensors`` or a state dict of PyTorch; half precision is widened.

    Args:
        path: the file.
        device: where the network runs.
        truncation: of an ImageNet CGN, see :func:`load_teacher`.
        names: of the classes, if the file states none. :func:`skdcgn.teachers.teach.teach` writes them into its files'
            metadata; a CGN of ImageNet's thousand classes has their WordNet ids.

    Raises:
        UserError: the file is missing, damaged, holds something else, or metadata of another CGN.
    """
    state, digest, stored = read_state_dict(path), sha256(path), _stored_spec(path)
    kind, cgn = checkpoint_kind(state), cast(NeuralCGN | None, None)
    if kind is CheckpointKind.MNIST:
        _no_truncation(path, truncation)
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
        f"{path} is {kind}, a part of a CGN: assemble one by skdcgn.teachers.load.initial_cgn(biggan, u2net)"
    )


def initial_cgn(
    biggan: str | Path, u2net: str | Path, *, truncation: float = TRUNCATION, device: str = "cpu"
) -> CGNTeacher:
    """Assemble the ImageNet CGN that the published training starts from: three times one BigGAN, and a U2-Net.

    ``write_tensors(path, teacher.cgn.state_dict(), teacher.spec.to_metadata())`` makes a file of it that
    :func:`load_teacher` takes.

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


def _no_truncation(source: object, truncation: float | None) -> None:
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
    return replace(spec, names=stored.names or spec.names, tiles=spec.tiles and stored.tiles)


def _spec_of(path: Path, state: dict[str, Tensor]) -> Spec:
    classes, embedding = shape_of(state, path, "label_emb.weight", 2)
    doublings = sum(value.ndim == 4 for name, value in state.items() if name.startswith("f_shape."))
    size = next((size for size in SIZES if size == GRID * 2**doublings), SIZES[0])
    noise_dim = shape_of(state, path, "f_shape.0.weight", 2)[1] - embedding
    return Spec(image_size=size, noise_dim=noise_dim, classes=classes)


def _from_card(name: str, device: str, truncation: float | None) -> CGNTeacher:
    card, factor = cards()[name], TRUNCATION if truncation is None else truncation
    if "random" in card:
        cgn = random_cgn(**card["random"], truncation=factor)
        return CGNTeacher(cgn, f"{digest_of(cgn)}@{factor:g}", device)
    if "parts" in card:
        biggan, u2net = (_download(f"{name}-{part}", card["parts"][part]) for part in ("biggan", "u2net"))
        return initial_cgn(biggan, u2net, truncation=factor, device=device)
    names = DIGITS if card["architecture"] == "mnist-cgn" else ()
    bundled = resources.files("skdcgn.zoo") / f"{name}.safetensors"
    if bundled.is_file():
        with resources.as_file(bundled) as path:
            if sha256(path) != card["sha256"]:
                raise UserError(f"the zoo's {name} is damaged (checksum differs): reinstall skdcgn")
            return load_cgn(path, device, truncation, names=names)
    return load_cgn(_download(name, card), device, truncation, names=names)


def _download(name: str, card: dict[str, Any]) -> Path:
    import pooch

    if "sha256" not in card:
        raise UserError(f"{name} has no known checksum, so it must be a local file: fetch {card['url']}, pass its path")
    try:
        return Path(pooch.retrieve(card["url"], card["sha256"], f"{name}.pth", pooch.os_cache("skdcgn")))
    except (OSError, ValueError) as error:
        raise UserError(
            f"could not download {name} from {card['url']} ({type(error).__name__}): "
            "pass a local file by --teacher PATH"
        ) from None
