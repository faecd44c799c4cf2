"""The studies by name: every point of each can be laid over every preset, and asks what its name says."""

from dataclasses import replace

import pytest

from skdcgn.base.config import Noise
from skdcgn.base.errors import UserError
from skdcgn.base.presets import RUNS, run_preset, teach_preset
from skdcgn.base.records import override
from skdcgn.cgn.policy import parse_policy
from skdcgn.experiments.student_studies import LAYOUTS
from skdcgn.experiments.studies import (
    STUDIES,
    TABLES,
    find_study,
    find_table,
    measured_recipe,
    miniature,
    select_points,
)
from skdcgn.experiments.study_points import ALL
from skdcgn.results.published import PAPER, PUBLISHED, RECIPE, published_accuracy
from skdcgn.results.study_record import lay_points

PRESET = run_preset("double-colored-mnist")
BASE = override(PRESET, measured_recipe(PRESET))


@pytest.mark.parametrize("preset", RUNS)
@pytest.mark.parametrize("name", STUDIES)
def test_every_point_is_a_configuration_of_every_preset(name, preset):
    planned = STUDIES[name].points(run_preset(preset))
    points = lay_points(run_preset(preset), planned, teach_preset(preset))
    assert len({point.name for point in points}) == len(points) >= 1
    assert all(set(point.sources) <= set(ALL) for point in points)
    for point in points:
        parse_policy(point.config.classify.policy, classes=10)
        parse_policy(point.teach.policy if point.teach else (), classes=10)


@pytest.mark.parametrize("name", [name for name in STUDIES if STUDIES[name].axis])
def test_a_curve_has_an_axis_and_places_in_order(name):
    planned = STUDIES[name].points(BASE)
    for curve in {plan.curve for plan in planned}:
        places = [plan.at for plan in planned if plan.curve == curve]
        assert curve
        assert places in (sorted(places), sorted(places, reverse=True))


def test_composition_goes_from_the_published_to_the_presets_a_step_at_a_time():
    changes = {
        "classify.policy": ["shape.elastic:1", "shape.sharpen:4"],
        "classify.per_shape": 1,
        "classify.cooldown": 1.0,
        "classify.he_init": True,
        "classify.agreement": 0.1,
    }
    base = override(BASE, changes)
    points = lay_points(base, STUDIES["composition"].points(base))
    assert [point.name for point in points] == [
        "published",
        "He initialisation",
        "cooldown",
        "k = 1",
        "+ shape.elastic:1",
        "+ shape.sharpen:4",
        "+ mask filter",
    ]
    assert points[0].config.classify.per_shape == 10
    assert points[0].config.classify.policy == ()
    assert points[-1].config == base


def test_masks_are_cut_before_they_are_sharpened_whether_the_preset_does_so_or_not():
    words = ["shape.elastic:1", "shape.level:0.4", "shape.sharpen:4"]
    for policy in (words, [words[0], words[2]]):
        base = override(BASE, {"classify.policy": policy, "distill.masks": "l2"})
        points = {point.name: point.config for point in lay_points(base, STUDIES["masks"].points(base))}
        assert list(points) == ["median", "median, random level", "mean", "mean, random level"]
        assert [config.distill.masks for config in points.values()] == ["l1", "l1", "l2", "l2"]
        assert points["mean"].classify.policy == points["median"].classify.policy == (words[0], words[2])
        assert (
            points["mean, random level"].classify.policy
            == points["median, random level"].classify.policy
            == tuple(words)
        )


@pytest.mark.parametrize(
    ("preset", "name"), [("colored-mnist", "mean, random level"), ("double-colored-mnist", "median")]
)
def test_what_a_preset_does_with_masks_is_a_point_of_their_study(preset, name):
    base = run_preset(preset)
    points = {point.name: point.config for point in lay_points(base, STUDIES["masks"].points(base))}
    assert points[name] == base


def test_a_step_that_the_preset_does_not_take_is_left_out():
    base = override(BASE, {**PUBLISHED, **RECIPE, "classify.he_init": True})
    assert [point.name for point in STUDIES["composition"].points(base)] == ["published", "He initialisation"]


@pytest.mark.parametrize("name", ["shape", "distortions", "taught", "correlation"])
def test_a_distortion_is_alone_in_the_published_composition(name):
    base = override(BASE, {"classify.per_shape": 1, "classify.policy": ["shape.elastic:1"], "classify.agreement": 0.1})
    for point in lay_points(base, STUDIES[name].points(base), teach_preset(BASE.preset)):
        budget = point.config.classify
        assert (budget.per_shape, budget.agreement, budget.he_init, budget.images) == (
            10,
            0.0,
            base.classify.he_init,
            30_000,
        )
        assert "shape.elastic:1" not in budget.policy


def test_an_amount_that_changes_nothing_shares_its_classifier_with_the_plain_point():
    points = {point.name: point.config for point in lay_points(BASE, STUDIES["shape"].points(BASE))}
    plain = [points[name] for name in ("noise 0", "rotation 0", "opacity 1")]
    assert plain[0] == plain[1] == plain[2]
    assert plain[0] == lay_points(BASE, STUDIES["correlation"].points(BASE))[0].config


