"""Pictures and files: what is written is what was composed."""

import csv

import pytest
import torch
from PIL import Image, ImageSequence

from skdcgn.base.errors import UserError
from skdcgn.base.tensors import read_tensors
from skdcgn.cgn.compose import compose
from skdcgn.cgn.drawings import interpolate
from skdcgn.cgn.layers import blend
from skdcgn.cgn.mechanism import Layers, Mechanism, Spec, spec_from_metadata
from skdcgn.cgn.pictures import SPACING, as_rgb, grid
from skdcgn.data.counterfactual_file import read_counterfactuals
from skdcgn.deploy.generate import write_counterfactuals, write_interpolation


def test_safetensors_hold_the_counterfactuals_exactly(analytic_teacher, tmp_path):
    path, sheet = write_counterfactuals(analytic_teacher, tmp_path, 12, per_shape=3, seed=5)
    expected = compose(analytic_teacher, 12, per_shape=3, seed=5)
    tensors, _ = read_tensors(path)
    assert all(torch.equal(tensors[name], value) for name, value in expected.to_dict().items())
    assert torch.equal(read_counterfactuals(path).labels, expected.shape_labels)
    with Image.open(sheet) as picture:
        assert picture.size[0] > 32


def test_pngs_and_their_table_hold_them_to_a_256th(analytic_teacher, tmp_path):
    table, _ = write_counterfactuals(analytic_teacher, tmp_path, 7, seed=1, form="png")
    expected = compose(analytic_teacher, 7, seed=1)
    rows = list(csv.DictReader(table.read_text().splitlines()))
    for index, row in enumerate(rows):
        with Image.open(tmp_path / row["file"]) as picture:
            image = torch.tensor(list(picture.tobytes())).view(32, 32, 3).permute(2, 0, 1) / 127.5 - 1
        assert float((image - expected.images[index]).abs().max()) <= 1 / 255 + 1e-6
        labels = (expected.shape_labels, expected.texture_labels, expected.background_labels)
        assert [int(row[m]) for m in Mechanism] == [int(x[index]) for x in labels]
    assert len(rows) == 7


def pictures(count):
    return {f"{index:06d}.png" for index in range(count)}


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


SETS = {"12 pictures": (12, "png"), "5 pictures": (5, "png"), "a file": (7, "safetensors")}
FILES = {
    "12 pictures": {"labels.csv", "sheet.png"} | pictures(12),
    "5 pictures": {"labels.csv", "sheet.png"} | pictures(5),
    "a file": {"counterfactuals.safetensors", "sheet.png"},
}


@pytest.fixture(scope="module")
def fresh(analytic_teacher, tmp_path_factory):
    """The contents of a new folder, for each set."""
    folders = {name: tmp_path_factory.mktemp("fresh") for name in SETS}
    for name, (count, form) in SETS.items():
        write_counterfactuals(analytic_teacher, folders[name], count, form=form)
    return {name: contents(folder) for name, folder in folders.items()}


@pytest.mark.parametrize("before", SETS)
@pytest.mark.parametrize("after", SETS)
def test_a_folder_ends_with_the_files_of_its_last_set_and_those_of_others(
    before, after, fresh, analytic_teacher, tmp_path
):
    write_counterfactuals(analytic_teacher, tmp_path, SETS[before][0], form=SETS[before][1], seed=9)
    assert set(contents(tmp_path)) == FILES[before]
    (tmp_path / "0001.png").write_text("a user's")
    write_counterfactuals(analytic_teacher, tmp_path, SETS[after][0], form=SETS[after][1])
    assert contents(tmp_path) == {**fresh[after], "0001.png": b"a user's"}


class Dying:
    """The analytic teacher until a number of queries."""

    spec, digest, size = Spec(), "dying", None

    def __init__(self, teacher, queries):
        self.teacher, self.queries = teacher, queries

    def query(self, mechanism, noise, labels):
        self.queries -= 1
        if self.queries < 0:
            raise KeyboardInterrupt
        return self.teacher.query(mechanism, noise, labels)


