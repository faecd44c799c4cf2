"""Configurations: frozen, typed dataclasses with a help text per field.

The command line makes flags of them, JSON files hold them, and their digest names a run. No torch here.
"""

from dataclasses import field
from enum import StrEnum
from typing import Any

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from skdcgn.base.bounds import (
    Batch,
    Channels,
    Count,
    Dimension,
    Duration,
    Factor,
    Images,
    Layers,
    Probability,
    Rate,
    Seed,
    Side,
    Temperature,
    Weight,
)

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)


class Precision(StrEnum):
    """Numbers that an export stores: ``fp32``; ``fp16`` weights, computed in fp32; ``int8`` weights and activations."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


class Store(StrEnum):
    """Storage of the images of pairs: ``float32``, ``uint8``, ``png``, or ``none`` (the teacher is queried again)."""

    FLOAT32 = "float32"
    UINT8 = "uint8"
    PNG = "png"
    NONE = "none"


class Distance(StrEnum):
    """Pixel loss of masks: ``l1``, whose optimum is their median, or ``l2``, whose optimum is their mean."""

    L1 = "l1"
    L2 = "l2"


class Noise(StrEnum):
    """Noise of queries: ``random``; ``sobol``, more even; ``active``: see :mod:`skdcgn.students.active`; ``recorded``.

    ``recorded`` is the noise of a recording; a query of recorded pairs sets it by itself.
    """

    RANDOM = "random"
    SOBOL = "sobol"
    ACTIVE = "active"
    RECORDED = "recorded"


class Heads(StrEnum):
    """Heads of an ensemble: ``three``, one for each mechanism, as published, or ``one``: a plain classifier."""

    THREE = "three"
    ONE = "one"


class Optimizer(StrEnum):
    """Optimiser of a classifier: ``adamw`` (Loshchilov & Hutter 2019), or ``adadelta`` (Zeiler 2012), as published."""

    ADAMW = "adamw"
    ADADELTA = "adadelta"


class RateSchedule(StrEnum):
    """Course of a learning rate: ``steps`` (factor ``decay``), or ``one-cycle`` (a rise, then a cosine to zero)."""

    STEPS = "steps"
    ONE_CYCLE = "one-cycle"


def option(default: Any, help: str) -> Any:
    """Declare a field with its default and the text that ``--help`` shows."""
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True, config=STRICT)
class QueryConfig:
    """Query budget of each mechanism of the teacher, and the storage of its answers."""

    shape: Count = option(6000, "pairs to query from the shape mechanism")
    texture: Count = option(3000, "pairs to query from the texture mechanism")
    background: Count = option(3000, "pairs to query from the background mechanism")
    held_out: Count = option(500, "further pairs per mechanism, for evaluation only")
    shard_size: Batch = option(1000, "pairs per file")
    classes: str = option("all", "classes: all, animals, numbers such as 0-99,105, or a file of these")
    noise: Noise = option(Noise.RANDOM, "choice of the noise: random, sobol (evenly within classes), or active")
    store: Store = option(Store.FLOAT32, "image storage: float32, uint8, png, or none (query again when read)")
    budget: Count | None = option(None, "most answers of all mechanisms together, held-out ones too")
    price: Weight | None = option(None, "cost of one answer, in the currency of max-cost")
    max_cost: Weight | None = option(None, "most that all answers may cost together; needs price")
    noisy: bool = option(False, "accept a black box that answers one query differently each time")
    enough: Probability | None = option(None, "stop when 1,000 further answers cannot lower the L1 by more")


# TinyGAN's channels, of width 1: on the first grid and after each of five blocks.
TINYGAN_CHANNELS = (16, 16, 8, 4, 2, 1)


@dataclass(frozen=True, config=STRICT)
class StudentConfig:
    """The size of a student mechanism."""

    channels: Layers = option((10, 10), "channels of the first grid and after each block")
    grid: Side = option(4, "side of the first grid; blocks, then a pixel shuffle, enlarge it")
    embedding: Channels = option(4, "dimension of the class embedding")
    rank: Dimension = option(0, "dimension of a linear projection of the noise; 0: no projection")
    memory: Dimension = option(0, "codes per class, of dimension rank, that the noise picks from; 0: none")
    separable: bool = option(False, "use depthwise-separable convolutions, as TinyGAN does")
    class_input: bool = option(True, "feed the class embedding to the input layer, which TinyGAN does not")


@dataclass(frozen=True, config=STRICT)
class DistillConfig:
    """Losses, optimisation and student sizes of a distillation."""

    steps: Count = option(3000, "generator steps per mechanism")
    batch_size: Batch = option(64, "pairs per step")
    learning_rate: Rate = option(1e-2, "Adam learning rate of the student")
    discriminator_rate: Rate = option(4e-4, "Adam learning rate of the discriminator")
    pixel: Weight = option(1.0, "weight of the pixel loss")
    masks: Distance = option(Distance.L1, "pixel loss of masks: l1, or l2 (uncertain pixels become grey)")
    feature: Weight = option(0.0, "weight of the L1 loss on discriminator features")
    kl: Weight = option(0.0, "weight of the KL divergence of discriminator features")
    temperature: Temperature = option(8.0, "temperature of the KL divergence")
    adversarial: Weight = option(0.0, "weight of the adversarial hinge loss")
    perceptual: Weight = option(0.0, "weight of the L1 loss on fixed features")
    features: str = option("random", "fixed features: random, efficientnet-lite0, VGG16 file, classifier run")
    embeddings: str | None = option(None, "initial class embeddings: BigGAN's file, or a safetensors file")
    ema: Probability = option(0.0, "decay of the moving average of weights that is kept; 0: no average")
    bf16: bool = option(False, "compute in bfloat16 (PyTorch autocast)")
    channels_last: bool = option(False, "store images channels-last in memory")
    compile: bool = option(False, "compile the networks with torch.compile")
    save_every: Count = option(500, "steps between checkpoints")
    shape: StudentConfig = StudentConfig(channels=(13, 13))
    texture: StudentConfig = StudentConfig(channels=(3, 3), rank=4)
    background: StudentConfig = StudentConfig(channels=(4, 4))


@dataclass(frozen=True, config=STRICT)
class ClassifyConfig:
    """Training budget of a classifier; the same for biased, teacher, student and oracle."""

    images: Images = option(20_000, "images in each training set")
    real: Probability = option(0.0, "share of real, biased images among the counterfactuals")
    per_shape: Batch = option(10, "counterfactuals per mask (k)")
    policy: tuple[str, ...] = option((), "intervention on each counterfactual, such as shape.elastic:1.5")
    agreement: Probability = option(0.0, "mask filter: least probability of the label to keep a mask; 0: off")
    optimizer: Optimizer = option(Optimizer.ADAMW, "adamw, or adadelta as published")
    he_init: bool = option(True, "start from He's initial weights, which suit a short training")
    epochs: Count = option(3, "passes over the training set")
    batch_size: Batch = option(32, "images per step")
    learning_rate: Rate | None = option(None, "learning rate; default: 0.004, of adadelta 1")
    decay: Factor = option(1.0, "factor on the learning rate after each epoch")
    warmup: Probability = option(0.2, "first share of the steps, in which the learning rate rises")
    cooldown: Probability = option(0.8, "final share of the steps, in which the learning rate falls to zero")
    bf16: bool = option(True, "compute in bfloat16 on CPUs that have instructions for it")
    save_every: Count = option(500, "steps between checkpoints")


@dataclass(frozen=True, config=STRICT)
class EnsembleConfig:
    """Training of the invariant ensemble; its loss is stated in :mod:`skdcgn.classifiers.ensemble`."""

    heads: Heads = option(Heads.THREE, "three (shape, texture, background) or one: a plain classifier")
    backbone: str = option("small", "small, plain, efficientnet-lite0, torchvision:NAME or timm:NAME")
    weights: str | None = option(None, "initial weights: a state-dict file or none; default: pretrained")
    freeze_backbone: bool = option(False, "keep the backbone as it is: only heads learn")
    width: Channels = option(32, "channels of the first stage of the backbones small and plain")
    image_size: Side = option(224, "side of the input images in pixels")
    least_area: Factor = option(0.08, "least share of a photograph that a random crop shows")
    epochs: Count = option(45, "passes over the real images")
    batch_size: Batch = option(64, "real images per step")
    counterfactuals: Batch = option(64, "counterfactuals per step")
    policy: tuple[str, ...] = option((), "intervention on each counterfactual, such as texture.whole:1")
    shared_noise: bool = option(False, "let the three mechanisms of a counterfactual share one noise")
    weight: Weight = option(1.0, "weight of the loss on counterfactuals; 0: none are composed")
    learning_rate: Rate = option(0.01, "SGD learning rate")
    momentum: Probability = option(0.9, "SGD momentum")
    weight_decay: Weight = option(1e-4, "SGD weight decay")
    schedule: RateSchedule = option(RateSchedule.STEPS, "course of the learning rate: steps, or one-cycle")
    decay: Factor = option(0.1, "factor on the learning rate after every decay-epochs")
    decay_epochs: Count = option(15, "epochs between two decays of the learning rate")
    freeze_norms: bool = option(True, "use and keep the running statistics of the backbone's batch norms")
    save_every: Count = option(500, "steps between checkpoints")


@dataclass(frozen=True, config=STRICT)
class TeachConfig:
    """Training of a teacher CGN on biased pictures; its losses are stated in :mod:`skdcgn.teachers.teach_method`."""

    glyphs: str = option("digits", "handwritten digits: digits, mnist or a folder with four idx files")
    appearance: str = option("double-colored", "appearance of the digits: colored, double-colored or wildlife")
    textures: str | None = option(None, "folder of texture pictures for wildlife; default: procedural")
    images: str | None = option(None, "folder of your own pictures, a sub-folder per class, not glyphs")
    masks: str | None = option(None, "folder of masks of your pictures, CLASS/NAME.png, as segment writes")
    image_size: Side = option(32, "side in pixels: 32, or 64 for your own pictures")
    variants: Count = option(1, "versions of each glyph: itself and random affine variants")
    steps: Count = option(3000, "training steps")
    batch_size: Batch = option(40, "real images per step, balanced over the classes")
    learning_rate: Rate = option(1e-3, "Adam learning rate of the CGN and the encoder")
    discriminator_rate: Rate = option(4e-4, "Adam learning rate of the discriminator")
    reconstruction: Weight = option(1.0, "weight of the squared reconstruction error")
    kl: Weight = option(4e-3, "weight of KL(q(u | x, y) || N(0, I)) of the encoder's noise")
    adversarial: Weight = option(0.15, "weight of the least-squares adversarial loss")
    patch: Weight = option(0.0, "weight of the full-resolution adversarial loss of textures")
    segment: Weight = option(0.0, "weight of the squared error to the masks of a segmenter")
    mask: Weight = option(2.0, "weight of the squared error to the masks of your pictures")
    binary_first: Weight = option(0.3, "weight of the mask's binary entropy in bits, at the first step")
    binary: Weight = option(0.3, "weight of the mask's binary entropy, at the last step; linear between")
    smooth: Weight = option(0.0, "weight of the mask's total variation, which removes specks")
    smooth_texture: Weight = option(0.0, "weight of the texture's total variation, which removes grain")
    perceptual: Weight = option(5.0, "weight of the Gram loss")
    local: Weight = option(0.2, "weight of the squared error of local texture energies")
    features: str = option("random", "Gram features: random, efficientnet-lite0, VGG16 file, classifier run")
    policy: tuple[str, ...] = option((), "intervention on the CGN's layers in training, as shape.spin:180")
    seed: Seed = option(0, "seed of all random numbers")


class Network(StrEnum):
    """Network of a mechanism of a CGN of photographs: ``biggan``, or ``tinygan``, SKDCGN's baseline."""

    BIGGAN = "biggan"
    TINYGAN = "tinygan"


