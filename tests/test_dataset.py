"""Counterfactuals for a DataLoader: one sequence for all batch sizes, workers, ranks and points of entry."""

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import skdcgn
from skdcgn import CounterfactualDataset, UserError
from skdcgn.base.seeds import derive_seed
from skdcgn.cgn.mechanism import Mechanism, Spec
from skdcgn.students.generator import StudentCGN

LENGTH = 200  # three blocks and a part


class Tinted:
    """A CGN of 4 x 4 pixels: the mask's half of an image is red in the tone of its texture."""

    spec, digest, size = Spec(image_size=4, noise_dim=2, classes=3, names=("a", "b", "c")), "tinted", None

    def query(self, mechanism, noise, labels):
        tone = torch.tanh(noise[:, :1] + labels[:, None])[..., None, None]
        if mechanism == Mechanism.SHAPE:
            return (tone / 2 + 0.5).expand(-1, 1, 4, 4)
        return tone.expand(-1, 3, 4, 4)


class Real(Dataset):
    """Images whose every pixel is their row, over ten; labels are rows modulo the number of classes."""

    def __init__(self, size=30, classes=None):
        self.size = size
        if classes:
            self.classes = classes

    def __len__(self):
        return self.size

    def __getitem__(self, row):
        return torch.full((3, 4, 4), row / 10) + torch.rand(()), row % 3


def sequence(dataset, batch_size=7, workers=0, **options):
    """All images and labels of a DataLoader, in order."""
    batches = list(DataLoader(dataset, batch_size=batch_size, num_workers=workers, **options))
    images, labels = zip(*batches, strict=True)
    return torch.cat(images), torch.cat(labels)


def same(first, second):
    return all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def add_noise(image):
    return image + torch.rand(())


def dataset(**options):
    return CounterfactualDataset(Tinted(), **{"length": LENGTH, "policy": ["texture.correlate:0.5"], **options})


def test_a_block_is_what_compose_draws():
    images, labels = sequence(dataset(seed=5))
    blocks = [skdcgn.compose(Tinted(), 64, policy=["texture.correlate:0.5"], seed=derive_seed(5, "dataset", b))
              for b in range(4)]  # fmt: skip
    assert torch.equal(images, torch.cat([block.images for block in blocks])[:LENGTH])
    assert torch.equal(labels, torch.cat([block.shape_labels for block in blocks])[:LENGTH])
    assert len(dataset()) == len(images) == LENGTH


def test_any_loader_gives_the_same_sequence():
    whole = sequence(dataset(transform=add_noise))
    for workers in (0, 1, 2):
        for size in (1, 7, 64) if workers < 2 else (7, 64):
            assert same(sequence(dataset(transform=add_noise), size, workers), whole)
    for size in (7, 64):
        shared = dataset(transform=add_noise, start=3, batch_size=size)
        assert same(sequence(shared, size, 2), [part[3:] for part in whole])


