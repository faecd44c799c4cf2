"""What the tables' commands share: their arguments, and the command as the results tell it."""

import argparse
from pathlib import Path


def parser(doc: str | None, *positional: str) -> argparse.ArgumentParser:
    """Return a parser of the positional words, of what replaces the preset's teacher and data, of seeds and runs."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for word in positional:
        made.add_argument(word)
    made.add_argument("--name", help="of the table; the preset's")
    made.add_argument("--teacher", help="a name or a file; the preset's")
    made.add_argument("--textures")
    made.add_argument("--data-root", type=Path)
    made.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    made.add_argument("--runs", type=Path, default=Path("runs"))
    return made


def told(script: str, words: list[str], chosen: argparse.Namespace) -> str:
    """Return the command that was typed, without the paths of one machine."""
    for flag in ("name", "teacher", "published", "textures", "data_root"):
        value = getattr(chosen, flag, None)
        if value:
            words = [*words, "--" + flag.replace("_", "-"), value if flag == "name" else Path(value).name]
    return f"python benchmarks/{script} {' '.join(words)} --seeds {' '.join(map(str, chosen.seeds))}"
