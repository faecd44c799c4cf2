"""The verb of recordings: record."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from skdcgn.base.bounds import MOST_CHANNELS, MOST_COUNT, MOST_SIDE
from skdcgn.cli.options import SeedOption
from skdcgn.cli.terminal import point_to, progress


class Distribution(StrEnum):
    """Distribution of each number of the noise."""

    NORMAL = "normal"
    TRUNCATED_NORMAL = "truncated-normal"
    UNIFORM = "uniform"


def record(
    pictures: Annotated[Path, Parameter(help="Folder of pictures, or an .npz, .safetensors or .parquet file.")],
    /,
    *,
    out: Annotated[Path, Parameter(help="Folder of the pairs.")],
    labels: Annotated[
        Path | None,
        Parameter(help="Table file,label[,mechanism]. Default: inside, or sub-folders."),
    ] = None,
    noise: Annotated[
        str | None, Parameter(help="An .npy or .npz file, or none: codes. Default: inside PICTURES.")
    ] = None,
    held_out: Annotated[
        int | None,
        Parameter(
            validator=validators.Number(gte=0, lte=MOST_COUNT), help="Pairs to hold out. Default: a tenth, 500 at most."
        ),
    ] = None,
    size: Annotated[
        int | None,
        Parameter(validator=validators.Number(gte=1, lte=MOST_SIDE), help="Resize to so many pixels. Default: as is."),
    ] = None,
    distribution: Annotated[Distribution, Parameter(help="Distribution of the noise.")] = Distribution.NORMAL,
    tiles: Annotated[
        bool, Parameter(negative=(), show_default=False, help="Pictures may be tiled and cropped.")
    ] = False,
    noise_dim: Annotated[
        int, Parameter(validator=validators.Number(gte=1, lte=MOST_CHANNELS), help="Numbers of a code.")
    ] = 8,
    seed: SeedOption = 0,
) -> None:
    """Make pairs of what somebody recorded."""
    from skdcgn.teachers.record import RecordConfig
    from skdcgn.teachers.record import record as record_pairs

    config = RecordConfig(held_out, size, distribution.value, tiles, noise_dim, seed)
    with progress() as watch:
        summary = record_pairs(pictures, out, labels=labels, noise=noise, config=config, watch=watch)
    print(summary)
    point_to("pairs", out)
