"""Textures: the same every time, unlike each other in colour and in pattern, alive in every crop; folders in order."""

import itertools
import time

import numpy as np
import pytest
import torch
from PIL import Image

from skdcgn.base.errors import UserError
from skdcgn.data.textures import FIELDS, TABLES, load_textures, procedural_textures, seed_cells

PARTS = tuple(TABLES)
PAIRS = list(itertools.combinations(range(10), 2))
BINS = 5


def colour_histograms(pictures):
    """Shares of BINS ** 3 colours, one row per picture: (N, 3, H, W) in [0, 1] -> (N, BINS ** 3)."""
    red, green, blue = (pictures * BINS).long().clamp(max=BINS - 1).unbind(1)
    codes = ((red * BINS + green) * BINS + blue).flatten(1)
    return torch.stack([row.bincount(minlength=BINS**3) / len(row) for row in codes])


def patterns(pictures):
    """Autocorrelation of each picture's grey at shifts up to 12 pixels: pattern without colour or contrast."""
    grey = pictures.mean(1) - pictures.mean((1, 2, 3), keepdim=True)[:, 0]
    power = torch.fft.fft2(grey).abs().square()
    correlation = torch.fft.fftshift(torch.fft.ifft2(power).real, (1, 2))
    middle = correlation.shape[-1] // 2
    return (correlation / correlation.amax((1, 2), keepdim=True))[:, middle:, middle - 12 : middle + 13][:, :13]


def crops(picture, count=40, size=32):
    corners = torch.randint(picture.shape[-1] - size + 1, (count, 2), generator=torch.Generator().manual_seed(0))
    return torch.stack([picture[:, y : y + size, x : x + size] for y, x in corners.tolist()])


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("size", [8, 32, 150])
def test_shape_range_and_type(part, size):
    pictures = load_textures(None, part, size)
    assert pictures.shape == (10, 3, size, size)
    assert pictures.dtype == torch.float32
    assert pictures.isfinite().all()
    assert 0 <= float(pictures.min()) < 0.1
    assert 0.9 < float(pictures.max()) <= 1


@pytest.mark.parametrize("part", PARTS)
def test_the_same_bytes_every_time_whatever_the_global_seed(part):
    first = load_textures(None, part)
    procedural_textures.cache_clear()
    torch.manual_seed(123)
    state = torch.get_rng_state()
    assert torch.equal(load_textures(None, part), first)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_caller_cannot_spoil_the_next_ones_pictures():
    first = load_textures(None, "object")
    kept = first.clone()
    first.zero_()
    assert torch.equal(load_textures(None, "object"), kept)


def test_all_twenty_take_less_than_two_seconds_of_one_core_and_nothing_the_second_time():
    procedural_textures.cache_clear()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        start = time.process_time()
        for part in PARTS:
            load_textures(None, part)
        assert time.process_time() - start < 2
        start = time.process_time()
        load_textures(None, "object")
        assert time.process_time() - start < 0.1
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("part", PARTS)
def test_every_two_classes_differ_in_colour(part):
    """At least half of the pixels of one would need another of the 125 colours to match the other."""
    histograms = colour_histograms(load_textures(None, part))
    shared = {pair: float(torch.minimum(*histograms[list(pair)]).sum()) for pair in PAIRS}
    assert max(shared.values()) < 0.5, shared


@pytest.mark.parametrize("part", PARTS)
def test_every_two_classes_differ_in_pattern(part):
    """Without colour and contrast, some shift still correlates differently by a tenth."""
    correlations = patterns(load_textures(None, part))
    gaps = {(a, b): float((correlations[a] - correlations[b]).abs().max()) for a, b in PAIRS}
    assert min(gaps.values()) > 0.1, gaps


@pytest.mark.parametrize("part", PARTS)
def test_every_crop_shows_a_pattern_and_no_two_are_alike(part):
    for picture in load_textures(None, part):
        cut = crops(picture)
        assert float(cut.std((2, 3)).mean(1).min()) > 0.02
        assert float(torch.pdist(cut.flatten(1)).min()) / cut[0].numel() ** 0.5 > 0.02  # root mean square


@pytest.mark.parametrize("part", PARTS)
def test_a_crop_gives_its_class_away(part):
    """What makes wildlife a shortcut: the nearest mean colour histogram names a crop's class."""
    pictures = load_textures(None, part)
    histograms = torch.stack([colour_histograms(crops(picture)) for picture in pictures])  # (10, 40, BINS ** 3)
    guesses = torch.cdist(histograms.flatten(0, 1), histograms.mean(1)).argmin(1)
    assert float((guesses == torch.arange(10).repeat_interleave(40)).float().mean()) > 0.98


@pytest.mark.parametrize("part", PARTS)
def test_the_table_means_what_it_says(part):
    """Most pixels lie near one of the row's two colours or between them, and the share of figure is the row's."""
    for pattern, picture in zip(TABLES[part], load_textures(None, part), strict=True):
        figure, ground = torch.tensor(pattern.figure) / 255, torch.tensor(pattern.ground) / 255
        axis = figure - ground
        along = ((picture - ground[:, None, None]) * axis[:, None, None]).sum(0) / axis.square().sum()
        away = picture - ground[:, None, None] - along * axis[:, None, None]
        assert float((away.norm(dim=0) < 0.15).float().mean()) > 0.95, pattern
        assert float((along > 0.5).float().mean()) == pytest.approx(pattern.share, abs=0.1), pattern


