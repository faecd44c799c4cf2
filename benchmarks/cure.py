"""Cures of a shortcut on the same pictures with the same budget: the tables of docs/results/cure.md.

    python benchmarks/cure.py digits --data-root DIR --student STUDENT
    python benchmarks/cure.py photographs --photos TRAIN --held-out MORE --test VAL --masks MASKS
        --test-masks VALMASKS --textures DIR

``digits``: MNIST, double-colored; ``--student`` names a student of the CGN ``double-colored-mnist``. ``photographs``:
as ``benchmarks/photographs.py planted``; ``--held-out`` names photographs that are not in ``--photos``. The shortcut
agrees with the class in 95 %, then in 100 % of the training pictures (``--shares``).

Each method first tries three settings on one seed, where 95 % agree; the one with the highest mean accuracy of the
groups of half of the held-out pictures is measured, on other seeds. Whatever was measured before is read
from ``--runs``: the same command goes on where it stopped. Raw results: ``benchmarks/results/cure-DATA.json``, in which
shares that are not measured again stay as they are.
"""

import argparse
import platform
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from cure_data import DIGITS_BUDGET, Task, digits
from cure_groups import group_accuracies
from cure_methods import JTT, EmpiricalRisk, GroupDRO, LastLayer, Method, Mixture, Oracle, Rate, Run, decisions
from cure_photographs import PHOTO_BUDGET, Folders, photographs
from cure_skdcgn import Cure
from skdcgn.base.door import read_record
from skdcgn.base.files import write_json
from skdcgn.base.records import to_dict
from skdcgn.results.statistics import mean_and_deviation, with_deviation
from skdcgn.teachers.load import load_student, load_teacher

RESULTS = Path(__file__).parent / "results"
TUNED_AT, TUNING_SEED = 0.95, 100
MakeTask = Callable[[float, int], Task]  # share, seed -> task


@dataclass(frozen=True)
class Entry:
    """A row of the table: the settings that are tried, what the method needs, whether it needs counter-examples.

    ``once``: it is measured on the first seed alone.
    """

    tries: tuple[Method, ...]
    needs: str
    counter_examples: bool = False
    once: bool = False


RATES = (2e-3, 4e-3, 8e-3)
ENTRIES: dict[str, Entry] = {
    "erm": Entry(tuple(EmpiricalRisk(Rate(rate)) for rate in RATES), "nothing"),
    "group-dro": Entry(
        (GroupDRO(0.001, 0.01), GroupDRO(0.01, 0.01), GroupDRO(0.01, 0.3)), "group labels, counter-examples", True
    ),
    "dfr-training": Entry(
        tuple(LastLayer(c, held_out=False) for c in (1.0, 0.1, 0.01)), "group labels, counter-examples", True
    ),
    "dfr-held-out": Entry(
        tuple(LastLayer(c, held_out=True) for c in (1.0, 0.1, 0.01)),
        "group labels and counter-examples in further pictures",
        True,
    ),
    "jtt": Entry((JTT(0.1, 20), JTT(0.2, 20), JTT(0.2, 50)), "counter-examples"),
    "paste": Entry(tuple(Mixture("paste", share) for share in (0.5, 0.75, 0.9)), "masks"),
    "cure-last": Entry((Cure("last", 0.5), Cure("last", 0.2), Cure("last", 0.2, factor=3.0)), "a CGN"),
    "cure-all": Entry((Cure("all", 0.5), Cure("all", 0.2), Cure("all", 0.2, factor=3.0)), "a CGN"),
    "cgn": Entry(tuple(Mixture("cgn", share) for share in (0.5, 0.75, 0.9)), "a CGN"),
    "student": Entry(tuple(Mixture("student", share) for share in (0.5, 0.75, 0.9)), "a student of a CGN"),
    "cure-all-1000": Entry((Cure("all", 1.0, beyond=True),), "a CGN, and 80,000 pictures more", once=True),
    "oracle": Entry((Oracle(),), "pictures without the shortcut"),
}


