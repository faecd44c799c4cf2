"""The ImageNet CGN: its formula, its files as they are published, every wrong file, and what a teacher must be."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import skdcgn
from skdcgn.base.errors import UserError
from skdcgn.base.files import sha256
from skdcgn.base.seeds import generator
from skdcgn.base.tensors import write_tensors
from skdcgn.base.weights import below, on_meta, parameter_count
from skdcgn.cgn.mechanism import Mechanism, Spec, Teacher, check_answer
from skdcgn.data.imagenet_classes import WORDNET_IDS
from skdcgn.features.u2net import FULL, U2Net, Width
from skdcgn.teachers.biggan import BigGAN
from skdcgn.teachers.cgn import CGN, CGNTeacher
from skdcgn.teachers.cgn_imagenet import ImageNetCGN, assembled, random_cgn
from skdcgn.teachers.checkpoints import initial_cgn, load_cgn
from skdcgn.teachers.load import load_teacher
from skdcgn.zoo import cards, whereabouts

SPEC = Spec(64, noise_dim=6, classes=3, distribution="truncated-normal", tiles=False, truncation=0.5)
NOISE, LABELS = SPEC.sample_noise(5, generator("test")), torch.tensor([0, 1, 2, 1, 0])
SMALL = {"image_size": 64, "noise_dim": 6, "classes": 3, "width": 4, "u2net": (2, 4)}


@pytest.fixture(scope="module")
def cgn():
    return random_cgn(**SMALL).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def teacher(cgn):
    return CGNTeacher(cgn, digest="random")


def answers(teacher, noise=NOISE, labels=LABELS):
    return torch.cat([teacher.query(m, noise, labels).flatten() for m in Mechanism])


def in_parts(state, prefix=""):
    """A BigGAN's state dict as it is published: each normed weight as W, u, v with W / (u^T W v) what is run."""
    rng, published = generator("u and v"), {}
    for name, value in state.items():
        if name.endswith(".weight") and value.ndim > 1 and name != "embeddings.weight":
            weight, v = 3 * value, torch.randn(value[0].numel(), generator=rng)
            u = torch.randn(len(value), generator=rng)
            u *= 3 / (u @ weight.flatten(1) @ v)
            published |= {f"{prefix}{name}_orig": weight, f"{prefix}{name}_u": u, f"{prefix}{name}_v": v}
        else:
            published[prefix + name] = value
    return published


@pytest.fixture(scope="module")
def expected(teacher):
    return answers(teacher)


@pytest.fixture(scope="module")
def published(cgn):
    """The state dict of ``cgn.pth``: four BigGANs with their norms in parts, and the U2-Net."""
    state = cgn.state_dict()
    parts = [in_parts(below(state, f"{name}."), f"{name}.") for name in ("f_shape", "f_text", "f_bg")]
    frozen = in_parts(below(state, "f_bg."), "biggan_GT.")
    u2net = {name: value for name, value in state.items() if name.startswith("u2net.")}
    return {**frozen, **parts[0], **parts[1], **parts[2], **u2net}


def test_it_draws_what_the_formula_says(cgn, teacher):
    shape, texture, background = (teacher.query(m, NOISE, LABELS) for m in Mechanism)
    assert torch.equal(shape, cgn.u2net(cgn.f_shape(0.5 * NOISE, LABELS, 0.5)).clamp(1e-4, 0.9999))
    assert torch.equal(texture, cgn.f_text(0.5 * NOISE, LABELS, 0.5))
    assert torch.equal(background, cgn.f_bg(0.5 * NOISE, LABELS, 0.5))
    assert (texture - background).abs().mean() > 0.05


def published_size():
    return assembled(on_meta(BigGAN), on_meta(U2Net, FULL))


def test_parameters_are_the_published_ones():
    cgn = published_size()
    sizes = {name: parameter_count(part) for name, part in cgn.named_children()}
    assert sizes == dict.fromkeys(("f_shape", "f_text", "f_bg"), 55_880_833) | {"u2net": 44_009_869}
    assert parameter_count(cgn) == 211_652_368
    assert cgn.spec == Spec(256, 128, 1000, "truncated-normal", WORDNET_IDS, tiles=False, truncation=0.5)


def test_it_is_a_teacher(teacher):
    assert isinstance(teacher, Teacher)
    assert teacher.spec == SPEC
    for mechanism in Mechanism:
        images = check_answer(SPEC, mechanism, teacher.query(mechanism, NOISE, LABELS), 5)
        assert images.dtype == torch.float32
        assert images.std() > 0.1
        assert teacher.query(mechanism, NOISE[:0], LABELS[:0]).shape == (0, *images.shape[1:])
    assert skdcgn.compose(teacher, n=3).images.shape == (3, 3, 64, 64)


