"""Photographs: composed without tiles or crops; one noise for three mechanisms; textures that follow their shapes."""

from functools import partial
from itertools import pairwise

import pytest
import torch

from skdcgn.base.errors import UserError
from skdcgn.base.seeds import generator
from skdcgn.cgn.compose import compose
from skdcgn.cgn.drawer import draw
from skdcgn.cgn.inputs import sample_inputs
from skdcgn.cgn.layers import Composition, blend
from skdcgn.cgn.mechanism import Layers, Mechanism, Spec
from skdcgn.cgn.policy import parse_policy
from skdcgn.data.counterfactuals import stream_from_cgn
from skdcgn.deploy.generate import write_counterfactuals
from skdcgn.evaluation.attribution import render, run_trial
from skdcgn.teachers.cgn import CGNTeacher
from skdcgn.teachers.cgn_imagenet import random_cgn

SIDE = 16
TILES, PHOTOS = (Spec(SIDE, noise_dim=2, classes=5, tiles=tiles) for tiles in (True, False))
HALF = 0.5  # of the masks below are smaller than this, on average


class Landscapes:
    """Pictures from bright sky above to dark rocks below; their tone and masks depend on noise and label."""

    digest, size = "landscapes", None

    def __init__(self, spec):
        self.spec, self.queries = spec, []

    def query(self, mechanism, noise, labels):
        self.queries.append((mechanism, noise, labels))
        tone = (noise.sum(1).tanh() + labels / self.spec.classes)[:, None, None, None] / 8
        if mechanism == Mechanism.SHAPE:
            return (HALF + tone).expand(-1, 1, SIDE, SIDE)
        return (torch.linspace(0.7, -0.7, SIDE)[:, None] + tone).expand(-1, 3, SIDE, SIDE)

    def inputs(self, mechanism):
        """Noise and labels of all queries of a mechanism, in their order."""
        parts = [(noise, labels) for name, noise, labels in self.queries if name == mechanism]
        return [torch.cat(columns) for columns in zip(*parts, strict=True)]


def greatest_step(images):
    """Greatest difference of a pixel and the one below it: a seam of tiles shows in it."""
    return float((images[..., 1:, :] - images[..., :-1, :]).abs().max())


def test_a_horizon_has_no_seam():
    step = 1.4 / (SIDE - 1)
    assert greatest_step(compose(Landscapes(PHOTOS), 64).images) == pytest.approx(step, abs=1e-5)
    assert greatest_step(compose(Landscapes(TILES), 64).images) > 5 * step  # so the measure sees one


@pytest.mark.parametrize("cgn", [Landscapes(PHOTOS), "imagenet"])
def test_a_photograph_is_the_blend_of_the_answers(cgn):
    if cgn == "imagenet":
        cgn = CGNTeacher(random_cgn(64, 6, 3, width=4, u2net=(2, 4)), "random")
    answers = {}

    class Recorder:
        spec, digest, size = cgn.spec, "recorder", None

        def query(self, mechanism, noise, labels):
            answers[mechanism] = cgn.query(mechanism, noise, labels)
            return answers[mechanism]

    composed = compose(Recorder(), 3, seed=1)
    assert torch.equal(composed.images, blend(Layers(*(answers[mechanism] for mechanism in Mechanism))))
    inputs = sample_inputs(cgn.spec, 2, generator("same"))
    layers = Layers(*(cgn.query(mechanism, *inputs.query(mechanism)) for mechanism in Mechanism))
    assert torch.equal(render(cgn, inputs), blend(layers))


def test_photographs_have_inputs_without_offsets():
    inputs = sample_inputs(PHOTOS, 4, generator("inputs"))
    assert list(inputs.tensors) == [f"{m}_{part}" for part in ("noise", "labels") for m in Mechanism]
    assert len(sample_inputs(TILES, 4, generator("inputs")).tensors) == 8
    images = Composition(partial(draw, Landscapes(PHOTOS)))(*inputs.tensors.values())
    assert torch.equal(images, render(Landscapes(PHOTOS), inputs))
    assert greatest_step(run_trial(Landscapes(PHOTOS), 8).images) < 0.1


@pytest.mark.parametrize("per_shape", [1, 3])
def test_shared_noise_is_one_noise_and_independent_labels(per_shape):
    shared, own = Landscapes(PHOTOS), Landscapes(PHOTOS)
    images = compose(shared, 3000, per_shape=per_shape, shared_noise=True, seed=2).to_dict()
    plain = compose(own, 3000, per_shape=per_shape, seed=2).to_dict()
    rows = torch.arange(3000) // per_shape
    for mechanism in (Mechanism.TEXTURE, Mechanism.BACKGROUND):
        assert torch.equal(shared.inputs(mechanism)[0], shared.inputs(Mechanism.SHAPE)[0][rows])
        assert not torch.equal(own.inputs(mechanism)[0], own.inputs(Mechanism.SHAPE)[0][rows])
    for name in ("shape_labels", "texture_labels", "background_labels"):  # of the same distribution: the same
        assert torch.equal(images[name], plain[name])
    assert not torch.equal(images["images"], plain["images"])


