"""The student: a TinyGAN-style conditional generator per mechanism, and the CGN of three.

G(u, y): Linear from concat(u, emb(y)) to a small grid, residual blocks with conditional batch norm that each
double it, and a convolution whose pixel shuffle gives the remaining factor (Chang & Lu 2020; de Vries et al. 2017;
Shi et al. 2016). With grid = image_size / 2 ** blocks that factor is 1 and the layout is TinyGAN's. The output is
added to a colour of each class, so that no other weights are spent on it.
"""

import copy
import hashlib
from itertools import pairwise
from pathlib import Path
from typing import Any, Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skdcgn.base.config import DistillConfig, StudentConfig
from skdcgn.base.door import is_folder
from skdcgn.base.errors import UserError, naming
from skdcgn.base.records import to_dict
from skdcgn.base.weights import fill, on_meta
from skdcgn.cgn.drawer import Drawer
from skdcgn.cgn.mechanism import Mechanism, Spec, as_mechanism, check_query
from skdcgn.students.drawing import student_drawer
from skdcgn.students.folder import read_student, short_card, student_files, student_form, write_student
from skdcgn.students.hub import fetched, upload
from skdcgn.students.layers import LEAK, ConditionalBatchNorm2d, Memory, UpBlock, WakingSigmoid
from skdcgn.students.licence import check_licence

MARGIN = 0.02  # how near to black or white a colour begins at most: beyond, gradients vanish


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
        memory: codes of each class, in ``rank`` dimensions, among which the noise picks instead; 0: none.
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
        memory: int = 0,
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
        self.memory = Memory(spec.classes, memory, spec.noise_dim, rank or spec.noise_dim) if memory else None
        self.project = nn.Linear(spec.noise_dim, rank, bias=False) if rank and not memory else nn.Identity()
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
        code = self.memory(noise, labels) if self.memory else self.project(noise)
        inputs = [code, embedded] if self.class_input else [code]
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


class StudentCGN(nn.Module):
    """Three student mechanisms behind the same ``query`` as their teacher.

    Args:
        spec: the fields of :class:`~skdcgn.cgn.mechanism.Spec` by name.
        sizes: for each mechanism the keywords of :class:`StudentGenerator` that give its size.
    """

    def __init__(self, spec: dict[str, Any], sizes: dict[str, dict[str, Any]]) -> None:
        super().__init__()
        self.form = student_form({"spec": spec, "sizes": sizes}, "the student")
        self.spec = self.form.spec
        self.mechanisms = nn.ModuleDict(
            {m.value: StudentGenerator(m, self.spec, **to_dict(self.form.sizes[m])) for m in Mechanism}
        )
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

    def drawer(self) -> Drawer | None:
        """Return the fast form of the present weights (:mod:`skdcgn.students.drawing`); None in training."""
        return student_drawer(self)

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
        """Load a folder written by :meth:`save_pretrained`; raise UserError if it is something else."""
        form, state = read_student(folder)
        with naming(folder):
            student = on_meta(cls, to_dict(form.spec), to_dict(form.sizes))
        return fill(student, state, folder, "the student of its config.json")

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        revision: str | None = None,
        token: str | None = None,
        cache_dir: str | Path | None = None,
        endpoint: str | None = None,
        local_files_only: bool = False,
    ) -> Self:
        """Load a student's folder or, by the name of its repository, a student on the Hugging Face Hub.

        A folder wins over a name; the other arguments are those of :func:`skdcgn.students.hub.fetched`.

        Args:
            source: a folder, or a name such as ``user/student``.

        Raises:
            UserError: there is no student, or its files do not fit each other.
        """
        if is_folder(Path(source)):
            return cls.load(Path(source))
        folder = fetched(
            str(source),
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            endpoint=endpoint,
            local_files_only=local_files_only,
        )
        return cls.load(folder)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``config.json``, ``model.safetensors`` and, if there is none, a model card, each atomically."""
        write_student(Path(folder), self.form, self.state_dict())

    def push_to_hub(
        self,
        repo_id: str,
        *,
        licence: str,
        private: bool | None = None,
        token: str | None = None,
        branch: str | None = None,
        endpoint: str | None = None,
    ) -> str:
        """Write the student with a short card into a repository on the Hub; return the commit's URL.

        :func:`skdcgn.deploy.hub.push_student` writes the card of a student's folder, with the table of its run.

        Args:
            repo_id: ``user/student``, made if there is none.
            licence: of the teacher, an SPDX identifier such as ``CC-BY-NC-4.0``.
            private, token, branch, endpoint: see :func:`skdcgn.students.hub.upload`.
        """
        files = student_files(self.form, self.state_dict(), short_card(repo_id, check_licence(licence)))
        return upload(repo_id, files, private=private, token=token, revision=branch, endpoint=endpoint)
