"""The ledger: a paid black box is asked for each pair once, within its budget, whatever is killed, lost or refused."""

import json
import logging
import random
import re
import time
from dataclasses import replace

import httpx2
import pytest
import torch

from paid import FUNCTION, SERVICE, Formula, Killed, Paid, at, distill_from
from skdcgn.base.config import DistillConfig, Noise, QueryConfig, Store, StudentConfig
from skdcgn.base.errors import LostAnswerError, RefusedError, UserError
from skdcgn.base.rank import Rank
from skdcgn.cgn.mechanism import Mechanism
from skdcgn.deploy.serve import serving
from skdcgn.pairs.book import Book, Entry, State
from skdcgn.pairs.budget import fit, least_counts, most_answers, requested
from skdcgn.pairs.estimate import estimate_query
from skdcgn.pairs.ledger import open_ledger
from skdcgn.pairs.manifest import HELD_OUT, TRAIN, read_manifest
from skdcgn.pairs.query import query_all, query_pairs
from skdcgn.pairs.stored import read_pairs
from skdcgn.students.distill import distill
from skdcgn.teachers.load import load_teacher

CONFIG = QueryConfig(shape=14, texture=9, background=9, held_out=6, shard_size=6)
TOTAL = 14 + 9 + 9 + 3 * 6
NARROW = StudentConfig(channels=(4, 4), embedding=2)
TINY = DistillConfig(steps=1, batch_size=2, shape=NARROW, texture=NARROW, background=NARROW)
REPEATS = 3 * 4  # answers that a black box without idempotency keys pays twice at first


def books(folder):
    return [Book(path) for path in sorted(folder.glob("ledger*.jsonl"))]


