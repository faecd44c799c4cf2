"""Some of a teacher's classes: named, numbered anew, and never mixed up with all of them."""

import pytest
import torch

from skdcgn.base.errors import UserError
from skdcgn.cgn.subset import ClassSubset, as_asked, as_ranges, of_classes, parse_classes


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


@pytest.mark.parametrize("words", ["cats", "3-", "-3", "1.5", "", "10", "5-10", "7-3", "animals"])
def test_what_is_no_class_is_named(words):
    with pytest.raises(UserError, match="--classes"):
        parse_classes(words, 10)


def test_labels_are_the_teachers_under_new_numbers(analytic_teacher):
    some = of_classes(analytic_teacher, "2,5-6")
    noise, labels = torch.randn(3, some.spec.noise_dim), torch.arange(3)
    assert some.spec.classes == 3
    drawn = some.query("shape", noise, labels)
    assert torch.equal(drawn, analytic_teacher.query("shape", noise, torch.tensor([2, 5, 6])))
    with pytest.raises(UserError, match="classes 0 to 2"):
        some.query("shape", noise, labels + 1)


def test_a_digest_tells_which_classes(analytic_teacher):
    some = of_classes(analytic_teacher, "5-6,2")
    assert some.digest == f"{analytic_teacher.digest}[2,5-6]"
    assert as_asked(analytic_teacher, some.digest) == some
    assert as_asked(some, some.digest) is some
    assert as_asked(analytic_teacher, "another") is None
    assert of_classes(analytic_teacher, "all") is analytic_teacher
    assert isinstance(some, ClassSubset)
