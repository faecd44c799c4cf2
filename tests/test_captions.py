"""Captions: they travel in the picture's own file, and headings stand above what they name."""

import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from skdcgn.cgn.captions import Caption, class_labels, read_caption, with_heading
from skdcgn.cgn.drawings import layers_grid
from skdcgn.cgn.pictures import SPACING, save_picture

PICTURE = torch.zeros(6, 40, 3, dtype=torch.uint8)


def test_a_caption_comes_back_from_the_file(tmp_path):
    caption = Caption(class_labels(3), ("teacher", "student"))
    assert caption.columns == ("0", "1", "2")
    save_picture(tmp_path / "a.png", PICTURE, 2, caption)
    save_picture(tmp_path / "b.png", PICTURE, 2)
    with Image.open(tmp_path / "a.png") as with_caption, Image.open(tmp_path / "b.png") as without:
        assert read_caption(with_caption) == caption
        assert read_caption(without) == Caption()
        assert with_caption.tobytes() == without.tobytes()


@pytest.mark.parametrize("words", ["a sunset", "[1]", "3"])
def test_somebody_elses_description_is_no_caption(tmp_path, words):
    info = PngInfo()
    info.add_text("Description", words)
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png", pnginfo=info)
    with Image.open(tmp_path / "a.png") as picture:
        assert read_caption(picture) == Caption()


def test_a_heading_stands_above_the_picture_and_changes_none_of_it():
    headed = with_heading(PICTURE, "mask", class_labels(2))
    assert headed.shape == (34, 40, 3)
    assert torch.equal(headed[28:], PICTURE)
    title, numbers = headed[:14], headed[14:28]
    assert title.min() < 128
    assert [bool((half < 128).any()) for half in numbers.chunk(2, dim=1)] == [True, True]


def test_samples_name_their_four_blocks(analytic_teacher):
    side, classes = analytic_teacher.spec.image_size, analytic_teacher.spec.classes
    width = classes * side + (classes - 1) * SPACING
    assert layers_grid(analytic_teacher, rows=2, seed=0).shape == (28 + 2 * side + SPACING, 4 * width + 3 * 8, 3)
