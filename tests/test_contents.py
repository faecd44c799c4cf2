"""Contents: names, sizes and bytes count, the order and the folder's place do not; large folders are sampled."""

import hashlib
import time

import pytest

from skdcgn.base.contents import Contents, file_reads, files_digest
from skdcgn.base.errors import UserError


def lay(folder, files):
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder, [f"{folder / name}" for name in files]


FILES = {"cat/a.png": b"one", "cat/b.png": b"two", "dog/a.png": b"three"}


def test_the_same_files_elsewhere_have_the_same_digest_in_any_order(tmp_path):
    here, files = lay(tmp_path / "here", FILES)
    there, others = lay(tmp_path / "there", FILES)
    assert files_digest(here, files) == files_digest(there, reversed(others))


@pytest.mark.parametrize(
    "changes",
    [
        {"cat/a.png": b"onf"},
        {"cat/a.png": b"one "},
        {"cat/c.png": b""},
        {"cat/a.png": b"two", "cat/b.png": b"one"},
    ],
)
def test_bytes_sizes_and_further_files_count(changes, tmp_path):
    folder, files = lay(tmp_path, FILES)
    before = files_digest(folder, files)
    assert before != files_digest(*lay(tmp_path, {**FILES, **changes}))


def test_names_of_files_and_of_folders_count(tmp_path):
    digests = {
        files_digest(*lay(tmp_path / str(number), files))
        for number, files in enumerate(
            (FILES, {"aardwolf/a.png": b"three", "cat/a.png": b"one", "cat/b.png": b"two"}, {**FILES, "cat/a.jpg": b""})
        )
    }
    assert len(digests) == 3


def test_a_large_folder_is_sampled_and_the_names_and_sizes_of_all_count(tmp_path):
    folder, files = lay(tmp_path, {f"{index}.png": bytes([index]) * 10 for index in range(40)})
    before = files_digest(folder, files, whole=100, sample=20)
    changed = 0
    for index in range(40):
        (folder / f"{index}.png").write_bytes(b"x" * 10)
        changed += before != files_digest(folder, files, whole=100, sample=20)
        (folder / f"{index}.png").write_bytes(bytes([index]) * 10)
    assert changed == 10  # a hundred bytes
    (folder / "7.png").write_bytes(b"longer than before")
    assert before != files_digest(folder, files, whole=100, sample=20)


def test_thousands_of_pictures_take_a_moment(tmp_path):
    folder, files = lay(
        tmp_path, {f"{index % 10}/{index}.jpg": index.to_bytes(2, "big") * 100 for index in range(4000)}
    )
    start = time.perf_counter()
    files_digest(folder, files)
    assert time.perf_counter() - start < 2


def test_a_file_counts_by_its_bytes_and_is_named(tmp_path):
    folder, _ = lay(tmp_path, {"vgg16.pth": b"weights"})
    path = folder / "vgg16.pth"
    digest = hashlib.sha256(b"weights").hexdigest()
    assert file_reads("features", path) == {"features": Contents(digest, f"the features in {path}")}
    assert file_reads("features", None) == {}


def test_a_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(UserError, match=r"gone\.png cannot be read \(No such file or directory\): replace it"):
        files_digest(tmp_path, [str(tmp_path / "gone.png")])
    with pytest.raises(UserError, match=r"gone\.pth does not exist"):
        file_reads("features", tmp_path / "gone.pth")
