"""Pairs whose noise explains nothing are noticed before a student is trained on them; others pass in silence."""

import logging

import pytest
import torch

from skdcgn.base.config import DistillConfig, StudentConfig
from skdcgn.base.seeds import generator
from skdcgn.cgn.mechanism import Mechanism
from skdcgn.pairs.query import query_pairs
from skdcgn.pairs.stored import StoredPairs
from skdcgn.students.distill import distill_mechanism
from skdcgn.students.meaning import NoiseMeaning, meaning_words, noise_meaning
from skdcgn.teachers.load import load_teacher

COUNT = 600
FEW = DistillConfig(steps=1, batch_size=8, texture=StudentConfig(channels=(4, 4)))


class Shuffled:
    """A teacher whose picture belongs to other noise: pairs of it are those of another order."""

    spec, digest, size = (teacher := load_teacher("double-colored-digits")).spec, "shuffled", None

    def query(self, mechanism, noise, labels):
        other = self.spec.sample_noise(len(noise), generator("other", float(noise.sum())))
        return self.teacher.query(mechanism, other, labels)


class Constant(Shuffled):
    """A teacher that draws one picture for each class."""

    digest = "constant"

    def query(self, mechanism, noise, labels):
        return self.teacher.query(mechanism, torch.ones_like(noise), labels)


def stored(teacher, mechanism, folder, count=COUNT):
    query_pairs(teacher, mechanism, count, folder)
    return StoredPairs(folder)


@pytest.mark.parametrize("name", ["double-colored-digits", "colored-mnist", "double-colored-mnist", "wildlife-mnist"])
@pytest.mark.parametrize("mechanism", Mechanism)
def test_the_noise_of_the_bundled_teachers_explains_a_third_of_the_squared_error_or_more(name, mechanism, tmp_path):
    meaning = noise_meaning(stored(load_teacher(name), mechanism, tmp_path))
    assert not meaning.explains_nothing
    assert meaning.error**2 < 0.67 * meaning.shuffled**2 or meaning.label_mean < 0.001  # a background without noise


@pytest.mark.parametrize("mechanism", [Mechanism.SHAPE, Mechanism.TEXTURE])
def test_shuffled_pairs_explain_nothing(mechanism, tmp_path):
    meaning = noise_meaning(stored(Shuffled(), mechanism, tmp_path))
    assert meaning.explains_nothing
    assert meaning.error == pytest.approx(meaning.label_mean, rel=0.02)
    assert meaning.shuffled == pytest.approx(meaning.label_mean, rel=0.02)


def test_noise_that_means_something_else_in_each_class_is_seen(tmp_path):
    class Turned(Shuffled):
        digest = "turned"

        def query(self, mechanism, noise, labels):
            """A grey level that follows another number of the noise, and its sign, in each class."""
            own = noise.gather(1, labels[:, None]) * (labels % 2 * 2 - 1)[:, None]
            return own.tanh()[..., None, None].expand(-1, mechanism.channels, *[self.spec.image_size] * 2).contiguous()

    assert not noise_meaning(stored(Turned(), Mechanism.TEXTURE, tmp_path, 1500)).explains_nothing


def test_pictures_that_the_label_decides_and_few_pairs_give_no_warning(tmp_path):
    assert not noise_meaning(stored(Constant(), Mechanism.TEXTURE, tmp_path / "constant")).explains_nothing
    assert noise_meaning(stored(Shuffled(), Mechanism.TEXTURE, tmp_path / "few", 200)) is None


def test_distill_warns_of_shuffled_pairs_once_and_draws_the_same_initial_weights(tmp_path, caplog):
    stored(Shuffled(), Mechanism.TEXTURE, tmp_path / "pairs")
    state = torch.get_rng_state()
    noise_meaning(StoredPairs(tmp_path / "pairs"))
    assert torch.equal(state, torch.get_rng_state())
    for _ in range(2):
        with caplog.at_level(logging.WARNING, "skdcgn"):
            distill_mechanism(tmp_path / "pairs", FEW, tmp_path / "run", device="cpu")
    words = [record.message for record in caplog.records if "explains nothing of the textures" in record.message]
    assert len(words) == 1
    assert "with shuffled pairs 0.0" in words[0]


def test_the_warning_gives_both_errors():
    words = meaning_words(NoiseMeaning(0.291, 0.292, 0.29), Mechanism.BACKGROUND)
    assert "nothing of the backgrounds: held-out error 0.291, with shuffled pairs 0.292" in words
