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
