"""Pairs: noise, label and image stay together, after kills, damage and repeated queries."""

import json

import pytest
import torch

from skdcgn.base.config import DistillConfig, Noise, QueryConfig, Store
from skdcgn.base.errors import UserError
from skdcgn.base.files import sha256
from skdcgn.base.rank import Rank
from skdcgn.base.seeds import derive_seed
from skdcgn.base.tensors import read_tensors, write_tensors
from skdcgn.cgn.mechanism import Mechanism
from skdcgn.evaluation.fidelity import fidelity
from skdcgn.evaluation.measure import compare_with_pairs
from skdcgn.pairs.manifest import read_manifest
from skdcgn.pairs.query import query_all, query_pairs
from skdcgn.pairs.stored import MEMORY, StoredPairs, read_pairs
from skdcgn.students.distill import distill, distill_mechanism


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


def test_a_journal_that_a_killed_query_left_is_read_and_ends_in_the_manifest(analytic_teacher, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    ask(analytic_teacher, whole)
    with pytest.raises(ConnectionError):
        ask(Interrupted(analytic_teacher, 2), killed)
    journal = killed / "manifest.journal"
    with journal.open("a") as file:
        file.write('{"queries": 2')  # half a line
    lines = journal.read_bytes()
    assert len(StoredPairs(killed, first=20)) == 20
    assert ask(Interrupted(analytic_teacher, 1), killed).queries == 30  # the third shard was queried twice
    assert not journal.exists()
    assert names(killed) == names(whole)
    ends = [json.loads((folder / "manifest.json").read_text()) | {"queries": 0} for folder in (killed, whole)]
    assert ends[0] == ends[1]
    journal.write_bytes(lines)  # as if the process had been killed before it removed its journal
    assert ask(Interrupted(analytic_teacher, 0), killed).queries == 30
    assert names(killed) == names(whole)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_manifest_is_not_written_again_for_each_shard(analytic_teacher, tmp_path):
    sizes = []

    class Watched(Interrupted):
        def query(self, *arguments):
            sizes.append((tmp_path / "manifest.json").stat().st_size)
            return super().query(*arguments)

    ask(Watched(analytic_teacher, 99), tmp_path, 40, shard_size=4)
    assert len(set(sizes)) == 1
    assert (tmp_path / "manifest.json").stat().st_size > sizes[0]


def test_a_corrupt_shard_is_named_and_redrawn(analytic_teacher, tmp_path):
    ask(analytic_teacher, tmp_path)
    shard = tmp_path / "shard-00001.safetensors"
    good = shard.read_bytes()
    shard.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(UserError, match=r"shard-00001.* damaged .*run the query again"):
        read_pairs(tmp_path)
    ask(analytic_teacher, tmp_path)
    assert shard.read_bytes() == good


@pytest.mark.parametrize("memory", [MEMORY, 0])
def test_opening_reads_no_picture_and_damage_is_named_when_one_is_read(memory, analytic_teacher, tmp_path):
    ask(analytic_teacher, tmp_path, shard_size=5)
    shard = tmp_path / "shard-00002.safetensors"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1  # of a picture
    shard.write_bytes(data)
    pairs = StoredPairs(tmp_path, memory=memory)
    assert len(pairs) == 25
    if memory == 0:
        assert pairs.images(torch.tensor([0, 9, 24])).shape[0] == 3  # of other shards
    with pytest.raises(UserError, match=r"shard-00002.* damaged .*run the query again"):
        pairs.images(torch.tensor([0, 11]))


def test_a_shard_that_is_missing_or_cut_off_is_named_at_opening(analytic_teacher, tmp_path):
    ask(analytic_teacher, tmp_path)
    shard = tmp_path / "shard-00001.safetensors"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-100])
    with pytest.raises(UserError, match=r"shard-00001.* damaged .*run the query again"):
        StoredPairs(tmp_path)
    shard.unlink()
    with pytest.raises(UserError, match=r"shard-00001.* missing or .*run the query again"):
        StoredPairs(tmp_path)


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
        ("{}", ": mechanism is missing"),
        ("[]", ": its content: input should be an object"),
        ("null", ": its content: input should be an object"),
        ("{", " is not JSON"),
        ("9" * 5000, " is not JSON"),
        ("[" * 10**5, " is not JSON"),
        ('{"mechanism": "tail"}', ": mechanism: .*'shape'"),
    ],
    ids=range(7),
)
def test_a_file_that_is_no_manifest_is_named(tmp_path, text, words):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(UserError, match=f"manifest.json{words}.*run the query again into another folder"):
        read_pairs(tmp_path)


