"""A study: points are changes to a preset. Here: how many steps does a distillation need?"""

import sys

from skdcgn.base.config import RunConfig
from skdcgn.experiments.run_study import run_study
from skdcgn.experiments.studies import STUDIES, Study
from skdcgn.results.study_record import StudyPoint


def steps(base: RunConfig) -> list[StudyPoint]:
    """Half and all of the preset's steps, as points of one curve."""
    counts = (base.distill.steps // 2, base.distill.steps)
    return [StudyPoint(f"{count} steps", {"distill.steps": count}, curve="student", at=count) for count in counts]


STUDIES["steps"] = Study("steps", "How many steps does a distillation need?", "steps", steps)
preset = sys.argv[1] if len(sys.argv) > 1 else "double-colored-digits"
results = run_study("steps", preset, seeds=1, compared=200)
for score in results.record.scores:
    print(f"{score.point}: {score.ood_accuracy:.1f} %")
print(f"report: {results.report}")
