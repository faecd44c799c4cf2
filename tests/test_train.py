"""The training loop: resuming is exact, frequencies are closures, guards keep the last good checkpoint."""

import json
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout

import pytest
import torch
from torch import nn

from skdcgn.base.config import QueryConfig
from skdcgn.base.contents import Contents
from skdcgn.base.errors import TrainingStoppedError, UserError
from skdcgn.base.files import write_json
from skdcgn.base.seeds import derive_seed, seed_global
from skdcgn.base.tensors import read_tensors, write_tensors
from skdcgn.cgn.mechanism import Mechanism
from skdcgn.cli import main
from skdcgn.deploy.generate import write_counterfactuals
from skdcgn.pairs.query import query_all
from skdcgn.training.loop import (
    Method,
    Record,
    balanced_rows,
    constant,
    decay_after,
    every,
    every_and_at_end,
    fit,
    stop_if_not_finite,
)
from skdcgn.training.optimizer_state import load_optimizer_state, optimizer_state
from skdcgn.training.run_folder import RunFolder, read_metrics
from skdcgn.training.trackers import require_tracker
from skdcgn.training.train import train


class Line(Method):
    """Least squares with dropout: it uses the global random state, as a method may."""

    def __init__(self):
        torch.manual_seed(7)
        model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 1))
        super().__init__({"model": model}, {"model": torch.optim.Adam(model.parameters(), lr=0.01)})

    def step(self, batch, now):
        loss = (self.modules["model"](batch["x"]) - batch["x"].sum(1, keepdim=True)).square().mean()
        self.optimizers["model"].zero_grad()
        self.backward(loss)
        self.optimizers["model"].step()
        return {"loss": loss.item()}


def batch_at(step):
    return {"x": torch.randn(8, 3, generator=torch.Generator().manual_seed(step))}


def weights(method):
    return torch.cat([value.flatten() for value in method.modules["model"].state_dict().values()])


def test_the_global_random_state_is_what_torch_would_make_of_the_seed():
    torch.manual_seed(derive_seed(3, "step", 5))
    expected = torch.rand(4)
    seed_global(3, "step", 5)
    assert torch.equal(torch.rand(4), expected)


def test_of_two_trainings_in_one_folder_the_second_waits_and_finds_it_done(tmp_path):
    first, second, steps = Line(), Line(), []

    def meanwhile(record):
        if record.step == 1:
            waiting.append(pool.submit(train, second, batch_at, RunFolder(tmp_path, {}), steps=20, callbacks=(count,)))
            time.sleep(0.3)
            assert not waiting[0].done()

    def count(record):
        steps.append(record.step)

    with ThreadPoolExecutor(1) as pool:
        waiting = []
        train(first, batch_at, RunFolder(tmp_path, {}), steps=20, log_every=5, callbacks=(meanwhile,))
        waiting[0].result(20)
    assert steps == []
    assert torch.equal(weights(first), weights(second))
    assert [line.step for line in RunFolder(tmp_path, {}).metrics()] == [5, 10, 15, 20]


def test_fit_yields_one_numbered_record_per_step():
    records = list(fit(Line(), batch_at, 5))
    assert [r.step for r in records] == [1, 2, 3, 4, 5]
    assert {r.total for r in records} == {5}


def test_zero_steps_change_nothing_and_two_change_everything():
    method = Line()
    before = {k: v.clone() for k, v in method.modules["model"].state_dict().items()}
    assert list(fit(method, batch_at, 0)) == []
    assert all(torch.equal(before[k], v) for k, v in method.modules["model"].state_dict().items())
    list(fit(method, batch_at, 2))
    assert all(not torch.equal(before[k], v) for k, v in method.modules["model"].state_dict().items())


class StopHereError(Exception):
    pass


@pytest.mark.parametrize("stop", [1, 7, 19])
def test_a_run_stopped_anywhere_ends_with_identical_weights(stop, tmp_path):
    def stop_there(record):
        if record.step == stop:
            raise StopHereError

    def run(name, **more):
        method, folder = Line(), RunFolder(tmp_path / name, {"a": 1})
        train(method, batch_at, folder, steps=20, seed=3, save_every=3, device="cpu", **more)
        return weights(method)

    whole = run("whole")
    with pytest.raises(StopHereError):
        run("stopped", callbacks=(stop_there,))
    assert torch.equal(whole, run("stopped"))


