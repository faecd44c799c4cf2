"""Composed images with their labels."""

from dataclasses import dataclass

from torch import Tensor

from skdcgn.cgn.pictures import as_html, as_rgb

SHOWN, SMALL = 20, 64  # images in a notebook; pixels of a side up to which they are enlarged


@dataclass(frozen=True)
class Counterfactuals:
    """Composed images (N, 3, H, W) in [-1, 1] and the three labels (N,) int64 of each.

    Texture and background labels are those of the layers. The shape's label is the class to predict: the mask's, unless
    a policy relabels the shape.
    """

    images: Tensor
    shape_labels: Tensor
    texture_labels: Tensor
    background_labels: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        height, width = self.images.shape[-2:]
        return f"Counterfactuals({len(self):,} images of {height} x {width} pixels, each with three labels)"

    def _repr_html_(self) -> str:
        """Show the first images with their labels in a notebook."""
        labels = zip(
            self.shape_labels.tolist(), self.texture_labels.tolist(), self.background_labels.tolist(), strict=True
        )
        captions = [" / ".join(map(str, three)) for three in labels][:SHOWN]
        scale = 2 if self.images.shape[-1] <= SMALL else 1
        title = f"{len(self):,} counterfactuals (labels: shape / texture / background)"
        return as_html(as_rgb(self.images[:SHOWN]).cpu(), captions, title, scale)

    def to_dict(self) -> dict[str, Tensor]:
        """Return the four tensors by name, as they are stored in safetensors."""
        return {
            "images": self.images,
            "shape_labels": self.shape_labels,
            "texture_labels": self.texture_labels,
            "background_labels": self.background_labels,
        }