@pytest.mark.parametrize("before", SETS)
@pytest.mark.parametrize("form", ["png", "safetensors"])
def test_a_killed_run_looks_unfinished_and_a_later_one_ends_as_if_it_had_not_been(
    before, form, fresh, analytic_teacher, tmp_path
):
    write_counterfactuals(analytic_teacher, tmp_path, SETS[before][0], form=SETS[before][1], seed=9)
    former = contents(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        write_counterfactuals(Dying(analytic_teacher, 3), tmp_path, 257, form=form)
    if form == "safetensors":
        assert contents(tmp_path) == former
    else:
        assert not (tmp_path / "labels.csv").exists()
    for after, (count, again) in SETS.items():
        write_counterfactuals(analytic_teacher, tmp_path, count, form=again)
        assert contents(tmp_path) == fresh[after]


def test_a_cgn_that_cannot_draw_changes_no_file(analytic_teacher, tmp_path):
    write_counterfactuals(analytic_teacher, tmp_path, 3, form="png")
    former = contents(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        write_counterfactuals(Dying(analytic_teacher, 0), tmp_path, 5, form="png")
    assert contents(tmp_path) == former


@pytest.mark.parametrize("name", ["000007.png", "000002.png", "labels.csv"])
def test_files_of_somebody_else_are_refused_and_stay(name, analytic_teacher, tmp_path):
    (tmp_path / name).write_text("image,class\n")
    with pytest.raises(UserError, match=rf"{name} .*choose an"):
        write_counterfactuals(analytic_teacher, tmp_path, 5, form="png")
    assert contents(tmp_path) == {name: b"image,class\n"}
    write_counterfactuals(analytic_teacher, tmp_path, 5)
    assert set(contents(tmp_path)) == {name, "counterfactuals.safetensors", "sheet.png"}


def test_a_table_lists_no_file_outside_its_folder(analytic_teacher, tmp_path):
    (tmp_path / "000001.png").write_text("a user's")
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "labels.csv").write_text("file,shape,texture,background\n../000001.png,1,1,1\n")
    write_counterfactuals(analytic_teacher, folder, 1, form="png")
    assert (tmp_path / "000001.png").read_text() == "a user's"


def test_a_set_keeps_the_names_of_its_classes(analytic_teacher, tmp_path):
    class Named:
        spec = Spec(classes=3, names=("a, b", "cat", "dog"))
        digest, size, query = "named", None, analytic_teacher.query

    path, _ = write_counterfactuals(Named(), tmp_path, 9)
    assert spec_from_metadata(read_tensors(path)[1], path) == Named.spec
    table, _ = write_counterfactuals(Named(), tmp_path, 9, form="png")
    for row in csv.DictReader(table.read_text().splitlines()):
        assert [row[f"{m}_name"] for m in Mechanism] == [Named.spec.names[int(row[m])] for m in Mechanism]


def test_an_unknown_format_is_named(analytic_teacher, tmp_path):
    with pytest.raises(UserError, match="unknown format 'jpeg': use safetensors or png"):
        write_counterfactuals(analytic_teacher, tmp_path, 1, form="jpeg")


@pytest.mark.parametrize("varied", ["shape", "texture", "background", "all"])
def test_interpolation_begins_and_ends_at_the_drawn_images_and_moves_only_what_it_says(analytic_teacher, varied):
    images = interpolate(analytic_teacher, varied, 3, 5, frames=9, seed=2)
    from skdcgn.base.seeds import generator

    noise = analytic_teacher.spec.sample_noise(2, generator(2, "interpolate"))
    for frame, end in ((0, 0), (-1, 1)):
        layers = []
        for mechanism in Mechanism:
            row = end if varied in (mechanism, "all") else 0
            layers.append(analytic_teacher.query(mechanism, noise[[row]], torch.tensor([(3, 5)[row]])))
        assert torch.allclose(images[frame], blend(Layers(*layers))[0], atol=1e-6)


def test_the_animation_runs_forth_and_back(analytic_teacher, tmp_path):
    strip, animation = write_interpolation(analytic_teacher, tmp_path, "all", (3, 5), frames=6)
    with Image.open(animation) as gif:
        assert sum(1 for _ in ImageSequence.Iterator(gif)) == 10
    with Image.open(strip) as picture:
        assert picture.size == (2 * (6 * (32 + SPACING) - SPACING), 64)


def test_a_grid_puts_each_image_in_its_cell():
    images = torch.arange(5, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 4, 4)
    sheet = grid(images, 3)
    assert sheet.shape == (2 * 4 + SPACING, 3 * 4 + 2 * SPACING, 3)
    assert [int(sheet[r * (4 + SPACING), c * (4 + SPACING), 0]) for r in range(2) for c in range(3)] == [
        0,
        1,
        2,
        3,
        4,
        255,
    ]


def test_rgb_scales_masks_and_pictures_to_bytes():
    assert as_rgb(torch.tensor([0.0, 0.5, 1.0])[:, None, None, None])[:, :, 0, 0].tolist() == [
        [0] * 3,
        [128] * 3,
        [255] * 3,
    ]
    assert as_rgb(torch.tensor([-1.0, 1.0])[:, None, None, None].expand(-1, 3, 1, 1))[:, 0, 0, 0].tolist() == [0, 255]


def test_the_default_classes_are_the_first_and_the_last(analytic_teacher, tmp_path):
    files = [write_interpolation(analytic_teacher, tmp_path / str(pair), "all", pair)[0] for pair in (None, (0, 9))]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_classes_that_the_cgn_has_not_are_refused(analytic_teacher, tmp_path):
    with pytest.raises(UserError, match="between classes 3 and 10: use classes 0 to 9"):
        write_interpolation(analytic_teacher, tmp_path, "shape", (3, 10))


def test_a_folder_is_no_set_of_counterfactuals_but_may_hold_one(analytic_teacher, tmp_path):
    with pytest.raises(UserError, match=r"pass the file counterfactuals\.safetensors"):
        read_counterfactuals(tmp_path)
    path, _ = write_counterfactuals(analytic_teacher, tmp_path, 4)
    with pytest.raises(UserError, match=f"pass {path}"):
        read_counterfactuals(tmp_path)


def test_an_unknown_mechanism_is_named(analytic_teacher, tmp_path):
    with pytest.raises(UserError, match="cannot interpolate 'colour'"):
        write_interpolation(analytic_teacher, tmp_path, "colour", (0, 1))
