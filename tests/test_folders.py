"""A user's pictures: classes by name, cut to a square, upright; everything wrong told in one line."""

import pytest
import torch
from PIL import Image

from skdcgn.base.errors import UserError
from skdcgn.data.folders import as_unit, load_pictures


@pytest.fixture
def folder(tmp_path):
    for name, colour in (("b", "red"), ("a", "blue")):
        (tmp_path / name).mkdir()
        for index in range(2):
            Image.new("RGB", (40, 40), colour).save(tmp_path / name / f"{index}.png")
    (tmp_path / "a" / "notes.txt").write_text("not a picture")
    (tmp_path / ".hidden").mkdir()
    return tmp_path


def test_sorted_sub_folders_are_the_classes(folder):
    pictures = load_pictures(folder, 32)
    images = pictures.images
    assert pictures.names == ("a", "b")
    assert pictures.labels.tolist() == [0, 0, 1, 1]
    assert images.shape == (4, 3, 32, 32)
    assert images[0, :, 0, 0].tolist() == [0, 0, 255]
    assert images[2, :, 0, 0].tolist() == [255, 0, 0]


def test_the_middle_square_is_kept(folder):
    wide = Image.new("RGB", (96, 32), "black")
    wide.paste("white", (32, 0, 64, 32))
    wide.save(folder / "a" / "0.png")
    assert (load_pictures(folder, 32).images[0] == 255).all()


def test_a_camera_held_upright_is_believed(folder):
    lying = Image.new("RGB", (32, 32), "black")
    lying.paste("white", (0, 0, 16, 32))  # left half
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise: left becomes top
    lying.save(folder / "a" / "0.png", exif=exif)
    picture = load_pictures(folder, 32).images[0]
    assert (picture[:, :15] == 255).all()
    assert (picture[:, 17:] == 0).all()


def test_grey_and_transparent_pictures_have_three_channels(folder):
    Image.new("L", (10, 10), 128).save(folder / "a" / "0.png")
    Image.new("RGBA", (10, 10), (1, 2, 3, 255)).save(folder / "a" / "1.png")
    images = load_pictures(folder, 32).images
    assert images[0].unique().tolist() == [128]
    assert images[1, :, 5, 5].tolist() == [1, 2, 3]


def test_bytes_become_minus_one_to_one_and_floats_stay():
    assert as_unit(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1, 1]
    assert as_unit(torch.tensor([0.25])).item() == 0.25


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: (f / "a" / "0.png").write_bytes(b"no picture"), "0.png is not a picture that Pillow can read"),
        (lambda f: [p.unlink() for p in (f / "b").iterdir()], "b holds no picture"),
        (lambda f: [p.unlink() for p in (f / "b").iterdir()] + [(f / "b").rmdir()], "has 1 sub-folder:"),
    ],
)
def test_what_is_wrong_is_named_with_the_mend(spoil, words, folder):
    spoil(folder)
    with pytest.raises(UserError, match=words):
        load_pictures(folder, 32)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"no folder .*nowhere: pass one with a sub-folder"):
        load_pictures(tmp_path / "nowhere", 32)
