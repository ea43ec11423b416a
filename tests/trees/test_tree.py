"""The structure of a tree: columns, slices, what lies below, what is left."""

from __future__ import annotations

import dataclasses
import pickle
import subprocess
import sys

import numpy as np
import pytest

from gzfound import load_tree
from gzfound.errors import ConfigError, DataError
from gzfound.trees import DecisionTree, Question

HUBBLE = load_tree("gz_hubble")


def small_tree() -> DecisionTree:
    """root (yes, no) -> yes: left (a, b, c); no or any of left: right (d, e)."""
    left = ("left_a", "left_b", "left_c")
    return DecisionTree(
        "small",
        (
            Question("root", ("yes", "no")),
            Question("left", ("a", "b", "c"), ("root_yes",)),
            Question("right", ("d", "e"), ("root_no", *left)),
        ),
    )


def test_columns_slices_and_index() -> None:
    tree = small_tree()
    assert tree.columns == (
        *("root_yes", "root_no"),
        *("left_a", "left_b", "left_c"),
        *("right_d", "right_e"),
    )
    assert dict(tree.slices) == {"root": slice(0, 2), "left": slice(2, 5), "right": slice(5, 7)}
    assert tree.question_index.tolist() == [0, 0, 1, 1, 1, 2, 2]
    assert tree.question_index.dtype == np.int64
    assert tree.asked_after["left"] == ("root_yes",)


def test_below_is_everything_that_can_follow() -> None:
    """In Hubble, spirals lead to winding, arm count and bulge size; a bar leads to those too."""
    spiral = ("spiral-winding-hubble", "spiral-arm-count-hubble", "bulge-size-hubble")
    assert HUBBLE.below("has-spiral-arms-hubble") == spiral
    assert HUBBLE.below("bar-hubble") == ("has-spiral-arms-hubble", *spiral)
    assert HUBBLE.below("bulge-size-hubble") == ()
    assert len(HUBBLE.below("smooth-or-featured-hubble")) == 12


def test_without_removes_everything_below() -> None:
    """13 questions less has-spiral-arms and the three below it leave 9; 40 answers leave 25."""
    cut = HUBBLE.without("has-spiral-arms-hubble")
    assert (len(cut.questions), len(cut.columns)) == (9, 40 - 2 - 3 - 6 - 4)
    assert "bulge-size-hubble" not in cut.slices
    assert cut.name == "gz_hubble"
    assert cut != HUBBLE
    assert HUBBLE.without() == HUBBLE
    assert HUBBLE.without("bar-hubble", "bulge-size-hubble") == HUBBLE.without("bar-hubble")


def test_nothing_in_a_tree_can_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        HUBBLE.name = "other"  # type: ignore[misc]
    with pytest.raises(TypeError):
        HUBBLE.slices["bar-hubble"] = slice(0, 1)  # type: ignore[index]
    with pytest.raises(TypeError):
        HUBBLE.asked_after["bar-hubble"] = ()  # type: ignore[index]
    with pytest.raises(ValueError, match="read-only"):
        HUBBLE.question_index[0] = 3


def test_equal_trees_hash_alike_and_survive_pickling() -> None:
    _ = HUBBLE.slices, HUBBLE.question_index, hash(HUBBLE)
    copy = pickle.loads(pickle.dumps(HUBBLE))  # noqa: S301
    assert copy == HUBBLE
    assert hash(copy) == hash(HUBBLE)
    assert {HUBBLE: 1}[copy] == 1
    assert small_tree() == small_tree()


@pytest.mark.parametrize(
    ("questions", "message"),
    [
        ((), "no questions left"),
        ((Question("a", ()),), "'a' has no answers"),
        ((Question("a", ("x",)), Question("a", ("x",))), "'a_x' appears twice"),
        ((Question("a", ("x",), ("b_y",)), Question("b", ("y",))), "'b_y', which is not an answer"),
    ],
)
def test_impossible_trees_are_refused(questions: tuple[Question, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        DecisionTree("odd", questions)


def test_unknown_questions_are_named_with_a_suggestion() -> None:
    with pytest.raises(ConfigError, match=r"'bra-hubble'; did you mean bar-hubble.*Allowed: smoo"):
        HUBBLE.without("bra-hubble")
    with pytest.raises(ConfigError, match="question of gz_hubble: 'x'"):
        HUBBLE.below("x")


def test_a_tree_prints_each_question_once() -> None:
    assert str(small_tree()).splitlines() == [
        "small: 3 questions, 7 answers",
        "root",
        "├── yes → left",
        "│   └── a, b, c → right",
        "│       └── d, e",
        "└── no → right (above)",
    ]


@pytest.mark.parametrize("name", ["gz_hubble", "gz_candels", "gz_jwst", "gz_evo"])
def test_every_question_and_answer_is_printed(name: str) -> None:
    tree = load_tree(name)
    lines = str(tree).splitlines()[1:]
    for question in tree.questions:
        heads = [ln for ln in lines if ln == question.name or ln.endswith(f"→ {question.name}")]
        assert len(heads) == 1, question.name
        assert all(any(answer in line for line in lines) for answer in question.answers)


def test_importing_and_printing_stay_light() -> None:
    """Under 50 ms of processor time (the best of five), and without NumPy or torch."""
    program = (
        "import sys, time; start = time.process_time(); import gzfound.trees; "
        "spent = time.process_time() - start; str(gzfound.trees.load_tree('gz_evo')); "
        "print(spent, *{'numpy', 'torch', 'pandas', 'datasets'} & set(sys.modules))"
    )
    times = []
    for _ in range(5):
        result = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
        spent, *heavy = result.stdout.decode().split()
        assert heavy == []
        times.append(float(spent))
    assert min(times) < 0.05
