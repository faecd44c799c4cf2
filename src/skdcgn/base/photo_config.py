"""The configuration of a run on a user's own photographs. No torch here."""

from pydantic.dataclasses import dataclass

from skdcgn.base.bounds import Channels, Probability, Seed, Side
from skdcgn.base.config import STRICT, DistillConfig, EnsembleConfig, QueryConfig, option
from skdcgn.base.photo_layers import BackgroundFill, TextureFill

SYNTHETIC = "synthetic"  # in the place of a folder of photographs: drawings of three classes, with masks


@dataclass(frozen=True, config=STRICT)
class PhotosConfig:
    """A run on your own photographs: segment, photo CGN, classifiers with counterfactuals, background challenge.

    ``ensemble`` configures every classifier of the run; those with one head differ from it in ``heads`` alone.
    """

    preset: str = option("custom", "name of the preset, kept in the results")
    images: str | None = option(None, "training photographs, a sub-folder per class; or synthetic")
    test: str | None = option(None, "test photographs; default: a share of the training ones")
    masks: str | None = option(None, "their masks: MASKS/CLASS/NAME.png; default: segment them")
    test_masks: str | None = option(None, "masks of the test photographs; default: --masks")
    held_out: Probability = option(0.2, "share of each class to test with, without --test")
    saliency: str = option("u2netp", "segmenter: u2netp, a U2-Net file or an .onnx file")
    mask_size: Side = option(160, "longer side of a segmented mask in pixels")
    image_size: Side = option(64, "side of counterfactuals and of the challenge in pixels")
    texture: TextureFill = option(TextureFill.INPAINT, "texture outside the object: inpaint, or mosaic of it")
    background: BackgroundFill = option(BackgroundFill.INPAINT, "background: inpaint the object, or photograph")
    noise_dim: Channels = option(8, "dimension of the noise that picks a photograph")
    whole: Probability = option(1.0, "share of counterfactuals that show one photograph's whole object")
    paste: bool = option(False, "train on plain copy and paste too: objects on whole photographs")
    student: bool = option(False, "distill the photo CGN; train with the student's pictures too")
    seed: Seed = option(0, "seed of all random numbers")
    query: QueryConfig = QueryConfig()
    distill: DistillConfig = DistillConfig()
    ensemble: EnsembleConfig = EnsembleConfig()
