"""Make pairs of what somebody else recorded; where nobody recorded the noise, find codes.

Codes are whitened principal components of small pictures about the mean of their class, for each mechanism
(:mod:`skdcgn.teachers.photo_codes`): noise that is near belongs to pictures that look alike.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from skdcgn.base.errors import UserError
from skdcgn.base.files import exclusive
from skdcgn.base.progress import Watch, log_progress
from skdcgn.cgn.mechanism import INVERSES, Mechanism, Spec
from skdcgn.data.recorded_pictures import Pictures
from skdcgn.data.recordings import Recording, open_recording
from skdcgn.pairs.manifest import TRAIN
from skdcgn.pairs.record import Origin, RecordedPairs, choose_held_out, write_pairs
from skdcgn.pairs.stored import GREATEST_NOISE, StoredPairs
from skdcgn.pairs.stores import from_levels
from skdcgn.students.meaning import FEW_ROWS, NoiseMeaning, meaning_words, recorded_meaning
from skdcgn.teachers.photo_codes import SIDE, principal_codes

logger = logging.getLogger(__name__)
MEMORY = 2**28  # bytes of images in memory at the check
HELD_OUT_SHARE, MOST_HELD_OUT = 10, 500  # by default a tenth of the pairs, and so many at most
DEVIATION = (0.5, 2.0)  # of normal noise; beyond, its scale is probably another one
CODES = (
    "Nobody recorded the noise, so codes of the pictures take its place: noise that is near belongs to pictures that "
    "look alike, and a student learns to draw from such codes. They cannot tell what the generator's own noise meant."
)


@dataclass(frozen=True)
class RecordConfig:
    """How a recording becomes pairs.

    Args:
        held_out: pairs of each mechanism for evaluation alone; None: a tenth, 500 at most.
        size: pixels of a side that pictures are resized to; None: as they are.
        distribution: of the noise, see :class:`~skdcgn.cgn.mechanism.Spec`.
        tiles: whether pictures may be tiled and cropped.
        noise_dim: numbers of a code, where nobody recorded the noise.
        seed: of the choice of held-out pairs.
    """

    held_out: int | None = None
    size: int | None = None
    distribution: str = "normal"
    tiles: bool = False
    noise_dim: int = 8
    seed: int = 0


@dataclass(frozen=True)
class RecordSummary:
    """What became of a recording: pairs and held-out pairs of each mechanism, and what their noise means.

    ``meanings`` holds None where there are too few pairs to tell; ``codes`` says that nobody recorded the noise.
    """

    spec: Spec
    train: dict[Mechanism, int]
    held_out: dict[Mechanism, int]
    meanings: dict[Mechanism, NoiseMeaning | None]
    codes: bool

    def __str__(self) -> str:
        spec = self.spec
        head = f"{spec.classes} classes, {spec.image_size} pixels, noise of {spec.noise_dim} numbers"
        lines = [
            f"{m}: {self.train[m]:,} pairs and {self.held_out[m]:,} held out; {_meaning(self.meanings[m], m)}"
            for m in Mechanism
        ]
        return "\n".join([head, *lines, *([CODES] if self.codes else [])])


def record(
    pictures: str | Path,
    out: str | Path,
    *,
    labels: str | Path | None = None,
    noise: str | Path | None = None,
    config: RecordConfig = RecordConfig(),
    watch: Watch = log_progress,
) -> RecordSummary:
    """Write the pairs of a recording to ``out/MECHANISM/{train,held-out}``, as a query does.

    The same call continues one that was killed and ends with the same bytes.

    Args:
        pictures: see :func:`~skdcgn.data.recordings.open_recording`, as are ``labels`` and ``noise``.
        out: folder of the pairs.
        config: sizes and the Spec.
        watch: shows the progress.

    Raises:
        UserError: something of the recording is missing, damaged or does not fit, or ``out`` holds other pairs.
    """
    out = Path(out)
    source = noise if noise is None or str(noise) == "none" else Path(noise)
    recording = open_recording(Path(pictures), None if labels is None else Path(labels), source, size=config.size)
    noises = recording.noise or {m: _codes(recording, m, config.noise_dim, watch) for m in Mechanism}
    distribution = config.distribution if recording.noise else "normal"
    spec = _spec(recording, noises[Mechanism.SHAPE].shape[1], distribution, tiles=config.tiles)
    for mechanism, values in noises.items():
        _check_noise(values, distribution, mechanism)
    held_out = {m: _held_out(own, config, m) for m, own in recording.labels.items()}
    with exclusive(out / ".record.lock"):
        for mechanism in Mechanism:
            pairs, tell = recording.pictures[mechanism], watch(f"record {mechanism}", len(held_out[mechanism]))
            write_pairs(
                out / mechanism,
                mechanism,
                RecordedPairs(noises[mechanism], recording.labels[mechanism], iter(pairs), _are_levels(pairs)),
                held_out[mechanism],
                Origin(f"recorded:{recording.digest}", spec, config.seed),
                tell,
            )
    return _summary(out, spec, held_out, codes=recording.noise is None)


def _spec(recording: Recording, noise_dim: int, distribution: str, *, tiles: bool) -> Spec:
    return Spec(
        image_size=recording.image_size,
        noise_dim=noise_dim,
        classes=recording.classes,
        distribution=distribution,
        names=recording.names,
        tiles=tiles,
    )


def _held_out(labels: Tensor, config: RecordConfig, mechanism: Mechanism) -> Tensor:
    most = min(MOST_HELD_OUT, len(labels) // HELD_OUT_SHARE)
    if config.held_out is None:
        spare = int((labels.bincount() - 1).clamp(min=0).sum())
        return choose_held_out(labels, min(most, spare), config.seed, mechanism)
    return choose_held_out(labels, config.held_out, config.seed, mechanism)


def _are_levels(pictures: Pictures) -> bool:
    return next(iter(pictures)).dtype == torch.uint8


def _codes(recording: Recording, mechanism: Mechanism, dim: int, watch: Watch) -> Tensor:
    """Return the codes (N, dim) of a mechanism's pictures; 16 x 16 pixels of each are in memory."""
    pictures = recording.pictures[mechanism]
    tell, small, done = watch(f"codes of {mechanism}", len(pictures)), list[Tensor](), 0
    for batch in pictures:
        images = from_levels(batch, mechanism) if batch.dtype == torch.uint8 else batch
        small.append(F.adaptive_avg_pool2d(images, min(SIDE, images.shape[-1])).flatten(1))
        done += len(batch)
        tell(done)
    codes = principal_codes(torch.cat(small), recording.labels[mechanism], dim)
    return codes.clamp(-GREATEST_NOISE["normal"], GREATEST_NOISE["normal"])


