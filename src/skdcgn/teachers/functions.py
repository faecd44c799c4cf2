"""Functions as teachers: of torch or NumPy, of a batch or of one row, in a program or by ``module:name``.

A function takes ``(mechanism, noise, labels)`` in one of the forms of :data:`FORMS`. The first query finds the form: it
is asked in one after another, and what answers it first is kept. A form that raises costs no answer, and a function of
the first form is asked nothing twice.
"""

import hashlib
from collections.abc import Callable
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from skdcgn.base.door import read_bytes
from skdcgn.base.errors import UserError
from skdcgn.base.foreign_code import callable_name, code_errors, error_line, imported, source_files
from skdcgn.cgn.black_box import Access
from skdcgn.cgn.mechanism import Spec, Teacher, as_mechanism, check_query
from skdcgn.cgn.stated_spec import StatedSpec

Function = Callable[[str, Any, Any], Any]
UNKNOWN_CODE = Access(paid=True, idempotent=False)  # nobody knows what a function does inside
MOST_SOURCE = 2**26  # bytes of a module's source
# Errors that arguments of another form raise.
WRONG_FORM = TypeError, ValueError, AttributeError, LookupError, AssertionError, RuntimeError
CHANNELS = (1, 3)  # of a mask, of a picture
TAKES = (
    "give it a name for a function (mechanism, noise, labels), for an object with spec, digest, size and query, or for "
    "what makes one without arguments"
)

RETURNS = "let it take one form for all mechanisms and return images (B, C, H, W), or (C, H, W) for a row"


class Form(NamedTuple):
    """How a function takes noise and labels: as arrays of NumPy or tensors, a row (Z,) and an int or a batch."""

    arrays: bool
    single: bool

    def __str__(self) -> str:
        kind = "arrays" if self.arrays else "tensors"
        return f"{kind} (Z,) and int, a row at a time" if self.single else f"{kind} (B, Z) and (B,)"


FORMS = Form(False, False), Form(True, False), Form(False, True), Form(True, True)


class OtherFormError(Exception):
    """An answer that shows that the function takes another form."""


class FunctionTeacher:
    """A function as a teacher; its size is unknown, and it may cost money.

    Args:
        function: ``(mechanism, noise, labels) -> images``: for tensors or float32 arrays (B, Z) and int64 (B,) it
            returns (B, C, H, W); or for one row (Z,) and an int, (C, H, W).
        spec: of its noise, labels and images.
        digest: names its code.
        name: of it in messages.
    """

    size: int | None = None
    access = UNKNOWN_CODE

    def __init__(self, function: Function, spec: Spec, digest: str, name: str) -> None:
        self.function, self.spec, self.digest, self.name = function, spec, digest, name
        self.form: Form | None = None  # before the first query nobody knows

    def query(self, mechanism: str, noise: Tensor, labels: Tensor) -> Tensor:
        """Ask the function; noise (B, Z), labels (B,) int64 -> (B, C, H, W).

        Raises:
            UserError: the function raises, or takes none of the forms; the line has what was tried, and why it failed.
        """
        check_query(self.spec, noise, labels)
        ask = partial(_ask, self.function, as_mechanism(mechanism).value, noise, labels)
        if self.form is None:
            form, images = self._first(ask)
            self.form = form if len(labels) > 1 else None  # one row may be a batch
            return images
        try:
            with code_errors(f"{self.name} fails", "mend it; nothing that it answered before is lost"):
                return ask(self.form)
        except OtherFormError as other:
            raise UserError(f"{self.name}, asked for {mechanism} with {self.form}: {other}: {RETURNS}") from None

    def _first(self, ask: Callable[[Form], Tensor]) -> tuple[Form, Tensor]:
        """Return the first form that answers, and the answer."""
        reasons = []
        for form in FORMS:
            try:
                with code_errors(f"{self.name} fails", "mend it"):
                    return form, _in_form(ask, form)
            except OtherFormError as other:
                reasons.append(f"{form}: {other}")
        raise UserError(f"{self.name} answers in no way of asking ({'; '.join(reasons)}): {RETURNS}")


