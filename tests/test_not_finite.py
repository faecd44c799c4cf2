"""NaN and infinity: whatever draws, times, exports or measures refuses them, and so does whatever loads."""

import json
from functools import partial

import pytest
import torch

from skdcgn.base.config import ClassifyConfig, EnsembleConfig
from skdcgn.base.errors import UserError
from skdcgn.base.tensors import read_tensors, write_tensors
from skdcgn.cgn.compose import compose
from skdcgn.cgn.drawer import draw
from skdcgn.cgn.drawings import draw_cgns, interpolate, layers_grid
from skdcgn.cgn.inputs import sample_inputs
from skdcgn.cgn.mechanism import Mechanism, Spec
from skdcgn.classifiers.backbones import SmallResNet
from skdcgn.classifiers.ensemble import Ensemble, TrainEnsemble, load_ensemble
from skdcgn.classifiers.small_cnn import Classify, load_classifier
from skdcgn.data.images import LabelledImages
from skdcgn.deploy.bench import medians, rates, time_forms
from skdcgn.deploy.export import export_cgn
from skdcgn.deploy.generate import write_counterfactuals, write_interpolation
from skdcgn.evaluation.attribution import render
from skdcgn.students.generator import StudentCGN
from skdcgn.teachers.health import check_health, real_reference
from skdcgn.teachers.load import load_teacher
from skdcgn.training.loop import Method, Step
from skdcgn.training.run_folder import RunFolder

SPEC = Spec(image_size=32, noise_dim=4, classes=3)
SIZE = {"channels": (4,), "grid": 4, "embedding": 2, "rank": 0, "separable": False}
GLYPHS = LabelledImages(torch.zeros(6, 1, 32, 32), torch.arange(6) % 3)


def student(**changes):
    """A student whose tensors of the given names are filled with a value."""
    torch.manual_seed(0)
    cgn = StudentCGN(SPEC.to_dict(), {m.value: SIZE for m in Mechanism})
    for name, value in changes.items():
        cgn.mechanisms[name].output.bias.data.fill_(value)
    return cgn


def black_box(value):
    def function(mechanism, noise, labels):
        return torch.full((len(noise), 1 if mechanism == "shape" else 3, 32, 32), value)

    return load_teacher(function, spec=SPEC)


USES = {
    "compose": lambda cgn, _: compose(cgn, 4),
    "draw": lambda cgn, _: draw(cgn, Mechanism.SHAPE, torch.zeros(2, 4), torch.zeros(2, dtype=torch.int64)),
    "interpolate": lambda cgn, _: interpolate(cgn, "all", 0, 1),
    "write_interpolation": lambda cgn, out: write_interpolation(cgn, out, "texture"),
    "write_counterfactuals": lambda cgn, out: write_counterfactuals(cgn, out, 4),
    "layers_grid": lambda cgn, _: layers_grid(cgn, 1, 0),
    "draw_cgns": lambda cgn, out: draw_cgns(student(), cgn, out, 0),
    "render": lambda cgn, _: render(cgn, sample_inputs(SPEC, 3, torch.Generator())),
    "health": lambda cgn, _: check_health(cgn, real_reference(GLYPHS, 3, 0), 0),
    "time_forms": lambda cgn, _: time_forms(student(), cgn, batches=(2,), rounds=1, names=("eager",)),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("cgn", ["student", "black box"])
def test_a_cgn_that_draws_nan_is_refused_wherever_it_draws(cgn, use, tmp_path):
    with pytest.raises(UserError, match="NaN or infinity"):
        USES[use](student(shape=float("nan")) if cgn == "student" else black_box(float("nan")), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("use", ["compose", "interpolate", "layers_grid", "render", "health"])
def test_a_cgn_that_leaves_its_range_is_refused_wherever_it_draws(use, tmp_path):
    with pytest.raises(UserError, match="scale it to"):
        USES[use](black_box(255.0), tmp_path)


def test_a_black_box_that_draws_something_else_is_refused():
    for answer, kind in ((torch.ones(2, 3, 32, 32, dtype=torch.uint8), "torch.uint8"), ([[0.0]], "list")):
        with pytest.raises(UserError, match=f"is of type {kind}"):
            compose(load_teacher(lambda *inputs, answer=answer: answer, spec=SPEC), 2)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_nan_is_not_exported(precision, tmp_path):
    with pytest.raises(UserError, match="the CGN draws NaN or infinity: check its weights"):
        export_cgn(student(shape=float("nan")), tmp_path / "cgn.onnx", precision)
    assert list(tmp_path.iterdir()) == []


def test_rates_are_those_of_finite_images():
    with pytest.raises(UserError, match="draws NaN or infinity"):
        rates({"black box": black_box(float("inf"))}, batch=2, rounds=1)


def test_bench_names_the_form_that_draws_nan():
    forms = {"sound": lambda *inputs: torch.zeros(1), "spoilt": lambda *inputs: torch.tensor([0.0, torch.inf])}
    with pytest.raises(UserError, match="'spoilt' draws NaN"):
        medians(forms, sample_inputs(SPEC, 1, torch.Generator()), 1)


def classifier_folder(path, change):
    """A classifier's run folder, one tensor of which is changed."""
    torch.manual_seed(0)
    run = RunFolder(path, {"classes": 3, "image_size": 32})
    run.save(Classify(ClassifyConfig(), 3), 1)
    respoil(run.checkpoint, "classifier/", change)
    return partial(load_classifier, path)


def ensemble_folder(path, change):
    config = {"backbone": "small", "width": 4, "image_size": 16, "names": ["a", "b", "c"]}
    run = RunFolder(path, config)
    run.save(TrainEnsemble(EnsembleConfig(width=4, image_size=16), Ensemble(SmallResNet(4), 3, 16)), 1)
    respoil(run.checkpoint, "ensemble/", change)
    return partial(load_ensemble, path)


def respoil(file, prefix, change):
    state, metadata = read_tensors(file)
    write_tensors(file, {name: change(name.removeprefix(prefix), value) for name, value in state.items()}, metadata)


@pytest.mark.parametrize("folder", [classifier_folder, ensemble_folder])
def test_a_classifier_that_is_not_finite_is_refused_when_it_is_loaded(folder, tmp_path):
    folder(tmp_path / "sound", lambda name, value: value)()

    def nan(name, value):
        return value * float("nan") if "weight" in name else value

    def negative(name, value):  # finite, and its root is not
        return -value if "running_var" in name else value

    for name, change, words in (("nan", nan, "holds NaN or infinity"), ("root", negative, "its logits are NaN")):
        with pytest.raises(UserError, match=f"checkpoint.safetensors: .*{words}"):
            folder(tmp_path / name, change)()


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("width", 4096, r"is \(4, 3, 3, 3\), a backbone of width 4096 has \(4096, 3, 3, 3\)"),
        ("image_size", 10**6, "image_size: input should be less than or equal to 4096"),
        ("names", ["a", "b"], r"heads.shape.weight is \(3, 16\), an ensemble of its classes"),
        ("names", {"a": 1}, "names"),
        ("width", "4", "width"),
    ],
)
def test_an_ensembles_configuration_is_checked_before_it_takes_memory(key, value, words, tmp_path):
    load = ensemble_folder(tmp_path, lambda name, value: value)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
    with pytest.raises(UserError, match=words):
        load()