@dataclass(frozen=True)
class Outcome:
    """One training: accuracies in percent, seconds, and the accuracy of each group of the test pictures."""

    worst_group: float
    mean: float
    in_domain: float
    seconds: float
    groups: dict[str, float]


@dataclass(frozen=True)
class Tuned:
    """The number of the best setting, and the mean accuracy of held-out groups of each."""

    best: int
    scores: tuple[float, ...]


def tune(entry: Entry, task: Task, folder: Path) -> Tuned:
    """Try each of several settings; half of the held-out pictures are for the method, half judge."""
    if len(entry.tries) == 1:
        return Tuned(0, ())
    apart = torch.arange(len(task.held_out)) % 2 == 1
    own, judges = task.held_out.rows(~apart), task.held_out.rows(apart)
    scores = []
    for number, method in enumerate(entry.tries):
        less = replace(task, held_out=own, budget=task.tuning_budget)
        network = method(Run(less, TUNING_SEED, Rate(), folder / str(number)))
        by_group = group_accuracies(decisions(network, judges.images) == judges.labels, judges.groups)
        scores.append(round(sum(by_group.values()) / len(by_group), 2))
    return Tuned(scores.index(max(scores)), tuple(scores))


def measure(method: Method, run: Run) -> Outcome:
    """Train once; return accuracies on the test pictures."""
    task, start = run.task, time.perf_counter()
    network = method(run)
    seconds = time.perf_counter() - start + run.correction
    agreeing = decisions(network, task.agreeing.images) == task.agreeing.labels
    decorrelated = decisions(network, task.decorrelated.images) == task.decorrelated.labels
    against = ~task.decorrelated.agrees
    groups = group_accuracies(agreeing, task.agreeing.groups)
    groups |= group_accuracies(decorrelated[against], task.decorrelated.groups[against])
    in_domain = task.share * agreeing.double().mean() + (1 - task.share) * decorrelated[against].double().mean()
    return Outcome(
        worst_group=min(groups.values()),
        mean=100 * float(decorrelated.double().mean()),
        in_domain=100 * float(in_domain),
        seconds=seconds,
        groups={str(group): round(value, 2) for group, value in sorted(groups.items())},
    )


class Table:
    """The runs of one data set, each in a file of its own."""

    def __init__(self, make: MakeTask, runs: Path) -> None:
        self.make, self.runs = make, runs
        self.tasks: dict[tuple[float, int], Task] = {}

    def task(self, share: float, seed: int) -> Task:
        """Return the data of a share and a seed; the last one stays in memory."""
        if (share, seed) not in self.tasks:
            self.tasks = {(share, seed): self.make(share, seed)}
        return self.tasks[share, seed]

    def tuned(self, name: str) -> Tuned:
        """Return the tuned setting of a method."""
        file = self.runs / "tuned" / f"{name}.json"
        if not file.exists():
            tuned = tune(ENTRIES[name], self.task(TUNED_AT, TUNING_SEED), self.runs / "tuned" / name)
            write_json(file, to_dict(tuned))
            print("tuned", name, tuned, flush=True)
        return read_record(file, Tuned)

    def outcome(self, name: str, share: float, seed: int) -> Outcome:
        """Return one run, trained if it was not before."""
        folder = self.runs / (name if name == "oracle" else f"{share:g}") / str(seed)
        file = folder / f"{name}.json"
        if not file.exists():
            method = ENTRIES[name].tries[self.tuned(name).best]
            outcome = measure(method, Run(self.task(share, seed), seed, Rate(), folder))
            write_json(file, to_dict(outcome))
            print(f"{share:g} {seed} {name}", {k: v for k, v in asdict(outcome).items() if k != "groups"}, flush=True)
        return read_record(file, Outcome)


def applicable(names: Iterable[str], share: float) -> list[str]:
    """Return the methods that have what they need: at a share of 1 there are no counter-examples."""
    return [name for name in names if share < 1 or not ENTRIES[name].counter_examples]


def summary(outcomes: Mapping[str, list[Outcome]]) -> dict[str, dict[str, dict[str, float]]]:
    """Return mean and deviation over seeds, by method and measure."""
    measures = ("worst_group", "mean", "in_domain", "seconds")
    return {
        name: {m: to_dict(mean_and_deviation([vars(one)[m] for one in runs])) for m in measures}
        for name, runs in outcomes.items()
    }


