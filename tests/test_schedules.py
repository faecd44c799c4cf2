"""Epochs and rates: every row once per epoch, in an order of its own; rates fall in steps, a cooldown ends at zero."""

import pytest
import torch

from skdcgn.classifiers.schedules import Epochs, epoch_order, one_cycle, step_decay


def test_an_epoch_visits_every_row_once_in_an_order_of_its_own():
    first, second = epoch_order(50, 0, 0), epoch_order(50, 0, 1)
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(50))
    assert not torch.equal(first, second)


def test_batches_divide_an_epoch_and_the_last_one_is_smaller():
    epochs = Epochs(count=10, batch_size=4, epochs=3, seed=1)
    assert (epochs.steps_per_epoch, epochs.steps) == (3, 9)
    assert [len(epochs.rows(step)) for step in range(6)] == [4, 4, 2, 4, 4, 2]
    assert [epochs.epoch(step) for step in range(9)] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert torch.equal(torch.cat([epochs.rows(step) for step in range(3, 6)]), epoch_order(10, 1, 1))


def test_the_rate_falls_per_epoch_and_a_cooldown_takes_it_to_zero():
    published, cooled = step_decay(0.7, 4), step_decay(0.7, 4, cooldown=0.5)
    steps = [0.0, 0.25, 0.5, 0.75, 0.9999]
    assert [published(p) for p in steps] == pytest.approx([1, 0.7, 0.49, 0.343, 0.343])
    assert [cooled(p) for p in steps] == pytest.approx([1, 0.7, 0.49, 0.343 * 0.5, 0.343 * 0.0002])


def test_a_warmup_and_a_cooldown_make_a_triangle():
    triangle = step_decay(1.0, 3, warmup=0.2, cooldown=0.8)
    assert [triangle(p) for p in (0, 0.1, 0.2, 0.6, 1)] == pytest.approx([0, 0.5, 1, 0.5, 0])


def test_the_rate_falls_after_every_so_many_epochs():
    schedule = step_decay(0.1, 45, every=15)
    assert [schedule(p) for p in (0, 0.33, 1 / 3, 2 / 3, 0.999)] == pytest.approx([1, 1, 0.1, 0.01, 0.01])


def test_one_cycle_rises_for_a_fifth_of_the_steps_and_falls_to_zero():
    assert [one_cycle(p) for p in (0, 0.1, 0.2, 0.6, 1)] == pytest.approx([0.04, 0.52, 1, 0.5, 0])
