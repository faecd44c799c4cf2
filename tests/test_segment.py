"""Masks of photographs: by networks, by the user, by alpha channels; resumed, shared, judged and shown."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from skdcgn.base.errors import UserError
from skdcgn.base.progress import silent
from skdcgn.base.rank import Rank
from skdcgn.data.folders import list_photos
from skdcgn.data.mask_sources import Saliency, by_saliency, from_alpha, from_masks, stretch
from skdcgn.data.masks import MaskState, list_masked, mask_state, read_mask, usable_photos
from skdcgn.data.segment import segment
from skdcgn.features.saliency import load_saliency, mask_source
from skdcgn.features.u2net import U2Net, Width, calm, folded, standardise, u2net_from

TINY = (Width(2, 4),) * 11


def draw_photos(folder, count=3, size=(60, 40)):
    """Red discs on blue; the second class has its objects to the left."""
    y, x = np.mgrid[: size[1], : size[0]]
    for label, name in enumerate(("ball", "disc")):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            inside = (x - 30 + 8 * label) ** 2 + (y - 20) ** 2 < (8 + index) ** 2
            pixels = np.where(inside[..., None], (230, 30, 30), (20, 30, 200)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")
    return folder


def red(pictures):
    """A network: how much more red than blue a pixel is."""
    return (pictures[:, :1] - pictures[:, 2:]).sub(1.0).sigmoid()


def by_red(size=48):
    return by_saliency(Saliency("red", "0" * 64, red), size)


def opened(path):
    with Image.open(path) as image:
        image.load()
    return image


def masks_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.png"))}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return draw_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def segmented(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("masks") / "masks"
    return out, segment(photos, out, by_red(), size=48)


def test_masks_show_the_object_in_the_ratio_of_the_photograph(photos, segmented):
    out, segmentation = segmented
    mask = np.asarray(opened(out / "ball" / "2.png"))
    pixels = np.asarray(opened(photos / "ball" / "2.png").resize((48, 32)))
    assert mask.shape == (32, 48)
    assert np.abs(mask / 255 - (pixels[..., 0] > 125)).mean() < 0.05
    assert str(segmentation) == "6 photographs: 6 usable masks; left out: 0 empty, 0 full, 0 faint, 0 border"
    assert len(list_masked(list_photos(photos), out)) == 6
    assert opened(out / "contact.png").size[0] > 1000


def test_a_killed_segmentation_goes_on_and_ranks_share_it(photos, segmented, tmp_path):
    out, _ = segmented
    segment(photos, tmp_path / "m", by_red(), size=48, rank=Rank(1, 2))
    assert not masks_of(tmp_path / "m")  # one batch holds all six
    segment(photos, tmp_path / "m", by_red(), size=48, rank=Rank(0, 2))
    assert masks_of(tmp_path / "m") == masks_of(out)
    (tmp_path / "m" / "disc" / "1.png").unlink()
    segment(photos, tmp_path / "m", by_red(), size=48, watch=silent)
    assert masks_of(tmp_path / "m") == masks_of(out)


def test_finished_masks_are_kept_and_those_of_changed_photographs_are_made_again(tmp_path):
    photos, out = draw_photos(tmp_path / "photos", 1), tmp_path / "masks"
    segment(photos, out, by_red(), size=48)
    Image.new("L", (48, 32), 200).save(out / "ball" / "0.png")  # retouched
    opened(photos / "disc" / "0.png").transpose(Image.Transpose.ROTATE_180).save(photos / "disc" / "0.png")
    old = (out / "disc" / "0.png").read_bytes()
    segment(photos, out, by_red(), size=48)
    assert opened(out / "ball" / "0.png").getextrema() == (200, 200)
    assert (out / "disc" / "0.png").read_bytes() != old


def test_other_masks_are_refused(photos, segmented, tmp_path):
    out, _ = segmented
    with pytest.raises(UserError, match="holds masks by red of 48 pixels, not by red of 64"):
        segment(photos, out, by_red(64), size=64)
    (tmp_path / "ball").mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "ball" / "0.png")
    with pytest.raises(UserError, match="was not written by skdcgn segment"):
        segment(photos, tmp_path, by_red(), size=48)
    with pytest.raises(UserError, match="rank 2 of 2"):
        segment(photos, out, by_red(), size=48, rank=Rank(2, 2))
    with pytest.raises(UserError, match="lies in"):
        segment(photos, photos / "masks", by_red())


def test_two_photographs_of_one_name_are_refused(tmp_path):
    photos = draw_photos(tmp_path / "photos", 1)
    Image.new("RGB", (9, 9)).save(photos / "ball" / "0.jpg")
    with pytest.raises(UserError, match=r"0\.jpg and .*0\.png would share one mask"):
        segment(photos, tmp_path / "m", by_red())


def test_own_masks_and_alpha_channels(photos, segmented, tmp_path):
    out, _ = segmented
    again = segment(photos, tmp_path / "own", from_masks(out), size=48)
    assert masks_of(tmp_path / "own") == masks_of(out)
    assert len(again.usable) == 6
    for file in out.glob("*/*.png"):
        cut = opened(photos / file.relative_to(out)).resize((48, 32))
        cut.putalpha(opened(file))
        (tmp_path / "cut" / file.parent.name).mkdir(parents=True, exist_ok=True)
        cut.save(tmp_path / "cut" / file.relative_to(out))
    segment(tmp_path / "cut", tmp_path / "alpha", from_alpha(), size=48)
    for file in out.glob("*/*.png"):
        assert np.array_equal(opened(tmp_path / "alpha" / file.relative_to(out)), opened(file))
    cut_out_masks = segment(photos, tmp_path / "from cut", from_masks(tmp_path / "cut"), size=48)
    assert len(cut_out_masks.usable) == 6


def test_the_verb_says_how_many_masks_are_usable(photos, segmented, tmp_path, skdcgn):
    status, output, _ = skdcgn("segment", photos, "--masks", segmented[0], "--out", tmp_path / "m", "--size", 48)
    assert (status, output.splitlines()[0]) == (
        0,
        "6 photographs: 6 usable masks; left out: 0 empty, 0 full, 0 faint, 0 border",
    )
    assert masks_of(tmp_path / "m") == masks_of(segmented[0])


def test_own_masks_that_do_not_fit_are_named(photos, tmp_path):
    (tmp_path / "ball").mkdir()
    Image.new("L", (40, 40), 255).save(tmp_path / "ball" / "1.png")
    with pytest.raises(UserError, match=r"1\.png has \(40, 40\) pixels"):
        segment(photos, tmp_path / "out", from_masks(tmp_path))
    Image.new("L", (60, 40), 1).save(tmp_path / "ball" / "1.png")
    with pytest.raises(UserError, match="multiply them by 255"):
        segment(photos, tmp_path / "out2", from_masks(tmp_path))
    with pytest.raises(UserError, match="no alpha channel"):
        segment(photos, tmp_path / "out3", from_alpha())
    with pytest.raises(UserError, match="two sources"):
        mask_source("u2netp", 48, masks=tmp_path, alpha=True)


def test_maps_are_stretched_only_where_they_show_an_object():
    maps = torch.tensor([[0.1, 0.6], [0.01, 0.3], [0.7, 0.9]])[:, None, None]
    assert torch.allclose(stretch(maps)[:, 0, 0], torch.tensor([[0.0, 1.0], [0.01, 0.3], [0.7, 0.9]]))


def test_norms_that_convolutions_take_up_change_nothing(tmp_path):
    torch.manual_seed(0)
    pictures = torch.randn(2, 3, 40, 40)
    network = U2Net(TINY, aligned=False)
    calm(network, 0.1)
    standardise(network, pictures, -1.0, 2.0)
    torch.save(network.state_dict(), tmp_path / "u2net.pth")
    expected = network(pictures)
    assert torch.allclose(load_saliency(tmp_path / "u2net.pth").network(pictures), expected, atol=1e-4)
    state = folded(network).state_dict()
    assert not any("bn_s1" in name for name in state)
    assert torch.allclose(u2net_from(state, "it", aligned=False).eval()(pictures), expected, atol=1e-4)


def test_an_unknown_saliency_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no saliency 'u2nett': use u2netp, a \.pth file of U2-Net or an \.onnx file"):
        load_saliency("u2nett")


def onnx_saliency(path, side, *, logits=False, channels=1):
    from onnx import TensorProto, helper, save

    nodes = [helper.make_node("ReduceMean", ["x"], ["m"], axes=[1], keepdims=1)]
    nodes += [helper.make_node("Identity" if logits else "Sigmoid", ["m"], ["y"])]
    ins = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, side, side])]
    outs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, channels, side, side])]
    model = helper.make_model(helper.make_graph(nodes, "g", ins, outs), opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    save(model, path)
    return path


def test_an_onnx_file_of_fixed_size_is_run_one_by_one_and_its_logits_are_shares(photos, tmp_path):
    pytest.importorskip("onnxruntime")
    pictures = torch.randn(3, 3, 32, 32)
    shares = load_saliency(onnx_saliency(tmp_path / "shares.onnx", 32))
    logits = load_saliency(onnx_saliency(tmp_path / "logits.onnx", 32, logits=True))
    assert shares.side == 32
    assert torch.allclose(shares.network(pictures), pictures.mean(1, keepdim=True).sigmoid(), atol=1e-6)
    assert torch.allclose(logits.network(pictures), shares.network(pictures), atol=1e-6)
    segment(photos, tmp_path / "m", by_saliency(shares), size=40)
    assert opened(tmp_path / "m" / "ball" / "0.png").size == (40, 27)


def test_u2netp_of_the_package_of_the_state_dict_and_of_onnx_runtime_agree():
    """At 320 x 320, the one size of the package's file: the greatest difference of the maps is below 1e-4."""
    pytest.importorskip("onnxruntime")
    from importlib.metadata import PackageNotFoundError, distribution

    from skdcgn.features.saliency import FILE, PACKAGE

    try:
        file = Path(str(distribution(PACKAGE).locate_file(FILE)))
    except PackageNotFoundError:
        pytest.skip(f"{PACKAGE} is not installed")
    pictures = torch.randn(1, 3, 320, 320, generator=torch.Generator().manual_seed(0))
    package, runtime = load_saliency("u2netp"), load_saliency(file)
    assert runtime.side == 320
    assert float((package.network(pictures) - runtime.network(pictures)).abs().max()) < 1e-4
    state = Path(os.environ.get("SKDCGN_TEACHERS", "")) / "u2netp.pth"
    if not state.is_file():
        pytest.skip("set SKDCGN_TEACHERS to a folder with u2netp.pth to compare it too")
    small = pictures[..., :64, :96]
    assert float((load_saliency(state).network(small) - package.network(small)).abs().max()) < 1e-4


def test_states_of_masks(segmented, photos):
    out, _ = segmented
    size = 64
    square = torch.zeros(1, size, size, dtype=torch.uint8)
    assert mask_state(square) is MaskState.EMPTY
    assert mask_state(square + 255) is MaskState.FULL
    square[:, 16:48, 16:48] = 255
    assert mask_state(square) is MaskState.USABLE
    assert mask_state(square // 8 * 5) is MaskState.FAINT
    assert mask_state(square // 16) is MaskState.EMPTY
    assert mask_state(255 - square // 2) is MaskState.FULL
    ring = torch.full_like(square, 255)
    ring[:, 8:-8, 8:-8] = 0
    assert mask_state(ring) is MaskState.BORDER
    usable, counts = usable_photos(list_masked(list_photos(photos), out))
    assert (len(usable), counts[MaskState.USABLE]) == (6, 6)
    assert read_mask(Path(usable.masks[0]), 32).shape == (1, 32, 32)
