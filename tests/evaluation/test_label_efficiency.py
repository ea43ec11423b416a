"""Probes on shares of the labels: nested, comparable, and honest about what was left out."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from gzfound.errors import ConfigError, DataError
from gzfound.evaluation import probe_table
from gzfound.evaluation.label_efficiency import label_efficiency, nested_rows
from gzfound.evaluation.table import MEAN

ROOT, BAR = "smooth-or-featured-hubble", "bar-hubble"
TRAIN, TEST = np.arange(700), np.arange(700, 900)


@pytest.fixture(scope="module")
def found(world: Any) -> Any:
    return label_efficiency(
        {"good": world.embeddings, "made": lambda rows: world.embeddings[:, :2]},
        world.votes,
        world.tree,
        TRAIN,
        TEST,
        (ROOT, BAR),
        shares=(0.001, 0.02, 1.0),
        draws=3,
    )


def test_subsets_are_nested_within_a_draw() -> None:
    rows = 3 * np.arange(100)
    small, large = (nested_rows(rows, size, 2, 0) for size in (10, 60))
    for few, many in zip(small, large, strict=True):
        assert (len(few), len(many)) == (10, 60)
        assert set(few) < set(many) < set(rows)
    assert set(small[0]) != set(small[1])
    np.testing.assert_array_equal(nested_rows(rows, 10, 1, 0)[0], small[0])
    np.testing.assert_array_equal(nested_rows(rows, 100, 1, 0)[0], rows)


def test_all_labels_give_the_numbers_of_the_probe_table(found: Any, world: Any) -> None:
    table = probe_table(
        {"good": world.embeddings}, world.votes, world.tree, TRAIN, TEST, (ROOT, BAR), resamples=2
    ).table
    whole = {(p.target, p.method): p for p in found.points if p.share == 1}
    for target in (ROOT, BAR, MEAN):
        for method in ("good", "constant"):
            point, row = whole[target, method], table.find(target, method)
            assert (point.galaxies, point.draws, point.tested) == (700, 1, row.galaxies)
            for metric, value in point.metrics.items():
                assert value.value == pytest.approx(row.metrics[metric].value, abs=1e-9)
                assert value.low == value.value == value.high


def test_more_labels_give_more_skill_and_less_range(found: Any) -> None:
    """14 labels of 700; the constant of 14 galaxies is a worse one than that of all."""
    skill = {(p.method, p.share): p.metrics["skill"] for p in found.points if p.target == MEAN}
    few, all_labels = skill["good", 0.02], skill["good", 1.0]
    assert few.low < few.value < few.high < all_labels.value
    assert all_labels.value > 0.9
    assert skill["constant", 0.02].high < 0 == skill["constant", 1.0].value
    assert found.points[-1].target == MEAN


def test_what_is_left_out_is_said(found: Any, world: Any) -> None:
    """0.1 % of 700 is one galaxy; votes on bars of galaxy 0 alone are in few subsets.

    Of two questions or of three, the mean is left out where one of them is.
    """
    assert found.notes[1:] == ("0.1 % (1 galaxies): left out, a probe needs 5.",)
    votes = world.votes.copy()
    votes[1:700, world.tree.slices[BAR]] = 0
    votes[0, world.tree.slices[BAR]] = [10, 30]
    rare = label_efficiency(
        {"good": world.embeddings},
        votes,
        world.tree,
        TRAIN,
        TEST,
        (ROOT, BAR),
        shares=(0.02, 1.0),
        draws=2,
        constant=False,
    )
    assert rare.notes[1:] == (f"2 % (14 galaxies): without votes, and left out: {BAR}.",)
    assert [(p.target, p.share) for p in rare.points] == [
        (ROOT, 0.02),
        *((target, 1.0) for target in (ROOT, BAR, MEAN)),
    ]
    third = "how-rounded-hubble"
    more = label_efficiency(
        {"good": world.embeddings},
        votes,
        world.tree,
        TRAIN,
        TEST,
        (ROOT, third, BAR),
        shares=(0.1,),
        draws=2,
        constant=False,
    )
    assert [p.target for p in more.points] == [ROOT, third]
    lines = rare.to_table("RMSE").to_markdown().splitlines()
    assert [line.split(" | ")[0] for line in lines[4:7]] == [f"| {t}" for t in (ROOT, BAR, MEAN)]
    assert [line.split(" | ")[3] == "–" for line in lines[4:7]] == [False, True, True]
    with pytest.raises(DataError, match=r"700 galaxies: 0\.1 % \(1 galaxies\): left out"):
        label_efficiency({}, votes, world.tree, TRAIN, TEST, (ROOT,), shares=(0.001,))
    with pytest.raises(ConfigError, match=r"shares \(1\.5,\), draws 5; allowed: shares above 0"):
        label_efficiency({}, votes, world.tree, TRAIN, TEST, (ROOT,), shares=(1.5,))


def test_tables_have_a_column_a_share(found: Any) -> None:
    json.dumps(found.to_dict(), allow_nan=False)
    assert {row["draws"] for row in found.to_dict()["rows"]} == {1, 3}
    text = found.to_table("skill").to_markdown()
    assert "| target | method | galaxies | 2 % (14) | 100 % (700) |" in text
    assert text.count("| good |") == 3
