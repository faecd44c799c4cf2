"""What is installed and available, and what to do about the rest."""

import importlib.metadata
import importlib.util
import platform
import shutil
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from skdcgn.base.errors import UserError

CORE = (
    *("torch", "accelerate", "safetensors", "huggingface_hub", "httpx2", "scikit-learn", "pooch", "pillow"),
    "matplotlib",
)
NEEDED_GIB = 2.0  # of a run


class State(StrEnum):
    """``ok``: can be used now. ``not here``: is downloaded, installed or passed when needed. ``broken``: mend it."""

    OK = "ok"
    NOT_HERE = "not here"
    BROKEN = "broken"


class Finding(NamedTuple):
    """One thing, its state, and what to do about it."""

    name: str
    state: State
    words: str


def examine(
    data_root: Path | None = None, *, packages: Sequence[str] = CORE, free_gib: float | None = None
) -> Iterator[Finding]:
    """Yield the state of packages, device, disk, teachers and data.

    Args:
        data_root: folder with MNIST's files; None: they are downloaded.
        packages: names of distributions that must be installed.
        free_gib: free space; None: that of the current folder's disk.
    """
    yield Finding("python", State.OK, f"{platform.python_version()} on {platform.machine()}")
    for name in packages:
        yield _package(name)
    yield _device()
    yield _torchvision()
    yield _onnx()
    yield _u2netp()
    yield _disk(shutil.disk_usage(Path.cwd()).free / 2**30 if free_gib is None else free_gib)
    yield from _teachers()
    yield _mnist(data_root)


def _package(name: str) -> Finding:
    try:
        return Finding(name, State.OK, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, State.BROKEN, f"not installed: pip install {name}")


def _device() -> Finding:
    import torch

    if torch.cuda.is_available():
        return Finding("device", State.OK, f"cuda: {torch.cuda.get_device_name()}")
    threads = torch.get_num_threads()
    return Finding("device", State.OK, f"cpu with {threads} threads, enough for the presets of digits")


def _torchvision() -> Finding:
    if importlib.util.find_spec("torchvision") is None:
        return Finding("torchvision", State.NOT_HERE, "needed for backbones named torchvision:NAME alone")
    try:
        import torchvision  # type: ignore[import-not-found]  # noqa: F401
    except (ImportError, RuntimeError) as error:
        return Finding("torchvision", State.BROKEN, f"{str(error).splitlines()[0]}: pip uninstall torchvision")
    return Finding("torchvision", State.OK, "for backbones named torchvision:NAME")


def _onnx() -> Finding:
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        return Finding("onnx", State.NOT_HERE, f"export needs {', '.join(missing)}: pip install 'skdcgn[onnx]'")
    return Finding("onnx", State.OK, "export and ONNX Runtime")


def _u2netp() -> Finding:
    from skdcgn.features.saliency import U2NETP, package_file

    try:
        return Finding(U2NETP, State.OK, f"for segment: {package_file()}")
    except UserError as error:
        return Finding(U2NETP, State.NOT_HERE, f"segment needs it: {error}")


def _disk(free_gib: float) -> Finding:
    if free_gib < NEEDED_GIB:
        return Finding("disk", State.BROKEN, f"{free_gib:.1f} GiB free here: a run needs about {NEEDED_GIB:.0f} GiB")
    return Finding("disk", State.OK, f"{free_gib:.0f} GiB free here")


def _teachers() -> Iterator[Finding]:
    from skdcgn.zoo import cards, is_at_hand, whereabouts

    for name in cards():
        state = State.OK if is_at_hand(name) else State.NOT_HERE
        yield Finding(f"teacher {name}", state, whereabouts(name))


def _mnist(data_root: Path | None) -> Finding:
    import pooch

    from skdcgn.data.idx import load_idx_folder

    cache = Path(pooch.os_cache("skdcgn")) / "mnist"
    if data_root is None and not cache.is_dir():
        words = "downloaded when first used; --data-root or SKDCGN_DATA names local files"
        return Finding("mnist", State.NOT_HERE, words)
    data_root = data_root or cache
    try:
        count = len(load_idx_folder(data_root, "train")[1])
    except UserError as error:
        return Finding("mnist", State.BROKEN, str(error))
    return Finding("mnist", State.OK, f"{count:,} training images in {data_root}")
