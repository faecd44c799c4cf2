"""A whole study: its plan, its record, its report, and what it says while it goes on."""

import pytest

from skdcgn.base.errors import UserError
from skdcgn.base.presets import run_preset
from skdcgn.experiments.run_study import plan_study, reproduce, run_study
from skdcgn.experiments.studies import miniature
from skdcgn.results.records import read_study


def test_a_study_is_recorded_reported_and_announced_point_by_point(tmp_path, short_smoke):
    lines, messages = [], []

    def watch(name, total):
        return lambda done, losses=None: messages.append((name, done, total))

    results = run_study(
        "main",
        "smoke",
        tmp_path,
        seeds=1,
        only=["published composition"],
        compared=100,
        device="cpu",
        watch=watch,
        announce=lines.append,
    )
    record = results.record
    assert read_study(results.folder) == record
    assert results.report == results.folder / "report.html"
    assert results.folder.parent == tmp_path / "main"
    assert [(row.point, row.source) for row in record.summary] == [
        ("published composition", "teacher"),
        ("published composition", "student"),
    ]
    assert [line.split(": ")[:2] for line in lines] == [
        [f"point {number} of 2", f"published composition, {source}, seed 0"]
        for number, source in ((1, "teacher"), (2, "student"))
    ]
    assert [entry for entry in messages if entry[0] == "study main"] == [("study main", 1, 2), ("study main", 2, 2)]
    assert (record.study, record.preset, record.quick) == ("main", "smoke", False)
    assert record.command == "skdcgn study main smoke --seeds 1 --only 'published composition'"


def test_a_miniature_is_marked_and_has_one_seed():
    plan = plan_study("main", "double-colored-mnist", seeds=3, quick=True)
    assert (plan.quick, plan.seeds, plan.base) == (True, 1, miniature(run_preset("double-colored-mnist")))
    assert plan.command == "skdcgn study main double-colored-mnist --seeds 1 --quick"


def test_a_plan_lays_teacher_and_textures_over_the_preset():
    plan = plan_study("taught", "wildlife-mnist", teacher="a/mine.pth", textures="b/pictures", seeds=2)
    assert (plan.base.teacher, plan.base.textures) == ("a/mine.pth", "b/pictures")
    assert plan.teaching.textures == "b/pictures"
    assert plan.command == "skdcgn study taught wildlife-mnist --seeds 2 --teacher mine.pth --textures pictures"


def test_mistakes_are_reported_before_anything_is_done(tmp_path):
    for wrong, said in (
        ({"name": "lossses", "preset": "smoke"}, "did you mean 'losses'"),
        ({"name": "losses", "preset": "smok"}, "did you mean 'smoke'"),
        ({"name": "losses", "preset": "smoke", "only": ["pixels"]}, "did you mean 'pixel'"),
    ):
        with pytest.raises(UserError, match=said):
            run_study(**wrong, out=tmp_path)
    with pytest.raises(UserError, match="did you mean 'mnist'"):
        next(reproduce("mnsit", tmp_path))
    assert not list(tmp_path.iterdir())
