"""A student's memory begins with the distinct pictures of its pairs, and with the noise that picks each."""

import pytest
import torch

from skdcgn.base.config import DistillConfig, StudentConfig
from skdcgn.base.presets import find_stage
from skdcgn.base.seeds import generator
from skdcgn.cgn.mechanism import Mechanism, Spec
from skdcgn.pairs.query import query_pairs
from skdcgn.pairs.stored import StoredPairs
from skdcgn.students.layers import Memory
from skdcgn.students.memory import most_frequent, principal_components, start_memory
from skdcgn.students.start import first_student

PICTURES, CLASSES, Z = 12, 3, 4


class Photographs:
    """Noise picks one of ``PICTURES`` pictures of its class, the one whose code is nearest in direction."""

    spec, digest, size = Spec(image_size=16, noise_dim=Z, classes=CLASSES), "photographs", None
    codes = torch.nn.functional.normalize(torch.randn(CLASSES, PICTURES, Z, generator=generator("codes")), dim=2)
    pictures = torch.rand(CLASSES, PICTURES, 3, 16, 16, generator=generator("pictures")) * 2 - 1

    def picks(self, noise, labels):
        return (self.codes[labels] @ noise[:, :, None])[..., 0].argmax(1)

    def query(self, mechanism, noise, labels):
        return self.pictures[labels, self.picks(noise, labels)]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    query_pairs(Photographs(), Mechanism.TEXTURE, 900, folder)
    return StoredPairs(folder)


def test_noise_that_was_not_in_the_pairs_picks_the_code_of_its_picture(pairs):
    memory, teacher = Memory(CLASSES, PICTURES + 2, Z, 8), Photographs()
    pictures = pairs.images(torch.arange(900)).flatten(1) / 2 + 0.5
    start_memory(memory, pairs.noise, pairs.labels, pictures)
    noise, labels = teacher.spec.sample_noise(300, generator("new")), torch.arange(300) % CLASSES
    picks = ((memory.keys[labels] @ noise[:, :, None])[..., 0] + memory.bias[labels]).argmax(1)
    codes = principal_components(pictures, pairs.labels, 8)
    rows = [((pairs.labels == y) & (teacher.picks(pairs.noise, pairs.labels) == p)).nonzero()[0, 0]
            for y, p in zip(labels, teacher.picks(noise, labels), strict=True)]  # fmt: skip
    right = torch.isclose(memory.values[labels, picks], codes[torch.stack(rows)], atol=1e-3).all(1)
    assert right.float().mean() > 0.9


def test_the_most_frequent_pictures_are_numbered_by_their_frequency():
    pictures = torch.tensor([3, 1, 2, 1, 2, 1])[:, None] / 10
    number, first = most_frequent(pictures, 2)
    assert number.tolist() == [-1, 0, 1, 0, 1, 0]
    assert first.tolist() == [1, 2]


def test_principal_components_are_white_within_classes():
    pictures, labels = torch.rand(200, 30, generator=generator("white")), torch.arange(200) % 2
    codes = principal_components(pictures + labels[:, None], labels, 40)
    assert codes.shape == (200, 40)
    covariance = codes[:, :30].T @ codes[:, :30] / 200
    assert torch.allclose(covariance, torch.eye(30), atol=1e-3)


def test_a_student_begins_alike_with_alike_pairs_and_draws_pictures_that_differ(pairs):
    size = StudentConfig(channels=(8, 8), grid=4, memory=PICTURES, rank=6)
    students = []
    for _ in range(2):
        torch.manual_seed(0)
        students.append(first_student(DistillConfig(texture=size), pairs).state_dict())
    assert all(torch.equal(value, students[1][name]) for name, value in students[0].items())
    assert students[0]["memory.values"].shape == (CLASSES, PICTURES, 6)


def test_the_preset_photos_of_query_and_distill_has_a_memory_for_each_mechanism():
    distill = find_stage("distill", "photos")
    assert all(size.memory >= 200 and size.rank for size in (distill.shape, distill.texture, distill.background))
    assert find_stage("query", "photos").texture >= 50 * distill.texture.memory  # pairs of ten classes
