"""The student generator: initialised right, every parameter alive, sizes as asked, saved exactly."""

import contextlib
import errno
import json
import os

import pytest
import torch

from skdcgn.base.errors import UserError
from skdcgn.base.presets import run_preset
from skdcgn.base.tensors import read_tensors, write_tensors
from skdcgn.cgn.mechanism import Mechanism, Spec
from skdcgn.students.generator import StudentCGN, StudentGenerator, student_size
from skdcgn.students.layers import ConditionalBatchNorm2d, Doubling, WakingSigmoid
from skdcgn.teachers.cgn import CGN

SPEC = Spec()
SMALL = {"channels": (8, 6), "grid": 8, "embedding": 4, "rank": 0, "separable": False}
TINYGAN_SIZE = {"channels": (16, 8, 8, 4, 4, 4), "grid": 1, "embedding": 8, "rank": 0, "separable": True}


def make(mechanism="texture", **changes):
    torch.manual_seed(0)
    return StudentGenerator(mechanism, SPEC, **{**SMALL, **changes})


def alike(size):
    return {mechanism.value: size for mechanism in Mechanism}


def question(count=12):
    rng = torch.Generator().manual_seed(1)
    return SPEC.sample_noise(count, rng), torch.arange(count) % 10


def test_conditional_batch_norm_begins_as_batch_norm():
    """Scale one and offset zero for every class: the published initialisation had them equal."""
    norm, plain = ConditionalBatchNorm2d(5, 3), torch.nn.BatchNorm2d(5)
    x = 3 * torch.randn(8, 5, 4, 4) + 1
    assert torch.allclose(norm(x, torch.randn(8, 3)), plain(x), atol=1e-6)


def test_conditional_batch_norm_takes_scale_and_offset_from_the_class():
    norm = ConditionalBatchNorm2d(2, 1)
    with torch.no_grad():
        norm.affine.weight.copy_(torch.tensor([[1.0], [0.0], [0.0], [5.0]]))  # scale of channel 0, offset of channel 1
    x = torch.randn(64, 2, 4, 4)
    out = norm(x, torch.full((64, 1), 2.0))
    assert torch.allclose(out[:, 0].std(), torch.tensor(3.0), atol=0.01)
    assert torch.allclose(out[:, 1].mean(), torch.tensor(10.0), atol=0.01)