def test_its_noise_is_a_truncated_normal_of_the_seed():
    noise = SPEC.sample_noise(4000, generator(7))
    assert torch.equal(noise, SPEC.sample_noise(4000, generator(7)))
    assert not torch.equal(noise, SPEC.sample_noise(4000, generator(8)))
    assert 1.9 < noise.abs().max() <= 2
    assert abs(noise.var() - 0.7737) < 0.02  # 1 - 4 phi(2) / (2 Phi(2) - 1)


def test_an_image_does_not_depend_on_its_batch(teacher):
    noise, labels = SPEC.sample_noise(9, generator("many")), torch.arange(9) % 3  # more than are drawn at once
    for mechanism in Mechanism:
        together = teacher.query(mechanism, noise, labels)
        alone = torch.cat([teacher.query(mechanism, noise[i : i + 1], labels[i : i + 1]) for i in range(9)])
        assert (together - alone).abs().max() < 2e-4  # random layers magnify rounding errors


def test_querying_changes_nothing(cgn, teacher):
    before = {name: value.clone() for name, value in cgn.state_dict().items()}
    assert torch.equal(answers(teacher), answers(teacher))
    assert all(torch.equal(value, before[name]) for name, value in cgn.state_dict().items())


@pytest.mark.parametrize("mechanism", Mechanism)
def test_noise_and_label_both_matter(mechanism, teacher):
    images = teacher.query(mechanism, NOISE, LABELS)
    assert (images - teacher.query(mechanism, NOISE.roll(1, 0), LABELS)).abs().mean() > 0.05
    assert (images - teacher.query(mechanism, NOISE, (LABELS + 1) % 3)).abs().mean() > 0.05


def test_a_mask_lets_gradients_through_where_it_is_saturated():
    cgn = random_cgn(**SMALL)
    cgn.u2net.outconv.weight.data *= 0.01
    cgn.u2net.outconv.bias.data.fill_(10.0)  # sigmoid(10) = 0.99995
    masks = cgn(Mechanism.SHAPE, NOISE, LABELS)
    assert masks.unique().tolist() == pytest.approx([0.9999])
    masks.sum().backward()  # descent makes them smaller, which the clamp allows
    assert cgn.f_shape.embeddings.weight.grad.abs().sum() > 0
    assert cgn.f_text.embeddings.weight.grad is None


@pytest.mark.parametrize("kind", ["published", "module prefix", "nested", "folded", "folded .bin", "safetensors"])
def test_every_way_to_store_it_loads_the_same(kind, cgn, published, expected, save_weights, tmp_path):
    state = published if kind in ("published", "module prefix", "nested") else cgn.state_dict()
    path = tmp_path / {"safetensors": "cgn.safetensors", "folded .bin": "cgn.bin"}.get(kind, "cgn.pth")
    save_weights(path, state, kind)
    loaded = load_teacher(path)
    assert (loaded.spec, loaded.size) == (SPEC, parameter_count(cgn))
    assert loaded.digest == f"{sha256(path)}@0.5"
    away = (answers(loaded) - expected).abs()
    assert away.mean() < 1e-5 if kind in ("published", "module prefix", "nested") else away.max() == 0
    assert all(not name.startswith("biggan_GT") for name in loaded.cgn.state_dict())


def test_half_precision_is_widened(cgn, expected, tmp_path):
    halves = {n: v.half() if v.is_floating_point() else v for n, v in cgn.state_dict().items()}
    torch.save(halves, tmp_path / "cgn.pth")
    assert (answers(load_teacher(tmp_path / "cgn.pth")) - expected).abs().mean() < 2e-2


def test_the_truncation_is_a_part_of_the_answer(cgn, expected, tmp_path):
    write_tensors(tmp_path / "cgn.safetensors", cgn.state_dict())
    half, whole = (load_teacher(tmp_path / "cgn.safetensors", truncation=t) for t in (None, 1.0))
    assert torch.equal(answers(half), expected)
    assert (whole.cgn.truncation, half.cgn.truncation) == (1.0, 0.5)
    assert whole.digest.removesuffix("@1") == half.digest.removesuffix("@0.5")
    texture = whole.query("texture", NOISE, LABELS)
    assert (texture - cgn.f_text(NOISE, LABELS, 1.0)).abs().max() < 1e-5
    with pytest.raises(UserError, match="above 0 and up to 1"):
        load_teacher(tmp_path / "cgn.safetensors", truncation=1.5)


