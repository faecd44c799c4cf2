"""``skdcgn.cure`` as a method of the comparison of cures."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from PIL import Image

from cure_data import Network, bf16
from cure_methods import Run
from skdcgn.base.cure_config import CureConfig, Trained
from skdcgn.base.files import write_json
from skdcgn.base.progress import silent
from skdcgn.classifiers.finetune import RATES
from skdcgn.experiments.cure import cure

AUDIT_IMAGES = 200  # base pictures of each audit
ALL_MAY_BE_LOST = 100.0  # points: the table shows what the default limit of 2 points would refuse


@dataclass(frozen=True)
class Cure:
    """A share ``first`` of the budget empirical risk, the rest the fine-tuning of :func:`skdcgn.cure`.

    ``factor``: on the default learning rate. ``beyond``: the default number of steps, whatever the budget says.
    """

    layers: str
    first: float
    factor: float = 1.0
    beyond: bool = False

    def __call__(self, run: Run) -> Network:
        network, pictures = run.plain(self.first), written_pictures(run)
        config = CureConfig(learning_rate=self.factor * RATES[Trained(self.layers)])
        rest, images = (1 - self.first) * run.task.budget, config.batch_size + config.counterfactuals
        steps = config.steps if self.beyond else round(rest / images)
        with bf16():
            record, cured = cure(
                network,
                run.task.cgn,
                pictures,
                layers=self.layers,
                vary=run.task.vary,
                most_lost=ALL_MAY_BE_LOST,
                config=replace(config, steps=steps),
                n=AUDIT_IMAGES,
                seed=run.seed,
                preprocess="signed",
                device="cpu",
                watch=silent,
            )
        write_json(run.folder / f"record-{self.layers}{'-beyond' * self.beyond}.json", record.to_dict())
        return cast(Network, cured) if cured else network


def written_pictures(run: Run) -> Path:
    """Return the training pictures as files, a folder per class of the CGN; writing them is not timed."""
    out, train, spec = run.folder / "pictures", run.task.train, run.task.cgn.spec
    start, names = time.perf_counter(), spec.names or [str(label) for label in range(spec.classes)]
    if not (out.parent / "pictures-written").exists():
        for name in names:
            (out / name).mkdir(parents=True, exist_ok=True)
        for row, (image, label) in enumerate(zip(train.images, train.labels.tolist(), strict=True)):
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(out / names[label] / f"{row:05d}.png")
        (out.parent / "pictures-written").touch()
    run.correction -= time.perf_counter() - start
    return out