def test_the_log_of_a_resumed_run_has_each_step_once(tmp_path):
    folder = RunFolder(tmp_path, {})
    for step in (1, 2, 3, 4):
        folder.log(Record(step, 4, {"loss": float(step)}))
    method = Line()
    folder.save(method, 2)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')  # a line cut by a kill
    assert folder.restore(method) == 2
    assert [line.step for line in folder.metrics()] == [1, 2]


def test_every_and_at_end_fire_at_their_steps():
    steps = []
    hooks = (
        every(3, lambda r: steps.append(("every", r.step))),
        every_and_at_end(3, lambda r: steps.append(("end", r.step))),
    )
    for record in fit(Line(), batch_at, 7):
        for hook in hooks:
            hook(record)
    assert steps == [("every", 3), ("end", 3), ("every", 6), ("end", 6), ("end", 7)]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_with_its_name(value):
    with pytest.raises(TrainingStoppedError, match=r"'pixel'.*step 4"):
        stop_if_not_finite(Record(4, 9, {"kl": 1.0, "pixel": value}))


def test_nan_keeps_the_last_good_checkpoint(tmp_path):
    class Breaks(Line):
        def step(self, batch, now):
            self.calls = getattr(self, "calls", 0) + 1
            losses = super().step(batch, now)
            return losses if self.calls < 4 else {"loss": float("nan")}

    folder = RunFolder(tmp_path, {})
    with pytest.raises(TrainingStoppedError):
        train(Breaks(), batch_at, folder, steps=9, save_every=1, device="cpu")
    assert json.loads(read_tensors(folder.checkpoint)[1]["counters"])["step"] == 3


def test_batches_hold_each_class_equally_and_every_row_in_its_turn():
    labels = torch.tensor([0, 4, 1, 4, 4, 0, 1])  # no 2, no 3
    rng = torch.Generator().manual_seed(0)
    draw = balanced_rows(labels)
    rows = torch.cat([draw(7, rng) for _ in range(300)])
    per_batch = torch.stack([labels[r].bincount(minlength=5)[[0, 1, 4]] for r in rows.split(7)])
    assert (per_batch.max(1).values - per_batch.min(1).values).max() == 1
    for label in (0, 1, 4):
        counts = rows[labels[rows] == label].bincount(minlength=7)[labels == label]
        assert counts.min() > 0.7 * counts.float().mean()


def test_schedules():
    assert constant(0.9) == 1.0
    schedule = decay_after(0.5)
    assert [schedule(0.0), schedule(0.49), schedule(0.75), schedule(1.0)] == pytest.approx([1.0, 1.0, 0.5, 0.01])


def test_the_schedule_scales_the_rate():
    method = Line()
    list(fit(method, batch_at, 1, schedule=lambda progress: 0.25))
    assert method.optimizers["model"].param_groups[0]["lr"] == pytest.approx(0.0025)


def test_a_folder_refuses_another_configuration_and_names_the_difference(tmp_path):
    RunFolder(tmp_path, {"seed": 0, "steps": 5})
    with pytest.raises(UserError, match="differs in seed"):
        RunFolder(tmp_path, {"seed": 1, "steps": 5})


@pytest.mark.parametrize("steps", [5, 6])
def test_a_folder_refuses_other_data_and_names_what_changed(tmp_path, steps):
    images, textures = Contents("a", "the images in photos"), Contents("b", "the textures in coats")
    RunFolder(tmp_path, {"steps": 5}, reads={"images": images, "textures": textures})
    reads = {"images": images, "textures": textures._replace(digest="c")}
    with pytest.raises(UserError, match=r"on other data \(different now: the textures in coats\): choose another"):
        RunFolder(tmp_path, {"steps": steps}, reads=reads, extend=True)


def test_what_a_run_reads_is_noted_by_name_and_may_move(tmp_path):
    first = RunFolder(tmp_path, {}, reads={"images": Contents("a", "the images in photos")})
    moved = RunFolder(tmp_path, {}, reads={"images": Contents("a", "the images in elsewhere")})
    assert first.digest == moved.digest != RunFolder(tmp_path / "other", {}).digest
    assert json.loads((tmp_path / "config.json").read_text())["reads"] == {"images": "a"}


def test_a_run_that_did_not_note_what_it_read_is_of_an_earlier_version(tmp_path):
    write_json(tmp_path / "config.json", {"digest": "old", "steps": 5})
    with pytest.raises(UserError, match="an earlier version began it, which did not note what it reads"):
        RunFolder(tmp_path, {"steps": 5})


