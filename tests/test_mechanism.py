"""The words and the one check of shapes and ranges."""

import pytest
import torch

from skdcgn.errors import UserError
from skdcgn.mechanism import Mechanism, Spec, Teacher, as_mechanism, check_answer, check_query

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


def test_noise_is_the_generators_and_standard_normal():
    rng = torch.Generator().manual_seed(3)
    noise = Spec().sample_noise(4000, rng)
    assert torch.equal(noise, Spec().sample_noise(4000, torch.Generator().manual_seed(3)))
    assert noise.mean().abs() < 0.02
    assert abs(noise.std() - 1) < 0.02


def test_teachers_and_students_answer_one_protocol(analytic_teacher, random_cgn):
    assert isinstance(analytic_teacher, Teacher)
    assert isinstance(random_cgn, Teacher)
    assert not isinstance(object(), Teacher)
