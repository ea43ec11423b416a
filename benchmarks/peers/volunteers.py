"""Votes that both likelihoods are measured with: 52 answers to 16 questions of two campaigns."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gzfound.files import atomic_file
from gzfound.simulation import sample_population, telescope_for, vote
from gzfound.trees import load_tree

FROM_GZ2 = (0, 1, 7)
"""Questions of Galaxy Zoo 2 that, with the 40 answers of Galaxy Zoo Hubble, make 52."""
VOLUNTEERS = 40


def votes(home: Path, galaxies: int) -> dict[str, str]:
    """Files with ``votes`` ``(galaxies, 52)`` and ``sizes``, the answers of each question.

    ``asked`` are those of simulated volunteers, who meet a question only if the answers before lead
    there; ``everyone`` has 40 volunteers answer every question, as no campaign does.
    """
    hubble, gz2 = load_tree("gz_hubble"), load_tree("gz2")
    numbers = np.arange(galaxies)
    found = {
        tree.name: vote(sample_population(numbers, 0, tree.name), telescope_for(tree.name), tree, 0)
        for tree in (hubble, gz2)
    }
    places = [list(gz2.slices.values())[number] for number in FROM_GZ2]
    asked = np.concatenate([found["gz_hubble"], *(found["gz2"][:, p] for p in places)], axis=1)
    sizes = [len(question.answers) for question in hubble.questions]
    sizes += [place.stop - place.start for place in places]
    draw = np.random.default_rng(0)
    parts = [
        np.stack([draw.multinomial(VOLUNTEERS, f) for f in draw.dirichlet(np.full(n, 2), galaxies)])
        for n in sizes
    ]
    everyone = np.concatenate(parts, axis=1)
    paths = {}
    for name, table in (("asked", asked), ("everyone", everyone)):
        paths[name] = str(home / f"votes-{name}.npz")
        with atomic_file(paths[name]) as temporary, temporary.open("wb") as file:
            np.savez(file, votes=table.astype(np.int32), sizes=sizes)
    return paths
