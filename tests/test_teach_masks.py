"""Teaching on a user's own masks: which pictures are left out, what learns, and whether masks follow objects."""

from dataclasses import replace

import pytest
import torch
from PIL import Image, ImageDraw
from torch import nn

from skdcgn.base.config import TeachConfig
from skdcgn.base.contents import digests
from skdcgn.base.errors import UserError
from skdcgn.cgn.mechanism import Layers, Mechanism, Spec
from skdcgn.data.images import LabelledImages
from skdcgn.teachers.following import LEAST_GAIN, Following, check_following, mask_gain
from skdcgn.teachers.load import load_teacher
from skdcgn.teachers.teach import teach
from skdcgn.teachers.teach_method import Teach
from skdcgn.teachers.teaching_data import TeachingData, load_teaching_data, teaching_reads
from skdcgn.training.loop import Step

OBJECTS = {"cat": (8, 8, 24, 22), "dog": (14, 6, 30, 30)}


def lay_photos(folder, per_class=4):
    """Write photographs of one box each with the mask of the box, and a photograph of each class without a mask."""
    for name, box in OBJECTS.items():
        for kind in ("photos", "masks"):
            (folder / kind / name).mkdir(parents=True)
        for index in range(per_class + 1):
            place = [x - index for x in box]
            photo, mask = Image.new("RGB", (40, 36), (20, 90 + 20 * index, 30)), Image.new("L", (40, 36))
            ImageDraw.Draw(photo).rectangle(place, (200, 30 * index, 40))
            ImageDraw.Draw(mask).rectangle(place, 255)
            photo.save(folder / "photos" / name / f"{index}.png")
            if index < per_class:
                mask.save(folder / "masks" / name / f"{index}.png")
    return TeachConfig(
        images=str(folder / "photos"), masks=str(folder / "masks"), steps=4, batch_size=4, perceptual=0.0
    )


