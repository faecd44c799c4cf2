"""Export: one file that draws what PyTorch draws, whatever the batch; smaller variants say what they cost."""

import copy
import sys

import onnx
import pytest
import torch

from skdcgn.base.config import Precision
from skdcgn.base.errors import UserError
from skdcgn.base.onnx_models import open_onnx
from skdcgn.base.seeds import generator
from skdcgn.cgn.compose import compose
from skdcgn.cgn.drawer import draw
from skdcgn.cgn.inputs import Inputs, sample_inputs
from skdcgn.cgn.layers import Composition
from skdcgn.cgn.mechanism import Layers, Mechanism, Spec, spec_from_metadata
from skdcgn.deploy.export import (
    CHECKED,
    STORED,
    TOLERANCE,
    as_module,
    export_cgn,
    exported,
    onnx_session,
    to_onnx,
    with_spec,
)
from skdcgn.evaluation.attribution import render
from skdcgn.students.generator import StudentCGN
from skdcgn.teachers.load import load_teacher

SIZE = {"channels": (6, 6), "grid": 4, "embedding": 4, "rank": 5, "separable": False}


@pytest.fixture(scope="module")
def student():
    torch.manual_seed(0)
    sizes = {m.value: SIZE for m in Mechanism} | {"texture": {**SIZE, "memory": 6}}
    cgn = StudentCGN(Spec().to_dict(), sizes).train()
    torch.nn.init.normal_(cgn.mechanisms["texture"].memory.keys)
    for module in cgn.modules():
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.normal_(module.weight, std=0.3)
    for mechanism in Mechanism:  # running statistics of its own
        for _ in range(20):
            cgn(mechanism, torch.randn(64, 32), torch.arange(64) % 10)
    return cgn.eval()


@pytest.fixture(scope="module")
def files(student):
    traced = to_onnx(as_module(student), student.spec)
    return {precision: STORED[precision](traced, student.spec) for precision in Precision}


def test_a_composition_is_the_blend_of_its_cropped_mechanisms(student):
    inputs = sample_inputs(student.spec, 5, generator("inputs"))
    with torch.no_grad():
        images = Composition(student)(*inputs)
    mask, texture, background = (
        student.query(m, u, y) for m, u, y in zip(Mechanism, inputs[:3], inputs[3:6], strict=True)
    )
    for i in range(5):
        moved = [
            picture[i].roll((-row, -column), (1, 2))
            for picture, (row, column) in (
                (texture, inputs.texture_offsets[i].tolist()),
                (background, inputs.background_offsets[i].tolist()),
            )
        ]
        assert torch.allclose(images[i], mask[i] * moved[0] + (1 - mask[i]) * moved[1], atol=1e-6)


@pytest.mark.parametrize("batch", [1, 2, 33])
def test_onnx_runtime_draws_what_pytorch_draws(student, files, batch):
    inputs = sample_inputs(student.spec, batch, generator("batch", batch))
    with torch.no_grad():
        expected = Composition(student)(*inputs)
    assert torch.allclose(onnx_session(files["fp32"])(*inputs), expected, atol=1e-5)


def test_every_input_counts(student, files):
    draw = onnx_session(files["fp32"])
    inputs = sample_inputs(student.spec, 8, generator("count"))
    base = draw(*inputs)
    for name, value in inputs._asdict().items():
        size = {"labels": 10, "offsets": 32}.get(name.split("_")[1])
        changed = value + 1 if size is None else (value + 1) % size
        assert not torch.allclose(draw(*Inputs(**{**inputs._asdict(), name: changed})), base, atol=1e-4), name


def test_a_cgn_whose_pictures_do_not_tile_has_no_offsets():
    sizes = {m.value: {"channels": (4,), "grid": 16} for m in Mechanism}
    photographs = StudentCGN(Spec(16, 4, 3, tiles=False, truncation=0.5).to_dict(), sizes)
    data = exported(photographs)
    model = onnx.load_from_string(data)
    assert [one.name for one in model.graph.input] == list(Inputs._fields[:6])
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert spec_from_metadata(metadata, "cgn.onnx") == photographs.spec
    inputs = sample_inputs(photographs.spec, 5, generator("photographs"))
    assert torch.allclose(onnx_session(data)(*inputs.tensors.values()), render(photographs, inputs), atol=1e-5)


