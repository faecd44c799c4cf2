"""Kill every verb that writes at random moments, repeat its command, and compare all bytes with an undisturbed run.

    python benchmarks/kills.py --kills 100

Each verb runs once undisturbed. Then, in turn, each runs again in a new folder, is killed (7 in 10 by SIGKILL, the
others by SIGTERM and SIGINT) at a random moment, mostly after its first file appears, and runs until it ends, with up
to two more kills. The folder must then hold the same files with the same bytes; every other file is a stray. What
measures time may differ: seconds, speeds, and with them the reports that show them; so may the number of queries,
because the queries of a shard that was lost are counted again. Processes are forked from one that has imported torch.
The classifiers of ``evaluate`` learn from fewer images than the command's. Lands in ``results/kills.json``; a log of
each kill goes to the standard output.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple, TypeVar

from skdcgn.base.config import ClassifyConfig
from skdcgn.base.files import write_json

T = TypeVar("T")
RESULTS = Path(__file__).parent / "results"
SERVER = multiprocessing.get_context("forkserver")
PRELOADED = ["torch", "sklearn.datasets", "matplotlib.figure", "accelerate", "rich.table", "scipy.linalg"]
PRELOADED += ["skdcgn.cli.app", "skdcgn.experiments.run_mnist", "skdcgn.experiments.run_imagenet"]
PRELOADED += ["skdcgn.experiments.run_study", "skdcgn.teachers.teach", "skdcgn.teachers.teach_imagenet"]
PRELOADED += ["skdcgn.experiments.evaluate", "skdcgn.deploy.generate", "skdcgn.deploy.export"]
SIGNALS = [signal.SIGKILL] * 14 + [signal.SIGTERM] * 3 + [signal.SIGINT] * 3
FROM_FIRST_FILE = 0.7  # of the kills; the others come at any moment of the run
POLL = 0.005  # seconds
LONGEST = 600.0  # seconds that a run may take
STOPS = {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}  # exit status after each signal
NOT_COMPARED = ("report.html", "seconds.json")
TIMED = ("seconds", "counterfactuals_per_second", "queries")
TEACHER, PRESET = "double-colored-digits", "smoke"
NARROW = [word for mechanism in ("shape", "texture", "background") for word in (f"--{mechanism}-channels", "4")]
QUERY = "--shape 60 --texture 40 --background 40 --held-out 20"
VERBS = {
    "query": f"query {TEACHER} --out OUT/pairs {QUERY} --shard-size 10",
    "query-png": f"query {TEACHER} --out OUT/pairs {QUERY} --shard-size 10 --store png",
    "distill": f"distill query/pairs --out OUT/run --steps 12 --save-every 3 --batch-size 8 {' '.join(NARROW)}",
    "teach": "teach smoke --out OUT/teacher --steps 20 --sample-every 5",
    "teach-imagenet": "teach imagenet-smoke --out OUT/teacher",
    "generate": f"generate {TEACHER} --out OUT/images -n 400",
    "generate-png": f"generate {TEACHER} --out OUT/images -n 300 --format png",
    "interpolate": f"generate {TEACHER} --out OUT/images --interpolate all --frames 8",
    "classify": "classify generate/images/counterfactuals.safetensors --out OUT/classifier --epochs 2 "
    "--save-every 10",
    "export": "export distill/run/student --out OUT/student.onnx",
    "export-int8": "export distill/run/student --out OUT/student.onnx --precision int8",
    "evaluate": f"evaluate {TEACHER} -n 200 --mechanism-classifiers OUT/classifiers "
    "--out OUT/numbers.json --device cpu",
    "run": f"run {PRESET} --out OUT/run --device cpu --distill-steps 8 --distill-save-every 3 --classify-images 128 "
    "--classify-save-every 3",
    "run-imagenet": "run imagenet-smoke --out OUT/run --device cpu --ensemble-epochs 1 --distill-steps 6 "
    "--distill-save-every 2 --ensemble-counterfactuals 4 --ensemble-save-every 8",
    "ensemble": "ensemble --real run-imagenet/run/stand-in/train --cgn imagenet-smoke "
    "--out OUT/ensemble --epochs 1 --width 4 --image-size 32 --batch-size 8 --counterfactuals 8 --save-every 5",
    "study": "study masks smoke --seeds 1 --out OUT/study --device cpu",
}  # fmt: skip


class Trial(NamedTuple):
    """A verb that was killed and repeated: the signals, the statuses that were not expected, the files that differ."""

    verb: str
    signals: list[str]
    files_at_kill: list[int]
    statuses: list[int]
    different: list[str]
    missing: list[str]
    strays: list[str]

    @property
    def clean(self) -> bool:
        return not (self.statuses or self.different or self.missing or self.strays)


def write_to(log: str) -> None:
    """Let the output of this process go to the end of the file ``log``."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)


