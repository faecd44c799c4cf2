"""Teaching: train a CGN on biased pictures, the source data that a distillation never sees.

Two CGN passes per real image x of class y, both composed as :math:`\tilde x = m t + (1 - m) b` with textures
tiled and cropped at random: one from noise u ~ N(0, I), one from u ~ q(u | x, y), an encoder's guess.

.. math:: L = w_r E (x - \tilde x_q)^2 + w_k KL(q(u|x,y) || N(0,I)) + w_a E (D(\tilde x_p, y) - 1)^2
              + w_b H_2(m) + w_p |Gram(\tilde x_q) - Gram(x)| + w_l E (A|f * \tilde x_q| - A|f * x|)^2
              + w_t E (D_t(\tilde x_p, y) - 1)^2 + w_m E (m_q - s(x, y))^2 + w_s TV(m) + w_v TV(t) + range(m)

Adversarial, binary and perceptual are the CGN's three losses (Sauer & Geiger 2021, Sec. 3); ours compares Gram
matrices of an image and its own reconstruction: against any other image of the class, an L1 pulls every sample to
the class's median and costs diversity (0.75 of the real glyphs' after 750 steps, and falling). The reconstruction
through an encoder (VAE-GAN, Larsen et al. 2016) is ours: without it the adversarial game draws one shape per
class and ignores the noise; with it within-class diversity follows the data's. The random crop does the rest:
a texture that carried the shape could not reconstruct it, for the composer moves it at every step. But then the
pixels of a texture cannot be reconstructed either, and where object and background have one mean colour they say
nothing of the mask (two classes of ten ended in frames around the image). So where there are textures (w_l > 0) pixels
are compared with the expectation of :math:`\tilde x_q` over all crops, and local means A of its responses to fine
filters f with those of x: texture energy, by which the eye tells textures apart (Bergen & Adelson 1988). Plain colours
need neither. The discriminator sees images at half resolution, see :func:`seen`, which leaves a texture's grain and
spots to nobody: so a second one, D_t, of a smaller field, sees full resolution and teaches textures alone (of masks it
would make noise). And a segmenter s that learns on the CGN's own samples, whose masks are known, finds the mask of a
real image: what the reconstruction's has to be, and what D sees beside the image (w_m > 0). So recognition models learn
in the sleep phase of wake-sleep (Hinton et al. 1995). On photographs what it finds overlaps with the glyphs by 0.91
(IoU) at last, and the reconstructions' masks by 0.77; without it by 0.55. Against patterned textures masks grow specks,
and textures spots of the background and a grain, with twice the variation of real ones: both pay for it. Soft masks
leave ghosts of both pictures: w_b may grow, for from the start a large one costs diversity. Encoder and segmenter are
thrown away.

Under a policy the CGN learns to draw layers that look real once they are distorted, as in SKDCGN's study of the shape
(Ambekar et al. 2022): whatever is composed here, samples, reconstructions and their expectation over crops, is composed
of distorted layers. They are distorted before the crop: no word on pictures knows where a tile begins, so that images
are distributed as in the composer, which distorts after it, and the expectation stays exact. Binary entropy, total
variation and range are of masks as the CGN drew them, for these are its answers.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from skdcgn.base.config import TeachConfig
from skdcgn.base.errors import TrainingStoppedError, UserError
from skdcgn.base.files import write_tensors
from skdcgn.base.seeds import generator
from skdcgn.cgn.compose import blend, crop
from skdcgn.cgn.drawings import layers_grid
from skdcgn.cgn.mechanism import Layers, Mechanism, Spec
from skdcgn.cgn.pictures import save_picture
from skdcgn.cgn.policy import Policy, parse_policy
from skdcgn.data.appearances import paint
from skdcgn.data.folders import as_unit, load_pictures
from skdcgn.data.glyphs import SIZE, load_glyphs, vary
from skdcgn.data.images import LabelledImages
from skdcgn.features.perceptual import TextureEnergy, load_features
from skdcgn.students.discriminator import Discriminator
from skdcgn.teachers.cgn import CGN, CGNTeacher, snapshot
from skdcgn.teachers.health import MASK_RANGE, MOST_REAL, check_health, symptoms
from skdcgn.teachers.load import load_cgn
from skdcgn.teachers.recognition import Encoder, Segmenter
from skdcgn.training import losses
from skdcgn.training.loop import (
    Batch,
    Callback,
    Method,
    Record,
    Step,
    balanced_rows,
    decay_after,
    every,
    fixed_weights,
    moving_average,
)
from skdcgn.training.run_folder import RunFolder
from skdcgn.training.train import train

logger = logging.getLogger(__name__)
BETAS = (0.5, 0.99)
EMA = 0.995
SHIFT = 1
SEEN_AT_FIRST = 1000
MOST_COLOUR = 0.95
WARN_AFTER, STOP_AFTER = 0.25, 0.5
PATCH_WIDTHS = (32, 64, 64)  # three strides: a place of the last sees 22 pixels


class Teach(Method):
    """One step of CGN training; a batch holds real ``images`` (B, 3, H, W) and their ``labels`` (B,)."""

    def __init__(self, config: TeachConfig, spec: Spec) -> None:
        cgn, encoder = CGN(spec), Encoder(spec)
        others: dict[str, nn.Module] = {"discriminator": Discriminator(4 if config.segment else 3, spec.classes)}
        if config.segment:
            others["segmenter"] = Segmenter(spec)
        if config.patch:
            others["patches"] = Discriminator(3, spec.classes, PATCH_WIDTHS)
        learned = [*cgn.parameters(), *encoder.parameters()]
        super().__init__(
            {"cgn": cgn, "encoder": encoder, "ema": moving_average(cgn, EMA), **others},
            {
                "generator": torch.optim.Adam(learned, lr=config.learning_rate, betas=BETAS),
                **{
                    name: torch.optim.Adam(
                        other.parameters(),
                        lr=config.discriminator_rate if isinstance(other, Discriminator) else config.learning_rate,
                        betas=BETAS,
                    )
                    for name, other in others.items()
                },
            },
            {
                **({"features": load_features(config.features)} if config.perceptual else {}),
                **({"energy": TextureEnergy()} if config.local else {}),
            },
        )
        self.channels_last = True  # a fifth faster on a CPU
        self.config, self.image_size, self.policy = config, spec.image_size, distortion(config.policy, spec)

    def step(self, batch: Batch, now: Step) -> dict[str, float]:
        images, labels = batch["images"], batch["labels"]
        mean, log_variance = self.modules["encoder"](images, labels)
        guess = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        drawn = self._draw(torch.cat([guess, torch.randn_like(mean)]), labels.repeat(2))
        layers = self.policy.layers(drawn, now.generator("policy"))
        moved = self._moved(layers)
        rebuilt, sampled = blend(moved).chunk(2)
        guessed = Layers(*(x[: len(images)] for x in layers))
        compared = blend(expectation(guessed)) if self.config.local else rebuilt
        config, told, real, fake = self.config, dict[str, float](), images, sampled
        if config.segment:
            told["segmenter"], found, dreamt = self._segment(images, sampled, layers.mask.chunk(2)[1], labels)
            real, fake = with_mask(images, found), with_mask(sampled, dreamt)
        told["discriminator"] = self._train_judge("discriminator", seen(real), seen(fake.detach()), labels)
        binary = config.binary_first + now.progress * (config.binary - config.binary_first)
        terms = {
            "reconstruction": config.reconstruction * (compared - images).square().mean(),
            "kl": config.kl * losses.gaussian_kl(mean, log_variance),
            "adversarial": config.adversarial * self._fool("discriminator", seen(fake), labels),
            "binary": binary * losses.binary_entropy(drawn.mask),
            "range": losses.mask_range(drawn.mask, *MASK_RANGE),
        }
        if config.segment:
            terms["segment"] = config.segment * (guessed.mask - found).square().mean()
        if config.smooth:
            terms["smooth"] = config.smooth * losses.total_variation(drawn.mask)
        if config.smooth_texture:
            terms["smooth_texture"] = config.smooth_texture * losses.total_variation(drawn.texture)
        if config.perceptual:
            terms["perceptual"] = config.perceptual * losses.style_l1(*self._told("features", rebuilt, images))
        if config.local:
            terms["local"] = config.local * losses.local_l2(*self._told("energy", rebuilt, images))
        if config.patch:
            surfaces = blend(moved._replace(mask=moved.mask.detach())).chunk(2)[1]
            told["patches"] = self._train_judge("patches", shift(images), shift(surfaces.detach()), labels)
            terms["patch"] = config.patch * self._fool("patches", shift(surfaces), labels)
        self.descend("generator", torch.stack(list(terms.values())).sum())
        cast(AveragedModel, self.modules["ema"]).update_parameters(self.modules["cgn"])
        return {**told, **{name: value.item() for name, value in terms.items()}}

    def _told(self, extractor: str, fake: Tensor, real: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        return self.frozen[extractor](fake), self.frozen[extractor](real)

    def _draw(self, noise: Tensor, labels: Tensor) -> Layers:
        return Layers(*(self.modules["cgn"](mechanism, noise, labels) for mechanism in Mechanism))

    def _moved(self, layers: Layers) -> Layers:
        """Crop each tiled texture at random."""
        return crop(layers, *(torch.randint(self.image_size, (len(x), 2), device=x.device) for x in layers[1:]))

    def _segment(self, real: Tensor, fake: Tensor, mask: Tensor, labels: Tensor) -> tuple[float, Tensor, Tensor]:
        """Train the segmenter by fake images and their mask (B, 1, H, W); return its loss, and what it sees in both."""
        segmenter, labels = self.modules["segmenter"], labels.repeat(2)
        logits, in_real = segmenter(torch.cat([fake.detach(), real]), labels).chunk(2)
        loss = F.binary_cross_entropy_with_logits(logits, mask.detach())
        self.descend("segmenter", loss)
        with fixed_weights(segmenter):
            in_fake = segmenter(torch.cat([fake, real]), labels)[: len(fake)]
        return loss.item(), in_real.detach().sigmoid(), in_fake.sigmoid()

    def _train_judge(self, name: str, real: Tensor, fake: Tensor, labels: Tensor) -> float:
        scores = self.modules[name](torch.cat([real, fake]), labels.repeat(2)).logits.chunk(2)
        loss = losses.least_squares_discriminator(*scores)
        self.descend(name, loss)
        return loss.item()

    def _fool(self, name: str, fake: Tensor, labels: Tensor) -> Tensor:
        with fixed_weights(self.modules[name]) as judge:
            return losses.least_squares_generator(judge(fake, labels).logits)


def distortion(words: Sequence[str], spec: Spec) -> Policy:
    """Read a policy for training; raise UserError for a wrong word, and for one on labels."""
    policy = parse_policy(words, spec.classes)
    for one in policy.interventions:
        if one.on_labels:
            raise UserError(
                f"policy {one.mechanism}.{one.name}: labels are the data's while a CGN learns: compose under it instead"
            )
    return policy


@torch.no_grad()
def start_at(cgn: nn.Module, images: Tensor) -> None:
    """Let backgrounds begin at the mean colour of images (N, 3, H, W), most of which is background.

    Data-dependent initialisation (Salimans & Kingma 2016, Sec. 3). Their last batch norm takes the mean out of a batch
    and its offset is slow to put it back: where every background is black, those of the encoder's noise turned black
    and, to balance them, those of random noise white.
    """
    colour = images.mean((0, 2, 3)).clamp(-MOST_COLOUR, MOST_COLOUR).atanh()
    cast(nn.BatchNorm2d, cast(nn.Sequential, cgn.f_text2)[-2]).bias.copy_(colour)


def expectation(layers: Layers) -> Layers:
    """Replace textures by what they are on average over all random crops: each pixel is the texture's mean colour."""
    mask, *pictures = layers
    return Layers(mask, *(p.mean((2, 3), keepdim=True).expand_as(p) for p in pictures))