def test_a_distortion_is_in_the_composition_or_in_the_teaching_and_the_budget_is_the_same():
    points = {
        point.name: point for point in lay_points(BASE, STUDIES["taught"].points(BASE), teach_preset(BASE.preset))
    }
    plain = points.pop("plain")
    assert (plain.config.classify.policy, plain.teach.policy, plain.teach.steps) == ((), (), 1000)
    for name, point in points.items():
        composed, taught = point.config.classify.policy, point.teach.policy
        assert (len(composed), len(taught)) == ((1, 0) if name.endswith("in composition") else (0, 1))
        assert replace(point.config, classify=plain.config.classify) == plain.config
        assert replace(point.teach, policy=()) == plain.teach
    words = [point.config.classify.policy or point.teach.policy for point in points.values()]
    assert words[::2] == words[1::2]
    small = miniature(BASE)
    assert all(point.teach.steps == 400 for point in lay_points(small, STUDIES["taught"].points(small)))


@pytest.mark.parametrize("preset", RUNS)
@pytest.mark.parametrize("name", ["losses", "sizes", "queries"])
def test_students_are_compared_with_each_other_and_one_of_them_with_the_teacher(name, preset):
    base = run_preset(preset)
    first, *others = lay_points(base, STUDIES[name].points(base))
    assert all(point.config.classify == base.classify for point in (first, *others))
    assert first.sources == ("teacher", "student")
    assert all(point.sources == ("student",) for point in others)
    if name == "sizes":
        assert first.config == base
    assert all(other.config != first.config for other in others)


@pytest.mark.parametrize("preset", RUNS)
def test_losses_are_compared_over_as_many_steps_and_against_pixels_alone(preset):
    base = run_preset(preset)
    *points, last = lay_points(base, STUDIES["losses"].points(base))
    assert last.config == base
    assert {point.config.distill.steps for point in points} == {base.distill.steps // 4}
    assert replace(points[0].config.distill, steps=base.distill.steps) == base.distill


@pytest.mark.parametrize("preset", RUNS)
def test_epochs_compares_the_presets_composition_with_the_published_ones_teacher_at_equal_budgets(preset):
    base = run_preset(preset)
    points = lay_points(base, STUDIES["epochs"].points(base))
    budgets = [(point.config.classify.images, point.config.classify.epochs) for point in points]
    assert budgets[:2] == budgets[2:] == [(base.classify.images, times * base.classify.epochs) for times in (1, 5)]
    assert [point.sources for point in points] == [("teacher", "oracle")] * 2 + [("teacher", "student", "oracle")] * 2
    assert points[0].config == lay_points(base, STUDIES["main"].points(base))[0].config
    assert points[2].config == base


def test_tinygans_layouts_are_its_own():
    for name, (*_, grid, separable) in LAYOUTS.items():
        assert separable == (grid == 1) == name.startswith("TinyGAN")


def test_queries_are_asked_of_each_mechanism_alike():
    queries = [point.config.query for point in lay_points(BASE, STUDIES["queries"].points(BASE))]
    kinds = (Noise.RANDOM, Noise.SOBOL, Noise.ACTIVE)
    random, sobol, active = ([q.shape for q in queries if q.noise == noise] for noise in kinds)
    assert random == [100, 300, 1000, 2000, 5000, 20_000]
    assert sobol == [100, 300, 1000]
    assert active == [1000, 2000]
    assert all(q.shape == q.texture == q.background for q in queries)


def test_a_miniature_keeps_data_and_teacher():
    small = miniature(BASE)
    assert (small.preset, small.glyphs, small.teacher) == (BASE.preset, BASE.glyphs, BASE.teacher)
    assert small.classify.images < BASE.classify.images


def test_a_table_is_a_study_on_presets():
    for name in TABLES:
        study, presets = find_table(name)
        assert study in STUDIES
        assert set(presets) <= set(RUNS)
    assert set(PAPER) <= set(RUNS)
    with pytest.raises(UserError, match="unknown table 'mnsit': did you mean 'mnist'"):
        find_table("mnsit")


def test_the_papers_number_stands_beside_its_own_recipe_alone():
    first, second, *_ = (override(BASE, plan.changes) for plan in STUDIES["composition"].points(BASE))
    assert published_accuracy(first, "teacher") == PAPER[BASE.preset]["teacher"]
    assert published_accuracy(second, "teacher") is None
    assert published_accuracy(second, "biased") == PAPER[BASE.preset]["biased"]
    assert published_accuracy(first, "student") is None


def test_an_unknown_study_names_the_nearest():
    with pytest.raises(UserError, match="unknown study 'lossses': did you mean 'losses'"):
        find_study("lossses")


def test_some_points_are_those_of_the_whole_in_its_order():
    planned = STUDIES["main"].points(BASE)
    assert select_points(planned, []) == planned
    assert select_points(planned, ["preset"]) == planned[1:]
    assert select_points(planned, ["preset", "published composition"]) == planned
    with pytest.raises(UserError, match="unknown point 'presets': did you mean 'preset'"):
        select_points(planned, ["presets"])
