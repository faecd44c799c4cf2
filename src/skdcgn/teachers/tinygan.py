"""TinyGAN's generator (Chang & Lu, ACCV 2020) in the place of a BigGAN: the mechanisms of SKDCGN's baseline.

A student's generator in TinyGAN's own layout, with BigGAN's way of being called; 6.24 million parameters at 256 pixels.
"""

from torch import Tensor

from skdcgn.base.config import TINYGAN_CHANNELS
from skdcgn.base.errors import UserError, naming
from skdcgn.base.weights import fill, on_meta, shape_of
from skdcgn.cgn.mechanism import Mechanism, Spec
from skdcgn.students.generator import StudentGenerator

DOUBLED = 2 ** (len(TINYGAN_CHANNELS) - 1)
WIDTH = 32


class TinyGAN(StudentGenerator):
    """Pictures (B, 3, H, W) in [-1, 1] for noise (B, Z) and labels (B,).

    Args:
        image_size: pixels of a side, a multiple of 32.
        noise_dim: how many numbers the noise has, and the class embedding.
        classes: how many classes the embedding knows.
        width: channels before the last convolution; TinyGAN has 32.

    Raises:
        UserError: the image size is no multiple of 32.
    """

    def __init__(self, image_size: int = 256, noise_dim: int = 128, classes: int = 1000, width: int = WIDTH) -> None:
        if image_size % DOUBLED:
            raise UserError(f"TinyGAN draws images of a multiple of {DOUBLED} pixels, not {image_size}")
        spec = Spec(image_size, noise_dim, classes, "truncated-normal")
        channels = tuple(width * count for count in TINYGAN_CHANNELS)
        grid = image_size // DOUBLED
        super().__init__(
            Mechanism.TEXTURE,
            spec,
            channels=channels,
            grid=grid,
            embedding=noise_dim,
            separable=True,
            class_input=False,
        )
        self.image_size, self.noise_dim, self.classes = image_size, noise_dim, classes

    def forward(self, noise: Tensor, labels: Tensor, truncation: float = 1.0) -> Tensor:
        """Draw (B, 3, H, W); the truncation is the noise's own and changes nothing else."""
        return super().forward(noise, labels)


def tinygan_from(state: dict[str, Tensor], origin: object) -> TinyGAN:
    """Build the TinyGAN whose tensors ``state`` holds; its sizes are read off them.

    Raises:
        UserError: a tensor is missing, of another shape or one too many; the line names it and ``origin``.
    """
    classes, noise_dim = shape_of(state, origin, "embed.weight", 2)
    width = shape_of(state, origin, "output.weight", 4)[1]
    grid = round((shape_of(state, origin, "input.weight", 2)[0] / (width * TINYGAN_CHANNELS[0])) ** 0.5)
    with naming(origin):
        gan = on_meta(TinyGAN, grid * DOUBLED, noise_dim, classes, width)
    return fill(gan, state, origin, "a TinyGAN")
