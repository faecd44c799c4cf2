"""Teaching: every part learns, resuming is exact, the guards know the usual failures."""

import json
from dataclasses import replace

import pytest
import torch
from PIL import Image

from skdcgn.base.config import TeachConfig
from skdcgn.base.errors import TrainingStoppedError, UserError
from skdcgn.cgn.compose import compose
from skdcgn.cgn.layers import blend, tile_crop
from skdcgn.cgn.mechanism import Layers, Mechanism, Spec
from skdcgn.cgn.policy import Policy
from skdcgn.data.appearances import paint
from skdcgn.data.glyphs import load_glyphs
from skdcgn.teachers.cgn import CGN
from skdcgn.teachers.health import Health
from skdcgn.teachers.load import load_teacher
from skdcgn.teachers.recognition import Segmenter
from skdcgn.teachers.teach import start_at, teach
from skdcgn.teachers.teach_method import Teach
from skdcgn.teachers.views import crop_expectation, half_resolution, shift
from skdcgn.training.loop import Step, fit

CONFIG = TeachConfig(steps=4, batch_size=8, patch=0.15, segment=2.0, smooth=0.2, smooth_texture=0.1)
LAST = Step(3, 4)
EMPTY = Health(0.0, 0.0, 0.9, 1.1, 0.001, 0.1, 0.0)


def batch(count=8):
    glyphs = load_glyphs("digits", "train")
    data = paint(glyphs, "double-colored", correlated=True, seed=0)
    return {"images": data.images[:count], "labels": data.labels[:count]}


def test_two_steps_change_every_tensor():
    torch.manual_seed(0)
    method = Teach(CONFIG, Spec())
    before = {k: v.clone() for k, v in method.state().items()}
    for _ in range(2):
        method.step(batch(), LAST)
    after = method.state()
    constant = {f"{name}/head.parametrizations.weight.0._u" for name in ("discriminator", "patches")}  # of norm one
    assert {k for k, v in before.items() if torch.equal(v, after[k])} <= constant


def test_each_loss_is_logged_and_its_weight_counts():
    def gradient(**weights):
        torch.manual_seed(0)
        method = Teach(replace(CONFIG, **weights), Spec())
        method.optimizers["generator"].step = lambda: None
        logged = method.step(batch(), LAST)
        return logged, torch.cat([p.grad.flatten() for p in method.modules["cgn"].parameters()])

    _, base = gradient()
    weights = "reconstruction adversarial segment binary smooth smooth_texture perceptual local patch"
    for name in weights.split():
        logged, changed = gradient(**{name: 0.5 * getattr(CONFIG, name)})
        assert name in logged
        assert not torch.allclose(base, changed), name


def test_the_binary_weight_moves_from_the_first_to_the_last_steps():
    torch.manual_seed(0)
    method = Teach(replace(CONFIG, binary_first=0.25, binary=1.0), Spec())
    method.descend = lambda *_: None
    weights = [(torch.manual_seed(1), method.step(batch(), Step(number, 4))["binary"])[1] for number in (0, 1, 3)]
    assert weights[1] / weights[0] == pytest.approx(2.0, rel=0.05)  # batch norms' statistics move between the calls
    assert weights[2] / weights[0] == pytest.approx(4.0, rel=0.05)


@pytest.mark.parametrize(
    ("term", "taught"),
    [
        ("patch", {"f_text1", "f_text2"}),
        ("segment", {"f_shape"}),
        ("smooth", {"f_shape"}),
        ("smooth_texture", {"f_text1"}),
    ],
)
def test_a_term_teaches_its_own_mechanisms_alone(term, taught):
    others = ("reconstruction", "kl", "adversarial", "binary", "smooth", "perceptual", "local")
    torch.manual_seed(0)
    method = Teach(TeachConfig(**dict.fromkeys(others, 0.0) | {term: 1.0}), Spec())
    method.step(batch(), LAST)  # a mask of usual size costs no range
    cgn = method.modules["cgn"]
    moved = {
        name
        for name in ("f_shape", "f_text1", "f_text2")
        if any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in getattr(cgn, name).parameters())
    }
    assert moved == taught
    assert ("patches" in method.modules) == (term == "patch")
    assert ("segmenter" in method.modules) == (term == "segment")


