"""Training in a run folder: :func:`~skdcgn.training.loop.fit` with logs, guards and checkpoints.

Everything random in step s is a function of (seed, s), and so is its batch: a checkpoint needs the weights, the
optimisers and the step counter, and a run that was killed ends with the weights of one that was not.
"""

from collections.abc import Callable
from contextlib import nullcontext
from functools import lru_cache

import torch
from accelerate import Accelerator

from skdcgn.base.ending import at_success
from skdcgn.base.errors import UserError
from skdcgn.base.files import exclusive
from skdcgn.training.loop import Batch, Callback, Method, Schedule, constant, every_and_at_end, fit, stop_if_not_finite
from skdcgn.training.processes import launcher_environment, leave, process_index, wait_for_all
from skdcgn.training.run_folder import RunFolder


def make_accelerator(device: str = "auto") -> Accelerator:
    """Return the process's accelerator for ``auto``, ``cpu`` or ``cuda``."""
    if device not in ("auto", "cpu", "cuda"):
        raise UserError(f"unknown device {device!r}: use auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("no CUDA device is visible: use --device cpu, or install a CUDA build of torch")
    return _accelerator(cpu=device == "cpu" or not torch.cuda.is_available())


@lru_cache(maxsize=1)
def _accelerator(cpu: bool) -> Accelerator:
    with launcher_environment():
        accelerator = Accelerator(cpu=cpu)
    at_success(leave)
    return accelerator


def train(
    method: Method,
    batch_at: Callable[[int], Batch],
    folder: RunFolder,
    *,
    steps: int,
    until: int | None = None,
    seed: int = 0,
    schedule: Schedule = constant,
    log_every: int = 50,
    save_every: int = 500,
    callbacks: tuple[Callback, ...] = (),
    device: str = "auto",
    track: str | None = None,
) -> None:
    """Fit ``method`` in ``folder``: resume if it was begun, log, guard, checkpoint.

    With ``until`` it stops after that step, with a checkpoint, and another call goes on.

    With ``track`` (``tensorboard`` or ``wandb``) logged values go to that tracker too.

    Of several processes (:mod:`skdcgn.training.processes`) each calls this; ``batch_at`` gives each its own share.
    If another process trains in the same folder, this one waits for its end and finds no step to do.
    """
    accelerator = make_accelerator(device)
    method.to(accelerator)
    save: Callback = lambda record: folder.save(method, record.step)  # noqa: E731
    hooks: tuple[Callback, ...] = (stop_if_not_finite, *callbacks)
    if process_index() == 0:
        log = every_and_at_end(log_every, folder.log)
        hooks = (stop_if_not_finite, log, *callbacks, every_and_at_end(save_every, save))
    with exclusive(folder.path / ".lock") if process_index() == 0 else nullcontext():
        wait_for_all()
        start = folder.restore(method)
        if start > steps:
            raise UserError(f"{folder.checkpoint} says {start} of {steps} steps are done: delete it to start afresh")
        wait_for_all()
        with folder.tracking(track if process_index() == 0 else None, start):
            for record in fit(
                method, batch_at, steps, start=start, until=until, seed=seed, schedule=schedule, accelerator=accelerator
            ):
                for hook in hooks:
                    hook(record)
                if record.step == until and process_index() == 0:
                    save(record)
        wait_for_all()
