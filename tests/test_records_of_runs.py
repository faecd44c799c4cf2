"""Records of runs: whatever the JSON files of a run folder hold, one line names the file and the mend."""

import json

import pytest
import torch
from torch import nn

from skdcgn.base.door import read_record
from skdcgn.base.errors import UserError
from skdcgn.base.tensors import read_tensors, write_tensors
from skdcgn.classifiers.ensemble import load_ensemble
from skdcgn.classifiers.small_cnn import ClassifierForm, read_form
from skdcgn.evaluation.scores import HeadScores
from skdcgn.experiments.artifacts import ArtifactKind, artifact_kind
from skdcgn.experiments.stages import Clock
from skdcgn.experiments.study import TeacherComparison
from skdcgn.experiments.training_sets import ClassifierScore
from skdcgn.results.records import ImageNetResults, MnistResults, read_results, read_study
from skdcgn.training.loop import Method
from skdcgn.training.run_folder import RunFolder, read_metrics
from skdcgn.training.train import train


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


ANYTHING = ["null", "[]", "{}", "3", '"x"', "[" * 10**5, "9" * 5000, '{"digest": 3}', "[null]", '[{"digest": null}]',
            '{"ood_accuracy": 1e400, "test_images": 3}', '{"ood_accuracy": "x", "test_images": 3}',
            "{", ""]  # fmt: skip