@pytest.mark.slow
def test_a_killed_teacher_resumes_to_the_same_bytes(tmp_path):
    def stop(record):
        if record.step == 3:
            raise KeyboardInterrupt

    config = replace(CONFIG, batch_size=4, policy=("shape.spin:180", "texture.noise:0.1"))

    def sound(teacher, real, seed):
        return Health(1.0, 1.0, 0.9, 1.1, 0.2, 0.1, 0.0)

    whole = teach(config, tmp_path / "whole", device="cpu", sample_every=2, check=sound)
    with pytest.raises(KeyboardInterrupt):
        teach(config, tmp_path / "killed", device="cpu", sample_every=2, callbacks=(stop,), check=sound)
    teach(config, tmp_path / "killed", device="cpu", sample_every=2, check=sound)
    left, right = ((tmp_path / name / "teacher.safetensors").read_bytes() for name in ("whole", "killed"))
    assert left == right
    assert (tmp_path / "whole" / "samples-000004.png").exists()
    loaded = load_teacher(tmp_path / "whole" / "teacher.safetensors")
    noise, labels = torch.randn(4, 32), torch.arange(4)
    assert torch.equal(loaded.query("shape", noise, labels), whole.query("shape", noise, labels))


def test_a_policy_distorts_images_and_not_the_masks_whose_entropy_counts():
    """Where every layer is made black, so are samples, surfaces, reconstructions and their expectation over crops."""
    discriminator_inputs = {"discriminator": [], "patches": []}
    config = replace(CONFIG, local=1.0, policy=("texture.constant:#000000", "background.constant:#000000"))
    torch.manual_seed(0)
    method, data = Teach(config, Spec()), batch()
    for name, inputs in discriminator_inputs.items():
        method.modules[name].register_forward_pre_hook(lambda module, args, inputs=inputs: inputs.append(args[0]))
    logged = method.step(data, LAST)
    for inputs in discriminator_inputs.values():
        trained, fooled = inputs
        assert torch.equal(fooled[:, :3], torch.full_like(fooled[:, :3], -1))
        assert torch.equal(trained[8:, :3], torch.full_like(trained[8:, :3], -1))
    assert logged["reconstruction"] == pytest.approx(float((data["images"] + 1).square().mean()), rel=1e-5)
    assert logged["binary"] > 0.01


@pytest.mark.parametrize(
    "word", ["shape.binarise:0.5", "shape.spin:180", "texture.turn:1", "background.constant:#000000"]
)
def test_gradients_reach_the_mechanism_that_is_distorted(word):
    """Of the losses on composed images alone; a constant layer leaves its mechanism without them."""
    torch.manual_seed(0)
    method = Teach(replace(CONFIG, binary=0.0, smooth=0.0, smooth_texture=0.0, policy=(word,)), Spec())
    method.step(batch(), LAST)
    place, name = word.partition(":")[0].split(".")
    part = {"shape": "f_shape", "texture": "f_text1", "background": "f_text2"}[place]
    gradients = [p.grad for p in getattr(method.modules["cgn"], part).parameters() if p.grad is not None]
    nonzero = any(bool((gradient != 0).any()) for gradient in gradients)
    assert nonzero == (name != "constant")


def test_each_step_draws_a_distortion_of_its_own():
    seeds = []

    class Spy(Policy):
        def layers(self, layers, rng):
            seeds.append(rng.initial_seed())
            return super().layers(layers, rng)

    method = Teach(CONFIG, Spec())
    method.policy = Spy((), 10)
    for start in (0, 1):  # the second as if it had been killed after a step
        for _ in fit(method, lambda step: batch(), 2, start=start, seed=1):
            pass
    assert seeds[0] != seeds[1] == seeds[2]
    assert len(seeds) == 3


