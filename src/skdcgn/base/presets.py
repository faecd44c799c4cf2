"""Presets: whole experiments by name. No torch here: the command line lists them in its help."""

from dataclasses import replace
from typing import Any

from skdcgn.base.config import (
    ClassifyConfig,
    Distance,
    DistillConfig,
    EnsembleConfig,
    Heads,
    ImageNetConfig,
    Network,
    Optimizer,
    QueryConfig,
    RateSchedule,
    RunConfig,
    Store,
    StudentConfig,
    TeachConfig,
    TeachImageNetConfig,
)
from skdcgn.base.errors import UserError, find
from skdcgn.base.photo_config import SYNTHETIC, PhotosConfig
from skdcgn.base.photo_students import PHOTO_DISTILL, PHOTO_QUERY

DEFAULT = "double-colored-digits"
AnyRun = RunConfig | ImageNetConfig | PhotosConfig
STAGES = {
    RunConfig: ("query", "distill", "classify"),
    ImageNetConfig: ("query", "distill", "ensemble"),
    PhotosConfig: ("query", "distill", "ensemble"),
}

# Sauer & Geiger (2021) train with PyTorch's initial weights and Adadelta, whose rate falls by steps alone.
PUBLISHED_TRAINING = ClassifyConfig(
    optimizer=Optimizer.ADADELTA,
    he_init=False,
    batch_size=16,
    learning_rate=1.0,
    decay=0.7,
    warmup=0.0,
    cooldown=0.0,
    bf16=False,
)

# One mask per counterfactual, with variations as of handwriting, sharpened, and only masks that a classifier of masks
# assigns to their class with probability 0.1 or more.
DEFORM_MASKS, SHARPEN_MASKS = ("shape.affine:0.1", "shape.elastic:1"), "shape.sharpen:4"
CUT_MASKS_AT_RANDOM_LEVELS = "shape.level:0.4"
MNIST_CLASSIFY = replace(
    ClassifyConfig(),
    images=100_000,
    epochs=2,
    per_shape=1,
    policy=(*DEFORM_MASKS, SHARPEN_MASKS),
    agreement=0.1,
)
# Accuracy depends on shapes, so most of a student's parameters are those of the shape mechanism.
PLAIN_COLOR_STUDENT = StudentConfig(channels=(4, 4), rank=4)
MNIST_DISTILL = DistillConfig(
    steps=4000,
    shape=StudentConfig(channels=(14, 14)),
    texture=PLAIN_COLOR_STUDENT,
    background=PLAIN_COLOR_STUDENT,
)
MNIST_RUN = RunConfig(
    glyphs="mnist",
    test_copies=1,
    query=QueryConfig(shape=5000, texture=5000, background=5000),
    distill=MNIST_DISTILL,
    classify=MNIST_CLASSIFY,
)
# The masks of the published colored-mnist checkpoint are speckled. A student that is trained by L2 generates their
# mean; a random level per image then cuts it to thick and thin strokes.
COLORED_MNIST_RUN = replace(
    MNIST_RUN,
    distill=replace(MNIST_DISTILL, masks=Distance.L2),
    classify=replace(MNIST_CLASSIFY, policy=(*DEFORM_MASKS, CUT_MASKS_AT_RANDOM_LEVELS, SHARPEN_MASKS)),
)
# Detailed textures need a class embedding with a dimension per class: with fewer, classes share parts of their mean.
TEXTURE_STUDENT = StudentConfig(channels=(8, 8), grid=8, embedding=10, rank=4)
WILDLIFE_DISTILL = replace(MNIST_DISTILL, texture=TEXTURE_STUDENT, background=replace(TEXTURE_STUDENT, channels=(6, 6)))

SMOKE_STUDENT = StudentConfig(channels=(8, 8), grid=8, embedding=4)
SMOKE_RUN = RunConfig(
    test_copies=1,
    query=QueryConfig(shape=200, texture=100, background=100, held_out=100, shard_size=100),
    distill=DistillConfig(
        steps=40, batch_size=32, shape=SMOKE_STUDENT, texture=SMOKE_STUDENT, background=SMOKE_STUDENT
    ),
    classify=ClassifyConfig(images=640, epochs=1),
)

# fmt: off
RUNS = {run.preset: run for run in (
    replace(RunConfig(),       preset=DEFAULT,                appearance="double-colored", teacher=DEFAULT),
    replace(COLORED_MNIST_RUN, preset="colored-mnist",        appearance="colored",        teacher="colored-mnist"),
    replace(MNIST_RUN,         preset="double-colored-mnist", appearance="double-colored",
            teacher="double-colored-mnist"),
    replace(MNIST_RUN,         preset="wildlife-mnist",       appearance="wildlife",       teacher="wildlife-mnist",
            distill=WILDLIFE_DISTILL),
    replace(SMOKE_RUN,         preset="smoke",                appearance="double-colored", teacher=DEFAULT),
)}
# fmt: on

