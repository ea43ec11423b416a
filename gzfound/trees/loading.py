"""Trees from data files: one JSON file a campaign, or a union of campaigns.

A campaign file has ``questions`` (name without suffix -> ``answers`` and ``asked_after``), or
``same_as`` another campaign; ``suffix`` is appended to every question name. In ``asked_after``,
``bar_yes`` is one answer and ``bar_*`` is any answer of a question. A union file has
``union_of``, a list of other files. ``source`` says where the tree comes from.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from gzfound.errors import ConfigError
from gzfound.trees.names import unknown_name
from gzfound.trees.tree import DecisionTree, Question

_FOLDER = Path(__file__).parent / "campaigns"


@cache
def list_trees() -> tuple[str, ...]:
    """The names that ``load_tree`` knows."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.json")))


def load_tree(name: str) -> DecisionTree:
    """The decision tree of a campaign, such as ``"gz_hubble"``.

    The same object is returned every time. Raises ``ConfigError`` for an unknown name.
    """
    if name not in list_trees():
        raise ConfigError(unknown_name("tree", name, list_trees()))
    return _load(name)


@cache
def campaigns_of(name: str) -> tuple[str, ...]:
    """The single campaigns that a tree is made of: itself, unless it is a union."""
    members = _read(name).get("union_of")
    if members is None:
        return (name,)
    return tuple(campaign for member in members for campaign in campaigns_of(member))


def campaign_of(question: str) -> str | None:
    """The single campaign that asked a question, such as ``"bar-gz2"``; None for an unknown one."""
    return _homes().get(question)


@cache
def _homes() -> dict[str, str]:
    singles = [name for name in list_trees() if campaigns_of(name) == (name,)]
    return {question: name for name in singles for question in _load(name).slices}


def tree_title(name: str) -> str:
    """The full name of a campaign, such as ``"Galaxy Zoo 2"``."""
    return str(_read(name)["title"])


@cache
def _load(name: str) -> DecisionTree:
    if campaigns_of(name) != (name,):
        parts = [_load(campaign) for campaign in campaigns_of(name)]
        return DecisionTree(name, tuple(q for part in parts for q in part.questions))
    content = _read(name)
    source = content if "questions" in content else _read(content["same_as"])
    return DecisionTree(name, _questions(source["questions"], content["suffix"]))


def _read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((_FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return content


def _questions(specification: dict[str, Any], suffix: str) -> tuple[Question, ...]:
    questions = []
    for name, content in specification.items():
        parents: list[str] = []
        for parent in content["asked_after"]:
            question, answer = parent.split("_")
            answers = specification[question]["answers"] if answer == "*" else [answer]
            parents.extend(f"{question}-{suffix}_{each}" for each in answers)
        questions.append(Question(f"{name}-{suffix}", tuple(content["answers"]), tuple(parents)))
    return tuple(questions)
