"""One way to load a teacher: a name from the zoo, a file, a student's folder, ``module:name`` or any callable."""

from importlib import resources
from pathlib import Path
from typing import Any

from torch import Tensor

from skdcgn.base.door import is_file, is_folder
from skdcgn.base.errors import UserError, current_name, shown
from skdcgn.base.files import sha256
from skdcgn.base.foreign_code import MODULE_NAME, callable_name
from skdcgn.base.home import from_home
from skdcgn.base.onnx_models import is_onnx
from skdcgn.base.weights import digest_of
from skdcgn.cgn.drawer import Drawable, Drawer
from skdcgn.cgn.mechanism import Spec, Teacher
from skdcgn.cgn.stated_spec import StatedSpec, stated_spec
from skdcgn.data.glyphs import DIGITS
from skdcgn.students.generator import StudentCGN
from skdcgn.students.hub import is_repository_name
from skdcgn.teachers.cgn import CGNTeacher
from skdcgn.teachers.cgn_imagenet import TRUNCATION, random_cgn
from skdcgn.teachers.checkpoints import initial_cgn, load_cgn, no_truncation
from skdcgn.teachers.functions import Function, of_function, of_name
from skdcgn.teachers.http_address import SCHEMES
from skdcgn.teachers.onnx_teacher import is_onnx_folder, open_onnx_teacher
from skdcgn.teachers.photographs import is_photo_cgn, load_photo_cgn
from skdcgn.teachers.recorded import PREFIX as RECORDED
from skdcgn.teachers.recorded import open_recorded
from skdcgn.teachers.remote import open_http
from skdcgn.zoo import cards

ANY = "pass a file, a student's folder, module:function, recorded:DIR, the http(s) address of a service"


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

    def drawer(self) -> Drawer | None:
        """Return the drawer of a student, None for another teacher."""
        return self._teacher.drawer() if isinstance(self._teacher, Drawable) else None


def load_teacher(
    source: str | Path | Function,
    *,
    spec: Spec | StatedSpec | str | Path | None = None,
    truncation: float | None = None,
    device: str = "cpu",
) -> Teacher:
    """Return a teacher.

    Args:
        source: a zoo name (see :func:`cards`), a ``.safetensors``, ``.pth`` or ``.bin`` file with the names of the
            published MNIST or ImageNet CGN, a photo CGN, a folder written by ``save_pretrained``, an ONNX file or a
            folder of three (:mod:`skdcgn.teachers.onnx_teacher`), ``module:name``, a
            callable ``(mechanism, noise (B, Z), labels (B,)) -> images (B, C, H, W)``
            (:mod:`skdcgn.teachers.functions` has its other forms) or, where there is no such name, file or folder, a
            student ``user/student`` on the Hugging Face Hub.
        spec: what the source does not state of its noise, labels and images: a Spec, a JSON file of its fields, or
            words as ``image_size=64,noise_dim=128,classes=5,names=a/b/c/d/e``. What neither states of a function is 32
            pixels, N(0, I) of 32 numbers, and 10 classes without names.
        truncation: factor on the noise of an ImageNet CGN, in (0, 1]; None takes that of the file's metadata, else 0.5.
            ONNX files with an input for it take it too; other teachers have none.
        device: where a file's network runs.

    Raises:
        UserError: no such name or file, a file that is damaged or holds something else, or ``spec`` contradicts it.
    """
    if isinstance(source, StudentCGN | CGNTeacher):
        raise UserError(f"load_teacher takes a name, a file, a folder or a function: this {_type(source)} is a teacher")
    stated = stated_spec(spec)
    if not isinstance(source, str | Path):
        if not callable(source):
            raise UserError(f"load_teacher takes a name, a file, a folder or a function, but got: {_type(source)}")
        no_truncation(callable_name(source), truncation)
        return of_function(source, stated)
    teacher = _named(str(source), stated, truncation, device)
    stated.check(teacher.spec, source)
    return teacher


def _named(source: str, stated: StatedSpec, truncation: float | None, device: str) -> Teacher:
    """Load what a name, a path or ``module:name`` stands for."""
    name, path = current_name(source), Path(from_home(source))
    if name in cards():
        return _from_card(name, device, truncation)
    if source.startswith(SCHEMES):
        no_truncation(source, truncation)
        return open_http(source, stated)
    if source.startswith(RECORDED):
        no_truncation(source, truncation)
        return open_recorded(Path(from_home(source.removeprefix(RECORDED))))
    if is_onnx_folder(path):
        return open_onnx_teacher(path, stated, truncation)
    if is_folder(path):
        no_truncation(path, truncation)
        return StudentCGN.load(path).to(device)
    if is_file(path):
        return _from_file(path, stated, truncation, device)
    if MODULE_NAME.fullmatch(source):
        no_truncation(source, truncation)
        return of_name(source, stated)
    if is_repository_name(name):
        no_truncation(name, truncation)
        return load_student(name, device=device)
    raise UserError(f"no teacher {shown(source)}: {ANY}, or one of {', '.join(cards())}")


def _from_file(path: Path, stated: StatedSpec, truncation: float | None, device: str) -> Teacher:
    if is_onnx(path):
        return open_onnx_teacher(path, stated, truncation)
    if is_photo_cgn(path):
        no_truncation(path, truncation)
        return load_photo_cgn(path)
    return load_cgn(path, device, truncation, names=stated.names)


def names_black_box(words: str) -> bool:
    """Say whether words name a service, recorded pairs or a folder of ONNX files: neither a classifier nor a run."""
    return words.startswith((RECORDED, *SCHEMES)) or is_onnx_folder(Path(from_home(words)))


def open_cgn(
    cgn: str | Path | Teacher, device: str = "cpu", *, spec: Spec | str | Path | None = None
) -> tuple[Teacher, str]:
    """Return a CGN, loaded with ``spec`` if it is a name or a path, and what a message calls it."""
    if isinstance(cgn, str | Path):
        return load_teacher(cgn, spec=spec, device=device), str(cgn)
    return cgn, "the CGN"


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
