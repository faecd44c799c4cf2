"""The command line: instant help, one line and status 2 for a user's mistake."""

import errno
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from functools import partial
from importlib.metadata import version

import pytest
import torch

from skdcgn.base.config import (
    DistillConfig,
    EnsembleConfig,
    ImageNetConfig,
    QueryConfig,
    RunConfig,
    TeachConfig,
    TeachImageNetConfig,
)
from skdcgn.base.presets import find_run, find_stage, find_teaching
from skdcgn.base.records import leaves
from skdcgn.cli import main
from skdcgn.cli.options import configure
from skdcgn.cli.terminal import show_study
from skdcgn.experiments import doctor, run_study
from skdcgn.results.records import read_study
from skdcgn.teachers.load import load_student, load_teacher

VERBS = (
    "run",
    "study",
    "reproduce",
    "teach",
    "query",
    "record",
    "distill",
    "photos",
    "audit",
    "challenge",
    "generate",
    "export",
    "push",
    "bench",
    "classify",
    "cure",
    "ensemble",
    "evaluate",
    "doctor",
    "config",
    "evaluate classifier",
    "evaluate cgn",
    "evaluate ensemble",
    "evaluate run",
)


def test_help_does_not_import_torch():
    code = "import sys; sys.argv = ['', '--help']\ntry:\n import skdcgn.cli as c; c.main()\nexcept SystemExit: pass\n"
    heavy = "assert not {'torch', 'sklearn', 'matplotlib', 'accelerate', 'numpy', 'pydantic'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code + heavy], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for verb in VERBS:
        assert f"  {verb} " in done.stdout or " " in verb


@pytest.fixture(scope="module")
def fields():
    """The options that verbs get from configurations, by verb."""
    configs = {
        "run": (RunConfig(), ImageNetConfig()),
        "teach": (TeachConfig(), TeachImageNetConfig()),
        "query": (QueryConfig(),),
        "distill": (DistillConfig(),),
        "ensemble": (EnsembleConfig(),),
    }
    names = {verb: {leaf.path for config in several for leaf in leaves(config)} for verb, several in configs.items()}
    return {verb: {"--" + re.sub("[._]", "-", path) for path in paths} for verb, paths in names.items()}


