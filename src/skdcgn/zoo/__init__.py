"""Weights and cards of the teachers that the package knows by name."""

from importlib import resources
from pathlib import Path
from typing import Any

from skdcgn.base.door import parse_record


def cards() -> dict[str, dict[str, Any]]:
    """Return the card of every teacher in the zoo, its own weights and the published ones, by name.

    A card has ``command`` (made here, bundled), ``url`` (fetched if there is a ``sha256``, else to be passed as a
    local file), ``parts`` (a BigGAN and a U2-Net, fetched and assembled) or ``random`` (sizes and seed of weights).
    """
    result = {}
    for file in sorted(resources.files("skdcgn.zoo").iterdir(), key=lambda f: f.name):
        if file.name.endswith(".json"):
            result[file.name.removesuffix(".json")] = parse_record(
                file.read_text(encoding="utf-8"), dict[str, Any], file.name, "reinstall skdcgn"
            )
    return result


def is_at_hand(name: str) -> bool:
    """Say whether the zoo's ``name`` can be loaded without a download."""
    card = cards()[name]
    if "random" in card or (resources.files("skdcgn.zoo") / f"{name}.safetensors").is_file():
        return True
    import pooch

    files = [f"{name}-{part}.pth" for part in card["parts"]] if "parts" in card else [f"{name}.pth"]
    return all((Path(pooch.os_cache("skdcgn")) / file).is_file() for file in files)


def whereabouts(name: str) -> str:
    """Return in words where the weights of ``name`` come from."""
    card = cards()[name]
    if "random" in card:
        return "made when first used: random weights"
    if (resources.files("skdcgn.zoo") / f"{name}.safetensors").is_file():
        return "in the package"
    urls = " and ".join(part["url"] for part in card.get("parts", {"": card}).values())
    if "parts" in card or "sha256" in card:
        return f"downloaded when first used, or pass a local file: {urls}"
    return f"not downloaded, for its checksum is not known; fetch it and pass the file: {urls}"
