"""Hooks of the documentation's build: formulas become MathML, so that a page needs no script for them.

``pymdownx.arithmatex`` marks a formula by ``\\(...\\)`` or ``\\[...\\]``; every current browser draws MathML by itself.
"""

import html
import re
from typing import Any

from latex2mathml.converter import convert

FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def on_page_content(content: str, **_: Any) -> str:
    """Replace the formulas of a page."""
    return FORMULA.sub(_mathml, content)


def _mathml(formula: re.Match[str]) -> str:
    display = "block" if formula[2] == "[" else "inline"
    return convert(html.unescape(formula[3]), display=display)
