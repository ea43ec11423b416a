"""A tree as indented text, each question once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gzfound.trees.tree import DecisionTree


def draw_tree(tree: DecisionTree) -> str:
    """Every question under the answers that lead to it; later mentions point back with (above)."""
    lines = [f"{tree.name}: {len(tree.questions)} questions, {len(tree.columns)} answers"]
    children = _children(tree)
    drawn: set[str] = set()
    for question in tree.questions:
        if not question.asked_after:
            lines.append(question.name)
            lines.extend(_draw(tree, children, question.name, drawn, ""))
    return "\n".join(lines)


def _children(tree: DecisionTree) -> dict[str, tuple[str, ...]]:
    """The questions that each answer leads to."""
    children: dict[str, tuple[str, ...]] = dict.fromkeys(tree.columns, ())
    for question in tree.questions:
        for parent in question.asked_after:
            children[parent] += (question.name,)
    return children


def _draw(
    tree: DecisionTree,
    children: dict[str, tuple[str, ...]],
    name: str,
    drawn: set[str],
    indent: str,
) -> Iterator[str]:
    drawn.add(name)
    columns = tree.columns[tree.slices[name]]
    together: dict[tuple[str, ...], list[str]] = {}
    for column in columns:
        together.setdefault(children[column], []).append(column[len(name) + 1 :])
    branches = [
        (", ".join(answers), target)
        for targets, answers in together.items()
        for target in targets or ("",)
    ]
    for number, (answers, target) in enumerate(branches, start=1):
        last = number == len(branches)
        arrow = f" → {target}" if target else ""
        back = " (above)" if target in drawn else ""
        yield f"{indent}{'└──' if last else '├──'} {answers}{arrow}{back}"
        if target and not back:
            yield from _draw(tree, children, target, drawn, indent + ("    " if last else "│   "))
