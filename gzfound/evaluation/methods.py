"""The methods that a benchmark compares: embeddings of weights, and what they have to beat."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.progress import track
from torch import nn

from gzfound.embedding import embed_arrays
from gzfound.errors import ConfigError
from gzfound.evaluation.baselines import pixel_pca
from gzfound.evaluation.benchmark import CONSTANT, EmbeddingOf, Rows
from gzfound.evaluation.morphology import fill_failed, measure_morphology
from gzfound.evaluation.sample import DataConfig, Sample, names_in
from gzfound.models import attach_transform, create_encoder, load_encoder, transform_of
from gzfound.models.precision import pick_device

EMBEDDING = "embedding"
BASELINES = {
    "constant": CONSTANT,
    "untrained": "untrained encoder",
    "pixels": "pixel PCA",
    "morphology": "morphology",
}
"""What an option calls a baseline, and what the tables call it."""


@dataclass(frozen=True)
class MethodConfig(DataConfig):
    """Options of every benchmark that compares embeddings.

    Attributes:
        weights: a weights directory, hf-hub:owner/name, or the name of a pretrained timm model.
        also: more of these, separated by commas, each with its own input size.
        baselines: of constant, untrained, pixels, morphology, separated by commas; ``all`` for
            every one (morphology where statmorph is installed), ``none`` for none.
        crop: linear fraction of each image to look at, if not that of the weights.
        components: of pixel PCA.
        seed: of splits, untrained encoder and bootstrap.
        device: ``auto`` takes a GPU where there is one.
    """

    weights: str = ""
    also: str = ""
    baselines: str = "all"
    crop: float | None = None
    components: int = 64
    seed: int = 0
    device: str = "auto"


def chosen_baselines(text: str) -> tuple[str, ...]:
    """The keys of ``BASELINES`` that an option names.

    ``all`` without statmorph says on stderr what is missing, and goes on without morphology.

    Raises:
        ConfigError: an unknown name.
    """
    if text == "all":
        if importlib.util.find_spec("statmorph"):
            return tuple(BASELINES)
        sys.stderr.write(
            "no morphology: statmorph is not installed (pip install 'gzfound[morphology]')\n"
        )
        return tuple(name for name in BASELINES if name != "morphology")
    names = () if text == "none" else tuple(names_in(text))
    unknown = [name for name in names if name not in BASELINES]
    if unknown:
        allowed = ", ".join((*BASELINES, "all", "none"))
        raise ConfigError(f"baselines: {unknown[0]!r} is unknown; allowed: {allowed}")
    return names


def load_encoders(config: MethodConfig) -> dict[str, nn.Module]:
    """Method to encoder: ``EMBEDDING`` for the weights, and those named by ``also`` as given.

    Raises:
        ConfigError: ``also`` names one twice, or one that the tables use for something else.
        WeightsError: one cannot be loaded.
    """
    others = names_in(config.also)
    for name in others:
        if others.count(name) > 1 or name in (EMBEDDING, *BASELINES.values()):
            raise ConfigError(f"also: {name!r} is a method already; allowed: each weights once")
    first = load_encoder(config.weights, crop=config.crop)
    return {EMBEDDING: first, **{n: load_encoder(n, crop=config.crop) for n in others}}


def method_embeddings(
    config: MethodConfig,
    encoders: dict[str, nn.Module],
    sample: Sample,
    baselines: Sequence[str],
) -> dict[str, EmbeddingOf]:
    """The embeddings to compare, in the order of the tables.

    Args:
        config: seed, device, components, and how to decode.
        encoders: of :func:`load_encoders`; the first has made the size of ``sample.images``, each
            other sees the galaxies decoded at its own size and crop.
        sample: the galaxies.
        baselines: of :func:`chosen_baselines`; the constant is added by the tables.
    """
    first, *others = encoders.items()
    name, encoder = first
    found: dict[str, EmbeddingOf] = {
        name: embed_arrays(encoder, sample.images, pick_device(config.device))
    }
    for name, other in others:
        transform = transform_of(other)
        images = sample.decoded(config, transform.size, transform.crop, transform.bands)
        found[name] = embed_arrays(other, images, pick_device(config.device))
    of_first = baseline_embeddings(
        encoder,
        sample.images,
        baselines,
        components=config.components,
        seed=config.seed,
        device=config.device,
    )
    return {**found, **of_first}


def baseline_embeddings(
    encoder: nn.Module,
    images: npt.NDArray[np.uint8],
    baselines: Sequence[str],
    *,
    components: int = 64,
    seed: int = 0,
    device: str = "auto",
) -> dict[str, EmbeddingOf]:
    """Baselines, under the names of the tables, on the images ``(N, S, S, 3)`` of an encoder.

    Args:
        encoder: its architecture and transform are those of the untrained one.
        images: uint8, as the encoder takes them.
        baselines: keys of ``BASELINES``.
        components: of pixel PCA.
        seed: of the untrained encoder and of pixel PCA.
        device: of the untrained encoder.

    Raises:
        GzfoundError: morphology without statmorph.
    """
    found: dict[str, EmbeddingOf] = {}
    if "untrained" in baselines:
        vectors = embed_arrays(untrained(encoder, seed), images, pick_device(device))
        found[BASELINES["untrained"]] = vectors
    if "pixels" in baselines:

        def pixels(rows: Rows) -> npt.NDArray[np.float32]:
            return pixel_pca(images, rows, components=components, seed=seed)

        found[BASELINES["pixels"]] = pixels
    if "morphology" in baselines:
        console = Console(stderr=True)
        shown = track(images, "morphology", console=console, transient=True)
        measured = measure_morphology(shown)
        found[BASELINES["morphology"]] = lambda rows: fill_failed(measured, rows)
    return found


def untrained(encoder: nn.Module, seed: int) -> nn.Module:
    """An encoder of the same architecture and transform, with random weights."""
    details: Any = encoder.pretrained_cfg
    transform = transform_of(encoder)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        fresh = create_encoder(
            details["architecture"], image_size=transform.size, in_chans=len(transform.mean)
        ).eval()
    attach_transform(fresh, transform)
    return fresh
