"""The protocol of a CGN over HTTP: what ``GET /spec`` states, and the bodies of ``POST /query``.

===================  ========================================================  ====================================
body                 question                                                  answer
===================  ========================================================  ====================================
``safetensors``      noise float32 (B, Z), labels int64 (B,); metadata         images float32 (B, C, H, W)
                     ``mechanism``
``npz``              arrays noise, labels, mechanism                           array images
``json``             {"mechanism": ..., "noise": [[...]], "labels": [...]}     none
``png``              none                                                      B pictures of 8 bits, one below another
===================  ========================================================  ====================================

The mechanism may also be the parameter ``?mechanism=`` of the address. The page docs/guides/http.md has it all.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from math import prod
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from skdcgn.base.arrays import Array, arrays_to_bytes, parse_arrays
from skdcgn.base.bounds import MOST_BATCH, MOST_PARAMETERS
from skdcgn.base.door import parse_json, parse_record
from skdcgn.base.errors import UserError, shown
from skdcgn.base.records import from_dict
from skdcgn.base.tensors import parse_tensors, tensors_to_bytes
from skdcgn.cgn.mechanism import Mechanism, Spec, as_mechanism, check_query
from skdcgn.cgn.pictures import as_rgb, encode

HEADERS = 2**16  # bytes of a body that are no numbers
MOST_ANSWER = 2**30  # bytes of an answer
NUMBER = 8  # bytes of the widest number of a body
DIGITS = 30  # bytes of a number in JSON
KEY_HEADER = "Idempotency-Key"
Words = Annotated[str, Field(max_length=200)]


class Body(StrEnum):
    """The form of a body."""

    SAFETENSORS = "safetensors"
    NPZ = "npz"
    JSON = "json"
    PNG = "png"

    @property
    def mime(self) -> str:
        """Its content type."""
        return MIMES[self]


MIMES = {
    Body.SAFETENSORS: "application/x-safetensors",
    Body.NPZ: "application/x-npz",
    Body.JSON: "application/json",
    Body.PNG: "image/png",
}
QUESTIONS, ANSWERS = (Body.SAFETENSORS, Body.NPZ, Body.JSON), (Body.SAFETENSORS, Body.NPZ, Body.PNG)


def body_of(mime: str) -> Body | None:
    """Return the form that a content type names; None for any other."""
    word = mime.partition(";")[0].strip().lower()
    return next((body for body, name in MIMES.items() if name == word), None)


@dataclass(frozen=True, kw_only=True)
class Service:
    """What ``GET /spec`` states: the fields of the Spec, and how the service may be asked.

    Args:
        digest: of the weights; None if it is unknown.
        size: number of parameters; None if it is unknown.
        batch: most pairs in one query.
        in_flight: queries at a time.
        idempotent: whether a query that is repeated with the same ``Idempotency-Key`` is answered and not paid again.
        paid: whether answers cost something.
        formats: bodies that it reads and writes.
        Others: see :class:`Spec`.
    """

    image_size: int
    noise_dim: int
    classes: int
    distribution: str = "normal"
    names: tuple[str, ...] = ()
    tiles: bool = True
    truncation: float = 1.0
    digest: Words | None = None
    size: Annotated[int, Field(ge=0, le=MOST_PARAMETERS)] | None = None
    batch: Annotated[int, Field(ge=1, le=MOST_BATCH)] = 256
    in_flight: Annotated[int, Field(ge=1, le=64)] = 1
    idempotent: bool = False
    paid: bool = True
    formats: tuple[Words, ...] = tuple(Body)

    def __post_init__(self) -> None:
        if not set(self.formats) & set(QUESTIONS) or not set(self.formats) & set(ANSWERS):
            raise UserError(
                f"formats are {', '.join(self.formats) or 'none'}: state one of {', '.join(QUESTIONS)} for questions "
                f"and one of {', '.join(ANSWERS)} for answers"
            )
        self.spec  # noqa: B018  # raises for values that are none

    @property
    def spec(self) -> Spec:
        return Spec(**{field.name: getattr(self, field.name) for field in fields(Spec)})

    @property
    def rows(self) -> int:
        """The most pairs that one query should ask: ``batch``, and fewer if their answer were above 1 GiB."""
        return max(1, min(self.batch, (MOST_ANSWER - HEADERS) // (NUMBER * 3 * self.image_size**2)))


def service_of(spec: Spec, **more: Any) -> Service:
    """Return a Spec and what else a service states."""
    return Service(**spec.to_dict(), **more)


def parse_service(text: str, origin: object) -> Service:
    """Return what ``GET /spec`` answered; keys that are unknown here are of a later version, or the service's own."""
    mend = "mend the service (its /spec)"
    values = parse_record(text, dict[str, Any], origin, mend)
    names = {field.name for field in fields(Service)}
    return from_dict(Service, {key: value for key, value in values.items() if key in names}, str(origin), mend)


@dataclass(frozen=True)
class Question:
    """One query: a mechanism, noise (B, Z) and labels (B,) int64."""

    mechanism: Mechanism
    noise: Tensor
    labels: Tensor

    @property
    def key(self) -> str:
        """The ``Idempotency-Key``: sha256 of mechanism, float32 noise and int64 labels, little-endian, row by row."""
        return hashlib.sha256(self.mechanism.encode() + b"".join(self.rows)).hexdigest()

    @property
    def rows(self) -> tuple[bytes, bytes]:
        """The bytes of noise and labels."""
        return self.noise.numpy().astype("<f4").tobytes(), self.labels.numpy().astype("<i8").tobytes()


