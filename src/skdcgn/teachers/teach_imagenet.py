r"""Teaching the ImageNet CGN (Sauer & Geiger, ICLR 2021, Sec. 3.2 and App. C): no image is needed, BigGAN draws them.

For noise u and label y, x is the picture of a frozen BigGAN, m, t and b are the mechanisms' layers, and
:math:`\tilde x = m t + (1 - m) b`. Each mechanism begins as that BigGAN, and U2-Net, which makes the mask, is frozen.

.. math:: L = w_r |\tilde x - x| + 5000 w_p^2 \sum_i |G_i(\tilde x) - G_i(x)| + w_b H_2(m) + w_m range(m)
              + 5000 w_t^2 \sum_{i mid} |G_i(t) - G_i(mosaic(x, m))| + w_s E U2Net(b)

G_i are Gram matrices, divided by C H W, of the layers of an extractor, mid the middle ones of four: the texture must
look like patches of the object, and the background must have none. As published, VGG16 reads images in [-1, 1] as they
are; the mosaic, cut from the picture at 128 pixels, is resized to the picture's own size before its Gram matrices, and
the texture is compared at that size; the truncation of training is 1.0. Batches are accumulated; every mechanism
has a rate of its own. In SKDCGN's baseline (Ambekar et al. 2022) the mechanisms are TinyGANs with random weights.

The published training kept BigGAN's spectral norms; here the folded weights are trained as they are. It added up the
gradients of accumulated batches; here they are averaged, which Adam's steps do not depend on.
"""

import copy
import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from skdcgn.base.config import Network, TeachImageNetConfig
from skdcgn.base.contents import value_reads
from skdcgn.base.errors import UserError
from skdcgn.base.seeds import generator
from skdcgn.base.tensors import write_tensors
from skdcgn.cgn.drawer import draw
from skdcgn.cgn.drawings import layers_grid
from skdcgn.cgn.layers import blend
from skdcgn.cgn.mechanism import Layers, Mechanism, Teacher
from skdcgn.cgn.pictures import save_picture
from skdcgn.features import u2net
from skdcgn.features.perceptual import load_features
from skdcgn.features.reads import feature_reads
from skdcgn.teachers import biggan
from skdcgn.teachers.biggan import BigGAN
from skdcgn.teachers.cgn import CGNTeacher, snapshot
from skdcgn.teachers.cgn_imagenet import NETWORKS, ImageNetCGN, baseline
from skdcgn.teachers.checkpoints import initial_cgn, load_cgn
from skdcgn.teachers.health import PHOTO_MASKS, mask_symptoms
from skdcgn.teachers.load import load_teacher
from skdcgn.training import losses
from skdcgn.training.loop import Batch, Callback, Method, Record, Step, every
from skdcgn.training.processes import own_share, process_index, wait_for_all
from skdcgn.training.run_folder import RunFolder
from skdcgn.training.train import train

logger = logging.getLogger(__name__)
SIDE, PATCH, GRID, BEST = 128, 15, 6, 100  # of the mosaic: pixels of the image, of a patch, patches of a side, choice


