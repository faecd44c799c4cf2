"""Active questions: where quick students disagree, balanced, on disk before they are asked; the same after a kill."""

import logging
from dataclasses import replace

import pytest
import torch

from paid import SERVICE, Formula, Killed, Paid
from skdcgn.base.config import DistillConfig, Noise, QueryConfig, StudentConfig
from skdcgn.base.errors import UserError
from skdcgn.base.files import write_json
from skdcgn.base.rank import Rank
from skdcgn.base.records import to_dict
from skdcgn.base.seeds import generator
from skdcgn.cgn.mechanism import Mechanism, Spec
from skdcgn.pairs.manifest import HELD_OUT, TRAIN, read_manifest
from skdcgn.pairs.query import query_all
from skdcgn.pairs.stored import read_pairs
from skdcgn.students.active import pick
from skdcgn.students.asking import ask, estimate
from skdcgn.students.distill import distill
from skdcgn.students.enough import Look, Looks, greatest_gain, read_looks
from skdcgn.students.quick import Effort, quick_config
from skdcgn.students.start import new_student

PURPOSES = HELD_OUT, TRAIN
EFFORT = Effort(round_steps=6, step=40, look_steps=6, free=500)
ACTIVE = QueryConfig(shape=60, texture=20, background=20, held_out=10, shard_size=20, noise=Noise.ACTIVE)


class Counting:
    """A teacher that notes the noise it is asked for, and whose line is cut at a call."""

    def __init__(self, teacher, cut_at=-1):
        self.teacher, self.spec, self.digest, self.size = teacher, teacher.spec, teacher.digest, None
        self.noises, self.cut_at = [], cut_at

    def query(self, mechanism, noise, labels):
        if len(self.noises) == self.cut_at:
            raise ConnectionError("the line is cut")
        self.noises.append(noise)
        return self.teacher.query(mechanism, noise, labels)


@pytest.fixture(scope="module")
def active_pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("active")
    ask(Formula(), folder, ACTIVE, seed=3, effort=EFFORT)
    return folder