def test_the_truncation_travels_in_the_file(cgn, tmp_path):
    path, old = tmp_path / "cgn.safetensors", {"image_size": 64, "noise_dim": 6, "classes": 3, "names": ["a", "b", "c"]}
    write_tensors(path, cgn.state_dict(), replace(SPEC, truncation=0.8).to_metadata())
    assert [load_teacher(path, truncation=t).spec.truncation for t in (None, 0.3)] == [0.8, 0.3]
    assert load_teacher(path).digest == f"{sha256(path)}@0.8"
    write_tensors(path, cgn.state_dict(), {"spec": json.dumps(old | {"distribution": "truncated-normal"})})
    assert load_teacher(path).spec == replace(SPEC, names=("a", "b", "c"))  # metadata without the two new fields


def test_other_teachers_have_no_truncation(random_cgn, tmp_path):
    write_tensors(tmp_path / "mnist.safetensors", random_cgn.cgn.state_dict())
    for source in (tmp_path / "mnist.safetensors", tmp_path, "double-colored-digits", random_cgn.query):
        with pytest.raises(UserError, match="no other teacher has a truncation: leave it out"):
            load_teacher(source, truncation=0.5)


@pytest.fixture
def parts(cgn, tmp_path):
    """The files that the published training starts from, small: a BigGAN in parts and a U2-Net."""
    torch.save(in_parts(below(cgn.state_dict(), "f_shape.")), tmp_path / "biggan.bin")
    torch.save(below(cgn.state_dict(), "u2net."), tmp_path / "u2net.pth")
    return tmp_path / "biggan.bin", tmp_path / "u2net.pth"


def test_a_cgn_is_assembled_from_a_biggan_and_a_u2net(parts, cgn, teacher, tmp_path):
    assembled = initial_cgn(*parts)
    assert (assembled.spec, assembled.size) == (SPEC, teacher.size)
    shape, texture, background = (assembled.query(m, NOISE, LABELS) for m in Mechanism)
    assert torch.equal(texture, background)
    assert (texture - cgn.f_shape(0.5 * NOISE, LABELS, 0.5)).abs().max() < 1e-4
    assert (shape - teacher.query("shape", NOISE, LABELS)).abs().mean() < 1e-5
    write_tensors(tmp_path / "initial.safetensors", assembled.cgn.state_dict())
    again = load_teacher(tmp_path / "initial.safetensors")
    assert torch.equal(again.query("shape", NOISE, LABELS), shape)
    assert initial_cgn(*parts).digest == assembled.digest != initial_cgn(*parts, truncation=0.4).digest
    assert assembled.cgn.f_text.embeddings.weight.data_ptr() != assembled.cgn.f_bg.embeddings.weight.data_ptr()


def test_the_initial_cgn_of_the_zoo_is_fetched_in_parts(parts, monkeypatch):
    fetched = []

    def retrieve(url, known_hash, *arguments):
        fetched.append((url, known_hash))
        return str(parts[len(fetched) - 1])

    monkeypatch.setattr("pooch.retrieve", retrieve)
    assert load_teacher("initial-imagenet").digest == initial_cgn(*parts).digest
    card = cards()["initial-imagenet"]
    assert fetched == [(card["parts"][part]["url"], card["parts"][part]["sha256"]) for part in ("biggan", "u2net")]


def test_the_published_cgn_must_be_a_local_file():
    with pytest.raises(UserError, match=r"published-imagenet has no known checksum.*fetch https://drive.* its path"):
        load_teacher("published-imagenet")
    assert whereabouts("published-imagenet").startswith("not downloaded")
    assert cards()["published-imagenet"]["parameters"] == parameter_count(published_size())


def test_the_smoke_teacher_is_the_same_each_time():
    state = torch.random.get_rng_state()
    first, second = load_teacher("imagenet-smoke"), load_teacher("imagenet-smoke")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert first.digest == second.digest
    assert first.size == cards()["imagenet-smoke"]["parameters"]
    noise, labels = first.spec.sample_noise(16, generator(0)), torch.arange(16) % first.spec.classes
    masks = first.query("shape", noise, labels)
    assert torch.equal(masks, second.query("shape", noise, labels))
    assert 0.2 < masks.mean() < 0.6
    assert ((masks < 0.1) | (masks > 0.9)).float().mean() > 0.3


