"""How help looks: names are never cut, a long one has a line of its own; rarer options only in ``--help-all``."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from cyclopts import Group

if TYPE_CHECKING:
    from cyclopts.help import HelpEntry, HelpPanel
    from rich.console import Console, ConsoleOptions

ARGUMENTS, OPTIONS = Group("Arguments", sort_key=0), Group("Options", sort_key=1)
FURTHER = Group("Further options", sort_key=2)
COMMON = Group("Common options", sort_key=9)
NAMES = 26  # columns of the names
EVERYTHING = 10_000  # columns of a paragraph that is not wrapped yet


class HelpPage:
    """Renders one panel after another. Implements cyclopts' HelpFormatter.

    Args:
        usual: titles of the panels that appear; None: all of them.
    """

    def __init__(self, usual: tuple[str, ...] | None = None) -> None:
        self.usual = usual

    def __call__(self, console: "Console", options: "ConsoleOptions", panel: "HelpPanel") -> None:
        """Print a panel: its title, and its entries in two columns."""
        from rich.text import Text

        title = str(panel.title)
        if panel.entries and (self.usual is None or title in self.usual):
            console.print(Text(f"{title}:", style="bold"))
            for entry in panel.entries:
                _print_entry(console, options, entry)
            console.print()

    def render_usage(self, console: "Console", options: "ConsoleOptions", usage: Any) -> None:
        """Print how the verb is called."""
        line = " ".join(_lines(console, options, usage)).strip()
        console.print(f"Usage: {line}\n", highlight=False, markup=False)

    def render_description(self, console: "Console", options: "ConsoleOptions", description: Any) -> None:
        """Print what the verb does, each paragraph wrapped anew."""
        text = "\n".join(_lines(console, options.update(width=EVERYTHING), description))
        for paragraph in text.strip().split("\n\n"):
            console.print(" ".join(paragraph.split()), highlight=False, markup=False)
            console.print()


def _print_entry(console: "Console", options: "ConsoleOptions", entry: "HelpEntry") -> None:
    from cyclopts.help import DescriptionRenderer
    from rich.text import Text

    label = "  " + _label(entry)
    if len(label) > NAMES - 2:
        console.print(Text(label, style="cyan"), soft_wrap=True)
        label = ""
    words = DescriptionRenderer()(entry.copy(choices=None))
    for line in _lines(console, options.update(width=options.max_width - NAMES), words):
        console.print(Text(label.ljust(NAMES), style="cyan") + Text(line, style="default"), soft_wrap=True)
        label = ""


def _lines(console: "Console", options: "ConsoleOptions", renderable: Any) -> Iterator[str]:
    """Yield the lines that ``renderable`` takes, without styles and trailing spaces."""
    for segments in console.render_lines(renderable, options, pad=False):
        yield "".join(segment.text for segment in segments).rstrip()


def _label(entry: "HelpEntry") -> str:
    names = ", ".join(entry.display_labels)
    if entry.positional_label or not entry.metavar:
        return names
    return f"{names} {'|'.join(entry.choices) if entry.choices else entry.metavar}"
