"""skdcgn.audit and the verb: callables and run folders, the folder and its contract, what finished and what failed."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import skdcgn
from audited import answering, obvious_cgn, of_background, of_shape
from skdcgn import UserError
from skdcgn.base.progress import Tell, ignore
from skdcgn.cli import main
from skdcgn.evaluation.audit_record import read_audit
from skdcgn.experiments.audit import AuditConfig, open_subject, write_audit

N = 64


class BackgroundReader(nn.Module):
    """Logits (B, 10) by the grey level of the last pixel on the scale from 0 to 1: it wants ``--preprocess unit``."""

    def __init__(self) -> None:
        super().__init__()
        self.centres = nn.Parameter((torch.arange(10) + 0.5) / 10)

    def forward(self, images: Tensor) -> Tensor:
        return -1000 * (images[:, :1, -1, -1] - self.centres).square()


class Sketches:
    """The obvious CGN with a digest of its own, as a file has one."""

    digest = "sketches"
    size = None

    def __init__(self) -> None:
        self.cgn = obvious_cgn()
        self.spec = self.cgn.spec

    def query(self, mechanism: str, noise: Tensor, labels: Tensor) -> Tensor:
        return self.cgn.query(mechanism, noise, labels)


def test_a_callable_is_audited_and_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    record = skdcgn.audit(answering(of_background), obvious_cgn(), n=N)
    assert record.follows == ("background", "texture+background")
    assert record.carried["shape"].value == 100
    assert record.command == ""
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="an audit of 10 base pictures: pass 50 to"):
        skdcgn.audit(answering(of_background), obvious_cgn(), n=10)


def test_a_cgn_whose_shapes_carry_nothing_accuses_nobody() -> None:
    record = skdcgn.audit(answering(of_background), obvious_cgn(blank="shape"), n=N)
    assert record.follows == ()
    assert record.verdict.startswith("cannot tell what it follows: the shapes of this CGN carry their class in")
    assert "the CGN's shapes carry their class in" in record.warnings[-1]
    record = skdcgn.audit(answering(of_shape), obvious_cgn(blank="texture"), n=N)
    assert record.verdict.startswith("follows the shape alone, as far as this CGN can tell: ")
    assert "the textures of this CGN carry their class in" in record.verdict


def test_a_wrong_preprocess_is_noticed_and_the_better_one_named() -> None:
    cgn = obvious_cgn()
    record = skdcgn.audit(BackgroundReader(), cgn, n=N)
    assert any(
        warning.startswith("with --preprocess unit the classifier is right in 100 %") for warning in record.warnings
    )
    right = skdcgn.audit(BackgroundReader(), cgn, n=N, preprocess="unit")
    assert right.warnings == ()
    assert right.follows == ("background", "texture+background")


def test_a_finished_audit_is_shown_and_a_killed_one_ends_with_the_same_bytes(tmp_path: Path) -> None:
    cgn, config = Sketches(), AuditConfig(N)
    subject = open_subject(BackgroundReader(), cgn, preprocess="unit")
    first = write_audit(subject, config, tmp_path / "a")
    files = {file.relative_to(tmp_path / "a"): file.read_bytes() for file in (tmp_path / "a").rglob("*.*")}
    assert {"audit.json", "report.html", "pairs/00-before.png", "config.json"} <= set(map(str, files))
    steps: list[str] = []

    def watch(name: str, total: int) -> Tell:
        steps.append(name)
        return ignore

    assert (
        write_audit(subject, config, tmp_path / "a", watch=watch).record == first.record == read_audit(tmp_path / "a")
    )
    assert steps == []
    (tmp_path / "a/audit.json").unlink()
    (tmp_path / "a/report.html").unlink()
    write_audit(subject, config, tmp_path / "a", watch=watch)
    assert steps == ["audit"]
    assert all((tmp_path / "a" / name).read_bytes() == data for name, data in files.items())
    with pytest.raises(UserError, match="another configuration"):
        write_audit(subject, AuditConfig(N, seed=1), tmp_path / "a")
    changed = BackgroundReader()
    changed.centres.data[0] += 0.01
    with pytest.raises(UserError, match=r"on other data .*classifier"):
        write_audit(open_subject(changed, cgn, preprocess="unit"), config, tmp_path / "a")


MODULE = """
import torch
from skdcgn import load_teacher

cgn = load_teacher("double-colored-digits")
noise = cgn.spec.sample_noise(200, torch.Generator().manual_seed(0))
COLOURS = cgn.query("background", noise, torch.arange(10).repeat(20)).mean((2, 3)).view(20, 10, 3).mean(0)

class Shortcut(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.colours = torch.nn.Parameter(COLOURS)

    def forward(self, images):
        edges = torch.cat([images[..., :2].flatten(2), images[..., -2:].flatten(2)], dim=2).mean(2)
        return -100 * (edges[:, None] - self.colours).square().sum(2)

def constant(images):
    return torch.eye(10)[:1].expand(len(images), 10)
"""


def test_the_verb_writes_the_contract_and_fails_above_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "planted_classifiers.py").write_text(MODULE)
    given = ["--cgn", "double-colored-digits", "-n", "64", "--device", "cpu"]

    def audit(*words: str) -> int:
        monkeypatch.setattr("sys.argv", ["skdcgn", "audit", *words])
        with pytest.raises(SystemExit) as end:
            main()
        return int(end.value.code or 0)

    shortcut = ("planted_classifiers:Shortcut", *given, "--preprocess", "signed", "--out", "a")
    assert audit(*shortcut) == 0
    shown = capsys.readouterr().out
    record = json.loads((tmp_path / "a/audit.json").read_text())
    assert record["verdict"].startswith("follows the background: in ")
    assert " ".join(record["verdict"].split()[:6]) in " ".join(shown.split())
    for name in ("shape", "texture", "background"):
        for measure in ("flip", "follow", "accuracy"):
            interval = record["mechanisms"][name][measure]
            assert 0 <= interval["low"] <= interval["value"] <= interval["high"] <= 100
    assert (record["images"], record["seed"]) == (64, 0)
    assert record["carried"]["background"]["value"] > 90
    assert record["command"].startswith("skdcgn audit planted_classifiers:Shortcut --cgn double-colored-digits")
    assert "report: a/report.html" in shown
    written = (tmp_path / "a/audit.json").stat().st_mtime_ns
    assert audit(*shortcut, "--fail-above", "10") == 1
    assert (tmp_path / "a/audit.json").stat().st_mtime_ns == written
    assert "follow is above 10 %: background, texture+background" in capsys.readouterr().out
    assert audit("planted_classifiers:constant", *given, "--fail-above", "10") == 0
    assert "verdict: cannot tell what it follows" in capsys.readouterr().out
    assert len(list((tmp_path / "runs").glob("audit-*"))) == 1
