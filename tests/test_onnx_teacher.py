"""ONNX files as teachers: our own exports and a StyleGAN2 that this project did not export, in every form."""

import logging

import pytest
import torch

from onnx_generators import CLASSES, SIDE, StyleGAN, Z, write_stylegan
from skdcgn.base.errors import UserError
from skdcgn.cgn.black_box import Access, access_of
from skdcgn.cgn.drawer import draw
from skdcgn.cgn.mechanism import Mechanism, Spec
from skdcgn.pairs.stored import StoredPairs
from skdcgn.students.generator import StudentCGN
from skdcgn.teachers.load import load_teacher

SPEC = Spec(SIDE, Z, CLASSES)
NOISE, LABELS = SPEC.sample_noise(5, torch.Generator().manual_seed(0)), torch.tensor([0, 2, 1, 1, 0])
THREE, ONE = {0: "mask", 1: "texture", 2: "background"}, {None: "image"}
PSI = 0.6
TOLERANCE = 2e-5  # of single precision through nine layers, by two routes


@pytest.fixture(scope="module")
def network():
    return StyleGAN()


def images_of(teacher):
    return [draw(teacher, m, NOISE, LABELS) for m in Mechanism]


def assert_draws(teacher, network, psi=1.0):
    for mechanism, images, expected in zip(Mechanism, images_of(teacher), network(NOISE, LABELS, psi), strict=True):
        assert torch.allclose(images, expected, atol=TOLERANCE), mechanism
    assert teacher.spec.image_size == SIDE
    assert access_of(teacher) == Access(paid=False)


@pytest.mark.parametrize("labels", ["one-hot", "int64", "int32"])
@pytest.mark.parametrize(("batch", "last"), [("B", False), (4, True)])
def test_three_outputs_of_one_file(labels, batch, last, network, tmp_path):
    file = write_stylegan(tmp_path / "gan.onnx", network, THREE, labels=labels, batch=batch, last=last)
    stated = None if labels == "one-hot" else f"classes={CLASSES}"
    assert_draws(load_teacher(file, spec=stated, truncation=PSI), network, PSI)
    assert load_teacher(file, spec=stated).spec == SPEC


@pytest.mark.parametrize(
    ("kind", "shape"), [("INT64", []), ("INT32", [1]), ("INT64", ["B"]), ("FLOAT", [3]), ("FLOAT", ["B", 3])]
)
def test_one_network_with_an_input_for_the_mechanism(kind, shape, network, tmp_path):
    file = write_stylegan(tmp_path / "gan.onnx", network, ONE, mechanism=(kind, shape), psi=False)
    assert_draws(load_teacher(file), network)


def test_noise_of_four_dimensions_and_labels_in_single_precision(network, tmp_path):
    file = write_stylegan(tmp_path / "gan.onnx", network, THREE, planes=True, labels="one-hot", batch=2)
    assert_draws(load_teacher(file), network)


def test_a_folder_of_three_networks(network, tmp_path):
    others = [StyleGAN(seed) for seed in range(3)]
    for number, (mechanism, one) in enumerate(zip(Mechanism, others, strict=True)):
        write_stylegan(tmp_path / f"{mechanism}.onnx", one, {number: "y"}, names=("input", "onehot"), psi=False)
    images = images_of(load_teacher(tmp_path))
    for number, one in enumerate(others):
        assert torch.allclose(images[number], one(NOISE, LABELS)[number], atol=TOLERANCE)
    write_stylegan(tmp_path / "shape.onnx", StyleGAN(3), {0: "y"}, names=("input", "onehot"), psi=False)
    changed = load_teacher(tmp_path)
    assert not torch.allclose(images_of(changed)[0], images[0], atol=0.01)


def test_the_digest_is_of_the_file_and_of_the_truncation(network, tmp_path):
    file, other = (write_stylegan(tmp_path / f"{k}.onnx", StyleGAN(k), THREE) for k in range(2))
    digests = [load_teacher(one, truncation=psi).digest for one, psi in ((file, 1), (file, 0.5), (other, 1))]
    assert len(set(digests)) == 3
    assert load_teacher(file, truncation=0.5).spec.truncation == 0.5