WRONG_FIELDS = {
    "mechanism": [None, 3, "tail"],
    "purpose": [None, "test", []],
    "count": [None, 0, -1, 2.5, "25", True, 10**18, 10**4000],
    "seed": [None, -1, 2**64, "0"],
    "shard_size": [0, None],
    "teacher": [None, 3],
    "store": ["zip", None],
    "noise": [1],
    "queries": [-1, None],
    "classes": ["all", ["cat"], [-1]],
    "shards": [None, {}, [3], [None] * 10**5, [{"file": "../secret", "count": 25, "sha256": "0" * 64}]],
}
WRONG_FIELDS = [(key, value) for key, values in WRONG_FIELDS.items() for value in values]


@pytest.mark.parametrize(("key", "value"), WRONG_FIELDS, ids=range(len(WRONG_FIELDS)))
def test_a_field_of_a_manifest_that_is_wrong_is_named(key, value, analytic_teacher, tmp_path):
    ask(analytic_teacher, tmp_path)
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(UserError, match=rf"manifest\.json: {key}.*: run the query again") as refused:
        read_pairs(tmp_path)
    assert len(str(refused.value)) < 400


def spoil(folder, change):
    """Change the tensors of the first shard, and its checksum with them."""
    file, manifest = folder / "shard-00000.safetensors", json.loads((folder / "manifest.json").read_text())
    tensors, _ = read_tensors(file)
    write_tensors(file, tensors | change(tensors))
    manifest["shards"][0]["sha256"] = sha256(file)
    (folder / "manifest.json").write_text(json.dumps(manifest))


SPOILED = {
    "fewer labels": lambda t: {"labels": t["labels"][:-1]},
    "fewer rows": lambda t: {name: values[:-1] for name, values in t.items()},
    "labels of 1e9": lambda t: {"labels": t["labels"] + 10**9},
    "labels beyond the classes": lambda t: {"labels": t["labels"] + 1},
    "negative labels": lambda t: {"labels": t["labels"] - 1},
    "labels of int32": lambda t: {"labels": t["labels"].int()},
    "noise of integers": lambda t: {"noise": t["noise"].long()},
    "noise of float64": lambda t: {"noise": t["noise"].double()},
    "noise of 1e9": lambda t: {"noise": t["noise"] + 1e9},
    "noise of NaN": lambda t: {"noise": t["noise"] / 0},
    "narrower noise": lambda t: {"noise": t["noise"][:, :-1]},
    "a surplus tensor": lambda t: {"more": t["labels"].clone()},
}
SPOILED_IMAGES = {
    "images of 1e9": lambda t: {"images": t["images"] * 1e9},
    "images of NaN": lambda t: {"images": t["images"] / 0},
    "images of bytes": lambda t: {"images": t["images"].byte()},
    "smaller images": lambda t: {"images": t["images"][..., :-1]},
    "fewer images": lambda t: {"images": t["images"][:-1]},
}


@pytest.mark.parametrize("memory", [MEMORY, 0])
@pytest.mark.parametrize("change", (SPOILED | SPOILED_IMAGES).values(), ids=SPOILED | SPOILED_IMAGES)
def test_a_shard_of_another_form_is_refused_by_name_though_its_checksum_is_right(
    change, memory, analytic_teacher, tmp_path
):
    ask(analytic_teacher, tmp_path)
    spoil(tmp_path, change)
    with pytest.raises(UserError, match=r"shard-00000\.safetensors: ") as refused:
        StoredPairs(tmp_path, memory=memory).images(torch.arange(25))
    assert "\n" not in str(refused.value)


SPOILED_PNGS = {
    "no PNG": lambda t: {"png": t["png"].flip(0)},
    "ends beyond": lambda t: {"ends": t["ends"] + 1},
    "ends backwards": lambda t: {"ends": t["ends"].flip(0)},
    "ends of 1e18": lambda t: {"ends": t["ends"] * 10**15},
    "fewer ends": lambda t: {"ends": t["ends"][:-1]},
    "a side of another length": lambda t: {"png": t["png"].index_fill(0, torch.arange(16, 20), 1)},
    "damaged pixels": lambda t: {"png": t["png"].index_fill(0, torch.arange(40, 90), 7)},
    "no bytes": lambda t: {"png": t["png"][:0]},
}


