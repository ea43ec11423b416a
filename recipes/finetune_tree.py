"""Fine-tune a decision-tree head, and as much of the encoder as you like, on vote counts.

accelerate launch recipes/finetune_tree.py --config C --weights W --data D --output O
"""

from __future__ import annotations

import gzfound  # noqa: F401  # isort: skip  # before torch: says how its threads wait

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from gzfound.errors import one_line_errors
from gzfound.evaluation import evaluate_predictions
from gzfound.finetuning import FinetuneConfig, Task, finetune
from gzfound.losses import DirichletMultinomialLoss
from gzfound.models import TreeHead
from gzfound.training.config import parse_config
from gzfound.training.galaxies import Galaxies, known_tree


@dataclass(frozen=True)
class TreeConfig(FinetuneConfig):
    """Options of decision-tree fine-tuning.

    Attributes:
        held_out: questions, separated by commas, to leave out with every question below them.
        min_votes: fewest votes on a question for a galaxy to count in the metrics.
    """

    held_out: str = ""
    min_votes: int = 20


def tree_task(config: TreeConfig, galaxies: Galaxies) -> Task:
    """The votes on the tree without the held-out questions."""
    tree, votes = known_tree(galaxies, config.held_out)

    def score(concentrations: npt.NDArray[np.float32], test: Galaxies) -> dict[str, Any]:
        return evaluate_predictions(
            concentrations,
            known_tree(test, config.held_out)[1],
            tree,
            train_votes=votes,
            min_votes=config.min_votes,
            seed=config.seed,
        )

    return Task(
        rows=np.arange(len(galaxies)),
        targets=votes,
        head=partial(TreeHead, tree=tree, dropout=config.dropout),
        loss=DirichletMultinomialLoss(tree),
        score=score,
    )


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the options and run."""
    config = parse_config(TreeConfig, "Fine-tune on Galaxy Zoo vote counts.", argv)
    finetune("finetune_tree", config, partial(tree_task, config))


if __name__ == "__main__":
    main()
