"""Recordings of somebody else's black box become pairs, and pairs a black box."""

import numpy as np
import pytest
import torch
from PIL import Image

from skdcgn.base.config import Noise, QueryConfig, Store
from skdcgn.base.errors import UserError
from skdcgn.base.files import sha256
from skdcgn.base.tensors import write_tensors
from skdcgn.cgn.black_box import BlackBox
from skdcgn.cgn.compose import draw
from skdcgn.cgn.mechanism import Mechanism
from skdcgn.pairs.manifest import HELD_OUT, TRAIN, read_plans
from skdcgn.pairs.query import query_all
from skdcgn.pairs.recorded import Recorded
from skdcgn.pairs.stored import read_pairs
from skdcgn.pairs.stores import as_levels, from_levels
from skdcgn.teachers.load import load_teacher
from skdcgn.teachers.record import RecordConfig, record
from skdcgn.teachers.recorded import open_recorded

COUNT, CLASSES = 40, 10
NAMES = tuple(f"class {letter}" for letter in "abcdefghij")


@pytest.fixture(scope="module")
def answers(analytic_teacher):
    """Noise, labels and the levels (N, C, H, W) of each mechanism that a teacher answered."""
    noise = analytic_teacher.spec.sample_noise(COUNT, torch.Generator().manual_seed(1))
    labels = torch.arange(COUNT) % CLASSES
    return noise, labels, {m: as_levels(draw(analytic_teacher, m, noise, labels), m) for m in Mechanism}


def save_png(path, levels):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = levels[0] if len(levels) == 1 else levels.permute(1, 2, 0)
    Image.fromarray(pixels.numpy()).save(path)


@pytest.fixture(scope="module")
def folder(answers, tmp_path_factory):
    """A folder of PNGs with labels.csv, whose labels are names, and noise.npy."""
    noise, labels, images = answers
    root = tmp_path_factory.mktemp("recorded")
    for mechanism, levels in images.items():
        for row, image in enumerate(levels):
            save_png(root / "pictures" / mechanism / f"{row:03d}.png", image)
    lines = [f"{row:03d}.png,{NAMES[label]}" for row, label in enumerate(labels.tolist())]
    (root / "labels.csv").write_text("\n".join(["file,label", *lines]))
    np.save(root / "noise.npy", noise.numpy())
    return root


def recorded(folder, out, **changes):
    words = {"labels": folder / "labels.csv", "noise": folder / "noise.npy", **changes}
    return record(folder / "pictures", out, **words)


@pytest.fixture(scope="module")
def pairs(folder, tmp_path_factory):
    """The pairs of the folder."""
    out = tmp_path_factory.mktemp("pairs") / "pairs"
    recorded(folder, out, config=RecordConfig(held_out=10))
    return out


def contents(folder):
    return {path.relative_to(folder): sha256(path) for path in sorted(folder.rglob("*.*")) if path.suffix != ".lock"}


def test_pairs_keep_noise_label_and_picture_of_each_row_together(answers, pairs):
    noise, labels, images = answers
    rows = {tuple(u.tolist()): row for row, u in enumerate(noise)}
    for mechanism in Mechanism:
        parts = [read_pairs(pairs / mechanism / purpose) for purpose in (TRAIN, HELD_OUT)]
        assert [len(part.labels) for part in parts] == [30, 10]
        places = torch.tensor([rows[tuple(u.tolist())] for part in parts for u in part.noise])
        assert sorted(places.tolist()) == list(range(COUNT))
        assert torch.equal(torch.cat([part.labels for part in parts]), labels[places])
        assert torch.equal(
            torch.cat([part.images for part in parts]), from_levels(images[mechanism][places], mechanism)
        )
        assert parts[1].labels.bincount().tolist() == [1] * CLASSES


def test_the_plan_says_that_the_noise_was_recorded_and_names_the_classes(pairs):
    plan = read_plans(pairs, TRAIN)[Mechanism.SHAPE]
    assert (plan.noise, plan.store, plan.spec.names) == (Noise.RECORDED, Store.UINT8, NAMES)
    assert not plan.spec.tiles