def shards(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.safetensors"))}


def test_active_questions_are_balanced_and_differ_from_random_ones_after_the_first_round(active_pairs, tmp_path):
    query_all(Formula(), tmp_path, QueryConfig(**{**vars(ACTIVE), "noise": Noise.RANDOM}), seed=3)
    active, random = (read_pairs(folder / "shape" / "train") for folder in (active_pairs, tmp_path))
    assert active.labels.bincount().tolist() == [15] * 4
    assert torch.equal(active.noise[:20], random.noise[:20])
    assert len(torch.cat([active.noise, random.noise[20:]]).unique(dim=0)) == 100
    assert torch.allclose(Formula().query("shape", active.noise, active.labels), active.images)
    assert read_manifest(active_pairs / "shape" / "train").noise is Noise.ACTIVE
    assert shards(active_pairs / "shape" / "held-out") == shards(tmp_path / "shape" / "held-out")


def test_a_cut_query_ends_with_the_same_bytes_and_asks_nothing_twice(active_pairs, tmp_path):
    cut = Counting(Formula(), cut_at=3)  # held-out, two rounds; the third is picked and not answered
    with pytest.raises(ConnectionError):
        ask(cut, tmp_path, ACTIVE, seed=3, effort=EFFORT)
    picked = tmp_path / "shape" / "train" / "questions" / "round-00002.safetensors"
    assert picked.exists()
    again = Counting(Formula())
    ask(again, tmp_path, ACTIVE, seed=3, effort=EFFORT)
    assert shards(tmp_path) == shards(active_pairs)
    asked = torch.cat(cut.noises + again.noises)
    assert len(asked) == len(asked.unique(dim=0)) == 100 + 3 * 10
    assert estimate(again, tmp_path, ACTIVE, seed=3, effort=EFFORT).answers == 0


def test_several_processes_are_refused_in_one_line(tmp_path):
    with pytest.raises(UserError, match="one process"):
        ask(Formula(), tmp_path, ACTIVE, rank=Rank(0, 2))
    with pytest.raises(UserError, match="ask"):
        query_all(Formula(), tmp_path, ACTIVE)


def test_a_distillation_asks_actively_too(tmp_path):
    tiny = StudentConfig(channels=(2, 2), embedding=2)
    config = DistillConfig(steps=1, batch_size=4, shape=tiny, texture=tiny, background=tiny)
    few = replace(ACTIVE, shape=20, held_out=5, enough=0.002)
    distill(Formula(), tmp_path, config, few, device="cpu")
    assert read_manifest(tmp_path / "pairs" / "shape" / "train").noise is Noise.ACTIVE


def test_picks_are_far_from_agreement_and_from_each_other():
    near, far = 1e-3 * torch.randn(200, 4, generator=generator("near")), 5 * torch.eye(4).repeat_interleave(50, 0)
    vectors = torch.cat([near, far])
    rows = pick(vectors, 4, generator("pick"))
    assert bool((rows >= 200).all())
    assert len(vectors[rows].unique(dim=0)) == 4
    assert sorted(pick(torch.zeros(5, 4), 5, generator("zeros")).tolist()) == [0, 1, 2, 3, 4]


def test_every_mechanism_is_asked(active_pairs):
    for mechanism in Mechanism:
        assert read_manifest(active_pairs / mechanism / "train").count == getattr(ACTIVE, mechanism)


def test_students_of_any_image_size_can_be_built():
    for side in (1, 6, 8, 28, 32, 64, 100):
        spec = Spec(side, 3, 4)
        for mechanism in Mechanism:
            new_student(quick_config(spec), mechanism, spec)


def test_gains_are_bounded_by_what_students_differ_in():
    gains, ranges = torch.zeros(500), torch.full((20_000,), 0.1)
    bounds = [greatest_gain(gains, ranges, look, Mechanism.SHAPE) for look in (1, 2, 5)]
    assert 0 < bounds[0] < bounds[1] < bounds[2] < 0.004  # each look has less probability of error
    assert greatest_gain(gains, ranges * 2, 1, Mechanism.SHAPE) > bounds[0]
    assert greatest_gain(gains + 0.05, ranges, 1, Mechanism.SHAPE) > 0.05


def test_a_query_stops_when_a_look_says_enough(tmp_path, caplog):
    """Of 160 planned pairs 80 are asked where anything is enough, all of them where nothing is."""
    plan = QueryConfig(shape=160, texture=50, background=30, held_out=20, shard_size=30, enough=1.0)
    with caplog.at_level(logging.INFO, logger="skdcgn"):
        spent = ask(Formula(), tmp_path / "a", plan, effort=EFFORT)
    assert spent == {"shape": 80, "texture": 50, "background": 30}
    assert read_manifest(tmp_path / "a" / "shape" / "train").count == 80
    assert [line for line in caplog.messages if "answers are enough" in line and "--enough 1" in line]
    before = shards(tmp_path / "a")
    assert estimate(Formula(), tmp_path / "a", plan, effort=EFFORT).answers == 0
    again = Counting(Formula())
    ask(again, tmp_path / "a", plan, effort=EFFORT)
    assert again.noises == []
    assert shards(tmp_path / "a") == before
    with pytest.raises(UserError, match="differs in count"):
        ask(Formula(), tmp_path / "a", replace(plan, shape=60), effort=EFFORT)
    ask(Formula(), tmp_path / "b", replace(plan, enough=0.0), effort=EFFORT)
    assert read_manifest(tmp_path / "b" / "shape" / "train").count == 160
    assert [look.answers for look in read_looks(tmp_path / "b" / "shape" / "looks.json")] == [80, 120]
    assert torch.equal(*(read_pairs(tmp_path / name / "shape" / "train").noise[:80] for name in "ab"))


@pytest.mark.parametrize("noise", [Noise.RANDOM, Noise.SOBOL])
def test_questions_do_not_depend_on_where_looks_are_taken(noise, tmp_path):
    effort = Effort(step=12, look_steps=3, free=50)
    plan = QueryConfig(shape=40, texture=4, background=4, held_out=8, shard_size=6, noise=noise)
    query_all(Formula(), tmp_path / "whole", plan)
    ask(Formula(), tmp_path / "looks", replace(plan, enough=0.0), effort=effort)
    ask(Formula(), tmp_path / "short", replace(plan, enough=1.0), effort=effort)
    whole, grown, short = (shards(tmp_path / name) for name in ("whole", "looks", "short"))
    assert grown == whole
    assert whole | short == whole
    assert len(short) == len(whole) - 3  # 24 of 40 pairs of shape


def test_a_look_is_a_function_of_the_pairs_and_is_kept(tmp_path):
    for name in ("a", "b"):
        query_all(Formula(), tmp_path / name, QueryConfig(shape=80, texture=1, background=1, shard_size=40))
    first, second = (Looks(effort=EFFORT)(tmp_path / name / "shape", 80) for name in ("a", "b"))
    assert first == second
    assert first.gain <= first.greatest_gain
    look = Look(80, 40, 0.1, 0.0, 0.001)
    write_json(tmp_path / "b" / "shape" / "looks.json", [to_dict(look)])
    assert Looks(effort=EFFORT)(tmp_path / "b" / "shape", 80) == look
    assert "enough" in look.says(0.001)
    assert "not enough" in look.says(0.0009)


def test_a_paid_black_box_is_asked_actively_within_its_budget_through_kills(tmp_path):
    effort = Effort(round=6, round_steps=3, step=12, look_steps=3, free=50)
    config = QueryConfig(shape=40, texture=14, background=14, held_out=8, noise=Noise.ACTIVE, enough=0.0, budget=70)
    ask(Formula(), tmp_path / "free", config, effort=effort)
    box = Paid(SERVICE, lambda number: ("killed", "dead", None, None)[number % 4])
    for _ in range(99):
        try:
            ask(box, tmp_path / "paid", config, effort=effort)
            break
        except Killed:
            continue
    counts = [read_manifest(tmp_path / "paid" / one / purpose).count for one in Mechanism for purpose in PURPOSES]
    assert box.answers == sum(counts) <= 70
    assert sum(counts) > 60
    assert set(box.charged.values()) == {1}
    assert shards(tmp_path / "paid") == shards(tmp_path / "free")
