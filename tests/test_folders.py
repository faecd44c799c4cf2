"""A user's pictures: classes by name, cut to a square, upright; everything wrong told in one line."""

import os

import pytest
import torch
from PIL import Image

from skdcgn.base.errors import UserError
from skdcgn.data.folders import as_unit, check_pictures, list_photos, load_pictures


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


def test_hidden_files_folders_notes_and_papers_are_no_pictures(folder):
    (folder / "a" / "._0.png").write_bytes(b"\0\5\x16\7 what macOS leaves")
    (folder / "a" / "old.png").mkdir()
    (folder / "a" / "paper.pdf").write_bytes(b"%PDF-1.4")
    (folder / "a" / "numbers.h5").write_bytes(b"\x89HDF")
    assert [os.path.basename(file) for file in list_photos(folder).files] == ["0.png", "1.png"] * 2
    assert len(load_pictures(folder, 8)) == 4


def test_links_lead_to_pictures_and_folders(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (folder / "b").rename(elsewhere / "b")
    (folder / "b").symlink_to(elsewhere / "b")
    (folder / "a" / "2.png").symlink_to(folder / "a" / "0.png")
    assert load_pictures(folder, 8).labels.tolist() == [0, 0, 0, 1, 1]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: os.mkfifo(f / "a" / "2.png"), "2.png is a pipe or a device, not a file"),
        (lambda f: (f / "a" / "2.png").symlink_to("gone"), "2.png is a link to a file that does not exist"),
        (lambda f: (f / "a" / "2.png").symlink_to("2.png"), "2.png cannot be read"),
        (lambda f: (f / "c").symlink_to("gone"), "c is a link to a file that does not exist"),
        (lambda f: (f / "\x1b[31mred").mkdir(), r"sub-folder '\\x1b\[31mred', whose name has control characters"),
        (lambda f: os.mkdir(os.fsencode(f) + b"/caf\xe9"), r"sub-folder 'caf\\udce9'.* is not UTF-8: rename it"),
    ],
)
def test_what_is_no_file_is_named_and_never_waited_for(spoil, words, folder):
    spoil(folder)
    with pytest.raises(UserError, match=words):
        list_photos(folder)


def test_a_picture_may_have_any_name(folder):
    (folder / "a" / "0.png").rename(os.fsdecode(os.fsencode(folder) + b"/a/caf\xe9.png"))
    (folder / "a" / "1.png").rename(folder / "a" / "\x1b[2J\n.png")
    assert len(load_pictures(folder, 8)) == 4


def test_the_headers_of_all_pictures_are_read_and_the_damaged_ones_named(folder):
    files = list_photos(folder).files
    check_pictures(files)
    for number in range(2, 7):
        (folder / "b" / f"{number}.png").write_bytes(b"no picture")
    with pytest.raises(UserError) as error:
        check_pictures(list_photos(folder).files)
    for words in ("b/2.png is not a picture", "b/3.png is", "b/4.png is", "5 of 9 pictures are damaged"):
        assert words in str(error.value)
    assert "5.png" not in str(error.value)


def test_of_too_many_pictures_a_seeded_sample_is_checked(folder, caplog):
    sound, broken = list_photos(folder).files[0], str(folder / "a" / "broken.png")
    (folder / "a" / "broken.png").write_bytes(b"no picture")
    totals = []

    def watch(name, total):
        totals.append(total)
        return lambda done, losses=None: None

    with caplog.at_level("INFO"), pytest.raises(UserError, match=r"broken\.png"):
        check_pictures([sound, broken] * 20, watch, most=20)
    assert totals == [20]
    assert "40 pictures: the headers of a sample of 20" in caplog.text
