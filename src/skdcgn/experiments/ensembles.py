"""Ensembles of a run on photographs: trained and measured in RUN/ensembles/NAME, once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skdcgn.base.config import EnsembleConfig
from skdcgn.base.door import read_record
from skdcgn.base.files import write_json
from skdcgn.base.records import to_dict
from skdcgn.classifiers.ensemble import train_ensemble
from skdcgn.data.counterfactuals import CounterfactualStream
from skdcgn.evaluation.imagenet import ChallengeSets, measure_ensemble
from skdcgn.evaluation.scores import HeadScores
from skdcgn.experiments.stages import Run
from skdcgn.training.loop import report_to


@dataclass(frozen=True)
class EnsembleTask:
    """What the ensembles of a run are trained and measured on: real images, the names of their classes, test images."""

    real: Path
    names: tuple[str, ...]
    challenges: ChallengeSets


def trained_scores(
    run: Run[Any], task: EnsembleTask, name: str, config: EnsembleConfig, source: CounterfactualStream | None
) -> dict[str, HeadScores]:
    """Train an ensemble and measure it by each challenge; one that was measured before is not trained again."""
    seed, space, out = run.config.seed, run.workspace, run.path / "ensembles" / name
    result = out / "result.json"
    if result.exists():
        return read_record(result, dict[str, HeadScores])
    with run.clock(f"ensemble, {name}"):
        report = report_to(space.watch, f"ensemble {name}")
        ensemble = train_ensemble(task.real, source, config, out, seed=seed, device=space.device, callbacks=(report,))
        scores = measure_ensemble(ensemble, task.names, config.image_size, task.challenges)
        write_json(result, to_dict(scores))
    return scores
