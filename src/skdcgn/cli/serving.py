"""Verb of serving: serve."""

from typing import Annotated

from cyclopts import Parameter, validators

from skdcgn.base.bounds import MOST_BATCH
from skdcgn.cli.help_page import FURTHER
from skdcgn.cli.options import CGNArgument, Device, DeviceOption, SeedOption, SpecOption, TruncationOption
from skdcgn.cli.terminal import place_of


def serve(
    cgn: CGNArgument,
    /,
    *,
    port: Annotated[
        int, Parameter(validator=validators.Number(gte=0, lte=65535), help="Port to listen at; 0: any that is free.")
    ] = 8000,
    host: Annotated[str, Parameter(help="Address to listen at; 0.0.0.0: of every network.")] = "127.0.0.1",
    batch: Annotated[
        int, Parameter(validator=validators.Number(gte=1, lte=MOST_BATCH), help="Most pairs in one query.")
    ] = 256,
    spec: SpecOption = None,
    truncation: TruncationOption = None,
    device: DeviceOption = Device.AUTO,
    fail: Annotated[
        float,
        Parameter(
            group=FURTHER, validator=validators.Number(gte=0, lte=0.5), help="Share of queries that fail, for tests."
        ),
    ] = 0.0,
    seed: SeedOption = 0,
) -> None:
    """Answer queries over HTTP."""
    from skdcgn.deploy.serve import serve as serve_cgn
    from skdcgn.teachers.load import load_teacher

    loaded = load_teacher(cgn, spec=spec, truncation=truncation, device=place_of(device))
    serve_cgn(
        loaded, host=host, port=port, batch=batch, fail=fail, seed=seed,
        tell=lambda address: print(f"{cgn} is served at {address} (its page: {address}/docs)", flush=True),
    )  # fmt: skip
