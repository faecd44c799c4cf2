"""The contents of data that a run reads, by name (:mod:`skdcgn.base.contents`): pictures, glyphs and textures."""

from pathlib import Path

from skdcgn.base.contents import NOTHING, Reads, folder_reads, value_reads
from skdcgn.base.files import sha256
from skdcgn.data.idx import CHECKSUMS, FILES, idx_files, local_mnist
from skdcgn.data.images import PhotoFiles
from skdcgn.data.textures import TABLES, texture_files


def photo_reads(name: str, folder: Path, photos: PhotoFiles) -> Reads:
    """Return the contents of the pictures of a folder, and the names of their classes."""
    return {
        **value_reads("classes", list(photos.names), f"the classes in {folder}"),
        **folder_reads(name, folder, photos.files),
    }


def glyph_reads(source: str, splits: tuple[str, ...], data_root: Path | None) -> Reads:
    """Return the contents of the idx files of ``mnist`` or a folder; nothing for ``digits``, which a package holds.

    Args:
        source: ``digits``, ``mnist`` or a folder.
        splits: those of a folder that are read: ``train``, ``test``. MNIST's training file has both.
        data_root: folder with MNIST's files; None: that of the environment, or a download, which has known checksums.
    """
    if source == "digits":
        return NOTHING
    if source == "mnist":
        splits, local = ("train",), local_mnist(data_root)
    elif Path(source).is_dir():
        local = Path(source)
    else:
        return NOTHING  # load_glyphs refuses it
    if local is None:
        names = [f"{name}.gz" for split in splits for name in FILES[split]]
        return value_reads("glyphs", {name: CHECKSUMS[name] for name in names}, "the glyphs of the downloaded MNIST")
    files = [file for split in splits for file in idx_files(local, split)]
    return value_reads("glyphs", {file.name: sha256(file) for file in files}, f"the glyphs in {local}")


def texture_reads(folder: Path | None) -> Reads:
    """Return the contents of a folder of texture pictures; nothing for the project's own patterns."""
    if folder is None:
        return NOTHING
    files = [str(file) for part in TABLES for file in texture_files(folder / part)]
    return folder_reads("textures", folder, files)