@pytest.mark.parametrize("word", ["texture.correlate:0.5", "background.freeze:3", "shape.relabel:1"])
def test_labels_are_the_datas_while_a_cgn_learns(word, tmp_path):
    with pytest.raises(UserError, match=f"policy {word.partition(':')[0]}: labels are the data's"):
        teach(replace(CONFIG, policy=(word,)), tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()  # the next try may go there


def test_a_users_pictures_become_a_teacher(tmp_path, caplog):
    """Three classes at 64 pixels, from files of several formats and shapes."""
    for name, colour in (("cat", (200, 40, 40)), ("dog", (40, 200, 40)), ("emu", (40, 40, 200))):
        (tmp_path / "mine" / name).mkdir(parents=True)
        for index, suffix in enumerate(("png", "jpg", "bmp", "webp")):
            picture = Image.new("RGB", (80 + 10 * index, 70), colour)
            picture.paste((250, 250, 250), (20, 20, 40 + index, 50))
            picture.save(tmp_path / "mine" / name / f"{index}.{suffix}")
    config = TeachConfig(images=str(tmp_path / "mine"), image_size=64, steps=2, batch_size=6)
    with caplog.at_level("INFO", "skdcgn"):
        teacher = teach(config, tmp_path / "out", device="cpu", sample_every=2)
    assert "classes: 0 cat, 1 dog, 2 emu" in caplog.messages
    assert "leakage" in caplog.text
    assert teacher.spec == Spec(64, classes=3, names=("cat", "dog", "emu"))
    loaded = load_teacher(tmp_path / "out" / "teacher.safetensors")
    assert loaded.spec == teacher.spec
    counterfactuals = compose(loaded, 5)
    assert counterfactuals.images.shape == (5, 3, 64, 64)
    assert counterfactuals.shape_labels.max() < 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image_size": 64}, "glyphs are 32 pixels wide, not 64"),
        ({"images": "nowhere"}, "no folder nowhere"),
        ({"images": "TWO", "image_size": 48}, "images of 32 or 64 pixels, not 48"),
    ],
)
def test_sizes_and_folders_that_cannot_be_are_reported(changes, words, tmp_path):
    for name in ("a", "b"):
        (tmp_path / "two" / name).mkdir(parents=True)
        Image.new("L", (9, 9)).save(tmp_path / "two" / name / "0.png")
    changes = {key: str(tmp_path / "two") if value == "TWO" else value for key, value in changes.items()}
    with pytest.raises(UserError, match=words):
        teach(replace(CONFIG, **changes), tmp_path / "out", device="cpu")


def empty(teacher, real, seed):
    return EMPTY


def test_a_collapsed_teacher_is_warned_of_and_stopped(tmp_path, caplog):
    """Warned of after a quarter of the steps, stopped after half."""
    with pytest.raises(TrainingStoppedError, match="step 2: the masks are empty"):
        teach(CONFIG, tmp_path, device="cpu", sample_every=1, check=empty)
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "step 1: the masks are empty (mean 0.00): raise --binary or take another --seed"
    ]


def test_what_a_distortion_collapses_is_warned_of_and_taught_to_its_end(tmp_path, caplog):
    distorted = replace(CONFIG, policy=("shape.noise:1",))
    teach(distorted, tmp_path, device="cpu", sample_every=CONFIG.steps, check=empty)
    assert (tmp_path / "teacher.safetensors").exists()
    assert caplog.messages[-1].startswith(f"step {CONFIG.steps}: the masks are empty")


def test_backgrounds_begin_at_the_mean_colour_and_objects_do_not():
    torch.manual_seed(0)
    cgn = CGN()
    images = torch.tensor([-1.0, 0.2, 0.6])[:, None, None].expand(4, 3, 32, 32)
    start_at(cgn, images)
    pictures = [cgn(m, torch.randn(200, 32), torch.arange(200) % 10) for m in (Mechanism.TEXTURE, Mechanism.BACKGROUND)]
    # before the tanh a batch norm's mean is its offset
    texture, background = (x.atanh().mean((0, 2, 3)) for x in pictures)
    assert torch.allclose(texture, torch.zeros(3), atol=0.01)
    assert torch.allclose(background, torch.tensor([-0.95, 0.2, 0.6]).atanh(), atol=0.01)


