r"""Teaching: train a CGN on biased pictures, the source data that a distillation never sees.

Two CGN passes per real image x of class y, both composed as :math:`\tilde x = m t + (1 - m) b` with textures
tiled and cropped at random: one from noise u ~ N(0, I), one from u ~ q(u | x, y), an encoder's guess.

.. math:: L = w_r E (x - \tilde x_q)^2 + w_k KL(q(u|x,y) || N(0,I)) + w_a E (D(\tilde x_p, y) - 1)^2
              + w_b H_2(m) + w_p |Gram(\tilde x_q) - Gram(x)| + w_l E (A|f * \tilde x_q| - A|f * x|)^2
              + w_t E (D_t(\tilde x_p, y) - 1)^2 + w_m E (m_q - s(x, y))^2 + w_s TV(m) + w_v TV(t) + range(m)

- Adversarial, binary and perceptual are the CGN's three losses (Sauer & Geiger 2021, Sec. 3); the Gram matrices are of
  an image and its own reconstruction. w_b may grow from the first step to the last.
- The reconstruction through an encoder (VAE-GAN, Larsen et al. 2016) makes noise carry what varies within a class.
- The random crop keeps the shape out of textures: a texture that carried it could not reconstruct it at every offset.
- Where there are textures (w_l > 0), pixels are compared with the expectation of :math:`\tilde x_q` over all crops, and
  A|f * x| are local means of the responses to fine filters f: texture energy (Bergen & Adelson 1988).
- D sees half the resolution, D_t the full one in a smaller field, and trains textures alone.
- s is a segmenter trained on the CGN's own samples, whose masks are known: the sleep phase of wake-sleep (Hinton et al.
  1995). Its mask of x is the target of the reconstruction's, and D sees masks beside images (w_m > 0).
- Where masks of x are given, they are s(x, y), and textures are not cropped: the mask says what belongs to the object.

Encoder, segmenter and discriminators are thrown away; the result is an exponential average of the CGN's weights.

Under a policy the CGN learns to draw layers that look real once they are distorted (SKDCGN, Ambekar et al. 2022):
samples, reconstructions and their expectation over crops are composed of distorted layers. Layers are distorted before
the crop; no intervention on pictures depends on where a tile begins, so that images have the composer's distribution
and the expectation is exact. Binary entropy, total variation and range are of masks as the CGN drew them.
"""

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from skdcgn.base.config import TeachConfig
from skdcgn.base.errors import UserError
from skdcgn.cgn.layers import blend, crop
from skdcgn.cgn.mechanism import Layers, Mechanism, Spec
from skdcgn.cgn.policy import Policy, parse_policy
from skdcgn.features.perceptual import TextureEnergy, load_features
from skdcgn.students.discriminator import Discriminator
from skdcgn.teachers.cgn import CGN, CGNTeacher, snapshot
from skdcgn.teachers.health import GLYPH_MASKS
from skdcgn.teachers.recognition import Encoder, Segmenter
from skdcgn.teachers.views import crop_expectation, half_resolution, shift, with_mask
from skdcgn.training import losses
from skdcgn.training.loop import Batch, Method, Step, fixed_weights, moving_average

BETAS = (0.5, 0.99)
EMA = 0.995
PATCH_WIDTHS = (32, 64, 64)  # three strides: a place of the last sees 22 pixels


class TargetMasks(NamedTuple):
    """Masks (B, 1, H, W) of real images, the targets of a loss ``term`` of this weight, and those of samples."""

    term: str
    weight: float
    real: Tensor
    fake: Tensor
    logged: dict[str, float]