def options_of(page):
    """The option names that begin a line of help, with their negations."""
    lines = [line for line in page.splitlines() if line.startswith("  -")]
    return [name for line in lines for name in re.findall(r"(?<![\w-])--[a-z0-9-]+", line[2:].split("  ")[0])]


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_fits_into_80_columns_and_is_short(verb, skdcgn, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    status, page, _ = skdcgn(*verb.split(), "--help")
    assert status == 0
    assert max(map(len, page.splitlines())) <= 80
    assert "…" not in page
    assert "..." not in page.replace("INT...", "").replace("STR...", "")
    assert len(options_of(page)) <= 16
    assert "--help-all" in page


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_all_of_the_help_has_every_field_uncut(verb, skdcgn, monkeypatch, fields):
    monkeypatch.setenv("COLUMNS", "80")
    status, page, _ = skdcgn(*verb.split(), "--help-all")
    assert status == 0
    assert max(map(len, page.splitlines())) <= 80
    assert "…" not in page
    assert fields.get(verb, set()) - {"--preset"} <= set(options_of(page))


def test_the_version_is_the_packages(skdcgn):
    assert skdcgn("--version")[:2] == (0, f"{version('skdcgn')}\n")


@pytest.mark.parametrize(
    ("preset", "verb"),
    [("wildlife-mnist", "run"), ("imagenet", "run"), ("colored-mnist", "teach"), ("imagenet-tinygan", "teach"),
     ("smoke", "distill"), ("imagenet", "ensemble")],
)  # fmt: skip
def test_a_printed_configuration_is_one_that_config_takes(preset, verb, skdcgn, tmp_path):
    status, printed, _ = skdcgn("config", preset, "--verb", verb)
    assert status == 0
    expected = {"run": find_run, "teach": find_teaching}.get(verb, partial(find_stage, verb))(preset)
    file = tmp_path / "mine.json"
    file.write_text(printed)
    assert configure(type(expected)(), file, {}) == expected


def test_a_preset_that_was_renamed_is_still_known(skdcgn):
    assert skdcgn("config", "natural-smoke")[:2] == skdcgn("config", "imagenet-smoke")[:2]
    assert load_teacher("natural-smoke").digest == load_teacher("imagenet-smoke").digest
    assert "natural" not in skdcgn("run", "--help")[1]


def test_a_preset_without_the_stage_is_not_offered(skdcgn):
    status, _, error = skdcgn("config", "imagenet", "--verb", "classify")
    assert status == 2
    assert "unknown preset 'imagenet'" in error


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_verbs(shell, skdcgn, monkeypatch):
    monkeypatch.setenv("SHELL", f"/bin/{shell}")
    status, script, _ = skdcgn("--show-completion")
    assert status == 0
    assert all(verb in script for verb in VERBS if " " not in verb)


def test_query_says_how_many_pairs_a_budget_holds_out(tmp_path, skdcgn):
    _, said, _ = skdcgn("query", "double-colored-digits", "--out", tmp_path, "--budget", "90", "-q")
    assert said.startswith("shape: 41 queries, texture: 20 queries, background: 20 queries")
    assert said.endswith("; of each, 3 more are held out (--held-out)\n")


def test_quiet_shows_results_alone_and_verbose_the_losses(tmp_path, skdcgn):
    budget = ["--shape", "20", "--texture", "20", "--background", "20", "--held-out", "10"]
    _, said, noise = skdcgn("query", "double-colored-digits", "--out", tmp_path, *budget, "-q")
    assert "shape: 20 queries" in said
    assert noise == ""
    distill = ["distill", tmp_path, "--steps", "50", "--save-every", "50", "--batch-size", "4"]
    assert "query" not in skdcgn(*distill, "--out", tmp_path / "a")[2]
    assert "distill shape: 50 done" in skdcgn(*distill, "--out", tmp_path / "b")[2]
    assert "step 50 of 50, pixel " in skdcgn(*distill, "--out", tmp_path / "c", "--verbose")[2]


MISTAKES = {
    "unknown preset": (["run", "dubble-colored-digits"], "did you mean 'double-colored-digits'"),
    "teacher of another kind": (["query", "TEXT", "--out", "OUT"], "no plain state dict"),
    "teacher that is not there": (["query", "nowhere.pth", "--out", "OUT"], "no teacher 'nowhere.pth'"),
    "empty data root": (["run", "double-colored-mnist", "--teacher", "double-colored-digits", "--data-root", "EMPTY",
                         "--out", "OUT"], "train-images-idx3-ubyte"),
    "pairs that are not there": (["distill", "EMPTY", "--out", "OUT"], "manifest.json does not exist"),
    "unknown class": (["generate", "double-colored-digits", "--out", "OUT", "--interpolate", "shape",
                       "--classes", "3", "12"], "use classes 0 to 9"),
    "unknown intervention": (["generate", "double-colored-digits", "--out", "OUT", "--policy", "shape.elastik:1"],
                             "did you mean shape.elastic"),
    "student that is not there": (["bench", "EMPTY", "--teacher", "double-colored-digits"], "holds no student"),
    "unknown mechanism": (["generate", "double-colored-digits", "--out", "OUT", "--interpolate", "form"],
                          "use shape, texture, background or all"),
    "configuration with an unknown key": (["run", "smoke", "--config", "CONFIG", "--out", "OUT"],
                                          "unknown key 'stepz'"),
    "a folder of pictures": (["classify", "EMPTY", "--out", "OUT"],
                             "is a folder, not counterfactuals: pass the file counterfactuals.safetensors"),
    "a student one level below": (["evaluate", "RUN"], "one level below: pass "),
    "a student one level below, as a teacher": (["export", "RUN", "--out", "OUT"], "one level below: pass "),
    "an option before the path": (["evaluate", "--out", "OUT", "CLASSIFIER"], "See skdcgn evaluate --help"),
    "unknown option": (["run", "--sed", "3"], "Did you mean --seed"),
    "a number that is none": (["run", "--seed", "three"], 'unable to convert "three" into int'),
    "a photographs' preset with a digits' budget": (["run", "imagenet", "--full"], "leave it out with imagenet"),
    "counterfactuals that are none": (["classify", "TEXT", "--out", "OUT"], "not a whole safetensors file"),
    "classifier that is not there": (["evaluate", "EMPTY"], "no run, no classifier and no student"),
    "nothing of that name": (["evaluate", "OUT"], "no teacher"),
    "pairs of a classifier": (["evaluate", "CLASSIFIER", "--pairs", "EMPTY"],
                              "See skdcgn evaluate classifier --help"),
    "a teacher of no mechanism classifiers": (["evaluate", "double-colored-digits", "--teacher", "smoke"],
                                              "--mechanism-classifiers DIR"),
    "pairs to compare with that are not there": (["evaluate", "double-colored-digits", "--pairs", "EMPTY"],
                                                 "manifest.json does not exist"),
    "unknown point": (["study", "losses", "smoke", "--only", "pixels", "--out", "OUT"], "did you mean 'pixel'"),
    "unknown study": (["study", "lossses", "smoke", "--out", "OUT"], "did you mean 'losses'"),
    "truncation of a teacher without": (["generate", "double-colored-digits", "--truncation", "0.5", "--out", "OUT"],
                                        "no other teacher has a truncation: leave it out"),
    "truncation of a run of digits": (["run", "smoke", "--truncation", "0.5"], "unknown key 'truncation'"),
    "truncation of no teacher": (["distill", "EMPTY", "--truncation", "0.5", "--out", "OUT"], "pass --teacher too"),
    "truncation out of range": (["query", "imagenet-smoke", "--truncation", "1.5", "--out", "OUT"],
                                "use a number above 0 and up to 1"),
    "pictures that are not there": (["teach", "--images", "EMPTY", "--out", "OUT"], "has no sub-folders"),
    "output below a file": (["generate", "double-colored-digits", "--out", "TEXT/below", "-n", "1"],
                            "choose another --out"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_in_one_line_and_status_2(mistake, tmp_path, monkeypatch, skdcgn):
    (tmp_path / "text.pth").write_text("hello")
    (tmp_path / "empty").mkdir()
    (tmp_path / "classifier").mkdir()
    (tmp_path / "classifier" / "checkpoint.safetensors").touch()
    (tmp_path / "classifier" / "config.json").write_text('{"cooldown": 0.0}')
    (tmp_path / "run" / "student").mkdir(parents=True)
    (tmp_path / "run" / "student" / "model.safetensors").touch()
    (tmp_path / "config.json").write_text('{"stepz": 1}')
    places = {
        "TEXT": "text.pth",
        "OUT": "out",
        "EMPTY": "empty",
        "CLASSIFIER": "classifier",
        "RUN": "run",
        "CONFIG": "config.json",
        "TEXT/below": "text.pth/below",
    }
    words, expected = MISTAKES[mistake]
    monkeypatch.delenv("SKDCGN_DATA", raising=False)
    status, _, said = skdcgn(*(tmp_path / places[w] if w in places else w for w in words))
    assert status == 2
    assert expected in said
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert "Traceback" not in said


def test_home_may_be_written_as_in_a_shell_wherever_a_path_is(tmp_path, monkeypatch, skdcgn):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "config.json").write_text('{"images": "~/mine"}')
    for words in (["--images=~/mine"], ["--images", "~/mine"], ["--config=~/config.json"]):
        assert f"error: no folder {tmp_path / 'mine'}: " in skdcgn("teach", *words, "--out=~/out")[2]
    assert "error: no folder a~/b" in skdcgn("teach", "--images", "a~/b", "--out=~/out")[2]


def test_names_with_control_characters_are_printed_escaped(tmp_path, skdcgn):
    for name, expected in (
        ("\x1b[2J\x07\u202e", "/\\x1b[2J\\x07\\u202e: pass"),
        ("\udcff", "/\\udcff is not UTF-8: rename the file or folder"),
    ):
        status, _, said = skdcgn("teach", "--images", f"{tmp_path}/{name}", "--out", tmp_path / "out")
        assert (status, said.count("\n")) == (2, 1)
        assert expected in said


@pytest.mark.parametrize(("number", "words"), [(errno.ENOSPC, "No space left"), (errno.EROFS, "Read-only file system")])
def test_a_full_or_read_only_disk_ends_in_one_line(number, words, tmp_path, monkeypatch, skdcgn):
    def fail(*arguments, **keywords):
        raise OSError(number, os.strerror(number), str(tmp_path / "out"))

    monkeypatch.setattr("skdcgn.base.files.os.replace", fail)
    status, _, said = skdcgn("generate", "double-colored-digits", "--out", tmp_path / "out", "-n", 4)
    assert (status, said.count("\n")) == (2, 1)
    assert words in said
    assert "choose another --out" in said
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []  # no half-written file stays


def test_a_file_too_large_for_the_disk_leaves_what_was_there(tmp_path):
    """A real limit on file size, as a quota or a full disk sets it."""
    import resource

    done = subprocess.run(
        [sys.executable, "-m", "skdcgn", "generate", "double-colored-digits", "--out", str(tmp_path), "-n", "500"],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20)),
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.glob("*.safetensors*"))