@pytest.mark.parametrize("memory", [MEMORY, 0])
@pytest.mark.parametrize("change", SPOILED_PNGS.values(), ids=SPOILED_PNGS)
def test_damaged_png_files_of_a_shard_are_refused_by_name(change, memory, analytic_teacher, tmp_path):
    ask(analytic_teacher, tmp_path, store=Store.PNG)
    spoil(tmp_path, change)
    with pytest.raises(UserError, match=r"shard-00000\.safetensors: ") as refused:
        StoredPairs(tmp_path, memory=memory).images(torch.arange(25))
    assert str(refused.value).isprintable()


def test_masks_stored_as_pictures_are_refused(analytic_teacher, tmp_path):
    for mechanism in (Mechanism.SHAPE, Mechanism.TEXTURE):
        query_pairs(analytic_teacher, mechanism, 5, tmp_path / mechanism, store=Store.PNG)
    pictures = read_tensors(tmp_path / "texture" / "shard-00000.safetensors")[0]
    spoil(tmp_path / "shape", lambda t: {name: pictures[name] for name in ("png", "ends")})
    with pytest.raises(UserError, match=r"shard-00000\.safetensors: one of its images is no picture of 1 channel"):
        read_pairs(tmp_path / "shape")


BUDGET = QueryConfig(shape=20, texture=20, background=20, held_out=10)


def exchange(first, second):
    first.rename(first.with_name("aside"))
    second.rename(first)
    first.with_name("aside").rename(second)


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ("shape/train", "shape/held-out", "holds the held-out pairs of shape, not the train pairs of shape"),
        (
            "texture/train",
            "shape/train",
            "holds the texture|the train pairs of (texture|shape), not the train pairs of",
        ),
        ("texture", "background", "holds the train pairs of background, not the train pairs of texture"),
    ],
)
def test_exchanged_folders_are_refused_before_anything_is_trained(first, second, words, analytic_teacher, tmp_path):
    query_all(analytic_teacher, tmp_path / "pairs", BUDGET)
    exchange(tmp_path / "pairs" / first, tmp_path / "pairs" / second)
    with pytest.raises(UserError, match=words):
        distill(tmp_path / "pairs", tmp_path / "out", DistillConfig(steps=1), device="cpu")
    assert not (tmp_path / "out").exists()


def test_held_out_pairs_are_never_trained_on_nor_training_pairs_measured(analytic_teacher, tmp_path):
    query_all(analytic_teacher, tmp_path / "pairs", BUDGET)
    with pytest.raises(UserError, match="the held-out pairs of shape, not the train pairs"):
        distill_mechanism(tmp_path / "pairs" / "shape" / "held-out", DistillConfig(steps=1), tmp_path / "out")
    exchange(tmp_path / "pairs" / "shape" / "train", tmp_path / "pairs" / "shape" / "held-out")
    for measure in (fidelity, compare_with_pairs):
        with pytest.raises(UserError, match="the train pairs of shape, not the held-out pairs"):
            measure(analytic_teacher, tmp_path / "pairs")


def test_a_student_has_one_teacher(analytic_teacher, tmp_path):
    other = Interrupted(analytic_teacher, 99)
    other.digest = "another"
    query_all(analytic_teacher, tmp_path / "pairs", BUDGET)
    query_all(other, tmp_path / "others", BUDGET)
    exchange(tmp_path / "pairs" / "texture", tmp_path / "others" / "texture")
    with pytest.raises(UserError, match=r"texture/train holds answers of the teacher 'another', the pairs of shape"):
        distill(tmp_path / "pairs", tmp_path / "out", DistillConfig(steps=1), device="cpu")


@pytest.mark.parametrize(
    ("sizes", "mend"),
    [
        ({"count": 10**9, "shard_size": 10**8}, "is too large: pass --shard-size 100000"),
        ({"count": 10**6, "shard_size": 1}, "more than 20,000 files: pass --shard-size 50"),
        ({"count": 0}, "both must be at least 1"),
        ({"count": 10**18}, "ask for 1,000,000,000 at most"),
        ({"seed": 2**64}, "seed: input should be less than or equal to 9223372036854775807"),
        ({"seed": -1}, "seed: input should be greater than or equal to 0"),
        ({"purpose": "test"}, "purpose: input should be 'train' or 'held-out'"),
    ],
)
def test_shards_are_bounded_before_memory_is_asked_for(sizes, mend, analytic_teacher, tmp_path):
    with pytest.raises(UserError, match=mend):
        ask(analytic_teacher, tmp_path, **sizes)
    assert not list(tmp_path.iterdir())


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
