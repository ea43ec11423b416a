"""Images that illustrate an answer: where does a fine-tuned tree rank the answer they illustrate?

    python benchmarks/ranked_answers.py --weights W --data $GZFOUND_REAL_DATA/gz_examples \
        --output R.json

Two scores of each image, 1 for right, 0 for wrong, 0.5 for chance. *Among answers*: the share of
the other answers of its question that the tree thinks less probable. *Among images*: the share of
the images of that question's other answers to which the tree gives its answer less probability; it
does not reward an answer for being common.
"""

from __future__ import annotations

import gzfound  # isort: skip  # before torch: says how its threads wait

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rich

from gzfound.errors import ConfigError, DataError, one_line_errors
from gzfound.evaluation import ResultTable, Row, interval, resampled_sums
from gzfound.evaluation.results import write_results
from gzfound.models.checkpoint import load_head
from gzfound.models.heads import TreeHead
from gzfound.training.config import parse_config
from gzfound.trees import DecisionTree

QUESTIONS = {
    "smooth-or-featured": "simply smooth and rounded",
    "how-rounded": "How rounded",
    "clumpy-appearance": "mostly clumpy",
    "clump-count": "How many clumps",
    "disk-edge-on": "disk viewed edge-on",
    "bulge-shape": "a bulge at its cent",
    "bar": "a bar feature",
    "has-spiral-arms": "a spiral arm pattern",
    "spiral-winding": "How tightly wound",
    "spiral-arm-count": "How many spiral arms",
    "bulge-size": "How prominent is the central bulge",
}
"""A question of the tree, without the campaign, to words that mark it in the table of labels."""

ANSWERS = {
    "features or disk": "features",
    "star or artifact": "artifact",
    "completely round": "completely",
    "bar": "yes",
    "no bar": "no",
    "spiral": "yes",
    "no spiral": "no",
    "more than 4": "5-plus",
    "can't tell": "cant-tell",
    "no bulge": "none",
}
"""An answer of the table, in small letters, to that of the tree, where they are not the same."""


@dataclass(frozen=True)
class RankedConfig:
    """Options of the benchmark.

    Attributes:
        weights: a weights directory with a tree head, or a name of ``gzfound weights``.
        data: folder with ``images`` and ``labels.csv``: columns file, question, answer.
        output: JSON file to write.
        crop: linear fraction of the images to look at, which are scaled to the galaxy.
    """

    weights: str = ""
    data: str = ""
    output: str = ""
    crop: float = 0.5


def illustrated(labels: Path, tree: DecisionTree) -> dict[str, list[tuple[str, int]]]:
    """Question of the tree to the images of the table, each with the number of its answer.

    Left out are questions and answers that the tree does not have.
    """
    found: dict[str, list[tuple[str, int]]] = defaultdict(list)
    names = {question.name.rsplit("-", 1)[0]: question for question in tree.questions}
    with labels.open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            known = (n for n, words in QUESTIONS.items() if words in line["question"])
            question = names.get(next(known, ""))
            answer = line["answer"].lower().replace(" ", "-")
            answer = ANSWERS.get(line["answer"].lower(), answer)
            if question is not None and answer in question.answers:
                number = question.answers.index(answer)
                found[question.name].append((Path(line["file"]).stem, number))
    return found


def scores(
    fractions: npt.NDArray[np.floating], answers: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Both scores of the images of a question.

    Args:
        fractions: expected of each answer, ``(images, answers)``.
        answers: that the images illustrate, ``(images,)``.

    Returns:
        Among answers and among images, ``(images,)`` each; ties count half. The second is NaN where
        no image illustrates another answer.
    """
    own = fractions[np.arange(len(answers)), answers]
    below = _below(fractions, own[:, None]).sum(axis=1) - 0.5  # itself is a tie
    among_answers = below / (fractions.shape[1] - 1)
    among_images = np.full(len(answers), np.nan)
    for image, answer in enumerate(answers):
        others = fractions[answers != answer, answer]
        if len(others):
            among_images[image] = _below(others, own[image]).mean()
    return among_answers, among_images


def _below(
    values: npt.NDArray[np.floating], limit: npt.NDArray[np.floating]
) -> npt.NDArray[np.float64]:
    return (values < limit) + 0.5 * (values == limit)


def table_of(found: Mapping[str, Sequence[npt.NDArray[np.float64]]]) -> ResultTable:
    """Both scores of each question and of all images together, with intervals over images."""
    together = [np.concatenate(parts) for parts in zip(*found.values(), strict=True)]
    rows = []
    for question, parts in (*found.items(), ("all images", together)):
        metrics = {}
        for name, values in zip(("among answers", "among images"), parts, strict=True):
            kept = values[np.isfinite(values)]
            if len(kept):
                samples = resampled_sums(kept[:, None])[:, 0] / len(kept)
                metrics[name] = interval(float(kept.mean()), samples)
        rows.append(Row(question, "tree", len(parts[0]), metrics))
    notes = ("0.5 is chance; 95 % intervals from 1,000 resamples of the images.",)
    return ResultTable("Rank of the illustrated answer", rows, notes)


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the options, predict the images, print the table and write the JSON file."""
    config = parse_config(RankedConfig, "Where a tree ranks the illustrated answers.", argv)
    for name in ("weights", "data", "output"):
        if not getattr(config, name):
            raise ConfigError(f"{name}: missing; pass --{name}")
    head = load_head(config.weights, gzfound.load_encoder(config.weights))
    if not isinstance(head, TreeHead):
        raise ConfigError(f"weights: {config.weights} has no tree head")
    folder = Path(config.data)
    predicted = gzfound.predict(folder / "images", config.weights, crop=config.crop)
    row_of = {Path(name).stem: row for row, name in enumerate(predicted["id_str"].to_pylist())}
    found = {}
    for question, images in illustrated(folder / "labels.csv", head.tree).items():
        columns = head.tree.columns[head.tree.slices[question]]
        fractions = np.stack([predicted[column].to_numpy() for column in columns], axis=1)
        rows = [row_of[name] for name, _ in images]
        found[question] = scores(fractions[rows], np.array([answer for _, answer in images]))
    if not found:
        raise DataError(f"data: {folder} illustrates no question of the tree {head.tree.name!r}")
    table = table_of(found)
    rich.print(table.to_rich())
    configuration = {**asdict(config), "data": folder.name}
    write_results(config.output, {**table.to_dict(), "configuration": configuration})
    print(f"written: {config.output}")


if __name__ == "__main__":
    main()
