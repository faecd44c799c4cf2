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
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skdcgn.base.errors import UserError

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

    Raises:
        UserError: the file is missing, no idx file, cut short, too long or empty.
    """
    data = _contents(path)
    shape = _shape(path, data)
    start = 4 + 4 * len(shape)
    if len(data) - start != math.prod(shape):
        raise UserError(f"{path} holds {len(data) - start:,} bytes where its header says {shape}: fetch it again")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape).copy()


def load_idx_folder(folder: Path, split: str) -> tuple[Tensor, Tensor]:
    """Read the ``train`` or ``test`` (t10k) pair of files: images (N, H, W) uint8, labels (N,) int64.

    The pair may lie in the folder, in its ``mnist``, or in its ``MNIST/raw`` as torchvision leaves it.
    """
    image_file, label_file = idx_files(folder, split)
    images, labels = read_idx(image_file), read_idx(label_file)
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        raise UserError(
            f"{image_file} and {label_file} do not match: images are {images.shape}, labels {labels.shape}; "
            "take both from the same source"
        )
    return torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64))


def local_mnist(data_root: Path | None) -> Path | None:
    """Return ``data_root``, else the environment's SKDCGN_DATA; None if MNIST is downloaded."""
    named = os.environ.get("SKDCGN_DATA")
    return data_root or (Path(named) if named else None)


def mnist_folder(data_root: Path | None) -> Path:
    """Return ``data_root``, else the environment's SKDCGN_DATA, else the folder of a checked download."""
    if folder := local_mnist(data_root):
        return folder
    import pooch

    folder = Path(pooch.os_cache("skdcgn")) / "mnist"
    for name in CHECKSUMS:
        download(name, folder, CHECKSUMS[name])
    return folder


def _contents(path: Path) -> bytes:
    """Return the file's bytes, unpacked if they are gzip, whatever the file is called."""
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if data.startswith(GZIP_MAGIC) else data
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise UserError(f"{path} is not a whole gzip file: fetch it again") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): check the path") from None


def _shape(path: Path, data: bytes) -> tuple[int, ...]:
    if len(data) < 4 or not data.startswith(IDX_MAGIC) or data[3] not in DIMENSIONS:
        raise UserError(f"{path} is not an idx file of unsigned bytes: pass MNIST's own format")
    if len(data) < 4 + 4 * data[3]:
        raise UserError(f"{path} ends inside its header: fetch it again")
    shape = struct.unpack_from(f">{data[3]}I", data, 4)
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