def with_mask(images: Tensor, mask: Tensor) -> Tensor:
    """Put images (B, 3, H, W) and a mask (B, 1, H, W) one on the other, (B, 4, H, W) in [-1, 1]."""
    return torch.cat([images, 2 * mask - 1], dim=1)


def seen(images: Tensor) -> Tensor:
    """What the discriminator sees of images (B, C, H, W): moved by up to a pixel, then halved, (B, C, H/2, W/2).

    At full resolution the game ends in speckled masks: what fools a convolution best is noise from pixel to pixel.
    """
    return F.avg_pool2d(shift(images), 2)


def shift(images: Tensor) -> Tensor:
    """Move each image (B, C, H, W) by up to a pixel, edges repeated."""
    height, width = images.shape[-2:]
    dy, dx = torch.randint(-SHIFT, SHIFT + 1, (2, len(images), 1, 1), device=images.device)
    rows = (torch.arange(height, device=images.device)[:, None] + dy).clamp(0, height - 1)
    columns = (torch.arange(width, device=images.device) + dx).clamp(0, width - 1)
    batch = torch.arange(len(images), device=images.device)[:, None, None]
    return images[batch, :, rows, columns].permute(0, 3, 1, 2)


class Source(NamedTuple):
    """What a teacher learns from, and the ``real`` shapes (or, where nobody knows those, pictures) to compare with.

    Images (N, 3, H, W), uint8 or in [-1, 1]; labels (N,) int64; real is masks (M, 1, H, W) or pictures (M, 3, H, W).
    """

    images: Tensor
    labels: Tensor
    real: LabelledImages
    spec: Spec