class Teach(Method):
    """One step of CGN training.

    A batch holds real ``images`` (B, 3, H, W), their ``labels`` (B,) and, if there are, ``masks`` (B, 1, H, W).
    """

    def __init__(self, config: TeachConfig, spec: Spec) -> None:
        cgn, encoder = CGN(spec), Encoder(spec)
        sees_masks = config.masks is not None or config.segment > 0
        others: dict[str, nn.Module] = {"discriminator": Discriminator(4 if sees_masks else 3, spec.classes)}
        if config.segment and config.masks is None:
            others["segmenter"] = Segmenter(spec)
        if config.patch:
            others["patches"] = Discriminator(3, spec.classes, PATCH_WIDTHS)
        learned = [*cgn.parameters(), *encoder.parameters()]

        def rate_of(module: nn.Module) -> float:
            return config.discriminator_rate if isinstance(module, Discriminator) else config.learning_rate

        super().__init__(
            {"cgn": cgn, "encoder": encoder, "ema": moving_average(cgn, EMA), **others},
            {
                "generator": torch.optim.Adam(learned, lr=config.learning_rate, betas=BETAS),
                **{name: torch.optim.Adam(m.parameters(), lr=rate_of(m), betas=BETAS) for name, m in others.items()},
            },
            {
                **({"features": load_features(config.features)} if config.perceptual else {}),
                **({"energy": TextureEnergy()} if config.local else {}),
            },
        )
        self.channels_last = True
        self.config, self.spec, self.policy = config, spec, training_policy(config.policy, spec)

    def step(self, batch: Batch, now: Step) -> dict[str, float]:
        images, labels = batch["images"], batch["labels"]
        mean, log_variance = self.modules["encoder"](images, labels)
        guess = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        layers = self._draw(torch.cat([guess, torch.randn_like(mean)]), labels.repeat(2))
        distorted = self.policy.layers(layers, now.generator("policy"))
        cropped = self._crop(distorted)
        rebuilt, sampled = blend(cropped).chunk(2)
        guessed = Layers(*(x[: len(images)] for x in distorted))
        compared = blend(crop_expectation(guessed)) if self.config.local and self.spec.tiles else rebuilt
        config, logged, real, fake = self.config, dict[str, float](), images, sampled
        masks = self._target_masks(batch, sampled, distorted.mask.chunk(2)[1])
        if masks:
            logged |= masks.logged
            real, fake = with_mask(images, masks.real), with_mask(sampled, masks.fake)
        logged["discriminator"] = self._train_discriminator(
            "discriminator", half_resolution(real), half_resolution(fake.detach()), labels
        )
        binary = config.binary_first + now.progress * (config.binary - config.binary_first)
        terms = {
            "reconstruction": config.reconstruction * (compared - images).square().mean(),
            "kl": config.kl * losses.gaussian_kl(mean, log_variance),
            "adversarial": config.adversarial * self._adversarial("discriminator", half_resolution(fake), labels),
            "binary": binary * losses.binary_entropy(layers.mask),
            "range": losses.mask_range(layers.mask, *GLYPH_MASKS.range),
        }
        if masks:
            terms[masks.term] = masks.weight * (guessed.mask - masks.real).square().mean()
        terms |= self._texture_terms(layers, rebuilt, images)
        if config.patch:
            surfaces = blend(cropped._replace(mask=cropped.mask.detach())).chunk(2)[1]
            logged["patches"] = self._train_discriminator("patches", shift(images), shift(surfaces.detach()), labels)
            terms["patch"] = config.patch * self._adversarial("patches", shift(surfaces), labels)
        self.descend("generator", torch.stack(list(terms.values())).sum())
        cast(AveragedModel, self.modules["ema"]).update_parameters(self.modules["cgn"])
        return {**logged, **{name: value.item() for name, value in terms.items()}}

    def _target_masks(self, batch: Batch, sampled: Tensor, fake: Tensor) -> "TargetMasks | None":
        """Return the masks that users gave, or those of the segmenter, which learns from samples and their masks."""
        config = self.config
        if "masks" in batch:
            return TargetMasks("mask", config.mask, batch["masks"], fake, {})
        if not config.segment:
            return None
        loss, real, fake = self.train_segmenter(batch["images"], sampled, fake, batch["labels"])
        return TargetMasks("segment", config.segment, real, fake, {"segmenter": loss})

    def _texture_terms(self, layers: Layers, rebuilt: Tensor, images: Tensor) -> dict[str, Tensor]:
        """Return the total variation of layers, and distances of features of reconstructions and images."""
        config, terms = self.config, {}
        if config.smooth:
            terms["smooth"] = config.smooth * losses.total_variation(layers.mask)
        if config.smooth_texture:
            terms["smooth_texture"] = config.smooth_texture * losses.total_variation(layers.texture)
        if config.perceptual:
            terms["perceptual"] = config.perceptual * losses.style_l1(*self._features("features", rebuilt, images))
        if config.local:
            terms["local"] = config.local * losses.local_l2(*self._features("energy", rebuilt, images))
        return terms

    def _features(self, extractor: str, fake: Tensor, real: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        return self.frozen[extractor](fake), self.frozen[extractor](real)

    def _draw(self, noise: Tensor, labels: Tensor) -> Layers:
        return Layers(*(self.modules["cgn"](mechanism, noise, labels) for mechanism in Mechanism))

    def _crop(self, layers: Layers) -> Layers:
        """Crop each texture at random if textures tile."""
        if not self.spec.tiles:
            return layers
        return crop(layers, *(torch.randint(self.spec.image_size, (len(x), 2), device=x.device) for x in layers[1:]))

    def train_segmenter(self, real: Tensor, fake: Tensor, mask: Tensor, labels: Tensor) -> tuple[float, Tensor, Tensor]:
        """Train the segmenter on fake images and their mask (B, 1, H, W); return its loss and its masks of both."""
        segmenter, labels = self.modules["segmenter"], labels.repeat(2)
        of_fake, of_real = segmenter(torch.cat([fake.detach(), real]), labels).chunk(2)
        loss = F.binary_cross_entropy_with_logits(of_fake, mask.detach())
        self.descend("segmenter", loss)
        with fixed_weights(segmenter):
            of_fake = segmenter(torch.cat([fake, real]), labels)[: len(fake)]
        return loss.item(), of_real.detach().sigmoid(), of_fake.sigmoid()

    def _train_discriminator(self, name: str, real: Tensor, fake: Tensor, labels: Tensor) -> float:
        logits = self.modules[name](torch.cat([real, fake]), labels.repeat(2)).logits.chunk(2)
        loss = losses.least_squares_discriminator(*logits)
        self.descend(name, loss)
        return loss.item()

    def _adversarial(self, name: str, fake: Tensor, labels: Tensor) -> Tensor:
        with fixed_weights(self.modules[name]) as discriminator:
            return losses.least_squares_generator(discriminator(fake, labels).logits)

    def teacher(self) -> CGNTeacher:
        """Return a frozen copy, on the CPU, of the averaged CGN."""
        return snapshot(cast(CGN, cast(AveragedModel, self.modules["ema"]).module))


def training_policy(words: Sequence[str], spec: Spec) -> Policy:
    """Read a policy for training; raise UserError for a wrong word, and for one on labels or noise."""
    policy = parse_policy(words, spec.classes)
    for one in policy.interventions:
        if not one.on_layers:
            raise UserError(
                f"policy {one.mechanism}.{one.name}: labels are the data's while a CGN learns: compose under it instead"
            )
    return policy