def markdown(rows: Mapping[str, dict[str, dict[str, float]]]) -> str:
    """Return the table of a share."""
    lines = [
        "| method | worst group | mean | in domain | seconds | needs |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for name, entry in ENTRIES.items():
        if name not in rows:
            lines.append(f"| {name} | not applicable | | | | {entry.needs} |")
            continue
        values = rows[name]
        cells = [with_deviation(one["mean"], one["deviation"]) for one in list(values.values())[:3]]
        lines.append(f"| {name} | {' | '.join(cells)} | {values['seconds']['mean']:.0f} | {entry.needs} |")
    return "\n".join(lines)


def group_sizes(task: Task) -> dict[str, list[int]]:
    """Return the least and the greatest number of pictures of a group, by set."""
    sets = {"train": task.train, "held_out": task.held_out, "agreeing": task.agreeing}
    counts = {name: pictures.groups.bincount() for name, pictures in sets.items()}
    counts |= {"against": task.decorrelated.groups[~task.decorrelated.agrees].bincount()}
    return {name: [int(own[own > 0].min()), int(own.max())] for name, own in counts.items()}


def task_maker(arguments: argparse.Namespace) -> MakeTask:
    """Return the function from share and seed to the data that the command line names."""
    if arguments.data == "photographs":
        return lambda share, seed: photographs(Folders.of(arguments), share, PHOTO_BUDGET)
    cgns = {"cgn": load_teacher("double-colored-mnist")}
    if arguments.student:
        cgns["student"] = load_student(arguments.student)
    return lambda share, seed: digits(share, seed, cgns, arguments.data_root, DIGITS_BUDGET)


def main() -> None:
    """Measure the methods of one data set; write the table and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=("digits", "photographs"))
    for name in ("photos", "held-out", "test", "masks", "test-masks", "textures", "data-root", "student"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--shares", type=float, nargs="+", default=[0.95, 1.0])
    parser.add_argument("--methods", nargs="+", choices=list(ENTRIES), default=list(ENTRIES))
    parser.add_argument("--runs", type=Path, default=Path("runs/cure"))
    arguments = parser.parse_args()
    arguments.runs = arguments.runs / arguments.data
    table, shares = Table(task_maker(arguments), arguments.runs), dict[str, object]()
    for share in arguments.shares:
        outcomes: dict[str, list[Outcome]] = {name: [] for name in applicable(arguments.methods, share)}
        for seed in arguments.seeds:
            for name, runs in outcomes.items():
                if seed == arguments.seeds[0] or not ENTRIES[name].once:
                    runs.append(table.outcome(name, share, seed))
        rows = summary(outcomes)
        sizes = group_sizes(table.task(share, arguments.seeds[0]))
        runs_of = {name: [to_dict(one) for one in runs] for name, runs in outcomes.items()}
        shares[f"{share:g}"] = {"seeds": arguments.seeds, "table": rows, "group_sizes": sizes, "runs": runs_of}
        print(f"\n{share:.0%}\n{markdown(rows)}", flush=True)
    tuned = {name: describe(table, name) for name in arguments.methods}
    budget = DIGITS_BUDGET if arguments.data == "digits" else PHOTO_BUDGET
    machine = f"{platform.machine()}, {torch.get_num_threads()} thread"
    file = RESULTS / f"cure-{arguments.data}.json"
    measured = read_record(file, dict[str, Any])["shares"] if file.exists() else {}
    write_json(file, {"machine": machine, "budget": budget, "tuned": tuned, "shares": {**measured, **shares}})


def describe(table: Table, name: str) -> dict[str, object]:
    """Return the settings of a method that were tried, their scores and the best one."""
    tries, tuned = ENTRIES[name].tries, table.tuned(name)
    return {"tries": [str(one) for one in tries], "scores": list(tuned.scores), "best": str(tries[tuned.best])}


if __name__ == "__main__":
    main()
