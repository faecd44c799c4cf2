"""The ImageNet CGN of Sauer & Geiger (ICLR 2021, Sec. 3.2 and App. C): three BigGANs and a U2-Net.

    mask = clamp(U2Net(BigGAN_shape(t u, y)), 1e-4, 0.9999),   texture, background = BigGAN(t u, y)

with u a truncated normal on [-2, 2] in R^128, y a label of 1,000 and the truncation t, 0.5 for data sets. The U2-Net
gets BigGAN's picture as it is, in [-1, 1]: the published code does not normalise it, and its shape mechanism was
trained through the U2-Net that way. Names are those of ``cgn.pth``: ``f_shape.*``, ``f_text.*``, ``f_bg.*``,
``u2net.*``, and ``biggan_GT.*``, the fourth BigGAN, which only training needs and which is not read. In SKDCGN's
baseline the three are TinyGANs, trained in the same way (:mod:`skdcgn.teachers.teach_imagenet`).
"""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from skdcgn.base.errors import UserError
from skdcgn.base.seeds import generator, seed_global
from skdcgn.base.weights import below
from skdcgn.cgn.mechanism import Mechanism, Spec
from skdcgn.data.imagenet_classes import WORDNET_IDS
from skdcgn.features.u2net import FULL, U2Net, Width, calm, standardise, u2net_from
from skdcgn.teachers.biggan import BigGAN, biggan_from, check_truncation, set_standing_statistics
from skdcgn.teachers.cgn import MASK_HIGH, MASK_LOW, InwardClamp, NeuralCGN
from skdcgn.teachers.tinygan import WIDTH, TinyGAN, tinygan_from

TRUNCATION = 0.5
PICTURES_AT_ONCE = 8
NETWORKS = {Mechanism.SHAPE: "f_shape", Mechanism.TEXTURE: "f_text", Mechanism.BACKGROUND: "f_bg"}
CALIBRATION = 16
CALM = 0.1
LOGIT_MEAN, LOGIT_DEVIATION = -1.5, 4.0  # masks that are nearly binary and a third of the image, as the published ones


class ImageNetCGN(NeuralCGN):
    """Three GANs of one size, and the U2-Net that makes masks of the first one's pictures.

    Args:
        gans: for the picture under the mask, for texture and for background: BigGANs, or the TinyGANs of SKDCGN's
            baseline.
        u2net: the saliency network.
        truncation: in (0, 1]; the noise of a query is multiplied by it.
        names: of the classes; None: ImageNet's thousand have their WordNet ids, others none.

    Raises:
        UserError: the GANs differ in size, noise or classes, or the truncation is out of range.
    """

    def __init__(
        self,
        gans: Sequence[BigGAN | TinyGAN],
        u2net: U2Net,
        truncation: float = TRUNCATION,
        names: Sequence[str] | None = None,
    ) -> None:
        specs = [Spec(gan.image_size, gan.noise_dim, gan.classes, "truncated-normal") for gan in gans]
        if len(set(specs)) > 1:
            raise UserError("the three GANs of a CGN differ in image size, noise or classes: use three of one kind")
        if names is None:
            names = WORDNET_IDS if specs[0].classes == len(WORDNET_IDS) else ()
        spec = replace(specs[0], names=tuple(names), tiles=False, truncation=check_truncation(truncation))
        super().__init__(spec, PICTURES_AT_ONCE)
        self.f_shape, self.f_text, self.f_bg = gans
        self.u2net = u2net

    @property
    def truncation(self) -> float:
        """Factor on the noise of a query, which also selects BigGAN's norm statistics."""
        return self.spec.truncation

    def forward(self, mechanism: Mechanism, noise: Tensor, labels: Tensor) -> Tensor:
        """Draw images (B, C, H, W) of ``mechanism`` for noise (B, Z) in [-2, 2] and labels (B,)."""
        gan = self.get_submodule(NETWORKS[mechanism])
        picture = gan(self.truncation * noise, labels, self.truncation).float()  # (B, 3, H, W), whatever the precision
        if mechanism is not Mechanism.SHAPE:
            return cast(Tensor, picture)
        return cast(Tensor, InwardClamp.apply(self.u2net(picture).float(), MASK_LOW, MASK_HIGH))  # (B, 1, H, W)


