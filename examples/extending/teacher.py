"""A teacher: any object with spec, digest, size and query. This one draws bars, and counts what it is asked."""

import torch

import skdcgn


class Bars:
    spec = skdcgn.Spec(image_size=32, noise_dim=2, classes=4, distribution="uniform")
    digest = "bars-1"  # change it whenever the answers change
    size = None  # nobody knows how many parameters a black box has

    def __init__(self) -> None:
        self.queries = 0

    def query(self, mechanism: str, noise: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Noise (B, 2), labels (B,) -> a mask (B, 1, 32, 32) in [0, 1] or a picture (B, 3, 32, 32) in [-1, 1]."""
        self.queries += len(labels)
        if mechanism == "shape":  # the class is the number of bars
            columns = torch.arange(32) + 4 * noise[:, :1]
            bars = (torch.sin(columns * (labels[:, None] + 1) * torch.pi / 16) > 0.5).float()
            return bars[:, None, None, :].expand(-1, 1, 32, 32)
        colour = torch.stack([labels / 3, 1 - labels / 3, noise[:, 1].abs()], dim=1) * 2 - 1
        return colour[:, :, None, None].expand(-1, 3, 32, 32)


teacher = Bars()
data = skdcgn.compose(teacher, n=40, seed=0)  # skdcgn.distill(teacher, "runs/bars") takes it as well
print(f"{teacher.queries} queries for {len(data)} counterfactuals of {tuple(data.images.shape[1:])}")
