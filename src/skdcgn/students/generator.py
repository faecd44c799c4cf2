"""The student: a TinyGAN-style conditional generator per mechanism, and the CGN of three.

G(u, y): Linear from concat(u, emb(y)) to a small grid, residual blocks with conditional batch norm that each
double it, and a convolution whose pixel shuffle gives the remaining factor (Chang & Lu 2020; de Vries et al. 2017;
Shi et al. 2016). With grid = image_size / 2 ** blocks that factor is 1 and the layout is TinyGAN's. The output is
added to a colour of each class, so that no other weights are spent on it.
"""

import copy
import hashlib
import io
from contextlib import redirect_stdout
from itertools import pairwise
from pathlib import Path
from typing import Any, Self, cast

import torch
import torch.nn.functional as F
from huggingface_hub import PyTorchModelHubMixin
from safetensors import SafetensorError
from torch import Tensor, nn

from skdcgn.base.config import DistillConfig, StudentConfig
from skdcgn.base.errors import UserError
from skdcgn.base.records import from_dict, to_dict
from skdcgn.cgn.mechanism import Mechanism, Spec, as_mechanism, check_query

LEAK = 0.1
MARGIN = 0.02  # how near to black or white a colour begins at most: beyond, gradients vanish
SLOPE, AWAKE = 0.01, 0.1


class WakingSigmoid(torch.autograd.Function):
    """Sigmoid of images (B, C, H, W), whose slope inwards is ``SLOPE`` at least in an image all below ``AWAKE``.

    Most pixels of a mask are black in most samples, and an L1 is least at their median: at a high rate a class of thin
    strokes can turn all black, where the gradient of a plain sigmoid vanishes.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        images = x.sigmoid()
        ctx.save_for_backward(images)
        return images

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (images,), (grad,) = ctx.saved_tensors, grads
        slope = images * (1 - images)
        asleep = slope.amax((1, 2, 3), keepdim=True) < AWAKE
        inwards = (grad < 0) == (images < 0.5)  # descent moves along -grad
        return grad * torch.where(asleep & inwards, slope.clamp(min=SLOPE), slope)


class ConditionalBatchNorm2d(nn.Module):
    """Batch norm whose scale and offset are linear in the class embedding; at first they are 1 and 0."""

    def __init__(self, channels: int, embedding: int) -> None:
        super().__init__()
        self.norm: nn.Module = nn.BatchNorm2d(channels, affine=False)
        self.affine = nn.Linear(embedding, 2 * channels)
        nn.init.zeros_(self.affine.weight)
        with torch.no_grad():
            self.affine.bias.copy_(torch.cat([torch.ones(channels), torch.zeros(channels)]))

    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        scale, offset = self.affine(embedded)[..., None, None].chunk(2, dim=1)  # (B, C, 1, 1) each
        return cast(Tensor, scale * self.norm(x) + offset)

    @torch.no_grad()
    def fold(self) -> None:
        """Take the running mean and deviation into scale and offset, for inference: s (x - m) / d + o, linear still."""
        norm = cast(nn.BatchNorm2d, self.norm)
        mean, deviation = cast(Tensor, norm.running_mean), (cast(Tensor, norm.running_var) + norm.eps).sqrt()
        for part in (self.affine.weight.T, self.affine.bias):  # (embedding, 2 C) and (2 C,), views
            scale, offset = part.chunk(2, dim=-1)
            scale /= deviation
            offset -= scale * mean
        self.norm = nn.Identity()


def conv3x3(inputs: int, outputs: int, separable: bool) -> nn.Module:
    """A 3 x 3 convolution, or a depthwise one followed by a pointwise one."""
    if not separable:
        return nn.Conv2d(inputs, outputs, 3, padding=1)
    depthwise = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
    return nn.Sequential(depthwise, nn.Conv2d(inputs, outputs, 1))


class Doubling(nn.Module):
    """Bilinear interpolation of images (B, C, S, S), of one ``side`` S, to twice the side.

    On CUDA it is two products with a matrix: PyTorch's kernel there has one thread per pixel for all images and
    channels, and its gradients differ from call to call.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        one_hot = torch.eye(side, device="cpu")  # a constant, with values on the meta device too
        columns = F.interpolate(one_hot[None], scale_factor=2, mode="linear", align_corners=False)[0]
        self.register_buffer("columns", columns, persistent=False)  # (S, 2 S)

    def forward(self, x: Tensor) -> Tensor:
        if x.is_cuda:
            return self.by_matrix(x)
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)

    def by_matrix(self, x: Tensor) -> Tensor:
        columns = cast(Tensor, self.columns).to(x.dtype)  # quarters: exact in half precision too
        return columns.T @ (x @ columns)


