"""Distillation: through query alone, each loss pulls where it should, and collapse is noticed."""

from dataclasses import replace

import pytest
import torch

from skdcgn.base.config import Distance, DistillConfig, Noise, QueryConfig, Store, StudentConfig
from skdcgn.base.errors import TrainingStoppedError, UserError
from skdcgn.base.seeds import generator
from skdcgn.base.tensors import write_tensors
from skdcgn.cgn.mechanism import Mechanism, Spec
from skdcgn.evaluation.fidelity import fidelity
from skdcgn.features.perceptual import load_features
from skdcgn.pairs.query import query_all
from skdcgn.pairs.stored import Pairs
from skdcgn.students.collapse import collapse_guard
from skdcgn.students.distill import distill
from skdcgn.students.method import Distill
from skdcgn.students.start import new_student, read_embeddings
from skdcgn.teachers.load import load_student
from skdcgn.training import losses
from skdcgn.training.loop import Record, Step
from skdcgn.training.train import make_accelerator

SMALL = StudentConfig(channels=(12, 8), grid=8, embedding=4)
CONFIG = DistillConfig(steps=250, batch_size=32, learning_rate=1e-2, shape=SMALL, texture=SMALL, background=SMALL)
WEIGHTS = {"feature": 1.0, "kl": 1.0, "adversarial": 1.0}


def make(mechanism=Mechanism.TEXTURE, **weights):
    torch.manual_seed(0)
    config = DistillConfig(shape=SMALL, texture=SMALL, background=SMALL, **weights)
    return Distill(config, new_student(config, mechanism, Spec()))


def some_batch(mechanism=Mechanism.TEXTURE, count=8):
    rng = generator("batch")
    images = torch.rand(count, mechanism.channels, 32, 32, generator=rng) * 2 - 1
    return {"noise": Spec().sample_noise(count, rng), "labels": torch.arange(count) % 10, "images": images}


@pytest.mark.slow
def test_a_teacher_without_parameters_is_learnt_through_query_alone(analytic_teacher, tmp_path):
    queries = []

    class Closed:
        """Nothing but the protocol: any other access fails."""

        __slots__ = ()
        spec, digest, size = analytic_teacher.spec, "closed", None

        def query(self, mechanism, noise, labels):
            assert not noise.requires_grad
            queries.append((str(mechanism), len(noise)))
            return analytic_teacher.query(mechanism, noise, labels)

    budget = QueryConfig(shape=600, texture=400, background=400, held_out=100, shard_size=200)
    student = distill(Closed(), tmp_path, CONFIG, budget, device="cpu")
    l1, diversity = fidelity(student, tmp_path / "pairs")
    for mechanism in Mechanism:
        assert l1[mechanism].student < 0.8 * l1[mechanism].label_mean, mechanism
        assert diversity[mechanism].student > 0.5 * diversity[mechanism].teacher, mechanism
    for mechanism, count in (("shape", 700), ("texture", 500), ("background", 500)):
        assert sum(n for name, n in queries if name == mechanism) == count


def test_the_saved_student_is_the_returned_one(analytic_teacher, tmp_path):
    budget = QueryConfig(shape=40, texture=40, background=40, held_out=10)
    few = DistillConfig(steps=2, batch_size=8, shape=SMALL, texture=SMALL, background=SMALL)
    student = distill(analytic_teacher, tmp_path, few, budget, device="cpu")
    assert load_student(tmp_path / "student").digest == student.digest


@pytest.mark.parametrize("changes", [{"noise": Noise.SOBOL}, {"store": Store.UINT8}])
def test_a_student_of_other_answers_is_not_taken_for_a_finished_one(analytic_teacher, tmp_path, changes):
    few = DistillConfig(steps=2, batch_size=8, shape=SMALL, texture=SMALL, background=SMALL)
    budget = QueryConfig(shape=40, texture=40, background=40, held_out=10)
    for name, budget_of_folder in (("pairs", budget), ("others", replace(budget, **changes))):
        query_all(analytic_teacher, tmp_path / name, budget_of_folder)
    distill(tmp_path / "pairs", tmp_path / "run", few, device="cpu")
    with pytest.raises(UserError, match="pairs"):
        distill(tmp_path / "others", tmp_path / "run", few, device="cpu")


