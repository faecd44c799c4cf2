"""Push a student to the Hugging Face Hub, with a card that says where it comes from and what was measured."""

import os
from dataclasses import dataclass
from pathlib import Path

from skdcgn.base.door import is_file, read_text
from skdcgn.base.errors import UserError, shown
from skdcgn.base.files import write_bytes
from skdcgn.deploy.card import MARK, SAMPLES, Repository, card_text, samples
from skdcgn.deploy.origin import licence_of, origin_of
from skdcgn.students.endpoint import endpoint_at
from skdcgn.students.folder import ANY_NAME, student_files
from skdcgn.students.generator import StudentCGN
from skdcgn.students.hub import CARD, is_repository_name, upload

TOKEN_KEY = "HF_TOKEN"
OF_EARLIER_VERSIONS = "This model has been pushed to the Hub using the [PytorchModelHubMixin]"


@dataclass(frozen=True)
class Push:
    """What was pushed, or would be.

    Args:
        place: address of the repository.
        sizes: bytes of its files, by name.
        own_card: the card is the user's own, and was not written.
        commit: address of the commit; None of a dry run.
    """

    place: str
    sizes: dict[str, int]
    own_card: bool
    commit: str | None


def push_student(
    folder: str | Path,
    name: str,
    *,
    teacher_licence: str | None = None,
    private: bool | None = None,
    revision: str | None = None,
    dry_run: bool = False,
    endpoint: str | None = None,
) -> Push:
    """Write a student and its card into a repository on the Hub, which is made if there is none.

    A card in the folder that neither ``save_pretrained`` nor a push wrote is the user's own, and goes as it is. The
    token is that of the environment variable ``HF_TOKEN``.

    Args:
        folder: of the student; its run, in the folder above, gives the card its tables.
        name: ``user/student``.
        teacher_licence: SPDX identifier of the licence of the teacher; None: the zoo's, if it is a teacher of the zoo.
        private: whether a new repository is private; None: the default of its owner.
        revision: the branch; None: ``main``.
        dry_run: write card and samples into ``folder`` instead, and send nothing.
        endpoint: see :func:`skdcgn.students.endpoint.endpoint_at`.

    Raises:
        UserError: no student, no such name, no licence, no token, or the Hub does not take it.
    """
    folder = Path(folder)
    if not is_repository_name(name):
        raise UserError(f"{shown(name)} is no name of a repository: write user/student")
    student = StudentCGN.load(folder)
    files, own_card = card_files(folder, student, Repository(name, revision), teacher_licence)
    everything = {**student_files(student.form, student.state_dict(), files[CARD].decode()), **files}
    place, sizes = f"{endpoint_at(endpoint).url}/{name}", {file: len(data) for file, data in everything.items()}
    if dry_run:
        for file, data in files.items():
            write_bytes(folder / file, data)
        return Push(place, sizes, own_card, None)
    token = os.environ.get(TOKEN_KEY)
    if not token:
        raise UserError(f"pushing {name!r} needs a token that may write: set the environment variable {TOKEN_KEY}")
    commit = upload(name, everything, private=private, token=token, revision=revision, endpoint=endpoint)
    return Push(place, sizes, own_card, commit)


def card_files(
    folder: Path, student: StudentCGN, repository: Repository, teacher_licence: str | None
) -> tuple[dict[str, bytes], bool]:
    """Return the bytes of card and samples, and whether the card is the user's own."""
    if is_file(folder / CARD) and not is_ours(text := read_text(folder / CARD)):
        own_samples = {SAMPLES: (folder / SAMPLES).read_bytes()} if is_file(folder / SAMPLES) else {}
        return {CARD: text.encode(), **own_samples}, True
    origin = origin_of(folder, student.size)
    text = card_text(student, origin, licence_of(origin, teacher_licence), repository)
    return {CARD: text.encode(), SAMPLES: samples(student)}, False


def is_ours(card: str) -> bool:
    """Say whether a card is one that ``save_pretrained`` or a push wrote, and may write again."""
    return any(words in card for words in (MARK, ANY_NAME, OF_EARLIER_VERSIONS))
