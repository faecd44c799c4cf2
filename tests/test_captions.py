"""Captions: they travel in the picture's own file, and headings stand above what they name."""

import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from skdcgn.cgn.captions import Caption, read_caption, with_heading
from skdcgn.cgn.drawings import layers_grid
from skdcgn.cgn.pictures import SPACING, save_picture

PICTURE = torch.zeros(6, 40, 3, dtype=torch.uint8)


def test_a_caption_comes_back_from_the_file(tmp_path):
    caption = Caption(("0", "1", "2"), ("teacher", "student"))
    save_picture(tmp_path / "a.png", PICTURE, 2, caption)
    save_picture(tmp_path / "b.png", PICTURE, 2)
    with Image.open(tmp_path / "a.png") as with_caption, Image.open(tmp_path / "b.png") as without:
        assert read_caption(with_caption) == caption
        assert read_caption(without) == Caption()
        assert with_caption.tobytes() == without.tobytes()


OTHERS = ["a sunset", "[1]", "3", "null", "[" * 100_000, "9" * 5000, '{"columns": 3}', '{"columns": [1]}', "NaN"]


@pytest.mark.parametrize("words", OTHERS, ids=range(len(OTHERS)))
def test_somebody_elses_description_is_no_caption(tmp_path, words):
    info = PngInfo()
    info.add_text("Description", words)
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png", pnginfo=info)
    with Image.open(tmp_path / "a.png") as picture:
        assert read_caption(picture) == Caption()


def test_a_heading_stands_above_the_picture_and_changes_none_of_it():
    headed = with_heading(PICTURE, "mask", ("0", "1"))
    assert headed.shape == (34, 40, 3)
    assert torch.equal(headed[28:], PICTURE)
    title, numbers = headed[:14], headed[14:28]
    assert title.min() < 128
    assert [bool((half < 128).any()) for half in numbers.chunk(2, dim=1)] == [True, True]


@pytest.mark.parametrize("names", [("cat", "a very long name"), ("cat", "犬")])
def test_columns_are_numbered_where_their_names_do_not_fit(names):
    assert torch.equal(with_heading(PICTURE, "", names), with_heading(PICTURE, "", ("0", "1")))
    assert not torch.equal(with_heading(PICTURE, "", ("a", "b")), with_heading(PICTURE, "", ("0", "1")))


def test_samples_name_their_four_blocks(analytic_teacher):
    side, classes = analytic_teacher.spec.image_size, analytic_teacher.spec.classes
    width = classes * side + (classes - 1) * SPACING
    assert layers_grid(analytic_teacher, rows=2, seed=0).shape == (28 + 2 * side + SPACING, 4 * width + 3 * 8, 3)