def call(words: Sequence[str], log: str) -> None:
    """Run the command line in this process, with its output in the file ``log``."""
    write_to(log)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell ignores in the background
    sys.argv = ["skdcgn", *words]
    from skdcgn.cli import main
    from skdcgn.experiments import evaluate

    small = partial(evaluate.evaluate_cgn, budget=ClassifyConfig(images=160, epochs=1, save_every=3))
    evaluate.evaluate_cgn = small
    main()


@contextmanager
def started(run: Callable[[T, str], None], words: T, log: Path) -> Iterator[BaseProcess]:
    """Start a process that runs ``words`` with its output in ``log``; end it with the block."""
    process = SERVER.Process(target=run, args=(words, str(log)))
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def first_file(process: BaseProcess, folder: Path) -> None:
    """Return when ``folder`` holds a file or the process has ended."""
    while process.is_alive() and not any(path.is_file() for path in folder.rglob("*")):
        time.sleep(POLL)


def contents(folder: Path) -> dict[str, str]:
    """Return a digest of each file, without what measures time."""
    return {str(path.relative_to(folder)): digest(path) for path in files_in(folder)}


def digest(path: Path) -> str:
    if path.name in NOT_COMPARED:
        return "not compared"
    data = path.read_bytes()
    if path.suffix == ".json":
        values = json.loads(data)
        if isinstance(values, dict):
            data = json.dumps({key: value for key, value in values.items() if key not in TIMED}).encode()
    return hashlib.sha256(data).hexdigest()


