"""The contents of fixed features that a run reads (:mod:`skdcgn.base.contents`)."""

from pathlib import Path

from skdcgn.base.contents import NOTHING, Reads, file_reads


def feature_reads(name: str) -> Reads:
    """Return the contents of the file behind a name of :func:`~skdcgn.features.perceptual.load_features`.

    Random features and those of a package have none.
    """
    path = Path(name)
    file = path / "checkpoint.safetensors" if path.is_dir() else path
    return file_reads("features", file) if file.is_file() else NOTHING
