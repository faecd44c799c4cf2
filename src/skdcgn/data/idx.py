"""MNIST's idx files: read with checks, found in a folder, or downloaded with checksums."""

import gzip
import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from skdcgn.errors import UserError

UNSIGNED_BYTE = 0x08
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
LAYOUTS = ("", "mnist", "MNIST/raw")
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
CHECKSUMS = {
    "train-images-idx3-ubyte.gz": "71524e2cd1ad2968737f7f2f2ff69cbfc32df8ccddff51593f7cb2d4e0eb5b64",
    "train-labels-idx1-ubyte.gz": "fe03b8bd7915f70bf5aa08be480aa413fbd85afcaa58b35d230d335f284fd88e",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}


def read_idx(path: Path) -> np.ndarray:
    """Read an idx file of unsigned bytes, gzipped or plain; raise UserError if it is anything else."""
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: check the path") from None
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise UserError(f"{path} is not a whole gzip file: fetch it again") from None
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] != UNSIGNED_BYTE or not data[3]:
        raise UserError(f"{path} is not an idx file of unsigned bytes: pass MNIST's own format")
    dimensions = data[3]
    header = 4 + 4 * dimensions
    shape = struct.unpack(f">{dimensions}I", data[4:header]) if len(data) >= header else ()
    if not shape or len(data) - header != math.prod(shape):
        raise UserError(f"{path} is cut short or too long for its header: fetch it again")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def load_idx_folder(folder: Path, split: str) -> tuple[Tensor, Tensor]:
    """Read the ``train`` or ``test`` (t10k) files of a folder: images (N, H, W) uint8, labels (N,) int64."""
    image_file, label_file = (_find(folder, name) for name in FILES[split])
    images, labels = read_idx(image_file), read_idx(label_file)
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        raise UserError(f"{image_file} and {label_file} do not match: {images.shape} images, {labels.shape} labels")
    return torch.from_numpy(images.copy()), torch.from_numpy(labels.astype(np.int64))


def _find(folder: Path, name: str) -> Path:
    places = [folder / layout / (name + ending) for layout in LAYOUTS for ending in (".gz", "")]
    for place in places:
        if place.is_file():
            return place
    raise UserError(
        f"{folder} has no {name} or {name}.gz (looked in it and in its mnist and MNIST/raw): "
        "point --data-root or SKDCGN_DATA at MNIST's four idx files"
    )


def mnist_folder(data_root: Path | None) -> Path:
    """Return ``data_root``, else the environment's SKDCGN_DATA, else where a checked download lies."""
    if data_root is not None:
        return data_root
    if os.environ.get("SKDCGN_DATA"):
        return Path(os.environ["SKDCGN_DATA"])
    import pooch

    folder = Path(pooch.os_cache("skdcgn")) / "mnist"
    for name in CHECKSUMS:
        _download(name, folder)
    return folder


def _download(name: str, folder: Path) -> None:
    import pooch

    for mirror in MIRRORS:
        try:
            pooch.retrieve(mirror + name, CHECKSUMS[name], fname=name, path=folder)
            return
        except (OSError, ValueError):  # no answer, or the wrong bytes: the next mirror may do better
            continue
    raise UserError(
        f"could not download {name} from {' or '.join(MIRRORS)}: "
        "point --data-root or SKDCGN_DATA at MNIST's four idx files"
    )