@pytest.mark.parametrize("layout", ["npz", "safetensors", "floats", "channels last"])
def test_arrays_give_the_pairs_that_files_give(layout, answers, pairs, tmp_path):
    noise, labels, images = answers
    arrays = {m.value: levels for m, levels in images.items()}
    if layout == "floats":
        arrays = {m.value: from_levels(levels, m) for m, levels in images.items()}
    if layout == "channels last":
        arrays = {m: levels.permute(0, 2, 3, 1).squeeze(3) for m, levels in arrays.items()}
    arrays |= {"labels": labels, "noise": noise}
    if layout == "safetensors":
        file = tmp_path / "all.safetensors"
        write_tensors(file, arrays)
    else:
        file = tmp_path / "all.npz"
        np.savez_compressed(file, **{name: array.numpy() for name, array in arrays.items()})
    record(file, tmp_path / "out", config=RecordConfig(held_out=10))
    for mechanism in Mechanism:
        own, other = (read_pairs(root / mechanism / TRAIN) for root in (tmp_path / "out", pairs))
        assert all(torch.equal(*parts) for parts in zip(own, other, strict=True))


def test_recorded_pairs_are_a_black_box_that_answers_what_was_recorded(answers, pairs):
    noise, labels, images = answers
    teacher = load_teacher(f"recorded:{pairs}")
    assert isinstance(teacher, BlackBox)
    assert isinstance(teacher, Recorded)
    assert not teacher.access.paid
    for mechanism in Mechanism:
        assert torch.equal(teacher.query(mechanism, noise, labels), from_levels(images[mechanism], mechanism))
    near = noise + 1e-3
    assert torch.equal(teacher.query("texture", near, labels), teacher.query("texture", noise, labels))


def test_the_same_command_writes_the_same_bytes_and_another_recording_is_refused(folder, pairs, tmp_path):
    before = contents(pairs)
    recorded(folder, pairs, config=RecordConfig(held_out=10))
    assert contents(pairs) == before
    (pairs / "texture" / "train" / "shard-00000.safetensors").unlink()
    recorded(folder, pairs, config=RecordConfig(held_out=10))
    assert contents(pairs) == before
    np.save(tmp_path / "noise.npy", -np.load(folder / "noise.npy"))
    with pytest.raises(UserError, match="holds other pairs"):
        recorded(folder, pairs, noise=tmp_path / "noise.npy", config=RecordConfig(held_out=10))


def test_recorded_folders_that_do_not_exist_are_one_line(tmp_path):
    with pytest.raises(UserError, match="no folder of pairs"):
        open_recorded(tmp_path / "nowhere")


def test_a_query_of_recorded_pairs_takes_what_was_recorded_and_cuts_the_counts(pairs, tmp_path, caplog):
    caplog.set_level("INFO")
    config = QueryConfig(shape=20, texture=20, background=1000, held_out=1000, shard_size=7)
    query_all(load_teacher(f"recorded:{pairs}"), tmp_path, config)
    assert caplog.text.count("pairs are recorded, which are all taken") == 4
    for mechanism, count in zip(Mechanism, (20, 20, 30), strict=True):
        own, source = (read_pairs(root / mechanism / TRAIN) for root in (tmp_path, pairs))
        assert len(own.labels) == count
        rows = {tuple(u.tolist()): row for row, u in enumerate(source.noise)}
        places = torch.tensor([rows[tuple(u.tolist())] for u in own.noise])
        assert len(places.unique()) == count
        assert torch.equal(own.images, source.images[places])
        assert own.labels.bincount().tolist() == [count // CLASSES] * CLASSES
    assert read_plans(tmp_path, HELD_OUT)[Mechanism.SHAPE].noise is Noise.RECORDED


def test_some_classes_of_recorded_pairs_are_numbered_anew(pairs, tmp_path):
    config = QueryConfig(shape=99, texture=99, background=99, held_out=99, classes="2,5")
    query_all(load_teacher(f"recorded:{pairs}"), tmp_path, config)
    own, source = (read_pairs(root / "texture" / TRAIN) for root in (tmp_path, pairs))
    assert own.labels.tolist() == [0, 1] * 3
    assert torch.equal(own.images[1::2], source.images[source.labels == 5])


def test_recorded_noise_is_no_noise_to_ask_another_teacher_for(analytic_teacher, tmp_path):
    with pytest.raises(UserError, match="of a recording alone"):
        query_all(analytic_teacher, tmp_path, QueryConfig(noise=Noise.RECORDED))
