"""Drawers: the fast form of a CGN draws what its networks draw, up to rounding, with the same bytes on any threads."""

import copy
import dataclasses

import pytest
import torch

from skdcgn.base.config import DistillConfig, StudentConfig
from skdcgn.base.photo_students import PHOTO_STUDENT
from skdcgn.base.presets import RUNS, SMOKE_IMAGENET_STUDENT
from skdcgn.base.seeds import generator
from skdcgn.base.tensors import read_tensors
from skdcgn.cgn.compose import compose, compose_batches
from skdcgn.cgn.drawer import BATCH, TOLERANCE, draw
from skdcgn.cgn.inputs import Query, sample_offsets
from skdcgn.cgn.layers import blend, crop, tile_crop
from skdcgn.cgn.mechanism import Layers, Mechanism, Spec
from skdcgn.deploy.generate import write_counterfactuals
from skdcgn.students.generator import StudentCGN, student_size
from skdcgn.teachers.cgn import fold
from skdcgn.teachers.load import load_teacher

PHOTOS = Spec(image_size=64, noise_dim=16, classes=3, tiles=False)
ALIKE = {"grid": 4, "embedding": 3}
LAYOUTS = {
    "digits": (Spec(), RUNS["double-colored-digits"].distill),
    "wildlife": (Spec(), RUNS["wildlife-mnist"].distill),
    "separable": (Spec(image_size=16), StudentConfig(channels=(6, 5, 4), separable=True, class_input=False, **ALIKE)),
    "memory": (Spec(image_size=16, noise_dim=6, classes=3), StudentConfig(channels=(5, 4), rank=3, memory=7, **ALIKE)),
    "no block": (Spec(image_size=8, tiles=False), StudentConfig(channels=(5,), rank=3, **ALIKE)),
    "photos": (PHOTOS, dataclasses.replace(PHOTO_STUDENT, channels=(24, 12), memory=9)),
    "imagenet": (PHOTOS, SMOKE_IMAGENET_STUDENT),
}


def student(spec, config):
    """A student with statistics and norms of no particular value."""
    own = (
        config if isinstance(config, DistillConfig) else DistillConfig(shape=config, texture=config, background=config)
    )
    cgn = StudentCGN(spec.to_dict(), {m.value: student_size(own, m) for m in Mechanism})
    rng = generator("test drawer")
    with torch.no_grad():
        for parameter in cgn.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=rng)
        for name, value in cgn.named_buffers():
            if name.endswith("running_mean"):
                value.normal_(0, 0.3, generator=rng)
            if name.endswith("running_var"):
                value.uniform_(0.3, 2, generator=rng)
    return cgn


@pytest.fixture(scope="module")
def digits():
    return student(*LAYOUTS["digits"])


@pytest.fixture
def two_threads():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_drawer_draws_what_the_networks_draw(layout):
    cgn = student(*LAYOUTS[layout])
    count, rng = 71, generator("test drawer", layout)
    labels = torch.randint(cgn.spec.classes, (count,), generator=rng)
    for mechanism in Mechanism:
        noise = cgn.spec.sample_noise(count, rng)
        images = cgn.query(mechanism, noise, labels)
        tiled = cgn.spec.tiles and mechanism != Mechanism.SHAPE
        offsets = sample_offsets(count, cgn.spec.image_size, rng) if tiled else None
        pieces = [piece.clone() for piece in cgn.drawer().pieces(mechanism, Query(noise, labels), offsets)]
        expected = images if offsets is None else tile_crop(images, offsets)
        assert images.std() > 0.01
        torch.testing.assert_close(torch.cat(pieces), expected, atol=TOLERANCE / 10, rtol=0)


