"""One way to load a teacher, and an error of one line for every wrong file."""

import os
import pickle
from pathlib import Path

import pytest
import torch

import skdcgn
from skdcgn.base.config import TeachConfig
from skdcgn.base.errors import UserError
from skdcgn.base.presets import teach_preset
from skdcgn.base.records import from_dict
from skdcgn.base.tensors import write_tensors
from skdcgn.cgn.mechanism import Mechanism, Spec
from skdcgn.features.extractors import load_extractor
from skdcgn.features.perceptual import load_features
from skdcgn.students.generator import StudentCGN
from skdcgn.teachers.cgn import CGN
from skdcgn.teachers.checkpoints import load_cgn
from skdcgn.teachers.load import load_student, load_teacher
from skdcgn.zoo import cards, whereabouts

NOISE, LABELS = torch.randn(5, 32, generator=torch.Generator().manual_seed(0)), torch.arange(5)
TEACHERS = Path(os.environ.get("SKDCGN_TEACHERS", "no such folder"))  # published files, where there are any
SIZE = {"channels": (6, 4), "grid": 8, "embedding": 4, "rank": 0, "separable": False}


def answers(teacher):
    return torch.cat([teacher.query(m, NOISE, LABELS).flatten() for m in Mechanism])


@pytest.mark.parametrize("kind", ["safetensors", "pth", "module prefix", "nested"])
def test_every_way_to_store_a_cgn_loads_the_same(kind, random_cgn, save_weights, tmp_path):
    path = tmp_path / ("cgn.safetensors" if kind == "safetensors" else "cgn.pth")
    save_weights(path, random_cgn.cgn.state_dict(), kind)
    loaded = load_teacher(path)
    assert torch.equal(answers(loaded), answers(random_cgn))
    assert loaded.digest == load_teacher(str(path)).digest
    assert loaded.size == 659_992


@pytest.mark.parametrize("spec", [Spec(64, noise_dim=8, classes=3), Spec(noise_dim=128, classes=12)])
def test_sizes_are_read_off_the_weights(spec, tmp_path):
    write_tensors(tmp_path / "cgn.safetensors", CGN(spec).state_dict())
    assert load_cgn(tmp_path / "cgn.safetensors").spec == spec


def test_half_precision_is_widened(random_cgn, tmp_path):
    torch.save(
        {k: v.half() if v.is_floating_point() else v for k, v in random_cgn.cgn.state_dict().items()},
        tmp_path / "h.pth",
    )
    assert (answers(load_teacher(tmp_path / "h.pth")) - answers(random_cgn)).abs().mean() < 1e-2


@pytest.mark.parametrize("name", sorted(name for name, card in cards().items() if "command" in card))
def test_a_bundled_teacher_is_what_its_card_says(name):
    teacher, card = load_teacher(name), cards()[name]
    assert teacher.digest == card["sha256"]
    assert teacher.size == card["parameters"] == 659_992
    assert card["command"].startswith(f"skdcgn teach {name}")
    assert from_dict(TeachConfig, card["config"]) == teach_preset(name)  # the command's configuration
    labels = torch.arange(100) % 10
    masks = teacher.query("shape", torch.randn(100, 32, generator=torch.Generator().manual_seed(0)), labels)
    assert 0.05 < masks.mean() < 0.5


@pytest.mark.parametrize("name", sorted(cards()))
def test_cards_are_complete(name):
    card = cards()[name]
    assert {"title", "architecture", "parameters", "licence"} <= card.keys()
    assert len({"url", "command", "parts", "random"} & card.keys()) == 1  # fetched, made here, assembled or random
    for fetched in card.get("parts", {"": card}).values():
        assert len(fetched.get("sha256", "")) == (0 if {"local", "random"} & card.keys() else 64)
    assert whereabouts(name)


def test_a_download_that_fails_names_the_mend(monkeypatch):
    def unreachable(*arguments, **keywords):
        raise OSError("no network")

    monkeypatch.setattr("pooch.retrieve", unreachable)
    with pytest.raises(UserError, match=r"could not download published-wildlife-mnist.*pass a local file"):
        load_teacher("published-wildlife-mnist")


def test_a_callable_is_a_teacher(analytic_teacher):
    spec = Spec(classes=7)
    teacher = load_teacher(analytic_teacher.query, spec=spec)
    assert torch.equal(answers(teacher), answers(analytic_teacher))
    assert (teacher.spec, teacher.size) == (spec, None)
    with pytest.raises(UserError, match="use classes 0 to 6"):
        teacher.query("shape", NOISE, LABELS + 5)


def test_a_students_folder_is_a_teacher(tmp_path, capsys):
    student = StudentCGN(Spec().to_dict(), dict.fromkeys(("shape", "texture", "background"), SIZE))
    student.save_pretrained(tmp_path / "student")
    loaded = load_teacher(tmp_path / "student")
    assert torch.equal(answers(loaded), answers(student))
    assert loaded.digest == student.digest == load_student(tmp_path / "student").digest
    assert capsys.readouterr().out == ""
    assert skdcgn.compose(loaded, n=4).images.shape == (4, 3, 32, 32)


@pytest.mark.parametrize("name", ["a" * 300, "~nobody-at-all/cgn.pth", "a\0b", "no/such.pth"])
@pytest.mark.parametrize("load", [load_teacher, load_student, load_extractor, load_features])
def test_a_name_that_no_file_has_is_refused(load, name):
    with pytest.raises(UserError):
        load(name)


