"""Can an audit be believed? Audits of classifiers whose shortcut is planted.

    python benchmarks/audit.py --photos TRAIN --masks MASKS

Digits: classifiers with a planted share of shortcut (``planted.py``), and decorrelated ones. Each is audited with the
zoo's teacher, with its student, and with real glyphs and no generator. For each classifier in ``COVERAGE``, the
intervals of two hundred audits are compared with the numbers of all their pictures together. Photographs:
counterfactuals of a photo CGN with planted labels; MASKS is what ``skdcgn segment`` writes of TRAIN. Without
``--photos`` the digits alone are measured.

Classifiers, student and audits are kept under ``--runs``: a command that was killed goes on. Raw results:
``benchmarks/results/audit.json``; figures: ``docs/results/figures/audit-*.png``.
"""

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pydantic.dataclasses import dataclass
from torch import Tensor

from audit_figures import draw_figures
from audit_summary import Audited, Coverage, covered, markdown, summarise
from planted import (
    BUDGET,
    FAMILIES,
    PHOTO_BUDGET,
    SHARES,
    GlyphTeacher,
    Planted,
    Trained,
    decorrelated,
    ladder,
    train_on_digits,
    train_on_photos,
)
from skdcgn.base.door import read_record
from skdcgn.base.files import write_bytes, write_json
from skdcgn.base.presets import DEFAULT, run_preset
from skdcgn.base.records import to_dict
from skdcgn.cgn.mechanism import Teacher
from skdcgn.evaluation.audit_answers import ask
from skdcgn.evaluation.reactions import reactions
from skdcgn.results.versions import versions
from skdcgn.students.distill import distill
from skdcgn.teachers.load import load_teacher
from skdcgn.teachers.photographs import build_photo_cgn, load_photo_cgn

RESULTS = Path(__file__).parent / "results"
IMAGES, FALSE_ALARM_IMAGES = 1000, 2000  # base pictures of an audit
PHOTO_FAMILIES, PHOTO_SHARES, PHOTO_SIZE = ("texture", "background"), (0.5, 1.0), 64
COVERAGE = {"texture-0.5-0": 500, "none-0-0": 250}  # classifiers, and base pictures of each repeated audit
REPEATS, COVERAGE_SEED = 200, 1


class RememberingTeacher:
    """A CGN that answers a query once: audits of one seed ask the same of it, whatever the classifier."""

    def __init__(self, cgn: Teacher) -> None:
        self.cgn, self.spec, self.digest, self.size = cgn, cgn.spec, cgn.digest, cgn.size
        self.answers: dict[tuple[str, bytes, bytes], Tensor] = {}

    def query(self, mechanism: str, noise: Tensor, labels: Tensor) -> Tensor:
        key = str(mechanism), noise.numpy().tobytes(), labels.numpy().tobytes()
        if key not in self.answers:
            self.answers[key] = self.cgn.query(mechanism, noise, labels)
        return self.answers[key]


def student_of(teacher: Teacher, runs: Path) -> Teacher:
    """Distill the teacher by its preset's settings; a student that is there is read."""
    config = run_preset(DEFAULT)
    return distill(teacher, runs / "student", config.distill, config.query, seed=0, device="cpu")


def photo_cgn(photos: Path, masks: Path, runs: Path) -> Teacher:
    """Return the photo CGN, written if it is not there."""
    path = runs / "photos.safetensors"
    return load_photo_cgn(path) if path.exists() else build_photo_cgn(photos, masks, path, image_size=PHOTO_SIZE)


def audited(trained: Trained, name: str, cgn: Teacher, runs: Path) -> Audited:
    """Audit a classifier with the CGN called ``name``; an audit that is there is read."""
    file = runs / "audits" / name / f"{trained.planted.name}.json"
    if file.exists():
        return read_record(file, Audited)
    planted, images = trained.planted, IMAGES if trained.planted.share else FALSE_ALARM_IMAGES
    parts = reactions(ask(trained.probabilities, cgn, images))
    result = Audited(**to_dict(planted), accuracy=trained.accuracy, cgn=name, images=images, **parts._asdict())
    write_json(file, to_dict(result))
    return result


