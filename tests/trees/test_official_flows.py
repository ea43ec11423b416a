"""Every tree against the official flow of its campaign, read here from nodes and links.

A flow file (github zooniverse/data.galaxyzoo.org) is a drawing: answer nodes carry the question
and a ``name`` such as ``A0: Smooth``; links lead to a question's title (``T01: ...``), to
``End``, or to a joint (``cp``, ``gather``) that passes them on. Questions that the published
data lack are stepped over here by following their answers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gzfound import DecisionTree, list_trees, load_tree

QUESTIONS = {
    "simply smooth": "smooth-or-featured",
    "how rounded": "how-rounded",
    "viewed edge-on": "disk-edge-on",
    "bar feature": "bar",
    "spiral arm pattern": "has-spiral-arms",
    "how prominent": "bulge-size",
    "bulge at its": "bulge-shape",
    "anything odd": "something-odd",
    "odd feature": "odd-feature",
    "tightly wound": "spiral-winding",
    "many spiral arms": "spiral-arm-count",
    "merging": "merging",
    "clumpy appearance": "clumpy-appearance",
    "many clumps": "clump-count",
    "straight line": "clump-arrangement",
    "clearly brighter": "bright-clump",
    "brightest clump": "bright-clump-central",
    "symmetrical": "galaxy-symmetrical",
    "embedded": "clumps-embedded-larger-object",
    "discuss": "discuss",
}
ANSWERS = {
    "features or disk": {"features", "featured-or-disk"},
    "star or artifact": {"artifact"},
    "completely round": {"round", "completely"},
    "cigar shaped": {"cigar", "cigar-shaped"},
    "more than 4": {"more-than-4", "5-plus"},
    "can't tell": {"cant-tell"},
    "no bulge": {"none", "no", "no-bulge"},
    "rounded": {"round", "rounded"},
    "merging": {"merger"},
    "bar": {"yes"},
    "no bar": {"no"},
    "spiral": {"yes"},
    "no spiral": {"no"},
}
OTHER_NAMES = {"edge-on-bulge": "bulge-shape"}
CAMPAIGNS = {
    "gz2": ("gz2_tree.json", "gz2"),
    "gz_hubble": ("gz3_tree.json", "hubble"),
    "gz_candels": ("gz4_c_tree.json", "candels"),
    "gz_desi_dr12": ("gz4_d_tree.json", "dr12"),
    "gz_ukidss": ("gz4_u_tree.json", "ukidss"),
}
INFERRED = {
    "gz_desi_dr5": "dr5",
    "gz_desi_dr8": "dr8",
    "gz_h2o": "cd",
    "gz_euclid": "euclid",
    "gz_jwst": "jwst",
}
Flow = dict[tuple[str, str], set[str]]


def question_key(text: str) -> str:
    keys = {key for words, key in QUESTIONS.items() if words in text.lower()}
    assert keys, f"a question that this test does not know: {text!r}"
    return min(keys, key=list(QUESTIONS.values()).index)


def read_flow(file: Path) -> Flow:
    """(question, answer label) -> the questions that it leads to, none for the end."""
    content = json.loads(file.read_text())
    nodes = content["nodes"]
    links: dict[int, list[int]] = {}
    for link in content["links"]:
        links.setdefault(link["source"], []).append(link["target"])

    def arrive(index: int) -> Iterator[str]:
        text = nodes[index]["question"]
        if text in ("cp", "gather"):
            for target in links.get(index, []):
                yield from arrive(target)
        elif text != "End":
            yield question_key(text)

    return {
        (question_key(node["question"]), re.sub(r"^\w\d: ", "", node["name"]).lower()): {
            question for target in links.get(index, []) for question in arrive(target)
        }
        for index, node in enumerate(nodes)
        if node["name"]
    }


def bare(question: str, suffix: str) -> str:
    name = question.removesuffix(f"-{suffix}")
    return OTHER_NAMES.get(name, name)


def published_edges(tree: DecisionTree, suffix: str) -> set[tuple[str, str, str]]:
    """(parent question, answer, question), in the words of the tree's answers."""
    return {
        (bare(column.split("_")[0], suffix), column.split("_")[1], bare(question, suffix))
        for question, columns in tree.asked_after.items()
        for column in columns
    }