class Bomb:
    """A pickle that runs code when it is loaded."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def test_a_pickle_bomb_does_not_go_off(tmp_path):
    mark = tmp_path / "went-off"
    torch.save({"label_emb.weight": Bomb(mark)}, tmp_path / "bomb.pth")
    (tmp_path / "raw.pth").write_bytes(pickle.dumps(Bomb(mark)))
    for name in ("bomb.pth", "raw.pth"):
        with pytest.raises(UserError, match="refused"):
            load_teacher(tmp_path / name)
    assert not mark.exists()


def spoil(kind, path, state):
    """Write one of the wrong files that people pass."""
    if kind == "text":
        path.write_text("hello\n")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "picture":
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    elif kind == "truncated":
        torch.save(state, path)
        path.write_bytes(path.read_bytes()[:50_000])
    elif kind == "a list":
        torch.save([1, 2], path)
    elif kind == "other architecture":
        torch.save(torch.nn.Linear(3, 4).state_dict(), path)
    elif kind == "other width":
        torch.save({**state, "f_text1.3.weight": torch.zeros(64, 32, 3, 3)}, path)
    elif kind == "a tensor too few":
        torch.save({k: v for k, v in state.items() if k != "f_text2.0.bias"}, path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("text", "damaged|not a whole"),
        ("empty", "damaged|not a whole"),
        ("picture", "damaged|not a whole"),
        ("truncated", "damaged|not a whole"),
        ("a list", "no state dict|not a whole"),
        ("other architecture", "another architecture: an MNIST CGN has label_emb.weight|not a whole"),
        ("other width", r"f_text1.3.weight is \(64, 32, 3, 3\)|not a whole"),
        ("a tensor too few", "f_text2.0.bias is missing|not a whole"),
    ],
)
def test_a_wrong_file_is_reported_in_one_line(kind, words, suffix, random_cgn, tmp_path):
    path = tmp_path / f"wrong{suffix}"
    spoil(kind, path, random_cgn.cgn.state_dict())
    with pytest.raises(UserError, match=words) as error:
        load_teacher(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_not_there_is_reported_with_what_is(tmp_path):
    with pytest.raises(UserError, match=r"no teacher 'nobody'.*double-colored-digits"):
        load_teacher("nobody")
    with pytest.raises(UserError, match="does not exist"):
        load_cgn(tmp_path / "no.safetensors")
    with pytest.raises(UserError, match="holds no student"):
        load_teacher(tmp_path)
    (tmp_path / "shape").mkdir()
    with pytest.raises(UserError, match=f"of pairs as a teacher pass recorded:{tmp_path}"):
        load_teacher(tmp_path)


def test_a_damaged_student_is_reported(tmp_path):
    student = StudentCGN(Spec().to_dict(), dict.fromkeys(("shape", "texture", "background"), SIZE))
    student.save_pretrained(tmp_path)
    weights = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(UserError, match="not a whole safetensors file"):
        load_student(tmp_path)


def spoiled(cgn, name, change):
    """A file's state dict with one tensor changed."""
    state = {key: value.clone() for key, value in cgn.state_dict().items()}
    state[name] = change(state[name])
    return state


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".PT", ".SafeTensors"])
def test_a_teacher_with_nan_in_its_weights_is_refused(suffix, random_cgn, tmp_path):
    path = tmp_path / f"nan{suffix}"
    state = spoiled(random_cgn.cgn, "f_text1.3.weight", lambda weight: weight * float("nan"))
    write_tensors(path, state) if "safe" in suffix.lower() else torch.save(state, path)
    with pytest.raises(UserError, match=r"f_text1.3.weight holds NaN or infinity"):
        load_teacher(path)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("label_emb.weight", lambda table: table.flatten(), r"label_emb.weight has shape \(100,\)"),
        ("label_emb.weight", lambda table: table.long(), "label_emb.weight has shape .* and type torch.int64"),
        ("f_shape.0.weight", lambda weight: weight[:, :5], "numbers.*each must be at least 1"),
        ("f_shape.0.weight", lambda weight: torch.zeros(1, 5000), "at most"),
        ("f_shape.0.bias", lambda bias: bias.long(), "f_shape.0.bias is of type torch.int64"),
        ("f_shape.5.num_batches_tracked", lambda count: count.float(), "is of type torch.float32"),
    ],
)
def test_tensors_that_give_no_size_are_named(name, change, words, random_cgn, tmp_path):
    write_tensors(tmp_path / "w.safetensors", spoiled(random_cgn.cgn, name, change))
    with pytest.raises(UserError, match=words) as error:
        load_teacher(tmp_path / "w.safetensors")
    assert str(error.value).startswith(str(tmp_path))


@pytest.mark.parametrize("file", sorted(TEACHERS.glob("cgn_*.pth")), ids=lambda file: file.stem)
@pytest.mark.parametrize("wrapper", [None, "state_dict", "g_ema"])
def test_a_published_teacher_loads_as_torch_reads_it(file, wrapper, tmp_path):
    expected = torch.load(file, weights_only=True, map_location="cpu")
    if wrapper:
        prefixed = {f"model.{name}": value for name, value in expected.items()}
        torch.save({wrapper: prefixed, "hyper_parameters": {"lr": 1e-3}}, file := tmp_path / "published.CKPT")
    state = load_teacher(file).cgn.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], value) for name, value in expected.items())
