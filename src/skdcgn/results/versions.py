"""The versions that a result depends on."""

import torch


def versions() -> dict[str, str]:
    """Return the versions a result depends on."""
    import platform

    from skdcgn import __version__

    return {
        "skdcgn": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
    }
