"""Paths that begin with ~, wherever a user writes one: on the command line, in JSON, in an environment variable."""

import os
import re

HOME = re.compile(r"~[\w.-]*(/|$)")


def from_home(text: str) -> str:
    """Return a word with ~ as the home folder where a path begins: ``~/x``, ``--out=~/x``.

    A shell does so in the words of a command alone, neither after ``=`` nor in a file or a variable.
    """
    option, equals, value = text.partition("=") if text.startswith("--") else ("", "", text)
    return option + equals + (os.path.expanduser(value) if HOME.match(value) else value)
