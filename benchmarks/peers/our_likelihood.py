"""gzfound's likelihood of votes: loss and gradient."""

from __future__ import annotations

import gzfound  # noqa: F401  # isort: skip  # before torch: says how its threads wait

import torch
from serve import Line, timed
from votes import concentrations_and_votes

from gzfound.allocator import keep_freed_memory
from gzfound.losses import DirichletMultinomialLoss
from gzfound.trees import DecisionTree, Question


def main() -> None:
    """Serve."""
    line = Line()
    told = line.settings
    keep_freed_memory()  # as every recipe does
    sizes, alpha, votes = concentrations_and_votes(told[told["votes"]])
    answers = [tuple(str(number) for number in range(size)) for size in sizes]
    questions = tuple(Question(f"q{number}", some) for number, some in enumerate(answers))
    loss = DirichletMultinomialLoss(DecisionTree("benchmark", questions))
    predictions, targets = torch.from_numpy(alpha).requires_grad_(), torch.from_numpy(votes)

    def work(galaxies: int) -> None:
        for _ in range(galaxies // len(votes)):
            predictions.grad = None
            loss(predictions, targets).backward()

    line.serve(lambda galaxies: timed(lambda: work(galaxies), galaxies))


if __name__ == "__main__":
    main()
