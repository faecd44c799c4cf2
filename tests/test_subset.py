"""Some of a teacher's classes: named, numbered anew, and never mixed up with all of them."""

import time

import pytest
import torch

from skdcgn.base.config import QueryConfig, Store
from skdcgn.base.errors import UserError
from skdcgn.cgn.subset import ClassSubset, as_ranges, classes_of, of_classes, parse_classes, with_digest
from skdcgn.pairs.query import query_all
from skdcgn.pairs.stored import StoredPairs


@pytest.mark.parametrize(
    ("words", "classes"), [("3", (3,)), ("0-2,9", (0, 1, 2, 9)), ("5 1-2\n2", (1, 2, 5)), ("9-9", (9,))]
)
def test_words_name_classes(words, classes, tmp_path):
    assert parse_classes(words, 10) == classes
    file = tmp_path / "classes.txt"
    file.write_text(words)
    assert parse_classes(str(file), 10) == classes


def test_ranges_are_read_as_they_are_written():
    for classes in ((0,), (0, 1, 2, 9), (1, 3, 5), tuple(range(398))):
        assert parse_classes(as_ranges(classes), 1000) == classes
    assert parse_classes("animals", 1000) == tuple(range(398))


WRONG = ["cats", "3-", "-3", "1.5", "", "10", "5-10", "animals", "9999999999999", "0-99999999", "0-" + "9" * 5000,
         "1," * 4000 + "10", "1," * 4000 + "cat", "²", "\0", "1e9", "\x1b[31m"]  # fmt: skip


@pytest.mark.parametrize("words", WRONG, ids=range(len(WRONG)))
def test_what_is_no_class_is_named_at_once_in_a_short_line(words):
    start = time.perf_counter()
    with pytest.raises(UserError, match="--classes") as refused:
        parse_classes(words, 10)
    assert time.perf_counter() - start < 1
    assert len(str(refused.value)) < 250
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(("words", "mend"), [("5-3", "3-5"), ("5-3,7", "3-5"), ("1,9-8", "8-9")])
def test_a_range_that_runs_backwards_is_refused_with_the_right_one(words, mend):
    with pytest.raises(UserError, match=rf"runs backwards: write {mend}"):
        parse_classes(words, 10)


def test_words_may_be_longer_than_the_name_of_a_file_and_overlap():
    assert parse_classes("3," * 4000 + "0-5,2-7", 10) == tuple(range(8))


def test_a_file_of_classes_is_text_of_bounded_size(tmp_path):
    file = tmp_path / "classes.txt"
    file.write_bytes(b"\xef\xbb\xbf0-2,9")
    assert parse_classes(str(file), 10) == (0, 1, 2, 9)
    file.write_bytes("0-2,9".encode("utf-16"))
    with pytest.raises(UserError, match=r"classes\.txt is not UTF-8 text"):
        parse_classes(str(file), 10)
    file.write_bytes(b"0-9 " * 2**19)
    with pytest.raises(UserError, match=r"classes\.txt is too large"):
        parse_classes(str(file), 10)


def test_labels_are_the_teachers_under_new_numbers(analytic_teacher):
    some = of_classes(analytic_teacher, (2, 5, 6))
    noise, labels = torch.randn(3, some.spec.noise_dim), torch.arange(3)
    assert some.spec.classes == 3
    masks = some.query("shape", noise, labels)
    assert torch.equal(masks, analytic_teacher.query("shape", noise, torch.tensor([2, 5, 6])))
    with pytest.raises(UserError, match="classes 0 to 2"):
        some.query("shape", noise, labels + 1)


def test_a_subset_is_found_by_its_digest_and_classes(analytic_teacher):
    some = of_classes(analytic_teacher, (2, 5, 6))
    assert some.digest == f"{analytic_teacher.digest}[2,5-6]"
    assert with_digest(analytic_teacher, some.digest, (2, 5, 6)) == some
    assert with_digest(some, some.digest, (2, 5, 6)) is some
    assert with_digest(analytic_teacher, analytic_teacher.digest, None) is analytic_teacher
    assert with_digest(analytic_teacher, "another", (2, 5, 6)) is None
    assert with_digest(analytic_teacher, some.digest, (2, 5)) is None


def test_all_classes_are_the_teacher_itself(analytic_teacher):
    assert parse_classes("all", 10) is None
    assert of_classes(analytic_teacher, None) is analytic_teacher
    assert classes_of(analytic_teacher) is None
    assert classes_of(ClassSubset(analytic_teacher, (3,))) == (3,)


@pytest.mark.parametrize("classes", [(), (-1, 2), (9, 10)])
def test_a_class_that_the_teacher_lacks_is_named(classes, analytic_teacher):
    with pytest.raises(UserError, match="the teacher has classes 0 to 9"):
        of_classes(analytic_teacher, classes)


def test_pairs_of_a_subset_name_its_classes_and_are_asked_again(analytic_teacher, tmp_path):
    config = QueryConfig(shape=20, texture=20, background=20, held_out=20, classes="2,5-6", store=Store.NONE)
    query_all(analytic_teacher, tmp_path, config)
    stored = StoredPairs(tmp_path / "shape" / "train", analytic_teacher)
    assert stored.plan.classes == (2, 5, 6)
    labels = torch.tensor([2, 5, 6])[stored.labels]
    expected = analytic_teacher.query("shape", stored.noise, labels)
    assert torch.equal(torch.cat([part.images for part in stored]), expected)