def pairs_of(folder):
    """The bytes of all shards, by path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("shard-*"))}


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """The pairs of the same teacher in this process, whose answers cost nothing."""
    folder = tmp_path_factory.mktemp("free")
    query_all(Formula(), folder, CONFIG)
    return pairs_of(folder)


def query_until_done(box, folder, config=CONFIG, **more):
    """Query again as long as the process is killed; return how often it was."""
    for kills in range(99):
        try:
            query_all(box, folder, config, **more)
        except Killed:
            continue
        return kills
    raise AssertionError("it does not end")


def test_a_book_that_another_rank_writes_is_read_on_from_where_it_ended(tmp_path):
    path = tmp_path / "ledger-1.jsonl"
    entries = [Entry(f"1-{n:06d}", State.ASKED, Mechanism.SHAPE, TRAIN, 4) for n in range(3)]
    own = Book(path)
    own.add(entries[0])
    reader = Book(path)
    assert reader.is_read
    own.add(entries[1])
    own.add(replace(entries[0], state=State.REFUSED))
    with path.open("a") as file:
        file.write(entries[2].to_line()[:20])  # half a line, whose rest comes later
    assert not reader.is_read
    reader.read_on()
    assert (reader.spent, len(reader.pending), reader.torn) == (4, 1, True)
    with path.open("a") as file:
        file.write(entries[2].to_line()[20:])
    reader.read_on()
    assert (reader.spent, reader.queries, reader.is_read, reader.torn) == (8, Book(path).queries, True, False)
    with path.open("a") as file:
        file.write("{}\n")
    with pytest.raises(UserError, match=r"ledger-1\.jsonl, line 5"):
        reader.read_on()


@pytest.mark.parametrize("in_flight", [1, 3])
def test_a_paid_black_box_gives_the_same_pairs_and_each_answer_is_booked(in_flight, expected, tmp_path):
    box = Paid(replace(SERVICE, in_flight=in_flight), seconds=0.03)
    spent = query_all(box, tmp_path, CONFIG)
    assert pairs_of(tmp_path) == expected
    assert spent == {"shape": 14, "texture": 9, "background": 9}
    assert box.most_at_once == in_flight
    assert max(rows for _, rows in box.queries) == box.access.batch
    assert set(box.charged.values()) == {1}
    assert [book.spent for book in books(tmp_path)] == [TOTAL] == [box.answers]
    assert not list(tmp_path.rglob("ledger/*"))  # all answers are in shards


@pytest.mark.parametrize("outcome", ["dead", "killed"])
@pytest.mark.parametrize("number", [1, 2, 5, 13])
def test_a_kill_at_any_query_costs_a_service_with_idempotency_keys_nothing(number, outcome, expected, tmp_path):
    box = Paid(SERVICE, at(number, outcome))
    assert query_until_done(box, tmp_path, replace(CONFIG, budget=TOTAL)) == 1
    assert pairs_of(tmp_path) == expected
    assert set(box.charged.values()) == {1}
    assert box.answers == TOTAL == books(tmp_path)[0].spent


def test_many_kills_and_losses_of_a_service_cost_nothing(expected, tmp_path):
    rng = random.Random(3)
    box = Paid(SERVICE, lambda n: rng.choice(["lost", "killed", "dead", None, None, None]))
    assert query_until_done(box, tmp_path, replace(CONFIG, budget=TOTAL)) > 3
    assert pairs_of(tmp_path) == expected
    assert set(box.charged.values()) == {1}


@pytest.mark.parametrize("seed", range(4))
def test_the_budget_of_a_function_is_never_exceeded_and_pairs_are_those_of_no_kill(seed, expected, tmp_path):
    """What a function answered to a process that was killed is lost; nobody knows whether it was paid."""
    rng = random.Random(seed)
    box = Paid(FUNCTION, lambda n: rng.choice(["lost", "killed", "dead", *[None] * 12]))
    budget, raised = TOTAL + REPEATS, 0
    while True:
        try:
            query_until_done(box, tmp_path, replace(CONFIG, budget=budget))
            break
        except LostAnswerError:
            pass
        except UserError as error:
            assert re.search("all that came are kept.*--budget", str(error))  # noqa: PT017
            budget, raised = budget + 8, raised + 1
        assert box.answers <= budget
    book = books(tmp_path)[0]
    assert raised
    assert box.answers <= book.spent <= budget
    assert book.spent == TOTAL + book.wasted
    assert pairs_of(tmp_path) == expected


def test_what_is_refused_costs_nothing_and_the_same_command_goes_on(expected, tmp_path):
    box = Paid(FUNCTION, at(7, "refused"))
    with pytest.raises(RefusedError):
        query_all(box, tmp_path, replace(CONFIG, budget=TOTAL + REPEATS))
    query_all(box, tmp_path, replace(CONFIG, budget=TOTAL + REPEATS))
    assert pairs_of(tmp_path) == expected
    assert box.answers == TOTAL + REPEATS == books(tmp_path)[0].spent


def test_a_finished_folder_asks_nothing(tmp_path):
    query_all(Paid(FUNCTION), tmp_path, CONFIG)
    again = Paid(FUNCTION, lambda n: "dead")
    query_all(again, tmp_path, CONFIG)
    assert again.queries == []


def test_answers_that_are_lost_three_times_are_named(tmp_path):
    box = Paid(FUNCTION, lambda n: "lost" if n > 6 else None)
    with pytest.raises(LostAnswerError, match="the line is cut"):
        query_all(box, tmp_path, CONFIG)
    assert len(box.queries) == 9
    assert books(tmp_path)[0].lost == box.answers - 3 * 8


def test_a_budget_cuts_the_plan_in_proportion(caplog, tmp_path):
    with caplog.at_level(logging.WARNING):
        query_all(Paid(SERVICE), tmp_path, replace(CONFIG, budget=25))
    counts = {(m, p): read_manifest(tmp_path / m / p).count for m in Mechanism for p in (HELD_OUT, TRAIN)}
    assert counts[Mechanism.SHAPE, TRAIN] == 7
    assert sum(counts.values()) <= 25
    assert "a budget of 25 answers: shape 7, texture 4, background 4, and 3 held-out pairs of each" in caplog.text


def test_a_greater_budget_cuts_no_count_more_and_leaves_less_than_one_pair_of_each():
    wanted = requested(QueryConfig(shape=60, texture=30, background=31, held_out=7))
    before = dict.fromkeys(wanted, 0)
    for limit in range(6, sum(wanted.values()) + 1):
        counts = fit(wanted, least_counts(wanted, {}), limit)
        assert limit - len(wanted) < sum(counts.values()) <= limit
        assert all(before[part] <= counts[part] <= wanted[part] for part in wanted)
        before = counts
    assert before == wanted


def test_a_greater_budget_grows_the_folder_and_asks_only_for_the_rest(tmp_path):
    box = Paid(SERVICE)
    query_all(box, tmp_path, replace(CONFIG, budget=25))
    before = pairs_of(tmp_path)
    query_all(box, tmp_path, replace(CONFIG, budget=TOTAL))
    after = pairs_of(tmp_path)
    assert {name: after[name] for name in before} == before
    assert set(box.charged.values()) == {1}
    assert box.answers == TOTAL
    assert read_manifest(tmp_path / "shape" / TRAIN).earlier == (7,)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"budget": 5}, "a budget of 5 answers is too small: it takes 6 at least, one pair of each mechanism"),
        ({"max_cost": 3.0}, "--max-cost needs the price of an answer: pass --price too"),
        ({"max_cost": 1.0, "price": 0.3}, "a budget of 3 answers is too small"),
        ({"store": Store.NONE}, "answers that cost money are stored: choose another --store than none"),
    ],
)
def test_settings_that_no_query_fits_are_refused_before_the_first_one(settings, words, tmp_path):
    box = Paid(SERVICE)
    with pytest.raises(UserError, match=words):
        query_all(box, tmp_path, replace(CONFIG, **settings))
    assert box.queries == []


def test_a_cost_is_counted_exactly():
    assert most_answers(QueryConfig(price=0.1, max_cost=0.3)) == 3
    assert most_answers(QueryConfig(price=0.002, max_cost=20.0)) == 10_000
    assert most_answers(QueryConfig(price=0.002, max_cost=20.0, budget=7)) == 7
    assert most_answers(QueryConfig(price=0.0, max_cost=20.0)) is None
    assert most_answers(QueryConfig(price=0.5)) is None


def test_ranks_share_the_budget_and_a_killed_rank_is_finished_by_the_others(expected, tmp_path):
    config = replace(CONFIG, budget=TOTAL)
    box = Paid(SERVICE, at(3, "killed"))
    with pytest.raises(Killed):
        query_all(box, tmp_path, config, rank=Rank(1, 2))
    query_all(box, tmp_path, config, rank=Rank(0, 2))
    assert not list(tmp_path.rglob("ledger/asked-*"))  # the open query of the rank that died was finished
    query_all(box, tmp_path, config)
    assert pairs_of(tmp_path) == expected
    assert set(box.charged.values()) == {1}
    assert sum(book.spent for book in books(tmp_path)) == TOTAL


def test_what_another_rank_lost_leaves_less_to_ask(tmp_path):
    config = replace(CONFIG, budget=TOTAL + REPEATS)
    box = Paid(FUNCTION, at(2, "killed"))
    with pytest.raises(Killed):
        query_all(box, tmp_path, config, rank=Rank(1, 2))
    with pytest.raises(UserError, match=r"2 answers were lost.*--budget 64"):
        query_until_done(box, tmp_path, config)
    assert box.answers <= config.budget


def test_an_answer_that_is_there_is_not_asked_for_again(tmp_path):
    """Whichever plan asked for it: the questions of a second folder are looked up in all shards."""
    box = Paid(SERVICE)
    query_all(box, tmp_path, CONFIG)

    def known(size, index, plan):
        first = read_pairs(tmp_path / "shape" / TRAIN)
        rows = torch.arange(size) % 3  # some of them twice
        return first.noise[rows], first.labels[rows]

    with open_ledger(box, tmp_path) as ledger:
        query_pairs(box, Mechanism.SHAPE, 6, tmp_path / "again", questions=known, ledger=ledger)
    assert box.answers == TOTAL
    again = read_pairs(tmp_path / "again")
    assert torch.equal(again.images, Formula().query("shape", again.noise, again.labels))


def test_a_half_line_of_a_killed_process_is_dropped_and_any_other_damage_is_named(tmp_path):
    query_all(Paid(SERVICE), tmp_path, CONFIG)
    book = tmp_path / "ledger.jsonl"
    sound = book.read_text()
    book.write_text(sound + sound[:40])
    query_all(Paid(SERVICE), tmp_path, CONFIG)
    assert book.read_text() == sound
    book.write_text(sound.replace('"asked"', '"bought"', 1))
    with pytest.raises(UserError, match=r"ledger\.jsonl, line 1: state: .*'bought'.*nobody knows what was spent"):
        query_all(Paid(SERVICE), tmp_path, CONFIG)


def test_answers_of_a_wrong_form_are_paid_and_end_the_query(tmp_path):
    box = Paid(FUNCTION, lambda n: "wrong")
    with pytest.raises(UserError, match="shape"):
        query_all(box, tmp_path, CONFIG)
    assert len(box.queries) == 1
    assert books(tmp_path)[0].spent == books(tmp_path)[0].lost == 4


def test_a_noisy_black_box_is_asked_on_only_if_one_says_so(caplog, tmp_path):
    box = Paid(FUNCTION, lambda n: "noisy" if n <= 8 else None)
    for _ in range(2):
        with pytest.raises(UserError, match=r"not deterministic.*--noisy"):
            query_all(box, tmp_path, replace(CONFIG, budget=TOTAL + REPEATS))
    with caplog.at_level(logging.WARNING):
        query_all(box, tmp_path, replace(CONFIG, budget=TOTAL + REPEATS, noisy=True))
    assert "not deterministic" in caplog.text
    assert box.answers == books(tmp_path)[0].spent <= TOTAL + REPEATS


def test_the_library_distills_within_a_budget(tmp_path):
    box = Paid(replace(SERVICE, in_flight=2))
    config = replace(TINY, **{mechanism.value: StudentConfig(channels=(4,), embedding=2) for mechanism in Mechanism})
    distill(box, tmp_path, config, replace(CONFIG, budget=20), device="cpu")
    assert box.answers <= 20
    assert (tmp_path / "student" / "model.safetensors").is_file()


def test_a_dry_run_says_what_the_query_then_asks_and_asks_and_writes_nothing(tmp_path):
    config = replace(CONFIG, budget=40, price=0.5)
    box = Paid(FUNCTION, at(7, "refused"), seconds=0.01)
    first = estimate_query(box, tmp_path, config)
    assert not list(tmp_path.iterdir())
    assert (first.rate, first.spent, first.twice, sum(first.stored.values())) == (None, 0, 9, 0)
    assert first.answers <= 40
    with pytest.raises(RefusedError):
        query_all(box, tmp_path, config)
    spent, second = box.answers, estimate_query(box, tmp_path, config)
    assert second.twice == 0
    assert second.spent == spent
    assert 20 < second.rate < 400  # four answers in a hundredth of a second and more
    query_all(box, tmp_path, config)
    assert box.answers == spent + second.answers == first.answers
    lines = estimate_query(box, tmp_path, config).lines()
    assert lines[0] == "shape: 9 pairs and 3 held out; there already: 9 and 3; to ask: 0"
    assert lines[-1].startswith(f"0 answers to ask; spent so far: {box.answers} of a budget of 40; cost: 0.00; time: ")


def test_a_dry_run_of_the_command_line(skdcgn, tmp_path):
    words = "query", "double-colored-digits", "--out", tmp_path / "pairs", "--budget", "600", "--price", "0.01"
    status, lines, _ = skdcgn(*words, "--dry-run")
    assert status == 0
    assert "; cost: 5.9" in lines.splitlines()[-1]
    assert not (tmp_path / "pairs").exists()


SERVED = QueryConfig(shape=40, texture=30, background=30, held_out=8, shard_size=12, budget=80)


def test_a_client_of_a_flaky_service_that_is_killed_pays_no_answer_twice(fork_server, tmp_path):
    """Three kills by SIGKILL; benchmarks/kills_http.py does a hundred of the commands."""
    query_all(load_teacher("double-colored-digits"), tmp_path / "own" / "pairs", SERVED)
    distill(tmp_path / "own" / "pairs", tmp_path / "own" / "run", TINY, device="cpu")
    rng, kills, out = random.Random(0), 0, tmp_path / "killed"
    service = serving(load_teacher("double-colored-digits"), batch=4, fail=0.1, seed=2)
    with service as url, httpx2.Client(base_url=url) as web:
        while True:
            client = fork_server.Process(target=distill_from, args=(url, out, SERVED, TINY))
            client.start()
            answers = web.get("/stats").json()["answers"]
            while kills < 3 and client.is_alive() and web.get("/stats").json()["answers"] == answers:
                time.sleep(0.01)
            client.join(rng.uniform(0, 0.2) if kills < 3 else None)
            if client.exitcode == 0:
                break
            client.kill()
            client.join()
            kills += 1
        stats = web.get("/stats").json()
    assert kills >= 3
    assert stats["repeated"] == 0
    assert stats["answers"] == sum(len(read_pairs(path.parent).labels) for path in out.rglob("manifest.json")) <= 80
    assert pairs_of(out) == pairs_of(tmp_path / "own")
    student = "run/student/model.safetensors"
    assert (out / student).read_bytes() == (tmp_path / "own" / student).read_bytes()


# A folder that grows.


@pytest.mark.parametrize("source", [Noise.RANDOM, Noise.SOBOL])
def test_a_folder_grows_by_the_pairs_that_it_lacks(source, tmp_path):
    seen = []

    class Counting(Formula):
        def query(self, mechanism, noise, labels):
            seen.append(len(labels))
            return super().query(mechanism, noise, labels)

    def ask(count, rank=Rank()):  # noqa: B008
        return query_pairs(Counting(), Mechanism.SHAPE, count, tmp_path, shard_size=10, source=source, rank=rank)

    ask(15)
    before = read_pairs(tmp_path)
    ask(37, Rank(0, 2))
    with pytest.raises(UserError, match="holds 27 of 37 pairs"):
        read_pairs(tmp_path)
    ask(37, Rank(1, 2))
    after = read_pairs(tmp_path)
    assert sum(seen) == 37
    assert torch.equal(after.noise[:15], before.noise)
    assert len(after.noise.unique(dim=0)) == 37
    assert sorted(after.labels.bincount().tolist())[0] >= 8
    assert read_manifest(tmp_path).counts == (15, 37)
    with pytest.raises(UserError, match="differs in count: 37 of them are planned, more than 36"):
        ask(36)


def test_growth_by_whole_shards_gives_the_pairs_of_one_query(tmp_path):
    for count in (10, 20, 25):
        query_pairs(Formula(), Mechanism.SHAPE, count, tmp_path / "grown", shard_size=10)
    query_pairs(Formula(), Mechanism.SHAPE, 25, tmp_path / "whole", shard_size=10)
    assert pairs_of(tmp_path / "grown") == pairs_of(tmp_path / "whole")


@pytest.mark.parametrize("earlier", [[30], [10, 10], [12, 11]])
def test_earlier_counts_that_do_not_increase_are_named(earlier, tmp_path):
    query_pairs(Formula(), Mechanism.SHAPE, 25, tmp_path, shard_size=10)
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"earlier": earlier}))
    with pytest.raises(UserError, match=r"manifest\.json.*earlier counts do not increase"):
        read_pairs(tmp_path)
