"""How a student begins: each class at its mean colour, class embeddings at those of a file."""

from pathlib import Path

import torch
from torch import Tensor

from skdcgn.base.config import DistillConfig
from skdcgn.base.errors import UserError, shortened
from skdcgn.base.weights import check_finite, read_state_dict, shape_of
from skdcgn.cgn.mechanism import Mechanism, Spec
from skdcgn.pairs.stored import StoredPairs, small_pictures
from skdcgn.students.generator import StudentGenerator, student_size
from skdcgn.students.memory import start_memory

COLOUR_PAIRS = 10_000
CODED_SIDE = 16  # pixels of the small pictures from which codes of a memory begin
BIGGAN = "embeddings.weight"  # in its file, transposed


def new_student(config: DistillConfig, mechanism: Mechanism, spec: Spec) -> StudentGenerator:
    """Return a student with random weights, drawn from torch's global random state."""
    return StudentGenerator(mechanism, spec, **student_size(config, mechanism))


def first_student(config: DistillConfig, pairs: StoredPairs) -> StudentGenerator:
    """Return a student that begins at the colours and noise of ``pairs`` and at the embeddings of a file, if any."""
    student = new_student(config, pairs.mechanism, pairs.spec)
    rows = first_of_each_class(pairs.labels, COLOUR_PAIRS)
    student.start_at(pairs.images(rows), pairs.labels[rows])
    if student.memory:
        pictures = small_pictures(pairs, torch.arange(len(pairs)), CODED_SIDE)
        start_memory(student.memory, pairs.noise, pairs.labels, pictures)
    if config.embeddings:
        student.embed_as(read_embeddings(Path(config.embeddings), *student.embed.weight.shape))
    return student


def first_of_each_class(labels: Tensor, total: int) -> Tensor:
    """Return the first rows of every class among ``labels`` (N,), ``total`` of them or fewer, but one at least."""
    classes = labels.unique()
    each = max(1, total // len(classes))
    return torch.cat([(labels == c).nonzero()[:each, 0] for c in classes])


def read_embeddings(file: Path, classes: int, size: int) -> Tensor:
    """Read class embeddings (classes, size): ``embeddings.weight`` of a BigGAN's file, transposed, or the one tensor.

    Raises:
        UserError: the file is missing or damaged, holds no such tensor, or one of another shape.
    """
    state = read_state_dict(file)
    name = BIGGAN if BIGGAN in state or len(state) > 1 else next(iter(state))
    shape = shape_of(state, file, name, 2)
    if shape != ((size, classes) if name == BIGGAN else (classes, size)):
        raise UserError(
            f"{file} holds no embeddings of {classes} classes in {size} dimensions ({shortened(name)} has shape "
            f"{shape}): pass BigGAN's file or a single tensor, and make the students' embedding as wide"
        )
    table = state[name].T if name == BIGGAN else state[name]
    check_finite({name: table}, file)
    return table.float()
