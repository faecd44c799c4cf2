"""What is installed and at hand, and what to do about what is missing."""

import importlib.metadata
import importlib.util
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

from skdcgn.base.errors import UserError

Finding = tuple[str, bool, str]
CORE = ("torch", "accelerate", "safetensors", "huggingface_hub", "scikit-learn", "pooch", "pillow", "matplotlib")


def examine(data_root: Path | None = None) -> Iterator[Finding]:
    """Yield (what, whether it is fine, words) for packages, device, disk, teachers and data."""
    yield "python", True, f"{platform.python_version()} on {platform.machine()}"
    for name in CORE:
        yield _package(name)
    yield _device()
    yield _torchvision()
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    yield "disk", free > 2, f"{free:.0f} GiB free here" + ("" if free > 2 else ": a run needs about 2 GiB")
    yield from _teachers()
    yield _mnist(data_root)


def _package(name: str) -> Finding:
    try:
        return name, True, importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return name, False, f"pip install {name}"


def _device() -> Finding:
    import torch

    if torch.cuda.is_available():
        return "device", True, f"cuda: {torch.cuda.get_device_name()}"
    return "device", True, f"cpu with {torch.get_num_threads()} threads (presets of the MNIST family need no more)"


def _torchvision() -> Finding:
    if importlib.util.find_spec("torchvision") is None:
        return "torchvision", True, "not installed, and not needed"
    try:
        import torchvision  # type: ignore[import-not-found]  # noqa: F401
    except (ImportError, RuntimeError) as error:
        return "torchvision", False, f"installed but broken ({str(error).splitlines()[0]}): pip uninstall torchvision"
    return "torchvision", True, "installed (not needed)"


def _teachers() -> Iterator[Finding]:
    from skdcgn.zoo import cards, whereabouts

    for name in cards():
        yield f"teacher {name}", True, whereabouts(name)


def _mnist(data_root: Path | None) -> Finding:
    from skdcgn.data.idx import load_idx_folder

    if data_root is None:
        return "mnist", True, "downloaded when first used; --data-root or SKDCGN_DATA names local files"
    try:
        count = len(load_idx_folder(data_root, "train")[1])
    except UserError as error:
        return "mnist", False, str(error)
    return "mnist", True, f"{count:,} training images in {data_root}"