def trained(folder, steps):
    method = Line()
    train(method, batch_at, folder, steps=steps, schedule=decay_after(0.5), log_every=1, device="cpu")
    return weights(method)


def test_a_longer_run_continues_a_shorter_one_only_if_that_is_wanted(tmp_path):
    trained(RunFolder(tmp_path, {"seed": 0, "steps": 4}), 4)
    longer = {"seed": 0, "steps": 6}
    with pytest.raises(UserError, match=r"with 4 steps: pass --continue \(in Python extend=True\) to train on to 6"):
        RunFolder(tmp_path, longer)
    with pytest.raises(UserError, match="holds this run with 4 steps, more than 3 steps: choose another --out"):
        RunFolder(tmp_path, {"seed": 0, "steps": 3}, extend=True)
    for config in ({"seed": 1, "steps": 6}, {"seed": 0, "steps": 6, "more": 1}):
        with pytest.raises(UserError, match="another configuration"):
            RunFolder(tmp_path, config, extend=True)
    before = read_tensors(tmp_path / "checkpoint.safetensors")[0]["model/0.weight"]
    continued = trained(RunFolder(tmp_path, longer, extend=True), 6)
    assert [line.step for line in RunFolder(tmp_path, longer).metrics()] == [1, 2, 3, 4, 5, 6]
    assert not torch.equal(before, continued[: before.numel()].view_as(before))
    assert torch.equal(continued, trained(RunFolder(tmp_path, longer), 6))  # done: the same command changes nothing
    twice = trained(RunFolder(tmp_path, {"seed": 0, "steps": 7}, extend=True), 7)
    assert not torch.equal(twice, continued)


def test_a_continuation_that_is_killed_goes_on_to_the_same_bytes(tmp_path):
    def kill(record):
        if record.step == 6:
            raise StopHereError

    for name in ("whole", "killed"):
        trained(RunFolder(tmp_path / name, {"steps": 4}), 4)
    folder = RunFolder(tmp_path / "killed", {"steps": 8}, extend=True)
    with pytest.raises(StopHereError):
        train(Line(), batch_at, folder, steps=8, schedule=decay_after(0.5), device="cpu", callbacks=(kill,))
    whole = trained(RunFolder(tmp_path / "whole", {"steps": 8}, extend=True), 8)
    assert torch.equal(whole, trained(RunFolder(tmp_path / "killed", {"steps": 8}), 8))


def test_a_checkpoint_of_another_version_is_refused(tmp_path):
    folder = RunFolder(tmp_path, {"a": 1})
    write_tensors(
        folder.checkpoint,
        {"model/other": torch.zeros(1)},
        {"counters": json.dumps({"step": 1, "digest": folder.digest})},
    )
    with pytest.raises(
        UserError,
        match=r"checkpoint.safetensors \(model\) is a checkpoint of another arch.*: 0.weight is missing.*holds other",
    ):
        folder.restore(Line())


def test_what_is_logged_goes_to_tensorboard_too(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(Line(), batch_at, RunFolder(tmp_path, {}), steps=6, log_every=2, device="cpu", track="tensorboard")
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload().Scalars("loss")
    logged = RunFolder(tmp_path, {}).metrics()
    assert [event.step for event in events] == [line.step for line in logged] == [2, 4, 6]
    assert [event.value for event in events] == pytest.approx([line.values["loss"] for line in logged])


def test_a_tracker_that_cannot_be_used_is_one_line():
    with pytest.raises(UserError, match="unknown tracker 'paper': use tensorboard or wandb"):
        require_tracker("paper")
    with pytest.raises(UserError, match="the tracker wandb is not installed: pip install wandb"):
        require_tracker("wandb", installed=lambda name: None)


def test_a_log_that_is_no_log_is_named(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"loss": 1}\n')
    with pytest.raises(UserError, match="holds a line that is no JSON object with a step"):
        read_metrics(tmp_path / "metrics.jsonl")


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path):
    folder = RunFolder(tmp_path, {"a": 1})
    write_tensors(folder.checkpoint, Line().state(), {"counters": json.dumps({"step": 1, "digest": "other"})})
    with pytest.raises(UserError, match="another configuration"):
        folder.restore(Line())


