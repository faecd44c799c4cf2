"""Recordings of somebody else's black box become pairs, and pairs a black box."""

import io
import json
import shutil
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from skdcgn.base.config import DistillConfig, Noise, QueryConfig, Store
from skdcgn.base.errors import UserError
from skdcgn.base.files import sha256
from skdcgn.base.tensors import write_tensors
from skdcgn.cgn.black_box import BlackBox
from skdcgn.cgn.compose import compose
from skdcgn.cgn.drawer import draw
from skdcgn.cgn.mechanism import Mechanism
from skdcgn.pairs.manifest import HELD_OUT, TRAIN, read_plans
from skdcgn.pairs.query import query_all
from skdcgn.pairs.recorded import Recorded
from skdcgn.pairs.stored import read_pairs
from skdcgn.pairs.stores import as_levels, from_levels
from skdcgn.students.distill import distill
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
    with pytest.raises(UserError, match=r"holds other pairs .differs in the recording"):
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


def parquet_bytes(levels):
    file = io.BytesIO()
    Image.fromarray(levels[0].numpy() if len(levels) == 1 else levels.permute(1, 2, 0).numpy()).save(file, "PNG")
    return file.getvalue()


def test_parquet_shards_as_hugging_face_writes_them_give_the_pairs_that_files_give(answers, pairs, tmp_path):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    noise, labels, images = answers
    rows = [(m, row) for row in range(COUNT) for m in Mechanism]
    features = {"image": {"_type": "Image"}, "label": {"names": NAMES, "_type": "ClassLabel"}}
    features["mechanism"] = {"names": list(Mechanism), "_type": "ClassLabel"}
    fields = [
        ("image", arrow.struct({"bytes": arrow.binary(), "path": arrow.string()})),
        ("label", arrow.int64()),
        ("mechanism", arrow.int64()),
        ("noise", arrow.list_(arrow.float32())),
    ]
    metadata = {"huggingface": json.dumps({"info": {"features": features, "description": ""}})}
    schema = arrow.schema(fields, metadata=metadata)
    for shard, part in enumerate((rows[:50], rows[50:])):
        columns = {
            "image": [{"bytes": parquet_bytes(images[m][row]), "path": f"{row}.png"} for m, row in part],
            "label": [int(labels[row]) for _, row in part],
            "mechanism": [list(Mechanism).index(m) for m, _ in part],
            "noise": [noise[row].tolist() for _, row in part],
        }
        file = tmp_path / "table" / f"train-{shard:05d}-of-00002.parquet"
        file.parent.mkdir(exist_ok=True)
        parquet.write_table(arrow.table(columns, schema=schema), file, row_group_size=20)
    record(tmp_path / "table", tmp_path / "out", config=RecordConfig(held_out=10))
    assert read_plans(tmp_path / "out", TRAIN)[Mechanism.SHAPE].spec.names == NAMES
    for mechanism in Mechanism:
        own, other = (read_pairs(root / mechanism / HELD_OUT) for root in (tmp_path / "out", pairs))
        assert all(torch.equal(*parts) for parts in zip(own, other, strict=True))


def test_without_pyarrow_one_line_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "all.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"pip install 'skdcgn\[parquet\]'"):
        record(tmp_path / "all.parquet", tmp_path / "out")


def test_without_noise_pictures_that_look_alike_get_codes_that_are_near(folder, tmp_path):
    summary = recorded(folder, tmp_path, noise="none", config=RecordConfig(noise_dim=2, held_out=10))
    assert summary.codes
    assert "Nobody recorded the noise" in str(summary)
    noise, labels, images = read_pairs(tmp_path / "texture" / TRAIN)
    assert noise.shape == (30, 2)
    same = labels[:, None] == labels
    near, far = (torch.cdist(x.flatten(1), x.flatten(1))[same] for x in (noise, images))
    assert torch.corrcoef(torch.stack([near, far]))[0, 1] > 0.5


