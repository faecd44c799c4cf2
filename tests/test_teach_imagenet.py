"""Teaching a CGN of photographs: each loss reaches its own mechanism, batches accumulate, a killed run goes on."""

from dataclasses import replace

import pytest
import torch

from skdcgn.base.config import Network, TeachImageNetConfig
from skdcgn.base.errors import UserError
from skdcgn.base.presets import IMAGENET_TEACHERS
from skdcgn.base.seeds import generator
from skdcgn.base.weights import on_meta, parameter_count
from skdcgn.cgn.mechanism import Mechanism
from skdcgn.features.u2net import FULL, U2Net
from skdcgn.teachers.biggan import BigGAN
from skdcgn.teachers.cgn_imagenet import NETWORKS, baseline
from skdcgn.teachers.load import load_teacher
from skdcgn.teachers.teach_imagenet import TeachImageNet, begin, middle, mosaic_sizes, teach_imagenet
from skdcgn.teachers.tinygan import TinyGAN
from skdcgn.training import losses
from skdcgn.training.loop import Step

SMOKE = IMAGENET_TEACHERS["imagenet-smoke"]
OFF = dict.fromkeys(("reconstruction", "perceptual", "binary", "mask", "texture", "background"), 0.0)


def method_with(**changes):
    torch.manual_seed(0)
    config = replace(SMOKE, **changes)
    cgn, real, _ = begin(config)
    return TeachImageNet(config, cgn, real)


def some(count=4, classes=16, noise_dim=16):
    noise = torch.randn(count, noise_dim, generator=generator("noise")).clamp(-2, 2)
    return {"noise": noise, "labels": torch.arange(count) % classes}


def gradients(method, batch):
    torch.manual_seed(1)
    for name in method.optimizers:
        method.optimizers[name].step = lambda: None
    method.step(batch, Step())
    cgn = method.modules["cgn"]
    return {
        m: torch.cat([p.grad.flatten() for p in cgn.get_submodule(NETWORKS[m]).parameters() if p.grad is not None])
        for m in Mechanism
        if any(p.grad is not None for p in cgn.get_submodule(NETWORKS[m]).parameters())
    }


@pytest.mark.parametrize(
    ("loss", "mechanisms"),
    [
        ("binary", {Mechanism.SHAPE}),
        ("mask", {Mechanism.SHAPE}),
        ("texture", {Mechanism.TEXTURE}),
        ("background", {Mechanism.BACKGROUND}),
        ("reconstruction", set(Mechanism)),
        ("perceptual", set(Mechanism)),
    ],
)
def test_each_loss_moves_its_own_mechanisms(loss, mechanisms):
    method = method_with(**{**OFF, loss: 10.0})
    if loss == "mask":  # is zero within its range, where random masks are
        with torch.no_grad():
            method.modules["cgn"].u2net.outconv.bias.sub_(20.0)
    by_mechanism = gradients(method, some())
    assert {m for m, gradient in by_mechanism.items() if gradient.abs().max() > 0} == mechanisms


def test_rates_are_the_mechanisms_own():
    method = method_with()
    assert method.rates == {"shape": 8e-6, "texture": 3e-5, "background": 1e-5}
    assert not any(p.requires_grad for p in method.modules["cgn"].u2net.parameters())
    assert not any(p.requires_grad for p in method.frozen["real"].parameters())