def test_a_truncated_checkpoint_is_named(tmp_path):
    folder = RunFolder(tmp_path, {"a": 1})
    folder.save(Line(), 1)
    data = folder.checkpoint.read_bytes()
    folder.checkpoint.write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match=r"checkpoint\.safetensors is not a whole safetensors file"):
        folder.restore(Line())


@pytest.fixture(scope="module")
def stored_pairs(analytic_teacher, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    query_all(analytic_teacher, folder, QueryConfig(shape=100, texture=100, background=100, held_out=10))
    return folder


@pytest.fixture(scope="module")
def stored_images(analytic_teacher, tmp_path_factory):
    return write_counterfactuals(analytic_teacher, tmp_path_factory.mktemp("images"), 1200)[0]


NARROW = [word for name in Mechanism for word in (f"--{name}-channels", "8") * 2]
KILLED = {
    "distill": ["distill", "PAIRS", "--out", "OUT", "--steps", "16", "--batch-size", "16", "--device", "cpu",
                "--feature", "0.5", "--kl", "1", "--adversarial", "0.01", "--save-every", "4", *NARROW],
    "classify": ["classify", "IMAGES", "--out", "OUT", "--epochs", "1", "--device", "cpu", "--save-every", "10"],
}  # fmt: skip


def killable(words, threads):
    torch.set_num_threads(threads)  # another number adds in another order
    sys.argv = ["skdcgn", *words]
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        main()


@pytest.mark.slow
@pytest.mark.parametrize("verb", KILLED)
def test_kill_9_and_the_same_command_again_end_with_the_same_bytes(
    verb, tmp_path, stored_pairs, stored_images, skdcgn, fork_server
):
    def command(out):
        places = {"PAIRS": str(stored_pairs), "IMAGES": str(stored_images), "OUT": str(out)}
        return [places.get(word, word) for word in KILLED[verb]]

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    process = fork_server.Process(target=killable, args=(command(killed), torch.get_num_threads()))
    process.start()
    deadline = time.monotonic() + 60
    while not list(killed.rglob("checkpoint.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL, "the run ended before it could be killed"
    assert skdcgn(*command(killed))[0] == 0  # before the whole run, which could leave something in memory
    assert skdcgn(*command(whole))[0] == 0
    files = sorted(path.relative_to(whole) for path in whole.rglob("*.safetensors"))
    assert files
    for path in files:
        assert (whole / path).read_bytes() == (killed / path).read_bytes(), path


class Elsewhere:
    """An accelerator whose device exists everywhere: ``meta``, which keeps shapes and no numbers."""

    device = torch.device("meta")
    backward = staticmethod(torch.Tensor.backward)

    @staticmethod
    def prepare(part):
        return part.to("meta") if isinstance(part, nn.Module) else part


def test_frozen_modules_move_with_the_run_and_are_not_saved():
    method = Line()
    method.frozen = {"features": nn.BatchNorm2d(3)}
    method.to(Elsewhere())
    for module in (*method.modules.values(), *method.frozen.values()):
        assert {value.device.type for value in module.state_dict().values()} == {"meta"}
    assert not any(key.startswith("features") for key in method.state())


def test_what_is_not_finite_is_left_out_of_the_log_and_the_tracker(tmp_path):
    folder = RunFolder(tmp_path, {})
    folder.log(Record(1, 2, {"loss": 0.5, "diversity": float("inf"), "distance": float("nan")}))
    line = (tmp_path / "metrics.jsonl").read_text()
    assert json.loads(line, parse_constant=pytest.fail) == {"step": 1, "loss": 0.5}
    assert folder.metrics() == [(1, {"loss": 0.5})]


def test_a_fused_optimiser_of_channels_last_weights_goes_on_from_its_state():
    def optimizer():
        torch.manual_seed(0)
        layer = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        return layer, torch.optim.AdamW(layer.parameters(), lr=0.1, fused=True)

    def step(layer, own, seed):
        layer.zero_grad()
        layer(torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(seed))).square().sum().backward()
        own.step()

    (layer, own), (copy, resumed) = optimizer(), optimizer()
    step(layer, own, 1)
    copy.load_state_dict(layer.state_dict())
    state = {name: value.clone(memory_format=torch.contiguous_format) for name, value in optimizer_state(own).items()}
    load_optimizer_state(resumed, state, "checkpoint")
    step(layer, own, 2)
    step(copy, resumed, 2)
    assert torch.equal(layer.weight, copy.weight)