def test_bugs_keep_their_traceback(monkeypatch):
    monkeypatch.setattr(doctor, "examine", lambda data_root: 1 / 0)
    monkeypatch.setattr(sys, "argv", ["skdcgn", "doctor"])
    with pytest.raises(ZeroDivisionError):
        main()


@pytest.mark.slow
def test_a_study_ends_in_a_table_and_a_report(tmp_path, skdcgn, monkeypatch, capsys, short_smoke):
    monkeypatch.setattr(run_study, "run_study", partial(run_study.run_study, compared=100))
    status, said, _ = skdcgn("study", "main", "smoke", "--seeds", "1", "--out", tmp_path, "--device", "cpu")
    assert status == 0
    assert [word in said for word in ("published composition", "expected, %", "paper, %")] == [True] * 3
    assert "skdcgn study main smoke --seeds 1" in (tmp_path / "main" / "report.html").read_text()
    assert len((tmp_path / "main" / "results.jsonl").read_text().splitlines()) == 6
    assert re.search("point 2 of 6", said)
    show_study(replace(read_study(tmp_path / "main"), quick=True))
    miniature = capsys.readouterr().out
    assert miniature.startswith("MINIATURE")
    assert not any(word in miniature for word in ("expected", "paper"))
    only = "published composition"
    skdcgn("study", "main", "smoke", "--seeds", "1", "--out", tmp_path, "--device", "cpu", "--only", only)
    (part,) = (tmp_path / "main").glob("*/")
    record = json.loads((part / "study.json").read_text())
    assert record["command"] == f"skdcgn study main smoke --seeds 1 --only '{only}'"
    assert {row["point"] for row in record["summary"]} == {only}
    assert len((tmp_path / "main" / "results.jsonl").read_text().splitlines()) == 6  # the whole is still there


