"""The folder of a student, laid out as on the Hugging Face Hub: ``config.json``, ``model.safetensors``, a model card.

The weights' metadata hold the digest of their configuration: two files of two students, which a killed save may leave,
are none. Loading is strict: every tensor of the configured networks, and no other.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import Tensor

from skdcgn.base.config import StudentConfig
from skdcgn.base.door import is_file, is_folder, read_object
from skdcgn.base.errors import UserError, naming
from skdcgn.base.files import write_bytes
from skdcgn.base.records import digest, from_dict, to_dict
from skdcgn.base.tensors import read_tensors, write_tensors
from skdcgn.base.weights import check_tensors
from skdcgn.cgn.mechanism import Mechanism, Spec
from skdcgn.students.hub import CARD, CONFIG, WEIGHTS
from skdcgn.students.licence import licence_metadata

CONFIG_KEY = "config"  # in the weights' metadata: the digest of their configuration
ANY_NAME = "this folder, or its name on the Hub"  # how a card calls its student before it is pushed
CARD_TEXT = """---
library_name: skdcgn
{metadata}
tags:
- counterfactual
- skdcgn
---

# A student CGN

It draws shape masks, textures and backgrounds of a class, and composes counterfactual images of them.

```python
import skdcgn

student = skdcgn.load_student("{name}")
images = skdcgn.compose(student, n=16).images  # (16, 3, H, W) in [-1, 1]
```

{words}
"""
UNKNOWN_WORDS = """The licence is not known here: a student is made of a teacher's answers, and that teacher's licence
may bind it. Find it out before you share this folder, and state it above."""


@dataclass(frozen=True)
class StudentForm:
    """What ``config.json`` holds: the spec of a student and the size of each of its mechanisms."""

    spec: Spec
    sizes: dict[Mechanism, StudentConfig]


def student_form(values: Any, origin: object) -> StudentForm:
    """Return JSON values as a :class:`StudentForm`; raise UserError that names the wrong key or value in ``origin``."""
    with naming(origin):
        form = from_dict(StudentForm, values, str(origin))
        for mechanism in Mechanism:
            if mechanism not in form.sizes:
                raise UserError(f"sizes.{mechanism} is missing: a student has three mechanisms")
    return form


def write_student(folder: Path, form: StudentForm, state: dict[str, Tensor]) -> None:
    """Write a student's files, each atomically; the configuration, without which there is no student, comes last."""
    values = to_dict(form)
    if not (folder / CARD).exists():
        write_bytes(folder / CARD, short_card().encode())
    write_tensors(folder / WEIGHTS, state, {CONFIG_KEY: digest(values)})
    write_bytes(folder / CONFIG, json.dumps(values, indent=2, sort_keys=True).encode())


def short_card(name: str = ANY_NAME, licence: str | None = None) -> str:
    """Return a model card that says no more than what any student does, and its teacher's licence; None: unknown."""
    metadata = "\n".join(f"{key}: {value}" for key, value in licence_metadata(licence).items())
    words = f"The licence of its teacher is {licence}." if licence else UNKNOWN_WORDS
    return CARD_TEXT.format(metadata=metadata, name=name, words=words)


def student_files(form: StudentForm, state: dict[str, Tensor], card: str) -> dict[str, bytes]:
    """Return the bytes of a student's files by name, with ``card`` as its model card."""
    with TemporaryDirectory() as folder:
        write_student(Path(folder), form, state)
        files = {name: (Path(folder) / name).read_bytes() for name in (CONFIG, WEIGHTS)}
    return {CARD: card.encode(), **files}


def read_student(folder: Path) -> tuple[StudentForm, dict[str, Tensor]]:
    """Return the configuration and the tensors in a student's folder.

    Raises:
        UserError: there is no student, its files are damaged or of two students, or a tensor is no weight.
    """
    if not is_file(folder / CONFIG) or not is_file(folder / WEIGHTS):
        raise UserError(f"{folder} holds no student: {_right_folder(folder)}")
    values = read_object(folder / CONFIG)
    form, (state, metadata) = student_form(values, folder / CONFIG), read_tensors(folder / WEIGHTS)
    if metadata.get(CONFIG_KEY, digest(values)) != digest(values):
        raise UserError(
            f"{folder} holds no whole student: {CONFIG} and {WEIGHTS} are of two; run distill again, or save it again"
        )
    check_tensors(folder / WEIGHTS, state)
    return form, state


def _right_folder(folder: Path) -> str:
    """Say what to pass instead of a folder: the student in it, or its pairs as a teacher."""
    if is_file(folder / "student" / WEIGHTS):
        return f"it lies one level below: pass {folder / 'student'}"
    if is_folder(folder / Mechanism.SHAPE):
        return f"for a folder of pairs as a teacher pass recorded:{folder}"
    return f"pass the folder student that distill wrote, with {CONFIG} and {WEIGHTS}"
