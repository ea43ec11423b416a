"""The order of streamed galaxies: shuffled, each once an epoch, a few row groups at a time."""

from __future__ import annotations

import numpy as np
import pytest

from gzfound.errors import ConfigError
from gzfound.training.order import BatchOrder
from gzfound.training.windows import WindowedOrder

PIECES = np.arange(10_000) // 100


def test_an_epoch_has_each_galaxy_once_and_epochs_differ() -> None:
    rows = np.arange(5_000, 15_000)
    epochs = [WindowedOrder(rows, 100, seed=1, pieces=PIECES, window=8).epoch(k) for k in (0, 1)]
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch.ravel()), rows)
    assert (epochs[0] != epochs[1]).mean() > 0.99
    again = WindowedOrder(rows, 100, seed=1, pieces=PIECES, window=8).epoch(0)
    np.testing.assert_array_equal(epochs[0], again)
    other = WindowedOrder(rows, 100, seed=2, pieces=PIECES, window=8).epoch(0)
    assert (epochs[0] != other).mean() > 0.99


def test_processes_divide_the_batches_and_the_pieces() -> None:
    rows = np.arange(10_000)
    whole = WindowedOrder(rows, 96, seed=3, pieces=PIECES, window=16).epoch(2)
    parts = [WindowedOrder(rows, 96, 3, k, 4, pieces=PIECES, window=16).epoch(2) for k in range(4)]
    np.testing.assert_array_equal(whole, np.concatenate(parts, axis=1))
    read = [len(np.unique(PIECES[part[40:60]])) for part in parts]
    assert max(read) < 0.6 * len(np.unique(PIECES[whole[40:60]]))


def test_a_batch_needs_few_pieces_and_they_are_let_go() -> None:
    steps = WindowedOrder(np.arange(10_000), 100, seed=0, pieces=PIECES, window=8).epoch(0)
    held = PIECES[steps]
    first = {p: np.flatnonzero((held == p).any(1)).min() for p in range(100)}
    last = {p: np.flatnonzero((held == p).any(1)).max() for p in range(100)}
    alive = [sum(first[p] <= k <= last[p] for p in range(100)) for k in range(len(steps))]
    assert max(alive) <= 1.5 * 8 + 2
    assert np.mean(alive) <= 8 + 2


def test_the_stream_is_shuffled() -> None:
    """Place in the stream says nothing of place in the data, nor does one galaxy of the next."""
    steps = WindowedOrder(np.arange(10_000), 100, seed=0, pieces=PIECES, window=32).epoch(0)
    ranks = np.corrcoef(np.arange(10_000), steps.ravel())[0, 1]
    assert abs(ranks) < 0.1
    full = BatchOrder(np.arange(10_000), 100, seed=0).epoch(0)
    means, plain = steps.mean(axis=1), full.mean(axis=1)
    in_file_order = np.arange(10_000).reshape(100, 100).mean(axis=1)
    assert means.std() < 3 * plain.std() < 0.4 * in_file_order.std()
    together = np.mean([len(np.unique(PIECES[step])) for step in steps])
    assert together > 28  # of a window of 32; 100 draws of 100 pieces have 63


def test_as_many_pieces_as_the_window_are_shuffled_whole() -> None:
    own = np.arange(600) // 100
    steps = WindowedOrder(np.arange(600), 60, seed=0, pieces=own, window=6).epoch(0)
    assert all(len(np.unique(own[step])) == 6 for step in steps)
    with pytest.raises(ConfigError, match="stream_window"):
        WindowedOrder(np.arange(600), 60, seed=0, pieces=own, window=0)


@pytest.mark.parametrize("processes", [1, 2, 3, 4])
def test_where_batches_do_not_divide_the_galaxies_none_comes_twice(processes: int) -> None:
    """1,003 galaxies in pieces of 7 to 100: 20 batches of 48, and 43 that sit out the epoch."""
    sizes = [7, 100, 64, 1, 33] * 4 + [7, 100, 76]
    own = np.repeat(np.arange(len(sizes)), sizes)
    rows = np.arange(len(own)) + 50
    out = []
    for epoch in range(4):
        parts = [
            WindowedOrder(rows, 48, 3, number, processes, pieces=own, window=5).epoch(epoch)
            for number in range(processes)
        ]
        seen = np.concatenate([part.ravel() for part in parts])
        assert [part.shape for part in parts] == [(20, 48 // processes)] * processes
        assert len(np.unique(seen)) == len(seen) == 960
        out.append(frozenset(np.setdiff1d(rows, seen).tolist()))
        one = WindowedOrder(rows, 48, 3, pieces=own, window=5).epoch(epoch)
        for step, whole in enumerate(one):
            np.testing.assert_array_equal(whole, np.concatenate([part[step] for part in parts]))
    assert len(set(out)) == 4
    assert len(frozenset.intersection(*out)) <= 1