@pytest.mark.parametrize("side", [1, 4, 7])
def test_doubling_by_a_matrix_is_bilinear_interpolation(side):
    double, x = Doubling(side), torch.randn(3, 2, side, side, requires_grad=True)
    usual, product = double(x), double.by_matrix(x)
    assert usual.shape == product.shape == (3, 2, 2 * side, 2 * side)
    assert torch.allclose(usual, product, atol=1e-6)
    weights = torch.randn_like(usual)
    gradients = [torch.autograd.grad((output * weights).sum(), x)[0] for output in (usual, product)]
    assert torch.allclose(*gradients, atol=1e-5)
    assert double.by_matrix(x.bfloat16()).dtype == torch.bfloat16
    with torch.device("meta"):
        assert torch.equal(Doubling(side).columns, double.columns)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_draws_the_same(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    student, (noise, labels) = student_cgn(), question()
    images = [student.query("texture", noise, labels), student.cuda().query("texture", noise, labels)]
    assert torch.allclose(*images, atol=1e-4)


@pytest.mark.parametrize("mechanism", Mechanism)
@pytest.mark.parametrize(
    "size",
    [SMALL, TINYGAN_SIZE, {**SMALL, "channels": (8,), "grid": 4}, {**SMALL, "rank": 5}, {**SMALL, "memory": 3}],
    ids=["small", "tiny", "flat", "projected", "memory"],
)
def test_shape_range_and_gradients(mechanism, size):
    torch.manual_seed(0)
    student = StudentGenerator(mechanism, SPEC, **size)
    with torch.no_grad():
        for block in student.blocks:
            block.norm1.affine.weight.normal_(), block.norm2.affine.weight.normal_()
        student.norm.affine.weight.normal_()
    images = student(*question(20))
    assert images.shape == (20, mechanism.channels, 32, 32)
    assert mechanism.low <= images.min() < images.max() <= 1
    (images * torch.randn_like(images)).sum().backward()
    removed = ("conv1.bias", "conv1.1.bias")  # the batch norm that follows takes it away
    dead = [n for n, p in student.named_parameters() if not p.grad.abs().sum() > 0 and not n.endswith(removed)]
    assert dead == []


@pytest.mark.parametrize("mechanism", Mechanism)
def test_each_class_begins_at_its_mean_colour(mechanism):
    student, low = make(mechanism), mechanism.low
    levels = low + (1 - low) * torch.linspace(0.1, 0.9, 10 * mechanism.channels).view(10, -1)  # (classes, C)
    noise, labels = question(40)
    images = levels[labels][..., None, None].expand(-1, -1, 32, 32)
    student.start_at(images, labels)
    torch.nn.init.zeros_(student.output.weight), torch.nn.init.zeros_(student.output.bias)
    assert torch.allclose(student(noise, labels), images, atol=1e-5)


def test_black_and_white_keep_a_gradient():
    student, (noise, labels) = make("texture"), question()
    student.start_at(torch.where(labels[:, None, None, None] > 4, 1.0, -1.0).expand(-1, 3, 32, 32), labels)
    student(noise, labels).sum().backward()
    assert (student.colour.weight.grad.abs() > 0.1).all()


def test_noise_and_label_both_count():
    student, (noise, labels) = make().eval(), question()
    base = student(noise, labels)
    assert not torch.allclose(student(noise + 1, labels), base)
    assert not torch.allclose(student(noise, (labels + 1) % 10), base)


def test_the_pixel_shuffle_makes_up_what_the_blocks_leave():
    assert [
        make(channels=c, grid=g).shuffle for c, g in (((8, 8, 8), 8), ((8, 8), 8), ((8,), 8), ((8, 4, 4, 4), 4))
    ] == [1, 2, 4, 1]


@pytest.mark.parametrize(
    ("preset", "times"), [("colored-mnist", 32), ("double-colored-mnist", 32), ("wildlife-mnist", 20)]
)
def test_the_presets_students_are_so_many_times_smaller_than_their_teachers(preset, times):
    sizes = {m.value: student_size(run_preset(preset).distill, m) for m in Mechanism}
    assert times * StudentCGN(SPEC.to_dict(), sizes).size <= sum(p.numel() for p in CGN().parameters())


def test_tinygans_layout_needs_no_shuffle():
    student = make(**TINYGAN_SIZE)
    assert (student.shuffle, len(student.blocks)) == (1, 5)


@pytest.mark.parametrize(("channels", "grid"), [((8, 8), 7), ((8, 8, 8), 16), ((8,), 64)])
def test_a_grid_that_does_not_fit_is_reported(channels, grid):
    with pytest.raises(UserError, match="does not divide 32 pixels"):
        make(channels=channels, grid=grid)


def test_separable_convolutions_are_smaller():
    plain, separable = (
        sum(p.numel() for p in make(channels=(32, 32), separable=s).blocks.parameters()) for s in (False, True)
    )
    assert separable < 0.4 * plain


def test_a_rank_projects_the_noise_before_the_input_layer():
    full, projected = make(rank=0), make(rank=5)
    assert projected.input.in_features == full.input.in_features - SPEC.noise_dim + 5
    noise, labels = question()
    basis = torch.linalg.svd(projected.project.weight)[2]  # its last rows are directions that the projection loses
    projected.eval()
    assert torch.allclose(projected(noise + 3 * basis[-1], labels), projected(noise, labels), atol=1e-5)
    assert not torch.allclose(projected(noise + 3 * basis[0], labels), projected(noise, labels), atol=1e-2)


def test_folding_takes_the_running_statistics_into_scale_and_offset():
    norm = ConditionalBatchNorm2d(5, 3)
    torch.nn.init.normal_(norm.affine.weight)
    for _ in range(10):
        norm(3 * torch.randn(16, 5, 4, 4) + 2, torch.randn(16, 3))
    x, embedded = torch.randn(6, 5, 4, 4), torch.randn(6, 3)
    expected = norm.eval()(x, embedded)
    norm.fold()
    assert isinstance(norm.norm, torch.nn.Identity)
    assert torch.allclose(norm(x, embedded), expected, atol=1e-5)


def student_cgn():
    torch.manual_seed(0)
    return StudentCGN(SPEC.to_dict(), dict.fromkeys(("shape", "texture", "background"), SMALL))


def test_saving_and_loading_is_exact(tmp_path):
    student, (noise, labels) = student_cgn(), question()
    student.save_pretrained(tmp_path)
    loaded = StudentCGN.load(tmp_path)
    assert loaded.digest == student.digest
    assert loaded.size == student.size == sum(p.numel() for p in student.parameters())
    for mechanism in Mechanism:
        assert torch.equal(loaded.query(mechanism, noise, labels), student.query(mechanism, noise, labels))


def test_the_digest_knows_every_weight():
    student = student_cgn()
    before = student.digest
    with torch.no_grad():
        list(student.parameters())[-1].view(-1)[0] += 1e-3
    assert student.digest != before


def test_a_student_refuses_a_wrong_question():
    with pytest.raises(UserError, match=r"\(B, 32\)"):
        student_cgn().query("shape", torch.randn(2, 42), torch.zeros(2, dtype=torch.int64))


@pytest.mark.parametrize(("size", "millions"), [(128, 3.07), (256, 6.24)])
def test_tinygans_layout_has_the_published_count(size, millions):
    """Chang & Lu's generator at 128 pixels, SKDCGN's at 256; the classes' colours and last norms are ours."""
    channels = (512, 512, 256, 128, 64, 32)
    with torch.device("meta"):
        student = StudentGenerator(
            Mechanism.TEXTURE,
            Spec(size, 128, 1000),
            channels=channels,
            grid=size // 32,
            embedding=128,
            separable=True,
            class_input=False,
        )
    ours = ("colour.weight", "norm.affine.weight")
    counted = sum(p.numel() for name, p in student.named_parameters() if name not in ours)
    assert round(counted / 1e6, 2) == millions


def test_a_class_can_be_kept_from_the_input_layer():
    student = make(class_input=False)
    first = student.input(student.project(torch.zeros(1, 32)))
    assert first.shape[1] == student.input.out_features
    assert student.input.in_features == 32


def test_an_image_that_is_black_everywhere_has_a_gradient_back_and_no_other_is_changed():
    x = torch.full((2, 1, 4, 4), -12.0)
    x[1, 0, 0, 0] = 0.0  # one pixel of the second image is undecided
    x.requires_grad_()
    expected = torch.tensor([1.0, 0.0]).repeat_interleave(8).view(1, 1, 4, 4).expand(2, 1, 4, 4)  # upper half white
    output = WakingSigmoid.apply(x)
    assert torch.equal(output, x.sigmoid())
    (output - expected).abs().sum().backward()
    plain = x.detach().clone().requires_grad_()
    (plain.sigmoid() - expected).abs().sum().backward()
    assert torch.allclose(x.grad[0, 0, :2], torch.tensor(-0.01))  # inwards
    assert torch.equal(x.grad[0, 0, 2:], plain.grad[0, 0, 2:])
    assert torch.equal(x.grad[1], plain.grad[1])


@pytest.fixture
def saved(tmp_path):
    student_cgn().save_pretrained(tmp_path / "student")
    return tmp_path / "student"


def rewrite(folder, change):
    """Change the tensors of a student's folder."""
    state, metadata = read_tensors(folder / "model.safetensors")
    write_tensors(folder / "model.safetensors", change(state), metadata)


NAME = "mechanisms.shape.output.bias"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: {}, "is missing"),
        (lambda state: {name: t for name, t in state.items() if name != NAME}, f"{NAME} is missing"),
        (
            lambda state: {name.replace("output", "last"): t for name, t in state.items()},
            "mechanisms.shape.output.weight is missing",
        ),
        (lambda state: {**state, "surplus": torch.ones(1)}, "surplus"),
        (lambda state: {**state, NAME: state[NAME][:0]}, f"{NAME} has shape"),
        (lambda state: {**state, NAME: torch.ones(5)}, rf"{NAME} is \(5,\)"),
        (lambda state: {**state, NAME: torch.ones(4, dtype=torch.int64)}, f"{NAME} is of type torch.int64"),
        *(
            (lambda state, dtype=dtype: {**state, NAME: state[NAME].to(dtype)}, f"{NAME} is of type {dtype}")
            for dtype in (torch.int32, torch.bool, torch.complex64)
        ),
        (lambda state: {**state, NAME: state[NAME] * float("nan")}, f"{NAME} holds NaN"),
    ],
)
@pytest.mark.parametrize("load", [StudentCGN.load, StudentCGN.from_pretrained])
def test_loading_is_strict(load, change, words, saved):
    rewrite(saved, change)
    with pytest.raises(UserError, match=words) as error:
        load(saved)
    assert str(error.value).startswith(str(saved))


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("spec", None, "spec"),
        ("spec", {**SPEC.to_dict(), "image_size": 1_000_000}, "at most 4096"),
        ("spec", {**SPEC.to_dict(), "classes": 10**9}, "at most"),
        ("spec", {**SPEC.to_dict(), "noise_dim": 2**62}, "at most"),
        ("sizes", {}, "sizes.shape is missing"),
        ("sizes", alike({**SMALL, "more": 1}), "unknown key 'sizes.shape.more': remove it"),
        ("sizes", alike({**SMALL, "channels": [4096] * 3}), "mechanisms.*, the student"),
        ("sizes", alike({**SMALL, "channels": [10**9, 10**9]}), "4096"),
        ("sizes", alike({**SMALL, "embedding": 10**12}), "4096"),
        ("sizes", alike({**SMALL, "grid": 7}), "does not divide 32 pixels"),
        ("sizes", alike({**SMALL, "separable": "yes"}), "separable"),
    ],
)
def test_a_students_configuration_is_checked_before_it_takes_memory(key, value, words, saved):
    values = json.loads((saved / "config.json").read_text()) | {key: value}
    (saved / "config.json").write_text(json.dumps(values))
    state, _ = read_tensors(saved / "model.safetensors")
    write_tensors(saved / "model.safetensors", state)  # as an earlier version did, without the digest
    with pytest.raises(UserError, match=words) as error:
        StudentCGN.load(saved)
    assert str(saved) in str(error.value)
    assert "\n" not in str(error.value)


