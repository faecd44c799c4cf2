"""The weights of a cured classifier: a run folder like the one it came from, or a state dict."""

from pathlib import Path
from typing import cast

from torch import Tensor, nn

from skdcgn.base.door import is_folder
from skdcgn.base.files import write_bytes
from skdcgn.base.home import from_home
from skdcgn.base.tensors import write_tensors
from skdcgn.classifiers.any_classifier import AnyClassifier
from skdcgn.classifiers.sources import MeanOfHeads

CURED, WEIGHTS = "cured", "cured.safetensors"


def keep_weights(classifier: AnyClassifier, source: object, out: Path, kept: bool) -> None:
    """Write the cured weights; remove those of an earlier call if they are not kept."""
    folder, file, module = out / CURED, out / WEIGHTS, cast(nn.Module, classifier.module)
    if not kept:
        for old in (file, folder / "checkpoint.safetensors", folder / "config.json"):
            old.unlink(missing_ok=True)
    elif isinstance(source, nn.Module) or not is_folder(Path(from_home(str(source)))):
        write_tensors(file, _own_memory(module.state_dict()))
    else:
        own, prefix = (module.ensemble, "ensemble/") if isinstance(module, MeanOfHeads) else (module, "classifier/")
        state = {f"{prefix}{name}": value for name, value in _own_memory(own.state_dict()).items()}
        write_tensors(folder / "checkpoint.safetensors", state)
        write_bytes(folder / "config.json", (Path(from_home(str(source))) / "config.json").read_bytes())


def _own_memory(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return copies, for tensors that share memory cannot be written."""
    return {name: value.detach().clone() for name, value in state.items()}


def weights_place(out: Path) -> Path:
    """Return where a folder that :func:`cure` wrote keeps the cured classifier."""
    return out / CURED if (out / CURED / "config.json").exists() else out / WEIGHTS
