"""Fine-tune a classifier of galaxies, and as much of the encoder as you like, on a column of names.

accelerate launch recipes/finetune_classifier.py --target COLUMN --weights W --data D --output O
"""

from __future__ import annotations

import gzfound  # noqa: F401  # isort: skip  # before torch: says how its threads wait

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from torch.nn.functional import cross_entropy

from gzfound.errors import DataError, one_line_errors
from gzfound.evaluation.target_benchmark import score_target
from gzfound.finetuning import TargetConfig, Task, finetune
from gzfound.finetuning.task import class_names
from gzfound.models.heads import ClassHead
from gzfound.training.config import parse_config
from gzfound.training.galaxies import Galaxies


def class_task(config: TargetConfig, galaxies: Galaxies) -> Task:
    """The classes of the target column, however rare; galaxies without one are left out."""
    names, rows = class_names(galaxies.labels[config.target])
    classes, numbers = np.unique(names[rows], return_inverse=True)
    if len(classes) < 2:
        found = ", ".join(classes) or "none"
        raise DataError(f"target: {config.target!r} has the classes {found}; two are needed")
    targets = np.zeros(len(names), np.int64)
    targets[rows] = numbers

    def score(logits: npt.NDArray[np.float32], test: Galaxies) -> dict[str, Any]:
        truth, known = class_names(test.labels[config.target])
        return score_target(
            classes[logits[known].argmax(axis=1)],
            truth[known],
            names[rows],
            name=config.target,
            kind="class",
            seed=config.seed,
        ).to_dict()

    return Task(
        rows=rows,
        targets=targets,
        head=partial(
            ClassHead, target=config.target, classes=classes.tolist(), dropout=config.dropout
        ),
        loss=cross_entropy,
        score=score,
    )


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the options and run."""
    config = parse_config(TargetConfig, "Fine-tune on a column of class names.", argv)
    finetune("finetune_classifier", config, partial(class_task, config))


if __name__ == "__main__":
    main()
