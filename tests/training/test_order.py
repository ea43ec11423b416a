"""The order of the galaxies."""

from __future__ import annotations

import numpy as np
import pytest

from gzfound.errors import ConfigError
from gzfound.training.order import BatchOrder


def test_processes_divide_the_batches_of_one_process() -> None:
    rows = np.arange(100, 203)
    whole = BatchOrder(rows, 12, seed=3).epoch(2)
    halves = [BatchOrder(rows, 12, 3, process, 2).epoch(2) for process in (0, 1)]
    assert whole.shape == (8, 12)
    np.testing.assert_array_equal(whole, np.concatenate(halves, axis=1))


def test_an_epoch_has_each_galaxy_at_most_once_and_epochs_differ() -> None:
    order = BatchOrder(np.arange(50, 153), 10, seed=0)
    first, second = order.epoch(0).ravel(), order.epoch(1).ravel()
    assert len(set(first)) == len(first) == 100
    assert set(first) < set(range(50, 153))
    assert (first != second).sum() > 80
    np.testing.assert_array_equal(first, order.epoch(0).ravel())


@pytest.mark.parametrize("batch_size", [0, 7, 200])
def test_a_batch_size_that_cannot_be_is_named(batch_size: int) -> None:
    with pytest.raises(ConfigError, match="batch_size"):
        BatchOrder(np.arange(100), batch_size, 0, 0, 2)


def balanced(epoch: int, processes: int = 1) -> np.ndarray:
    """90 galaxies of group 0, 10 of group 1 (numbers 90 to 99), batches of 20."""
    groups = np.repeat([0, 1], [90, 10])
    orders = [
        BatchOrder(np.arange(100), 20, 7, process, processes, groups=groups)
        for process in range(processes)
    ]
    return np.concatenate([order.epoch(epoch) for order in orders], axis=1)


def test_balanced_groups_fill_the_same_share_of_an_epoch() -> None:
    """50 places each: every galaxy of the small group comes five times, of the large one once, or
    twice in an epoch in which its turns meet."""
    for epoch, most in ((0, 1), (1, 2), (3, 2)):
        rows, times = np.unique(balanced(epoch), return_counts=True)
        assert times[rows >= 90].tolist() == [5] * 10
        assert times[rows < 90].sum() == 50
        assert times[rows < 90].max() == most


def test_balanced_groups_take_turns_over_the_epochs() -> None:
    """9 epochs of 50 places are 5 turns of 90 galaxies: each comes exactly five times."""
    large = np.concatenate([rows[rows < 90] for rows in map(balanced, range(9))])
    assert np.bincount(large, minlength=90).tolist() == [5] * 90


def test_balanced_epochs_depend_on_seed_and_epoch_alone() -> None:
    """Any epoch can be asked for first, as after resuming; processes divide the same batches."""
    later = balanced(5)
    assert (balanced(5) == later).all()
    assert (balanced(4) != later).any()
    assert (np.sort(balanced(5, processes=2), axis=1) == np.sort(later, axis=1)).all()
