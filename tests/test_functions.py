"""Functions as teachers: each form, by name and in a program, asked no more than needed."""

import sys
from dataclasses import replace

import pytest
import torch

from skdcgn.base.errors import UserError
from skdcgn.base.presets import run_preset
from skdcgn.base.progress import silent
from skdcgn.base.records import override
from skdcgn.cgn.black_box import Access, BlackBox, access_of
from skdcgn.cgn.drawer import draw
from skdcgn.cgn.mechanism import Mechanism, Spec
from skdcgn.cgn.stated_spec import stated_spec
from skdcgn.cgn.subset import of_classes
from skdcgn.data.glyphs import DIGITS
from skdcgn.experiments.run_mnist import run_mnist
from skdcgn.pairs.stored import StoredPairs
from skdcgn.students.generator import StudentCGN
from skdcgn.teachers.load import load_teacher

SPEC = Spec(16, 4, 3, distribution="uniform", names=("a", "b", "c"))
WORDS = "image_size=16,noise_dim=4,classes=3,distribution=uniform,names=a/b/c"
NOISE, LABELS = SPEC.sample_noise(5, torch.Generator().manual_seed(0)), torch.tensor([0, 2, 1, 1, 0])
FORMULA = '''
import numpy as np

LINE = np.linspace(-1, 1, 16)
CALLS = []


def batch(mechanism, noise, labels):
    """Discs on stripes, of NumPy alone: it refuses tensors."""
    tone = np.sin(np.add(noise.astype(np.float64)[:, :1], labels[:, None], dtype=np.float64))
    tone = tone[..., None, None]
    CALLS.append(len(labels))
    disc = 1 / (1 + np.exp(np.hypot(LINE, LINE[:, None])[None, None] * 9 - 5 + tone))
    return disc if mechanism == "shape" else np.repeat(np.cos(9 * LINE) * tone * np.ones((1, 1, 16, 1)), 3, 1)


def row(mechanism, noise, label):
    """One image for one row."""
    assert noise.shape == (4,) and type(label) is int
    return batch(mechanism, np.asarray(noise)[None], np.array([label]))[0]


def doubled(mechanism, noise, labels):
    noise *= 2
    return batch(mechanism, noise.numpy() / 2, labels.numpy()).astype("float32")


def three(mechanism, noise, labels):
    raise ValueError("only on Sundays")


def late(mechanism, noise, labels):
    if len(CALLS) > 1:
        raise OSError("the line is dead")
    return batch(mechanism, noise.numpy(), labels.numpy())


def listed(mechanism, noise, labels):
    CALLS.append(noise.ndim)
    return [[0.0]]


def wide(mechanism, noise, label):
    """A row at a time, as the glyphs of a run are: 32 pixels, ten classes."""
    return np.repeat(np.repeat(batch(mechanism, np.asarray(noise)[None], np.array([label]))[0], 2, 1), 2, 2)


def torn(mechanism, noise, labels):
    images = batch(mechanism, noise.numpy(), labels.numpy())
    return images[:1] if mechanism == "texture" else images


class Whole:
    from skdcgn import Spec
    spec, digest, size = Spec(16, 4, 3), "whole", 7

    def query(self, mechanism, noise, labels):
        import torch
        return torch.from_numpy(batch(mechanism, noise.numpy(), labels.numpy())).float()


def factory():
    return Whole()


def one(noise):
    return noise


whole, number = Whole(), 3
'''


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The name of a module of functions in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    name = f"functions_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(FORMULA)
    yield name
    sys.modules.pop(name, None)


def answers(teacher):
    return torch.cat([draw(teacher, m, NOISE, LABELS).flatten() for m in Mechanism])


def test_a_function_may_cost_money_and_a_network_of_ours_does_not(analytic_teacher):
    function = load_teacher(analytic_teacher.query, spec=Spec())
    assert isinstance(function, BlackBox)
    assert access_of(function) == access_of(of_classes(function, (1, 2))) == Access(paid=True, idempotent=False)
    ours = load_teacher("double-colored-digits")
    assert access_of(ours) is access_of(of_classes(ours, (1, 2))) is None


