"""The verb audit: which mechanism a classifier follows."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from skdcgn.base.bounds import LEAST_AUDITED, MOST_AUDITED
from skdcgn.cli.options import (
    DEFAULT_CLASSIFIER,
    ClassifierOptions,
    Device,
    DeviceOption,
    ModelArgument,
    SeedOption,
    SpecOption,
)
from skdcgn.cli.terminal import point_to, progress, show_audit

FAILED = 1  # exit status


def audit(
    model: ModelArgument,
    /,
    *,
    cgn: Annotated[str, Parameter(help="CGN whose pictures it is shown: a teacher's name, a file, a folder.")],
    spec: SpecOption = None,
    n: Annotated[
        int,
        Parameter(
            name=("--n", "-n"),
            validator=validators.Number(gte=LEAST_AUDITED, lte=MOST_AUDITED),
            help="Number of base pictures; each is shown 18 times.",
        ),
    ] = 2000,
    whole: Annotated[
        bool | None,
        Parameter(show_default=False, help="Vary whole objects. Default: if the CGN's pictures do not tile."),
    ] = None,
    out: Annotated[Path | None, Parameter(help="Folder of the audit. Default: runs/audit-DIGEST.")] = None,
    seed: SeedOption = 0,
    fail_above: Annotated[
        float | None,
        Parameter(
            validator=validators.Number(gte=0, lte=100),
            help="Percent: status 1 if it follows texture or background more.",
        ),
    ] = None,
    reading: ClassifierOptions = DEFAULT_CLASSIFIER,
    device: DeviceOption = Device.AUTO,
) -> int:
    """Measure which mechanism a classifier follows."""
    from skdcgn.experiments.audit import AuditConfig, open_subject, write_audit

    subject = open_subject(model, cgn, spec=spec, **vars(reading), device=device)
    print(subject.classifier)
    with progress() as watch:
        results = write_audit(subject, AuditConfig(n, seed, whole), out, watch=watch)
    show_audit(results.record)
    point_to("report", results.report)
    followed = () if fail_above is None else results.record.followed_above(fail_above)
    if followed:
        print(f"follow is above {fail_above:g} %: {', '.join(followed)}")
    return FAILED if followed else 0
