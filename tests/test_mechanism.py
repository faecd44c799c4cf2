"""The words and the one check of shapes and ranges."""

import math

import pytest
import torch

from skdcgn.base.errors import UserError
from skdcgn.cgn.mechanism import (
    INVERSES,
    Mechanism,
    Spec,
    Teacher,
    as_mechanism,
    check_answer,
    check_query,
    spec_from_metadata,
)

SPEC = Spec(image_size=8, noise_dim=4, classes=3)


def test_the_three_words():
    assert [as_mechanism(word) for word in ("shape", "texture", "background")] == list(Mechanism)
    with pytest.raises(UserError, match="unknown mechanism 'form': use shape, texture or background"):
        as_mechanism("form")


@pytest.mark.parametrize(
    ("noise", "labels", "words"),
    [
        (torch.zeros(2, 5), torch.zeros(2, dtype=torch.int64), r"noise has shape \(2, 5\).*\(B, 4\)"),
        (torch.zeros(2), torch.zeros(2, dtype=torch.int64), "noise has shape"),
        (torch.zeros(2, 4, dtype=torch.int64), torch.zeros(2, dtype=torch.int64), "noise .* floating point"),
        (torch.zeros(2, 4), torch.zeros(3, dtype=torch.int64), r"labels have shape \(3,\)"),
        (torch.zeros(2, 4), torch.zeros(2), "type torch.float32: pass int64"),
        (torch.zeros(2, 4), torch.tensor([0, 3]), "labels run from 0 to 3: use classes 0 to 2"),
        (torch.zeros(2, 4), torch.tensor([-1, 0]), "labels run from -1"),
    ],
)
def test_a_wrong_question_is_named(noise, labels, words):
    with pytest.raises(UserError, match=words):
        check_query(SPEC, noise, labels)


def test_an_empty_question_is_fine():
    check_query(SPEC, torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))


@pytest.mark.parametrize("mechanism", Mechanism)
def test_a_wrong_answer_is_named(mechanism):
    good = torch.full((2, mechanism.channels, 8, 8), 0.5)
    assert check_answer(SPEC, mechanism, good, 2) is good
    with pytest.raises(UserError, match="has shape"):
        check_answer(SPEC, mechanism, good[:1], 2)
    with pytest.raises(UserError, match="NaN or infinity"):
        check_answer(SPEC, mechanism, good * float("nan"), 2)
    with pytest.raises(UserError, match=rf"scale it to \[{mechanism.low:.0f}, 1\]"):
        check_answer(SPEC, mechanism, good * 255, 2)
    with pytest.raises(UserError, match="scale it to"):
        check_answer(SPEC, mechanism, good - 0.6 + mechanism.low, 2)


def truncated_normal_cdf(x):
    low, high = (0.5 * math.erfc(-x / math.sqrt(2)) for x in (-2, 2))
    return (0.5 * math.erfc(-x / math.sqrt(2)) - low) / (high - low)


CDF = {
    "normal": lambda x: 0.5 * math.erfc(-x / math.sqrt(2)),
    "truncated-normal": truncated_normal_cdf,
    "uniform": lambda x: (x + 1) / 2,
}


@pytest.mark.parametrize("name", INVERSES)
def test_noise_is_the_generators_and_has_the_named_distribution(name):
    """Kolmogorov-Smirnov against the closed form; the bound is the 99.9 % point for this many numbers."""
    spec = Spec(distribution=name)
    noise, again = (spec.sample_noise(500, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(noise, again)
    ordered = noise.flatten().sort().values.tolist()
    distance = max(abs(CDF[name](x) - (i + 0.5) / len(ordered)) for i, x in enumerate(ordered))
    assert distance < 1.95 / math.sqrt(len(ordered))


def test_an_unknown_distribution_is_named():
    with pytest.raises(UserError, match="unknown noise distribution 'cauchy': use one of normal, truncated-normal"):
        Spec(distribution="cauchy")


def test_teachers_and_students_answer_one_protocol(analytic_teacher, random_cgn):
    assert isinstance(analytic_teacher, Teacher)
    assert isinstance(random_cgn, Teacher)
    assert not isinstance(object(), Teacher)


@pytest.mark.parametrize("name", INVERSES)
def test_sobol_points_fill_the_distribution_more_evenly_than_random_ones(name):
    """The mean of 256 points is ten times nearer to 0 than that of random ones; parts make the whole."""
    spec = Spec(noise_dim=8, distribution=name)
    noise = spec.sobol_noise(0, 256, seed=3)
    random = torch.stack([spec.sample_noise(256, torch.Generator().manual_seed(i)).mean(0) for i in range(20)])
    assert noise.shape == (256, 8)
    assert float(noise.mean(0).abs().mean()) < 0.1 * float(random.abs().mean())
    assert torch.equal(torch.cat([spec.sobol_noise(0, 100, 3), spec.sobol_noise(100, 156, 3)]), noise)
    assert not torch.equal(spec.sobol_noise(0, 256, 4), noise)
    assert bool(torch.isfinite(spec.sobol_noise(0, 5000, 1)).all())


@pytest.mark.parametrize("field", ["image_size", "noise_dim", "classes"])
@pytest.mark.parametrize("size", [0, -1, 10**9, 10**5000], ids=["zero", "negative", "billion", "digits"])
def test_sizes_are_bounded_before_memory_is_asked_for(field, size):
    with pytest.raises(UserError, match="each must be at least 1, and at most 4096, 4096 and 1000000"):
        Spec(**{field: size})


@pytest.mark.parametrize("truncation", [0, -0.5, 1.01, float("nan")])
def test_a_truncation_lies_above_0_and_up_to_1(truncation):
    with pytest.raises(UserError, match=r"a truncation of .*: it must be above 0 and up to 1"):
        Spec(truncation=truncation)


def test_a_spec_of_an_earlier_version_tiles_without_truncation():
    spec = spec_from_metadata({"spec": '{"classes": 3, "names": ["a", "b", "c"]}'}, "a.onnx")
    assert spec == Spec(classes=3, names=("a", "b", "c"), tiles=True, truncation=1.0)
    photographs = Spec(tiles=False, truncation=0.5)
    assert spec_from_metadata(photographs.to_metadata(), "a.onnx") == photographs


@pytest.mark.parametrize("spec", ["", "null", "[]", '{"tiles": 1}', '{"truncation": 0}', '{"truncation": "1"}',
                                  '{"classes": "3"}', '{"classes": 1e9}', '{"classes": 1000000000}',
                                  '{"names": 3}', '{"distribution": 3}', "[" * 10**5])  # fmt: skip
def test_a_spec_in_metadata_is_typed_and_its_file_is_named(spec):
    with pytest.raises(UserError, match=r"^a\.onnx: the spec in its metadata.*: write the file again$"):
        spec_from_metadata({"spec": spec}, "a.onnx")
