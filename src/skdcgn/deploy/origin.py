"""The origin of a student: its teacher, its pairs and the run that measured it, as the folders around it say."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skdcgn.base.bounds import Count
from skdcgn.base.door import is_file, read_object, read_record
from skdcgn.base.errors import UserError
from skdcgn.base.presets import IMAGENET_RUNS, PHOTO_RUNS, RUNS
from skdcgn.base.records import to_dict
from skdcgn.cgn.mechanism import Mechanism
from skdcgn.results.photo_record import PhotosResults
from skdcgn.results.records import RESULTS_FILE, ImageNetResults, MnistResults, read_results
from skdcgn.students.licence import check_licence, is_spdx
from skdcgn.zoo import cards

AnyResults = MnistResults | ImageNetResults | PhotosResults
STUDENT = "student"  # the folder of a student in that of its run or distillation


@dataclass(frozen=True)
class PairsOfStudent:
    """The pairs that a mechanism was distilled from: the teacher's digest and their number."""

    teacher: str
    count: Count


@dataclass(frozen=True)
class Distillation:
    """``config.json`` of the distillation of a mechanism, of which a card shows its pairs and its seed."""

    pairs: PairsOfStudent
    seed: int


@dataclass(frozen=True)
class Origin:
    """What the folders around a student say of it.

    Args:
        teacher: its name; None if it is not known, or is a path or an address that concerns nobody else.
        digest: of the teacher; None if it is not known.
        distillations: by mechanism; empty if they are not there.
        results: of the run; None without a run.
        changes: settings of the run, by their dotted names, that are not its preset's.
    """

    teacher: str | None
    digest: str | None
    distillations: Mapping[str, Distillation]
    results: AnyResults | None
    changes: tuple[str, ...] = ()

    @property
    def zoo_name(self) -> str | None:
        """The name of the teacher in the zoo; None if it has none."""
        by_digest = (name for name, card in cards().items() if self.digest and card.get("sha256") == self.digest)
        return self.teacher if self.teacher in cards() else next(by_digest, None)


def origin_of(folder: Path, size: int) -> Origin:
    """Return the origin of the student of ``size`` parameters in ``folder``.

    Raises:
        UserError: a record is damaged, or that of a run whose student has another size.
    """
    run = folder.resolve().parent
    if folder.resolve().name != STUDENT:
        return Origin(None, None, {}, None)
    distillations = {
        mechanism.value: read_record(file, Distillation)
        for mechanism in Mechanism
        if is_file(file := run / "students" / mechanism / "config.json")
    }
    results = _results(run, size) if is_file(run / RESULTS_FILE) else None
    of_pairs = next((one.pairs.teacher for one in distillations.values()), None)
    if isinstance(results, MnistResults | ImageNetResults):
        name, digest = public_name(results.teacher.name), results.teacher.digest
        return Origin(name, digest, distillations, results, changed_settings(run, results.preset))
    changes = changed_settings(run, results.preset) if results else ()
    return Origin(None, results.photo_cgn if results else of_pairs, distillations, results, changes)


def _results(run: Path, size: int) -> AnyResults:
    keys = read_object(run / RESULTS_FILE)
    kinds: dict[str, type[AnyResults]] = {"photo_cgn": PhotosResults, "ensembles": ImageNetResults}
    kind: type[AnyResults] = next((kinds[key] for key in kinds if key in keys), MnistResults)
    results = read_results(run, kind)
    _check_size(run / RESULTS_FILE, results, size)
    return results


def _check_size(file: Path, results: AnyResults, size: int) -> None:
    if isinstance(results, PhotosResults):
        of_run = results.student.parameters if results.student else None
    else:
        of_run = results.parameters.student
    if of_run != size:
        raise UserError(f"{file} is of another student: copy this one elsewhere, and push it without the table")


def public_name(name: str | None) -> str | None:
    """Return the name of a teacher that others may read: no address, and of a path the last part."""
    if name is None or "://" in name or name.startswith("recorded:"):
        return None
    return Path(name).name


def changed_settings(run: Path, preset: str) -> tuple[str, ...]:
    """Return the settings in which a run differs from its preset, other than the seed, as ``distill.steps = 40``."""
    presets: dict[str, Any] = {**RUNS, **IMAGENET_RUNS, **PHOTO_RUNS}
    if preset not in presets:
        return ()
    usual, own = _flat(to_dict(presets[preset])), _flat(read_object(run / "config.json"))
    other = [name for name in usual if name in own and own[name] != usual[name]]
    return tuple(f"{name} = {_public(own[name])}" for name in other if name not in ("seed", "teacher"))


def _public(value: Any) -> Any:
    """Return the value of a setting as others may read it: of a path the last part."""
    return public_name(value) or "not shown here" if isinstance(value, str) else value


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def licence_of(origin: Origin, stated: str | None) -> str:
    """Return the licence of a student's teacher, an SPDX identifier: the zoo's, or what a user states.

    Raises:
        UserError: it is not known, not stated, or stated otherwise than the zoo does.
    """
    name = origin.zoo_name
    card = cards()[name]["licence"] if name else None
    of_zoo = card if card and is_spdx(card) else None
    if stated is None and of_zoo is None:
        words = f" (the zoo says of it: {card})" if card else ""
        raise UserError(
            f"the licence of the teacher{f' {name}' if name else ''} is not known{words}: find it out, and pass its "
            "SPDX identifier by --teacher-licence, as --teacher-licence CC-BY-NC-4.0"
        )
    if of_zoo and stated and stated.lower() != of_zoo.lower():
        raise UserError(f"--teacher-licence {stated}: the zoo's {name} has the licence {of_zoo}: leave the option out")
    return of_zoo or check_licence(str(stated))