# Students of one mechanism, at 64 and at 256 pixels.
SMOKE_IMAGENET_STUDENT = StudentConfig(channels=(16, 16, 8), grid=8, embedding=8)
IMAGENET_STUDENT = StudentConfig(channels=(192, 128, 64, 32, 16), grid=4, embedding=64)
IMAGENET_RUNS = {
    "imagenet-smoke": ImageNetConfig(
        preset="imagenet-smoke",
        teacher="imagenet-smoke",
        query=QueryConfig(shape=160, texture=160, background=160, held_out=32, shard_size=80),
        distill=DistillConfig(
            steps=60,
            batch_size=16,
            shape=SMOKE_IMAGENET_STUDENT,
            texture=SMOKE_IMAGENET_STUDENT,
            background=SMOKE_IMAGENET_STUDENT,
        ),
        ensemble=EnsembleConfig(width=8, image_size=64, epochs=2, batch_size=16, counterfactuals=16),
    ),
    # TinyGAN's losses and SKDCGN's number of images; no run of it has been measured.
    "imagenet": ImageNetConfig(
        preset="imagenet",
        teacher="published-imagenet",
        query=QueryConfig(shape=1_000_000, texture=1_000_000, background=1_000_000, held_out=1000, store=Store.PNG),
        distill=DistillConfig(
            steps=150_000,
            learning_rate=1e-3,
            feature=1.0,
            adversarial=0.01,
            shape=IMAGENET_STUDENT,
            texture=IMAGENET_STUDENT,
            background=IMAGENET_STUDENT,
        ),
        ensemble=EnsembleConfig(backbone="torchvision:resnet50"),
    ),
}

# A plain network from scratch: half of each batch are counterfactuals, and batch norms learn.
PHOTO_ENSEMBLE = EnsembleConfig(
    heads=Heads.ONE,
    backbone="plain",
    width=24,
    image_size=64,
    least_area=0.4,
    epochs=24,
    batch_size=32,
    counterfactuals=32,
    learning_rate=0.1,
    schedule=RateSchedule.ONE_CYCLE,
    weight_decay=5e-4,
    freeze_norms=False,
)
PHOTO_RUNS = {
    "photos": PhotosConfig(
        preset="photos",
        query=PHOTO_QUERY,
        distill=PHOTO_DISTILL,
        ensemble=PHOTO_ENSEMBLE,
    ),
    "photos-smoke": PhotosConfig(
        preset="photos-smoke",
        images=SYNTHETIC,
        image_size=32,
        query=QueryConfig(shape=48, texture=48, background=48, held_out=12, shard_size=48),
        distill=DistillConfig(
            steps=4, batch_size=8, shape=SMOKE_STUDENT, texture=SMOKE_STUDENT, background=SMOKE_STUDENT
        ),
        ensemble=replace(PHOTO_ENSEMBLE, width=8, image_size=32, epochs=2, batch_size=8, counterfactuals=8),
    ),
}

# The learning rates are TinyGAN's; SKDCGN publishes none.
TINYGAN_BASELINE = TeachImageNetConfig(
    start="initial-imagenet",
    network=Network.TINYGAN,
    steps=100_000,
    batch_size=32,
    accumulate=1,
    shape_rate=2e-4,
    texture_rate=2e-4,
    background_rate=2e-4,
    save_every=500,
)
IMAGENET_TEACHERS = {
    "imagenet-smoke": TeachImageNetConfig(steps=4, batch_size=2, accumulate=2, width=2, save_every=2),
    "imagenet": TeachImageNetConfig(start="initial-imagenet"),  # the published weights and rates, our number of steps
    "imagenet-tinygan": TINYGAN_BASELINE,
}

# fmt: off
PLAIN_COLOR_TEACHER = TeachConfig(kl=1e-3, local=0.0)  # no texture to match, and less for the noise to explain
TEXTURE_TEACHER = TeachConfig(kl=2e-3, patch=0.15, segment=2.0, smooth=0.2)
TEACHERS = {
    DEFAULT:                replace(PLAIN_COLOR_TEACHER, glyphs="digits", appearance="double-colored", variants=8),
    "colored-mnist":        replace(PLAIN_COLOR_TEACHER, glyphs="mnist",  appearance="colored"),
    "double-colored-mnist": replace(PLAIN_COLOR_TEACHER, glyphs="mnist",  appearance="double-colored"),
    "wildlife-mnist":       replace(TEXTURE_TEACHER,     glyphs="mnist",  appearance="wildlife"),
    "smoke":                replace(TeachConfig(),       steps=6, batch_size=8),
}
# fmt: on


def find_run(name: str, *, full: bool = False) -> AnyRun:
    """Return the preset ``name`` of a run on digits or on photographs.

    Raises:
        UserError: an unknown name; ``full`` for photographs, which have no published classifier budget.
    """
    runs: dict[str, AnyRun] = {**RUNS, **IMAGENET_RUNS, **PHOTO_RUNS}
    config = find("preset", name, runs)
    if isinstance(config, RunConfig):
        return run_preset(config.preset, full=full)
    if full:
        raise UserError(f"--full is a budget of the digits' classifiers: leave it out with {name}")
    return config


def find_teaching(name: str) -> TeachConfig | TeachImageNetConfig:
    """Return the preset ``name`` of a teacher of digits or of photographs; raise UserError for an unknown name."""
    teachers: dict[str, TeachConfig | TeachImageNetConfig] = {**TEACHERS, **IMAGENET_TEACHERS}
    return find("preset", name, teachers)


def runs_with(stage: str) -> dict[str, AnyRun]:
    """Return the run presets that have a stage, ``query`` or ``ensemble`` for example, by name."""
    runs: dict[str, AnyRun] = {**RUNS, **IMAGENET_RUNS, **PHOTO_RUNS}
    return {name: run for name, run in runs.items() if stage in STAGES[type(run)]}


def find_stage(stage: str, name: str) -> Any:
    """Return the settings of a stage in the run preset ``name``; raise UserError if none of that name has the stage."""
    return getattr(find("preset", name, runs_with(stage)), stage)


def run_preset(name: str, *, full: bool = False) -> RunConfig:
    """Return the preset ``name`` of digits; if ``full``, with the published classifier budget for its composition."""
    config = find("preset", name, RUNS)
    if not full:
        return config
    return replace(config, classify=replace(config.classify, images=100_000, epochs=10, batch_size=64))


def teach_preset(name: str) -> TeachConfig:
    """Return the teaching preset ``name``."""
    return find("preset", name, TEACHERS)
