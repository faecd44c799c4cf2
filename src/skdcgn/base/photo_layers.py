"""The ways in which a photo CGN fills the layers that it cuts out of photographs."""

from enum import StrEnum


class TextureFill(StrEnum):
    """Texture of a photograph: ``inpaint`` spreads the object's pixels, ``mosaic`` lays 6 x 6 patches of it."""

    INPAINT = "inpaint"
    MOSAIC = "mosaic"


class BackgroundFill(StrEnum):
    """Background: ``inpaint`` fills the object's place, ``photograph`` keeps the picture as it is."""

    INPAINT = "inpaint"
    PHOTOGRAPH = "photograph"
