"""Files of counterfactuals: what they hold is checked when they are opened, images come from the disk as needed."""

import json
import subprocess
import sys

import pytest
import torch

from skdcgn.base.config import ClassifyConfig
from skdcgn.base.errors import UserError
from skdcgn.base.tensors import write_tensors
from skdcgn.cgn.compose import compose
from skdcgn.cgn.mechanism import Spec
from skdcgn.classifiers.small_cnn import classify
from skdcgn.data.counterfactual_file import read_counterfactuals
from skdcgn.data.counterfactuals import stream_from_file
from skdcgn.data.images import LabelledImages
from skdcgn.deploy.generate import write_counterfactuals


@pytest.fixture(scope="module")
def tensors(analytic_teacher):
    return compose(analytic_teacher, 40, seed=3).to_dict()


def damaged(tensors, **changes):
    return {name: changes.get(name, tensor.clone()) for name, tensor in tensors.items()}


def with_pixel(tensors, value):
    images = tensors["images"].clone()
    images[17, 1, 3, 5] = value
    return damaged(tensors, images=images)


WRONG = {
    "bytes": (lambda t: damaged(t, images=((t["images"] + 1) * 127).to(torch.uint8)), "images are of type U8, not F32"),
    "half precision": (lambda t: damaged(t, images=t["images"].half()), "images are of type F16, not F32"),
    "two pixels": (lambda t: damaged(t, images=t["images"][..., :2, :2].contiguous()), r"shape \(40, 3, 2, 2\), not"),
    "no square": (lambda t: damaged(t, images=t["images"][..., :20].contiguous()), r"shape \(40, 3, 32, 20\), not"),
    "grey": (lambda t: damaged(t, images=t["images"][:, :1].contiguous()), r"shape \(40, 1, 32, 32\), not"),
    "one image": (lambda t: damaged(t, images=t["images"][0].clone()), r"shape \(3, 32, 32\), not"),
    "no image": (lambda t: {n: x[:0].clone() for n, x in t.items()}, r"shape \(0, 3, 32, 32\), not"),
    "fewer labels": (lambda t: damaged(t, texture_labels=t["texture_labels"][:39].clone()), r"\(39,\), not \(40,\)"),
    "short labels": (lambda t: damaged(t, shape_labels=t["shape_labels"].int()), "labels are of type I32, not I64"),
    "columns": (lambda t: damaged(t, shape_labels=t["shape_labels"][:, None].clone()), r"\(40, 1\), not \(40,\)"),
    "huge labels": (lambda t: damaged(t, shape_labels=t["shape_labels"] + 10**9), "labels run from 1000000000 to"),
    "negative labels": (lambda t: damaged(t, background_labels=t["background_labels"] - 1), "labels run from -1 to 8"),
    "NaN": (lambda t: with_pixel(t, float("nan")), "images 0 to 39 run from nan to nan"),
    "infinity": (lambda t: with_pixel(t, float("inf")), "images 0 to 39 run from .* to inf, not from -1 to 1"),
    "levels": (lambda t: with_pixel(t, 255.0), "images 0 to 39 run from .* to 255, not from -1 to 1"),
    "no labels": (lambda t: {"images": t["images"]}, "background_labels, shape_labels, texture_labels is missing"),
}  # fmt: skip


@pytest.mark.parametrize("read", [read_counterfactuals, lambda path: stream_from_file(path, 2)])
@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_set_of_counterfactuals_is_refused_by_name(wrong, read, tensors, tmp_path):
    change, words = WRONG[wrong]
    path = tmp_path / "set.safetensors"
    write_tensors(path, change(tensors))
    with pytest.raises(UserError, match=rf"{path}.*{words}") as error:
        read(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (Spec(classes=4), "labels run from 0 to 9, beyond the classes 0 to 3"),
        (Spec(image_size=64), "images have 32 pixels a side, its CGN drew 64"),
    ],
)
def test_a_set_that_its_spec_contradicts_is_refused(spec, words, tensors, tmp_path):
    path = tmp_path / "set.safetensors"
    write_tensors(path, tensors, spec.to_metadata())
    with pytest.raises(UserError, match=words):
        read_counterfactuals(path)


def test_a_spec_that_is_none_is_refused(tensors, tmp_path):
    write_tensors(tmp_path / "set.safetensors", tensors, {"spec": json.dumps({"classes": "ten"})})
    with pytest.raises(UserError, match=r"set\.safetensors.*classes"):
        read_counterfactuals(tmp_path / "set.safetensors")


def test_rows_are_those_of_the_set_with_its_classes(analytic_teacher, tensors, tmp_path):
    path, _ = write_counterfactuals(analytic_teacher, tmp_path, 40, seed=3)
    file, rows = read_counterfactuals(path), torch.tensor([3, 39, 3, 0])
    assert len(file) == 40
    assert file.classes("it").count == 10
    assert torch.equal(file.rows(rows).images, tensors["images"][rows])
    assert torch.equal(file.rows(rows).labels, tensors["shape_labels"][rows])
    assert all(torch.equal(x, tensors[name][rows]) for name, x in file.counterfactuals(rows).to_dict().items())


def test_a_classifier_of_a_file_is_that_of_the_same_images_in_memory(analytic_teacher, tensors, tmp_path):
    path, _ = write_counterfactuals(analytic_teacher, tmp_path, 40, seed=3)
    memory = LabelledImages(tensors["images"], tensors["shape_labels"], class_count=10)
    for name, data in (("file", read_counterfactuals(path)), ("memory", memory)):
        classify(data, ClassifyConfig(epochs=2, batch_size=16), tmp_path / name, device="cpu", origin="same")
    one, other = ((tmp_path / name / "checkpoint.safetensors").read_bytes() for name in ("file", "memory"))
    assert one == other


def test_a_file_that_is_replaced_under_a_reader_is_refused(analytic_teacher, tmp_path):
    path, _ = write_counterfactuals(analytic_teacher, tmp_path, 5)
    file = read_counterfactuals(path)
    write_counterfactuals(analytic_teacher, tmp_path, 5, seed=1)
    with pytest.raises(UserError, match="was replaced while it was read"):
        file.rows(torch.tensor([0]))


MEMORY = """
import resource, sys, torch
from pathlib import Path
from skdcgn.cgn.mechanism import Spec
from skdcgn.data.counterfactual_file import read_counterfactuals
from skdcgn.deploy.generate import write_counterfactuals

class Plain:
    spec, digest, size = Spec(), "plain", None
    def query(self, mechanism, noise, labels):
        return noise[:, :1, None, None].sigmoid().repeat(1, 1 if mechanism == "shape" else 3, 32, 32)

def use(count):
    path, _ = write_counterfactuals(Plain(), Path(sys.argv[1]), count)
    file = read_counterfactuals(path)
    for rows in torch.randperm(count)[:4096].split(64):
        file.rows(rows)
    path.unlink()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

print(use(4096), use(16384))
"""


def test_memory_does_not_grow_with_the_number_of_counterfactuals(tmp_path):
    words = subprocess.check_output([sys.executable, "-c", MEMORY, tmp_path], text=True).split()
    few, many = map(int, words)  # MiB at most, while 48 and 192 MiB of images were written, checked and read
    assert many - few < 24
