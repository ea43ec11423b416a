"""Which campaigns a dataset holds, from its column names alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gzfound.errors import DataError
from gzfound.trees.loading import campaigns_of, list_trees, load_tree
from gzfound.trees.tree import DecisionTree, Question


@dataclass(frozen=True)
class ColumnMatch:
    """A dataset's tree, and the columns that do not take part.

    ``tree`` has the questions whose columns are all there, of every recognised campaign.
    ``missing`` are the columns of the recognised campaigns that are not there, in tree order;
    ``ignored`` are the dataset's columns that are not in the tree, in the dataset's order
    (``image``, ``id_str``, ``..._fraction``, ``..._total-votes``, left-over answers).

    A question that lost a column is taken out of the tree, and what followed it then follows
    what led to it: ``probability_asked`` of those questions becomes an upper bound.
    """

    tree: DecisionTree
    ignored: tuple[str, ...]
    missing: tuple[str, ...]


def match_columns(columns: Iterable[str]) -> ColumnMatch:
    """See ``DecisionTree.from_columns``."""
    given = tuple(dict.fromkeys(columns))
    present = set(given)
    singles = [load_tree(name) for name in list_trees() if campaigns_of(name) == (name,)]
    found = [tree for tree in singles if not present.isdisjoint(tree.columns)]
    if not found:
        raise DataError(_nothing_found(given, singles))
    missing = tuple(column for tree in found for column in tree.columns if column not in present)
    questions = tuple(q for tree in found for q in _complete_questions(tree, present))
    if not questions:
        raise DataError(
            f"no question of {', '.join(tree.name for tree in found)} has all of its columns; "
            f"missing: {_some(missing)}"
        )
    tree = DecisionTree(_common_name([each.name for each in found]), questions)
    used = set(tree.columns)
    return ColumnMatch(tree, tuple(column for column in given if column not in used), missing)


def _common_name(campaigns: list[str]) -> str:
    for name in list_trees():
        if set(campaigns_of(name)) == set(campaigns):
            return name
    return "+".join(campaigns)


def _some(names: tuple[str, ...], most: int = 6) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _nothing_found(given: tuple[str, ...], trees: list[DecisionTree]) -> str:
    examples = ", ".join(f"{tree.columns[0]} ({tree.name})" for tree in trees)
    return (
        f"no Galaxy Zoo campaign recognised in {len(given)} columns ({_some(given) or 'none'}); "
        f"looked for vote columns such as {examples}"
    )


def _complete_questions(tree: DecisionTree, present: set[str]) -> tuple[Question, ...]:
    """The questions with all their columns, joined up where one in between is gone."""
    after: dict[str, tuple[str, ...]] = {}
    kept: list[Question] = []
    for question in tree.questions:
        parents = _skip_missing(question, tree, after, {each.name for each in kept})
        after[question.name] = parents
        if present.issuperset(question.columns):
            kept.append(Question(question.name, question.answers, parents))
    return tuple(kept)


def _skip_missing(
    question: Question,
    tree: DecisionTree,
    after: Mapping[str, tuple[str, ...]],
    kept: set[str],
) -> tuple[str, ...]:
    """The parents of ``question`` among the kept questions; none if a lost root led to it."""
    parents: dict[str, None] = {}
    for column in question.asked_after:
        owner = tree.question_of[column]
        if owner not in kept and not after[owner]:
            return ()
        parents.update(dict.fromkeys((column,) if owner in kept else after[owner]))
    return tuple(c for c in parents if not _behind(c, parents, tree, after))


def _behind(
    column: str,
    others: Mapping[str, None],
    tree: DecisionTree,
    after: Mapping[str, tuple[str, ...]],
) -> bool:
    """Whether every path to ``column`` passes another of ``others``, which then counts it."""
    parents = after[tree.question_of[column]]
    return bool(parents) and all(
        parent in others or _behind(parent, others, tree, after) for parent in parents
    )