@pytest.mark.parametrize("name", WEIGHTS)
def test_switching_a_loss_on_adds_its_gradient_and_descending_it_lowers_it(name):
    def term(method, batch):
        discriminator, labels = method.modules["discriminator"], batch["labels"]
        teacher, student = discriminator(batch["images"], labels), discriminator(student_of(method, batch), labels)
        return {
            "feature": lambda: losses.feature_l1(student.features, teacher.features),
            "kl": lambda: losses.feature_kl(student.features, teacher.features, 8.0),
            "adversarial": lambda: losses.hinge_generator(student.logits),
        }[name]()

    def student_of(method, batch):
        return method.modules["student"](batch["noise"], batch["labels"])

    def gradient(**weights):
        method, batch = make(**weights), some_batch()
        method.modules["discriminator"].eval()  # spectral norm holds still
        terms = method.adversarial_terms(student_of(method, batch), batch["images"], batch["labels"])
        total = losses.pixel_l1(student_of(method, batch), batch["images"]) + torch.stack(list(terms.values())).sum()
        parameters = list(method.modules["student"].parameters())
        return method, batch, parameters, torch.autograd.grad(total, parameters)

    zero = dict.fromkeys(WEIGHTS, 0.0)
    method, batch, parameters, on = gradient(**{**zero, name: 1.0})
    *_, off = gradient(**{**zero, name: 1e-12})
    before = term(method, batch).item()
    with torch.no_grad():
        difference = [a - b for a, b in zip(on, off, strict=True)]
        scale = 1e-3 / torch.cat([d.flatten() for d in difference]).norm()
        for parameter, direction in zip(parameters, difference, strict=True):
            parameter -= scale * direction
    assert term(method, batch).item() < before


@pytest.mark.parametrize("name", WEIGHTS)
def test_every_loss_changes_where_a_step_goes(name):
    plain, with_loss = make(**{name: 1e-12}), make(**{name: 10.0})
    for method in (plain, with_loss):
        logged = method.step(some_batch(), Step())
        assert name in logged
    left, right = (torch.cat([p.flatten() for p in m.modules["student"].parameters()]) for m in (plain, with_loss))
    assert not torch.allclose(left, right, atol=1e-5)


def test_masks_alone_may_be_learned_by_their_mean():
    for mechanism, changed in ((Mechanism.SHAPE, True), (Mechanism.TEXTURE, False)):
        method, batch = make(mechanism, masks="l2"), some_batch(mechanism)
        masks = method.modules["student"].train()(batch["noise"], batch["labels"])
        distance = losses.pixel_l2 if changed else losses.pixel_l1
        assert method.step(batch, Step())["pixel"] == pytest.approx(distance(masks, batch["images"]).item(), rel=1e-5)


def test_pixel_loss_alone_needs_no_discriminator():
    assert set(make().modules) == {"student"}
    assert make().frozen == {}


@pytest.mark.parametrize("mechanism", [Mechanism.SHAPE, Mechanism.TEXTURE])
def test_the_perceptual_loss_is_the_l1_on_features_that_stay_as_they_are(mechanism):
    method, batch = make(mechanism, pixel=0.0, perceptual=2.0), some_batch(mechanism)
    before = [value.clone() for value in method.frozen["features"].state_dict().values()]
    student = method.modules["student"].train()(batch["noise"], batch["labels"]).detach()
    features, targets = (load_features("random")(x.expand(-1, 3, -1, -1)) for x in (student, batch["images"]))
    first = method.step(batch, Step())["perceptual"]
    assert first == pytest.approx(2 * float(losses.feature_l1(features, targets)), rel=1e-4)
    for _ in range(20):
        last = method.step(batch, Step())["perceptual"]
    assert last < 0.95 * first
    assert all(torch.equal(a, b) for a, b in zip(before, method.frozen["features"].state_dict().values(), strict=True))
    assert set(make(kl=1.0).modules) == {"student", "discriminator"}


def test_two_steps_change_every_tensor():
    method = make(feature=1.0, kl=1.0, adversarial=1.0)
    before = {k: v.clone() for k, v in method.state().items()}
    for _ in range(2):
        method.step(some_batch(count=10), Step())
    after = method.state()
    unchanged = {k for k, v in before.items() if torch.equal(v, after[k])}
    constant = {"discriminator/head.parametrizations.weight.0._u"}  # one number of norm one
    balanced = {"discriminator/head.bias"}  # the hinge pulls it both ways until an image is on the right side
    assert unchanged <= constant | balanced


def test_the_generator_step_leaves_the_discriminator_trainable():
    method = make(feature=1.0)
    method.step(some_batch(), Step())
    assert all(p.requires_grad for p in method.modules["discriminator"].parameters())


