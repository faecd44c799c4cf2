"""Randomness as a function of its purpose: the same words and numbers give the same draws, anywhere.

Nothing carries a random state from one step to the next; step s of seed n draws from
``generator(n, "distill", s)``. So a resumed run needs a step counter and nothing else.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from skdcgn.base.bounds import MOST_SEED
from skdcgn.base.errors import UserError, shown


def derive_seed(*parts: int | str) -> int:
    """Hash the parts to a 63-bit seed."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(*parts: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator seeded by the parts; each kind of device has numbers of its own."""
    return torch.Generator(device).manual_seed(derive_seed(*parts))


def set_seed(seed: int) -> None:
    """Seed PyTorch's global generators, for initial weights; raise UserError for a seed that is none."""
    if not 0 <= seed <= MOST_SEED:
        raise UserError(f"seed {shown(seed)}: pass a whole number from 0 to {MOST_SEED}")
    torch.manual_seed(seed)


def seed_global(*parts: int | str) -> None:
    """Set torch's global random state from the parts, on the CPU and on the GPUs in use.

    ``torch.manual_seed`` does the same, but walks the call stack for each kind of accelerator that is not in use.
    """
    seed = derive_seed(*parts)
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)


@contextmanager
def seeded(*parts: int | str) -> Iterator[None]:
    """Draw from torch's global generator of the CPU, in the block, as seeded by the parts; restore its state after."""
    state = torch.default_generator.get_state()
    torch.default_generator.manual_seed(derive_seed(*parts))
    try:
        yield
    finally:
        torch.default_generator.set_state(state)
