"""Where the time of extraction and of a SimCLR step goes, stage by stage, on one core.

    python benchmarks/profile_stages.py    # prints a table, writes results/profile_stages.json

Everything runs in one thread, so the stages add up to what a galaxy costs a core.
"""

from __future__ import annotations

import gzfound  # noqa: F401  # isort: skip  # before torch: says how its threads wait

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
import torch

from gzfound.allocator import keep_freed_memory
from gzfound.data import decode_image, square_resize
from gzfound.embedding.forward import Forward, grey_levels, standardised
from gzfound.errors import one_line_errors
from gzfound.files import write_text
from gzfound.losses import dirichlet_multinomial
from gzfound.models import EncoderTransform, attach_transform, create_encoder
from gzfound.models.folding import fold_batch_norm
from gzfound.models.precision import pick_precision
from gzfound.simclr import SimCLR, SimCLRConfig, SimCLRLoss
from gzfound.simulation import sample_population, telescope_for, vote
from gzfound.simulation.dataset import encode_jpeg
from gzfound.simulation.render import render
from gzfound.training.augment import Augment
from gzfound.training.config import parse_config
from gzfound.training.optim import OptimConfig, build_optimiser, parameter_groups
from gzfound.training.provenance import machine, revision, versions
from gzfound.trees import load_tree
from gzfound.views import ViewConfig

Work = Callable[[], object]
JPEG_SIZE = 424
VOTED = 1024
"""Galaxies whose votes the likelihood takes."""


@dataclass(frozen=True)
class ProfileConfig:
    """Options of the profile.

    Attributes:
        galaxies: that each stage deals with.
        repeats: of every stage.
        output: JSON file to write.
        seed: of the simulated galaxies and of the weights.
    """

    galaxies: int = 32
    repeats: int = 5
    output: str = str(Path(__file__).parent / "results" / "profile_stages.json")
    seed: int = 0


def extraction(name: str, size: int, files: Sequence[bytes]) -> dict[str, Work]:
    """From file to embedding, in the precision that suits this machine."""
    encoder = create_encoder(name)
    attach_transform(encoder, EncoderTransform(size))
    runs = Forward(encoder, torch.device("cpu"), "auto")
    table = grey_levels(runs.transform)
    decoded = [decode_image(file, "simulated") for file in files]
    squares = np.stack([square_resize(image, size) for image in decoded])
    pixels = standardised(squares, table).split(16)

    def forward() -> None:
        with torch.inference_mode(), precise(runs.dtype):
            for part in pixels:
                runs.network(part)

    return {
        "decode": lambda: [decode_image(file, "simulated") for file in files],
        "resize": lambda: [square_resize(image, size) for image in decoded],
        "normalise": lambda: standardised(squares, table),
        "forward": forward,
    }


def passes(name: str, size: int, galaxies: int) -> dict[str, Work]:
    """The forward pass in bf16: layer by layer, batch norms folded, as extraction runs it."""
    encoder = create_encoder(name).eval().to(memory_format=torch.channels_last)
    attach_transform(encoder, EncoderTransform(size))
    folded, fused = fold_batch_norm(encoder), Forward(encoder, torch.device("cpu"), "bf16").network
    pixels = torch.randn(galaxies, 3, size, size).to(memory_format=torch.channels_last).split(16)

    def forward(network: torch.nn.Module) -> None:
        with torch.inference_mode(), precise(torch.bfloat16):
            for part in pixels:
                network(part)

    networks = {"layer by layer": encoder, "batch norm folded": folded, "sum and ReLU too": fused}
    return {stage: partial(forward, network) for stage, network in networks.items()}


def precise(dtype: torch.dtype | None) -> torch.autocast:
    """Operations in this type, or in float32."""
    return torch.autocast("cpu", dtype, enabled=dtype is not None)


def step(name: str, size: int, files: Sequence[bytes], seed: int) -> dict[str, Work]:
    """A SimCLR step: two views of each galaxy."""
    source = round(size * 9 / 8)
    decoded = [square_resize(decode_image(file, "simulated"), source) for file in files]
    batch = {"images": torch.from_numpy(np.stack(decoded)), "rows": torch.arange(len(files))}
    augment = Augment(ViewConfig(size=size), EncoderTransform(size), seed, views=2)
    model = SimCLR(create_encoder(name), SimCLRConfig()).to(memory_format=torch.channels_last)
    loss, optim = SimCLRLoss(SimCLRConfig()), OptimConfig()
    optimiser = build_optimiser(parameter_groups(model, optim.weight_decay), optim)
    pixels = augment(batch, 0)["pixels"]
    held = [model(pixels)[1].detach()]  # in float32, as the loss is

    def contrast() -> None:
        held[0] = held[0].requires_grad_()
        loss(held[0]).backward()

    dtype = torch.bfloat16 if pick_precision("auto") == "bf16" else None

    def forward_and_backward() -> None:
        optimiser.zero_grad()
        with precise(dtype):
            projections = model(pixels)[1]
        projections.float().square().sum().backward()

    return {
        "two views": lambda: augment(batch, 0),
        "forward and backward": forward_and_backward,
        "NT-Xent": contrast,
        "AdamW": optimiser.step,
    }


