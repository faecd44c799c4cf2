"""Flags: a typer command gets one option per field of a configuration."""

import inspect
from collections.abc import Callable
from typing import Annotated, Any, get_args, get_type_hints

import typer

from skdcgn.base.records import Leaf, leaves


def with_flags(*shown: Any, leave_out: tuple[str, ...] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a typer command one option per field of the configurations; its help tells the (first one's) values.

    The decorated function must have a parameter ``changes: dict[str, Any]``; only flags that the user typed
    are in it, under their dotted paths.
    """
    all_leaves = {leaf.path: leaf for config in reversed(shown) for leaf in leaves(config)}
    options = {path.replace(".", "_"): leaf for path, leaf in all_leaves.items() if path not in leave_out}

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = [p for name, p in inspect.signature(function).parameters.items() if name != "changes"]
        hints = get_type_hints(function, include_extras=True)

        def command(**given: Any) -> None:
            changes = {leaf.path: given.pop(name) for name, leaf in options.items() if given.get(name) is not None}
            given = {name: value for name, value in given.items() if name not in options}
            function(**given, changes={p: list(v) if isinstance(v, tuple) else v for p, v in changes.items()})

        extra = [_parameter(name, leaf) for name, leaf in options.items()]
        own = [parameter.replace(annotation=hints[parameter.name]) for parameter in own]
        command.__signature__ = inspect.Signature(own + extra)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in own + extra}
        command.__name__, command.__doc__ = function.__name__, function.__doc__
        return command

    return decorate


def _parameter(name: str, leaf: Leaf) -> inspect.Parameter:
    flag = "--" + leaf.path.replace(".", "-").replace("_", "-")
    flags = f"{flag}/--no-{flag[2:]}" if leaf.type is bool else flag
    repeated = "; repeat the flag" if isinstance(leaf.value, tuple) else ""
    described = f"{leaf.help}{repeated} [dim]\\[{_shown(leaf.value)}][/dim]"
    panel = leaf.path.split(".")[0] + " options" if "." in leaf.path else "Configuration"
    info = typer.Option(flags, help=described, show_default=False, rich_help_panel=panel)
    annotation: Any = Annotated[_flag_type(leaf), info]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _flag_type(leaf: Leaf) -> Any:
    if isinstance(leaf.value, tuple):
        return (list[str] if get_args(leaf.type)[0] is str else list[int]) | None
    plain: Any = (
        leaf.type if isinstance(leaf.type, type) else next(t for t in get_args(leaf.type) if t is not type(None))
    )
    return plain | None
