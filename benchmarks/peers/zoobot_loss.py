"""Zoobot's likelihood of votes, called as its training step does: loss and gradient."""

from __future__ import annotations

import torch
from serve import Line, timed
from votes import concentrations_and_votes
from zoobot.pytorch.estimators.define_model import get_dirichlet_loss_func


def main() -> None:
    """Serve."""
    line = Line()
    told = line.settings
    sizes, alpha, votes = concentrations_and_votes(told[told["votes"]])
    pairs = {f"q{number}": [f"_{k}" for k in range(size)] for number, size in enumerate(sizes)}
    loss = get_dirichlet_loss_func(pairs)
    keys = [question + answer for question, answers in pairs.items() for answer in answers]
    labels = dict(zip(keys, torch.from_numpy(votes.T.copy()), strict=True))
    predictions = torch.from_numpy(alpha).requires_grad_()

    def work(galaxies: int) -> None:
        for _ in range(galaxies // len(votes)):
            predictions.grad = None
            loss(predictions, labels).mean().backward()

    line.serve(lambda galaxies: timed(lambda: work(galaxies), galaxies))


if __name__ == "__main__":
    main()
