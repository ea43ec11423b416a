"""Splits by the hash of a name."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from gzfound.data import split_by_id
from gzfound.data.splits import check_no_overlap
from gzfound.errors import ConfigError, DataError

IDS = [f"galaxy-{k}" for k in range(20_000)]


def test_every_galaxy_once_in_about_the_right_numbers() -> None:
    """A binomial share of 0.7 of 20,000 has a standard deviation of 65; five of them are 324."""
    parts = split_by_id(IDS, {"train": 0.7, "validation": 0.1, "test": 0.2})
    assert list(parts) == ["train", "validation", "test"]
    assert sorted(np.concatenate(list(parts.values()))) == list(range(20_000))
    assert abs(len(parts["train"]) - 14_000) < 324
    assert abs(len(parts["test"]) - 4_000) < 283
    assert all((np.diff(rows) > 0).all() for rows in parts.values())


def test_a_galaxy_goes_its_own_way() -> None:
    """Neither the other galaxies nor their order matter."""
    train = {IDS[row] for row in split_by_id(IDS)["train"]}
    some = IDS[5000:100:-3]
    assert {some[row] for row in split_by_id(some)["train"]} == train & set(some)


def test_stable_between_platforms_and_versions() -> None:
    """By hand: blake2b of ``int:SEED|str:split|str:ID`` (0x1f for |), big-endian, over 2**64."""

    def place(name: str) -> float:
        text = f"int:3\x1fstr:split\x1fstr:{name}".encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") / 2**64

    names = IDS[:200]
    expected = [row for row, name in enumerate(names) if place(name) < 0.25]
    assert 20 < len(expected) < 80
    found = split_by_id(names, {"a": 0.25, "b": 0.75}, seed=3)
    assert found["a"].tolist() == expected


def test_seeds_are_independent() -> None:
    """Test sets of 20 % under two seeds share 4 % of the galaxies: 800 +- 28 of 20,000."""
    first, second = (set(split_by_id(IDS, seed=seed)["test"]) for seed in (0, 1))
    assert abs(len(first & second) - 800) < 140


def test_repeated_names_stay_together() -> None:
    parts = split_by_id(["a", "b", "a", "a"], {"x": 0.5, "y": 0.5})
    assert any({0, 2, 3} <= set(rows.tolist()) for rows in parts.values())


@pytest.mark.parametrize(
    "fractions", [{}, {"a": 0.5, "b": 0.4}, {"a": 1.5, "b": -0.5}, {"a": float("nan")}]
)
def test_fractions_are_checked(fractions: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="must be positive and add up to 1"):
        split_by_id(IDS, fractions)


def test_nothing_to_split() -> None:
    assert {name: len(rows) for name, rows in split_by_id([]).items()} == {"train": 0, "test": 0}


def test_a_part_can_be_divided_further_for_another_purpose() -> None:
    """Of about 800 galaxies a tenth is 80, with a deviation of 8.5."""
    names = [f"galaxy {number}" for number in range(1000)]
    train = [names[row] for row in split_by_id(names)["train"]]
    parts = split_by_id(train, {"train": 0.9, "validation": 0.1}, purpose="validation")
    assert 46 < len(parts["validation"]) < 114


def test_galaxies_in_both_splits_are_refused() -> None:
    check_no_overlap(["a", "b"], ["c"], "train", "test")
    with pytest.raises(DataError, match="2 galaxies, such as 'b', are in split"):
        check_no_overlap(["a", "b", "c"], ["c", "b"], "train", "test")