def test_every_kind_of_field_is_used_and_known():
    assert {pattern.kind for table in TABLES.values() for pattern in table} == set(FIELDS)
    assert all(len(table) == 10 for table in TABLES.values())


@pytest.mark.parametrize("angle", [0, 30, 90, 135])
def test_stripes_run_as_the_angle_says(angle):
    """The field changes most across the stripes: the main axis of its gradients is the angle."""
    pattern = TABLES["object"][0]._replace(angle=angle)
    field = FIELDS["stripes"](pattern, 150, torch.Generator().manual_seed(0))
    dy, dx = torch.gradient(field)
    angle_of_image = 0.5 * torch.atan2(2 * (dx * dy).mean(), (dx.square() - dy.square()).mean()).rad2deg()
    assert float((angle_of_image - angle + 90) % 180 - 90) == pytest.approx(0, abs=10)


@pytest.mark.parametrize("kind", ["stripes", "maze"])
@pytest.mark.parametrize("wavelength", [8, 15, 25])
def test_waves_have_the_stated_length(kind, wavelength):
    pattern = TABLES["object"][0]._replace(wavelength=wavelength)
    power = torch.fft.fft2(FIELDS[kind](pattern, 150, torch.Generator().manual_seed(0))).abs().square()
    frequency = torch.hypot(*torch.meshgrid(*[torch.fft.fftfreq(150)] * 2, indexing="ij"))
    assert float((power * frequency).sum() / power.sum()) == pytest.approx(1 / wavelength, rel=0.1)


def test_borders_are_zero_between_seeds_and_centres_near_them():
    """Cells partition the plane: the border distance is never negative and jumps in tone happen only near it."""
    pattern = TABLES["object"][3]
    cells = seed_cells(pattern, 150, torch.Generator().manual_seed(0), warp=0)
    assert float(cells.border.min()) >= 0
    change = cells.tone[:, 1:] != cells.tone[:, :-1]
    either = torch.minimum(cells.border[:, 1:], cells.border[:, :-1])
    assert change.any()
    assert float(either[change].max()) <= 0.5 / pattern.wavelength + 1e-3  # half a pixel


@pytest.fixture
def folder(tmp_path):
    """Ten flat pictures per part, of several formats, modes and sizes, written in reverse order of their names."""
    for part, blue in zip(PARTS, (0, 255), strict=True):
        (tmp_path / part).mkdir()
        for i in reversed(range(10)):
            image = Image.new("RGB", (200 - i, 90 + i), (25 * i, 255 - 25 * i, blue))
            image = image.convert("RGBA") if i % 2 else image
            image.save(tmp_path / part / f"{i}_striped.{'png' if i % 2 else 'bmp'}")
    (tmp_path / "object" / ".hidden").write_text("not a picture")
    return tmp_path


@pytest.mark.parametrize(("part", "blue"), [("object", 0), ("background", 255)])
def test_a_folder_is_read_in_the_order_of_its_names(folder, part, blue):
    pictures = load_textures(folder, part, 40)
    assert pictures.shape == (10, 3, 40, 40)
    expected = torch.tensor([(25 * i, 255 - 25 * i, blue) for i in range(10)]) / 255
    assert torch.equal(pictures, expected[..., None, None].expand_as(pictures))


def test_a_picture_of_the_right_size_is_read_exactly(folder):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "object" / "1_striped.png")
    assert torch.equal(load_textures(folder, "object", 32)[1], torch.from_numpy(pixels).permute(2, 0, 1) / 255)


def damaged(folder, part="object", name="3_striped.png"):
    return folder / part / name


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda f: damaged(f).unlink(), "holds 9 pictures: it should hold ten"),
        (lambda f: (f / "object" / "z.png").write_bytes(b""), "holds 11 pictures"),
        (lambda f: damaged(f).write_text("no picture"), "3_striped.png is not a picture"),
        (lambda f: damaged(f).write_bytes(damaged(f).read_bytes()[:60]), "3_striped.png is not a picture"),
        (lambda f: (f / "object").rename(f / "objects"), "no folder .*object: --textures needs"),
    ],
)
def test_a_wrong_folder_ends_in_one_line(folder, damage, words):
    damage(folder)
    with pytest.raises(UserError, match=words) as error:
        load_textures(folder, "object")
    assert "\n" not in str(error.value)
    assert str(folder / "object") in str(error.value)
    assert load_textures(folder, "background").shape == (10, 3, 150, 150)


def test_hidden_files_folders_and_notes_are_no_pictures(folder):
    (folder / "object" / "._1_striped.png").write_bytes(b"\0\5\x16\7 what macOS leaves")
    (folder / "object" / "old.png").mkdir()
    (folder / "object" / "notes.txt").write_text("ten pictures")
    (folder / "object" / "paper.pdf").write_bytes(b"%PDF-1.4")
    assert load_textures(folder, "object", 40).shape == (10, 3, 40, 40)


def test_a_texture_is_turned_as_a_photograph_is_and_lies_on_white(folder):
    lying = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
    lying.paste((255, 0, 0, 255), (0, 0, 16, 32))  # left half
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise: left becomes top
    lying.save(folder / "object" / "1_striped.png", exif=exif)
    picture = load_textures(folder, "object", 32)[1]
    assert picture[:, :15].amin((1, 2)).tolist() == [1, 0, 0]
    assert picture[:, :15].amax((1, 2)).tolist() == [1, 0, 0]
    assert (picture[:, 17:] == 1).all()


def test_an_unknown_part_is_named():
    with pytest.raises(UserError, match="unknown part 'coat': use object or background"):
        load_textures(None, "coat")
