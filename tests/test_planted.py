"""The parts of benchmarks/audit.py: planted labels, the teacher of real glyphs, coverage."""

import sys
from pathlib import Path

import pytest
import torch

from skdcgn.base.seeds import generator
from skdcgn.cgn.drawer import draw
from skdcgn.cgn.mechanism import Mechanism
from skdcgn.data.glyphs import load_glyphs
from skdcgn.evaluation.audit_answers import ask

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
from audit_summary import covered
from planted import FAMILIES, GlyphTeacher, Planted, painted_digits, planted_labels


@pytest.fixture(scope="module")
def glyph_teacher():
    return GlyphTeacher()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_planted_labels_have_the_planted_share(family, share):
    labels = torch.arange(10).repeat(2000)
    own = planted_labels(labels, FAMILIES[family], share, 10, generator("planted"))
    for mechanism, label in zip((Mechanism.TEXTURE, Mechanism.BACKGROUND), own, strict=True):
        planted = share if mechanism in FAMILIES[family] else 0
        assert float((label == labels).float().mean()) == pytest.approx(planted + (1 - planted) / 10, abs=0.01)


def test_one_draw_decides_for_both():
    labels = torch.zeros(20_000, dtype=torch.int64)
    own = planted_labels(labels, FAMILIES["both"], 0.5, 10, generator("planted"))
    assert float(((own.objects == 0) & (own.backgrounds == 0)).float().mean()) == pytest.approx(0.505, abs=0.015)


def test_the_glyph_teacher_is_a_function_of_noise_and_label(glyph_teacher):
    noise, labels = glyph_teacher.spec.sample_noise(40, generator("glyphs")), torch.arange(10).repeat(4)
    order = torch.randperm(40, generator=generator("order"))
    for mechanism in Mechanism:
        images = draw(glyph_teacher, mechanism, noise, labels)  # which checks shape and range
        assert torch.equal(images[order], draw(glyph_teacher, mechanism, noise[order], labels[order], batch_size=7))


def test_the_glyph_teacher_answers_with_glyphs_of_the_class_each_equally_often(glyph_teacher):
    glyphs = load_glyphs("digits", "test")
    own = glyphs.images[glyphs.labels == 3].flatten(1)
    noise = glyph_teacher.spec.sample_noise(200 * len(own), generator("glyphs"))
    masks = glyph_teacher.query("shape", noise, torch.full((len(noise),), 3)).flatten(1)
    same = torch.cdist(masks, own) < 0.5  # two glyphs differ in a pixel or more
    assert bool(same.any(1).all())
    assert float(same.sum(0).min()) > 120


def test_the_glyph_teacher_has_the_colours_of_the_data(glyph_teacher):
    """A texture of class i and a background of class i - 6 have one colour; test digits of share 1 have both."""
    noise = torch.zeros(10, 3)
    texture = glyph_teacher.query("texture", noise, torch.arange(10))[:, :, 0, 0]
    background = glyph_teacher.query("background", noise, torch.arange(10))[:, :, 0, 0]
    assert torch.equal(texture, background.roll(6, 0))
    painted = painted_digits(Planted("background", 1.0, 0), 200, "test")
    assert float((painted.images[:, :, 0, 0] - background[painted.labels]).abs().max()) < 0.1


def test_an_interval_of_a_constant_answer_covers_its_truth(glyph_teacher):
    """A classifier that always answers class 0 never flips: every interval holds that, and no other number."""

    def constant(images):
        return torch.eye(10)[0].expand(len(images), 10)

    cells = {(one.mechanism, one.statistic): one for one in covered(ask(constant, glyph_teacher, 320), 5)}
    assert cells["texture", "flip"].truth == 0
    assert cells["texture", "flip"].share == 100
    assert 0 < cells["shape", "accuracy"].width < 50
