"""Where the answer to a question is: in a shard, in a file of the ledger, or on its way.

A question is a mechanism, noise u and a label y, to one teacher; its key is a digest of u and y. An :class:`Archive`
holds the keys of one mechanism.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from skdcgn.base.config import Store
from skdcgn.base.errors import UserError, naming
from skdcgn.base.tensor_writer import Layout, rows_to_tensors
from skdcgn.base.tensors import open_tensors, write_tensors
from skdcgn.cgn.mechanism import Mechanism, Spec, as_mechanism, check_answer
from skdcgn.pairs.manifest import Manifest, Shard, read_manifests, shards_of
from skdcgn.pairs.stored import check_layout, read_inputs
from skdcgn.pairs.stores import layout, read_images

ASKED, ANSWERED = "asked-", "answered-"  # beginnings of the names of the ledger's files


def row_keys(noise: Tensor, labels: Tensor) -> list[bytes]:
    """Return the key of each row of noise (N, Z) and labels (N,) int64: 16 bytes."""
    rows = torch.cat([noise.float().contiguous().view(torch.uint8), labels[:, None].contiguous().view(torch.uint8)], 1)
    return [hashlib.blake2b(row.data, digest_size=16).digest() for row in rows.numpy()]


class QuestionRows(NamedTuple):
    """Noise (N, Z) and labels (N,) int64 of one mechanism."""

    mechanism: Mechanism
    noise: Tensor
    labels: Tensor


def write_questions(path: Path, questions: QuestionRows) -> None:
    """Write questions down, before they are asked."""
    tensors = {"noise": questions.noise.float().cpu(), "labels": questions.labels.cpu()}
    write_tensors(path, tensors, {"mechanism": questions.mechanism.value})


def read_questions(path: Path, spec: Spec) -> QuestionRows:
    """Read what :func:`write_questions` wrote; raise UserError for anything else."""
    return _read(path, spec, Store.NONE)


def write_answer(path: Path, questions: QuestionRows, images: Tensor) -> None:
    """Write questions with their images (N, C, H, W)."""
    tensors = {"noise": questions.noise.float(), "labels": questions.labels, "images": images}
    layouts = {name: Layout(tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}
    with rows_to_tensors(path, layouts, {"mechanism": questions.mechanism.value}) as append:
        for name, tensor in tensors.items():
            append(name, tensor)


def read_answered(path: Path, spec: Spec) -> QuestionRows:
    """Read the questions of a file that :func:`write_answer` wrote; raise UserError for anything else."""
    return _read(path, spec, Store.FLOAT32)


def _read(path: Path, spec: Spec, store: Store) -> QuestionRows:
    with open_tensors(path) as file, naming(path):
        mechanism = as_mechanism((file.metadata() or {}).get("mechanism", ""))
        expected = layout(store, mechanism, spec, _count(file))
    return QuestionRows(mechanism, *read_inputs(path, spec, expected))


def _count(file: Any) -> int:
    """Return how many labels an open file has, at least 1; the check of its layout compares all else with it."""
    names = file.keys()
    shape = file.get_slice("labels").get_shape() if "labels" in names else []
    return max(1, *shape) if len(shape) == 1 else 1


class Source(Protocol):
    """Images that some rows can be taken from."""

    def take(self, rows: Tensor) -> Tensor:
        """Return the images (B, C, H, W) of ``rows`` (B,)."""
        ...

    def settle(self, count: int) -> None:
        """Note that ``count`` rows more are in a shard."""
        ...


@dataclass(frozen=True, eq=False)
class StoredShard:
    """A shard of the folder as a source."""

    folder: Path
    shard: Shard
    mechanism: Mechanism
    spec: Spec

    def take(self, rows: Tensor) -> Tensor:
        path = self.folder / self.shard.file
        if not self.shard.intact(self.folder):
            raise UserError(f"{path} is missing or damaged (checksum differs): run its query again to redraw it")
        return read_images(path, self.mechanism, self.spec.image_size, rows)

    def settle(self, count: int) -> None:
        """Keep the shard."""


class Answer:
    """The answer to a query of ``rows`` pairs, in a file that is removed when all of them are in shards.

    ``result`` returns the file and, if they are in memory, its images.
    """

    def __init__(self, rows: int, spec: Spec, result: Callable[[], tuple[Path, Tensor | None]]) -> None:
        self.rows, self._spec, self._result = rows, spec, result
        self._open = rows
        self.kept: tuple[Path, Tensor | None] | None = None  # once it has come

    def take(self, rows: Tensor) -> Tensor:
        self.kept = path, images = self.kept or self._result()
        if images is not None:
            return images[rows]
        mechanism, side = read_answered(path, self._spec).mechanism, self._spec.image_size
        with naming(path):
            return check_answer(self._spec, mechanism, read_images(path, mechanism, side, rows), len(rows))

    def settle(self, count: int) -> None:
        self._open -= count
        if self._open == 0 and self.kept:
            self.kept[0].unlink(missing_ok=True)


class Archive:
    """Where the answers of one mechanism are, by the keys of their questions.

    Args:
        folder: with the pairs of all mechanisms; shards and answers of the ledger are looked up in all of it.
        teacher: digest of the teacher that answered.
    """

    def __init__(self, folder: Path, mechanism: Mechanism, teacher: str, spec: Spec) -> None:
        self.places = dict[bytes, tuple[Source, int]]()
        self._spec = spec
        for pairs in sorted({path.parent for path in folder.rglob("manifest*.json")}):
            manifests = read_manifests(pairs)
            if {(one.mechanism, one.teacher) for one in manifests} == {(mechanism, teacher)}:
                self._add_shards(pairs, manifests)
        for path in sorted(folder.rglob(f"ledger/{ANSWERED}*.safetensors")):
            self._add_answer(path, mechanism)

    def _add_shards(self, folder: Path, manifests: list[Manifest]) -> None:
        for shard in shards_of(manifests).values():
            if manifests[0].store is not Store.NONE and (folder / shard.file).is_file():
                with open_tensors(folder / shard.file) as file, naming(folder / shard.file):
                    check_layout(file, layout(manifests[0].store, manifests[0].mechanism, self._spec, shard.count))
                    keys = row_keys(file.get_tensor("noise"), file.get_tensor("labels"))
                self.add(keys, StoredShard(folder, shard, manifests[0].mechanism, self._spec))

    def _add_answer(self, path: Path, mechanism: Mechanism) -> None:
        questions = read_answered(path, self._spec)
        if questions.mechanism is not mechanism:
            return
        keys = row_keys(questions.noise, questions.labels)
        if all(key in self.places for key in keys):  # a process was killed after it had stored them
            path.unlink(missing_ok=True)
            return
        new = [key for key in keys if key not in self.places]
        source = Answer(len(new), self._spec, lambda: (path, None))
        self.places |= {key: (source, row) for row, key in enumerate(keys) if key not in self.places}

    def add(self, keys: Iterable[bytes], source: Source) -> None:
        """Note that the images of ``keys`` are the rows of ``source``, in order."""
        self.places |= {key: (source, row) for row, key in enumerate(keys)}

    def take(self, keys: list[bytes], mechanism: Mechanism) -> Tensor:
        """Return the images (N, C, H, W) of ``keys``."""
        side = self._spec.image_size
        images = torch.empty(len(keys), mechanism.channels, side, side)
        for source, rows in self._by_source(keys).items():
            images[rows] = source.take(torch.tensor([self.places[keys[row]][1] for row in rows]))
        return images

    def store(self, keys: list[bytes], source: Source) -> None:
        """Note that the images of ``keys`` are now the rows of ``source``, a shard."""
        before = self._by_source(list(dict.fromkeys(keys)))
        self.add(keys, source)
        for one, rows in before.items():
            one.settle(len(rows))

    def is_one_query(self, keys: list[bytes]) -> bool:
        """Say whether one query alone asked these questions, in this order."""
        places = [self.places[key] for key in keys]
        sources, rows = {source for source, _ in places}, [row for _, row in places]
        return all(isinstance(one, Answer) and one.rows == len(keys) for one in sources) and rows == [*range(len(keys))]

    def forget(self, keys: list[bytes]) -> list[Path]:
        """Forget the answers to these questions that are in no shard; return their files."""
        sources = {self.places[key][0] for key in keys if key in self.places}
        lost = {source for source in sources if isinstance(source, Answer)}
        self.places = {key: place for key, place in self.places.items() if place[0] not in lost}
        return [source.kept[0] for source in lost if source.kept]

    def _by_source(self, keys: list[bytes]) -> dict[Source, list[int]]:
        rows: dict[Source, list[int]] = {}
        for row, key in enumerate(keys):
            rows.setdefault(self.places[key][0], []).append(row)
        return rows