def test_photographs_without_a_usable_mask_are_left_out_and_counted(tmp_path, caplog):
    config = lay_photos(tmp_path)
    Image.new("L", (40, 36)).save(tmp_path / "masks" / "dog" / "1.png")
    Image.new("L", (40, 36), 255).save(tmp_path / "masks" / "cat" / "3.png")
    with caplog.at_level("INFO", "skdcgn"):
        data = load_teaching_data(config, None)
    assert (
        "6 of 10 photographs have a usable mask; left out: 2 without a mask, 1 empty, 1 full, 0 faint, 0 border"
        in caplog.text
    )
    assert data.pictures.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.spec == Spec(32, classes=2, names=("cat", "dog"), tiles=False)
    assert data.masks is not None
    assert data.masks.shape == (6, 1, 32, 32)
    red = data.pictures.images[:, 0] > 110
    assert torch.equal(red, data.masks[:, 0] > 127)  # each mask lies on its own object
    assert data.real.images.max() == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"masks": "nowhere"}, "nowhere has no mask of a photograph"),
        ({"images": None}, "pass --images too"),
        ({"masks": "EMPTY"}, "has no usable mask of the class 'dog'"),
    ],
)
def test_masks_that_cannot_be_used_end_in_one_line(changes, words, tmp_path):
    config = lay_photos(tmp_path)
    if changes["masks" if "masks" in changes else "images"] == "EMPTY":
        changes = {}
        for index in range(4):
            Image.new("L", (40, 36)).save(tmp_path / "masks" / "dog" / f"{index}.png")
    with pytest.raises(UserError, match=words):
        teach(replace(config, **changes), tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()


def test_masks_are_a_part_of_what_a_run_reads(tmp_path):
    config = lay_photos(tmp_path)
    before = digests(teaching_reads(config, None))
    (tmp_path / "photos" / "cat" / "4.png").write_bytes(b"changed, but it has no mask")
    assert digests(teaching_reads(config, None)) == before
    Image.new("L", (40, 36), 200).save(tmp_path / "masks" / "cat" / "0.png")
    after = digests(teaching_reads(config, None))
    assert {name for name in before if before[name] != after[name]} == {"masks"}


def test_a_killed_teacher_of_photographs_ends_with_the_same_bytes(tmp_path):
    def stop(record):
        if record.step == 3:
            raise KeyboardInterrupt

    config = lay_photos(tmp_path)
    teach(config, tmp_path / "whole", device="cpu", sample_every=2)
    with pytest.raises(KeyboardInterrupt):
        teach(config, tmp_path / "killed", device="cpu", sample_every=2, callbacks=(stop,))
    teacher = teach(config, tmp_path / "killed", device="cpu", sample_every=2)
    for name in ("teacher.safetensors", "samples-000004.png"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes()
    assert not load_teacher(tmp_path / "whole" / "teacher.safetensors").spec.tiles
    assert teacher.spec.names == ("cat", "dog")


def test_the_loss_to_masks_replaces_the_segmenter_and_teaches_shapes_alone():
    others = ("reconstruction", "kl", "adversarial", "binary", "smooth", "perceptual", "local")
    config = TeachConfig(**dict.fromkeys(others, 0.0), masks="masks", segment=1.0, mask=1.0)
    torch.manual_seed(0)
    method = Teach(config, Spec(tiles=False))
    masks = (torch.rand(8, 1, 32, 32) > 0.7).float()
    logged = method.step({"images": torch.randn(8, 3, 32, 32), "labels": torch.arange(8), "masks": masks}, Step(3, 4))
    assert "segmenter" not in method.modules
    assert logged["mask"] > 0
    moved = {
        part
        for part in ("f_shape", "f_text1", "f_text2")
        if any(
            bool((p.grad != 0).any()) for p in getattr(method.modules["cgn"], part).parameters() if p.grad is not None
        )
    }
    assert moved == {"f_shape"}


def boxes(count):
    """Masks of one box each at random places, and their labels, sorted: (N, 1, 32, 32) and (N,)."""
    rng, masks = torch.Generator().manual_seed(0), torch.zeros(count, 1, 32, 32)
    for mask, (row, column) in zip(masks, torch.randint(0, 20, (count, 2), generator=rng).tolist(), strict=True):
        mask[0, row : row + 12, column : column + 12] = 1
    return masks, torch.arange(count) * 2 // count


def test_the_gain_of_a_mask_is_one_where_it_explains_all_and_zero_where_any_explains_as_much():
    masks, labels = boxes(20)
    ones = torch.ones(20, 3, 32, 32)
    images = 2 * masks - ones
    assert mask_gain(Layers(masks, ones, -ones), images, labels) == pytest.approx(1)
    central = torch.zeros_like(masks)
    central[:, :, 8:24, 8:24] = 1
    assert mask_gain(Layers(central, ones, -ones), images, labels) == pytest.approx(0, abs=1e-6)
    assert mask_gain(Layers(masks, ones, ones), images, labels) == pytest.approx(0, abs=1e-6)
    assert mask_gain(Layers(masks, ones, -ones), images[:4], torch.tensor([0, 0, 1, 1])) is None  # no class has four


class Places(nn.Module):
    """Reads where the box lies out of a picture."""

    weight = nn.Parameter(torch.zeros(1))

    def parameters(self, recurse=True):
        return iter([self.weight])

    def forward(self, images, labels):
        first = [(images[:, :1] > 0).any(axis).float().argmax(-1).float() for axis in (3, 2)]
        return torch.cat(first, 1), torch.zeros(len(images), 2)


class Boxes:
    """Draws white boxes on black, where the noise says or in the middle."""

    spec, digest, size = Spec(noise_dim=2, classes=2), "boxes", None

    def __init__(self, follow):
        self.follow = follow

    def query(self, mechanism, noise, labels):
        if mechanism is not Mechanism.SHAPE:
            return torch.full((len(noise), 3, 32, 32), 1.0 if mechanism is Mechanism.TEXTURE else -1.0)
        masks = torch.zeros(len(noise), 1, 32, 32)
        for mask, (row, column) in zip(
            masks, noise.int().tolist() if self.follow else [(10, 10)] * len(masks), strict=True
        ):
            mask[0, row : row + 12, column : column + 12] = 1
        return masks


@pytest.mark.parametrize("follow", [True, False])
def test_masks_that_do_not_follow_objects_are_a_symptom(follow):
    masks, labels = boxes(60)
    pictures = LabelledImages((2 * masks - 1).expand(-1, 3, -1, -1), labels)
    data = TeachingData(pictures, pictures, Boxes.spec)
    following = check_following(Boxes(follow), Places(), data, seed=0)
    assert following.mask_gain == pytest.approx(1 if follow else 0, abs=1e-5)
    assert [symptom.fatal for symptom in following.symptoms] == ([] if follow else [False])
    with_masks = check_following(Boxes(follow), Places(), data._replace(masks=(255 * masks).byte()), seed=0)
    assert (with_masks.mask_iou == 1) == follow
    assert not with_masks.symptoms


def test_the_warning_names_the_number_and_the_mend():
    (symptom,) = Following(LEAST_GAIN / 2, None).symptoms
    assert "mask_gain 0.025" in symptom.words
    assert "--masks" in symptom.words
    assert not Following(LEAST_GAIN, None).symptoms