def test_every_form_answers_the_same(module):
    batch, row, doubled = (load_teacher(f"{module}:{name}", spec=WORDS) for name in ("batch", "row", "doubled"))
    assert batch.spec == row.spec == SPEC
    noise = NOISE.clone()
    for other in (row, doubled, load_teacher(f"{module}:factory"), load_teacher(f"{module}:Whole")):
        assert torch.equal(answers(other), answers(batch))
    assert torch.equal(NOISE, noise)  # although one of them changes what it gets
    assert answers(batch).dtype is torch.float32
    function = sys.modules[module].row
    assert torch.equal(answers(load_teacher(function, spec=SPEC)), answers(batch))


def test_no_row_is_asked_twice(module):
    for name, calls in (("batch", [5] * 6), ("row", [1] * 30)):
        teacher = load_teacher(f"{module}:{name}", spec=WORDS)
        sys.modules[module].CALLS.clear()
        answers(teacher), answers(teacher)
        assert calls == sys.modules[module].CALLS


def test_a_function_that_answers_nothing_is_reported_with_what_was_tried(module):
    with pytest.raises(UserError) as error:
        answers(load_teacher(f"{module}:three", spec=WORDS))
    line = str(error.value)
    assert line.count("only on Sundays") == 4
    for tried in ("tensors (B, Z) and (B,)", "arrays (B, Z)", "tensors (Z,) and int", "arrays (Z,) and int"):
        assert tried in line
    with pytest.raises(UserError, match=r"is of type list.*return images \(B, C, H, W\)"):
        answers(load_teacher(f"{module}:listed", spec=WORDS))
    assert sys.modules[module].CALLS == [2, 2, 1, 1]  # what it may have billed


def test_an_error_that_no_other_form_mends_ends_the_query_at_once(module):
    teacher = load_teacher(f"{module}:late", spec=WORDS)
    draw(teacher, Mechanism.SHAPE, NOISE, LABELS)
    draw(teacher, Mechanism.SHAPE, NOISE, LABELS)
    with pytest.raises(UserError, match=rf"{module}:late fails \(OSError: the line is dead\)"):
        draw(teacher, Mechanism.SHAPE, NOISE, LABELS)
    assert len(sys.modules[module].CALLS) == 2


def test_changed_code_is_another_teacher(module, tmp_path):
    first = load_teacher(f"{module}:batch", spec=WORDS).digest
    assert first == load_teacher(f"{module}:batch").digest != load_teacher(f"{module}:row").digest
    (tmp_path / f"{module}.py").write_text(FORMULA.replace("np.cos(9", "np.cos(8"))
    assert load_teacher(f"{module}:batch", spec=WORDS).digest != first
    assert load_teacher(sys.modules[module].batch, spec=SPEC).digest == f"callable:{module}.batch"


def test_a_function_that_draws_one_mechanism_otherwise_is_named(module):
    with pytest.raises(UserError, match=rf"{module}:torn, asked for texture with .* has shape \(1, 3, 16, 16\)"):
        answers(load_teacher(f"{module}:torn", spec=WORDS))


def test_one_row_does_not_tell_the_form_of_all(module):
    teacher, expected = (load_teacher(f"{module}:{name}", spec=WORDS) for name in ("row", "batch"))
    assert torch.equal(
        draw(teacher, Mechanism.SHAPE, NOISE[:1], LABELS[:1]), expected.query("shape", NOISE, LABELS)[:1]
    )
    assert torch.equal(answers(teacher), answers(expected))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("number", "is of type int, no teacher: give it a name for a function"),
        ("one", "takes other arguments than mechanism, noise and labels"),
        ("nothing", "has no nothing .*check the name behind the colon"),
    ],
)
def test_a_name_for_something_else_is_refused(module, name, words):
    with pytest.raises(UserError, match=words):
        load_teacher(f"{module}:{name}")


def test_a_module_that_is_not_there_is_named():
    with pytest.raises(UserError, match="no_such_module cannot be imported"):
        load_teacher("no_such_module:f")


