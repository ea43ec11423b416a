"""gzfound's likelihood of votes: loss and gradient."""

from __future__ import annotations

import gzfound  # noqa: F401  # isort: skip  # before torch: says how its threads wait

import torch
from serve import Line, timed
from votes import concentrations_and_votes

from gzfound.losses import DirichletMultinomialLoss
from gzfound.trees import DecisionTree, Question


def main() -> None:
    """Serve."""
    line = Line()
    told = line.settings
    answers = tuple(str(number) for number in range(told["answers"]))
    questions = tuple(Question(f"q{number}", answers) for number in range(told["questions"]))
    loss = DirichletMultinomialLoss(DecisionTree("benchmark", questions))
    alpha, votes = concentrations_and_votes(told["questions"], told["answers"], told["batch"])
    predictions, targets = torch.from_numpy(alpha).requires_grad_(), torch.from_numpy(votes)

    def work(galaxies: int) -> None:
        for _ in range(galaxies // told["batch"]):
            predictions.grad = None
            loss(predictions, targets).backward()

    line.serve(lambda galaxies: timed(lambda: work(galaxies), galaxies))


if __name__ == "__main__":
    main()
