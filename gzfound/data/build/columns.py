"""Which columns of a released table hold the votes of a campaign.

Releases name them in three ways, and each may give counts, or fractions beside a total:

    t01_smooth_or_features_a01_smooth_count         by task and answer, as GZ2, Hubble, CANDELS
    t01_smooth_or_features_a01_smooth_frac          ... with t01_smooth_or_features_count
    smooth-or-featured_smooth                       by question and answer, as DECaLS and later
    smooth-or-featured_smooth_fraction              ... with smooth-or-featured_total-votes
    smooth-or-featured-hubble_smooth                as on the hub

``names.json`` lists, for each question, the words of tasks and answers that mean the same.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from gzfound.data.table import shorten
from gzfound.errors import DataError
from gzfound.trees import DecisionTree, Question, load_tree

_ANSWER = re.compile(r"(t\d+)_(\w+?)_(a\d+)_(\w+)_(count|frac|fraction)", re.I)
_TOTAL = re.compile(r"(t\d+)_(\w+?)(?:_a\d+)?(?:_total)?_count", re.I)
_TASK = re.compile(r"t\d+_\w+", re.I)


@dataclass(frozen=True)
class Source:
    """Where an answer's votes are: a column of counts, or of fractions of a column of totals."""

    column: str
    total: str | None = None


@dataclass(frozen=True)
class VoteColumns:
    """The votes of a table.

    Attributes:
        tree: the campaign's questions that the table has.
        sources: where the votes of each of ``tree.columns`` are.
        absent: the campaign's questions that the table does not have.
        others: columns that are not about votes.
    """

    tree: DecisionTree
    sources: tuple[Source, ...]
    absent: tuple[str, ...]
    others: tuple[str, ...]


def find_votes(names: Sequence[str], campaign: str) -> VoteColumns:
    """Find the votes of a campaign among the columns ``names`` of a table.

    Raises:
        ConfigError: there is no such campaign.
        DataError: none of its questions is there, or one has only some of its answers.
    """
    tree = load_tree(campaign)
    found = {**_by_task(names, tree), **_by_question(names, tree)}
    for question in tree.questions:
        lacking = [column for column in question.columns if column not in found]
        if lacking and len(lacking) < len(question.columns):
            there = next(found[c].column for c in question.columns if c in found)
            raise DataError(
                f"no column for {shorten(lacking)}, although {there} is there; "
                "a question needs all of its answers"
            )
    present = [name for name in tree.columns if name in found]
    if not present:
        raise DataError(
            f"no votes of {campaign} in {len(names)} columns ({shorten(list(names))}); allowed: "
            f"{tree.columns[0]}, {_bare(tree.columns[0])}, or t01_..._a01_..._count or _frac"
        )
    kept = DecisionTree.from_columns(present).tree
    absent = tuple(name for name in tree.slices if name not in kept.slices)
    return VoteColumns(
        kept, tuple(found[name] for name in kept.columns), absent, other_columns(names, campaign)
    )


def other_columns(names: Sequence[str], campaign: str) -> tuple[str, ...]:
    """The columns that are not about votes: not of a task, nor of a question of the campaign."""
    questions = load_tree(campaign).slices
    stems = {f"{stem}_" for name in questions for stem in (name, _bare(name))}
    return tuple(n for n in names if not _TASK.fullmatch(n) and not n.startswith(tuple(stems)))


def _bare(name: str) -> str:
    """A question or a column without the suffix of its campaign."""
    question, _, answer = name.partition("_")
    stem = question.rsplit("-", 1)[0]
    return f"{stem}_{answer}" if answer else stem


def _by_question(names: Sequence[str], tree: DecisionTree) -> dict[str, Source]:
    present = set(names)
    times = Counter(_bare(question.name) for question in tree.questions)
    found: dict[str, Source] = {}
    for question in tree.questions:
        stems = [question.name]
        if times[_bare(question.name)] == 1:
            stems.append(_bare(question.name))
        for stem in stems:
            total = f"{stem}_total-votes"
            for answer, column in zip(question.answers, question.columns, strict=True):
                name = f"{stem}_{answer}"
                if name in present:
                    found.setdefault(column, Source(name))
                elif f"{name}_fraction" in present and total in present:
                    found.setdefault(column, Source(f"{name}_fraction", total))
    return found


def _by_task(names: Sequence[str], tree: DecisionTree) -> dict[str, Source]:
    """Counts win over fractions; of several tasks that mean one question, the first."""
    totals = {}
    for name in names:
        if (match := _TOTAL.fullmatch(name)) and not _ANSWER.fullmatch(name):
            totals[match[1].lower()] = name
    found: dict[str, Source] = {}
    for question in tree.questions:
        for name in names:
            match = _ANSWER.fullmatch(name)
            column = _meant(match, question) if match else None
            if match is None or column is None:
                continue
            if match[5].lower() == "count":
                found[column] = Source(name)
            elif match[1].lower() in totals:
                found.setdefault(column, Source(name, totals[match[1].lower()]))
    return found


def _meant(match: re.Match[str], question: Question) -> str | None:
    """The vote column of ``question`` that a task's column means."""
    task, words, code, answer = (part.lower() for part in match.groups()[:4])
    meaning = _names().get(_bare(question.name))
    if meaning is None or words not in meaning["tasks"]:
        return None
    groups = {word: group for group in meaning["answers"] for word in group}
    group = groups.get(f"{task}_{code}_{answer}", groups.get(answer))
    for own, column in zip(question.answers, question.columns, strict=True):
        if group is not None and own.replace("-", "_") in group:
            return column
    return None


@cache
def _names() -> Mapping[str, Any]:
    text = (files(__package__) / "names.json").read_text(encoding="utf-8")
    content: Mapping[str, Any] = json.loads(text)
    return content
