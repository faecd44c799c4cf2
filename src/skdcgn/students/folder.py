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
from skdcgn.base.door import is_file, read_object
from skdcgn.base.errors import UserError, naming
from skdcgn.base.files import write_bytes
from skdcgn.base.records import digest, from_dict, to_dict
from skdcgn.base.tensors import read_tensors, write_tensors
from skdcgn.base.weights import check_tensors
from skdcgn.cgn.mechanism import Mechanism, Spec

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
CONFIG_KEY = "config"  # in the weights' metadata: the digest of their configuration
CARD_TEXT = """---
library_name: skdcgn
license: mit
tags:
- counterfactual
- skdcgn
---

# A student CGN

It draws shape masks, textures and backgrounds of a class, and composes counterfactual images of them.

```python
import skdcgn

student = skdcgn.StudentCGN.from_pretrained("this folder, or its name on the Hub")
images = skdcgn.compose(student, n=16).images  # (16, 3, H, W) in [-1, 1]
```
"""


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
        write_bytes(folder / CARD, CARD_TEXT.encode())
    write_tensors(folder / WEIGHTS, state, {CONFIG_KEY: digest(values)})
    write_bytes(folder / CONFIG, json.dumps(values, indent=2, sort_keys=True).encode())


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
    """Say where the student of a folder is that distill or run wrote to."""
    if is_file(folder / "student" / WEIGHTS):
        return f"it lies one level below: pass {folder / 'student'}"
    return f"pass the folder student that distill wrote, with {CONFIG} and {WEIGHTS}"


def fetched(name: str, **options: Any) -> Path:
    """Return the local copy of a student's repository on the Hub; options are those of ``snapshot_download``.

    Raises:
        UserError: ``name`` is no repository, or cannot be fetched.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=[CONFIG, WEIGHTS], **options))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            f"{name!r} is no folder, and cannot be fetched from the Hugging Face Hub ({reason}): pass a student's "
            "folder or the name of its repository"
        ) from None


def upload(
    form: StudentForm,
    state: dict[str, Tensor],
    name: str,
    *,
    private: bool | None,
    token: str | None,
    branch: str | None,
    message: str,
) -> str:
    """Write a student's files into a repository on the Hub, which is made if there is none; return the commit's URL."""
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    repository = api.create_repo(repo_id=name, private=private, exist_ok=True).repo_id
    with TemporaryDirectory() as folder:
        write_student(Path(folder), form, state)
        return str(api.upload_folder(repo_id=repository, folder_path=folder, commit_message=message, revision=branch))
