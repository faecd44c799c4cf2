"""What is off in an answer that is not (B, C, H, W) in its range, and the expression that mends it."""

BYTE = 255.0  # the greatest grey level of 8 bits
SLACK = 1e-3  # that a range may be exceeded by
Shape = tuple[int, ...]


def type_hint(kind: str, low: float) -> str:
    """Return the mend of an answer whose type is ``kind``; "" if there is none to be seen.

    Args:
        kind: name of a class, or of a torch.dtype.
        low: the smallest value of the range: 0 for a mask, -1 for a picture.
    """
    if kind == "ndarray":
        return "; torch.from_numpy(images) makes one"
    return f"; of grey levels, {_from_bytes(low)} makes one" if kind == "torch.uint8" else ""


def range_hint(least: float, greatest: float, low: float) -> str:
    """Return the mend of an answer that runs from ``least`` to ``greatest``; "" if there is none to be seen."""
    if least >= -SLACK and 2 < greatest <= BYTE + SLACK:
        return f", by {_from_bytes(low)}"
    if low == 0 and least >= -1 - SLACK and greatest <= 1 + SLACK:
        return ", by (images + 1) / 2"
    return ""


def shape_hint(shape: Shape, expected: Shape) -> str:
    """Return the mend of an answer of ``shape``, not ``expected`` (B, C, H, W); "" if there is none to be seen."""
    count, channels, side, _ = expected
    sizes = (count, side, side)
    if shape in {(*sizes, channel) for channel in (1, 3)}:
        return ": channels last? images.permute(0, 3, 1, 2) puts them first" + _channels(shape[3], channels)
    if shape in {(count, channel, side, side) for channel in (1, 3)}:
        return _channels(shape[1], channels)
    if shape == sizes:
        return ": no channels? images[:, None] adds one" + _channels(1, channels)
    if shape in (expected[1:], (1, *expected[1:])):
        return ": one image for several rows? draw one for each row"
    if len(shape) == 4 and shape[:2] == expected[:2] and shape[2] == shape[3]:
        return f": pictures of {shape[2]} pixels? state image_size={shape[2]} in its Spec"
    return ""


def _channels(actual: int, expected: int) -> str:
    if actual == expected:
        return ""
    if expected == 1:
        return ": a mask of three channels? images[:, :1] takes the first"
    return ": a grey picture? images.expand(-1, 3, -1, -1) repeats its channel"


def _from_bytes(low: float) -> str:
    return "images / 255" if low == 0 else "images / 127.5 - 1"