LOADED = {
    "shape labels": dict,
    "three labels in bytes": lambda: {"labels": "all", "dtype": torch.uint8},
    "a part of a rank's share": lambda: {"rank": 1, "ranks": 3, "start": 5},
    "no policy, shared noise": lambda: {"policy": (), "shared_noise": True},
    "a transform": lambda: {"transform": add_noise},
}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("form", LOADED)
def test_its_loader_gives_the_batches_of_a_plain_one(form, workers):
    own = dataset(**LOADED[form]())
    for size in (7, 64) if workers == 0 else (48,):
        plain = list(DataLoader(own, batch_size=size))
        loader = own.loader(workers, batch_size=size)
        assert len(loader) == len(plain)
        assert same_batches(list(loader), plain)
        assert same_batches(list(own.loader(workers, batch_size=size, drop_last=True)), plain[: len(own) // size])


def test_a_student_is_drawn_by_its_drawer_by_name_too(tmp_path):
    sizes = {mechanism.value: {"channels": (4, 4), "embedding": 2} for mechanism in Mechanism}
    student = StudentCGN({"image_size": 16, "noise_dim": 4, "classes": 3}, sizes)
    student.save_pretrained(tmp_path)
    first = skdcgn.compose(student, 64, seed=derive_seed(0, "dataset", 0))
    assert not torch.equal(
        first.images, skdcgn.compose(student, 64, exact=True, seed=derive_seed(0, "dataset", 0)).images
    )
    for cgn in (student, tmp_path):
        loaded = list(CounterfactualDataset(cgn, length=128).loader(2, batch_size=64))
        assert torch.equal(loaded[0][0], first.images)
        assert torch.equal(loaded[0][1], first.shape_labels)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_loader_of_a_mixture_gives_the_batches_of_a_plain_one(workers):
    mixed = dataset(start=9).mix(Real(classes=["c", "a", "b"]), 0.3)
    assert same_batches(list(mixed.loader(workers, batch_size=48)), list(DataLoader(mixed, batch_size=48)))


def test_batches_of_a_loader_share_no_memory():
    for size in (24, 64, 128):
        batches = [images for images, _ in dataset().loader(batch_size=size)]
        assert len({images.untyped_storage().data_ptr() for images in batches}) == len(batches)
        assert all(images.untyped_storage().nbytes() == images.nbytes for images in batches)


def test_a_loader_leaves_items_to_a_collate_fn_of_the_users_own():
    batch = next(iter(dataset().loader(batch_size=5, collate_fn=list)))
    assert [label for _, label in batch] == [label for _, label in dataset(length=5)]


def same_batches(batches, plain):
    assert len(batches) == len(plain)
    for (images, labels), (others, other_labels) in zip(batches, plain, strict=True):
        assert torch.equal(images, others)
        assert images.dtype == others.dtype
        first, second = (y if isinstance(y, dict) else {"shape": y} for y in (labels, other_labels))
        assert list(first) == list(second)
        assert same(first.values(), second.values())
    return True


def test_two_workers_share_the_batches():
    seen = [worker for _, worker in DataLoader(dataset(batch_size=64, transform=worker_number), batch_size=64,
                                               num_workers=2, collate_fn=first_worker)]  # fmt: skip
    assert seen == [0, 1, 0, 1]


def worker_number(image):
    return torch.tensor(torch.utils.data.get_worker_info().id)


def first_worker(items):
    return items[0][1], int(items[0][0])


def test_a_sequence_may_be_entered_anywhere():
    images, labels = sequence(dataset())
    for start in (0, 63, 64, 150, LENGTH):
        rest = dataset(start=start)
        assert len(rest) == LENGTH - start
        assert [y for _, y in rest] == labels[start:].tolist()
    assert torch.equal(sequence(dataset().skip(60).skip(30))[0], images[90:])


@pytest.mark.parametrize(("length", "ranks"), [(LENGTH, 2), (LENGTH, 3), (1000, 3), (10, 4)])
def test_ranks_take_equal_parts_that_are_the_sequence(length, ranks):
    options = {"length": length, "ranks": ranks}
    parts = [sequence(dataset(rank=rank, **options))[0].flatten(1) for rank in range(ranks)]
    assert {len(part) for part in parts} == {length // ranks} == {len(dataset(rank=0, **options))}
    whole = sequence(dataset(length=length // ranks * ranks))[0].flatten(1)
    assert sorted(torch.cat(parts).tolist()) == sorted(whole.tolist())


def test_without_length_it_does_not_end():
    endless = dataset(length=None)
    images = (image for image, _ in endless)
    assert all(torch.equal(next(images), image) for image, _ in dataset(length=500))
    with pytest.raises(TypeError, match="pass length="):
        len(endless)


def test_all_labels_and_eight_bits():
    images, labels = next(iter(DataLoader(dataset(labels="all", dtype=torch.uint8), batch_size=64)))
    first = skdcgn.compose(Tinted(), 64, policy=["texture.correlate:0.5"], seed=derive_seed(0, "dataset", 0))
    assert images.dtype == torch.uint8
    assert torch.equal(images, (127.5 * first.images + 127.5).round().to(torch.uint8))
    three = [first.shape_labels, first.texture_labels, first.background_labels]
    assert same([labels[mechanism] for mechanism in ("shape", "texture", "background")], three)


def test_a_name_is_loaded_by_workers_that_are_spawned(fork_server):
    named = CounterfactualDataset("double-colored-digits", length=96, batch_size=64)
    loader = named.loader(2, multiprocessing_context=fork_server)
    images = torch.cat([images for images, _ in loader])
    assert same([images], [torch.stack([image for image, _ in named])])


@pytest.mark.parametrize("share", [0.1, 0.5, 0.75])
def test_a_mixture_has_its_share_of_real_images_everywhere(share):
    mixed = dataset().mix(Real(), share)
    images, real = sequence(mixed)[0], is_real(mixed)
    assert len(mixed) == len(images) == int(LENGTH / (1 - share) + 1e-9)
    for size in (8, 20):
        counts = torch.stack([part.sum() for part in real.split(size)[:-1]])
        assert (counts - share * size).abs().max() <= 1
    assert torch.equal(images[~real], sequence(dataset())[0])
    rows = (images[real][:, 0, 0, 0] * 10 - 10).ceil().sort().values  # of the first passes over 30 rows
    assert real.sum() < 30 or len(set(rows.tolist())) > 20


def test_a_mixture_is_one_sequence_for_workers_ranks_and_starts():
    mixed = dataset(batch_size=8).mix(Real(), 0.25)
    whole = sequence(mixed, 8)
    for workers in (1, 2):
        assert same(sequence(mixed, 8, workers), whole)
    assert same(sequence(mixed.skip(70), 8), [part[70:] for part in whole])
    parts = [sequence(dataset(rank=rank, ranks=2).mix(Real(), 0.25)) for rank in range(2)]
    assert len(parts[0][0]) == len(parts[1][0])
    assert set(map(tuple, torch.cat([part[0] for part in parts]).flatten(1).tolist())) <= set(
        map(tuple, sequence(dataset(length=LENGTH + 10).mix(Real(), 0.25))[0].flatten(1).tolist())
    )


def test_labels_of_real_images_are_matched_by_name():
    named = dataset().mix(Real(classes=["c", "a", "b"]), 0.5)
    labels = sequence(named)[1]
    numbers = sequence(dataset().mix(Real(), 0.5))[1]
    real = is_real(named)
    assert torch.equal(labels[real], (numbers[real] + 2) % 3)
    assert torch.equal(labels[~real], numbers[~real])


def is_real(mixed):
    """Which images of a mixture are real: those that a mixture with other real images has not."""
    one, other = sequence(mixed)[0], sequence(mixed.counterfactuals.mix(Shifted(), mixed.share))[0]
    return (one != other).flatten(1).any(1)


class Shifted(Real):
    def __getitem__(self, row):
        image, label = super().__getitem__(row)
        return image + 100, label


MISTAKES = {
    "a number of images": (lambda: dataset(length=0), "length is 0: pass a whole number from 1"),
    "a start behind the end": (lambda: dataset(start=201), "start is 201: pass a whole number from 0 to 200"),
    "labels": (lambda: dataset(labels="texture"), "labels 'texture': use 'shape' or 'all'"),
    "a type": (lambda: dataset(dtype=torch.float16), "use torch.float32 or torch.uint8"),
    "a rank alone": (lambda: dataset(rank=1), "rank and ranks belong together"),
    "a rank": (lambda: dataset(rank=2, ranks=2), "rank 2 of 2"),
    "a policy": (lambda: dataset(policy=["texture.corelate:1"]), "did you mean texture.correlate"),
    "a name": (lambda: CounterfactualDataset("double-colored-digit"), "no teacher 'double-colored-digit'"),
    "no batch size": (lambda: dataset().loader(2), "batch_size is None"),
    "another batch size": (lambda: dataset(batch_size=8).loader(2, batch_size=16), "pass one"),
    "shuffling": (lambda: dataset(batch_size=8).loader(shuffle=True), "loader takes no shuffle"),
    "a share": (lambda: dataset().mix(Real(), 1.5), "share 1.5"),
    "all labels in a mixture": (lambda: dataset(labels="all").mix(Real(), 0.5), "mix takes labels='shape'"),
    "a stream of real images": (lambda: dataset().mix(dataset(), 0.5), "pass a map-style Dataset"),
    "other classes": (lambda: dataset().mix(Real(classes=["a", "b", "d"]), 0.5), "has the class 'd'"),
    "images of another type": (lambda: list(dataset(dtype=torch.uint8).mix(Real(), 0.5)), "is .3, 4, 4. float32"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_in_one_line(mistake):
    call, words = MISTAKES[mistake]
    with pytest.raises(UserError, match=words) as raised:
        call()
    assert "\n" not in str(raised.value)
