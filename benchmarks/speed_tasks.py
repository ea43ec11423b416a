"""What ``speed.py`` times: functions to call, and what they work on."""

from __future__ import annotations

import io
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from PIL import Image
from plain_likelihood import plain_likelihood

from gzfound.data import read_images
from gzfound.evaluation import fit_linear_probe
from gzfound.losses import DirichletMultinomialLoss
from gzfound.simulation import sample_population, simulate_dataset, telescope_for, vote
from gzfound.simulation.dataset import encode_jpeg
from gzfound.simulation.render import render
from gzfound.trees import DecisionTree
from gzfound.votes import check_votes, votes_from_columns, votes_to_columns

SIZE = 128
"""Of simulated and of resized images, in pixels."""
JPEG_SIZE = 424
"""Of the images that are read: that of Galaxy Zoo's cutouts."""
RENDERED = 64
VOTED = 5000
"""Images rendered and galaxies voted on, repeated up to the number asked for."""
CAMPAIGN = "gz_hubble"


@dataclass(frozen=True)
class Tasks:
    """Functions that take turns.

    Attributes:
        work: name to function.
        calls: averaged in each repeat, for what takes milliseconds.
        things: that one call deals with, if things a second are wanted.
        most_repeats: for what takes long.
        threads: of torch, if not those of the benchmark.
        compare: whether the time of the last function over that of the first is a row too.
    """

    work: Mapping[str, Callable[[], object]]
    calls: int = 1
    things: int | None = None
    most_repeats: int | None = None
    threads: int | None = None
    compare: bool = False


def simulation(galaxies: int, threads: int, seed: int, folder: Path) -> Tasks:
    """Galaxies with votes, to a dataset on disk."""

    def work() -> None:
        simulate_dataset(
            folder / "galaxies",
            galaxies=galaxies,
            image_size=SIZE,
            seed=seed,
            threads=threads,
            overwrite=True,
        )

    return Tasks({f"galaxies simulated at {SIZE} px, threads={threads}": work}, things=galaxies)


def reading(images: int, seed: int) -> Tasks:
    """JPEG files to arrays of ``SIZE`` pixels, beside the plain way with PIL."""
    latents = sample_population(np.arange(min(images, RENDERED)), seed, CAMPAIGN)
    rendered = render(latents, JPEG_SIZE, telescope_for(CAMPAIGN), seed).numpy()
    jpegs = [encode_jpeg(image) for image in rendered]
    files = [jpegs[number % len(jpegs)] for number in range(images)]
    cells = [{"bytes": data, "path": None} for data in files]
    dataset = Dataset.from_dict({"image": cells, "id_str": [str(n) for n in range(images)]})

    def with_pil() -> None:
        for data in files:
            image = Image.open(io.BytesIO(data)).convert("RGB")
            np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR))

    size = np.mean([len(data) for data in jpegs]) / 1e3
    title = f"JPEGs of {JPEG_SIZE} px ({size:.0f} KB) to {SIZE} px"
    work: dict[str, Callable[[], object]] = {
        f"{title}, threads=1": lambda: deque(read_images(dataset, SIZE, threads=1), 0),
        f"{title}, threads=2": lambda: deque(read_images(dataset, SIZE, threads=2), 0),
        f"{title}, PIL": with_pil,
    }
    return Tasks(work, things=images)


def likelihood(tree: DecisionTree, galaxies: int, calls: int, threads: int, seed: int) -> Tasks:
    """Loss and gradient, beside those of the plain loop over questions in float32."""
    votes = torch.from_numpy(simulated_votes(tree, galaxies, seed))
    whole, loss = votes.float(), DirichletMultinomialLoss(tree)
    draw = torch.Generator().manual_seed(seed)
    alpha = torch.rand(votes.shape, generator=draw).mul_(50).add_(1).requires_grad_()

    def step(value: torch.Tensor) -> None:
        torch.autograd.grad(value, alpha)

    title = f"likelihood, {tree.name} x {galaxies:,}, threads={threads}"
    work = {
        title: lambda: step(loss(alpha, votes)),
        f"{title}, plain": lambda: step(-plain_likelihood(alpha, whole, tree).sum(1).mean()),
    }
    return Tasks(work, calls=calls, threads=threads, compare=True)


def asked(tree: DecisionTree, galaxies: int, calls: int, seed: int) -> Tasks:
    """How probable each question is."""
    draw = torch.Generator().manual_seed(seed)
    fractions = torch.rand((galaxies, len(tree.columns)), generator=draw)
    name = f"probability_asked, {tree.name} x {galaxies:,}"
    return Tasks({name: lambda: tree.probability_asked(fractions)}, calls=calls)


def votes_in(tree: DecisionTree, galaxies: int, seed: int) -> Tasks:
    """A table of votes to an array, and its check."""
    votes = simulated_votes(tree, galaxies, seed)
    table = votes_to_columns(votes, tree)
    work: dict[str, Callable[[], object]] = {
        f"votes of {galaxies:,} galaxies to an array": lambda: votes_from_columns(table, tree),
        f"votes of {galaxies:,} galaxies checked": lambda: check_votes(votes, tree),
    }
    return Tasks(work)


def probes(tree: DecisionTree, galaxies: int, features: int, repeats: int, seed: int) -> Tasks:
    """Probes of every question, on features that are mixtures of the votes with noise."""
    votes = simulated_votes(tree, galaxies, seed)
    draw = np.random.default_rng(seed)
    mixed = np.log1p(votes) @ draw.normal(size=(votes.shape[1], features))
    values = mixed + mixed.std() * draw.normal(size=mixed.shape)
    name = f"probes of {len(tree.questions)} questions, {galaxies:,} galaxies x {features}"
    return Tasks({name: lambda: fit_linear_probe(values, votes, tree)}, most_repeats=repeats)


def starting() -> Tasks:
    """Python itself, the import, and the help of the command, each in a fresh process."""
    programs = {
        "start of python": "pass",
        "start of python and import gzfound": "import gzfound",
        "gzfound --help": "from gzfound.cli import main; main(['--help'])",
    }

    def run(program: str) -> None:
        subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)

    return Tasks({name: lambda text=text: run(text) for name, text in programs.items()})


def simulated_votes(tree: DecisionTree, galaxies: int, seed: int) -> Any:
    """Votes ``(galaxies, A)`` int32 of simulated volunteers."""
    latents = sample_population(np.arange(min(galaxies, VOTED)), seed, CAMPAIGN)
    votes = vote(latents, telescope_for(CAMPAIGN), tree, seed)
    return np.resize(votes, (galaxies, votes.shape[1]))