def test_metadata_and_words_complete_the_shapes(network, tmp_path, caplog):
    words = '{"distribution": "truncated-normal", "names": ["cat", "dog", "fox"], "tiles": false, "truncation": 0.6}'
    file = write_stylegan(tmp_path / "gan.onnx", network, THREE, labels="int64", metadata={"spec": words})
    with caplog.at_level(logging.INFO, "skdcgn"):
        teacher = load_teacher(file)
    assert teacher.spec == Spec(SIDE, Z, 3, "truncated-normal", ("cat", "dog", "fox"), tiles=False, truncation=PSI)
    assert_draws(teacher, network, PSI)
    (record,) = caplog.records
    assert "noise: z (?, 6)" in record.message
    assert "truncation: truncation_psi" in record.message


def test_noise_and_one_hot_labels_without_telling_names_are_told_apart_by_their_sizes(network, tmp_path):
    file = write_stylegan(tmp_path / "gan.onnx", network, THREE, names=("input.1", "input.2"), psi=False)
    with pytest.raises(UserError, match=r"its input input\.1 .*is unknown.*name its inputs noise"):
        load_teacher(file)
    assert_draws(load_teacher(file, spec=f"noise_dim={Z},classes={CLASSES}"), network)


WRONG = {
    "no mechanism": ({"draws": {1: "image"}}, {}, "a teacher draws three mechanisms: name three outputs"),
    "no classes": ({"draws": THREE, "labels": "int64"}, {}, "does not state how many classes.*--spec classes="),
    "other classes": ({"draws": THREE}, {"spec": "classes=4"}, "states classes 3, and --spec says 4"),
    "other noise": ({"draws": THREE}, {"spec": "noise_dim=4"}, "states noise_dim 6, and --spec says 4"),
    "another side": ({"draws": THREE}, {"spec": "image_size=64"}, "states image_size 32, and --spec says 64"),
    "metadata of another": (
        {"draws": THREE, "metadata": {"spec": '{"classes": 4}'}}, {}, "states classes 3, and its metadata say 4",
    ),
    "metadata that is none": ({"draws": THREE, "metadata": {"spec": "[]"}}, {}, "in its metadata.*write the file"),
    "no truncation": ({"draws": THREE, "psi": False}, {"truncation": 0.5}, "no input for a truncation: leave"),
    "a mask in colours": ({"draws": {1: "mask", 0: "texture", 2: "background"}}, {}, "its shape has colours"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_what_does_not_fit_is_named_with_the_mend(kind, network, tmp_path):
    written, opened, words = WRONG[kind]
    file = write_stylegan(tmp_path / "gan.onnx", network, **written)
    with pytest.raises(UserError, match=words) as error:
        load_teacher(file, **opened)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_picture_with_one_channel_is_no_texture(network, tmp_path):
    file = write_stylegan(tmp_path / "gan.onnx", network, {1: "background", 0: "texture", 2: "foreground_mask"})
    with pytest.raises(UserError, match=r"gan\.onnx"):
        load_teacher(file)


def test_a_stylegan_is_queried_and_distilled_by_the_command_line(network, skdcgn, tmp_path):
    file = write_stylegan(tmp_path / "gan.onnx", network, THREE)
    pairs, run = tmp_path / "pairs", tmp_path / "run"
    counts = [word for m in (*Mechanism, "held-out", "shard-size") for word in (f"--{m}", 6)]
    status, _, error = skdcgn("query", file, "--out", pairs, "--truncation", PSI, "--spec", "names=a/b/c", *counts)
    assert status == 0, error
    asked = StoredPairs(pairs / "texture" / "train")
    stored = next(iter(asked))
    assert torch.allclose(stored.images, network(stored.noise, stored.labels, PSI)[1], atol=TOLERANCE)
    size = [word for m in Mechanism for word in (f"--{m}-channels", 4, f"--{m}-grid", 8, f"--{m}-embedding", 2)]
    status, _, error = skdcgn("distill", pairs, "--out", run, "--steps", 2, "--batch-size", 3, *size)
    assert status == 0, error
    assert StudentCGN.load(run / "student").spec == Spec(SIDE, Z, CLASSES, names=("a", "b", "c"), truncation=PSI)
