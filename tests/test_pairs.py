"""Pairs: noise, label and image stay together, after kills, damage and repeated queries."""

import json

import pytest
import torch

from skdcgn.base.config import Noise, QueryConfig, Store
from skdcgn.base.errors import UserError
from skdcgn.base.seeds import derive_seed
from skdcgn.cgn.mechanism import Mechanism
from skdcgn.pairs.manifest import read_manifest
from skdcgn.pairs.query import Rank, query_all, query_pairs
from skdcgn.pairs.stored import MEMORY, StoredPairs, read_pairs


def ask(teacher, folder, count=25, **changes):
    return query_pairs(teacher, Mechanism.SHAPE, count, folder, **{"shard_size": 10, **changes})


class Interrupted:
    """A teacher that fails at its n-th call."""

    def __init__(self, teacher, calls):
        self.teacher, self.calls = teacher, calls
        self.spec, self.digest, self.size = teacher.spec, teacher.digest, None

    def query(self, mechanism, noise, labels):
        self.calls -= 1
        if self.calls < 0:
            raise ConnectionError("the line is cut")
        return self.teacher.query(mechanism, noise, labels)


def test_asking_again_for_a_stored_pair_gives_the_stored_image(analytic_teacher, tmp_path):
    for mechanism in Mechanism:
        query_pairs(analytic_teacher, mechanism, 25, tmp_path / mechanism, shard_size=10)
        pairs = read_pairs(tmp_path / mechanism)
        assert torch.equal(analytic_teacher.query(mechanism, pairs.noise, pairs.labels), pairs.images)


def test_labels_are_balanced_and_noise_is_normal(analytic_teacher, tmp_path):
    ask(analytic_teacher, tmp_path, 1000, shard_size=500)
    pairs = read_pairs(tmp_path)
    assert pairs.labels.bincount().tolist() == [100] * 10
    assert abs(float(pairs.noise.mean())) < 0.02
    assert float(pairs.noise.std()) == pytest.approx(1, abs=0.02)
    assert len(pairs.noise.unique(dim=0)) == 1000


