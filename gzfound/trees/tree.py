"""The decision tree of a Galaxy Zoo campaign: questions, answers, and what leads where.

The shapes below use B galaxies, Q questions and A answers (of all questions together, in tree
order). NumPy is imported when an array is first asked for, torch never: reading and printing
a tree costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from gzfound.errors import ConfigError, DataError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    from gzfound.trees.columns import ColumnMatch

Array = TypeVar("Array", "npt.NDArray[Any]", "torch.Tensor")


@dataclass(frozen=True)
class Question:
    """One question, as put to volunteers.

    ``asked_after`` names the answers that lead here, as columns (``"disk-edge-on-hubble_no"``),
    of one question or of several; empty for a question that every volunteer is asked.
    """

    name: str
    answers: tuple[str, ...]
    asked_after: tuple[str, ...] = ()

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The vote columns, one an answer: ``"bar-hubble_yes"``, ``"bar-hubble_no"``."""
        return tuple(f"{self.name}_{answer}" for answer in self.answers)


@dataclass(frozen=True)
class DecisionTree:
    """Questions in an order in which parents come before children.

    Immutable, hashable and picklable; two trees are equal when their names and questions are.
    Raises ``DataError`` for a question without answers, a column that appears twice, or one
    that is asked after a column that no earlier question has.
    """

    name: str
    questions: tuple[Question, ...]

    def __post_init__(self) -> None:
        known: set[str] = set()
        for question in self.questions:
            if not question.answers:
                raise DataError(f"tree {self.name}: question {question.name!r} has no answers")
            for parent in question.asked_after:
                if parent not in known:
                    raise DataError(
                        f"tree {self.name}: {question.name!r} is asked after {parent!r}, "
                        "which is not an answer of an earlier question"
                    )
            for column in question.columns:
                if column in known:
                    raise DataError(f"tree {self.name}: column {column!r} appears twice")
                known.add(column)
        if not self.questions:
            raise DataError(f"tree {self.name}: no questions left, at least one is needed")

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple[type[DecisionTree], tuple[str, tuple[Question, ...]]]:
        return DecisionTree, (self.name, self.questions)

    def __str__(self) -> str:
        from gzfound.trees.show import draw_tree

        return draw_tree(self)

    @cached_property
    def _hash(self) -> int:
        return hash((self.name, self.questions))

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The A vote columns, in tree order."""
        return tuple(column for question in self.questions for column in question.columns)

    @cached_property
    def slices(self) -> Mapping[str, slice]:
        """Where each question's answers lie in ``columns``."""
        found, start = {}, 0
        for question in self.questions:
            found[question.name] = slice(start, start + len(question.answers))
            start += len(question.answers)
        return MappingProxyType(found)

    @cached_property
    def asked_after(self) -> Mapping[str, tuple[str, ...]]:
        """The columns that lead to each question; empty for a root."""
        return MappingProxyType({q.name: q.asked_after for q in self.questions})

    @cached_property
    def question_index(self) -> npt.NDArray[np.int64]:
        """The number of the question that each answer belongs to; ``(A,)`` int64, read-only."""
        import numpy as np

        index = np.repeat(np.arange(len(self.questions)), [len(q.answers) for q in self.questions])
        index = index.astype(np.int64)
        index.flags.writeable = False
        return index

    @cached_property
    def question_of(self) -> Mapping[str, str]:
        """The question that each column belongs to."""
        return MappingProxyType({c: q.name for q in self.questions for c in q.columns})

    def below(self, question: str) -> tuple[str, ...]:
        """Every question that can follow ``question``, however far down, in tree order.

        Raises ``ConfigError`` for a question that is not in the tree.
        """
        self._check_names([question])
        reached = {question}
        for child in self.questions:
            if any(self.question_of[parent] in reached for parent in child.asked_after):
                reached.add(child.name)
        return tuple(q.name for q in self.questions if q.name in reached - {question})

    def without(self, *questions: str) -> DecisionTree:
        """The tree without these questions and without everything below them.

        It keeps the name of the campaign. Raises ``ConfigError`` for an unknown question and
        ``DataError`` when nothing would be left.
        """
        self._check_names(questions)
        gone = {name for question in questions for name in (question, *self.below(question))}
        kept = tuple(q for q in self.questions if q.name not in gone)
        return DecisionTree(self.name, kept)

    def probability_asked(self, fractions: Array) -> Array:
        """The probability that a volunteer is asked each question.

        Args:
            fractions: ``(B, A)`` vote fractions, NumPy or torch; NaN counts as zero.

        Returns:
            ``(B, Q)`` of the same kind and dtype, differentiable for torch. A root is asked
            always; any other question with the sum, over the answers that lead to it, of
            P(that answer's question is asked) times the answer's fraction. Answers that lead
            to one question lie on different paths, so the sum is a probability.
        """
        from gzfound.trees.paths import walk

        asked: Array = walk(self, fractions).asked
        return asked

    def expected_votes(self, fractions: Array, total: Any) -> Array:
        """The votes that ``total`` volunteers a galaxy are expected to give.

        Args:
            fractions: ``(B, A)`` vote fractions, NumPy or torch; NaN counts as zero.
            total: volunteers who started on each galaxy, ``(B,)`` or a number.

        Returns:
            ``(B, A)``: total times P(question is asked) times fraction.
        """
        from gzfound.trees.paths import walk

        votes: Array = walk(self, fractions, total).votes
        return votes

    @classmethod
    def from_columns(cls, columns: Iterable[str]) -> ColumnMatch:
        """Recognise a dataset's campaigns from its columns; see ``ColumnMatch``.

        Raises ``DataError`` when no column is a vote column of a known campaign, or when no
        question has all of its columns.
        """
        from gzfound.trees.columns import match_columns

        return match_columns(columns)

    def _check_names(self, questions: Iterable[str]) -> None:
        for question in questions:
            if question not in self.slices:
                from gzfound.trees.names import unknown_name

                message = unknown_name(f"question of {self.name}", question, tuple(self.slices))
                raise ConfigError(message)