def test_expectation_is_the_mean_over_every_crop():
    rng = torch.Generator().manual_seed(0)
    layers = Layers(torch.rand(1, 1, 4, 4, generator=rng), *torch.randn(2, 1, 3, 4, 4, generator=rng))
    crops = [torch.tensor([[i, j]]) for i in range(4) for j in range(4)]
    textures, backgrounds = ([tile_crop(x, crop) for crop in crops] for x in layers[1:])
    composed = [blend(Layers(layers.mask, t, b)) for t in textures for b in backgrounds]
    assert torch.allclose(blend(crop_expectation(layers)), torch.stack(composed).mean(0), atol=1e-6)


def test_a_segmenter_that_saw_composed_images_alone_finds_objects_in_real_ones():
    """Of stripes on checkers it has seen discs, never digits."""
    rows, columns = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    stripes, checkers = ((1 - 2.0 * (x % 2)).expand(16, 3, 32, 32) for x in (rows, rows + columns))
    digits = load_glyphs("digits", "test").images[:16].float()
    digits = (digits > 0.5 * digits.max()).float()
    labels = torch.arange(16) % 10
    torch.manual_seed(0)
    method = Teach(CONFIG, Spec())
    for _ in range(60):
        y, x = torch.randint(8, 24, (2, 16, 1, 1, 1))
        discs = ((rows - y).square() + (columns - x).square() < 49).float()
        loss, masks, dreamt = method.train_segmenter(
            blend(Layers(digits, stripes, checkers)), blend(Layers(discs, stripes, checkers)), discs, labels
        )
    assert ((dreamt > 0.5) == (discs > 0.5)).float().mean() > 0.97
    assert ((masks > 0.5) == (digits > 0.5)).float().mean() > 0.92  # none found: 0.75
    assert loss < 0.2


def test_what_a_segmenter_tells_of_a_pixel_depends_on_the_eleven_around_it():
    torch.manual_seed(0)
    images = torch.randn(1, 3, 32, 32, requires_grad=True)
    Segmenter(Spec()).eval()(images, torch.tensor([3]))[0, 0, 16, 16].backward()
    assert images.grad is not None
    touched = images.grad[0].abs().sum(0).nonzero()
    assert touched.min(0).values.tolist() == [11, 11]
    assert touched.max(0).values.tolist() == [21, 21]


def test_shift_moves_by_at_most_a_pixel_and_repeats_edges():
    image = torch.arange(64.0).reshape(1, 1, 8, 8).repeat(200, 1, 1, 1)
    padded = torch.nn.functional.pad(image[:1], (1, 1, 1, 1), mode="replicate")[0, 0]
    windows = [padded[i : i + 8, j : j + 8] for i in range(3) for j in range(3)]
    torch.manual_seed(0)
    moves = [next(k for k, w in enumerate(windows) if torch.equal(w, moved[0])) for moved in shift(image)]
    assert set(moves) == set(range(9))


def test_the_discriminator_does_not_see_noise_from_pixel_to_pixel():
    rows, columns = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
    checkers = (1 - 2 * ((rows + columns) % 2)).float().expand(20, 3, 16, 16)
    torch.manual_seed(0)
    plain, noisy = (half_resolution(x)[..., 1:-1, 1:-1] for x in (torch.zeros_like(checkers), checkers))
    assert plain.shape == (20, 3, 6, 6)
    assert torch.equal(plain, noisy)


def test_a_folder_with_a_class_of_one_picture_is_logged_as_json(tmp_path, caplog):
    caplog.set_level("INFO")
    for name, count in (("a", 3), ("b", 1)):
        (tmp_path / "two" / name).mkdir(parents=True)
        for index in range(count):
            Image.new("RGB", (32, 32), (80 * index, 9, 9)).save(tmp_path / "two" / name / f"{index}.png")
    teach(replace(CONFIG, images=str(tmp_path / "two")), tmp_path / "out", device="cpu", sample_every=2)
    lines = (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()
    checked = [line for line in (json.loads(line, parse_constant=pytest.fail) for line in lines) if "leakage" in line]
    assert len(checked) == 2
    assert all(0 < line["diversity"] < float("inf") for line in checked)
    assert sum("collisions of classes are not reported" in message for message in caplog.messages) == 1