def as_question(mechanism: str, noise: Tensor, labels: Tensor) -> Question:
    """Return a query as it is sent: on the CPU, in single precision."""
    return Question(as_mechanism(mechanism), noise.detach().cpu().float(), labels.detach().cpu())


def question_to_bytes(question: Question, body: Body) -> bytes:
    """Return a query as the body of a request: safetensors, npz or JSON."""
    mechanism, noise, labels = question.mechanism, question.noise, question.labels
    if body is Body.SAFETENSORS:
        return tensors_to_bytes({"noise": noise, "labels": labels}, {"mechanism": mechanism})
    if body is Body.NPZ:
        arrays = {"noise": noise.numpy(), "labels": labels.numpy(), "mechanism": np.array(str(mechanism))}
        return arrays_to_bytes(arrays)
    return json.dumps({"mechanism": mechanism, "noise": noise.tolist(), "labels": labels.tolist()}).encode()


def parse_question(data: bytes, body: Body, service: Service, mechanism: str | None = None) -> Question:
    """Return the query in the body of a request.

    Args:
        data: of at most :func:`most_question` bytes.
        body: safetensors, npz or JSON.
        service: whose Spec the noise and the labels must fit.
        mechanism: of the address, which comes first.

    Raises:
        UserError: a damaged body, a missing part, or noise or labels of another shape, type or range.
    """
    named, noise, labels = _QUESTIONS[body](data, most_question(service))
    check_query(service.spec, noise, labels)
    question = as_question(mechanism or named, noise, labels)
    if not bool(question.noise.isfinite().all()):
        raise UserError("the noise holds NaN or infinity: pass finite numbers")
    return question


def _from_safetensors(data: bytes, most: int) -> tuple[str, Tensor, Tensor]:
    tensors, metadata = parse_tensors(data, "the question")
    return metadata.get("mechanism", ""), _part(tensors, "noise"), _part(tensors, "labels")


def _from_npz(data: bytes, most: int) -> tuple[str, Tensor, Tensor]:
    arrays = parse_arrays(data, "the question", most)
    mechanism = str(arrays["mechanism"]) if "mechanism" in arrays and arrays["mechanism"].ndim == 0 else ""
    return mechanism, as_tensor(_part(arrays, "noise")), as_tensor(_part(arrays, "labels"))


@dataclass(frozen=True)
class _Lists:
    noise: list[list[float]]
    labels: list[Annotated[int, Field(ge=-(2**62), le=2**62)]]
    mechanism: str = ""


def _from_json(data: bytes, most: int) -> tuple[str, Tensor, Tensor]:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise UserError("the question is not UTF-8 text: send JSON") from None
    lists = from_dict(_Lists, parse_json(text, "the question", "send one object"), "the question")
    if len({len(row) for row in lists.noise}) > 1:
        raise UserError("rows of the noise have different lengths: pass (B, Z) numbers")
    return lists.mechanism, torch.tensor(lists.noise), torch.tensor(lists.labels, dtype=torch.int64)


_QUESTIONS = {Body.SAFETENSORS: _from_safetensors, Body.NPZ: _from_npz, Body.JSON: _from_json}


def _part(parts: Mapping[str, Any], name: str) -> Any:
    if name not in parts:
        raise UserError(f"the body has no {name}: it holds {shown(sorted(parts))}")
    return parts[name]


def as_tensor(array: Array) -> Tensor:
    """Return an array of numbers, of any byte order, as a tensor of its own; raise UserError for other types."""
    if array.dtype.kind not in "fiu" or array.dtype.itemsize > NUMBER:
        raise UserError(f"an array is of type {array.dtype}: use float32 numbers and int64 labels")
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C"))


def answer_to_bytes(images: Tensor, body: Body) -> bytes:
    """Return images (B, C, H, W) as the body of an answer: safetensors, npz or PNG."""
    if body is Body.SAFETENSORS:
        return tensors_to_bytes({"images": images.float()})
    if body is Body.NPZ:
        return arrays_to_bytes({"images": images.float().cpu().numpy()})
    return encode(as_rgb(images.cpu()).permute(0, 2, 3, 1).flatten(0, 1))


def parse_answer(data: bytes, body: Body, origin: object, most: int) -> Tensor:
    """Return the images of a body of safetensors or npz that unpacks to at most ``most`` bytes, as they are.

    Raises:
        UserError: the body is damaged, or holds no ``images``.
    """
    if body is Body.SAFETENSORS:
        return _part(parse_tensors(data, origin)[0], "images")
    return as_tensor(_part(parse_arrays(data, origin, most), "images"))


def answer_shape(spec: Spec, mechanism: Mechanism, rows: int) -> tuple[int, int, int, int]:
    """Return the shape (B, C, H, W) of an answer."""
    return rows, mechanism.channels, spec.image_size, spec.image_size


def most_answer(spec: Spec, mechanism: Mechanism, rows: int) -> int:
    """Return the most bytes that an answer may have: its numbers in double precision, and headers."""
    return NUMBER * prod(answer_shape(spec, mechanism, rows)) + HEADERS


def most_question(service: Service) -> int:
    """Return the most bytes that a request may have: ``rows`` pairs in JSON, and headers."""
    return DIGITS * service.rows * (service.noise_dim + 1) + HEADERS
