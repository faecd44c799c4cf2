"""A first look at a black box: answers that differ, and each wrong answer with a mend that works."""

import logging
import re

import pytest
import torch

from skdcgn.base.errors import UserError
from skdcgn.cgn.black_box import Access
from skdcgn.cgn.drawer import draw
from skdcgn.cgn.mechanism import Mechanism, Spec
from skdcgn.pairs.first_look import look_twice, rows_to_repeat
from skdcgn.teachers.load import load_teacher

SPEC = Spec(8, 3, 4)
NOISE, LABELS = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), torch.arange(4)
RIGHT = {m: torch.linspace(m.low, 1, 4 * m.channels * 64).reshape(4, m.channels, 8, 8) for m in Mechanism}
PICTURE, MASK = Mechanism.TEXTURE, Mechanism.SHAPE


def answering(answer):
    """A function that gives one answer, whatever it is asked."""
    return load_teacher(lambda mechanism, noise, labels: answer, spec=SPEC)


WRONG = {
    "grey levels of 8 bits": (PICTURE, lambda x: ((x + 1) * 127.5).round().byte()),
    "grey levels as floats": (PICTURE, lambda x: (x + 1) * 127.5),
    "a mask of grey levels": (MASK, lambda x: x * 255),
    "a mask of 8 bits": (MASK, lambda x: (x * 255).round().byte()),
    "a mask from -1": (MASK, lambda x: 2 * x - 1),
    "channels last": (PICTURE, lambda x: x.permute(0, 2, 3, 1)),
    "a mask of three channels": (MASK, lambda x: x.expand(-1, 3, -1, -1)),
    "a grey picture": (PICTURE, lambda x: x[:, :1]),
    "a mask without channels": (MASK, lambda x: x[:, 0]),
}


@pytest.mark.parametrize("kind", WRONG)
def test_the_mend_that_a_wrong_answer_is_named_with_works(kind):
    mechanism, spoil = WRONG[kind]
    images = spoil(RIGHT[mechanism])
    with pytest.raises(UserError) as error:
        draw(answering(images), mechanism, NOISE, LABELS)
    (mend,) = re.findall(
        r"(?:by|of grey levels,|\?) ([^?]*?)(?: makes one| puts .*| takes .*| repeats .*| adds .*|$)", str(error.value)
    )
    mended = eval(mend, {"images": images})  # the expression that the line proposes
    answer = draw(answering(mended), mechanism, NOISE, LABELS)
    expected = RIGHT[PICTURE][:, :1].expand(-1, 3, -1, -1) if kind == "a grey picture" else RIGHT[mechanism]
    assert torch.allclose(answer, expected, atol=1 / 127)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (torch.zeros(4, 3, 16, 16), "state image_size=16"),
        (torch.zeros(4, 8, 8, 1), r"channels last\?.*a grey picture\?"),
        (3 * RIGHT[PICTURE], r"runs from -3 to 3: scale it to \[-1, 1\]$"),
    ],
)
def test_what_no_expression_mends_is_named(images, words):
    with pytest.raises(UserError, match=words):
        draw(answering(images), PICTURE, NOISE, LABELS)


class Constant:
    """A teacher that gives one answer, whatever it is asked."""

    spec, digest, size, access = SPEC, "constant", None, Access()

    def __init__(self, answer):
        self.answer = answer

    def query(self, mechanism, noise, labels):
        return self.answer


@pytest.mark.parametrize("image", [RIGHT[PICTURE][0], RIGHT[PICTURE][:1]], ids=["image", "batch of one"])
def test_one_image_for_several_rows_is_named(image, caplog):
    with pytest.raises(UserError, match="one image for several rows"):
        draw(Constant(image), PICTURE, NOISE, LABELS)
    if image.ndim == 3:  # a function may be of one row: then it drew one image for all questions
        look_twice(answering(image), PICTURE, NOISE, LABELS, noisy=False)
        assert "drew one texture for 4 different questions" in caplog.text


class Dice:
    """A black box whose answers to one question differ by ``noise``."""

    spec, digest, size, access = SPEC, "dice", None, Access()

    def __init__(self, noise):
        self.noise, self.asked, self.rng = noise, [], torch.Generator().manual_seed(0)

    def query(self, mechanism, noise, labels):
        self.asked.append((noise, labels))
        images = RIGHT[Mechanism(mechanism)][: len(labels)] * 0.5
        return images + self.noise * torch.rand(images.shape, generator=self.rng)


def test_a_black_box_that_answers_alike_twice_is_asked_twice_and_no_more(caplog):
    for rounding in (0.0, 1e-4):
        dice = Dice(rounding)
        look_twice(dice, MASK, NOISE, LABELS, noisy=False)
        assert len(dice.asked) == 2
        assert all(torch.equal(asked[0], NOISE) and torch.equal(asked[1], LABELS) for asked in dice.asked)
    assert caplog.text == ""


def test_a_noisy_black_box_is_refused_with_how_much_and_accepted_with_a_warning(caplog):
    with pytest.raises(
        UserError, match=r"differs by [\d.]+ of 256 grey levels on average, ([\d.]+) at most.*--noisy"
    ) as e:
        look_twice(Dice(0.4), PICTURE, NOISE, LABELS, noisy=False)
    most = float(re.findall(r"([\d.]+) at most", str(e.value))[0])
    assert 0.3 * 127.5 < most < 0.4 * 127.5
    look_twice(Dice(0.4), PICTURE, NOISE, LABELS, noisy=True)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "median of its answers with the L1 distance, the mean with L2" in record.message


def test_pictures_that_are_never_dark_are_warned_of_not_refused(caplog):
    unit = answering((RIGHT[PICTURE] + 1) / 2)
    look_twice(unit, PICTURE, NOISE, LABELS, noisy=False)
    assert "return 2 * images - 1" in caplog.text
    caplog.clear()
    look_twice(answering(RIGHT[PICTURE]), PICTURE, NOISE, LABELS, noisy=False)
    look_twice(answering(RIGHT[MASK]), MASK, NOISE, LABELS, noisy=False)
    assert caplog.text == ""


def test_one_image_for_all_questions_is_warned_of(caplog):
    look_twice(answering(RIGHT[MASK][:1].expand(4, -1, -1, -1)), MASK, NOISE, LABELS, noisy=False)
    assert "one shape for 4 different questions" in caplog.text


def test_fewer_rows_are_repeated_where_a_repeat_is_paid():
    ways = Access(), Access(paid=True), Access(paid=True, idempotent=False)
    assert [rows_to_repeat(way) for way in ways] == [16, 16, 4]
