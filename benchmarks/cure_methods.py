"""The methods of the comparison of cures, each a function of a run: empirical risk, GroupDRO, DFR, JTT, mixtures.

All train by AdamW in batches of 64 at a rate that rises and falls once, in bfloat16 (PyTorch autocast), and pass as
many pictures forward and backward as the budget of the run says, in all their stages together.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from cure_data import Network, Pictures, Task, bf16, composed_batches
from cure_groups import GroupWeights, evenly_by_group, upweighted
from skdcgn.base.seeds import generator, set_seed
from skdcgn.base.tensors import read_tensors, write_tensors
from skdcgn.classifiers.schedules import one_cycle
from skdcgn.data.folders import as_unit

BATCH = 64


class Batch(NamedTuple):
    """Images (B, 3, S, S) in [-1, 1], their classes (B,) and groups (B,); composed images have no group."""

    images: Tensor
    labels: Tensor
    groups: Tensor | None = None


Loss = Callable[[Tensor, Batch], Tensor]  # logits (B, K) and their batch -> ()


@dataclass(frozen=True)
class Rate:
    """The highest learning rate, and the weight decay."""

    learning_rate: float = 4e-3
    weight_decay: float = 0.01


@dataclass
class Run:
    """One training: a data set, a seed, a rate and the folder that keeps the network of empirical risk.

    ``correction`` is in seconds, to be added to the time of the method: the training of a network that was loaded, less
    what is no part of the method.
    """

    task: Task
    seed: int
    rate: Rate
    folder: Path
    correction: float = field(default=0.0)

    def new_network(self) -> Network:
        """Return a network with the seed's random weights."""
        set_seed(self.seed)
        return self.task.network()

    def plain(self, share: float = 1.0) -> Network:
        """Return the network of empirical risk with a share of the budget, trained once for all that start from it."""
        images = round(share * self.task.budget)
        file, network = self.folder / f"erm-{self.rate.learning_rate:g}-{images}.safetensors", self.new_network()
        if file.exists():
            state, metadata = read_tensors(file)
            network.load_state_dict(state)
            self.correction += float(metadata["seconds"])
            return network
        start = time.perf_counter()
        fit(network, passes(self, self.task.train), images, self.rate)
        seconds = time.perf_counter() - start
        file.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(file, network.state_dict(), {"seconds": str(seconds)})
        return network


class Method(Protocol):
    """A method with its settings."""

    def __call__(self, run: Run) -> Network: ...