@pytest.mark.parametrize(("precision", "near"), [("fp32", 1e-5), ("fp16", 1e-2), ("int8", 0.5)])  # of [-1, 1]
def test_an_exported_file_is_a_teacher_that_draws_as_the_student(precision, near, student, files, tmp_path):
    (tmp_path / "cgn.onnx").write_bytes(with_spec(files[precision], student.spec))
    teacher = load_teacher(tmp_path / "cgn.onnx")
    assert teacher.spec == student.spec
    noise, labels = student.spec.sample_noise(7, generator("teacher again")), torch.arange(7)
    for mechanism in Mechanism:
        assert torch.allclose(
            draw(teacher, mechanism, noise, labels), student.query(mechanism, noise, labels), atol=near
        )
    assert torch.allclose(compose(teacher, 9, seed=3).images, compose(student, 9, seed=3).images, atol=2 * near)


def test_a_mechanism_of_a_file_is_drawn_without_the_others(files, tmp_path):
    (tmp_path / "cgn.onnx").write_bytes(files["fp32"])
    assert [one.name for one in onnx.load_from_string(files["fp32"]).graph.output] == ["images", *Layers._fields]
    for mechanism, output in zip(Mechanism, Layers._fields, strict=True):
        inputs = {one.name for one in open_onnx(tmp_path / "cgn.onnx", output).get_inputs()}
        assert inputs == {f"{mechanism}_noise", f"{mechanism}_labels"}


def test_smaller_variants_are_smaller_and_near(student, files):
    numbers = 4 * sum(p.numel() for p in student.parameters())
    assert len(files["fp32"]) < numbers + 60_000
    assert len(files["fp16"]) < len(files["fp32"]) - 0.4 * numbers  # of at most a half
    inputs = sample_inputs(student.spec, 64, generator("near"))
    with torch.no_grad():
        expected = Composition(student)(*inputs)
    away = {name: float((onnx_session(data)(*inputs) - expected).abs().mean()) * 127.5 for name, data in files.items()}
    assert away["fp32"] < away["fp16"] < 0.2 < away["int8"] < 6


def test_the_file_is_written_with_what_it_costs(student, files, tmp_path, monkeypatch):
    monkeypatch.setattr("skdcgn.deploy.export.to_onnx", lambda *_: files["fp32"])
    check = export_cgn(student, tmp_path / "cgn.onnx")
    assert check.size == (tmp_path / "cgn.onnx").stat().st_size
    assert 0 < check.mean <= check.greatest < 127.5e-5


def test_a_file_may_round_as_pytorch_does_but_not_draw_something_else(student, files, tmp_path, monkeypatch):
    steep = copy.deepcopy(student)
    with torch.no_grad():
        for generator_of in steep.mechanisms.values():
            generator_of.output.weight *= 200
    inputs = sample_inputs(student.spec, CHECKED, generator("export", "check"))
    data = exported(steep)
    with torch.no_grad():
        assert (onnx_session(data)(*inputs) - Composition(steep)(*inputs)).abs().max() > 2 * TOLERANCE
    monkeypatch.setattr("skdcgn.deploy.export.exported", lambda cgn, _: {steep: data, student: files["fp32"]}[cgn])
    export_cgn(steep, tmp_path / "steep.onnx")
    monkeypatch.setattr(
        "skdcgn.deploy.export.onnx_session", lambda data: lambda *arguments: Composition(student)(*arguments) + 3e-5
    )
    with pytest.raises(RuntimeError, match="away from PyTorch"):
        export_cgn(student, tmp_path / "other.onnx")
    assert not (tmp_path / "other.onnx").exists()


@pytest.mark.slow
def test_a_teacher_can_be_exported_too(tmp_path, monkeypatch):
    teacher = load_teacher("double-colored-digits")
    inputs = sample_inputs(teacher.spec, 4, generator("teacher"))
    with torch.no_grad():
        expected = Composition(teacher.cgn)(*inputs)
    data = exported(teacher)
    assert torch.allclose(onnx_session(data)(*inputs), expected, atol=1e-4)
    monkeypatch.setattr("skdcgn.deploy.export.exported", lambda *arguments: data)
    assert export_cgn(teacher, tmp_path / "teacher.onnx").mean < 0.001


def test_folding_changes_no_image_and_leaves_no_batch_norm(student):
    folded = student.folded()
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in student.modules())
    for name in ("images", "shape_labels"):
        one, other = (getattr(compose(cgn, 20, seed=3), name).float() for cgn in (student, folded))
        assert torch.allclose(one, other, atol=1e-5)


def test_mistakes_name_the_mend(analytic_teacher, student, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="distill it and export the student"):
        export_cgn(analytic_teacher, tmp_path / "x.onnx")
    with pytest.raises(UserError, match="use fp32, fp16, int8"):
        export_cgn(student, tmp_path / "x.onnx", "int4")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="onnx, onnxscript not installed: pip install"):
        export_cgn(student, tmp_path / "x.onnx")
    assert not (tmp_path / "x.onnx").exists()
    assert "onnx" in sys.modules
