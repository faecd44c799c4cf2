"""A background challenge of a user's own photographs: each variant against the definition, and its evaluation."""

import json
import shutil

import pytest
import torch
from PIL import Image

from skdcgn.base.errors import UserError
from skdcgn.base.progress import silent
from skdcgn.data.folders import as_unit, read_picture
from skdcgn.data.masks import read_mask
from skdcgn.data.synthetic_photos import OBJECTS, synthetic_photos
from skdcgn.evaluation.challenge import VARIANTS, ChallengeConfig, background_sources, write_challenge
from skdcgn.evaluation.imagenet import in9_accuracy, open_challenges
from skdcgn.teachers.photo_layers import sharpened, spread_object

CONFIG = ChallengeConfig(image_size=16, seed=3)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return synthetic_photos(tmp_path_factory.mktemp("photos"), train=1, test=4, size=24)


@pytest.fixture(scope="module")
def challenge(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("challenge") / "in9"
    write_challenge(photos.test, photos.masks, out, CONFIG, watch=silent)
    return out


def contents(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def lines_of(challenge):
    return [line.split(",") for line in (challenge / "backgrounds.csv").read_text().splitlines()[1:]]


def test_each_picture_is_what_its_variant_says(photos, challenge):
    for variant, name, source in lines_of(challenge):
        photo, other = (as_unit(read_picture(photos.test / one, 16)) for one in (name, source))
        mask = sharpened(read_mask(photos.masks / name, 16) / 255)
        item, background = spread_object(photo[None], mask[None])[0], picture_in(challenge, "only_bg_t", source)
        expected = {
            "original": photo,
            "only_fg": mask * item + mask - 1,
            "no_fg": (1 - mask) * photo - mask,
            variant: mask * item + (1 - mask) * background,
        }
        for which, pixels in expected.items():
            assert (picture_in(challenge, which, name) - pixels).abs().max() < 1.1 / 127.5
        near = torch.nn.functional.max_pool2d((read_mask(photos.masks / source, 16) > 1)[None].float(), 3, 1, 1)[0] > 0
        assert (background - other)[:, ~near[0]].abs().max() < 1.1 / 127.5


def picture_in(challenge, variant, name):
    return as_unit(read_picture(challenge / variant / "val" / name, 16))


def test_backgrounds_come_from_the_class_that_the_variant_names(challenge):
    classes, lines = sorted(OBJECTS), lines_of(challenge)
    assert len(lines) == 3 * 12
    for variant, name, source in lines:
        own, other = (classes.index(path.split("/")[0]) for path in (name, source))
        assert name != source
        assert variant != "mixed_same" or other == own
        assert variant != "mixed_next" or other == (own + 1) % 3


def test_random_backgrounds_have_a_class_at_random_whatever_its_size():
    labels = torch.tensor([0] * 900 + [2] * 90 + [5] * 10)
    sources = background_sources(labels, 0)
    shares = labels[sources["mixed_rand"]].bincount()[[0, 2, 5]] / 1000
    assert torch.allclose(shares, torch.full((3,), 1 / 3), atol=0.05)
    assert (labels[sources["mixed_same"]] == labels).all()
    assert (sources["mixed_same"] != torch.arange(1000)).all()
    assert background_sources(torch.tensor([0, 1]), 0)["mixed_same"].tolist() == [0, 1]  # there is no other


def test_background_and_object_have_no_trace_of_each_other(tmp_path):
    picture, mask = Image.new("RGB", (16, 16), (40, 40, 40)), Image.new("L", (16, 16))
    picture.paste((200, 200, 200), (5, 5, 11, 11))
    mask.paste(255, (5, 5, 11, 11))
    for image, folder in ((picture, "photos"), (mask, "masks")):
        for name in ("a", "b"):
            (tmp_path / folder / name).mkdir(parents=True)
            image.save(tmp_path / folder / name / "0.png")
    write_challenge(tmp_path / "photos", tmp_path / "masks", tmp_path / "in9", CONFIG, watch=silent)
    levels = {one: set(read_picture(tmp_path / "in9" / one / "val/a/0.png", 16).unique().tolist()) for one in VARIANTS}
    assert levels == {"only_bg_t": {40}, "only_fg": {0, 200}, "no_fg": {0, 40}} | {
        name: {40, 200} for name in ("original", "mixed_same", "mixed_rand", "mixed_next")
    }


def test_a_killed_challenge_is_continued_to_the_same_bytes(photos, challenge, tmp_path):
    class KilledError(Exception):
        pass

    def watch(name, total):
        def tell(done, losses=None):
            raise KilledError

        return tell

    with pytest.raises(KilledError):
        write_challenge(photos.test, photos.masks, tmp_path / "in9", CONFIG, watch=watch)
    assert not (tmp_path / "in9" / "challenge.json").exists()
    record = write_challenge(photos.test, photos.masks, tmp_path / "in9", CONFIG, watch=silent)
    assert contents(tmp_path / "in9") == contents(challenge)
    assert record.classes == dict.fromkeys(sorted(OBJECTS), 4)
    assert write_challenge(photos.test, photos.masks, tmp_path / "in9", CONFIG, watch=silent) == record


def test_photographs_without_a_usable_mask_are_left_out_and_counted(photos, tmp_path):
    masks = shutil.copytree(photos.masks, tmp_path / "masks")
    (masks / "disc" / "test0.png").unlink()
    Image.new("L", (24, 24)).save(masks / "cross" / "test3.png")
    record = write_challenge(photos.test, masks, tmp_path / "in9", CONFIG, watch=silent)
    assert record.classes == {"cross": 3, "disc": 3, "square": 4}
    assert (record.without_mask, record.masks["usable"], record.masks["empty"]) == (1, 10, 1)
    with pytest.raises(UserError, match=r"on other data .*masks"):
        write_challenge(photos.test, photos.masks, tmp_path / "in9", CONFIG, watch=silent)


def test_a_challenge_of_one_class_is_refused(photos, tmp_path):
    shutil.copytree(photos.masks / "disc", tmp_path / "masks" / "disc")
    with pytest.raises(UserError, match="usable masks for 1 of its classes: a challenge needs two or more"):
        write_challenge(photos.test, tmp_path / "masks", tmp_path / "in9", CONFIG, watch=silent)


def test_evaluation_matches_a_challenge_by_names_and_needs_no_map(challenge):
    names = ("square", "elephant", "disc", "cross")
    sets = open_challenges(names, in9_folder=challenge)
    assert set(sets.in9) == set(VARIANTS)
    assert sets.in9_map.tolist() == [2, -1, 1, 0]

    def logits(images):  # says disc
        return {"ensemble": torch.eye(4)[2].expand(len(images), 4)}

    shares = in9_accuracy(logits, sets.in9, sets.in9_map, 16)
    assert {variant: tuple(by_head["ensemble"]) for variant, by_head in shares.items()} == dict.fromkeys(
        VARIANTS, (4, 12)
    )
    with pytest.raises(
        UserError, match=r"has the class 'square', which the ensemble lacks .*of the classifier's classes"
    ):
        open_challenges(("cross", "disc"), in9_folder=challenge)


def test_the_verb_says_how_many_photographs_it_took(photos, tmp_path, skdcgn):
    status, output, _ = skdcgn(
        "challenge", photos.test, "--masks", photos.masks, "--out", tmp_path / "in9", "--image-size", 8, "--seed", 1
    )
    assert (status, output.splitlines()[0]) == (
        0,
        "12 photographs of 3 classes; left out: 0 empty, 0 full, 0 faint, 0 border, 0 without a mask",
    )
    record = json.loads((tmp_path / "in9" / "challenge.json").read_text())
    assert (record["image_size"], record["seed"], record["variants"]) == (8, 1, list(VARIANTS))
    status, _, error = skdcgn("challenge", photos.test, "--masks", tmp_path / "none", "--out", tmp_path / "other")
    assert status == 2
    assert "has no mask of a photograph" in error
