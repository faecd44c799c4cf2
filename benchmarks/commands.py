"""Arguments that the commands of tables share, and the command line as results keep it."""

import argparse
from pathlib import Path


def parser(doc: str | None, *positional: str) -> argparse.ArgumentParser:
    """Return a parser of positional arguments, replacements of the preset's teacher and data, seeds and runs."""
    commands = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for word in positional:
        commands.add_argument(word)
    commands.add_argument("--name", help="of the table; the preset's")
    commands.add_argument("--teacher", help="a name or a file; the preset's")
    commands.add_argument("--textures")
    commands.add_argument("--data-root", type=Path)
    commands.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    commands.add_argument("--runs", type=Path, default=Path("runs"))
    return commands


def command_line(script: str, words: list[str], arguments: argparse.Namespace) -> str:
    """Return the command that was typed, without the paths of one machine."""
    for flag in ("name", "teacher", "published", "textures", "data_root"):
        value = getattr(arguments, flag, None)
        if value:
            words = [*words, "--" + flag.replace("_", "-"), value if flag == "name" else Path(value).name]
    return f"python benchmarks/{script} {' '.join(words)} --seeds {' '.join(map(str, arguments.seeds))}"