class UpBlock(nn.Module):
    """[CBN, LeakyReLU, bilinear x2, conv, CBN, LeakyReLU, conv] + 1 x 1 shortcut, from a grid of ``side``."""

    def __init__(self, inputs: int, outputs: int, embedding: int, separable: bool, side: int) -> None:
        super().__init__()
        self.up = Doubling(side)
        self.norm1 = ConditionalBatchNorm2d(inputs, embedding)
        self.conv1 = conv3x3(inputs, outputs, separable)
        self.norm2 = ConditionalBatchNorm2d(outputs, embedding)
        self.conv2 = conv3x3(outputs, outputs, separable)
        self.shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        h = self.up(F.leaky_relu(self.norm1(x, embedded), LEAK))
        h = self.conv2(F.leaky_relu(self.norm2(self.conv1(h), embedded), LEAK))
        return cast(Tensor, h + self.up(self.shortcut(x)))


class StudentGenerator(nn.Module):
    """One mechanism of a student.

    Args:
        mechanism: decides the channels and the range of the images.
        spec: image size, noise dimension and classes of the teacher.
        channels: at the initial grid and after each block.
        grid: side of the initial grid; ``image_size`` must be a whole multiple of grid * 2 ** blocks.
        embedding: dimension of the class embedding.
        separable: depthwise-separable convolutions.
        rank: dimension to which the noise is projected before the input layer; 0: not at all.
        class_input: whether the input layer gets the class embedding too.
    """

    def __init__(
        self,
        mechanism: str,
        spec: Spec,
        *,
        channels: tuple[int, ...],
        grid: int,
        embedding: int,
        separable: bool,
        rank: int = 0,
        class_input: bool = True,
    ) -> None:
        super().__init__()
        self.mechanism, self.spec, self.grid = as_mechanism(mechanism), spec, grid
        self.shuffle, rest = divmod(spec.image_size, grid * 2 ** (len(channels) - 1))
        if rest or not self.shuffle:
            raise UserError(
                f"a grid of {grid} doubled {len(channels) - 1} times does not divide {spec.image_size} pixels: "
                "choose another grid or another number of channels"
            )
        self.embed = nn.Embedding(spec.classes, embedding)
        self.project = nn.Linear(spec.noise_dim, rank, bias=False) if rank else nn.Identity()
        self.class_input = class_input
        self.input = nn.Linear((rank or spec.noise_dim) + embedding * class_input, channels[0] * grid * grid)
        self.blocks = nn.ModuleList(
            UpBlock(inputs, outputs, embedding, separable, grid * 2**number)
            for number, (inputs, outputs) in enumerate(pairwise(channels))
        )
        self.norm = ConditionalBatchNorm2d(channels[-1], embedding)
        self.output = nn.Conv2d(channels[-1], self.mechanism.channels * self.shuffle**2, 3, padding=1)
        self.colour = nn.Embedding(spec.classes, self.mechanism.channels)
        nn.init.zeros_(self.colour.weight)

    @torch.no_grad()
    def start_at(self, images: Tensor, labels: Tensor) -> None:
        """Let each class begin at the mean colour of its ``images`` (N, C, H, W).

        Data-dependent initialisation (Salimans & Kingma 2016, Sec. 3).
        """
        low = self.mechanism.low
        for label in labels.unique():
            share = ((images[labels == label].mean((0, 2, 3)) - low) / (1 - low)).clamp(MARGIN, 1 - MARGIN)
            self.colour.weight[label] = share.logit() / (1 if low == 0 else 2)  # tanh(x) = 2 sigmoid(2 x) - 1

    @torch.no_grad()
    def embed_as(self, embeddings: Tensor) -> None:
        """Let the class embedding begin as ``embeddings`` (K, D)."""
        self.embed.weight.copy_(embeddings)

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Draw (B, C, H, W) for noise (B, Z) and labels (B,): masks in [0, 1], pictures in [-1, 1]."""
        embedded = self.embed(labels)
        inputs = [self.project(noise), embedded] if self.class_input else [self.project(noise)]
        x = self.input(torch.cat(inputs, dim=1)).unflatten(1, (-1, self.grid, self.grid))
        for block in self.blocks:
            x = block(x, embedded)
        x = F.pixel_shuffle(self.output(F.leaky_relu(self.norm(x, embedded), LEAK)), self.shuffle)
        x = x.float() + self.colour(labels)[..., None, None]  # in half precision colours would come in steps
        if self.mechanism is not Mechanism.SHAPE:
            return x.tanh()
        return cast(Tensor, WakingSigmoid.apply(x)) if self.training else x.sigmoid()


def student_size(config: DistillConfig, mechanism: Mechanism) -> dict[str, Any]:
    """Return the keywords of :class:`StudentGenerator` for one mechanism."""
    sizes: dict[Mechanism, StudentConfig] = {
        Mechanism.SHAPE: config.shape,
        Mechanism.TEXTURE: config.texture,
        Mechanism.BACKGROUND: config.background,
    }
    return to_dict(sizes[mechanism])


class StudentCGN(nn.Module, PyTorchModelHubMixin, library_name="skdcgn", license="mit"):
    """Three student mechanisms behind the same ``query`` as their teacher.

    Args:
        spec: the fields of :class:`~skdcgn.cgn.mechanism.Spec` by name.
        sizes: for each mechanism the keywords of :class:`StudentGenerator` that give its size.
    """

    def __init__(self, spec: dict[str, Any], sizes: dict[str, dict[str, Any]]) -> None:
        super().__init__()
        self.spec = from_dict(Spec, spec, "the student's spec")
        self.mechanisms = nn.ModuleDict({m.value: StudentGenerator(m, self.spec, **sizes[m]) for m in Mechanism})
        self.eval()

    def forward(self, mechanism: Mechanism, noise: Tensor, labels: Tensor) -> Tensor:
        """Draw images (B, C, H, W) of ``mechanism`` for noise (B, Z) and labels (B,)."""
        return cast(Tensor, self.mechanisms[mechanism.value](noise, labels))

    def query(self, mechanism: str, noise: Tensor, labels: Tensor) -> Tensor:
        """Draw (B, C, H, W) on the CPU for noise (B, Z) and labels (B,) int64."""
        check_query(self.spec, noise, labels)
        device = next(self.parameters()).device
        with torch.inference_mode():
            return self(as_mechanism(mechanism), noise.to(device), labels.to(device)).cpu()

    def folded(self) -> Self:
        """Return a copy for inference that draws the same images without batch norms."""
        copied = copy.deepcopy(self).eval()
        for module in list(copied.modules()):
            if isinstance(module, ConditionalBatchNorm2d):
                module.fold()
        return copied

    @property
    def digest(self) -> str:
        """sha256 over names and bytes of all weights."""
        state = hashlib.sha256()
        for name, tensor in self.state_dict().items():
            state.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
        return state.hexdigest()

    @property
    def size(self) -> int:
        """How many numbers the three mechanisms hold."""
        return sum(p.numel() for p in self.parameters())

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Load a folder written by ``save_pretrained``; raise UserError if it is something else."""
        if not (folder / "config.json").is_file() or not (folder / "model.safetensors").is_file():
            raise UserError(f"{folder} holds no student: {_right_folder(folder)}")
        try:
            with redirect_stdout(io.StringIO()):  # the mixin says where it loads from
                return cls.from_pretrained(folder, local_files_only=True).eval()
        except (SafetensorError, RuntimeError, TypeError, KeyError, ValueError, OSError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(f"{folder} holds a student of another architecture, or a damaged one: {reason}") from None


def _right_folder(folder: Path) -> str:
    """Say where the student of a folder is that distill or run wrote to."""
    if (folder / "student" / "model.safetensors").is_file():
        return f"it lies one level below: pass {folder / 'student'}"
    return "pass the folder student that distill wrote, with config.json and model.safetensors"
