"""MNIST's idx files: from a folder, or downloaded with checksums; whatever is wrong with one is named in one line.

An idx file is two zero bytes, a type (8: unsigned bytes), the number of dimensions, each dimension as a big-endian
32-bit number, then the numbers themselves.
"""

import gzip
import math
import os
import struct
import zlib
from collections.abc import Sequence
from io import BufferedIOBase
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skdcgn.base.door import regular_file
from skdcgn.base.errors import UserError
from skdcgn.base.home import from_home
from skdcgn.data.appearances import CLASSES

MOST_BYTES, PART = 2**30, 2**20  # of the numbers of a file, and those that are unpacked at once
GZIP_MAGIC = b"\x1f\x8b"
IDX_MAGIC = b"\0\0\x08"  # 8: unsigned bytes
DIMENSIONS = (1, 2, 3)
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
LAYOUTS = ("", "mnist", "MNIST/raw")
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
# sha256 of the official files
CHECKSUMS = {
    "train-images-idx3-ubyte.gz": "71524e2cd1ad2968737f7f2f2ff69cbfc32df8ccddff51593f7cb2d4e0eb5b64",
    "train-labels-idx1-ubyte.gz": "fe03b8bd7915f70bf5aa08be480aa413fbd85afcaa58b35d230d335f284fd88e",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
MEND = "point --data-root or SKDCGN_DATA at a folder with MNIST's four idx files"


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Return the array of 1 to 3 dimensions in an idx file of unsigned bytes, gzipped or plain.

    The header says how many bytes are read and unpacked, and one more to see that the file ends there.

    Raises:
        UserError: the file is missing, no idx file, cut short, too long, too large or empty.
    """
    size = regular_file(path).stat().st_size
    try:
        with open(path, "rb") as file:
            if not file.peek(2).startswith(GZIP_MAGIC):
                return _read_array(path, file, size)
            with gzip.GzipFile(fileobj=file) as unpacked:
                return _read_array(path, unpacked)
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise UserError(f"{path} is not a whole gzip file: fetch it again") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): check the path") from None


def load_idx_folder(folder: Path, split: str, classes: int = CLASSES) -> tuple[Tensor, Tensor]:
    """Read the ``train`` or ``test`` (t10k) pair of files: images (N, H, W) uint8, labels (N,) int64.

    The pair may lie in the folder, in its ``mnist``, or in its ``MNIST/raw`` as torchvision leaves it.

    Raises:
        UserError: no such files, files that do not match, or labels of more than ``classes`` classes.
    """
    image_file, label_file = idx_files(folder, split)
    images, labels = read_idx(image_file), read_idx(label_file)
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        raise UserError(
            f"{image_file} and {label_file} do not match: images are {images.shape}, labels {labels.shape}; "
            "take both from the same source"
        )
    if (strange := labels >= classes).any():
        row = int(strange.argmax())
        raise UserError(f"{label_file} holds label {labels[row]} in row {row}: glyphs have labels 0 to {classes - 1}")
    return torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64))


def local_mnist(data_root: Path | None) -> Path | None:
    """Return ``data_root``, else the environment's SKDCGN_DATA; None if MNIST is downloaded."""
    named = str(data_root) if data_root else os.environ.get("SKDCGN_DATA")
    return Path(from_home(named)) if named else None


def mnist_folder(data_root: Path | None) -> Path:
    """Return ``data_root``, else the environment's SKDCGN_DATA, else the folder of a checked download."""
    if folder := local_mnist(data_root):
        return folder
    import pooch

    folder = Path(pooch.os_cache("skdcgn")) / "mnist"
    for name in CHECKSUMS:
        download(name, folder, CHECKSUMS[name])
    return folder


def _read_array(path: Path, file: BufferedIOBase, size: int | None = None) -> NDArray[np.uint8]:
    """Read header and numbers; ``size`` are the bytes of the file, None if it is packed."""
    shape = _read_shape(path, file)
    count = math.prod(shape)
    if size is not None and (stored := size - 4 - 4 * len(shape)) != count:
        raise UserError(f"{path} holds {stored:,} bytes where its header says {shape}: fetch it again")
    if count > MOST_BYTES:
        raise UserError(f"{path} is too large: its header says {shape}, at most {MOST_BYTES:,} bytes are read")
    array = np.empty(count, np.uint8)
    stored = _fill(array, file)
    if stored != count or file.read(1):
        number = f"{stored:,}" if stored < count else "more"
        raise UserError(f"{path} holds {number} bytes where its header says {shape}: fetch it again")
    return array.reshape(shape)


def _fill(array: NDArray[np.uint8], file: BufferedIOBase) -> int:
    """Read a file into an array, part by part; return how many bytes there were."""
    start = 0
    while part := file.read(min(PART, len(array) - start)):
        array[start : start + len(part)] = np.frombuffer(part, np.uint8)
        start += len(part)
    return start


def _read_shape(path: Path, file: BufferedIOBase) -> tuple[int, ...]:
    start = file.read(4)
    if len(start) < 4 or not start.startswith(IDX_MAGIC) or start[3] not in DIMENSIONS:
        raise UserError(f"{path} is not an idx file of unsigned bytes: pass MNIST's own format")
    sizes = file.read(4 * start[3])
    if len(sizes) < 4 * start[3]:
        raise UserError(f"{path} ends inside its header: fetch it again")
    shape = struct.unpack(f">{start[3]}I", sizes)
    if 0 in shape:
        raise UserError(f"{path} is empty, its header says {shape}: fetch it again")
    return shape


def idx_files(folder: Path, split: str) -> tuple[Path, Path]:
    """Return the images' and the labels' file of a split, both from the first layout that has both.

    Raises:
        UserError: no such split, or no layout that has both.
    """
    if split not in FILES:
        raise UserError(f"unknown split {split!r}: use {' or '.join(FILES)}")
    images, labels = FILES[split]
    places = [folder / layout for layout in LAYOUTS]
    for place in places:
        pair = _either(place / images), _either(place / labels)
        if pair[0] and pair[1]:
            return pair[0], pair[1]
    folders = ", ".join(map(str, places))
    raise UserError(f"no {images} and {labels}, plain or .gz, in one of the folders {folders}: {MEND}")


def _either(plain: Path) -> Path | None:
    """Return the file or its gzipped twin, None if there is neither."""
    return next((path for path in (plain.with_name(plain.name + ".gz"), plain) if path.is_file()), None)


def download(name: str, folder: Path, checksum: str, mirrors: Sequence[str] = MIRRORS) -> None:
    """Fetch one file from the first mirror that has the right bytes, unless ``folder`` has it with the right checksum.

    Args:
        name: of the file, below each mirror's address.
        folder: where it is stored.
        checksum: sha256 of its bytes.
        mirrors: addresses, tried in turn.

    Raises:
        UserError: no mirror has it.
    """
    import pooch

    failures = []
    for mirror in mirrors:
        try:
            pooch.retrieve(mirror + name, f"sha256:{checksum}", fname=name, path=folder)
            return
        except (OSError, ValueError) as error:  # no answer or the wrong bytes: try the next mirror
            failures.append(f"{mirror} ({type(error).__name__})")
    raise UserError(f"could not download {name} to {folder} from {' or '.join(failures)}: {MEND}")
