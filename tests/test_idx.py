"""idx files: what is written is read, every damage ends in one line, downloads fall back and are checked."""

import gzip
import hashlib
import os
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pooch
import pytest
import torch

from skdcgn.base.errors import UserError
from skdcgn.data.idx import CHECKSUMS, FILES, MIRRORS, download, load_idx_folder, mnist_folder, read_idx

OFFICIAL = os.environ.get("SKDCGN_DATA")
needs_official = pytest.mark.skipif(not OFFICIAL, reason="SKDCGN_DATA does not name the official MNIST files")


def idx_bytes(array):
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def numbers(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def write_pair(folder, split="train", images=12, labels=12, ending=".gz"):
    """Write both files of a split; return their arrays."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = numbers(images, 5, 4), numbers(labels) % 10
    for name, array in zip(FILES[split], arrays, strict=True):
        data = idx_bytes(array)
        (folder / (name + ending)).write_bytes(gzip.compress(data) if ending else data)
    return arrays


@pytest.mark.parametrize("shape", [(7,), (3, 5), (4, 28, 28), (1, 1, 1), (300, 2, 1)])
@pytest.mark.parametrize("name", ["a.gz", "a"])
@pytest.mark.parametrize("pack", [gzip.compress, bytes])
def test_what_is_written_is_read_whatever_the_file_is_called(tmp_path, shape, name, pack):
    array = numbers(*shape)
    (tmp_path / name).write_bytes(pack(idx_bytes(array)))
    numbers_read = read_idx(tmp_path / name)
    assert numbers_read.dtype == np.uint8
    assert np.array_equal(numbers_read, array)
    numbers_read[...] = 0  # the caller's own memory


WHOLE = idx_bytes(numbers(6, 5, 4))
PACKED = gzip.compress(WHOLE, mtime=0)  # no clock in what names a test: parallel workers must agree on the names


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not an idx file"),
        (b"<html>404</html>", "not an idx file"),
        (b"\0\0\x0d" + WHOLE[3:], "not an idx file"),  # floats
        (b"\0\0\x08\0", "not an idx file"),  # no dimensions
        (b"\0\0\x08\xff" + bytes(4 * 255), "not an idx file"),  # more than numpy has
        (WHOLE[:7], "ends inside its header"),
        (WHOLE[:16], "holds 0 bytes"),
        (WHOLE[:-1], "holds 119 bytes"),
        (WHOLE + b"\0", "holds 121 bytes"),
        (b"\0\0\x08\x02" + struct.pack(">2I", 2**32 - 1, 2**32 - 1), "holds 0 bytes"),  # no 64-bit wrap
        (b"\0\0\x08\x03" + struct.pack(">3I", 0, 28, 28), "is empty"),
        (PACKED[:-1], "not a whole gzip file"),
        (PACKED[:20], "not a whole gzip file"),
        (PACKED + b"tail", "not a whole gzip file"),
        (gzip.compress(WHOLE[:-1], mtime=0), "holds 119 bytes"),
    ],
)
def test_every_damage_ends_in_one_line(tmp_path, data, words):
    path = tmp_path / "file.gz"
    path.write_bytes(data)
    with pytest.raises(UserError, match=words) as error:
        read_idx(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("packed", [False, True])
def test_no_prefix_of_a_file_is_read_or_crashes(tmp_path, packed):
    data = PACKED if packed else WHOLE
    for length in range(len(data)):
        (tmp_path / "cut").write_bytes(data[:length])
        with pytest.raises(UserError):
            read_idx(tmp_path / "cut")


def test_a_missing_file_a_folder_and_a_pipe_end_in_one_line(tmp_path):
    os.mkfifo(tmp_path / "pipe.gz")
    for name, words in (("nothing.gz", "does not exist"), (".", "is a folder"), ("pipe.gz", "is a pipe or a device")):
        with pytest.raises(UserError, match=words):
            read_idx(tmp_path / name)


def bomb(path, header, packed_size):
    """A gzip file of ``packed_size`` bytes at least that unpacks to a thousand times as much, all zero."""
    member = gzip.compress(bytes(2**20), mtime=0)
    path.write_bytes(gzip.compress(header, mtime=0) + member * (packed_size // len(member)))
    return path


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((10, 28, 28), r"holds more bytes where its header says \(10, 28, 28\)"),
        ((8192, 1024, 1024), r"too large: its header says \(8192, 1024, 1024\), at most 1,073,741,824 bytes"),
        ((1024, 1024, 1024), "holds more bytes|holds [0-9,]+ bytes"),
    ],
)
def test_no_more_is_unpacked_than_the_header_says_and_a_limit(shape, words, tmp_path):
    """8 GiB in 8 MiB; a header that honestly says so is refused too."""
    header = b"\0\0\x08\x03" + struct.pack(">3I", *shape)
    path = bomb(tmp_path / "bomb.gz", header, 2**23 if shape[0] == 10 else 2**14)
    tracemalloc.start()
    with pytest.raises(UserError, match=words):
        read_idx(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**30 + 2**24  # of which the array of 1 GiB is reserved, not written


@pytest.mark.parametrize("split", ["train", "test"])
def test_labels_beyond_the_classes_are_named(split, tmp_path):
    """EMNIST's letters have the labels 1 to 26."""
    write_pair(tmp_path, split, ending="")
    (tmp_path / FILES[split][1]).write_bytes(idx_bytes(np.arange(1, 13, dtype=np.uint8)))
    with pytest.raises(UserError, match="labels-idx1-ubyte holds label 10 in row 9: glyphs have labels 0 to 9"):
        load_idx_folder(tmp_path, split)


def test_the_folder_may_lie_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SKDCGN_DATA", "~/data")
    assert mnist_folder(None) == mnist_folder(Path("~/data")) == tmp_path / "data"


@pytest.mark.parametrize("layout", ["", "mnist", "MNIST/raw"])
@pytest.mark.parametrize("ending", [".gz", ""])
@pytest.mark.parametrize("split", ["train", "test"])
def test_each_layout_is_found(tmp_path, layout, ending, split):
    images, labels = write_pair(tmp_path / layout, split, ending=ending)
    found_images, found_labels = load_idx_folder(tmp_path, split)
    assert (found_images.dtype, found_labels.dtype) == (torch.uint8, torch.int64)
    assert np.array_equal(found_images.numpy(), images)
    assert np.array_equal(found_labels.numpy(), labels)


def test_the_pair_comes_from_one_place(tmp_path):
    """A stray images file beside the folder's own mnist is not mixed with the labels inside it."""
    images, _ = write_pair(tmp_path / "mnist")
    (tmp_path / FILES["train"][0]).write_bytes(idx_bytes(numbers(3, 5, 4)))
    assert np.array_equal(load_idx_folder(tmp_path, "train")[0].numpy(), images)


def test_images_and_labels_must_match(tmp_path):
    write_pair(tmp_path, images=12, labels=11)
    with pytest.raises(UserError, match=r"do not match: images are \(12, 5, 4\), labels \(11,\)"):
        load_idx_folder(tmp_path, "train")


def test_swapped_files_do_not_match(tmp_path):
    write_pair(tmp_path, ending="")
    images, labels = (tmp_path / name for name in FILES["train"])
    images.rename(tmp_path / "t"), labels.rename(images), (tmp_path / "t").rename(labels)
    with pytest.raises(UserError, match="do not match"):
        load_idx_folder(tmp_path, "train")


@pytest.mark.parametrize("exists", [True, False])
def test_a_wrong_folder_says_what_was_looked_for_and_where(tmp_path, exists):
    folder = tmp_path if exists else tmp_path / "missing"
    with pytest.raises(UserError) as error:
        load_idx_folder(folder, "test")
    line = str(error.value)
    for word in (*FILES["test"], f"{folder},", str(folder / "mnist"), str(folder / "MNIST/raw"), "--data-root"):
        assert word in line
    assert "\n" not in line


def test_an_unknown_split_is_named(tmp_path):
    with pytest.raises(UserError, match="unknown split 'validation': use train or test"):
        load_idx_folder(tmp_path, "validation")


@pytest.fixture
def requests(monkeypatch, tmp_path):
    """No network: each request is noted as (mirror, file, hash, folder) and answered by ``requests.answer``."""

    class Requests(list):
        def answer(self, mirror, name):
            """Every mirror has every file."""

    calls = Requests()

    def retrieve(url, known_hash, fname, path):
        mirror = url.removesuffix(fname)
        calls.append((mirror, fname, known_hash, Path(path)))
        calls.answer(mirror, fname)

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache" / name)
    monkeypatch.delenv("SKDCGN_DATA", raising=False)
    return calls


def test_the_argument_wins_then_the_environment_and_nothing_is_fetched(requests, monkeypatch, tmp_path):
    monkeypatch.setenv("SKDCGN_DATA", str(tmp_path / "environment"))
    assert mnist_folder(tmp_path / "argument") == tmp_path / "argument"
    assert mnist_folder(None) == tmp_path / "environment"
    assert not requests


def test_four_files_come_from_the_first_mirror_with_their_checksums(requests, tmp_path):
    assert mnist_folder(None) == tmp_path / "cache" / "skdcgn" / "mnist"
    folder = tmp_path / "cache" / "skdcgn" / "mnist"
    assert requests == [(MIRRORS[0], name, f"sha256:{digest}", folder) for name, digest in CHECKSUMS.items()]
    assert {name.removesuffix(".gz") for name in CHECKSUMS} == {name for pair in FILES.values() for name in pair}


@pytest.mark.parametrize("failure", [ConnectionError("no route"), ValueError("hash of downloaded file differs")])
def test_mirrors_are_tried_in_turn_for_each_file(requests, failure):
    def first_lacks_labels(mirror, name):
        if mirror == MIRRORS[0] and "labels" in name:
            raise failure

    requests.answer = first_lacks_labels
    mnist_folder(None)
    expected = [(m, n) for n in CHECKSUMS for m in MIRRORS[: 2 if "labels" in n else 1]]
    assert [(mirror, name) for mirror, name, *_ in requests] == expected


def test_no_answer_names_the_mirrors_and_the_mend(requests):
    def offline(mirror, name):
        raise ConnectionError("no route\nto host")

    requests.answer = offline
    with pytest.raises(UserError) as error:
        mnist_folder(None)
    for word in (*MIRRORS, "--data-root", "SKDCGN_DATA", "train-images-idx3-ubyte.gz", "ConnectionError"):
        assert word in str(error.value)
    assert "\n" not in str(error.value)
    assert [mirror for mirror, *_ in requests] == list(MIRRORS)


def test_bugs_in_the_download_are_not_swallowed(requests):
    def broken(mirror, name):
        raise TypeError("a bug")

    requests.answer = broken
    with pytest.raises(TypeError):
        mnist_folder(None)


def test_wrong_bytes_from_a_mirror_are_refused(tmp_path, monkeypatch):
    """The real pooch, mirrors on disk: the first serves something else, the second the right file."""
    good = gzip.compress(idx_bytes(numbers(3)))
    served = {"https://bad/": b"<html>", "https://good/": good}

    def fetch(url, output_file, _):
        Path(output_file).write_bytes(served[url.removesuffix("labels.gz")])

    monkeypatch.setattr(pooch.core, "choose_downloader", lambda url, progressbar: fetch)
    download("labels.gz", tmp_path, hashlib.sha256(good).hexdigest(), tuple(served))
    assert [path.name for path in tmp_path.iterdir()] == ["labels.gz"]
    assert np.array_equal(read_idx(tmp_path / "labels.gz"), numbers(3))


@needs_official
@pytest.mark.parametrize(("split", "count", "first"), [("train", 60_000, [5, 0, 4, 1, 9]), ("test", 10_000, [7, 2, 1])])
def test_the_official_files_are_read_as_everyone_else_reads_them(split, count, first):
    images, labels = load_idx_folder(mnist_folder(Path(OFFICIAL)), split)
    assert images.shape == (count, 28, 28)
    assert labels[: len(first)].tolist() == first
    assert labels.unique().tolist() == list(range(10))
    if split == "train":  # the constants that everyone normalises by
        assert float(images.double().mean() / 255) == pytest.approx(0.1307, abs=5e-5)
        assert float(images.double().std() / 255) == pytest.approx(0.3081, abs=5e-5)


@needs_official
def test_the_checksums_are_those_of_the_official_files():
    paths = {path.name: path for path in Path(OFFICIAL).rglob("*-ubyte.gz")}
    if set(paths) != set(CHECKSUMS):
        pytest.skip("SKDCGN_DATA holds other files than the four official .gz")
    assert {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in paths.items()} == CHECKSUMS