def test_a_spec_completes_and_does_not_contradict(module, tmp_path, random_cgn, save_weights):
    assert load_teacher(f"{module}:whole", spec="classes=3").spec == Spec(16, 4, 3)
    with pytest.raises(
        UserError, match=f"{module}:whole states noise_dim 4, and --spec says 5: correct it or leave it out"
    ):
        load_teacher(f"{module}:whole", spec="noise_dim=5")
    save_weights(tmp_path / "cgn.pth", random_cgn.cgn.state_dict(), "flat")
    names = "/".join("abcdefghij")
    assert load_teacher(tmp_path / "cgn.pth", spec=f"names={names}").spec == Spec(names=tuple("abcdefghij"))
    with pytest.raises(UserError, match="states image_size 32, and --spec says 64"):
        load_teacher(tmp_path / "cgn.pth", spec="image_size=64")


def test_a_spec_in_a_file_in_words_and_in_python_is_one(tmp_path):
    (tmp_path / "spec.json").write_text(
        '{"image_size": 16, "noise_dim": 4, "distribution": "uniform", "names": ["a", "b", "c"]}'
    )
    stated = [
        stated_spec(spec).over(Spec()) for spec in (tmp_path / "spec.json", str(tmp_path / "spec.json"), WORDS, SPEC)
    ]
    assert stated == [SPEC] * 4
    assert stated_spec("tiles=False, truncation=0.5").over(Spec()) == replace(Spec(), tiles=False, truncation=0.5)
    assert stated_spec(None).over(SPEC) == SPEC


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("image_siz=3", "unknown field of --spec 'image_siz': did you mean 'image_size'"),
        ("classes=many", "--spec: classes is not JSON.*write a number"),
        ("classes=0.5", "--spec: classes: .*integer"),
        ("tiles=3", "--spec: tiles: .*boolean"),
        ("classes=3,names=a/b", "--spec: 2 names for 3 classes"),
        ("noise_dim=0", "--spec: .*noise of 0 numbers"),
        ("no-such-file.json", "no-such-file.json does not exist"),
        ("classes=3,twelve", "'twelve' is no field=value"),
    ],
)
def test_wrong_words_of_a_spec_are_named(words, line):
    with pytest.raises(UserError, match=line):
        stated_spec(words)


def test_a_plain_function_of_numpy_is_queried_and_distilled_by_the_command_line(module, skdcgn, tmp_path):
    status, _, error = skdcgn(
        *("query", f"{module}:batch", "--out", "pairs", "--spec", WORDS, "--shape", 12, "--texture", 12),
        *("--background", 12, "--held-out", 6, "--shard-size", 6),
    )
    assert status == 0, error
    stored = StoredPairs(tmp_path / "pairs" / "texture" / "train")
    asked = load_teacher(f"{module}:batch", spec=WORDS)
    for pairs in stored:
        assert torch.equal(pairs.images, draw(asked, Mechanism.TEXTURE, pairs.noise, pairs.labels))
    size = [word for m in Mechanism for word in (f"--{m}-channels", 4, f"--{m}-grid", 4, f"--{m}-embedding", 2)]
    status, _, error = skdcgn("distill", "pairs", "--out", "run", "--steps", 2, "--batch-size", 4, *size)
    assert status == 0, error
    assert StudentCGN.load(tmp_path / "run" / "student").spec == SPEC


@pytest.mark.slow
def test_a_function_goes_through_a_whole_run(module, tmp_path, short_smoke):
    config = override(run_preset("smoke"), {"teacher": f"{module}:wide", "spec": f"names={'/'.join(DIGITS)}"})
    results = run_mnist(config, tmp_path / "run", device="cpu", speed_images=4, watch=silent)
    assert results.parameters.teacher is None
    assert StudentCGN.load(tmp_path / "run" / "student").spec == Spec(names=DIGITS)
    assert (tmp_path / "run" / "report.html").is_file()


def test_a_run_refuses_a_budget_that_its_own_measurements_would_exceed(module, tmp_path):
    config = override(run_preset("smoke"), {"teacher": f"{module}:wide", "query.budget": 50})
    with pytest.raises(UserError, match="beyond the budget of its pairs: use skdcgn query with --budget"):
        run_mnist(config, tmp_path / "run", device="cpu", watch=silent)
    assert not (tmp_path / "run" / "pairs").exists()
