"""Recognising campaigns from a dataset's columns."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gzfound import DecisionTree, list_trees, load_tree
from gzfound.errors import DataError

HUBBLE = load_tree("gz_hubble")
OTHERS = ("image", "id_str", "ra", "dec", "dataset_name")


@pytest.mark.parametrize("name", list_trees())
def test_a_complete_dataset_gives_back_its_tree(name: str) -> None:
    tree = load_tree(name)
    extra = tuple(f"{column}_fraction" for column in tree.columns)
    totals = tuple(f"{question.name}_total-votes" for question in tree.questions)
    match = DecisionTree.from_columns((*OTHERS, *reversed(tree.columns), *extra, *totals))
    assert set(match.tree.questions) == set(tree.questions)
    assert match.tree.name == name
    assert match.ignored == (*OTHERS, *extra, *totals)
    assert match.missing == ()


def test_two_campaigns_that_are_no_known_union() -> None:
    match = DecisionTree.from_columns([*load_tree("gz2").columns, *HUBBLE.columns])
    assert match.tree.name == "gz2+gz_hubble"
    assert len(match.tree.columns) == 30 + 40


def test_a_missing_answer_takes_its_question_out_and_joins_what_is_left() -> None:
    """Without clump-count, symmetry follows what led to clump-count: clumpy-appearance yes."""
    given_columns = [c for c in HUBBLE.columns if c != "clump-count-hubble_4"]
    match = DecisionTree.from_columns(["image", *given_columns])
    assert match.missing == ("clump-count-hubble_4",)
    left_over = tuple(f"clump-count-hubble_{n}" for n in ("1", "2", "3", "5-plus", "cant-tell"))
    assert match.ignored == ("image", *left_over)
    assert "clump-count-hubble" not in match.tree.slices
    assert match.tree.asked_after["galaxy-symmetrical-hubble"] == ("clumpy-appearance-hubble_yes",)


def test_a_path_is_counted_once_where_a_branching_question_is_missing() -> None:
    """Bulge size follows 'no spiral' and any arm count. Without has-spiral-arms, both follow
    any bar answer; arm counts lie behind it and must not count a second time."""
    columns = [c for c in HUBBLE.columns if not c.startswith("has-spiral-arms")]
    after = DecisionTree.from_columns(columns).tree.asked_after
    assert after["bulge-size-hubble"] == ("bar-hubble_yes", "bar-hubble_no")
    assert after["spiral-winding-hubble"] == ("bar-hubble_yes", "bar-hubble_no")
    assert len(after["spiral-arm-count-hubble"]) == 3


def test_without_the_root_its_children_are_asked_always() -> None:
    columns = [c for c in HUBBLE.columns if not c.startswith("smooth-or-featured")]
    after = DecisionTree.from_columns(columns).tree.asked_after
    assert after["how-rounded-hubble"] == after["clumpy-appearance-hubble"] == ()
    assert after["clump-count-hubble"] == ("clumpy-appearance-hubble_yes",)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_column_ends_up_somewhere(data: st.DataObject) -> None:
    """tree + ignored = what is there; tree + ignored + missing covers the campaign."""
    lost = data.draw(st.sets(st.sampled_from(HUBBLE.columns), max_size=20))
    columns = [c for c in HUBBLE.columns if c not in lost]
    try:
        match = DecisionTree.from_columns([*OTHERS, *columns])
    except DataError:
        left = [q for q in HUBBLE.questions if lost.isdisjoint(q.columns)]
        assert not left
        return
    assert set(match.tree.columns) | set(match.ignored) == {*OTHERS, *columns}
    assert set(match.missing) == lost


@pytest.mark.parametrize("columns", [[], ["image", "id_str"], ["bar-hubble_maybe", "bar-hubble"]])
def test_no_campaign_is_an_error_that_says_what_was_looked_for(columns: list[str]) -> None:
    pattern = rf"in {len(columns)} columns .*smooth-or-featured-hubble_smooth \(gz_hubble\)"
    with pytest.raises(DataError, match=pattern):
        DecisionTree.from_columns(columns)


def test_no_complete_question_is_an_error_that_says_what_is_missing() -> None:
    message = "no question of gz_hubble has all of its columns; missing: smooth-or-featured-hubble_"
    with pytest.raises(DataError, match=re.escape(message)):
        DecisionTree.from_columns(["bar-hubble_yes"])