def audit_all(
    name: str, cgn: Teacher, train: Callable[[Planted], Trained], sets: list[Planted], runs: Path
) -> list[Audited]:
    """Train and audit a classifier of each planted set."""
    results, remembering = [], RememberingTeacher(cgn)
    for planted in sets:
        results.append(audited(train(planted), name, remembering, runs))
        both = results[-1].reactions["texture+background"]
        print(f"{name} {planted.name}: {results[-1].accuracy:.1f} % right, follows both in {both.follow}", flush=True)
    return results


@dataclass(frozen=True)
class CoverageFile:
    """The coverage of a classifier's intervals, as its run folder keeps it."""

    coverage: list[Coverage]


def coverage_of(trained: Trained, cgn: Teacher, runs: Path, images: int) -> list[Coverage]:
    """Return how often the intervals of 200 audits of ``images`` base pictures hold the numbers of all of these."""
    file = runs / "coverage" / f"{trained.planted.name}.json"
    if not file.exists():
        answers = ask(trained.probabilities, cgn, REPEATS * images, seed=COVERAGE_SEED)
        write_json(file, to_dict(CoverageFile(covered(answers, REPEATS))))
        print(f"coverage {trained.planted.name}", flush=True)
    return read_record(file, CoverageFile).coverage


def measure_digits(arguments: argparse.Namespace) -> tuple[list[Audited], dict[str, list[Coverage]]]:
    """Return the audits of all digit classifiers with three CGNs, and the coverage of intervals with the student."""
    runs, train, teacher = arguments.runs, partial(train_on_digits, runs=arguments.runs), load_teacher(DEFAULT)
    rungs = [*decorrelated(arguments.seeds), *ladder(FAMILIES, SHARES, arguments.seeds)]
    rest = [one for one in decorrelated(range(arguments.decorrelated)) if one not in rungs]
    results = audit_all("teacher", teacher, train, [*rungs, *rest], runs)
    student = student_of(teacher, runs)
    compared = [one for one in rungs if one.seed in arguments.agreement_seeds]
    for name, cgn in {"student": student, "glyphs": GlyphTeacher()}.items():
        results += audit_all(name, cgn, train, compared, runs)
    named = {one.name: one for one in rungs}
    sizes = {name: images for name, images in COVERAGE.items() if name in named}
    return results, {name: coverage_of(train(named[name]), student, runs, images) for name, images in sizes.items()}


def measure_photos(arguments: argparse.Namespace) -> list[Audited]:
    """Return the audits of classifiers of planted counterfactuals of photographs."""
    cgn = photo_cgn(arguments.photos, arguments.masks, arguments.runs)
    sets = [*decorrelated(arguments.photo_seeds), *ladder(PHOTO_FAMILIES, PHOTO_SHARES, arguments.photo_seeds)]
    return audit_all("photographs", cgn, partial(train_on_photos, cgn, runs=arguments.runs), sets, arguments.runs)


def write_results(path: Path, record: dict[str, Any], audits: list[dict[str, Any]]) -> None:
    """Write JSON with one audit in a line."""
    head, lines = json.dumps(record, indent=2).removesuffix("\n}"), ",\n".join("    " + json.dumps(a) for a in audits)
    write_bytes(path, f'{head},\n  "audits": [\n{lines}\n  ]\n}}\n'.encode())


def main() -> None:
    """Measure what is not measured yet; write the results and the figures, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="folder of training photographs, a sub-folder per class")
    parser.add_argument("--masks", type=Path, help="folder of their masks")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--agreement-seeds", type=int, nargs="+", default=[0, 1], help="of classifiers for three CGNs")
    parser.add_argument("--photo-seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--decorrelated", type=int, default=20, help="number of decorrelated classifiers")
    parser.add_argument("--runs", type=Path, default=Path("runs/audit"))
    arguments = parser.parse_args()
    digits, coverage = measure_digits(arguments)
    photos = measure_photos(arguments) if arguments.photos else []
    record: dict[str, Any] = {
        "command": "python benchmarks/audit.py" + (" --photos TRAIN --masks MASKS" if photos else ""),
        "with": {"digits": to_dict(BUDGET), "photographs": to_dict(PHOTO_BUDGET), "seeds": arguments.seeds},
        "versions": versions(),
        "summary": summarise(digits, coverage, photos),
        "coverage": {name: [to_dict(one) for one in cells] for name, cells in coverage.items()},
    }
    write_results(RESULTS / "audit.json", record, [one.short() for one in [*digits, *photos]])
    draw_figures(digits, photos, coverage)
    print(markdown(record["summary"]))


if __name__ == "__main__":
    main()