@pytest.mark.slow
def test_a_longer_distillation_continues_and_is_tracked(tmp_path, skdcgn):
    budget = ["--shape", "20", "--texture", "20", "--background", "20", "--held-out", "10"]
    skdcgn("query", "double-colored-digits", "--out", tmp_path / "pairs", *budget)
    distill = ["distill", tmp_path / "pairs", "--out", tmp_path / "run", "--track", "tensorboard"]
    assert skdcgn(*distill, "--steps", "2")[0] == 0
    assert list((tmp_path / "run" / "students" / "shape" / "tensorboard").iterdir())
    status, _, error = skdcgn(*distill, "--steps", "3")
    assert status == 2
    assert "--continue" in error
    assert skdcgn(*distill, "--steps", "3", "--continue")[0] == 0
    assert "Choose from" in skdcgn("distill", tmp_path, "--out", tmp_path, "--track", "paper")[2]


@pytest.mark.slow
def test_the_stages_work_one_by_one(tmp_path, skdcgn):
    """query -> distill -> generate -> classify -> evaluate, each reading the folder the one before wrote."""
    pairs, run, images, classifier = (tmp_path / name for name in ("pairs", "run", "images", "classifier"))
    budget = ["--shape", "60", "--texture", "60", "--background", "60", "--held-out", "20"]
    stages = [
        ["query", "double-colored-digits", "--out", pairs, *budget],
        ["distill", pairs, "--out", run, "--steps", "3", "--shape-channels", "8", "--shape-channels", "6",
         "--shape-grid", "8"],
        ["generate", run / "student", "--out", images, "-n", "200"],
        ["classify", images / "counterfactuals.safetensors", "--out", classifier, "--epochs", "1"],
        ["evaluate", classifier, "--cgn", run / "student", "--out", tmp_path / "classifier.json"],
        ["evaluate", run / "student", "-n", "120", "--pairs", pairs, "--out", tmp_path / "student.json"],
    ]  # fmt: skip
    statuses, said, _ = zip(*(skdcgn(*stage) for stage in stages), strict=True)
    assert set(statuses) == {0}
    *_, of_classifier, of_student = said
    assert "out-of-domain accuracy on double-colored-digits: " in of_classifier
    assert "predicted class, %" in of_classifier
    assert [line.split()[0] for line in of_classifier.splitlines()[-3:]] == ["shape", "texture", "background"]
    numbers = json.loads((tmp_path / "classifier.json").read_text())
    counts = torch.tensor(numbers["confusion"])
    assert numbers["ood_accuracy"] == pytest.approx(100 * float(counts.diag().sum() / counts.sum()), abs=1e-4)
    assert set(numbers["sensitivity"]["texture"]) == {"accuracy", "unchanged", "followed"}
    assert "frechet_distance" in of_student
    assert all(word in of_student for word in ("PSNR", "kernel_distance"))
    numbers = json.loads((tmp_path / "student.json").read_text())
    assert set(numbers) >= {"frechet_distance", "pairs"}
    assert numbers["pairs"]["shape"]["pairs"] == 20
    assert "digits@" in of_student
    assert load_student(run / "student").mechanisms["shape"].blocks[0].conv1.out_channels == 6
    assert skdcgn("doctor")[1].count("teacher ") >= 4


def test_a_reader_that_ends_early_is_no_error():
    command = [sys.executable, "-m", "skdcgn", "config", "double-colored-digits"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