def mean_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Return the mean cross-entropy."""
    return F.cross_entropy(logits, batch.labels)


def fit(network: Network, batches: Iterator[Batch], images: int, rate: Rate, loss: Loss = mean_loss) -> None:
    """Train a network in place with as many images; the last step may have more than are left."""
    optimizer = torch.optim.AdamW(network.parameters(), rate.learning_rate, weight_decay=rate.weight_decay)
    steps = -(-images // BATCH)
    network.train()
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate.learning_rate * one_cycle(step / steps)
        batch = next(batches)
        optimizer.zero_grad()
        with bf16():
            logits = network(batch.images)
        loss(logits.float(), batch).backward()
        optimizer.step()
    network.eval()


def batch_of(run: Run, pictures: Pictures, rows: Tensor, rng: torch.Generator) -> Batch:
    """Return pictures as a batch, changed at random."""
    own = pictures.rows(rows)
    return Batch(run.task.augment(as_unit(own.images), rng), own.labels, own.groups)


def passes(run: Run, pictures: Pictures, rows: Tensor | None = None, batch: int = BATCH) -> Iterator[Batch]:
    """Yield batches of passes over pictures, or over ``rows`` of them, each in a random order."""
    rows, rng = torch.arange(len(pictures)) if rows is None else rows, generator(run.seed, "passes")
    batch = min(batch, len(rows))
    while True:
        order = rows[torch.randperm(len(rows), generator=rng)]
        for own in order[: len(rows) // batch * batch].split(batch):
            yield batch_of(run, pictures, own, rng)


def uniform_groups(run: Run, pictures: Pictures) -> Iterator[Batch]:
    """Yield batches of pictures of groups drawn uniformly, as GroupDRO takes them."""
    rng, groups = generator(run.seed, "groups"), pictures.groups
    shares = 1 / torch.bincount(groups).double()[groups]
    while True:
        yield batch_of(run, pictures, torch.multinomial(shares, BATCH, replacement=True, generator=rng), rng)


def mixed(run: Run, name: str, share: float) -> Iterator[Batch]:
    """Yield batches of training pictures with a share of composed ones of a source."""
    count, rng = round(share * BATCH), generator(run.seed, "augment composed")
    composed = composed_batches(run.task.sources[name], count, run.seed)
    real = passes(run, run.task.train, batch=BATCH - count)
    while True:
        images, labels = composed()
        images, own = run.task.augment(images, rng), next(real) if count < BATCH else None
        yield Batch(torch.cat([own.images, images]), torch.cat([own.labels, labels])) if own else Batch(images, labels)


@torch.inference_mode()
def features(network: Network, images: Tensor) -> Tensor:
    """Return the features (N, D) of pictures (N, 3, S, S) uint8."""
    parts = (as_unit(part).contiguous(memory_format=torch.channels_last) for part in images.split(500))
    with bf16():
        return torch.cat([network.body(part).float() for part in parts])


def decisions(network: Network, images: Tensor) -> Tensor:
    """Return the most likely class (N,) of pictures (N, 3, S, S) uint8."""
    with torch.inference_mode():
        return network.head(features(network, images)).argmax(1)


@dataclass(frozen=True)
class EmpiricalRisk:
    """Cross-entropy on the training pictures."""

    rate: Rate

    def __call__(self, run: Run) -> Network:
        return replace(run, rate=self.rate).plain()


@dataclass(frozen=True)
class Oracle:
    """Cross-entropy on training pictures whose shortcut is random."""

    def __call__(self, run: Run) -> Network:
        network = run.new_network()
        fit(network, passes(run, run.task.oracle), run.task.budget, run.rate)
        return network


@dataclass(frozen=True)
class GroupDRO:
    """Sagawa et al. (2020): the weighted loss of groups that are drawn uniformly."""

    eta: float
    weight_decay: float

    def __call__(self, run: Run) -> Network:
        network, weights = run.new_network(), GroupWeights(int(run.task.train.groups.max()) + 1, self.eta)

        def loss(logits: Tensor, batch: Batch) -> Tensor:
            assert batch.groups is not None
            return weights(F.cross_entropy(logits, batch.labels, reduction="none"), batch.groups)

        rate = replace(run.rate, weight_decay=self.weight_decay)
        fit(network, uniform_groups(run, run.task.train), run.task.budget, rate, loss)
        return network


@dataclass(frozen=True)
class LastLayer:
    """DFR (Kirichenko et al. 2023): a logistic regression of strength C on features of pictures balanced by group.

    ``held_out``: of the held-out pictures, else of the training pictures.
    """

    strength: float
    held_out: bool

    def __call__(self, run: Run) -> Network:
        network = run.plain()
        pictures = run.task.held_out if self.held_out else run.task.train
        own = pictures.rows(evenly_by_group(pictures.groups, generator(run.seed, "balanced")))
        set_head(network, features(network, own.images), own.labels, self.strength)
        return network


def set_head(network: Network, inputs: Tensor, labels: Tensor, strength: float) -> None:
    """Fit a logistic regression to standardised features (N, D); write it into the head."""
    from sklearn.linear_model import LogisticRegression

    mean, deviation = inputs.mean(0), inputs.std(0).clamp(min=1e-6)
    fitted = LogisticRegression(C=strength, max_iter=1000).fit((inputs - mean) / deviation, labels)
    weight = torch.as_tensor(fitted.coef_, dtype=torch.float32) / deviation
    with torch.no_grad():
        network.head.weight.copy_(weight)
        network.head.bias.copy_(torch.as_tensor(fitted.intercept_, dtype=torch.float32) - weight @ mean)


@dataclass(frozen=True)
class JTT:
    """Liu et al. (2021): empirical risk with a share ``early`` of the budget, then with its errors ``factor`` times."""

    early: float
    factor: int

    def __call__(self, run: Run) -> Network:
        task, first = run.task, round(self.early * run.task.budget)
        identifier, network = run.new_network(), run.new_network()
        fit(identifier, passes(run, task.train), first, run.rate)
        errors = decisions(identifier, task.train.images) != task.train.labels
        rows = upweighted(errors, self.factor)
        fit(network, passes(run, task.train, rows), task.budget - first, run.rate)
        return network


@dataclass(frozen=True)
class Mixture:
    """Cross-entropy on training pictures and a share of composed ones."""

    source: str
    composed: float

    def __call__(self, run: Run) -> Network:
        network = run.new_network()
        fit(network, mixed(run, self.source, self.composed), run.task.budget, run.rate)
        return network