class TeachImageNet(Method):
    """One step; the batch holds ``noise`` (B, Z) and ``labels`` (B,), ``batch_size`` of which are drawn at once."""

    def __init__(self, config: TeachImageNetConfig, cgn: ImageNetCGN, real: BigGAN) -> None:
        cgn.u2net.requires_grad_(False)
        rates = (config.shape_rate, config.texture_rate, config.background_rate)
        super().__init__(
            {"cgn": cgn},
            {
                mechanism.value: torch.optim.Adam(cgn.get_submodule(NETWORKS[mechanism]).parameters(), lr=rate)
                for mechanism, rate in zip(Mechanism, rates, strict=True)
            },
            {"real": real.requires_grad_(False), "features": load_features(config.features, normalised=False)},
        )
        self.config, self.bf16 = config, config.bf16
        if config.checkpointing:
            forget_inside(cgn, (biggan.Block, u2net.ResidualU))

    def step(self, batch: Batch, now: Step) -> dict[str, float]:
        cgn = cast(ImageNetCGN, self.modules["cgn"].train())
        cgn.u2net.eval()
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        logged: dict[str, float] = {}
        parts = [batch[name].split(self.config.batch_size) for name in ("noise", "labels")]
        for noise, labels in zip(*parts, strict=True):
            share = len(labels) / len(batch["labels"])
            with self.autocast():
                terms = self.terms(cgn, noise, labels)
            self.backward(share * torch.stack(list(terms.values())).sum())
            for name, value in terms.items():
                logged[name] = logged.get(name, 0.0) + share * value.item()
        for name in self.optimizers:
            self.update(name)
        return logged

    def terms(self, cgn: ImageNetCGN, noise: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return every loss with its weight."""
        config = self.config
        with torch.no_grad():
            real = self.frozen["real"](cgn.truncation * noise, labels, cgn.truncation).float()
        layers = Layers(*(cgn(mechanism, noise, labels) for mechanism in Mechanism))
        composed = blend(layers)
        mosaic = object_mosaic(real, layers.mask.detach().float())
        return {
            "reconstruction": config.reconstruction * losses.pixel_l1(composed, real),
            "perceptual": self._style(config.perceptual, self._features(composed), self._features(real)),
            "binary": config.binary * losses.binary_entropy(layers.mask),
            "mask": config.mask * losses.mask_range(layers.mask, *PHOTO_MASKS.range),
            "texture": self._style(
                config.texture, middle(self._features(layers.texture)), middle(self._features(mosaic))
            ),
            "background": config.background * cgn.u2net(layers.background).float().mean(),
        }

    def _features(self, images: Tensor) -> list[Tensor]:
        return [layer.float() for layer in self.frozen["features"](images)]

    def _style(self, weight: float, fake: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
        """Return the Gram loss; in float32, for Gram matrices differ by less than bfloat16 resolves."""
        with torch.autocast(self.device.type, enabled=False):
            return losses.style_scale(weight) * losses.style_l1(fake, real)


def object_mosaic(images: Tensor, mask: Tensor) -> Tensor:
    """Return mosaics of patches of the objects in images (B, 3, H, H), where masks (B, 1, H, H) are largest, as large.

    Images and masks are resized to 128 pixels, mosaics of 6 x 6 patches of 15 pixels to H (CGN, ``PercLossText``).
    """
    mosaic = losses.patch_mosaic(resized(images, SIDE), resized(mask, SIDE), PATCH, grid=GRID, best=BEST)
    return resized(mosaic, images.shape[-1])


def resized(images: Tensor, side: int) -> Tensor:
    """Resize images (B, C, H, W) to ``side`` pixels a side, bicubic, without antialiasing, as published."""
    return F.interpolate(images, size=(side, side), mode="bicubic", align_corners=False)


def middle(features: Sequence[Tensor]) -> Sequence[Tensor]:
    """Leave out the finest and the coarsest layer, where there are more than two."""
    return features[1:-1] if len(features) > 2 else features


def forget_inside(root: nn.Module, kinds: tuple[type[nn.Module], ...]) -> None:
    """Let every module of these kinds keep its inputs alone for the backward pass, which computes the rest again."""
    for module in root.modules():
        if isinstance(module, kinds):
            module.forward = partial(checkpoint, module.forward, use_reentrant=False)


def begin(config: TeachImageNetConfig) -> tuple[ImageNetCGN, BigGAN, str]:
    """Return the CGN to train, the BigGAN whose pictures it learns to take apart, and the digest of the start.

    Raises:
        UserError: one of two files alone, or a start that is no CGN of BigGANs.
    """
    if (config.biggan is None) != (config.u2net is None):
        raise UserError("--biggan and --u2net are two parts of one CGN: pass both, or --start")
    teacher: Teacher
    if config.biggan and config.u2net:
        teacher = initial_cgn(config.biggan, config.u2net, truncation=config.truncation)
    else:
        teacher = load_teacher(config.start)
    cgn = teacher.cgn if isinstance(teacher, CGNTeacher) else None
    if not isinstance(cgn, ImageNetCGN) or not isinstance(cgn.f_shape, BigGAN):
        raise UserError(f"{config.start} is no CGN of BigGANs: begin with initial-imagenet, or --biggan and --u2net")
    real = copy.deepcopy(cgn.f_shape)
    if config.network is Network.TINYGAN:
        return (
            baseline(real, cgn.u2net, config.truncation, width=config.width, names=cgn.spec.names),
            real,
            teacher.digest,
        )
    cgn.requires_grad_(True)
    cgn.spec = replace(cgn.spec, truncation=config.truncation)
    return cgn, real, teacher.digest


def teach_imagenet(
    config: TeachImageNetConfig,
    out: Path,
    *,
    device: str = "auto",
    sample_every: int = 10,
    extend: bool = False,
    track: str | None = None,
    callbacks: tuple[Callback, ...] = (),
) -> CGNTeacher:
    """Train a CGN of photographs in the run folder ``out`` and return it; resumes where it was killed.

    Writes ``teacher.safetensors`` at the end and ``samples-STEP.png`` every ``sample_every`` steps; logs the
    masks' mean and entropy, and warns of empty, full and grey ones.

    Args:
        extend: continue a run in ``out`` that differs in having fewer steps alone.
        track: ``tensorboard`` or ``wandb``, to log there too.

    Raises:
        UserError: no such start or features.
    """
    torch.manual_seed(config.seed)
    cgn, real, origin = begin(config)
    method = TeachImageNet(config, cgn, real)
    start = f"{config.biggan} and {config.u2net}" if config.biggan else config.start
    reads = {
        **value_reads("start", origin, f"the weights in {start}"),
        **feature_reads(config.features),
    }
    folder = RunFolder(out, config, reads=reads, extend=extend)
    spec, count = cgn.spec, config.batch_size

    def batch_at(step: int) -> Batch:
        rng = generator(config.seed, "teach imagenet", step)
        noise = spec.sample_noise(count * config.accumulate, rng)
        labels = torch.randint(spec.classes, (len(noise),), generator=rng)
        rows = own_share(torch.arange(len(noise)))
        return {"noise": noise[rows], "labels": labels[rows]}

    def sample(record: Record) -> None:
        if process_index():
            return
        teacher = snapshot(cgn)
        noise = spec.sample_noise(16, generator(config.seed, "sample"))
        masks = draw(teacher, Mechanism.SHAPE, noise, torch.arange(16) % spec.classes)
        mean, entropy = float(masks.mean()), float(losses.binary_entropy(masks))
        logger.info(f"step {record.step}: mean mask {mean:.2f}, entropy {entropy:.2f} bits")
        for symptom in mask_symptoms(PHOTO_MASKS, mean, entropy):
            logger.warning(f"step {record.step}: {symptom.words}")
        save_picture(out / f"samples-{record.step:06d}.png", layers_grid(teacher, rows=2, seed=config.seed))

    train(
        method,
        batch_at,
        folder,
        steps=config.steps,
        seed=config.seed,
        log_every=1,
        save_every=config.save_every,
        callbacks=(every(sample_every, sample), *callbacks),
        device=device,
        track=track,
    )
    if process_index() == 0:
        write_tensors(out / "teacher.safetensors", cgn.state_dict(), spec.to_metadata())
    wait_for_all()
    return load_cgn(out / "teacher.safetensors", truncation=config.truncation)
