"""How much the GPU benchmark does, and how it takes the time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Sizes:
    """How much is done.

    Attributes:
        repeats: of every measurement.
        matrix: side of the matrices whose product gives the peak.
        compiles: whether to try ``torch.compile``.
        encoder: trained with SimCLR.
        pixels: side of its views.
        batch: galaxies a step.
        steps: of one measurement of the raw step.
        stepped: galaxies simulated to measure the step with data.
        extractor: whose embeddings are extracted.
        extracted_pixels: side of its images.
        jpeg_pixels: side of the JPEG files they come from.
        drawn: JPEG files simulated; they repeat.
        extracted: galaxies a measurement.
        extracted_batch: galaxies a forward pass.
        simulated: galaxies a measurement of the simulation.
        galaxies: simulated for pretraining; four fifths of them are trained on.
        epochs: of pretraining.
        probed: galaxies that the probes are fitted to.
    """

    repeats: int = 5
    matrix: int = 8192
    compiles: bool = True
    encoder: str = "resnet18"
    pixels: int = 128
    batch: int = 512
    steps: int = 30
    stepped: int = 26_000
    extractor: str = "convnext_nano"
    extracted_pixels: int = 224
    jpeg_pixels: int = 424
    drawn: int = 512
    extracted: int = 8192
    extracted_batch: int = 256
    simulated: int = 4096
    galaxies: int = 96_449
    epochs: int = 100
    probed: int = 16_000


FULL = Sizes()
"""Galaxy Zoo Hubble has 77,158 galaxies to train on and 19,291 to test on."""

SMALL = Sizes(
    repeats=2,
    matrix=64,
    compiles=False,
    encoder="test_resnet",
    pixels=32,
    batch=8,
    steps=2,
    stepped=20,
    extractor="test_resnet",
    extracted_pixels=32,
    jpeg_pixels=48,
    drawn=8,
    extracted=16,
    extracted_batch=8,
    simulated=20,
    galaxies=60,
    epochs=2,
    probed=40,
)


@dataclass(frozen=True)
class Job:
    """What a group is to do, where, and until when (``time.monotonic``)."""

    sizes: Sizes
    work: Path
    device: torch.device
    until: float
    seed: int


def seconds(
    work: Mapping[str, Callable[[], object]], repeats: int, device: torch.device
) -> dict[str, list[float]]:
    """The seconds of each function, called in turn, after one round of warm-up."""
    found: dict[str, list[float]] = {name: [] for name in work}
    for repeat in range(repeats + 1):
        for name, function in work.items():
            start = now(device)
            function()
            taken = now(device) - start
            if repeat:
                found[name].append(taken)
    return found


def tuned() -> Any:
    """A context in which cuDNN tries its kernels out and keeps the fastest."""
    return torch.backends.cudnn.flags(enabled=True, benchmark=True)


def compiled(network: nn.Module, once: Callable[[Any], object]) -> Any | None:
    """The network compiled and run once, or None, with a line, where it cannot be compiled."""
    faster = torch.compile(network)
    try:
        once(faster)
    except Exception as error:  # compilers raise what they like
        print(f"torch.compile: does not work here: {str(error).splitlines()[0]}")
        return None
    return faster


def now(device: torch.device) -> float:
    """The time at which everything queued on the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def spread(values: list[float]) -> dict[str, Any]:
    """Values with their median and range."""
    return {
        "median": median(values),
        "least": min(values),
        "greatest": max(values),
        "values": values,
    }
