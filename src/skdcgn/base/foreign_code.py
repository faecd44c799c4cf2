"""Code of others: imported by ``module:name`` with the working directory on the path; its errors become one line."""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import reduce
from importlib import import_module, invalidate_caches
from inspect import getsourcefile, isroutine
from pathlib import Path
from types import ModuleType
from typing import Any

from skdcgn.base.errors import UserError, as_line, shortened

_WORD = r"[^\W\d]\w*(\.[^\W\d]\w*)*"
MODULE_NAME = re.compile(rf"{_WORD}:{_WORD}")
CODE_ERRORS = (  # of code and networks that are not ours
    *(ArithmeticError, AssertionError, AttributeError, BufferError, EOFError, ImportError, LookupError, MemoryError),
    *(NameError, OSError, RuntimeError, SyntaxError, TypeError, ValueError),
)


@contextmanager
def code_errors(action: str, mend: str) -> Iterator[None]:
    """Raise UserError for an error of foreign code in the block: ``action`` (its type and first line): mend."""
    try:
        yield
    except CODE_ERRORS as error:
        raise UserError(f"{action} ({error_line(error)}): {mend}") from error


def error_line(error: BaseException) -> str:
    """Return the type of an error and the first line of its text."""
    text = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {shortened(as_line(text))}" if text else type(error).__name__


def imported(words: str) -> Any:
    """Return what ``package.module:name`` stands for; raise UserError if it cannot be imported or has no such name."""
    module, name = _module_and_name(words)
    with code_errors(f"{module.__name__} has no {name}", "check the name behind the colon"):
        return reduce(getattr, name.split("."), module)


def source_files(words: str) -> tuple[Path, ...]:
    """Return the source files of the module of ``package.module:name`` and of what defines the name there.

    Modules without source, and names for something else than a function or a class, have none.
    """
    module, _ = _module_and_name(words)
    value = imported(words)
    files = (_source_file(part) for part in (module, value if isroutine(value) else type(value), value))
    return tuple(dict.fromkeys(Path(file) for file in files if file is not None))


def callable_name(function: Callable[..., Any]) -> str:
    """Return a callable's name, as a message names it."""
    return function.__qualname__ if isroutine(function) else type(function).__qualname__


def _module_and_name(words: str) -> tuple[ModuleType, str]:
    place, _, name = words.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
        invalidate_caches()
    with code_errors(f"{place} cannot be imported", "mend it, or call from the folder that holds it"):
        return import_module(place), name


def _source_file(part: Any) -> str | None:
    try:
        return getsourcefile(part)
    except TypeError:  # of what is built in, and of values
        return None