def _check_noise(noise: Tensor, distribution: str, mechanism: Mechanism) -> None:
    """Raise UserError if noise is out of the range of its distribution; warn if its scale is probably another one."""
    if distribution not in INVERSES:
        Spec(distribution=distribution)  # which raises
    greatest, deviation = GREATEST_NOISE[distribution], float(noise.double().square().mean().sqrt())
    if float(noise.abs().max()) > greatest:
        raise UserError(
            f"the noise of {mechanism} runs from {float(noise.min()):.3g} to {float(noise.max()):.3g}, {distribution} "
            f"noise within [-{greatest}, {greatest}]: scale it, or pass its own --distribution"
        )
    if distribution == "normal" and not DEVIATION[0] < deviation < DEVIATION[1]:
        logger.warning(f"the noise of {mechanism} has a standard deviation of {deviation:.2g}: scale normal noise to 1")


def _summary(out: Path, spec: Spec, held_out: dict[Mechanism, Tensor], *, codes: bool) -> RecordSummary:
    counts = {m: int(own.sum()) for m, own in held_out.items()}
    return RecordSummary(
        spec=spec,
        train={m: len(own) - counts[m] for m, own in held_out.items()},
        held_out=counts,
        meanings={m: recorded_meaning(StoredPairs(out / m / TRAIN, memory=MEMORY)) for m in Mechanism},
        codes=codes,
    )


def _meaning(meaning: NoiseMeaning | None, mechanism: Mechanism) -> str:
    if meaning is None:
        return f"too few to tell whether the noise explains them ({FEW_ROWS} at least)"
    return meaning_words(meaning, mechanism)