@pytest.mark.parametrize(
    "keywords", [{}, {"per_shape": 7}, {"policy": ("shape.elastic:1.5",)}, {"accept": lambda masks, labels: labels > 2}]
)
def test_composed_images_are_those_of_the_networks(digits, keywords):
    fast, exact = compose(digits, 300, **keywords), compose(digits, 300, exact=True, **keywords)
    assert torch.equal(fast.shape_labels, exact.shape_labels)
    assert torch.equal(fast.background_labels, exact.background_labels)
    torch.testing.assert_close(fast.images, exact.images, atol=TOLERANCE, rtol=0)
    assert not torch.equal(fast.images, exact.images)  # else one of them is not what it says


def test_exact_images_are_the_blend_of_answers_to_the_byte(digits):
    rng = generator(5, "compose", 0)
    shape, texture, background = (
        draw(digits, m, u, y)
        for m, (y, u) in (
            (m, (torch.randint(10, (BATCH,), generator=rng), digits.spec.sample_noise(BATCH, rng))) for m in Mechanism
        )
    )
    offsets = [sample_offsets(BATCH, 32, rng) for _ in range(2)]
    expected = blend(crop(Layers(shape, texture, background), *offsets))
    assert torch.equal(compose(digits, BATCH, seed=5, exact=True).images, expected)


def test_threads_change_no_byte(digits, two_threads):
    both = compose(digits, 1100), compose(digits, 600, per_shape=7)
    batches = list(compose_batches(digits, 1100))
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    assert torch.equal(both[0].images, compose(digits, 1100).images)
    assert torch.equal(both[1].images, compose(digits, 600, per_shape=7).images)
    assert torch.equal(both[0].images, torch.cat([batch.images for batch in batches]))


def test_a_drawer_follows_its_weights():
    cgn = student(*LAYOUTS["no block"])
    before = compose(cgn, 40).images
    cgn.mechanisms["texture"].output.bias.data += 0.5
    after = compose(cgn, 40)
    assert (after.images - before).abs().max() > 0.01
    torch.testing.assert_close(after.images, compose(cgn, 40, exact=True).images, atol=TOLERANCE, rtol=0)
    assert cgn.drawer() is cgn.drawer()
    assert cgn.train().drawer() is None


def test_a_student_whose_fast_form_is_too_far_away_draws_itself(caplog):
    cgn = student(*LAYOUTS["no block"])
    with torch.no_grad():
        cgn.mechanisms["background"].norm.norm.running_var.fill_(1e-30)
        cgn.mechanisms["background"].norm.norm.eps = 0.0
        cgn.mechanisms["background"].output.weight *= 1e-9
        cgn.mechanisms["background"].input.bias += 1e4  # what the norm takes away again, less its rounding
        cgn.mechanisms["background"].norm.norm.running_mean += 1e4
    assert cgn.drawer() is None
    assert "away from its networks" in caplog.text
    assert torch.equal(compose(cgn, 40).images, compose(cgn, 40, exact=True).images)


def test_a_teacher_draws_with_folded_norms():
    teacher = load_teacher("double-colored-digits")
    fast, exact = compose(teacher, 70), compose(teacher, 70, exact=True)
    torch.testing.assert_close(fast.images, exact.images, atol=TOLERANCE, rtol=0)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in fold(teacher.cgn).modules())
    with torch.no_grad():
        teacher.cgn.f_text1[-2].bias += 1
    assert (compose(teacher, 70).images - fast.images).abs().max() > 0.1


def test_noise_of_the_device_is_that_of_the_cpu_where_the_cgn_is_there(digits):
    assert torch.equal(compose(digits, 300, device_noise=True).images, compose(digits, 300).images)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_composes_the_same_images(digits):
    there = copy.deepcopy(digits).cuda()
    torch.testing.assert_close(compose(there, 5000).images, compose(digits, 5000).images, atol=1e-3, rtol=0)
    assert not torch.equal(compose(there, 50, device_noise=True).images, compose(there, 50).images)


def test_generate_writes_the_images_of_compose(digits, tmp_path):
    for exact in (False, True):
        file = write_counterfactuals(digits, tmp_path, 300, exact=exact)[0]
        assert torch.equal(read_tensors(file)[0]["images"], compose(digits, 300, exact=exact).images)