def test_two_files_of_two_students_are_none(saved, tmp_path):
    named = StudentCGN(Spec(names=tuple("abcdefghij")).to_dict(), alike(SMALL))
    named.save_pretrained(tmp_path / "named")
    (saved / "config.json").write_bytes((tmp_path / "named" / "config.json").read_bytes())
    with pytest.raises(UserError, match="holds no whole student"):
        StudentCGN.load(saved)
    named.save_pretrained(saved)
    assert StudentCGN.load(saved).spec.names == tuple("abcdefghij")


@pytest.mark.parametrize("last", [0, 1, 2, 3])
def test_a_save_that_ends_early_leaves_the_old_student_or_the_new_or_none(last, saved, monkeypatch):
    """As a full disk or a kill does: the files up to ``last`` are written, the others are as they were."""
    before = {file.name: file.read_bytes() for file in saved.iterdir()}
    other = StudentCGN(SPEC.to_dict(), alike({**SMALL, "channels": (4, 4)}))
    replace, writes = os.replace, []

    def full(source, target):
        writes.append(target)
        if len(writes) > last:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    (saved / "README.md").unlink()
    monkeypatch.setattr("os.replace", full)
    with pytest.raises(UserError, match="free some space") if last < 3 else contextlib.nullcontext():
        other.save_pretrained(saved)
    monkeypatch.undo()
    if last < 2:
        assert {**before, **{f.name: f.read_bytes() for f in saved.iterdir() if f.name != "README.md"}} == before
        StudentCGN.load(saved)
    elif last == 2:
        with pytest.raises(UserError, match="holds no whole student"):
            StudentCGN.load(saved)
    other.save_pretrained(saved)
    assert StudentCGN.load(saved).digest == other.digest


def test_saving_writes_the_same_bytes_again_and_keeps_the_card(saved):
    (saved / "README.md").write_text("mine")
    before = [(saved / name).read_bytes() for name in ("config.json", "model.safetensors", "README.md")]
    StudentCGN.load(saved).save_pretrained(saved)
    assert [(saved / name).read_bytes() for name in ("config.json", "model.safetensors", "README.md")] == before


def test_loading_a_student_draws_no_random_numbers(saved):
    before = torch.get_rng_state()
    StudentCGN.load(saved)
    assert torch.equal(torch.get_rng_state(), before)
