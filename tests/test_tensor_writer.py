"""Safetensors written row by row: the library's own bytes, whatever types, names, metadata and order of the rows."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

from skdcgn.base.errors import UserError
from skdcgn.base.tensor_writer import Layout, rows_to_tensors
from skdcgn.base.tensors import DTYPES

ROWS = {"b": torch.arange(6.0).view(3, 2), "a": torch.tensor([1, 2, 3])}


def layouts(tensors):
    return {name: Layout(tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}


def written(path, tensors, metadata=None, rows=2):
    with rows_to_tensors(path, layouts(tensors), metadata) as append:
        for start in range(0, max(map(len, tensors.values())), rows):
            for name, tensor in tensors.items():
                if start < len(tensor):
                    append(name, tensor[start : start + rows])
    return path.read_bytes()


TENSORS = st.builds(
    lambda shape, dtype, seed: torch.randint(
        0, 2 if dtype == torch.bool else 100, shape, generator=torch.Generator().manual_seed(seed)
    ).to(dtype),
    st.lists(st.integers(1, 4), min_size=1, max_size=4),
    st.sampled_from(list(DTYPES)),
    st.integers(0, 9),
)
METADATA = st.none() | st.just({}) | st.dictionaries(st.just("spec"), st.text(max_size=20), min_size=1)


@given(st.dictionaries(st.text(min_size=1, max_size=5), TENSORS, min_size=1, max_size=5), METADATA, st.integers(1, 3))
def test_the_bytes_are_those_of_the_library(tmp_path_factory, tensors, metadata, rows):
    tensors.pop("__metadata__", None)
    path = tmp_path_factory.getbasetemp() / "file.safetensors"
    assert written(path, tensors, metadata, rows) == save(tensors, metadata)


def test_every_type_has_its_place_in_the_file(tmp_path):
    tensors = {str(index): torch.ones(3, dtype=dtype) for index, dtype in enumerate(reversed(DTYPES))}
    assert written(tmp_path / "all", tensors) == save(tensors)


def test_metadata_are_in_one_order_whatever_theirs(tmp_path):
    one, other = ({key: key for key in keys} for keys in ("abc", "cab"))
    assert written(tmp_path / "one", ROWS, one) == written(tmp_path / "other", ROWS, other)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([("a", torch.tensor([1, 2, 3]))], "rows are missing in b"),
        ([("a", torch.arange(4))], "a has more than 3 rows"),
        ([("a", torch.zeros(3))], "rows of a are torch.float32"),
        ([("b", torch.zeros(3, 1))], "rows of b are"),
    ],
)
def test_rows_that_do_not_fit_leave_the_former_file(rows, words, tmp_path):
    path = tmp_path / "file"
    path.write_text("former")

    def write():
        with rows_to_tensors(path, layouts(ROWS)) as append:
            for name, tensor in rows:
                append(name, tensor)

    with pytest.raises(ValueError, match=words):
        write()
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("file", "former")]


def test_a_file_that_its_disk_cannot_hold_is_refused_before_it_is_written(tmp_path):
    huge = {"images": Layout(torch.float32, (9 * 10**18, 3, 256, 256))}
    opened = rows_to_tensors(tmp_path / "images", huge)
    with pytest.raises(UserError, match=r"images needs [\d,.]+ GB, and its disk has [\d,.]+ GB free"):
        opened.__enter__()
    assert list(tmp_path.iterdir()) == []
