"""Textures: the project's own patterns tell ten classes apart; photographs come from a folder in order."""

import itertools

import pytest
import torch
from PIL import Image

from skdcgn.data.textures import band, load_textures, seeds_distances
from skdcgn.errors import UserError
from skdcgn.features import RandomFeatures
from skdcgn.losses import gram
from skdcgn.seeds import generator

PARTS = ("object", "background")


@pytest.mark.parametrize("part", PARTS)
def test_shape_range_and_determinism(part):
    pictures = load_textures(None, part)
    assert pictures.shape == (10, 3, 150, 150)
    assert pictures.min() >= 0
    assert pictures.max() <= 1
    load_textures.__globals__["_procedural"].cache_clear()
    assert torch.equal(pictures, load_textures(None, part))


@pytest.mark.parametrize("part", PARTS)
def test_any_two_classes_differ_more_than_two_halves_of_one(part):
    """In Gram statistics: the distance between classes is at least three times that within a class."""
    pictures = load_textures(None, part) * 2 - 1
    left, right = pictures[..., :75], pictures[..., 75:]
    extract = RandomFeatures()
    style = [torch.cat([gram(f).flatten(1) for f in extract(half)], 1) for half in (left, right)]
    within = (style[0] - style[1]).norm(dim=1)
    for a, b in itertools.combinations(range(10), 2):
        between = (style[0][a] - style[0][b]).norm()
        assert between > 3 * max(within[a], within[b]), (a, b)


@pytest.mark.parametrize("part", PARTS)
def test_a_crop_of_32_pixels_varies_within_itself(part):
    assert (load_textures(None, part)[:, :, :32, :32].std((2, 3)).mean(1) > 0.01).all()


def test_band_noise_has_the_wavelength_it_says():
    spectrum = torch.fft.fft2(band(128, 16, generator("band"))).abs().square()
    frequency = (torch.fft.fftfreq(128)[:, None].square() + torch.fft.fftfreq(128).square()).sqrt()
    assert float((spectrum * frequency).sum() / spectrum.sum()) == pytest.approx(1 / 16, rel=0.1)


def test_seed_distances_are_those_of_a_torus():
    nearest, second = seeds_distances(30, 10, generator("seeds"))
    assert (nearest <= second).all()
    jump = (nearest[0] - nearest[-1]).abs().max()
    assert float(jump) <= 2 * 3 / 30 + 1e-6  # neighbours across the edge differ by at most a pixel's step


def test_a_folder_of_ten_pictures_is_read_in_the_order_of_names(tmp_path):
    for part in PARTS:
        (tmp_path / part).mkdir()
        for i in range(10):
            Image.new("RGB", (40, 30), (i * 25, 0, 255 - i * 25)).save(tmp_path / part / f"{i}_picture.png")
    pictures = load_textures(tmp_path, "background", size=20)
    assert pictures.shape == (10, 3, 20, 20)
    assert (pictures[:, 0, 5, 5] * 255).round().tolist() == [i * 25 for i in range(10)]


def test_wrong_folders_are_named(tmp_path):
    with pytest.raises(UserError, match="is not a folder"):
        load_textures(tmp_path, "object")
    (tmp_path / "object").mkdir()
    with pytest.raises(UserError, match="holds 0 files"):
        load_textures(tmp_path, "object")
    for i in range(10):
        (tmp_path / "object" / f"{i}.jpg").write_text("no picture")
    with pytest.raises(UserError, match=r"0\.jpg is not a picture"):
        load_textures(tmp_path, "object")
    with pytest.raises(UserError, match="unknown part 'subject'"):
        load_textures(None, "subject")
