"""Configurations: frozen, typed dataclasses that make their own flags, read JSON and name their run by digest.

No torch here: the command line imports this module to show its help.
"""

from dataclasses import field
from enum import StrEnum
from typing import Annotated, Any

from pydantic import (
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)
from pydantic.dataclasses import dataclass

Probability = Annotated[float, Field(ge=0, le=1)]
STRICT = ConfigDict(extra="forbid")


class Precision(StrEnum):
    """Of what an export stores: ``fp32``; ``fp16`` weights, computed in fp32; ``int8`` weights and activations."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


class Store(StrEnum):
    """How the images of pairs are kept: ``float32``, ``uint8``, ``png``, or ``none`` (asked again when read)."""

    FLOAT32 = "float32"
    UINT8 = "uint8"
    PNG = "png"
    NONE = "none"


class Distance(StrEnum):
    """Between masks: ``l1``, which makes a student draw their median, or ``l2``, which makes it draw their mean."""

    L1 = "l1"
    L2 = "l2"


class Noise(StrEnum):
    """How the noise of queries is drawn: ``random``, or ``sobol``, which fills its distribution more evenly."""

    RANDOM = "random"
    SOBOL = "sobol"


def option(default: Any, help: str) -> Any:
    """Declare a field with its default and the words that ``--help`` shows."""
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True, config=STRICT)
class QueryConfig:
    """How many answers each mechanism of the teacher is asked for."""

    shape: PositiveInt = option(6000, "pairs asked of the shape mechanism (query budget)")
    texture: PositiveInt = option(3000, "pairs asked of the texture mechanism")
    background: PositiveInt = option(3000, "pairs asked of the background mechanism")
    held_out: PositiveInt = option(500, "further pairs per mechanism, for measuring only")
    shard_size: PositiveInt = option(1000, "pairs per shard")
    classes: str = option("all", "classes asked for: all, animals (ImageNet's), as 0-99,105, or a file of these words")
    noise: Noise = option(Noise.RANDOM, "how noise is drawn: random, or sobol: evenly, for each class")
    store: Store = option(Store.FLOAT32, "how images are kept: float32, uint8, png, or none: asked again when read")


# TinyGAN's channels, of width 1: on the first grid and after each of five blocks.
TINYGAN_CHANNELS = (16, 16, 8, 4, 2, 1)


@dataclass(frozen=True, config=STRICT)
class StudentConfig:
    """The size of a student mechanism."""

    channels: tuple[PositiveInt, ...] = option((10, 10), "channels at the initial grid and after each block")
    grid: PositiveInt = option(4, "side of the initial grid; what the blocks do not double, a pixel shuffle does")
    embedding: PositiveInt = option(4, "dimension of the class embedding")
    rank: NonNegativeInt = option(0, "dimension to which the noise is projected first; 0: not at all")
    separable: bool = option(False, "depthwise-separable convolutions, as TinyGAN has them")
    class_input: bool = option(True, "give the class embedding to the input layer too; TinyGAN does not")


@dataclass(frozen=True, config=STRICT)
class DistillConfig:
    """How a student is made to draw what its teacher drew."""

    steps: PositiveInt = option(3000, "generator steps per mechanism")
    batch_size: PositiveInt = option(64, "pairs per step")
    learning_rate: PositiveFloat = option(1e-2, "Adam's rate for the student")
    discriminator_rate: PositiveFloat = option(4e-4, "Adam's rate for the discriminator")
    pixel: NonNegativeFloat = option(1.0, "weight of the pixel L1")
    masks: Distance = option(Distance.L1, "pixel loss of masks: l1, or l2, by which a student draws doubt as grey")
    feature: NonNegativeFloat = option(0.0, "weight of the L1 on discriminator features")
    kl: NonNegativeFloat = option(0.0, "weight of the KL divergence of discriminator features")
    temperature: PositiveFloat = option(8.0, "temperature of the KL divergence")
    adversarial: NonNegativeFloat = option(0.0, "weight of the hinge loss")
    perceptual: NonNegativeFloat = option(0.0, "weight of the L1 on features that no one trains here")
    features: str = option("random", "those features: random, efficientnet-lite0, a VGG16 file or a classifier's run")
    embeddings: str | None = option(None, "class embeddings to begin with: BigGAN's file, or a safetensors' one tensor")
    ema: Probability = option(0.0, "decay of an average of the student's weights, which is then what is kept; 0: none")
    bf16: bool = option(False, "compute in bfloat16 where PyTorch's autocast does")
    channels_last: bool = option(False, "keep images channels-last in memory")
    compile: bool = option(False, "compile the networks (torch.compile)")
    save_every: PositiveInt = option(500, "steps between checkpoints")
    shape: StudentConfig = StudentConfig(channels=(13, 13))
    texture: StudentConfig = StudentConfig(channels=(3, 3), rank=4)
    background: StudentConfig = StudentConfig(channels=(4, 4))


@dataclass(frozen=True, config=STRICT)
class ClassifyConfig:
    """The budget of every classifier: the same for biased, teacher, student and oracle."""

    images: PositiveInt = option(20_000, "images in each training set")
    real: Probability = option(0.0, "share of real, biased images among a CGN's counterfactuals")
    per_shape: PositiveInt = option(10, "counterfactuals that share a mask (k)")
    policy: tuple[str, ...] = option((), "intervention on each counterfactual, as shape.elastic:1.5")
    agreement: Probability = option(0.0, "least probability of its label to a judge of shapes; 0: no judge")
    he_init: bool = option(False, "He's initial weights, by which a small budget leaves its first plateau sooner")
    epochs: PositiveInt = option(3, "passes over the training set")
    batch_size: PositiveInt = option(16, "images per step")
    learning_rate: PositiveFloat = option(1.0, "Adadelta's rate")
    decay: PositiveFloat = option(0.7, "factor on the rate after each epoch")
    cooldown: Probability = option(0.0, "last share of the steps, over which the rate falls to zero")
    save_every: PositiveInt = option(500, "steps between checkpoints")


@dataclass(frozen=True, config=STRICT)
class EnsembleConfig:
    """How the invariant ensemble is trained (see skdcgn.classifiers.ensemble for the loss)."""

    backbone: str = option("small", "small, torchvision:NAME (the paper: torchvision:resnet50) or timm:NAME")
    weights: str | None = option(
        None, "the backbone's first weights: a state-dict file or none; default: its package's ImageNet weights"
    )
    width: PositiveInt = option(32, "channels of the first stage of the backbone small")
    image_size: PositiveInt = option(224, "pixels of a side of what the backbone sees")
    epochs: PositiveInt = option(45, "passes over the real images")
    batch_size: PositiveInt = option(64, "real images per step")
    counterfactuals: PositiveInt = option(64, "counterfactuals per step")
    weight: NonNegativeFloat = option(1.0, "weight of the counterfactuals' losses")
    learning_rate: PositiveFloat = option(0.01, "SGD's rate")
    momentum: Probability = option(0.9, "SGD's momentum")
    weight_decay: NonNegativeFloat = option(1e-4, "SGD's weight decay")
    decay: PositiveFloat = option(0.1, "factor on the rate after every decay-epochs")
    decay_epochs: PositiveInt = option(15, "epochs between two decays")
    freeze_norms: bool = option(True, "keep the running statistics of the backbone's batch norms, and use them")
    save_every: PositiveInt = option(500, "steps between checkpoints")


@dataclass(frozen=True, config=STRICT)
class TeachConfig:
    """How a teacher CGN is trained on biased pictures (see skdcgn.teachers.teach for the losses)."""

    glyphs: str = option("digits", "digits, mnist or a folder with four idx files")
    appearance: str = option("double-colored", "colored, double-colored or wildlife")
    textures: str | None = option(None, "folder of texture pictures for wildlife; default: procedural")
    images: str | None = option(None, "folder of your own pictures, a sub-folder per class, instead of glyphs")
    image_size: PositiveInt = option(32, "pixels of a side: 32, or 64 for pictures of your own")
    variants: PositiveInt = option(1, "each glyph and its random affine variants: how many in all")
    steps: PositiveInt = option(3000, "steps")
    batch_size: PositiveInt = option(40, "real images per step, each class equally often")
    learning_rate: PositiveFloat = option(1e-3, "Adam's rate for the CGN and the encoder")
    discriminator_rate: PositiveFloat = option(4e-4, "Adam's rate for the discriminator")
    reconstruction: NonNegativeFloat = option(1.0, "weight of the squared reconstruction error")
    kl: NonNegativeFloat = option(4e-3, "weight of KL(q(u | x, y) || N(0, I)), which makes noise carry what varies")
    adversarial: NonNegativeFloat = option(0.15, "weight of the least-squares adversarial loss")
    patch: NonNegativeFloat = option(0.0, "weight of the adversarial loss of textures, at full resolution")
    segment: NonNegativeFloat = option(0.0, "weight of the squared error to masks that a segmenter finds in images")
    binary_first: NonNegativeFloat = option(0.3, "weight of the mask's binary entropy, in bits, at the first step")
    binary: NonNegativeFloat = option(0.3, "that weight at the last step; between them it moves evenly")
    smooth: NonNegativeFloat = option(0.0, "weight of the mask's total variation, which takes specks away")
    smooth_texture: NonNegativeFloat = option(0.0, "weight of the texture's total variation, which takes grain away")
    perceptual: NonNegativeFloat = option(5.0, "weight of the Gram loss")
    local: NonNegativeFloat = option(0.2, "weight of the squared error of local texture energies")
    features: str = option(
        "random", "features of the Gram loss: random, efficientnet-lite0, a VGG16 file or a classifier's run folder"
    )
    policy: tuple[str, ...] = option((), "intervention on the CGN's layers while it learns, as shape.spin:180")
    seed: int = option(0, "seed of everything random")


class Network(StrEnum):
    """What a mechanism of a CGN of photographs is: ``biggan``, or ``tinygan``, SKDCGN's baseline."""

    BIGGAN = "biggan"
    TINYGAN = "tinygan"