def imagenet_cgn_from(state: dict[str, Tensor], origin: object, truncation: float = TRUNCATION) -> ImageNetCGN:
    """Build the CGN whose tensors ``state`` holds, as published or folded; its sizes are read off them.

    Raises:
        UserError: a tensor is missing, of another shape or one too many; the line names it and ``origin``.
    """
    names = (*NETWORKS.values(), "u2net", "biggan_GT")
    extra = [name for name in state if name.split(".")[0] not in names]
    if extra:
        raise UserError(f"{origin} is a checkpoint of another architecture: an ImageNet CGN has no {extra[0]}")
    parts = {name: below(state, f"{name}.") for name in NETWORKS.values()}
    gans = [
        (tinygan_from if "embed.weight" in part else biggan_from)(part, f"{origin} ({name})")
        for name, part in parts.items()
    ]
    return ImageNetCGN(gans, u2net_from(below(state, "u2net."), f"{origin} (u2net)"), truncation)


def assembled(biggan: BigGAN, u2net: U2Net, truncation: float = TRUNCATION) -> ImageNetCGN:
    """Return the CGN that training starts from: each mechanism has its own copy of ``biggan``."""
    return ImageNetCGN([biggan, copy.deepcopy(biggan), copy.deepcopy(biggan)], u2net, truncation)


def baseline(
    biggan: BigGAN,
    u2net: U2Net,
    truncation: float = TRUNCATION,
    *,
    width: int = WIDTH,
    names: Sequence[str] | None = None,
) -> ImageNetCGN:
    """Return the start of SKDCGN's baseline: TinyGANs with random weights and BigGAN's class embeddings."""
    gans = [TinyGAN(biggan.image_size, biggan.noise_dim, biggan.classes, width) for _ in Mechanism]
    for gan in gans:
        gan.embed_as(biggan.embeddings.weight.T)
    return ImageNetCGN(gans, u2net, truncation, names)


def random_cgn(
    image_size: int = 64,
    noise_dim: int = 16,
    classes: int = 4,
    *,
    width: int = 8,
    u2net: Sequence[int] = (4, 8),
    truncation: float = TRUNCATION,
    seed: int = 0,
    names: Sequence[str] | None = None,
) -> ImageNetCGN:
    """Return a small CGN of random weights, for tests and where no published file can be had.

    Its norms have the statistics of its own images and its masks are nearly binary, so that every mechanism draws
    something, of which noise and label both change a lot.

    Args:
        image_size: a key of ``skdcgn.teachers.biggan.LAYOUTS``.
        noise_dim: how many numbers the noise has.
        classes: how many labels there are.
        width: of the BigGANs, a multiple of 4.
        u2net: channels inside and of each of the U2-Net's blocks.
        truncation: in (0, 1].
        seed: of the weights.
        names: of the classes; None: see :class:`ImageNetCGN`.
    """
    with torch.random.fork_rng(devices=[]):
        seed_global("random CGN", seed)
        biggans = [BigGAN(image_size, noise_dim, classes, width) for _ in Mechanism]
        cgn = ImageNetCGN(biggans, U2Net((Width(*u2net),) * len(FULL)), truncation, names)
    calm(cgn.u2net, CALM)
    rng = generator("random CGN", seed, "statistics")
    noise, labels = truncation * cgn.spec.sample_noise(CALIBRATION, rng), torch.arange(CALIBRATION) % classes
    for biggan in biggans:
        set_standing_statistics(biggan, noise, labels, truncation)
    with torch.no_grad():
        standardise(cgn.u2net, cgn.f_shape(noise, labels, truncation), LOGIT_MEAN, LOGIT_DEVIATION)
    return cgn