def spoil(kind, path, state):
    """Write one of the wrong files that people pass for ``cgn.pth``."""
    wrong = {
        "biggan": lambda: below(state, "f_shape."),
        "u2net": lambda: below(state, "u2net."),
        "linear": lambda: torch.nn.Linear(3, 4).state_dict(),
        "no u2net": lambda: {n: v for n, v in state.items() if not n.startswith("u2net.")},
        "no shape": lambda: {n: v for n, v in state.items() if not n.startswith("f_shape.")},
        "no bias": lambda: {n: v for n, v in state.items() if n != "f_text.generator.gen_z.bias"},
        "no u": lambda: {n: v for n, v in state.items() if n != "f_bg.generator.gen_z.weight_u"},
        "strange": lambda: {**state, "ema.weight": torch.zeros(1)},
        "other classes": lambda: {**state, "f_bg.embeddings.weight": torch.zeros(6, 4)},
        "other width": lambda: {**state, "u2net.side3.weight": torch.zeros(1, 5, 3, 3)},
    }
    torch.save(wrong.get(kind, lambda: state)(), path)
    if kind == "cut short":
        path.write_bytes(path.read_bytes()[:100_000])


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("biggan", r"is a BigGAN, a part of a CGN: assemble one by .*initial_cgn\(biggan, u2net\)"),
        ("u2net", r"is a U2-Net, a part of a CGN: assemble one by .*initial_cgn\(biggan, u2net\)"),
        ("linear", "another architecture: an MNIST CGN has .* an ImageNet CGN f_shape.generator.gen_z.bias"),
        ("cut short", "damaged or cut short"),
        ("no u2net", r"\(u2net\) is not whole, stage1.rebnconv1.conv_s1.weight is missing"),
        ("no shape", r"\(f_shape\) is not whole, embeddings.weight is missing"),
        ("no bias", r"\(f_text\) .* generator.gen_z.bias is missing"),
        ("no u", r"\(f_bg\) is not whole, generator.gen_z.weight_u is missing"),
        ("strange", "an ImageNet CGN has no ema.weight"),
        ("other classes", "differ in image size, noise or classes"),
        ("other width", r"\(u2net\) .* side3.weight is \(1, 5, 3, 3\), a U2-Net has \(1, 4, 3, 3\)"),
    ],
)
def test_a_wrong_file_is_reported_in_one_line(kind, words, published, tmp_path):
    path = tmp_path / "wrong.pth"
    spoil(kind, path, published)
    with pytest.raises(UserError, match=words) as error:
        load_teacher(path)
    assert str(path) in str(error.value) or kind == "other classes"
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ((1, 0), "u2net.pth is a U2-Net, not a BigGAN: pass biggan-deep-256-pytorch_model.bin"),
        ((0, 0), "biggan.bin is a BigGAN, not a U2-Net: pass u2net.pth"),
        ((2, 1), "mnist.pth is an MNIST CGN, not a BigGAN"),
        ((3, 1), "cgn.pth is an ImageNet CGN, not a BigGAN"),
        ((0, 4), "linear.pth is something else, not a U2-Net"),
        ((5, 1), "nothing.bin does not exist"),
    ],
)
def test_a_wrong_part_is_reported_in_one_line(order, words, parts, cgn, tmp_path):
    names = ("mnist.pth", "cgn.pth", "linear.pth", "nothing.bin")
    for name, module in zip(names, (CGN(), cgn, torch.nn.Linear(3, 4)), strict=False):
        torch.save(module.state_dict(), tmp_path / name)
    files = [*parts, *(tmp_path / name for name in names)]
    with pytest.raises(UserError, match=words) as error:
        initial_cgn(*(files[i] for i in order))
    assert "\n" not in str(error.value)


def test_bigans_of_two_kinds_make_no_cgn():
    one, other = on_meta(BigGAN, 64, 8, 3, 4), on_meta(BigGAN, 64, 8, 4, 4)
    with pytest.raises(UserError, match="use three of one kind"):
        ImageNetCGN([one, one, other], on_meta(U2Net, (Width(2, 4),) * len(FULL)))


@pytest.mark.parametrize("name", ["cgn.pth"])
def test_the_published_file_loads(name):
    folder = os.environ.get("SKDCGN_TEACHERS")
    if not folder or not (Path(folder) / name).is_file():
        pytest.skip(f"set SKDCGN_TEACHERS to a folder with {name} (1.1 GB)")
    teacher = load_cgn(Path(folder) / name)
    assert teacher.size == 211_652_368
    noise = teacher.spec.sample_noise(2, generator(0))
    masks = teacher.query("shape", noise, torch.tensor([207, 980]))
    assert 0.02 < masks.mean() < 0.8