def test_same_seed_same_bytes_other_seed_other_noise(analytic_teacher, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        ask(analytic_teacher, tmp_path / name, seed=seed)
    shard = "shard-00001.safetensors"
    assert (tmp_path / "a" / shard).read_bytes() == (tmp_path / "b" / shard).read_bytes()
    assert not torch.equal(read_pairs(tmp_path / "a").noise, read_pairs(tmp_path / "c").noise)


def test_training_and_held_out_pairs_and_mechanisms_share_no_noise(analytic_teacher, tmp_path):
    query_all(analytic_teacher, tmp_path, QueryConfig(shape=20, texture=20, background=20, held_out=20))
    noises = [read_pairs(path.parent).noise for path in sorted(tmp_path.rglob("manifest.json"))]
    assert len(noises) == 6
    assert len(torch.cat(noises).unique(dim=0)) == 120


def test_a_finished_query_asks_nothing(analytic_teacher, tmp_path):
    first = ask(analytic_teacher, tmp_path)
    assert first.queries == 25
    assert ask(Interrupted(analytic_teacher, 0), tmp_path) == first


def test_a_killed_query_goes_on_and_counts_what_was_lost(analytic_teacher, tmp_path):
    with pytest.raises(ConnectionError):
        ask(Interrupted(analytic_teacher, 1), tmp_path / "killed")
    manifest = ask(analytic_teacher, tmp_path / "killed")
    ask(analytic_teacher, tmp_path / "whole")
    assert manifest.queries == 35  # the second shard was queried twice
    for left, right in zip(read_pairs(tmp_path / "killed"), read_pairs(tmp_path / "whole"), strict=True):
        assert torch.equal(left, right)


def test_a_corrupt_shard_is_named_and_redrawn(analytic_teacher, tmp_path):
    ask(analytic_teacher, tmp_path)
    shard = tmp_path / "shard-00001.safetensors"
    good = shard.read_bytes()
    shard.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(UserError, match=r"shard-00001.* damaged .*run the query again"):
        read_pairs(tmp_path)
    ask(analytic_teacher, tmp_path)
    assert shard.read_bytes() == good


def test_an_unfinished_folder_is_refused(analytic_teacher, tmp_path):
    with pytest.raises(ConnectionError):
        ask(Interrupted(analytic_teacher, 1), tmp_path)
    with pytest.raises(UserError, match="holds 10 of 25 pairs"):
        read_pairs(tmp_path)


def test_pairs_of_another_teacher_are_never_mixed_in(analytic_teacher, tmp_path):
    ask(analytic_teacher, tmp_path)
    other = Interrupted(analytic_teacher, 99)
    other.digest = "another"
    with pytest.raises(UserError, match="differs in teacher"):
        ask(other, tmp_path)


def test_streaming_gives_the_same_pairs_shard_by_shard(analytic_teacher, tmp_path):
    ask(analytic_teacher, tmp_path)
    parts = list(StoredPairs(tmp_path))
    assert [len(part.labels) for part in parts] == [10, 10, 5]
    assert torch.equal(torch.cat([part.images for part in parts]), read_pairs(tmp_path).images)


@pytest.mark.parametrize("wrong", ["shape", "range", "nan"])
def test_an_answer_that_breaks_the_contract_is_refused(analytic_teacher, tmp_path, wrong):
    class Wrong(Interrupted):
        def query(self, mechanism, noise, labels):
            images = super().query(mechanism, noise, labels)
            return {"shape": images[:, :, 1:], "range": images * 255, "nan": images * float("nan")}[wrong]

    with pytest.raises(UserError, match="the teacher's shape"):
        ask(Wrong(analytic_teacher, 99), tmp_path)


def test_the_manifest_tells_budget_teacher_and_checksums(analytic_teacher, tmp_path):
    ask(analytic_teacher, tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["teacher"] == analytic_teacher.digest
    assert manifest["count"] == manifest["queries"] == sum(s["count"] for s in manifest["shards"]) == 25
    assert all(len(s["sha256"]) == 64 for s in manifest["shards"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{}", r"no manifest of pairs \(mechanism: .*run the query again"),
        ("[]", "no manifest of pairs"),
        ("{", "not JSON"),
        ('{"mechanism": "tail"}', r"no manifest of pairs \(mechanism: .*'shape'"),
    ],
)
def test_a_file_that_is_no_manifest_is_named(tmp_path, text, words):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(UserError, match=f"manifest.json is {words}"):
        read_pairs(tmp_path)


@pytest.mark.parametrize("store", Store)
@pytest.mark.parametrize("mechanism", Mechanism)
@pytest.mark.parametrize("memory", [MEMORY, 0])
def test_kept_images_are_the_teachers_to_half_a_grey_level(analytic_teacher, tmp_path, store, mechanism, memory):
    query_pairs(analytic_teacher, mechanism, 25, tmp_path, shard_size=10, store=store)
    stored, rows = StoredPairs(tmp_path, analytic_teacher, memory=memory), torch.tensor([24, 3, 11, 3, 9, 10])
    expected = analytic_teacher.query(mechanism, stored.noise[rows], stored.labels[rows])
    exact = store in (Store.FLOAT32, Store.NONE)
    error = 0 if exact else (1 - mechanism.low) / 510 + 1e-6
    assert float((stored.images(rows) - expected).abs().max()) <= error


def test_what_keeps_no_images_asks_nothing_until_it_is_read(analytic_teacher, tmp_path):
    manifest = ask(Interrupted(analytic_teacher, 0), tmp_path, store=Store.NONE)
    assert manifest.queries == 0
    with pytest.raises(UserError, match=r"noise and labels alone: pass the teacher .* --teacher"):
        read_pairs(tmp_path)
    other = Interrupted(analytic_teacher, 99)
    other.digest = "another"
    with pytest.raises(UserError, match="--teacher"):
        read_pairs(tmp_path, other)
    ask(analytic_teacher, tmp_path.with_name("stored"))
    for left, right in zip(
        read_pairs(tmp_path, analytic_teacher), read_pairs(tmp_path.with_name("stored")), strict=True
    ):
        assert torch.equal(left, right)


def test_ranks_share_the_work_of_one(analytic_teacher, tmp_path):
    ask(analytic_teacher, tmp_path / "one", 45)
    spent = [ask(analytic_teacher, tmp_path / "three", 45, rank=Rank(index, 3)).queries for index in (2, 0, 1)]
    assert spent == [10, 20, 15]
    for left, right in zip(read_pairs(tmp_path / "one"), read_pairs(tmp_path / "three"), strict=True):
        assert torch.equal(left, right)
    assert read_manifest(tmp_path / "three").queries == 45


def test_when_a_rank_dies_the_others_go_on_and_fewer_ranks_may_finish(analytic_teacher, tmp_path):
    with pytest.raises(ConnectionError):
        ask(Interrupted(analytic_teacher, 1), tmp_path, 45, rank=Rank(0, 2))  # dies in its second shard of three
    ask(analytic_teacher, tmp_path, 45, rank=Rank(1, 2))
    with pytest.raises(UserError, match="holds 30 of 45 pairs"):
        read_pairs(tmp_path)
    assert ask(Interrupted(analytic_teacher, 2), tmp_path, 45).queries == 15  # one process asks what is missing
    assert len(read_pairs(tmp_path).labels) == 45
    assert read_manifest(tmp_path).queries == 55


def test_a_rank_that_is_none_is_named(analytic_teacher, tmp_path):
    with pytest.raises(UserError, match="rank 2 of 2"):
        ask(analytic_teacher, tmp_path, rank=Rank(2, 2))


def test_shards_smaller_than_the_number_of_classes_are_balanced_together(analytic_teacher, tmp_path):
    ask(analytic_teacher, tmp_path, 40, shard_size=4)
    assert read_pairs(tmp_path).labels.bincount().tolist() == [4] * 10


def test_pairs_of_some_classes_are_asked_under_their_own_numbers(analytic_teacher, tmp_path):
    config = QueryConfig(shape=20, texture=20, background=20, held_out=4, classes="3,7-8", store=Store.NONE)
    query_all(analytic_teacher, tmp_path, config)
    stored = StoredPairs(tmp_path / "texture" / "train", analytic_teacher)  # the whole teacher is recognised
    assert stored.spec.classes == 3
    own = torch.tensor([3, 7, 8])[stored.labels]
    expected = analytic_teacher.query("texture", stored.noise, own)
    assert torch.equal(stored.images(torch.arange(20)), expected)


def test_each_class_has_a_sobol_sequence_of_its_own(analytic_teacher, tmp_path):
    """Whatever the shards: the plan is one of all pairs."""
    spec, stored = analytic_teacher.spec, {}
    for size in (30, 64):
        query_pairs(analytic_teacher, Mechanism.SHAPE, 130, tmp_path / f"{size}", shard_size=size, source=Noise.SOBOL)
        stored[size] = read_pairs(tmp_path / f"{size}")
        for label in range(10):
            own = stored[size].noise[stored[size].labels == label]
            whole = spec.sobol_noise(0, 13, derive_seed(0, "sobol", "shape", label))
            assert {tuple(row) for row in own.tolist()} == {tuple(row) for row in whole.tolist()}
    assert read_manifest(tmp_path / "30").noise is Noise.SOBOL
    with pytest.raises(UserError, match="differs in noise"):
        query_pairs(analytic_teacher, Mechanism.SHAPE, 130, tmp_path / "30", shard_size=30)
