"""Photographs on the disk: classes by name, crops by seed, batches by step, whichever threads decode them."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from PIL import Image

from skdcgn.base.errors import UserError
from skdcgn.base.seeds import generator
from skdcgn.cgn.classes import Classes
from skdcgn.data.folders import list_photos
from skdcgn.data.photos import in_batches, middle_crop, random_box, random_crop, read_ahead


@pytest.fixture
def folder(tmp_path):
    for name in ("n02", "n01"):
        (tmp_path / name).mkdir()
        for index in range(3):
            noise = torch.randint(256, (30, 40, 3), generator=generator(name, index), dtype=torch.uint8)
            Image.fromarray(noise.numpy()).save(tmp_path / name / f"{name}_{index}.JPEG")
    (tmp_path / "n01" / "notes.txt").write_text("not a picture")
    return tmp_path


def test_sorted_sub_folders_are_the_classes_as_imagenet_numbers_them(folder):
    photos = list_photos(folder)
    assert photos.names == ("n01", "n02")
    assert photos.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert photos.files == sorted(photos.files)


def test_a_classifiers_names_number_the_classes_of_a_part_of_its_folders(folder):
    assert list_photos(folder, Classes("it", 3, ("n00", "n01", "n02"))).labels.tolist() == [1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize(
    ("spoil", "names", "words"),
    [
        (lambda f: None, Classes("it", 2, ("n01", "n07")), "has the class 'n02', which it lacks"),
        (lambda f: [p.unlink() for p in (f / "n02").iterdir()], None, "n02 holds no picture"),
    ],
)
def test_what_is_wrong_is_named_with_the_mend(spoil, names, words, folder):
    spoil(folder)
    with pytest.raises(UserError, match=words):
        list_photos(folder, names)


def test_no_folder_and_no_sub_folders(tmp_path):
    with pytest.raises(UserError, match="no folder"):
        list_photos(tmp_path / "nowhere")
    with pytest.raises(UserError, match="has no sub-folders"):
        list_photos(tmp_path)


def test_random_boxes_lie_within_and_have_the_published_areas_and_aspects():
    boxes = torch.tensor([random_box(400, 300, generator("box", i)) for i in range(400)]).double()
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    share, aspect = width * height / 120_000, width / height
    assert (boxes.min(0).values >= 0).all()
    assert (boxes[:, 2] <= 400).all()
    assert (boxes[:, 3] <= 300).all()
    assert 0.079 < float(share.min()) < 0.12
    assert float(share.max()) > 0.9
    assert 0.74 < float(aspect.min()) < 0.80
    assert 1.25 < float(aspect.max()) < 1.35


def test_a_picture_too_narrow_for_any_crop_gives_its_middle_square():
    assert random_box(1000, 10, generator(0)) == (495, 0, 505, 10)


def test_a_crop_is_a_function_of_its_seed_and_half_are_mirrored(folder):
    file = list_photos(folder).files[0]
    assert torch.equal(random_crop(file, 16, generator(1)), random_crop(file, 16, generator(1)))
    assert not torch.equal(random_crop(file, 16, generator(1)), random_crop(file, 16, generator(2)))
    Image.fromarray(torch.arange(40, dtype=torch.uint8).mul(6)[None, :, None].expand(40, 40, 3).numpy()).save(
        folder / "ramp.png"
    )
    ramps = [random_crop(str(folder / "ramp.png"), 8, generator("ramp", i)).int() for i in range(200)]
    mirrored = sum(bool(ramp[0, 0, 0] > ramp[0, 0, -1]) for ramp in ramps)
    assert 70 < mirrored < 130


def test_the_middle_crop_keeps_seven_eighths_of_the_shorter_side(tmp_path):
    picture = Image.new("RGB", (64, 32), "black")
    picture.paste("white", (18, 2, 46, 30))  # 28 pixels around the middle
    picture.save(tmp_path / "x.png")
    assert (middle_crop(str(tmp_path / "x.png"), 28) == 255).all()
    assert (middle_crop(str(tmp_path / "x.png"), 14)[:, 1:-1, 1:-1] == 255).all()  # the rim sees beyond, as it should


def test_reading_ahead_gives_each_step_its_own_batch_from_any_start():
    with ThreadPoolExecutor(2) as pool:

        def begin(step):
            return [pool.submit(torch.tensor, 10 * step + i) for i in range(2)]

        whole, later = read_ahead(begin, 4), read_ahead(begin, 4)
        assert [whole(s).tolist() for s in range(4)] == [[0, 1], [10, 11], [20, 21], [30, 31]]
        assert later(2).tolist() == [20, 21]


def test_a_picture_that_cannot_be_read_is_named_when_its_batch_comes(folder):
    (folder / "n01" / "n01_1.JPEG").write_bytes(b"no picture")
    files = list_photos(folder).files
    with ThreadPoolExecutor(2) as pool, pytest.raises(UserError, match=r"n01_1\.JPEG is not a picture"):
        list(in_batches(files, lambda file: middle_crop(file, 8), 4, pool))
    with ThreadPoolExecutor(2) as pool:
        batches = list(in_batches(files[2:], lambda file: middle_crop(file, 8), 3, pool))
    assert [(rows, len(images)) for rows, images in batches] == [(slice(0, 3), 3), (slice(3, 4), 1)]


@pytest.mark.parametrize("least_area", [0.08, 0.5, 1.0])
def test_a_random_crop_shows_at_least_its_share_of_the_picture(least_area):
    rng = torch.Generator().manual_seed(0)
    boxes = [random_box(120, 120, rng, least_area) for _ in range(200)]
    shares = [(right - left) * (lower - upper) / 120**2 for left, upper, right, lower in boxes]
    assert least_area - 0.02 < min(shares) < least_area + 0.1