def test_accumulated_batches_have_the_gradient_of_the_whole(monkeypatch):
    """But for the mosaic, which is drawn at random; in double precision, for random U-Nets magnify rounding."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    results = []
    for size in (5, 2):  # the last of the smaller batches is one image
        method, batch = method_with(batch_size=size, texture=0.0), some(5)
        for module in (*method.modules.values(), *method.frozen.values()):
            module.double()
        results.append(gradients(method, {**batch, "noise": batch["noise"].double()}))
    for mechanism in Mechanism:
        torch.testing.assert_close(results[0][mechanism], results[1][mechanism])


def test_checkpointing_changes_no_gradient():
    plain, checkpointed = (gradients(method_with(texture=0.0, checkpointing=way), some()) for way in (False, True))
    for mechanism in Mechanism:
        torch.testing.assert_close(checkpointed[mechanism], plain[mechanism])


def test_bfloat16_points_the_same_way():
    plain, rounded = (
        gradients(method_with(**{**OFF, "reconstruction": 100.0}, bf16=way), some()) for way in (False, True)
    )
    for mechanism in (Mechanism.TEXTURE, Mechanism.BACKGROUND):  # the other's goes through a random U-Net
        assert torch.cosine_similarity(rounded[mechanism], plain[mechanism], dim=0) > 0.9
        assert not torch.equal(rounded[mechanism], plain[mechanism])


def test_a_mosaic_is_made_of_the_object_alone():
    images, mask = torch.zeros(2, 3, 32, 32), torch.zeros(2, 1, 32, 32)
    images[0, :, :16, :16], mask[0, :, :16, :16] = torch.rand(3, 16, 16) + 1, 1.0
    images[1, :, 8:, 8:], mask[1, :, 8:, 8:] = 7.0, 1.0
    mosaic = losses.patch_mosaic(images, mask, patch=8, grid=3, best=9)
    assert mosaic.shape == (2, 3, 24, 24)
    assert (mosaic[0] >= 1).all()
    assert (mosaic[1] == 7).all()


def test_patches_of_a_mosaic_lie_in_the_image_as_they_are():
    image = torch.arange(16.0 * 16).reshape(1, 1, 16, 16).expand(1, 3, 16, 16)
    mosaic = losses.patch_mosaic(image, torch.ones(1, 1, 16, 16), patch=4, grid=2, best=100)
    for row in (0, 4):
        for column in (0, 4):
            top, left = divmod(int(mosaic[0, 0, row, column]), 16)
            assert torch.equal(mosaic[0, :, row : row + 4, column : column + 4], image[0, :, top:, left:][:, :4, :4])


def test_sizes_of_the_mosaic_keep_the_published_proportion():
    assert mosaic_sizes(256) == mosaic_sizes(128) == (128, 15)
    assert mosaic_sizes(64) == (64, 8)
    assert [len(middle(range(n))) for n in (1, 2, 3, 4)] == [1, 2, 1, 2]


@pytest.mark.slow
@pytest.mark.parametrize("network", Network)
def test_a_killed_run_ends_with_the_same_bytes_and_loads_as_a_teacher(network, tmp_path, caplog):
    config = replace(SMOKE, network=network, save_every=1, steps=2)

    def kill(record):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        teach_imagenet(config, tmp_path / "killed", device="cpu", callbacks=(lambda r: r.step == 2 and kill(r),))
    with caplog.at_level("INFO", "skdcgn"):
        taught = teach_imagenet(config, tmp_path / "killed", device="cpu", sample_every=2)
    assert caplog.messages[0].startswith("step 2: mean mask 0.")
    whole = teach_imagenet(config, tmp_path / "whole", device="cpu")
    assert taught.digest == whole.digest
    assert (tmp_path / "killed" / "samples-000002.png").exists()
    loaded = load_teacher(tmp_path / "whole" / "teacher.safetensors")
    noise, labels = loaded.spec.sample_noise(3, generator("query")), torch.tensor([0, 7, 15])
    start = load_teacher("imagenet-smoke")
    for mechanism in Mechanism:
        images = loaded.query(mechanism, noise, labels)
        torch.testing.assert_close(images, taught.query(mechanism, noise, labels))
        assert not torch.allclose(images, start.query(mechanism, noise, labels))
    assert isinstance(loaded.cgn.f_text, TinyGAN if network is Network.TINYGAN else BigGAN)


@pytest.mark.slow
def test_a_few_steps_of_the_baseline_lower_the_loss():
    method = method_with(network=Network.TINYGAN, shape_rate=3e-3, texture_rate=3e-3, background_rate=3e-3, width=4)
    losses_by_step = [sum(method.step(some(8), Step()).values()) for _ in range(8)]
    assert min(losses_by_step[-3:]) < 0.8 * losses_by_step[0]


def test_the_baseline_begins_with_biggans_embeddings_and_has_the_published_size():
    biggan = BigGAN(64, 16, 10, 8)
    begun = baseline(biggan, U2Net(), width=2)
    assert torch.equal(begun.f_bg.embed.weight, biggan.embeddings.weight.T)
    tiny = on_meta(TinyGAN)
    assert round(3 * parameter_count(tiny) / 1e6, 1) == 18.7  # what is published of the three
    assert parameter_count(on_meta(U2Net, FULL)) == 44_009_869


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"biggan": "x.bin"}, "pass both"),
        ({"start": "double-colored-digits"}, "is no CGN of BigGANs: begin with initial-imagenet"),
        ({"start": "nowhere"}, "no teacher 'nowhere'"),
    ],
)
def test_a_wrong_start_is_reported(changes, words):
    with pytest.raises(UserError, match=words):
        begin(replace(SMOKE, **changes))


def test_the_presets_begin_with_the_published_parts():
    assert TeachImageNetConfig() == replace(IMAGENET_TEACHERS["imagenet"], start="imagenet-smoke")
    assert IMAGENET_TEACHERS["imagenet-tinygan"].network is Network.TINYGAN
    assert {IMAGENET_TEACHERS[name].start for name in ("imagenet", "imagenet-tinygan")} == {"initial-imagenet"}


def test_the_command_line_teaches(tmp_path, skdcgn):
    status, said, err = skdcgn("teach", "imagenet-smoke", "--out", tmp_path, "--steps", "1", "--device", "cpu")
    assert (status, said) == (0, f"teacher: {tmp_path / 'teacher.safetensors'}\n"), err