def test_a_table_may_name_the_mechanism_and_pictures_in_sub_folders_of_classes_need_none(folder, answers, tmp_path):
    _, labels, images = answers
    lines = ["mechanism,label,file"]
    for mechanism in Mechanism:
        for row, label in enumerate(labels.tolist()):
            save_png(tmp_path / "flat" / f"{mechanism}-{row:03d}.png", images[mechanism][row])
            save_png(tmp_path / "classes" / mechanism / str(label) / f"{row:03d}.png", images[mechanism][row])
            lines.append(f"{mechanism},{label},{mechanism}-{row:03d}.png")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    record(tmp_path / "flat", tmp_path / "a", labels=tmp_path / "labels.csv", noise="none")
    record(tmp_path / "classes", tmp_path / "b", noise="none")
    for root in ("a", "b"):
        plans = read_plans(tmp_path / root, TRAIN)
        assert plans[Mechanism.SHAPE].spec.classes == CLASSES
        assert plans[Mechanism.SHAPE].spec.names == ()  # labels are numbers
    pictures = [read_pairs(tmp_path / root / "texture" / HELD_OUT).images for root in ("a", "b")]
    assert [len(part) for part in pictures] == [4, 4]


def test_other_pictures_are_resized_and_masks_are_their_grey_levels(folder, tmp_path):
    recorded(folder, tmp_path, config=RecordConfig(size=16, held_out=10))
    assert read_pairs(tmp_path / "shape" / TRAIN).images.shape == (30, 1, 16, 16)


def test_a_killed_record_goes_on_and_ends_with_the_same_bytes(folder, pairs, tmp_path):
    class KilledError(Exception):
        pass

    def watch(stage, total):
        def tell(done):
            if stage == "record texture":
                raise KilledError

        return tell

    with pytest.raises(KilledError):
        recorded(folder, tmp_path, config=RecordConfig(held_out=10), watch=watch)
    assert (tmp_path / "shape" / "train" / "manifest.json").exists()
    assert not (tmp_path / "texture" / "train" / "manifest.json").exists()
    recorded(folder, tmp_path, config=RecordConfig(held_out=10))
    assert contents(tmp_path) == contents(pairs)


def write(path, text):
    path.write_text(text)
    return path


def arrays(path, **values):
    np.savez(path, **values)
    return path


def sound_arrays(**changes):
    levels = {m.value: np.zeros((8, m.channels, 4, 4), np.uint8) for m in Mechanism}
    values = {**levels, "labels": np.arange(8) % 2, "noise": np.zeros((8, 3), np.float32)}
    return {name: value for name, value in (values | changes).items() if value is not None}


ARRAY_FAULTS = {
    "has no texture: record all three": {"texture": None},
    "holds whole pictures, which are of no mechanism: make a photo CGN": dict.fromkeys(Mechanism),
    "texture has shape .*: pass": {"texture": np.zeros((8, 4, 4), np.uint8)},
    "8 labels for 7 pictures of shape": {"shape": np.zeros((7, 1, 4, 4), np.uint8)},
    "7 rows of noise for 8 pictures": {"noise": np.zeros((7, 3), np.float32)},
    "holds no noise: pass --noise": {"noise": None},
    "has no labels: save an array labels": {"labels": None},
    "noise of shape holds NaN": {"noise": np.full((8, 3), np.nan, np.float32)},
    "noise of shape runs from 40 to 40": {"noise": np.full((8, 3), 40.0, np.float32)},
    "several sizes .shape has 5, texture has 4, background has 4 pixels.: pass --size 4": {
        "shape": np.zeros((8, 1, 5, 5), np.uint8)
    },
    "has 6 x 4 pixels, pictures must be squares: pass --size 4": {"shape": np.zeros((8, 1, 4, 6), np.uint8)},
    "class 1 has no shape": {"labels": np.arange(8) % 2 * 2},
    "texture.* 0 to 255|texture.* 255": {"texture": np.full((8, 3, 4, 4), 255.0, np.float32)},
    "texture holds NaN": {"texture": np.full((8, 3, 4, 4), np.nan, np.float32)},
    "holds object": {"texture": np.array([None] * 8)},
    "is in Fortran's order": {"texture": np.asfortranarray(np.zeros((8, 3, 4, 4), np.uint8))},
}


@pytest.mark.parametrize("line", ARRAY_FAULTS)
def test_arrays_that_do_not_fit_are_one_line(line, tmp_path):
    file = arrays(tmp_path / "all.npz", **sound_arrays(**ARRAY_FAULTS[line]))
    with pytest.raises(UserError, match=line) as error:
        record(file, tmp_path / "out")
    assert "\n" not in str(error.value)


