"""Flags: a verb gets one option per field of a configuration."""

import inspect
from collections.abc import Callable, Collection
from typing import Annotated, Any, get_args, get_type_hints

from cyclopts import Group, Parameter

from skdcgn.base.records import Leaf, leaves
from skdcgn.cli.help_page import FURTHER, OPTIONS

Verb = Callable[..., int | None]  # the exit status, if it is another than 0


def with_flags(*configs: Any, main: Collection[str] = (), leave_out: Collection[str] = ()) -> Callable[[Verb], Verb]:
    """Give a verb one option per field of the configurations; its help shows the (first one's) values.

    The decorated function must have a parameter ``changes: dict[str, Any]``; only options that the user typed
    are in it, under their dotted paths.

    Args:
        main: fields that ``--help`` shows; ``--help-all`` shows the others too.
        leave_out: fields that get no option.
    """
    all_leaves = {leaf.path: leaf for config in reversed(configs) for leaf in leaves(config)}
    options = {path.replace(".", "_"): leaf for path, leaf in all_leaves.items() if path not in leave_out}

    def decorate(function: Verb) -> Verb:
        hints = get_type_hints(function, include_extras=True)
        own = [
            parameter.replace(annotation=hints[name])
            for name, parameter in inspect.signature(function).parameters.items()
            if name != "changes"
        ]
        extra = [_parameter(name, leaf, leaf.path in main) for name, leaf in options.items()]

        def verb(*positional: Any, **named: Any) -> int | None:
            changes = {leaf.path: named.pop(name) for name, leaf in options.items() if name in named}
            return function(*positional, **named, changes=changes)

        verb.__signature__ = inspect.Signature(own + extra)  # type: ignore[attr-defined]
        verb.__annotations__ = {p.name: p.annotation for p in own + extra}
        verb.__name__, verb.__doc__ = function.__name__, function.__doc__
        return verb

    return decorate


def _parameter(name: str, leaf: Leaf, main: bool) -> inspect.Parameter:
    option = Parameter(
        name="--" + leaf.path.replace(".", "-").replace("_", "-"),
        help=_words(leaf),
        show_default=False,
        group=OPTIONS if main else _group(leaf.path),
    )
    annotation: Any = Annotated[_flag_type(leaf), option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _group(path: str) -> Group:
    *parents, _ = path.split(".")
    return Group(" ".join(("Options of", *parents)), sort_key=3) if parents else FURTHER


def _words(leaf: Leaf) -> str:
    """Return the help of an option, as a sentence and with its value."""
    repeat = "; repeat the option" if isinstance(leaf.value, tuple) else ""
    sentence = f"{leaf.help[:1].upper()}{leaf.help[1:]}{repeat}."
    return sentence if leaf.value is None else f"{sentence} [default: {_shown(leaf.value)}]"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return (" ".join(map(str, value)) if isinstance(value, tuple) else str(value)) or "none"


def _flag_type(leaf: Leaf) -> Any:
    if isinstance(leaf.value, tuple):
        return (list[str] if get_args(leaf.type)[0] is str else list[int]) | None
    plain: Any = (
        leaf.type if isinstance(leaf.type, type) else next(t for t in get_args(leaf.type) if t is not type(None))
    )
    return plain | None