@pytest.mark.parametrize(
    ("mechanism", "masks", "mend"),
    [
        ("texture", "l1", "rate$"),
        ("shape", "l1", r"rate, or let masks be learned .* \(masks: l2\)$"),
        ("shape", "l2", "rate$"),
    ],
)
def test_a_student_that_ignores_noise_is_stopped_late_but_not_early(mechanism, masks, mend):
    mechanism = Mechanism(mechanism)
    method = make(mechanism, masks=masks)
    with torch.no_grad():
        method.modules["student"].input.weight[:, : Spec().noise_dim] = 0
    guard = collapse_guard(method.result, method.config.masks, Pairs(**some_batch(mechanism, count=40)), Spec())
    guard(Record(10, 100, {}))
    with pytest.raises(TrainingStoppedError, match=f"one {mechanism} for every noise of class 0.*{mend}"):
        guard(Record(90, 100, {}))


def test_a_diverse_student_passes_the_guard():
    batch = some_batch(count=40)
    collapse_guard(make().result, Distance.L1, Pairs(**batch), Spec())(Record(90, 100, {}))


def test_the_result_is_the_average_of_the_weights():
    method = make(ema=0.75)
    before = {name: value.clone() for name, value in method.result().state_dict().items()}
    method.step(some_batch(), Step())
    after = method.modules["student"].state_dict()
    for name, value in method.result().state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, 0.75 * before[name] + 0.25 * after[name])
        else:
            assert value == after[name]
    assert not any(p.requires_grad for p in method.result().parameters())
    assert make().result().state_dict().keys() == method.result().state_dict().keys()


@pytest.mark.parametrize("way", [{"bf16": True}, {"channels_last": True}, {"compile": True}])
def test_ways_to_be_fast_change_the_losses_by_their_rounding_alone(way, monkeypatch):
    """A step of each, beside the plain one; what is compiled is run as it was traced, for C++ takes half a minute."""
    compiled, reports = torch.nn.Module.compile, []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: compiled(module, backend="eager"))
    for options in ({}, way):
        method = make(
            **options, **({} if "compile" in way else WEIGHTS)
        )  # tracing a discriminator warns of its spectral norm
        method.to(make_accelerator("cpu"))
        torch.manual_seed(1)
        reports.append(method.step(some_batch(), Step()))
    for name, plain in reports[0].items():
        assert reports[1][name] == pytest.approx(plain, rel=0.05 if "bf16" in way else 1e-3, abs=1e-4), name
        assert method.modules["student"].state_dict().keys() == make().modules["student"].state_dict().keys()
    if "bf16" in way:
        assert reports[0] != reports[1]


def test_drawn_pictures_keep_single_precision_under_bf16():
    method = make(bf16=True)
    with method.autocast():
        assert method.modules["student"](some_batch()["noise"], some_batch()["labels"]).dtype == torch.float32


@pytest.mark.parametrize("name", ["embeddings.weight", "mine"])
def test_class_embeddings_begin_as_those_of_a_file(name, analytic_teacher, tmp_path):
    table = torch.randn(10, 4, generator=generator("table"))
    write_tensors(tmp_path / "e.safetensors", {name: table.T if name == "embeddings.weight" else table})
    assert torch.equal(read_embeddings(tmp_path / "e.safetensors", 10, 4), table)
    budget = QueryConfig(shape=20, texture=20, background=20, held_out=10)
    few = replace(CONFIG, steps=1, batch_size=8, learning_rate=1e-9, embeddings=str(tmp_path / "e.safetensors"))
    student = distill(analytic_teacher, tmp_path / "out", few, budget, device="cpu")
    for mechanism in Mechanism:
        torch.testing.assert_close(student.mechanisms[mechanism.value].embed.weight, table)


def test_embeddings_that_do_not_fit_are_reported(tmp_path):
    write_tensors(tmp_path / "e.safetensors", {"mine": torch.zeros(10, 3)})
    with pytest.raises(UserError, match=r"no embeddings of 10 classes in 4 dimensions \(mine has shape \(10, 3\)\)"):
        read_embeddings(tmp_path / "e.safetensors", 10, 4)


def test_channels_last_leaves_frozen_features_as_they_are():
    """Theirs may have five dimensions, which have no such layout."""
    method = make(channels_last=True, perceptual=1.0)
    method.to(make_accelerator("cpu"))
    assert method.step(some_batch(), Step())["perceptual"] > 0
