"""Kill a stage at each of its writes, run it again and compare: run by test_kills.py in a process of its own.

    python tests/killing.py FOLDER

Each attempt is a fork of this process. It is killed either before it renames its n-th temporary file or after that, for
every n. Prints, for each stage, how many kills there were and, for the kills after which a file was different, missing
or left over, their names.
"""

import json
import os
import signal
import sys
from pathlib import Path

from skdcgn.base.config import ClassifyConfig, DistillConfig, QueryConfig, StudentConfig
from skdcgn.cgn.mechanism import Mechanism
from skdcgn.classifiers.small_cnn import classify
from skdcgn.data.counterfactuals import read_counterfactuals
from skdcgn.deploy.generate import write_counterfactuals, write_interpolation
from skdcgn.pairs.query import query_all, query_pairs
from skdcgn.students.distill import assemble, distill_mechanism
from skdcgn.students.generator import StudentGenerator, student_size
from skdcgn.teachers.load import load_teacher

NARROW = StudentConfig(channels=(4, 4), grid=8, embedding=4)
DISTILL = DistillConfig(steps=2, batch_size=4, save_every=1, shape=NARROW, texture=NARROW, background=NARROW)
BUDGET = QueryConfig(shape=8, texture=8, background=8, held_out=4)


def stages(inputs):
    """Return the stages by name, each a function of its folder; ``inputs`` is a folder for what they read."""
    teacher = load_teacher("double-colored-digits")
    query_all(teacher, inputs / "pairs", BUDGET)
    write_counterfactuals(teacher, inputs / "images", 32)
    data = read_counterfactuals(inputs / "images" / "counterfactuals.safetensors")
    short = ClassifyConfig(epochs=1, batch_size=8, save_every=2)
    trained = {name: StudentGenerator(name, teacher.spec, **student_size(DISTILL, name)) for name in Mechanism}
    return {
        "query": lambda out: query_pairs(teacher, Mechanism.TEXTURE, 9, out, shard_size=4),
        "distill": lambda out: distill_mechanism(inputs / "pairs/shape/train", DISTILL, out, device="cpu"),
        "save a student": lambda out: assemble(trained, DISTILL, out),
        "generate": lambda out: write_counterfactuals(teacher, out, 8),
        "generate png": lambda out: write_counterfactuals(teacher, out, 4, form="png"),
        "interpolate": lambda out: write_interpolation(teacher, out, "shape", frames=3),
        "classify": lambda out: classify(data, short, out, device="cpu"),
    }


def attempt(stage, out, number=None, *, renamed=False):
    """Run the stage in a fork, killed at its rename ``number``; return whether it came to its end."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    replace, count = os.replace, 0

    def replace_or_die(source, target, **places):
        nonlocal count
        count += 1
        if count == number and not renamed:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target, **places)
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = replace_or_die
    try:
        stage(out)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    os._exit(0)


def contents(folder):
    """Return the bytes of each file; queries that were lost are counted again, so their number is left out."""
    return {str(file.relative_to(folder)): read(file) for file in folder.rglob("*") if file.is_file()}


def read(file):
    data = file.read_bytes()
    if file.name.startswith("manifest"):
        return json.dumps({**json.loads(data), "queries": None})
    return data


def main(folder):
    results = {}
    for name, stage in stages(folder / "inputs").items():
        stage(folder / name / "whole")  # in this process, whose forks then find all that it imports
        whole = contents(folder / name / "whole")
        kills, unclean, ended = 0, {}, False
        while not ended:
            for renamed in (False, True):
                out = folder / name / f"{kills}"
                ended = attempt(stage, out, kills // 2 + 1, renamed=renamed)
                if ended:
                    break
                kills += 1
                assert attempt(stage, out)
                again = contents(out)
                if again != whole:
                    names = whole.keys() | again.keys()
                    unclean[kills] = sorted(file for file in names if whole.get(file) != again.get(file))
        results[name] = {"kills": kills, "unclean": unclean}
    print(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