@dataclass(frozen=True, config=STRICT)
class TeachImageNetConfig:
    """How a CGN of photographs is trained without any (see skdcgn.teachers.teach_imagenet for the losses)."""

    start: str = option("imagenet-smoke", "the CGN to begin with: a name from the zoo or a file")
    biggan: str | None = option(None, "BigGAN-deep's file, to begin with it and --u2net instead")
    u2net: str | None = option(None, "U2-Net's file")
    network: Network = option(Network.BIGGAN, "what each mechanism is: biggan, or tinygan (SKDCGN's baseline)")
    width: PositiveInt = option(32, "channels of a TinyGAN before its last convolution")
    truncation: Probability = option(0.5, "factor on the noise, which also chooses the statistics of BigGAN's norms")
    steps: PositiveInt = option(300, "steps")
    batch_size: PositiveInt = option(8, "images drawn at once")
    accumulate: PositiveInt = option(500, "batches whose gradients make a step")
    shape_rate: PositiveFloat = option(8e-6, "Adam's rate for the shape mechanism")
    texture_rate: PositiveFloat = option(3e-5, "Adam's rate for the texture mechanism")
    background_rate: PositiveFloat = option(1e-5, "Adam's rate for the background mechanism")
    reconstruction: NonNegativeFloat = option(100.0, "weight of the L1 to BigGAN's own picture")
    perceptual: NonNegativeFloat = option(4.0, "weight of the Gram loss to it, of each layer")
    binary: NonNegativeFloat = option(300.0, "weight of the mask's binary entropy, in bits")
    mask: NonNegativeFloat = option(500.0, "weight of the distance of a mask's mean from [0.1, 0.9]")
    texture: NonNegativeFloat = option(5.0, "weight of the Gram loss between texture and mosaic, of the middle layers")
    background: NonNegativeFloat = option(2000.0, "weight of the saliency of the background")
    features: str = option("random", "features of the Gram losses: random, efficientnet-lite0 or a VGG16 file")
    bf16: bool = option(False, "compute in bfloat16 where PyTorch's autocast does")
    checkpointing: bool = option(False, "keep no activations inside blocks but compute them again: less memory")
    save_every: PositiveInt = option(10, "steps between checkpoints")
    seed: int = option(0, "seed of everything random")


