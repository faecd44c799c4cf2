"""The verb that shares a student: push."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def push(
    student: Annotated[Path, Parameter(help="Folder of a student; its run gives the card its table.")],
    repository: Annotated[str, Parameter(help="Name on the Hub, as user/student.")],
    /,
    *,
    teacher_licence: Annotated[
        str | None, Parameter(help="SPDX name of the teacher's licence. Default: the zoo's.", show_default=False)
    ] = None,
    private: Annotated[bool, Parameter(negative=(), show_default=False, help="Make a new repository private.")] = False,
    revision: Annotated[str | None, Parameter(help="Branch. Default: main.", show_default=False)] = None,
    dry_run: Annotated[
        bool, Parameter(negative=(), show_default=False, help="Write card and samples into STUDENT, send nothing.")
    ] = False,
) -> None:
    """Push a student and its card to the Hugging Face Hub."""
    from skdcgn.deploy.hub import push_student

    pushed = push_student(
        student,
        repository,
        teacher_licence=teacher_licence,
        private=private or None,
        revision=revision,
        dry_run=dry_run,
    )
    whose = "your own card" if pushed.own_card else "a card"
    print(f"{'pushed to' if pushed.commit else 'would go to'} {pushed.place}, with {whose}:")
    print("\n".join(f"  {name:<18}{size:>12,} bytes" for name, size in pushed.sizes.items()))
    print(pushed.commit or f"nothing was sent: read {student / 'README.md'}, then repeat the command without --dry-run")