def likelihood(seed: int) -> dict[str, Work]:
    """The likelihood of simulated votes and its gradient: the maths, and what is around it."""
    tree, galaxies = load_tree("gz_hubble"), np.arange(VOTED)
    latents = sample_population(galaxies, seed, tree.name)
    votes = torch.from_numpy(vote(latents, telescope_for(tree.name), tree, seed))
    drawn = torch.Generator().manual_seed(seed)
    alpha = (torch.rand(votes.shape, generator=drawn) * 49 + 1).requires_grad_()
    loss = dirichlet_multinomial.DirichletMultinomialLoss(tree)
    asked: list[tuple[Any, ...]] = []
    log_rising = dirichlet_multinomial.log_rising

    def noted(*args: Any) -> tuple[Any, Any]:
        asked.append(args)
        return log_rising(*args)

    def around(function: Callable[..., Any]) -> None:
        with patch.object(dirichlet_multinomial, "log_rising", function):
            loss(alpha, votes).backward()

    around(noted)
    return {
        "R(a, n) and its slope": lambda: [log_rising(*args) for args in asked],
        "gathers, sums, backward": lambda: around(lambda a, n, *_: (a.clone(), n.clone())),
    }


def agreement(name: str, size: int, files: Sequence[bytes]) -> dict[str, float]:
    """The cosine between embeddings in bf16 and in float32, of the untrained encoder."""
    encoder = create_encoder(name)
    attach_transform(encoder, EncoderTransform(size))
    images = np.stack([square_resize(decode_image(file, "simulated"), size) for file in files])
    cpu = torch.device("cpu")
    exact, rounded = (Forward(encoder, cpu, kind)(images) for kind in ("no", "bf16"))
    lengths = np.linalg.norm(exact, axis=1) * np.linalg.norm(rounded, axis=1)
    cosines = (exact * rounded).sum(axis=1) / lengths
    return {"least": float(cosines.min()), "median": float(np.median(cosines))}


def timed(stages: Mapping[str, Work], galaxies: int, repeats: int) -> dict[str, Any]:
    """Milliseconds a galaxy of each stage, in turns, and its share of the sum of medians."""
    found: dict[str, list[float]] = {name: [] for name in stages}
    for repeat in range(repeats + 1):
        for name, work in stages.items():
            start = time.perf_counter()
            work()
            if repeat:
                found[name].append(1e3 * (time.perf_counter() - start) / galaxies)
    whole = sum(median(values) for values in found.values())
    return {
        name: {
            "ms": median(values),
            "least": min(values),
            "greatest": max(values),
            "share": median(values) / whole,
        }
        for name, values in found.items()
    }


def markdown(rows: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """The table of docs/performance.md."""
    lines = ["| job | stage | ms a galaxy | range | share |", "| --- | --- | ---: | ---: | ---: |"]
    for job, stages in rows.items():
        for name, row in stages.items():
            ends = f"{row['least']:.3g} to {row['greatest']:.3g}"
            lines.append(f"| {job} | {name} | {row['ms']:.3g} | {ends} | {row['share']:.1%} |")
    return "\n".join(lines)


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the options, time every stage, print and write."""
    config = parse_config(ProfileConfig, "Where the time goes.", argv)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    torch.manual_seed(config.seed)
    keep_freed_memory()
    latents = sample_population(np.arange(config.galaxies), config.seed, "gz_hubble")
    drawn = render(latents, JPEG_SIZE, telescope_for("gz_hubble"), config.seed).numpy()
    files = [encode_jpeg(image) for image in drawn]
    jobs: dict[str, Callable[[], dict[str, Work]]] = {
        "extraction, ResNet18 at 224": partial(extraction, "resnet18", 224, files),
        "extraction, ConvNeXt-Nano at 224": partial(extraction, "convnext_nano", 224, files),
        "SimCLR step, ResNet18 at 128": partial(step, "resnet18", 128, files, config.seed),
    }
    if pick_precision("auto") == "bf16":
        jobs["network of ResNet18 at 224 in bf16"] = partial(
            passes, "resnet18", 224, config.galaxies
        )
    rows = {name: timed(job(), config.galaxies, config.repeats) for name, job in jobs.items()}
    name = f"likelihood of {VOTED:,} galaxies, 40 answers"
    rows[name] = timed(likelihood(config.seed), VOTED, 10 * config.repeats)
    print(markdown(rows))
    cosines = {name: agreement(name, 224, files) for name in ("resnet18", "convnext_nano")}
    print("cosine between bf16 and float32:", cosines)
    result = {
        "rows": rows,
        "bf16_cosine": cosines,
        "precision": pick_precision("auto"),
        "configuration": {**asdict(config), "output": Path(config.output).name},
        "machine": machine(),
        "versions": versions(),
        "revision": revision(),
    }
    write_text(config.output, json.dumps(result, indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
