"""Verbs of photographs: challenge."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from skdcgn.base.bounds import MOST_SIDE
from skdcgn.cli.options import SeedOption
from skdcgn.cli.terminal import point_to, progress


def challenge(
    images: Annotated[Path, Parameter(help="Test photographs, a sub-folder per class.")],
    /,
    *,
    masks: Annotated[Path, Parameter(help="Their masks: MASKS/CLASS/NAME.png, as segment writes them.")],
    out: Annotated[Path, Parameter(help="Folder of the challenge.")],
    image_size: Annotated[
        int, Parameter(validator=validators.Number(gte=1, lte=MOST_SIDE), help="Side of the pictures in pixels.")
    ] = 128,
    seed: SeedOption = 0,
) -> None:
    """Write a background challenge of your own photographs."""
    from skdcgn.evaluation.challenge import ChallengeConfig, write_challenge

    with progress() as watch:
        record = write_challenge(images, masks, out, ChallengeConfig(image_size, seed), watch=watch)
    states = [f"{count:,} {state}" for state, count in record.masks.items() if state != "usable"]
    left_out = ", ".join([*states, f"{record.without_mask:,} without a mask"])
    print(f"{sum(record.classes.values()):,} photographs of {len(record.classes)} classes; left out: {left_out}")
    point_to("challenge", out)