def load_source(config: TeachConfig, data_root: Path | None) -> Source:
    """Return biased pictures: glyphs in an appearance, or a user's own folder."""
    if config.images:
        pictures = load_pictures(Path(config.images), config.image_size)
        logger.info("classes: " + ", ".join(f"{index} {name}" for index, name in enumerate(pictures.names)))
        spec = Spec(config.image_size, classes=len(pictures.names))
        rows = balanced_rows(pictures.labels)(min(MOST_REAL, len(pictures.labels)), generator(config.seed, "real"))
        real = LabelledImages(as_unit(pictures.images[rows]), pictures.labels[rows], pictures.names)
        return Source(pictures.images, pictures.labels, real, spec)
    if config.image_size != SIZE:
        raise UserError(f"glyphs are {SIZE} pixels wide, not {config.image_size}: leave --image-size out")
    glyphs = load_glyphs(config.glyphs, "train", data_root)
    textures = Path(config.textures) if config.textures else None
    varied = vary(glyphs, config.variants, config.seed)
    painted = paint(varied, config.appearance, correlated=True, seed=config.seed, textures=textures)
    return Source(painted.images, painted.labels, glyphs, Spec())


def teach(
    config: TeachConfig,
    out: Path,
    *,
    data_root: Path | None = None,
    device: str = "auto",
    sample_every: int = 500,
    extend: bool = False,
    track: str | None = None,
    callbacks: tuple[Callback, ...] = (),
) -> CGNTeacher:
    """Train a CGN in the run folder ``out`` and return it; resumes where it was killed.

    Writes ``teacher.safetensors`` at the end, and every ``sample_every`` steps ``samples-STEP.png`` (masks, textures,
    backgrounds, composed) and its :class:`Health` in metrics.jsonl; logs it, and warns of symptoms.

    Args:
        extend: continue a run in ``out`` that differs in having fewer steps alone.
        track: ``tensorboard`` or ``wandb``, to log there too.

    Raises:
        UserError: no such glyphs, appearance, features, pictures or policy.
        TrainingStoppedError: masks are still empty, full or all one shape after half of the steps. Under a policy they
            are warned of only: what a distortion does to a CGN is what one wants to see then.
    """
    images, labels, real, spec = load_source(config, data_root)
    torch.manual_seed(config.seed)
    method = Teach(config, spec)
    folder = RunFolder(out, config, extend=extend)  # not before the configuration is known to be sound
    rows_of = balanced_rows(labels)
    start_at(method.modules["cgn"], as_unit(images[rows_of(SEEN_AT_FIRST, generator(config.seed, "first"))]))

    def batch_at(step: int) -> Batch:
        rows = rows_of(config.batch_size, generator(config.seed, "teach", step))
        return {"images": as_unit(images[rows]), "labels": labels[rows]}

    def sample(record: Record) -> None:
        teacher = averaged(method)
        health = check_health(teacher, real, config.seed)
        logger.info(
            f"step {record.step}: " + ", ".join(f"{name} {value:.2f}" for name, value in health._asdict().items())
        )
        folder.log(Record(record.step, record.total, health._asdict()))
        save_picture(out / f"samples-{record.step:06d}.png", layers_grid(teacher, rows=6, seed=config.seed))
        for symptom in symptoms(health) if record.step >= WARN_AFTER * record.total else ():
            if symptom.fatal and not config.policy and record.step >= STOP_AFTER * record.total:
                raise TrainingStoppedError(f"step {record.step}: {symptom.words}")
            logger.warning(f"step {record.step}: {symptom.words}")

    train(
        method,
        batch_at,
        folder,
        steps=config.steps,
        seed=config.seed,
        schedule=decay_after(0.5),
        callbacks=(every(sample_every, sample), *callbacks),
        device=device,
        track=track,
    )
    write_tensors(out / "teacher.safetensors", averaged(method).cgn.state_dict())
    return load_cgn(out / "teacher.safetensors")


def averaged(method: Method) -> CGNTeacher:
    """Return a frozen copy of the averaged CGN."""
    return snapshot(cast(CGN, cast(AveragedModel, method.modules["ema"]).module))