@dataclass(frozen=True, config=STRICT)
class TeachImageNetConfig:
    """Training of a CGN of photographs without photographs; its losses: :mod:`skdcgn.teachers.teach_imagenet`."""

    start: str = option("imagenet-smoke", "initial CGN: a name from the zoo or a file")
    biggan: str | None = option(None, "BigGAN-deep weights to start from, together with --u2net")
    u2net: str | None = option(None, "U2-Net weights")
    network: Network = option(Network.BIGGAN, "network of each mechanism: biggan, or tinygan (SKDCGN's baseline)")
    width: Channels = option(32, "channels of a TinyGAN before its last convolution")
    truncation: Probability = option(1.0, "factor on the noise; it also selects BigGAN's norm statistics")
    steps: Count = option(300, "training steps")
    batch_size: Batch = option(8, "images per batch")
    accumulate: Batch = option(500, "batches whose gradients are accumulated for a step")
    shape_rate: Rate = option(8e-6, "Adam learning rate of the shape mechanism")
    texture_rate: Rate = option(3e-5, "Adam learning rate of the texture mechanism")
    background_rate: Rate = option(1e-5, "Adam learning rate of the background mechanism")
    reconstruction: Weight = option(100.0, "weight of the L1 loss to BigGAN's own picture")
    perceptual: Weight = option(4.0, "w of the Gram loss to BigGAN's own picture: 5000 w^2 a layer")
    binary: Weight = option(300.0, "weight of the mask's binary entropy in bits")
    mask: Weight = option(500.0, "weight of the distance of a mask's mean from [0.1, 0.9]")
    texture: Weight = option(5.0, "w of the Gram loss of texture and mosaic: 5000 w^2 a middle layer")
    background: Weight = option(2000.0, "weight of the saliency of the background")
    features: str = option("random", "Gram features: random, efficientnet-lite0 or a VGG16 file")
    bf16: bool = option(False, "compute in bfloat16 (PyTorch autocast)")
    checkpointing: bool = option(False, "recompute activations inside blocks, to save memory")
    save_every: Count = option(10, "steps between checkpoints")
    seed: Seed = option(0, "seed of all random numbers")