class Commands:
    """The commands in a folder ``work``: a sub-folder per verb holds what it writes undisturbed."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.seconds: dict[str, tuple[float, float]] = {}  # from the start and from the first file to the end
        self.expected: dict[str, dict[str, str]] = {}

    def words(self, verb: str, out: Path) -> list[str]:
        """Return the words of a verb that writes to ``out``; inputs are what other verbs wrote undisturbed."""
        words = VERBS[verb].replace("OUT", str(out)).split()
        return [str(self.work / word) if word.split("/")[0] in VERBS and "/" in word else word for word in words]

    def run_undisturbed(self, verb: str) -> None:
        """Run a verb to its end; note its files, and the seconds from its first file to its end."""
        out = self.work / verb
        out.mkdir()
        with started(call, self.words(verb, out), self.work / f"{verb}.log") as process:
            start = time.monotonic()
            first_file(process, out)
            writing = time.monotonic()
            process.join(LONGEST)
        if process.exitcode != 0:
            sys.exit(f"{verb} ends with {process.exitcode}: {(self.work / f'{verb}.log').read_text()}")
        self.expected[verb] = contents(out)
        self.seconds[verb] = (time.monotonic() - start, time.monotonic() - writing)

    def disturb(self, verb: str, rng: random.Random) -> Trial:
        """Kill a verb one to three times, repeat it until it ends, and compare its files."""
        out, kills = self.work / "disturbed", rng.choice((1, 1, 2, 3))
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        trial, log = Trial(verb, [], [], [], [], [], []), self.work / "disturbed.log"
        log.write_text("")
        for _ in range(kills):
            if self._kill(trial, out, log, rng):
                break
        with started(call, self.words(verb, out), log) as process:
            process.join(LONGEST)
        if process.exitcode != 0:
            trial.statuses.append(process.exitcode if process.exitcode is not None else 1)
        self._compare(trial, out)
        if not trial.clean or "Traceback" in log.read_text():
            shutil.copy(log, self.work / f"unclean-{time.time():.0f}.log")
        return trial

    def _kill(self, trial: Trial, out: Path, log: Path, rng: random.Random) -> bool:
        """Start the verb and kill it at a random moment; return whether it had ended before."""
        number, earlier = rng.choice(SIGNALS), set(files_in(out))
        with started(call, self.words(trial.verb, out), log) as process:
            total, after = self.seconds[trial.verb]
            if rng.random() < FROM_FIRST_FILE:
                first_file(process, out)
            else:
                after = total
            process.join(rng.uniform(0, after))
            if process.exitcode is not None or process.pid is None:
                if process.exitcode:
                    trial.statuses.append(process.exitcode)
                return True
            os.kill(process.pid, number)
            process.join(LONGEST)
        trial.signals.append(number.name)
        trial.files_at_kill.append(len(files_in(out)))
        if process.exitcode not in (STOPS[number], 0):
            trial.statuses.append(process.exitcode if process.exitcode is not None else 1)
        if number != signal.SIGKILL:  # an orderly end
            own = (path for path in files_in(out) if path not in earlier)  # an earlier kill's go at the next write
            trial.strays.extend(str(path.relative_to(out)) for path in own if path.suffix == ".tmp")
        return False

    def _compare(self, trial: Trial, out: Path) -> None:
        expected, actual = self.expected[trial.verb], contents(out)
        trial.missing.extend(sorted(expected.keys() - actual.keys()))
        trial.strays.extend(sorted(actual.keys() - expected.keys()))
        trial.different.extend(sorted(n for n in expected.keys() & actual.keys() if expected[n] != actual[n]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbs", nargs="+", choices=list(VERBS), default=list(VERBS), help="with what they read")
    parser.add_argument("--keep", type=Path, help="folder for all files, which are deleted otherwise")
    arguments = parser.parse_args()
    SERVER.set_forkserver_preload(PRELOADED)
    if arguments.keep:
        arguments.keep.mkdir(parents=True)
        record = measure(arguments.keep, arguments)
    else:
        with tempfile.TemporaryDirectory() as work:
            record = measure(Path(work), arguments)
    write_json(RESULTS / "kills.json", record)


def measure(work: Path, arguments: argparse.Namespace) -> dict[str, object]:
    """Run and kill the verbs; return the record."""
    rng, commands = random.Random(arguments.seed), Commands(work)
    for verb in arguments.verbs:
        commands.run_undisturbed(verb)
        print(f"{verb}: {len(commands.expected[verb])} files, {commands.seconds[verb][0]:.1f} s", flush=True)
    trials: list[Trial] = []
    while (kills := sum(len(trial.signals) for trial in trials)) < arguments.kills:
        trials.append(commands.disturb(arguments.verbs[len(trials) % len(arguments.verbs)], rng))
        print(f"{kills}: {trials[-1]}", flush=True)
    signals = Counter(name for trial in trials for name in trial.signals)
    by_verb = Counter({verb: sum(len(one.signals) for one in trials if one.verb == verb) for verb in arguments.verbs})
    return {
        "command": f"python benchmarks/kills.py --kills {arguments.kills} --seed {arguments.seed}",
        "kills": sum(signals.values()),
        "signals": dict(signals),
        "kills_by_verb": dict(by_verb),
        "trials": len(trials),
        "unclean": [trial._asdict() for trial in trials if not trial.clean],
    }


if __name__ == "__main__":
    main()
