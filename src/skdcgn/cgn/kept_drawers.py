"""Drawers that stay with their weights: built once, compared with the networks, and built again after a change."""

import logging
from collections.abc import Callable
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from skdcgn.base.seeds import generator
from skdcgn.cgn.drawer import TOLERANCE, Drawer
from skdcgn.cgn.inputs import Query
from skdcgn.cgn.mechanism import Mechanism, Teacher

CHECKED = 32  # images of each mechanism that are compared
_KEPT: "WeakKeyDictionary[nn.Module, tuple[Tensor, Drawer | None]]" = WeakKeyDictionary()

log = logging.getLogger(__name__)


def kept_drawer(cgn: Teacher, module: nn.Module, build: Callable[[], Drawer]) -> Drawer | None:
    """Return the drawer of a CGN's present weights; None if it draws more than ``TOLERANCE`` away from ``query``.

    Args:
        cgn: what is drawn.
        module: holds its weights.
        build: makes a drawer of them.
    """
    state = _state(module)
    kept = _KEPT.get(module)
    if kept is None or not torch.equal(kept[0], state):
        with torch.inference_mode(False), torch.no_grad():
            drawer = build()
        kept = _KEPT[module] = state, drawer if _draws_alike(cgn, drawer) else None
    return kept[1]


def _state(module: nn.Module) -> Tensor:
    """Return all weights and statistics in one tensor, where the first of them is."""
    tensors = [value.detach() for value in (*module.parameters(), *module.buffers()) if value.is_floating_point()]
    return torch.cat([value.flatten().to(tensors[0].device) for value in tensors])


def _draws_alike(cgn: Teacher, drawer: Drawer) -> bool:
    away = max(_away(cgn, drawer, mechanism) for mechanism in Mechanism)
    if not away <= TOLERANCE:
        log.warning("the fast form of a CGN draws %.2g away from its networks: they draw, as with exact", away)
    return away <= TOLERANCE


def _away(cgn: Teacher, drawer: Drawer, mechanism: Mechanism) -> float:
    """Return how far the drawer is from the CGN at fixed inputs; infinity for NaN."""
    rng = generator("drawer", mechanism)
    noise = cgn.spec.sample_noise(CHECKED, rng)
    labels = torch.randint(cgn.spec.classes, (CHECKED,), generator=rng)
    with torch.inference_mode():
        query = Query(noise.to(drawer.device), labels.to(drawer.device))
        images = torch.cat([piece.clone() for piece in drawer.pieces(mechanism, query, None)])
        return float((images.cpu() - cgn.query(mechanism, noise, labels)).abs().nan_to_num(torch.inf).max())
