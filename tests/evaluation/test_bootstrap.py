from __future__ import annotations

import numpy as np
import pytest

from gzfound.errors import ConfigError
from gzfound.evaluation import Interval, bootstrap_rows, interval, resampled_sums


def test_interval_of_a_mean_has_the_known_width() -> None:
    """400 normal numbers: the 95 % interval is 2 * 1.96 / sqrt(400) = 0.196 wide.

    2,000 resamples and the spread of one sample move that by 4 % each (1 sigma): within 15 %.
    """
    x = np.random.default_rng(0).normal(size=(400, 1))
    sums = resampled_sums(np.concatenate([x, np.ones_like(x)], axis=1), 2000)
    assert (sums[:, 1] == 400).all()
    found = interval(x.mean(), sums[:, 0] / 400)
    assert found.low < found.value < found.high
    assert found.high - found.low == pytest.approx(0.196, rel=0.15)


def test_nominal_coverage() -> None:
    """300 samples of 60: the intervals hold the true mean 95 % of the time (4 sigma: 5 %)."""
    draw = np.random.default_rng(1)
    hits = 0
    for seed in range(300):
        x = draw.normal(size=(60, 1))
        found = interval(float(x.mean()), resampled_sums(x, 400, seed)[:, 0] / 60)
        hits += found.low <= 0 <= found.high
    assert hits / 300 == pytest.approx(0.945, abs=0.05)


def test_weights_and_rows_agree() -> None:
    """The same metric by either route: intervals within the noise of 4,000 resamples (5 %)."""
    x = np.random.default_rng(2).exponential(size=200)
    by_sums = interval(x.mean(), resampled_sums(x[:, None], 4000)[:, 0] / 200)
    by_rows = interval(x.mean(), bootstrap_rows(lambda rows: x[rows].mean(axis=1), [200], 4000))
    width = by_sums.high - by_sums.low
    assert by_rows.low == pytest.approx(by_sums.low, abs=0.05 * width)
    assert by_rows.high == pytest.approx(by_sums.high, abs=0.05 * width)


def test_groups_are_resampled_within_themselves() -> None:
    rows = bootstrap_rows(lambda rows: rows, [3, 5], 200).astype(int)
    assert set(rows[:, :3].ravel()) == {0, 1, 2}
    assert set(rows[:, 3:].ravel()) == {3, 4, 5, 6, 7}


def test_same_seed_same_draws_so_differences_are_paired() -> None:
    """x + 1 against x: the difference is 1 in every resample."""
    x = np.random.default_rng(3).normal(size=(100, 1))
    first, second = resampled_sums(x, 50, seed=4), resampled_sums(x + 1, 50, seed=4)
    np.testing.assert_allclose(second - first, 100)
    assert not np.allclose(first, resampled_sums(x, 50, seed=5))


def test_interval_without_values() -> None:
    empty = interval(float("nan"), np.array([1.0, 2.0]))
    assert str(empty) == "–"
    assert str(Interval(0.5, 0.25, 0.75)) == "0.5000 [0.2500, 0.7500]"
    assert Interval(1, 0, 2).overlaps(Interval(3, 2, 4))
    assert not Interval(1, 0, 2).overlaps(Interval(3, 2.5, 4))


def test_nothing_to_resample() -> None:
    with pytest.raises(ConfigError, match="bootstrap of 0 galaxies"):
        resampled_sums(np.empty((0, 2)))