READERS = {
    "result.json": lambda folder: read_record(folder / "result.json", ClassifierScore),
    "results.json": lambda folder: read_results(folder, MnistResults),
    "study.json": read_study,
    "config.json": lambda folder: load_ensemble(folder),
    "teacher-comparison-5.json": lambda folder: read_record(folder / "teacher-comparison-5.json", TeacherComparison),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("text", ANYTHING, ids=range(len(ANYTHING)))
def test_what_is_no_record_is_refused_by_its_file(name, text, tmp_path):
    write(tmp_path / name, text)
    with pytest.raises(UserError, match=rf"{name}( is not JSON|: )") as refused:
        READERS[name](tmp_path)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("text", ["null", "[]", "3", '{"classes": "3"}', '{"classes": 1000000000}', '{"classes": 0}',
                                  '{"image_size": true}', '{"image_size": 1e9}', '{"names": "cat"}'])  # fmt: skip
def test_the_form_of_a_classifier_is_typed_and_bounded(text, tmp_path):
    write(tmp_path / "config.json", text)
    with pytest.raises(UserError, match=r"config\.json: "):
        read_form(tmp_path)
    write(tmp_path / "config.json", '{"classes": 3, "epochs": 7, "anything": [1]}')
    assert read_form(tmp_path) == ClassifierForm(classes=3)


@pytest.mark.parametrize("text", ["[]", '{"query": null}', '{"query": "1"}', '{"query": -1}', '{"query": [1]}'])
def test_seconds_are_numbers_by_stage(text, tmp_path):
    clock = Clock(write(tmp_path / "seconds.json", text))
    with pytest.raises(UserError, match=r"seconds\.json: "):
        clock.seconds  # noqa: B018
    write(tmp_path / "seconds.json", '{"query": 3, "distill": 0.5}')
    assert clock.seconds == {"query": 3, "distill": 0.5}


def test_ensembles_that_were_not_measured_alike_are_no_results():
    scores = {"top-1": HeadScores(3, {"ensemble": 50.0})}
    with pytest.raises(UserError, match="not measured alike"):
        ImageNetResults(**_results(), ensembles={"plain": scores, "student": {}})


def _results():
    l1 = {"student": 0.1, "label_mean": 0.2}
    return {
        "preset": "smoke",
        "seed": 0,
        "digest": "a",
        "queries": {},
        "held_out_queries": 1,
        "teacher": {"name": None, "digest": "b"},
        "versions": {},
        "parameters": {"teacher": None, "student": 1},
        "counterfactuals_per_second": {"teacher": 1.0, "student": 1.0},
        "pixel_l1": {"shape": l1},
        "diversity": {},
        "seconds": {},
        "stand_in": True,
    }


class Line(Method):
    """A line through one point."""

    def __init__(self):
        model = nn.Linear(1, 1)
        super().__init__({"model": model}, {"model": torch.optim.SGD(model.parameters(), lr=0.1)})

    def step(self, batch, now):
        loss = self.modules["model"](torch.ones(1, 1)).square().mean()
        self.descend("model", loss)
        return {"loss": loss.item()}


def trained(path, steps=2, config=None, **options):
    folder = RunFolder(path, config or {"steps": steps}, **options)
    train(Line(), lambda step: {}, folder, steps=steps, log_every=1, device="cpu")
    return folder


CONFIGS = ["null", "[]", "{}", "3", '{"digest": null}', '{"digest": 3, "steps": 2}', '{"digest": "x", "reads": 3}',
           '{"digest": "x", "reads": {"images": null}}', '{"digest": "x", "reads": {}, "steps": "1"}',
           '{"digest": "x", "reads": {}, "steps": true}', '{"digest": "x", "reads": {}, "steps": null}',
           '{"digest": "x", "reads": {}, "steps": [1]}', '{"digest": "x", "reads": {}, "steps": 1.5}']  # fmt: skip


@pytest.mark.parametrize("text", CONFIGS)
@pytest.mark.parametrize("extend", [False, True])
def test_the_configuration_of_a_run_folder_is_typed(text, extend, tmp_path):
    write(tmp_path / "config.json", text)
    with pytest.raises(UserError, match="choose another --out, or delete that folder"):
        RunFolder(tmp_path, {"steps": 3}, extend=extend)
    assert (tmp_path / "config.json").read_text() == text


@pytest.mark.parametrize("text", ["null", "{}", "[3]", "[null]", '[{"steps": 2}]', '[{"digest": 3}]',
                                  '[{"digest": "a", "steps": "2"}]', '[{"digest": "a", "steps": -2}]'])  # fmt: skip
def test_the_shorter_runs_are_typed(text, tmp_path):
    trained(tmp_path)
    folder = RunFolder(tmp_path, {"steps": 4}, extend=True)
    write(tmp_path / "continued.json", text)
    with pytest.raises(UserError, match=r"continued\.json: .*choose another --out"):
        folder.restore(Line())
    with pytest.raises(UserError, match=r"continued\.json: .*choose another --out"):
        RunFolder(tmp_path, {"steps": 6}, extend=True)


def test_a_run_that_was_continued_twice_remembers_both(tmp_path):
    for steps in (2, 4, 6):
        trained(tmp_path, steps, extend=True)
    shorter = json.loads((tmp_path / "continued.json").read_text())
    assert [sorted(run) for run in shorter] == [["digest", "steps"]] * 2
    assert [run["steps"] for run in shorter] == [2, 4]
    assert [line.step for line in trained(tmp_path, 6).metrics()] == [1, 2, 3, 4, 5, 6]


COUNTERS = ["null", "[]", "{}", "3", "", "{", '{"step": "2", "digest": "D"}', '{"step": -1, "digest": "D"}',
            '{"step": 1e9, "digest": "D"}', '{"step": true, "digest": "D"}', '{"step": 2, "digest": null}',
            '{"step": 1000000000, "digest": "D"}', '{"step": 3, "digest": "D"}', "[" * 10**5, "9" * 5000]  # fmt: skip


@pytest.mark.parametrize("text", COUNTERS, ids=range(len(COUNTERS)))
def test_the_counters_of_a_checkpoint_are_typed_and_within_the_run(text, tmp_path):
    folder = trained(tmp_path)
    state, _ = read_tensors(folder.checkpoint)
    write_tensors(folder.checkpoint, state, {"counters": text.replace("D", folder.digest)})
    with pytest.raises(UserError, match=r"checkpoint\.safetensors.*delete it to start afresh"):
        trained(tmp_path)


LINES = ["null", "[]", "3", "{}", '{"loss": 1}', '{"step": null}', '{"step": "1"}', '{"step": -1}', '{"step": 1.5}',
         '{"step": true}', '{"step": 1, "loss": "x"}', '{"step": 1, "loss": null}', '{"step": 1, "loss": [1]}',
         '{"step": 1, "loss": {}}', '{"step": 1, "loss"', "[" * 10**5, "9" * 5000, "\x1b[31m"]  # fmt: skip


@pytest.mark.parametrize("line", LINES, ids=range(len(LINES)))
def test_a_line_of_the_log_that_is_wrong_is_shown(line, tmp_path):
    log = write(tmp_path / "metrics.jsonl", '{"step": 1, "loss": 0.5}\n' + line + "\n")
    with pytest.raises(UserError, match=r"metrics\.jsonl holds a line that is no JSON object with a step") as refused:
        read_metrics(log)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 300


def test_a_log_keeps_the_bytes_of_its_lines_and_leaves_out_half_a_line(tmp_path):
    log = write(tmp_path / "metrics.jsonl", '{"step": 1, "loss": 0.5, "count": 3}\n{"step": 2, "lo')
    assert "".join(line.to_json() for line in read_metrics(log)) == '{"step": 1, "loss": 0.5, "count": 3}\n'
    log.write_bytes(b"\xff\xfe\x00\n")
    with pytest.raises(UserError, match=r"metrics\.jsonl is not UTF-8"):
        read_metrics(log)


KINDS = {
    "ensemble": ({"config.json": '{"backbone": "small"}'}, ArtifactKind.ENSEMBLE),
    "run": ({"results.json": "{}"}, ArtifactKind.RUN),
    "run on photographs": ({"results.json": '{"ensembles": {}}'}, ArtifactKind.IMAGENET_RUN),
    "classifier": ({"config.json": '{"cooldown": 0}', "checkpoint.safetensors": ""}, ArtifactKind.CLASSIFIER),
    "student": ({"config.json": "{}", "model.safetensors": ""}, ArtifactKind.CGN),
}
DAMAGED = {
    "no JSON": ({"config.json": "{"}, r"config\.json is not JSON"),
    "no object": ({"config.json": '["backbone"]'}, r"config\.json: its content: input should be an object"),
    "results without an object": ({"results.json": '["ensembles"]'}, r"results\.json: its content: input should"),
    "a checkpoint alone": ({"checkpoint.safetensors": ""}, "a checkpoint without config.json: restore that file"),
    "a teacher's training": (
        {"config.json": '{"glyphs": "digits"}', "checkpoint.safetensors": "", "teacher.safetensors": ""},
        r"teach writes its teacher there: pass .*teacher\.safetensors",
    ),
    "a mechanism's training": (
        {"config.json": '{"mechanism": "shape"}', "checkpoint.safetensors": ""},
        "a training that others build on: pass what they wrote",
    ),
    "nothing": ({}, "pass the folder of a run, a classifier or a student"),
}


def fill(folder, files):
    folder.mkdir()
    for name, text in files.items():
        write(folder / name, text)
    return folder


@pytest.mark.parametrize(("files", "kind"), KINDS.values(), ids=KINDS)
def test_a_folder_is_what_its_files_say(files, kind, tmp_path):
    assert artifact_kind(fill(tmp_path / "a", files)) is kind


@pytest.mark.parametrize(("files", "words"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_or_other_folder_is_called_nothing_that_it_is_not(files, words, tmp_path):
    with pytest.raises(UserError, match=words):
        artifact_kind(fill(tmp_path / "a", files))


@pytest.mark.parametrize("name", ["smoke", "n" * 5000, "\0", "\x1b[31m", "no/such/folder"])
def test_what_is_no_folder_names_a_cgn(name):
    assert artifact_kind(name) is ArtifactKind.CGN
