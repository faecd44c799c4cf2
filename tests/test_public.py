"""The public names of the package: all of them exist, nothing else is listed, wrong arguments name the right ones."""

import subprocess
import sys

import pytest

import skdcgn
from skdcgn import UserError


def test_every_public_name_exists_and_no_other_is_listed():
    assert dir(skdcgn) == sorted(skdcgn.__all__)
    assert all(getattr(skdcgn, name) is not None for name in skdcgn.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'distil'"):
        skdcgn.distil  # noqa: B018


def test_modules_that_were_imported_are_not_listed_either():
    code = "import skdcgn.cgn.compose, skdcgn; print('cgn' in dir(skdcgn), hasattr(skdcgn, 'cgn'))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["False", "True"]


MISTAKES = {
    "a name to distill": (lambda out: skdcgn.distill("double-colored-digits", out),
                          r"a teacher, as load_teacher\('double-colored-digits'\) returns it"),
    "no name": (lambda out: skdcgn.load_teacher(None), "a name, a file, a folder or a function, but got: NoneType"),
    "a name to distill, nowhere": (lambda out: skdcgn.distill("double-colored-digits"),
                          r"a teacher, as load_teacher\('double-colored-digits'\) returns it"),
    "a function to distill": (lambda out: skdcgn.distill(lambda mechanism, noise, labels: noise, out),
                          r"is no teacher: .* load_teacher\(function\)"),
    "a teacher to distill, nowhere": (lambda out: skdcgn.distill(skdcgn.load_teacher("double-colored-digits")),
                          "out is missing: name a folder"),
    "a teacher": (lambda out: skdcgn.load_teacher(skdcgn.load_teacher("double-colored-digits")), "is a teacher"),
    "a teacher as a student": (lambda out: skdcgn.load_student(skdcgn.load_teacher("double-colored-digits")),
                               "the folder of a student, but got: CGNTeacher"),
    "a name as a student": (lambda out: skdcgn.load_student("double-colored-digits"), "holds no student: pass"),
    "a name to compose": (lambda out: skdcgn.compose("double-colored-digits", n=1), "load_teacher"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_argument_names_the_right_one(mistake, tmp_path):
    call, words = MISTAKES[mistake]
    with pytest.raises(UserError, match=words):
        call(tmp_path)
    assert list(tmp_path.iterdir()) == []