@dataclass(frozen=True, config=STRICT)
class RunConfig:
    """A run on digits: query, distill, compose, classify, evaluate."""

    preset: str = option("custom", "name of the preset, kept in the results")
    glyphs: str = option("digits", "handwritten digits: digits, mnist or a folder with four idx files")
    appearance: str = option("double-colored", "appearance of the digits: colored, double-colored or wildlife")
    textures: str | None = option(None, "folder of texture pictures for wildlife; default: procedural")
    teacher: str = option("double-colored-digits", "teacher: a name from the zoo, a file or a student's folder")
    spec: str | None = option(None, "what the teacher does not state, as image_size=64, or a JSON file")
    seed: Seed = option(0, "seed of all random numbers")
    test_copies: Count = option(10, "coloured copies of each test glyph")
    query: QueryConfig = QueryConfig()
    distill: DistillConfig = DistillConfig()
    classify: ClassifyConfig = ClassifyConfig()


@dataclass(frozen=True, config=STRICT)
class ImageNetConfig:
    """A run on photographs: query, distill, train an invariant ensemble per set of counterfactuals, evaluate."""

    preset: str = option("custom", "name of the preset, kept in the results")
    teacher: str = option("imagenet-smoke", "teacher: a name from the zoo, a file or a student's folder")
    spec: str | None = option(None, "what the teacher does not state, as image_size=64, or a JSON file")
    truncation: Factor | None = option(None, "factor on the noise of an ImageNet CGN; default: its own")
    seed: Seed = option(0, "seed of all random numbers")
    real: str | None = option(None, "training photographs, a sub-folder per class; default: from the teacher")
    val: str | None = option(None, "validation photographs, for top-1 and top-5")
    cue_conflict: str | None = option(None, "cue-conflict images (airplane/airplane1-bear2.png), for shape bias")
    in9: str | None = option(None, "ImageNet-9 (mixed_rand/val/00_dog/x.JPEG), for BG-gap")
    speed_images: Count = option(16, "counterfactuals of each CGN in a round of the timing")
    speed_seconds: Duration = option(60.0, "seconds of all rounds of the timing; 0: one round of one image")
    pictures: Count | None = option(None, "counterfactuals in a sample picture; default: 80, above 64 px 20")
    picture_classes: Count = option(10, "classes that the sample pictures of each mechanism show")
    query: QueryConfig = QueryConfig()
    distill: DistillConfig = DistillConfig()
    ensemble: EnsembleConfig = EnsembleConfig()
