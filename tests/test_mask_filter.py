"""The mask filter: it rejects masks of another class, and the composer draws them again."""

from dataclasses import replace

import torch

from skdcgn.cgn.compose import TRIES, compose
from skdcgn.cgn.mechanism import Mechanism, Spec
from skdcgn.classifiers.mask_filter import BUDGET, train_mask_filter


class Mislabelled:
    """A filled square whose place tells its class; a tenth of the masks are those of the next class."""

    spec, digest, size = Spec(noise_dim=2, classes=4), "mislabelled", None

    def wrong(self, noise):
        return noise[:, 0] < -1.2816  # a tenth of N(0, 1)

    def query(self, mechanism, noise, labels):
        if mechanism != Mechanism.SHAPE:
            return torch.zeros(len(labels), 3, 32, 32)
        shown = (labels + self.wrong(noise)) % 4
        masks = torch.zeros(len(labels), 1, 32, 32)
        for i, (row, column) in enumerate(((0, 0), (0, 16), (16, 0), (16, 16))):
            masks[shown == i, :, row : row + 16, column : column + 16] = 1
        return masks


def test_the_filter_accepts_masks_that_look_like_their_label(tmp_path):
    cgn = Mislabelled()
    accept = train_mask_filter(cgn, 0.5, tmp_path, budget=replace(BUDGET, images=2000), device="cpu")
    noise, labels = torch.randn(1000, 2), torch.arange(1000) % 4
    accepted = accept(cgn.query(Mechanism.SHAPE, noise, labels), labels)
    assert torch.equal(accepted, ~cgn.wrong(noise))
    assert (tmp_path / "checkpoint.safetensors").exists()


def test_what_is_not_accepted_is_drawn_again_with_its_label(analytic_teacher):
    queries = []

    def accept(masks, labels):
        queries.append(len(labels))
        return masks.mean((1, 2, 3)) > 0.3  # the larger discs

    plain, filtered = (compose(analytic_teacher, 400, accept=a, seed=2) for a in (None, accept))
    assert torch.equal(plain.shape_labels, filtered.shape_labels)
    assert queries[0] == 400 > queries[1] > queries[2]
    assert len(queries) <= TRIES
    kept = (plain.images == filtered.images).flatten(1).all(1)
    assert 0.2 < float(kept.float().mean()) < 1


def test_a_class_that_is_never_accepted_is_still_there(analytic_teacher):
    composed = compose(analytic_teacher, 100, accept=lambda masks, labels: labels != 3, seed=2)
    assert torch.equal(composed.shape_labels, compose(analytic_teacher, 100, seed=2).shape_labels)
    assert (composed.shape_labels == 3).any()