def official_edges(flow: Flow, tree: DecisionTree, suffix: str) -> set[tuple[str, str, str]]:
    """The same from the flow, stepping over the questions that the tree does not have."""
    answers = {bare(q.name, suffix): q.answers for q in tree.questions}

    def published(question: str, seen: frozenset[str] = frozenset()) -> Iterator[str]:
        if question in answers:
            yield question
            return
        for (name, _), targets in flow.items():
            if name == question and name not in seen:
                for target in targets:
                    yield from published(target, seen | {name})

    edges = set()
    for (question, label), targets in flow.items():
        if question not in answers:
            continue
        words = ANSWERS.get(label, set()) | {label, label.replace(" ", "-")}
        matching = [answer for answer in answers[question] if answer in words]
        assert len(matching) == 1, f"{question}: {label!r} is one of {answers[question]}"
        for target in targets:
            edges |= {(question, matching[0], child) for child in published(target)}
    return edges


def test_every_single_campaign_is_held_against_a_flow() -> None:
    assert {*CAMPAIGNS, *INFERRED, "gz_desi", "gz_evo"} == set(list_trees())


@pytest.mark.parametrize("name", sorted(CAMPAIGNS))
def test_tree_is_the_official_flow(name: str, real_data: Path) -> None:
    """The same questions, answers and links. One link of the Hubble flow is left out on
    purpose: volunteers who saw the clumps in a spiral were sent on to the bar question. It
    starts at an unpublished question; stepping over it would send everyone with three clumps
    or more to the bar (docs/trees.md)."""
    file, suffix = CAMPAIGNS[name]
    tree = load_tree(name)
    flow = read_flow(real_data / "trees" / file)
    asked = {bare(q.name, suffix): len(q.answers) for q in tree.questions}
    official = {q: sum(question == q for question, _ in flow) for q, _ in flow}
    assert asked == {q: official[q] for q in asked}
    left_out = set()
    if name == "gz_hubble":
        assert flow["clump-arrangement", "spiral"] == {"bar"}
        left_out = {("clump-count", n, "bar") for n in ("3", "4", "5-plus", "cant-tell")}
    assert official_edges(flow, tree, suffix) - published_edges(tree, suffix) == left_out
    assert published_edges(tree, suffix) <= official_edges(flow, tree, suffix)


def test_unpublished_questions_are_the_ones_that_the_docs_name(real_data: Path) -> None:
    clumps = {"clump-arrangement", "bright-clump", "bright-clump-central"}
    unpublished = {
        "gz2": {"odd-feature"},
        "gz_ukidss": {"odd-feature"},
        "gz_desi_dr12": {"odd-feature"},
        "gz_hubble": {*clumps, "something-odd", "odd-feature", "discuss"},
        "gz_candels": {
            *clumps,
            "clump-count",
            "galaxy-symmetrical",
            "clumps-embedded-larger-object",
            "discuss",
        },
    }
    for name, (file, suffix) in CAMPAIGNS.items():
        flow = read_flow(real_data / "trees" / file)
        published = {bare(q.name, suffix) for q in load_tree(name).questions}
        assert {question for question, _ in flow} - published == unpublished[name]


@pytest.mark.parametrize("name", sorted(INFERRED))
def test_campaigns_without_a_flow_follow_decals(name: str, real_data: Path) -> None:
    """Between the questions that they share with the DECaLS flow, each question follows the
    same questions, and the same answers of the three questions that branch."""
    suffix = INFERRED[name]
    decals = load_tree("gz_desi_dr12")
    flow = read_flow(real_data / "trees" / "gz4_d_tree.json")
    branching = {"smooth-or-featured", "disk-edge-on", "has-spiral-arms"}

    def outline(edges: set[tuple[str, str, str]]) -> set[tuple[str, str, str]]:
        return {(q, answer if q in branching else "any", child) for q, answer, child in edges}

    shared = {bare(question.name, "dr12") for question in decals.questions}
    tree = load_tree(name)
    mine = {e for e in published_edges(tree, suffix) if e[0] in shared and e[2] in shared}
    assert outline(mine) == outline(official_edges(flow, decals, "dr12"))
    for question in tree.questions:
        parents = {column.split("_")[0] for column in question.asked_after}
        for parent in parents - {f"{each}-{suffix}" for each in (*branching, "problem")}:
            owner = next(q for q in tree.questions if q.name == parent)
            assert set(owner.columns) <= set(question.asked_after)
