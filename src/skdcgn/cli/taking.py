"""Verbs that take a CGN elsewhere: generate, export."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from skdcgn.base.bounds import MOST_FRAMES
from skdcgn.base.config import Precision
from skdcgn.cli.options import POSITIVE, CGNArgument, Device, DeviceOption, SeedOption, SpecOption, TruncationOption
from skdcgn.cli.terminal import place_of


class Format(StrEnum):
    """Files of counterfactuals."""

    SAFETENSORS = "safetensors"
    PNG = "png"


def generate(
    cgn: CGNArgument,
    /,
    *,
    out: Annotated[Path, Parameter(help="Folder for the images.")],
    n: Annotated[int, Parameter(name=("--n", "-n"), validator=POSITIVE, help="Number of counterfactuals.")] = 1000,
    per_shape: Annotated[int, Parameter(validator=POSITIVE, help="Counterfactuals that share a mask (k).")] = 1,
    policy: Annotated[
        list[str] | None,
        Parameter(help="Intervention on each counterfactual, as shape.elastic:1.5. Repeat the option for more."),
    ] = None,
    shared_noise: Annotated[
        bool, Parameter(negative=(), show_default=False, help="Let the three mechanisms share one noise.")
    ] = False,
    exact: Annotated[
        bool, Parameter(negative=(), show_default=False, help="Draw with the plain networks: bytes, not rounding.")
    ] = False,
    device_noise: Annotated[
        bool, Parameter(negative=(), show_default=False, help="Draw noise on the GPU: faster, other images.")
    ] = False,
    truncation: TruncationOption = None,
    spec: SpecOption = None,
    seed: SeedOption = 0,
    form: Annotated[
        Format, Parameter(name="--format", help="One safetensors file, or a PNG per image and labels.csv.")
    ] = Format.SAFETENSORS,
    interpolate: Annotated[
        str | None,
        Parameter(help="Write a strip and a GIF between two classes instead: in shape, texture, background or all."),
    ] = None,
    classes: Annotated[
        tuple[int, int] | None, Parameter(help="The two classes, from 0. Default: the first and the last.")
    ] = None,
    frames: Annotated[
        int,
        Parameter(validator=validators.Number(gte=2, lte=MOST_FRAMES), help="Number of frames of the interpolation."),
    ] = 12,
    device: DeviceOption = Device.AUTO,
) -> None:
    """Write counterfactuals, or an interpolation between two classes."""
    from skdcgn.deploy.generate import write_counterfactuals, write_interpolation
    from skdcgn.teachers.load import load_teacher

    loaded = load_teacher(cgn, spec=spec, truncation=truncation, device=place_of(device))
    if interpolate:
        written = write_interpolation(loaded, out, interpolate, classes, frames=frames, seed=seed)
    else:
        words = tuple(policy or ())
        written = write_counterfactuals(
            loaded,
            out,
            n,
            per_shape=per_shape,
            policy=words,
            shared_noise=shared_noise,
            exact=exact,
            device_noise=device_noise,
            seed=seed,
            form=form,
        )
    print("\n".join(map(str, written)))


def export(
    cgn: CGNArgument,
    /,
    *,
    out: Annotated[Path, Parameter(help="The .onnx file to write.")],
    spec: SpecOption = None,
    precision: Annotated[
        Precision, Parameter(help="Precision of the weights; with int8 also of the activations.")
    ] = Precision.FP32,
) -> None:
    """Write a CGN as one ONNX file."""
    from skdcgn.deploy.export import export_cgn
    from skdcgn.teachers.load import load_teacher

    written = export_cgn(load_teacher(cgn, spec=spec), out, precision)
    print(
        f"{out}: {written.size / 1024:.0f} KB; its images differ from PyTorch's by {written.mean:#.2g} of 256 grey "
        f"levels on average, {written.greatest:#.3g} at most"
    )