@dataclass(frozen=True, config=STRICT)
class RunConfig:
    """The whole pipeline: query, distill, compose, classify, evaluate."""

    preset: str = option("custom", "the name the results carry")
    glyphs: str = option("digits", "digits, mnist or a folder with four idx files")
    appearance: str = option("double-colored", "colored, double-colored or wildlife")
    textures: str | None = option(None, "folder of texture pictures for wildlife; default: procedural")
    teacher: str = option("double-colored-digits", "a name from the zoo, a file or a student's folder")
    seed: int = option(0, "seed of everything random")
    test_copies: PositiveInt = option(10, "colourings of each test glyph")
    query: QueryConfig = QueryConfig()
    distill: DistillConfig = DistillConfig()
    classify: ClassifyConfig = ClassifyConfig()


@dataclass(frozen=True, config=STRICT)
class ImageNetConfig:
    """The ImageNet path: query, distill, an invariant ensemble on each set of counterfactuals, evaluate."""

    preset: str = option("custom", "the name the results carry")
    teacher: str = option("imagenet-smoke", "a name from the zoo, a file or a student's folder")
    seed: int = option(0, "seed of everything random")
    real: str | None = option(None, "real images to train on, a sub-folder per class; default: drawn by the teacher")
    val: str | None = option(None, "further real images, for top-1 and top-5")
    cue_conflict: str | None = option(None, "cue-conflict images, as airplane/airplane1-bear2.png, for shape bias")
    in9: str | None = option(None, "ImageNet-9, as mixed_rand/val/00_dog/x.JPEG, for BG-gap")
    query: QueryConfig = QueryConfig()
    distill: DistillConfig = DistillConfig()
    ensemble: EnsembleConfig = EnsembleConfig()