def _in_form(ask: Callable[[Form], Tensor], form: Form) -> Tensor:
    """Ask in a form; raise OtherFormError for an error that arguments of another form raise."""
    try:
        return ask(form)
    except WRONG_FORM as error:
        raise OtherFormError(error_line(error)) from error


def _ask(function: Function, mechanism: str, noise: Tensor, labels: Tensor, form: Form) -> Tensor:
    """Ask with copies of noise and labels, which a function may change."""
    u, y = (value.clone() for value in (noise, labels))
    if not form.single:
        answer = _as_tensor(function(mechanism, u.numpy(), y.numpy()) if form.arrays else function(mechanism, u, y))
        if answer.ndim < 3 or len(answer) != len(labels) or (answer.ndim == 3 and len(answer) in CHANNELS):
            raise OtherFormError(f"the answer has shape {tuple(answer.shape)} for {len(labels)} rows")
        return answer
    rows = zip(u.numpy() if form.arrays else u, y.tolist(), strict=True)
    return torch.stack([_one_image(_as_tensor(function(mechanism, *row))) for row in rows])


def _as_tensor(answer: Any) -> Tensor:
    """Return an answer as a tensor on the CPU, in single precision; integers stay, which the check of answers names."""
    if isinstance(answer, np.ndarray) and answer.dtype.kind in "fiub":
        answer = torch.from_numpy(np.array(answer, order="C"))
    if not isinstance(answer, Tensor):
        raise OtherFormError(f"the answer is of type {type(answer).__name__}")
    answer = answer.detach().cpu()
    return answer.float() if answer.is_floating_point() or answer.dtype is torch.bool else answer


def _one_image(image: Tensor) -> Tensor:
    if image.ndim == 4 and len(image) == 1:
        return image[0]
    if image.ndim != 3:
        raise OtherFormError(f"the answer has shape {tuple(image.shape)} for one row")
    return image


def of_function(function: Function, stated: StatedSpec) -> FunctionTeacher:
    """Return a function of this program as a teacher."""
    name = callable_name(function)
    return FunctionTeacher(function, stated.over(Spec()), f"callable:{function.__module__}.{name}", name)


def of_name(words: str, stated: StatedSpec) -> Teacher:
    """Return the teacher that ``package.module:name`` stands for, looked up with the working directory on the path.

    The name stands for a function, for a teacher, or for a class or function without required arguments that makes one
    of them. The digest of a function has the sha256 of its module's source: changed code is another teacher.

    Raises:
        UserError: the module cannot be imported, has no such name, the name stands for something else, or ``stated``
            contradicts the Spec of a teacher.
    """
    value = _instance(imported(words), words)
    if isinstance(value, Teacher):
        stated.check(value.spec, words)
        return value
    if not callable(value):
        raise UserError(f"{words} is of type {type(value).__name__}, no teacher: {TAKES}")
    return FunctionTeacher(value, stated.over(Spec()), f"callable:{words}{_code(words)}", words)


def _instance(value: Any, words: str) -> Any:
    """Return what a class, or a function that does not take three arguments, makes; anything else as it is."""
    is_class = isinstance(value, type)
    if not callable(value) or (not is_class and (isinstance(value, Teacher) or _takes(value, 3))):
        return value
    if not _takes(value, 0):
        raise UserError(f"{words} takes other arguments than mechanism, noise and labels: {TAKES}")
    with code_errors(f"{words}() fails", "mend it, or give its arguments defaults"):
        return value()


def _takes(function: Callable[..., Any], count: int) -> bool:
    """Say whether a function can be called with ``count`` arguments; True where the signature is not to be had."""
    try:
        signature(function).bind(*range(count))
    except TypeError:
        return False
    except ValueError:  # of some functions written in C
        return count > 0
    return True


def _code(words: str) -> str:
    """Return the sha256 of the source files of a name, as ``@sha256``; "" if it has none."""
    files = source_files(words)
    return f"@{hashlib.sha256(b''.join(map(_bytes, files))).hexdigest()}" if files else ""


def _bytes(path: Path) -> bytes:
    return read_bytes(path, MOST_SOURCE)
