"""Configurations as JSON values: writing, digests, checked reading, and changes to single values."""

import difflib
import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, fields, is_dataclass
from typing import Any, NamedTuple, TypeVar

from pydantic import TypeAdapter, ValidationError

from skdcgn.base.errors import UserError, escaped, shortened, shown
from skdcgn.base.home import from_home

C = TypeVar("C")
MOST_FAULTS = 100  # that are listed to find the first
_ADAPTERS: dict[object, TypeAdapter[Any]] = {}  # by type: it takes a while to make one
IDENTITY = ("digest", "reads")  # keys of a run's config.json that are no settings


def to_dict(config: Any) -> dict[str, Any]:
    """Return a configuration, or any JSON value with dataclasses inside, as plain JSON values."""
    plain: dict[str, Any] = json.loads(json.dumps(config, default=_plain))
    return plain


def _plain(value: Any) -> dict[str, Any]:
    if not is_dataclass(value) or isinstance(value, type):
        raise TypeError(f"{shown(value)} is no value of JSON")
    return asdict(value)


def digest(config: Any) -> str:
    """Name a configuration by twelve hexadecimal digits of the sha256 of its canonical JSON."""
    canonical = json.dumps(to_dict(config), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def finite(value: float) -> float | None:
    """Return a number that JSON has, None for NaN and infinity."""
    return value if math.isfinite(value) else None


def from_dict(cls: type[C], values: Any, origin: str = "configuration", mend: str = "") -> C:
    """Build ``cls`` from JSON values; a number is no word and no truth value.

    Args:
        origin: the file or the option that the values come from.
        mend: what to do about wrong values; the error ends in it.

    Raises:
        UserError: names the first wrong key or value.
    """
    adapter: TypeAdapter[C] = _ADAPTERS.setdefault(cls, _ADAPTERS.get(cls) or TypeAdapter(cls))
    try:
        return adapter.validate_json(json.dumps(values, default=_plain), strict=True)
    except ValidationError as error:
        raise UserError(f"{origin}: {_first_fault(error, cls)}{mend and ': '}{mend}") from None
    except (UserError, TypeError, ValueError, RecursionError) as error:  # of a record's own check, or no JSON values
        raise UserError(f"{origin}: {error}{mend and ': '}{mend}") from None


def _first_fault(error: ValidationError, cls: type) -> str:
    if error.error_count() > MOST_FAULTS:  # of a large file: a list of them takes a thousand times its bytes
        return f"{error.error_count()} keys or values are wrong"
    first = error.errors()[0]
    key = shortened(".".join(map(str, first["loc"])))
    if first["type"] == "unexpected_keyword_argument":
        return f"unknown key {key!r}{_nearest(key, cls)}"
    if first["type"].startswith("missing"):
        return f"{key} is missing"
    return f"{key or 'its content'}: {first['msg'].lower()}, got {shown(first['input'])}"


def _nearest(key: str, cls: type) -> str:
    if not (is_dataclass(cls) and all("help" in part.metadata or is_dataclass(part.default) for part in fields(cls))):
        return ": remove it"  # a record of files, not a configuration, whose keys people write
    paths = [leaf.path for leaf in leaves(cls())]
    close = difflib.get_close_matches(key, paths, n=1)
    return f": did you mean {close[0]!r}?" if close else f": use one of {', '.join(paths)}"


class Leaf(NamedTuple):
    """A field of a configuration that holds a plain value: dotted path, declared type, help text, value."""

    path: str
    type: Any
    help: str
    value: Any


def leaves(config: Any, prefix: str = "") -> Iterator[Leaf]:
    """Yield the leaves of a configuration and of the configurations inside it."""
    for part in fields(config):
        value = getattr(config, part.name)
        if is_dataclass(value):
            yield from leaves(value, f"{prefix}{part.name}.")
        else:
            yield Leaf(prefix + part.name, part.type, part.metadata["help"], value)


def override(config: C, changes: dict[str, Any], origin: str = "configuration") -> C:
    """Return ``config`` with the values at dotted paths replaced; raise UserError for a wrong path or value."""
    values, paths = to_dict(config), {leaf.path for leaf in leaves(config)}
    for path, value in changes.items():
        if path not in paths:
            key = shortened(path)
            raise UserError(f"{origin}: unknown key {key!r}{_nearest(key, type(config))}")
        if isinstance(value, str) and value != value.encode(errors="replace").decode():  # bytes of a path, as \udcff
            raise UserError(f"{origin}: {path} {escaped(value)} is not UTF-8: rename the file or folder")
        *parents, key = path.split(".")
        section = values
        for parent in parents:
            section = section[parent]
        section[key] = value
    return from_dict(type(config), values, origin)


def merge(config: C, values: dict[str, Any], origin: str) -> C:
    """Return ``config`` with the (nested) JSON values of a file, which may be a run's ``config.json``."""

    def flatten(part: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
        for key, value in part.items():
            if isinstance(value, dict):
                yield from flatten(value, f"{prefix}{key}.")
            else:
                yield prefix + key, from_home(value) if isinstance(value, str) else value

    return override(config, dict(flatten(settings_of(values))), origin)


def settings_of(values: dict[str, Any]) -> dict[str, Any]:
    """Return the settings alone of a run's ``config.json``."""
    return {key: value for key, value in values.items() if key not in IDENTITY}
