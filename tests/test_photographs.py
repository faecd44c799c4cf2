"""A photo CGN: what it draws against the photographs it was made of, its picks, its file, and all that takes it."""

import csv
import shutil

import pytest
import torch

from skdcgn.base.errors import UserError
from skdcgn.base.progress import silent
from skdcgn.base.seeds import generator
from skdcgn.base.tensors import read_tensors, write_tensors
from skdcgn.cgn.compose import compose
from skdcgn.cgn.drawer import draw
from skdcgn.cgn.layers import blend
from skdcgn.cgn.mechanism import Layers, Mechanism, Teacher
from skdcgn.data.folders import as_unit, read_picture
from skdcgn.data.masks import read_mask
from skdcgn.data.synthetic_photos import OBJECTS, synthetic_photos
from skdcgn.teachers.load import load_teacher
from skdcgn.teachers.photo_layers import sharpened
from skdcgn.teachers.photographs import build_photo_cgn
from skdcgn.teachers.transport import even_biases, evenness, pick, pick_counts

SIZE, COUNT = 32, 6


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return synthetic_photos(tmp_path_factory.mktemp("photos"), train=COUNT, test=1, size=SIZE)


@pytest.fixture(scope="module")
def cgn(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("cgn") / "photos.safetensors"
    return build_photo_cgn(photos.images, photos.masks, out, image_size=SIZE, noise_dim=4, watch=silent)


def noise_of_all(cgn, per_class=20 * COUNT):
    labels = torch.arange(cgn.spec.classes).repeat_interleave(per_class)
    return cgn.spec.sample_noise(len(labels), generator(0, "test")), labels


def layers_of(cgn, noise, labels):
    return Layers(*(draw(cgn, mechanism, noise, labels) for mechanism in Mechanism))


def files_of(photos):
    """The photographs in the order of the rows, with their masks."""
    files = [photos.images / name / f"train{i}.png" for name in OBJECTS for i in range(COUNT)]
    return files, [photos.masks / file.parent.name / file.name for file in files]


def test_the_layers_are_those_of_one_photograph_and_compose_to_it(photos, cgn):
    noise, labels = noise_of_all(cgn)
    rows = cgn.photographs(noise, labels)
    assert sorted(rows.unique().tolist()) == list(range(len(OBJECTS) * COUNT))
    assert torch.equal(rows // COUNT, labels)
    files, masks = files_of(photos)
    pictures = torch.stack([as_unit(read_picture(files[row], SIZE)) for row in rows])
    layers = layers_of(cgn, noise, labels)
    given = torch.stack([read_mask(masks[row], SIZE) / 255 for row in rows])
    assert float((layers.mask - sharpened(given)).abs().max()) < 1 / 255
    error = (blend(layers) - pictures).square().mean((1, 2, 3)) / 4  # of values of range 1
    assert float(-10 * error.log10().min()) > 20  # peak signal-to-noise ratio in dB
    assert float(-10 * error.log10().max()) > 14
    inside, outside = layers.mask > 0.99, given < 0.01
    inside = torch.nn.functional.max_pool2d((~inside).float(), 3, 1, 1).expand_as(pictures) == 0
    outside = torch.nn.functional.max_pool2d((~outside).float(), 3, 1, 1).expand_as(pictures) == 0
    assert float((layers.texture - pictures)[inside].abs().max()) < 0.05
    assert float((layers.background - pictures)[outside].abs().max()) < 0.1


def test_a_query_depends_on_nothing_else_in_its_batch_and_takes_an_empty_one(cgn):
    noise, labels = noise_of_all(cgn)
    order = torch.randperm(len(labels), generator=generator(1))
    for mechanism in Mechanism:
        whole = cgn.query(mechanism, noise, labels)
        assert torch.equal(cgn.query(mechanism, noise[order], labels[order]), whole[order])
        parts = zip(noise.split(7), labels.split(7), strict=True)
        assert torch.equal(torch.cat([cgn.query(mechanism, *part) for part in parts]), whole)
        assert cgn.query(mechanism, noise[:0], labels[:0]).shape == (0, mechanism.channels, SIZE, SIZE)
    with pytest.raises(UserError, match="labels run from"):
        cgn.query("shape", noise, labels + 1)


def test_biases_make_picks_even_and_codes_make_near_noise_pick_alike():
    points, rng = torch.randn(40, 8, generator=generator(2)), generator(3)
    biases, noise = even_biases(points, rng), torch.randn(20_000, 8, generator=rng)
    assert evenness(pick_counts(noise, points, biases)) > 0.98
    assert evenness(pick_counts(noise, points, torch.zeros(40))) < 0.7
    near = (noise + 0.3 * torch.randn(noise.shape, generator=rng)) / 1.09**0.5
    first, second, other = (points[pick(u, points, biases)] for u in (noise, near, noise.roll(1, 0)))
    assert float((first - second).norm(dim=1).mean()) < 0.5 * float((first - other).norm(dim=1).mean())


def test_a_file_is_the_same_for_the_same_photographs_and_loads_by_its_tensors(photos, cgn, tmp_path):
    again = build_photo_cgn(photos.images, photos.masks, tmp_path / "again.safetensors", image_size=SIZE, noise_dim=4,
                            watch=silent)  # fmt: skip
    assert again.path.read_bytes() == cgn.path.read_bytes()
    assert again.digest == cgn.digest == load_teacher(cgn.path).digest
    loaded = load_teacher(str(cgn.path))
    assert isinstance(loaded, Teacher)
    assert loaded.spec == cgn.spec
    assert (loaded.spec.tiles, loaded.spec.names) == (False, tuple(OBJECTS))
    again.path.write_bytes(cgn.path.read_bytes())
    with pytest.raises(UserError, match="was replaced while it was read"):
        again.query("shape", *noise_of_all(cgn, 1))


DAMAGES = {
    "codes of another size": (lambda t: {"codes": t["codes"][:, :3].contiguous()}, "codes are F32 of shape"),
    "labels with a gap": (lambda t: {"labels": t["labels"].clamp(max=1)}, "labels must ascend"),
    "labels beyond": (lambda t: {"labels": t["labels"] + 1}, "labels must ascend"),
    "labels out of order": (lambda t: {"labels": t["labels"].flip(0)}, "labels must ascend"),
    "a bias of infinity": (lambda t: {"biases": t["biases"] / 0}, "must be finite"),
    "masks of floats": (lambda t: {"masks": t["masks"].float()}, "masks are F32"),
    "nothing": (lambda t: {name: value[:0] for name, value in t.items()}, "of shape"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_that_is_no_sound_photo_cgn_is_refused(damage, cgn, tmp_path):
    change, words = DAMAGES[damage]
    tensors, metadata = read_tensors(cgn.path)
    write_tensors(tmp_path / "photos.safetensors", tensors | change(tensors), metadata)
    with pytest.raises(UserError, match=f"{words}.*write it again by skdcgn photos"):
        load_teacher(tmp_path / "photos.safetensors")


def test_the_verb_makes_one_and_refuses_what_it_cannot_take_apart(photos, skdcgn, tmp_path):
    out = tmp_path / "photos.safetensors"
    paths = [str(photos.images), "--masks", str(photos.masks)]
    status, printed, _ = skdcgn("photos", *paths, "--out", str(out), "--image-size", "16", "--background", "photograph")
    assert (status, f"({3 * COUNT} photographs of 3 classes)" in printed) == (0, True)
    background = load_teacher(out).query("background", torch.zeros(1, 8), torch.tensor([0]))
    files = [as_unit(read_picture(file, 16)) for file in files_of(photos)[0]]
    assert any(torch.equal(background[0].round(decimals=4), file.round(decimals=4)) for file in files)
    for line, words in (
        ([*paths, "--out", str(tmp_path / "photos.pth")], "end it in .safetensors"),
        ([paths[0], "--masks", str(tmp_path), "--out", str(out)], "has no mask of a photograph"),
    ):
        status, _, error = skdcgn("photos", *line)
        assert (status, words in error, error.count("\n")) == (2, True, 1)


def test_a_class_without_a_usable_mask_is_named(photos, tmp_path):
    shutil.copytree(photos.masks, tmp_path / "masks")
    shutil.rmtree(tmp_path / "masks" / "disc")
    with pytest.raises(UserError, match="no usable mask of the class 'disc'"):
        build_photo_cgn(photos.images, tmp_path / "masks", tmp_path / "p.safetensors", watch=silent)
    assert not (tmp_path / "p.safetensors").exists()


def test_a_whole_object_of_one_photograph_is_drawn_on_the_background_of_another(photos, cgn):
    images = compose(cgn, 60, policy=("texture.whole:1",), seed=1)
    assert torch.equal(images.texture_labels, images.shape_labels)
    assert not torch.equal(images.background_labels, images.shape_labels)
    tensors, _ = read_tensors(cgn.path)
    mask, surface = tensors["masks"] / 255, as_unit(tensors["textures"])
    objects = mask * surface  # (N, 3, S, S), of each photograph
    inside = (mask > 0.99).float()
    errors = [(inside * (image - objects)).square().mean((1, 2, 3)).min() for image in images.images]
    assert max(map(float, errors)) < 1e-4


def test_a_mosaic_is_made_of_the_object_and_keeps_no_shape(photos, tmp_path):
    def textures(name, seed):
        folders = photos.images, photos.masks, tmp_path / f"{name}.safetensors"
        made = build_photo_cgn(*folders, image_size=SIZE, texture="mosaic", seed=seed, watch=silent)
        return read_tensors(made.path)[0]["textures"]

    first, same, other = textures("first", 0), textures("same", 0), textures("other", 1)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    files, masks = files_of(photos)
    for row in range(COUNT, 3 * COUNT):  # discs and squares; the arms of a cross are narrower than a patch
        picture, inside = read_picture(files[row], SIZE), read_mask(masks[row], SIZE)[0] > 127
        pixels = [tuple(pixel) for pixel in first[row].flatten(1).T.tolist()]
        assert set(pixels) <= {tuple(pixel) for pixel in picture.flatten(1).T.tolist()}
        own = {tuple(pixel) for pixel in picture[:, inside].T.tolist()}
        assert sum(pixel in own for pixel in pixels) > 0.7 * SIZE**2


def test_all_that_takes_a_cgn_takes_one_and_export_says_why_it_does_not(photos, cgn, skdcgn, tmp_path):
    def run(*line):
        status, printed, error = skdcgn(*map(str, line))
        assert status == 0, error
        return printed

    run("generate", cgn.path, "--out", tmp_path / "images", "-n", 24, "--policy", "texture.whole:0.5")
    run("classify", tmp_path / "images/counterfactuals.safetensors", "--out", tmp_path / "classifier", "--epochs", 1)
    run("generate", cgn.path, "--out", tmp_path / "png", "-n", 3, "--format", "png")
    rows = list(csv.DictReader((tmp_path / "png/labels.csv").read_text().splitlines()))
    assert all(OBJECTS.keys() >= {row["shape_name"], row["background_name"]} for row in rows)
    run("generate", cgn.path, "--out", tmp_path / "strip", "--interpolate", "background", "--frames", 3)
    small = ["--width", 4, "--image-size", 16, "--epochs", 1, "--batch-size", 6, "--counterfactuals", 6]
    run("ensemble", "--real", photos.images, "--cgn", cgn.path, "--out", tmp_path / "ensemble", *small)
    budget = [f"--{mechanism}={count}" for mechanism, count in zip(Mechanism, (12, 12, 12), strict=True)]
    run("query", cgn.path, "--out", tmp_path / "pairs", *budget, "--held-out", 6)
    run("distill", tmp_path / "pairs", "--out", tmp_path / "student", "--steps", 1, "--batch-size", 4)
    student = load_teacher(tmp_path / "student/student")
    assert (student.spec.tiles, student.spec.names) == (False, tuple(OBJECTS))
    status, _, error = skdcgn("export", str(cgn.path), "--out", str(tmp_path / "cgn.onnx"))
    assert (status, error) == (2, "error: a black box has no weights to export: distill it and export the student\n")
