"""What a user states of a black box: some fields of a Spec, in words, in a JSON file or as a Spec.

The words are ``image_size=64,noise_dim=128,classes=5,distribution=uniform,tiles=false``, and ``names=cat/dog/bird``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from skdcgn.base.door import is_file, parse_json, read_record
from skdcgn.base.errors import UserError, find, shown
from skdcgn.base.home import from_home
from skdcgn.base.records import from_dict
from skdcgn.cgn.mechanism import Spec

OPTION = "--spec"
MOST_WORDS = 10_000  # characters
TEXTS = ("distribution",)


@dataclass(frozen=True)
class StatedSpec:
    """Some fields of a :class:`~skdcgn.cgn.mechanism.Spec`; None and () for what is not stated.

    Raises:
        UserError: the stated fields make no Spec.
    """

    image_size: int | None = None
    noise_dim: int | None = None
    classes: int | None = None
    distribution: str | None = None
    names: tuple[str, ...] = ()
    tiles: bool | None = None
    truncation: float | None = None

    def __post_init__(self) -> None:
        self.over(Spec())

    @property
    def values(self) -> dict[str, Any]:
        """The stated fields by name; names state the number of classes too."""
        counted = {"classes": len(self.names)} if self.names else {}
        stated = {field.name: getattr(self, field.name) for field in fields(self)}
        return counted | {name: value for name, value in stated.items() if value not in (None, ())}

    def over(self, spec: Spec) -> Spec:
        """Return ``spec`` with the stated fields instead of its own."""
        values = self.values
        if values.get("classes", spec.classes) != spec.classes:
            spec = replace(spec, names=())
        return replace(spec, **values)

    def with_defaults(self, defaults: "StatedSpec") -> "StatedSpec":
        """Return these fields, and those of ``defaults`` that these do not state."""
        return StatedSpec(**{**defaults.values, **self.values})

    def check(self, spec: Spec, origin: object, speaker: str = f"{OPTION} says") -> None:
        """Raise UserError, which begins with ``origin`` and names the speaker, if a stated field is not ``spec``'s."""
        for name, value in self.values.items():
            own = getattr(spec, name)
            if value != own:
                raise UserError(
                    f"{origin} states {name} {_shown(own)}, and {speaker} {_shown(value)}: correct it or leave it out"
                )


NOTHING = StatedSpec()


def stated_spec(spec: Spec | StatedSpec | str | Path | None) -> StatedSpec:
    """Return what a user states: a whole Spec, a JSON file of its fields, or words.

    Raises:
        UserError: a field does not exist, has a wrong value, or the file cannot be read; the line names it.
    """
    if spec is None:
        return NOTHING
    if isinstance(spec, StatedSpec):
        return spec
    if isinstance(spec, Spec):
        return StatedSpec(**spec.to_dict())
    path = Path(from_home(str(spec)))
    if isinstance(spec, Path) or "=" not in spec or is_file(path):
        return read_record(path, StatedSpec, f"write an object with {_names()}")
    return from_dict(StatedSpec, dict(_assignment(part) for part in _parts(spec)), OPTION)


def _parts(words: str) -> list[str]:
    if len(words) > MOST_WORDS:
        raise UserError(f"{OPTION} has {len(words):,} characters, more than {MOST_WORDS:,}: put it into a JSON file")
    return [part.strip() for part in words.split(",") if part.strip()]


def _assignment(words: str) -> tuple[str, Any]:
    """Return field and value of ``field=value``."""
    name, equals, text = (part.strip() for part in words.partition("="))
    if not equals:
        raise UserError(f"{OPTION}: {shown(words)} is no field=value: write as image_size=64,classes=5,names=cat/dog")
    find(f"field of {OPTION}", name, KINDS)
    if name == "names":
        return name, [word.strip() for word in text.split("/")]
    return name, text if name in TEXTS else parse_json(
        text.lower(), f"{OPTION}: {name}", "write a number, true or false"
    )


KINDS: Mapping[str, str] = {field.name: str(field.type) for field in fields(StatedSpec)}


def _names() -> str:
    return ", ".join(KINDS)


def _shown(value: Any) -> str:
    return shown(list(value) if isinstance(value, tuple) else value)
