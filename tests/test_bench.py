"""Bench: every form draws the same counterfactuals; what is timed is timed in turn."""

import json

import pytest
import torch

from skdcgn.base.errors import UserError
from skdcgn.base.records import to_dict
from skdcgn.base.seeds import generator
from skdcgn.cgn.inputs import Inputs, sample_inputs
from skdcgn.cgn.layers import Composition
from skdcgn.cgn.mechanism import Mechanism, Spec
from skdcgn.deploy.bench import FORMS, forms, time_forms
from skdcgn.students.generator import StudentCGN
from skdcgn.teachers.load import load_teacher

SIZE = {"channels": (4,), "grid": 4, "embedding": 2, "rank": 0, "separable": False}
CHEAP = ("eager", "channels-last", "fast", "onnx-fp32")


@pytest.fixture(scope="module")
def student():
    torch.manual_seed(0)
    return StudentCGN(Spec().to_dict(), {m.value: SIZE for m in Mechanism})


def test_all_forms_draw_the_same(student):
    inputs = sample_inputs(student.spec, 70, generator("same"))
    with torch.no_grad():
        expected = Composition(student)(*inputs)
        images_by_form = {name: form(*inputs) for name, form in forms(student, CHEAP).items()}
    assert tuple(images_by_form) == CHEAP
    assert all(torch.allclose(images, expected, atol=1e-5) for images in images_by_form.values())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.filterwarnings("ignore:TensorFloat32")
def test_all_forms_draw_the_same_on_a_gpu(student, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    inputs = sample_inputs(student.spec, 6, generator("same"))
    placed = Inputs(*(value.cuda() for value in inputs))
    with torch.inference_mode():
        expected = Composition(student)(*inputs)
        for name, form in forms(student, FORMS, "cuda").items():
            assert torch.allclose(form(*placed).cpu(), expected, atol=1e-4), name


def test_a_black_box_is_timed_through_its_answers(analytic_teacher):
    inputs = sample_inputs(analytic_teacher.spec, 4, generator("box"))
    forms_of_box = forms(analytic_teacher, CHEAP)
    assert list(forms_of_box) == ["eager"]
    assert forms_of_box["eager"](*inputs).shape == (4, 3, 32, 32)


def test_the_numbers_are_ratios_to_the_teacher_in_one_process(student):
    results = time_forms(
        load_teacher("double-colored-digits"), student, batches=(2, 8), rounds=3, names=("eager", "onnx-fp32")
    )
    json.dumps(to_dict(results))
    assert [(row.batch, row.form) for row in results.rows[:5]] == [
        (2, "teacher, eager"),
        (2, "teacher, channels-last"),
        (2, "teacher, fast"),
        (2, "student, eager"),
        (2, "student, onnx-fp32"),
    ]
    rates = {(row.batch, row.form): row for row in results.rows}
    for (batch, _), row in rates.items():
        base = rates[batch, "teacher, eager"].counterfactuals_per_second
        assert row.ratio == pytest.approx(row.counterfactuals_per_second / base)
    assert results.parameters == {"teacher": 659_992, "student": student.size}
    assert rates[8, "student, onnx-fp32"].ratio > 2


def test_mistakes_name_the_mend(student):
    with pytest.raises(UserError, match="unknown form 'tensorrt': use eager"):
        forms(student, ("tensorrt",))
    other = StudentCGN(Spec(noise_dim=8).to_dict(), {m.value: SIZE for m in Mechanism})
    with pytest.raises(UserError, match="pass the student's own teacher"):
        time_forms(load_teacher("double-colored-digits"), other)
