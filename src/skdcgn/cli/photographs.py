"""Verbs of photographs: segment, photos, challenge."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from skdcgn.base.bounds import MOST_CHANNELS, MOST_SIDE
from skdcgn.base.photo_layers import BackgroundFill, TextureFill
from skdcgn.cli.options import Device, DeviceOption, RankOption, RanksOption, SeedOption
from skdcgn.cli.terminal import place_of, point_to, progress

LEAST_SIDE = 32  # pixels that U2-Net halves five times
MasksOption = Annotated[Path, Parameter(help="Their masks: MASKS/CLASS/NAME.png, as segment writes them.")]


def segment(
    photos: Annotated[Path, Parameter(help="Folder of photographs: a sub-folder per class.")],
    /,
    *,
    out: Annotated[Path, Parameter(help="Folder of the masks; processes and machines may share it.")],
    saliency: Annotated[str, Parameter(help="u2netp, a .pth file of U2-Net, or an .onnx file.")] = "u2netp",
    size: Annotated[
        int,
        Parameter(validator=validators.Number(gte=LEAST_SIDE, lte=MOST_SIDE), help="Pixels of a mask's longer side."),
    ] = 160,
    masks: Annotated[Path | None, Parameter(help="Folder of your own masks instead, as CLASS/NAME.png.")] = None,
    alpha: Annotated[
        bool, Parameter(negative=(), show_default=False, help="Take the photographs' alpha channels instead.")
    ] = False,
    rank: RankOption = 0,
    ranks: RanksOption = 1,
    device: DeviceOption = Device.AUTO,
) -> None:
    """Write a mask of each photograph."""
    from skdcgn.base.rank import Rank
    from skdcgn.data.contact import CONTACT
    from skdcgn.data.segment import segment as segment_photos
    from skdcgn.features.saliency import mask_source

    source = mask_source(saliency, size, masks=masks, alpha=alpha, device=place_of(device))
    with progress() as watch:
        segmentation = segment_photos(photos, out, source, size=size, rank=Rank(rank, ranks), watch=watch)
    print(segmentation)
    point_to("masks", out)
    point_to("contact sheet", out / CONTACT)


def photos(
    images: Annotated[Path, Parameter(help="Photographs, a sub-folder per class.")],
    /,
    *,
    masks: MasksOption,
    out: Annotated[Path, Parameter(help="The .safetensors file of the photo CGN.")],
    image_size: Annotated[
        int, Parameter(validator=validators.Number(gte=16, lte=MOST_SIDE), help="Side of the pictures in pixels.")
    ] = 64,
    texture: Annotated[
        TextureFill, Parameter(help="Texture: the object spread over the picture, or a mosaic of its patches.")
    ] = TextureFill.INPAINT,
    background: Annotated[
        BackgroundFill, Parameter(help="Background: the object's place filled, or the photograph as it is.")
    ] = BackgroundFill.INPAINT,
    noise_dim: Annotated[
        int, Parameter(validator=validators.Number(gte=1, lte=MOST_CHANNELS), help="Numbers in the noise.")
    ] = 8,
    seed: SeedOption = 0,
) -> None:
    """Make a CGN of your own photographs and their masks."""
    from skdcgn.teachers.photographs import build_photo_cgn

    with progress() as watch:
        cgn = build_photo_cgn(
            images,
            masks,
            out,
            image_size=image_size,
            texture=texture,
            background=background,
            noise_dim=noise_dim,
            seed=seed,
            watch=watch,
        )
    point_to("photo CGN", out, f"({len(cgn):,} photographs of {cgn.spec.classes} classes)")


def challenge(
    images: Annotated[Path, Parameter(help="Test photographs, a sub-folder per class.")],
    /,
    *,
    masks: MasksOption,
    out: Annotated[Path, Parameter(help="Folder of the challenge.")],
    image_size: Annotated[
        int, Parameter(validator=validators.Number(gte=1, lte=MOST_SIDE), help="Side of the pictures in pixels.")
    ] = 128,
    seed: SeedOption = 0,
) -> None:
    """Write a background challenge of your own photographs."""
    from skdcgn.evaluation.challenge import ChallengeConfig, write_challenge

    with progress() as watch:
        record = write_challenge(images, masks, out, ChallengeConfig(image_size, seed), watch=watch)
    states = [f"{count:,} {state}" for state, count in record.masks.items() if state != "usable"]
    left_out = ", ".join([*states, f"{record.without_mask:,} without a mask"])
    print(f"{sum(record.classes.values()):,} photographs of {len(record.classes)} classes; left out: {left_out}")
    point_to("challenge", out)
