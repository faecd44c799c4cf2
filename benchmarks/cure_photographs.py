"""Photographs whose background tells their class, as data of the comparison of cures.

Objects of photographs lie on crops of a texture per class, as in ``benchmarks/photographs.py planted``; the training
pictures are segmented again, and their photo CGN is made of what that finds.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cure_data import HELD_OUT_SHARE, Network, Pictures, Task, from_cgn
from photographs import MASK_SIZE, PLANTED_SIZE, Texture, usable, write_planted
from skdcgn.base.door import read_record
from skdcgn.base.files import write_json
from skdcgn.base.photo_layers import BackgroundFill
from skdcgn.cgn.mechanism import Teacher
from skdcgn.classifiers.backbones import load_backbone
from skdcgn.data.folders import list_photos, read_picture
from skdcgn.data.masks import MaskedPhotos
from skdcgn.data.segment import segment
from skdcgn.data.textures import load_textures
from skdcgn.features.saliency import mask_source
from skdcgn.teachers.photographs import build_photo_cgn, load_photo_cgn

SIZE, WIDTH = 64, 24  # pixels of a side; channels of the backbone's first stage
SHIFT = 6  # pixels, at most, by which a training picture is moved
TEST_COPIES = 2  # of each object, on random backgrounds
PHOTO_BUDGET = 16_000
TUNING_BUDGET = 6_000
WHOLE = ("texture.whole:1",)  # a counterfactual shows one photograph's whole object
TEXTURES = "backgrounds.json"


class Folders(NamedTuple):
    """Folders of photographs and of their masks, and the folder that the planted ones are written to."""

    photos: Path
    held_out: Path
    test: Path
    masks: Path
    test_masks: Path
    textures: Path
    out: Path

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> "Folders":
        """Return the folders that the command line names."""
        return cls(
            photos=arguments.photos,
            held_out=arguments.held_out,
            test=arguments.test,
            masks=arguments.masks,
            test_masks=arguments.test_masks,
            textures=arguments.textures,
            out=arguments.runs / "planted",
        )


def training(share: float) -> str:
    """Return the name of the training pictures' folder; at a share of 1 they are ``biased`` of the other benchmark."""
    return "biased" if share == 1 else f"train-{share:g}"


def tied_texture(share: float, textures: int) -> Texture:
    """Return the choice of a class's own texture for a share of pictures, of another one for the others."""

    def choose(label: int, rng: torch.Generator) -> int:
        if share == 1 or float(torch.rand((), generator=rng)) < share:
            return label
        return (label + int(torch.randint(1, textures, (), generator=rng))) % textures

    return choose


def any_texture(textures: int) -> Texture:
    """Return the choice of a random texture."""
    return lambda label, rng: int(torch.randint(textures, (), generator=rng))


def plant(masked: MaskedPhotos, textures: Tensor, choose: Texture, out: Path) -> None:
    """Write photographs on textures, and last the texture of each, unless all are there."""
    if (out.parent / f"{out.name}-{TEXTURES}").exists():
        return
    chosen = list[int]()

    def remember(label: int, rng: torch.Generator) -> int:
        chosen.append(choose(label, rng))
        return chosen[-1]

    write_planted(masked, textures, remember, out)
    names = [f"{Path(file).parent.name}/{Path(file).stem}" for file in masked.photos.files]
    write_json(out.parent / f"{out.name}-{TEXTURES}", dict(zip(names, chosen, strict=True)))


def read_planted(folder: Path) -> Pictures:
    """Return the pictures that :func:`plant` wrote to a folder."""
    photos = list_photos(folder)
    textures = read_record(folder.parent / f"{folder.name}-{TEXTURES}", dict[str, int])
    images = torch.stack([read_picture(Path(file), SIZE) for file in photos.files])
    chosen = [textures[f"{Path(file).parent.name}/{Path(file).stem}"] for file in photos.files]
    return Pictures(images, photos.labels, torch.tensor(chosen) == photos.labels)


def concatenated(parts: list[Pictures]) -> Pictures:
    """Return the pictures of all parts."""
    images, labels, agrees = zip(*((part.images, part.labels, part.agrees) for part in parts), strict=True)
    return Pictures(torch.cat(images), torch.cat(labels), torch.cat(agrees))


def written_photographs(folders: Folders, share: float) -> dict[str, Path]:
    """Write the planted photographs of a share and the masks of the training ones; return their folders by role."""
    out, textures = folders.out, load_textures(folders.textures, "background", PLANTED_SIZE * 2)
    count = len(textures)
    own, random = tied_texture(1, count), any_texture(count)
    train = usable(folders.photos, folders.masks)
    test = usable(folders.test, folders.test_masks)
    roles: dict[str, tuple[MaskedPhotos, Texture]] = {
        training(share): (train, tied_texture(share, count)),
        "oracle": (train, random),
        "held-out": (usable(folders.held_out, folders.masks), tied_texture(HELD_OUT_SHARE, count)),
        "agreeing": (test, own),
        **{f"test-{copy}": (test, random) for copy in range(TEST_COPIES)},
    }
    for name, (masked, choose) in roles.items():
        plant(masked, textures, choose, out / name)
    segment(out / training(share), out / f"masks-{share:g}", mask_source("u2netp", MASK_SIZE), size=MASK_SIZE)
    return {name: out / name for name in roles}


def photo_cgn(folders: Folders, share: float, background: BackgroundFill) -> Teacher:
    """Return the photo CGN of the planted training photographs, written if it is not there."""
    file = folders.out / f"{background}-{share:g}.safetensors"
    if file.exists():
        return load_photo_cgn(file)
    photos, masks = folders.out / training(share), folders.out / f"masks-{share:g}"
    return build_photo_cgn(photos, masks, file, image_size=SIZE, background=background)


def photo_network() -> Network:
    """Return the backbone ``plain`` with a head of ten classes."""
    body: nn.Module = load_backbone("plain", width=WIDTH)
    return Network(body, nn.Linear(8 * WIDTH, 10))


def moved(images: Tensor, rng: torch.Generator) -> Tensor:
    """Mirror half of the images (B, 3, S, S) and move each by up to ``SHIFT`` pixels, reflected at its edges."""
    mirrored = torch.rand(len(images), generator=rng) < 0.5
    padded = F.pad(torch.where(mirrored[:, None, None, None], images.flip(3), images), (SHIFT,) * 4, mode="reflect")
    corners = torch.randint(2 * SHIFT + 1, (len(images), 2), generator=rng).tolist()
    size = images.shape[-1]
    return torch.stack([padded[row, :, y : y + size, x : x + size] for row, (y, x) in enumerate(corners)])


def photographs(folders: Folders, share: float, budget: int) -> Task:
    """Return planted photographs: the same for all seeds."""
    paths = written_photographs(folders, share)
    read: Callable[[str], Pictures] = lambda name: read_planted(paths[name])  # noqa: E731
    cgn = photo_cgn(folders, share, BackgroundFill.INPAINT)
    return Task(
        name="photographs",
        share=share,
        train=read(training(share)),
        held_out=read("held-out"),
        oracle=read("oracle"),
        agreeing=read("agreeing"),
        decorrelated=concatenated([read(f"test-{copy}") for copy in range(TEST_COPIES)]),
        network=photo_network,
        augment=moved,
        budget=budget,
        tuning_budget=TUNING_BUDGET,
        sources={
            "paste": from_cgn(photo_cgn(folders, share, BackgroundFill.PHOTOGRAPH), WHOLE),
            "cgn": from_cgn(cgn, WHOLE),
        },
        cgn=cgn,
        vary=("background",),
    )
