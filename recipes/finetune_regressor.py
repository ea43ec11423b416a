"""Fine-tune a regression, and as much of the encoder as you like, on a column of numbers.

accelerate launch recipes/finetune_regressor.py --target COLUMN --weights W --data D --output O
"""

from __future__ import annotations

import gzfound  # noqa: F401  # isort: skip  # before torch: says how its threads wait

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from torch.nn.functional import mse_loss

from gzfound.errors import DataError, one_line_errors
from gzfound.evaluation.target_benchmark import score_target
from gzfound.finetuning import TargetConfig, Task, finetune
from gzfound.finetuning.task import numbers
from gzfound.models.heads import NumberHead
from gzfound.training.config import parse_config
from gzfound.training.galaxies import Galaxies


def number_task(config: TargetConfig, galaxies: Galaxies) -> Task:
    """The numbers of the target column, standardised; galaxies without one are left out."""
    values, rows = numbers(galaxies.labels[config.target], config.target)
    std = float(values[rows].std()) if len(rows) else 0.0
    if not std > 0:
        raise DataError(f"target: {config.target!r} does not vary; two numbers are needed")
    scale = {"target": config.target, "mean": float(values[rows].mean()), "std": std}
    new_head = partial(NumberHead, dropout=config.dropout, **scale)
    units = new_head(1)

    def score(outputs: npt.NDArray[np.float32], test: Galaxies) -> dict[str, Any]:
        truth, known = numbers(test.labels[config.target], config.target)
        return score_target(
            units.in_units(outputs[known]),
            truth[known],
            values[rows],
            name=config.target,
            kind="number",
            seed=config.seed,
        ).to_dict()

    return Task(
        rows=rows, targets=units.standardised(values), head=new_head, loss=mse_loss, score=score
    )


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the options and run."""
    config = parse_config(TargetConfig, "Fine-tune on a column of numbers.", argv)
    finetune("finetune_regressor", config, partial(number_task, config))


if __name__ == "__main__":
    main()