def accept(masks, labels):
    return masks.mean((1, 2, 3)) > HALF


@pytest.mark.parametrize("filtered", [None, accept])
@pytest.mark.parametrize("policy", [("texture.whole:1",), ("shape.relabel:0.5", "texture.freeze:2", "texture.whole:1")])
def test_a_whole_object_has_noise_and_label_of_its_final_mask(policy, filtered):
    cgn = Landscapes(PHOTOS)
    composed = compose(cgn, 90, per_shape=3, policy=policy, accept=filtered, seed=4)
    noise, labels = cgn.inputs(Mechanism.TEXTURE)
    masks = cgn.query(Mechanism.SHAPE, noise, labels)
    assert len(noise[::3].unique(dim=0)) == 30
    assert torch.equal(noise, noise[::3].repeat_interleave(3, 0))
    assert torch.equal(composed.texture_labels, labels)
    if filtered:
        assert float(accept(masks, labels).float().mean()) > 0.9  # some are rejected at the last try too
    else:
        assert torch.equal(noise[::3], cgn.inputs(Mechanism.SHAPE)[0][:30])
    background = cgn.query(Mechanism.BACKGROUND, *cgn.inputs(Mechanism.BACKGROUND))
    texture = cgn.query(Mechanism.TEXTURE, noise, labels)
    assert torch.equal(composed.images, blend(Layers(masks, texture, background)))


def test_shared_noise_follows_redrawn_masks():
    cgn = Landscapes(PHOTOS)
    compose(cgn, 40, accept=accept, shared_noise=True)
    noise = cgn.inputs(Mechanism.BACKGROUND)[0]
    first, redrawn = cgn.inputs(Mechanism.SHAPE)[0].split([40, len(cgn.inputs(Mechanism.SHAPE)[0]) - 40])
    kept = (noise == first).all(1)
    assert 5 < int(kept.sum()) < 35
    assert all(bool((redrawn == one).all(1).any()) for one in noise[~kept])


def test_a_share_of_the_objects_is_whole_and_the_others_do_not_depend_on_it():
    plain, whole = (compose(Landscapes(PHOTOS), 2000, policy=policy) for policy in ((), ("texture.whole:0.4",)))
    same = (plain.images == whole.images).flatten(1).all(1)
    assert abs(float(same.float().mean()) - 0.6) < 0.05  # four deviations
    assert torch.equal(whole.texture_labels[~same], whole.shape_labels[~same])
    assert torch.equal(whole.background_labels, plain.background_labels)
    words = ("texture.correlate:0.3", "texture.whole:0.4")
    tied, both = (compose(Landscapes(PHOTOS), 2000, policy=policy) for policy in (words[:1], words))
    assert torch.equal((tied.images == both.images).flatten(1).all(1), same)


def test_textures_alone_can_be_whole():
    with pytest.raises(UserError, match=r"unknown intervention 'background\.whole'"):
        parse_policy(["background.whole:1"], 5)


def test_streams_and_files_hold_what_compose_returns(tmp_path):
    cgn, words = Landscapes(PHOTOS), ("texture.whole:0.5",)
    write_counterfactuals(cgn, tmp_path, 5, policy=words, shared_noise=True, form="png")
    streams = [stream_from_cgn(cgn, 4, policy=words, shared_noise=shared) for shared in (False, True)]
    images = [stream.at(0).images for stream in (stream_from_cgn(cgn, 4), *streams)]
    assert not any(torch.equal(one, other) for one, other in pairwise(images))
    origins = [stream.origin for stream in (stream_from_cgn(cgn, 4), *streams)]
    assert origins == ["landscapes", "landscapes texture.whole:0.5", "landscapes texture.whole:0.5 shared noise"]
    with pytest.raises(UserError, match=r"did you mean texture\.whole"):
        stream_from_cgn(cgn, 4, policy=["texture.whale:1"])


def test_a_blur_of_photographs_does_not_wrap():
    cgn, words = Landscapes(PHOTOS), ["texture.blur:2", "background.blur:2"]
    tiled, photographs = (compose(cgn, 30, policy=words).images for cgn in (Landscapes(TILES), cgn))
    assert greatest_step(photographs) < 1.4 / (SIDE - 1)
    assert greatest_step(tiled) > 0.15
    even = Layers(*(torch.full((2, channels, 8, 8), 0.6) for channels in (1, 3, 3)))
    blurred = parse_policy(["texture.blur:3"], 5, tiles=False).layers(even, generator(0))
    assert torch.allclose(blurred.texture, even.texture)  # no black from outside
    masks = [parse_policy(["shape.blur:3"], 5, tiles=tiles).layers(even, generator(0)).mask for tiles in (True, False)]
    assert torch.equal(*masks)