TABLE_FAULTS = {
    "two rows of the shape 000.png": "000.png,0\n000.png,1",
    "has a label of 999.png": "000.png,0\n999.png,1",
    "line 2 has no label": "000.png,0\n001.png",
    "unknown mechanism 'mask'": "000.png,0,mask",
    "holds no labels": "",
    "is no file inside": "../labels.csv,0",
    "40 rows of noise for 2 labels": "000.png,0\n001.png,1",
}


@pytest.mark.parametrize("line", TABLE_FAULTS)
def test_tables_that_do_not_fit_are_one_line(line, folder, tmp_path):
    table = write(tmp_path / "labels.csv", TABLE_FAULTS[line])
    with pytest.raises(UserError, match=line):
        recorded(folder, tmp_path / "out", labels=table)


def test_pictures_of_several_sizes_and_damaged_ones_are_named(folder, tmp_path):
    shutil.copytree(folder / "pictures", tmp_path / "pictures")
    shutil.copy(folder / "labels.csv", tmp_path)
    odd = tmp_path / "pictures" / "texture" / "007.png"
    save_png(odd, torch.zeros(3, 8, 8, dtype=torch.uint8))
    with pytest.raises(UserError, match=r"007.png has 8 x 8 pixels, the first has 32 x 32: pass --size 8"):
        recorded(tmp_path, tmp_path / "out", noise="none")
    odd.write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"007.png is not a picture"):
        recorded(tmp_path, tmp_path / "out", noise="none", config=RecordConfig(size=8))
    shutil.rmtree(tmp_path / "pictures" / "background")
    with pytest.raises(UserError, match=r"has a label of 000.png, .* has no background of that name"):
        recorded(tmp_path, tmp_path / "out", noise="none")


def test_a_folder_of_recorded_pairs_grows_by_those_that_it_lacks(pairs, tmp_path):
    teacher = load_teacher(f"recorded:{pairs}")
    for count in (12, 25):
        config = QueryConfig(shape=count, texture=count, background=count, held_out=10, shard_size=10)
        query_all(teacher, tmp_path, config)
    noise = read_pairs(tmp_path / "shape" / TRAIN).noise
    assert len(noise) == len(noise.unique(dim=0)) == 25


def test_a_folder_without_noise_goes_from_the_command_line_through_query_and_distillation(folder, tmp_path, skdcgn):
    out = tmp_path / "pairs"
    words = ("--labels", folder / "labels.csv", "--noise", "none", "--noise-dim", 3, "--held-out", 10)
    status, text, _ = skdcgn("record", folder / "pictures", "--out", out, *words)
    assert status == 0
    assert "texture: 30 pairs and 10 held out; too few to tell whether the noise explains them (200 at least)" in text
    assert "cannot tell what the generator's own noise meant" in text
    config = DistillConfig(steps=3, batch_size=8)
    students = [
        distill(out, tmp_path / "stored", config, device="cpu"),
        distill(load_teacher(f"recorded:{out}"), tmp_path / "asked", config, device="cpu"),
    ]
    for student in students:
        assert student.spec.names == NAMES
        assert student.spec.noise_dim == 3
        assert compose(student, 4).images.shape == (4, 3, 32, 32)


def test_noise_that_is_shuffled_explains_nothing_and_the_summary_says_so(tmp_path):
    teacher, count = load_teacher("double-colored-digits"), 300
    noise = teacher.spec.sample_noise(count, torch.Generator().manual_seed(2))
    labels = torch.arange(count) % CLASSES
    pictures = {m.value: as_levels(draw(teacher, m, noise, labels), m) for m in Mechanism}
    order = torch.randperm(count, generator=torch.Generator().manual_seed(3))
    lines = {}
    for name, values in (("true", noise), ("shuffled", noise[order])):
        write_tensors(tmp_path / f"{name}.safetensors", {**pictures, "labels": labels, "noise": values})
        lines[name] = str(record(tmp_path / f"{name}.safetensors", tmp_path / name))
    assert "the noise explains nothing of the masks: held-out error 0." in lines["shuffled"]
    assert "explains nothing" not in lines["true"]
    assert lines["true"].count("with shuffled pairs 0.") == 3
