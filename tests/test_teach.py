"""Teaching: every part learns, resuming is exact, the guards know the usual failures."""

import pytest
import torch

from skdcgn.config import TeachConfig
from skdcgn.data import load_glyphs, paint
from skdcgn.errors import TrainingStoppedError
from skdcgn.mechanism import Mechanism, Spec
from skdcgn.teach import Health, Teach, check_health, raise_if_collapsed, seen, shift, teach
from skdcgn.teachers.registry import load_teacher

CONFIG = TeachConfig(steps=4, batch_size=8)


def batch(count=8):
    glyphs = load_glyphs("digits", "train")
    data = paint(glyphs, "double-colored", correlated=True, seed=0)
    return {"images": data.images[:count], "labels": data.labels[:count]}


def test_two_steps_change_every_tensor():
    torch.manual_seed(0)
    method = Teach(CONFIG, Spec())
    before = {k: v.clone() for k, v in method.state().items()}
    for _ in range(2):
        method.step(batch())
    after = method.state()
    constant = {"discriminator/head.parametrizations.weight.0._u"}  # one number of norm one
    assert {k for k, v in before.items() if torch.equal(v, after[k])} <= constant


def test_each_loss_is_logged_and_its_weight_counts():
    def gradient(**weights):
        torch.manual_seed(0)
        method = Teach(TeachConfig(**weights), Spec())
        method.optimizers["generator"].step = lambda: None
        logged = method.step(batch())
        return logged, torch.cat([p.grad.flatten() for p in method.modules["cgn"].parameters()])

    _, base = gradient()
    for name in ("reconstruction", "adversarial", "binary", "perceptual"):
        logged, changed = gradient(**{name: 0.5 * getattr(TeachConfig(), name)})
        assert name in logged
        assert not torch.allclose(base, changed), name


def test_a_killed_teacher_resumes_to_the_same_bytes(tmp_path):
    def stop(record):
        if record.step == 3:
            raise KeyboardInterrupt

    whole = teach(CONFIG, tmp_path / "whole", device="cpu", sample_every=2)
    with pytest.raises(KeyboardInterrupt):
        teach(CONFIG, tmp_path / "killed", device="cpu", sample_every=2, callbacks=(stop,))
    teach(CONFIG, tmp_path / "killed", device="cpu", sample_every=2)
    left, right = ((tmp_path / name / "teacher.safetensors").read_bytes() for name in ("whole", "killed"))
    assert left == right
    assert (tmp_path / "whole" / "samples-000004.png").exists()
    loaded = load_teacher(tmp_path / "whole" / "teacher.safetensors")
    noise, labels = torch.randn(4, 32), torch.arange(4)
    assert torch.equal(loaded.query("shape", noise, labels), whole.query("shape", noise, labels))


def test_health_of_real_glyphs_is_perfect():
    glyphs = load_glyphs("digits", "train")

    class Real:
        spec = Spec()

        def query(self, mechanism, noise, labels):
            assert mechanism is Mechanism.SHAPE
            rng = torch.Generator().manual_seed(0)
            rows = [torch.randint(int((glyphs.labels == c).sum()), (1,), generator=rng) for c in labels.tolist()]
            return torch.cat([glyphs.masks[glyphs.labels == c][r] for c, r in zip(labels.tolist(), rows, strict=True)])

    health = check_health(Real(), glyphs, seed=0)
    assert (health.class_accuracy, health.distance) == (1, 0)  # each is its own nearest glyph
    assert health.diversity == pytest.approx(1, abs=0.1)
    assert health.mask_mean == pytest.approx(float(glyphs.masks.mean()), abs=0.02)


@pytest.mark.parametrize(
    ("health", "words"),
    [
        (Health(0.5, 0.01, 0.9, 1.1, 0.2), "one shape"),
        (Health(1.0, 0.8, 0.9, 1.1, 0.97), "masks' mean"),
        (Health(1.0, 0.8, 0.9, 1.1, 0.001), "masks' mean"),
    ],
)
def test_collapse_is_told_in_words(health, words):
    with pytest.raises(TrainingStoppedError, match=words):
        raise_if_collapsed(health, 10)


def test_a_healthy_teacher_goes_on():
    raise_if_collapsed(Health(0.9, 0.6, 0.95, 1.1, 0.24), 10)


def test_shift_moves_by_at_most_a_pixel_and_repeats_edges():
    image = torch.arange(64.0).reshape(1, 1, 8, 8).repeat(200, 1, 1, 1)
    padded = torch.nn.functional.pad(image[:1], (1, 1, 1, 1), mode="replicate")[0, 0]
    windows = [padded[i : i + 8, j : j + 8] for i in range(3) for j in range(3)]
    torch.manual_seed(0)
    found = [next(k for k, w in enumerate(windows) if torch.equal(w, moved[0])) for moved in shift(image)]
    assert set(found) == set(range(9))


def test_the_discriminator_does_not_see_noise_from_pixel_to_pixel():
    rows, columns = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
    checkers = (1 - 2 * ((rows + columns) % 2)).float().expand(20, 3, 16, 16)
    torch.manual_seed(0)
    plain, noisy = (seen(x)[..., 1:-1, 1:-1] for x in (torch.zeros_like(checkers), checkers))
    assert plain.shape == (20, 3, 6, 6)
    assert torch.equal(plain, noisy)
