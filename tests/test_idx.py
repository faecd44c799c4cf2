"""idx files: what is written is read, what is damaged is named, and mirrors are tried in turn."""

import gzip
import os
import struct

import numpy as np
import pytest

from skdcgn.data.idx import CHECKSUMS, FILES, MIRRORS, load_idx_folder, mnist_folder, read_idx
from skdcgn.errors import UserError

RNG = np.random.default_rng(0)


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_folder(folder, *, zipped=True, labels=5):
    folder.mkdir(parents=True, exist_ok=True)
    images = RNG.integers(0, 256, (5, 28, 28), dtype=np.uint8)
    numbers = np.arange(labels, dtype=np.uint8)
    for names in FILES.values():
        for name, array in zip(names, (images, numbers), strict=True):
            data = gzip.compress(idx(array)) if zipped else idx(array)
            (folder / (name + ".gz" * zipped)).write_bytes(data)
    return images, numbers


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("layout", ["", "mnist", "MNIST/raw"])
def test_a_folder_is_read_in_every_layout(tmp_path, zipped, layout):
    images, numbers = write_folder(tmp_path / layout, zipped=zipped)
    for split in FILES:
        found, labels = load_idx_folder(tmp_path, split)
        assert np.array_equal(found.numpy(), images)
        assert labels.tolist() == numbers.tolist()


DAMAGE = {
    "not idx": (lambda data: b"hello, I am text", "not an idx file"),
    "floats": (lambda data: data[:2] + b"\x0d" + data[3:], "not an idx file"),
    "cut payload": (lambda data: data[:-1], "cut short or too long"),
    "too long": (lambda data: data + b"x", "cut short or too long"),
    "cut header": (lambda data: data[:9], "cut short or too long"),
    "empty": (lambda data: b"", "not an idx file"),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("zipped", [True, False])
def test_damage_is_named_in_one_line(tmp_path, damage, zipped):
    change, words = DAMAGE[damage]
    data = change(idx(np.zeros((2, 3, 3), np.uint8)))
    path = tmp_path / ("file.gz" if zipped else "file")
    path.write_bytes(gzip.compress(data) if zipped else data)
    with pytest.raises(UserError, match=words) as error:
        read_idx(path)
    assert "\n" not in str(error.value)


def test_a_truncated_gzip_is_named(tmp_path):
    path = tmp_path / "file.gz"
    path.write_bytes(gzip.compress(idx(RNG.integers(0, 256, (9, 9, 9), dtype=np.uint8)))[:-20])
    with pytest.raises(UserError, match="not a whole gzip file"):
        read_idx(path)


def test_counts_must_match(tmp_path):
    write_folder(tmp_path, labels=4)
    with pytest.raises(UserError, match="do not match"):
        load_idx_folder(tmp_path, "train")


def test_an_empty_folder_says_what_was_looked_for(tmp_path):
    with pytest.raises(UserError, match=r"has no train-images-idx3-ubyte.*--data-root or SKDCGN_DATA"):
        load_idx_folder(tmp_path, "train")


def test_data_root_wins_over_the_environment_and_both_over_a_download(tmp_path, monkeypatch):
    monkeypatch.setenv("SKDCGN_DATA", str(tmp_path / "environment"))
    assert mnist_folder(tmp_path) == tmp_path
    assert mnist_folder(None) == tmp_path / "environment"


def test_mirrors_are_tried_in_turn_and_checksums_are_asked_for(tmp_path, monkeypatch):
    tried = []

    def retrieve(url, known_hash, fname, path):
        tried.append(url)
        assert known_hash == CHECKSUMS[fname]
        if url.startswith(MIRRORS[0]):
            raise OSError("no answer")

    monkeypatch.delenv("SKDCGN_DATA", raising=False)
    monkeypatch.setattr("pooch.retrieve", retrieve)
    mnist_folder(None)
    assert tried == [mirror + name for name in CHECKSUMS for mirror in MIRRORS]


@pytest.mark.parametrize("failure", [OSError("no network"), ValueError("the hash does not match")])
def test_no_mirror_ends_in_one_line_with_the_mend(monkeypatch, failure):
    def retrieve(*arguments, **keywords):
        raise failure

    monkeypatch.delenv("SKDCGN_DATA", raising=False)
    monkeypatch.setattr("pooch.retrieve", retrieve)
    with pytest.raises(UserError, match=r"could not download train-images.*--data-root or SKDCGN_DATA"):
        mnist_folder(None)


@pytest.mark.skipif("SKDCGN_DATA" not in os.environ, reason="SKDCGN_DATA names no folder with MNIST's files")
def test_the_official_files_are_read():
    images, labels = load_idx_folder(mnist_folder(None), "train")
    assert images.shape == (60_000, 28, 28)
    assert labels.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert float(images.float().mean() / 255) == pytest.approx(0.1307, abs=1e-4)  # the constant everybody knows