class Line(Method):
    """Fit a line; Adam has two numbers per parameter and a step."""

    def __init__(self):
        model = torch.nn.Linear(2, 1)
        super().__init__({"model": model}, {"model": torch.optim.Adam(model.parameters())})

    def step(self, batch, now):
        self.descend("model", self.modules["model"](torch.ones(3, 2)).square().mean())
        return {}


@pytest.fixture
def run(tmp_path):
    folder, method = RunFolder(tmp_path, {"steps": 1}), Line()
    method.step({}, Step())
    folder.save(method, 1)
    return folder


def test_a_checkpoint_is_restored_number_by_number(run):
    method = Line()
    assert run.restore(method) == 1
    state, _ = read_tensors(run.checkpoint)
    assert method.state().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in method.state().items())
    assert "model.optimizer/0/exp_avg" in state


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model/weight": torch.zeros(1, 3)}, r"\(model\) is .*: weight is \(1, 3\), the model of this version has"),
        ({"model/weight": torch.zeros(1, 2, dtype=torch.int64)}, r"\(model\): weight is of type torch.int64"),
        ({"model/weight": torch.full((1, 2), torch.nan)}, r"\(model\): weight holds NaN"),
        ({"other/weight": torch.zeros(1)}, "other/weight is no tensor of this run"),
        ({"surplus": torch.zeros(1)}, "surplus is no tensor of this run"),
        ({"model.optimizer/7/step": torch.zeros(())}, r"\(model.optimizer\): 7/step is none of this run's"),
        ({"model.optimizer/x\n": torch.zeros(())}, r"\(model.optimizer\): x\\n is none of this run's"),
        ({"model.optimizer/0/exp_avg": torch.zeros(5)}, r"0/exp_avg is \(5,\), not \(1, 2\)"),
        ({"model.optimizer/0/exp_avg": torch.full((1, 2), torch.inf)}, "0/exp_avg holds NaN or infinity"),
        ({"model.optimizer/0/exp_avg_sq": None}, "0/exp_avg_sq is missing"),
        ({"model/bias": None}, "bias is missing"),
    ],
)
def test_a_checkpoint_that_does_not_fit_names_its_tensor(change, words, run):
    state, metadata = read_tensors(run.checkpoint)
    changed = {name: value for name, value in {**state, **change}.items() if value is not None}
    write_tensors(run.checkpoint, changed, metadata)
    with pytest.raises(UserError, match=words) as error:
        run.restore(Line())
    assert str(error.value).startswith(str(run.checkpoint))


@pytest.mark.parametrize("counters", ["[]", "null", "{", '{"step": "1"}', '{"digest": 3}', "[" * 10_000])
def test_counters_that_are_none_are_refused(counters, run):
    write_tensors(run.checkpoint, read_tensors(run.checkpoint)[0], {"counters": counters})
    with pytest.raises(UserError, match="delete it to start afresh"):
        run.restore(Line())
