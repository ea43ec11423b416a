"""Pretrain an encoder with SimCLR on galaxy images; votes only watch, unless they get a weight.

accelerate launch recipes/pretrain_simclr.py --config recipes/configs/X.yaml --data D --output O
"""

from __future__ import annotations

import gzfound  # noqa: F401  # isort: skip  # before torch: says how its threads wait

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from gzfound.embedding import embed_arrays
from gzfound.errors import ConfigError, one_line_errors
from gzfound.evaluation.online import collapse, effective_rank, knn_score, spread
from gzfound.hybrid import HybridLoss, HybridSimCLR
from gzfound.models import attach_transform, save_weights, transform_of
from gzfound.models.checkpoint import start_encoder
from gzfound.simclr import SimCLR, SimCLRConfig, SimCLRLoss
from gzfound.training.augment import Augment
from gzfound.training.batches import Batch
from gzfound.training.config import parse_config
from gzfound.training.galaxies import (
    Galaxies,
    campaign_numbers,
    crop_of_each,
    known_tree,
    labelled_rows,
    load_galaxies,
)
from gzfound.training.loop import Run, Step, train
from gzfound.training.optim import build_optimiser, parameter_groups
from gzfound.training.resident import batches_for
from gzfound.training.run import (
    RunConfig,
    batch_order,
    close_run,
    errors_file,
    open_run,
    provenance,
)
from gzfound.training.streamed import StreamedImages
from gzfound.trees import DecisionTree


@dataclass(frozen=True)
class PretrainConfig(RunConfig):
    """Options of SimCLR pretraining.

    Attributes:
        crop: linear fraction of each image kept around its centre: one number, or one for each of
            data, of which the weights keep the first.
        simclr: temperature and projection head.
        supervised_weight: weight of the likelihood of votes beside NT-Xent; 0 learns without votes.
        held_out: questions, separated by commas, that are not learned, nor any below them.
        watch: galaxies on which the embedding is watched after each epoch.
    """

    crop: float | tuple[float, ...] = 1.0
    simclr: SimCLRConfig = field(default_factory=SimCLRConfig)
    supervised_weight: float = 0.0
    held_out: str = ""
    watch: int = 1000
    output: str = "runs/pretrain"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.watch < 1:
            raise ConfigError(f"watch: {self.watch} must be at least 1")
        if not 0 <= self.supervised_weight < float("inf"):
            raise ConfigError(f"supervised_weight: {self.supervised_weight} must be at least 0")


class Watch:
    """Watches the embedding of some galaxies: its rank, and what its neighbours know of votes."""

    def __init__(self, galaxies: Galaxies, count: int) -> None:
        rows = watched_rows(galaxies, count)
        if isinstance(galaxies.images, StreamedImages):
            self.images, rows = galaxies.images.readable(rows)
        else:
            self.images = galaxies.images[rows]
        self.tree = galaxies.tree
        self.votes = None if galaxies.votes is None else galaxies.votes[rows]
        self.warned = False

    def __call__(self, model: nn.Module) -> Mapping[str, float]:
        """Metrics of the model after an epoch; without ``knn_r2`` where too few have votes.

        The first collapse of the embedding is said in one line, with the remedy.
        """
        device = next(model.parameters()).device
        embeddings = embed_arrays(model.encoder, self.images, device)
        metrics = {"rank": effective_rank(embeddings), "spread": spread(embeddings)}
        if not self.warned and (said := collapse(embeddings)):
            self.warned = True
            sys.stderr.write(f"{said}\n")
        if self.tree is not None and self.votes is not None:
            metrics["knn_r2"] = knn_score(embeddings, self.votes, self.tree)
        return {name: value for name, value in metrics.items() if np.isfinite(value)}


def watched_rows(galaxies: Galaxies, count: int) -> npt.NDArray[np.int64]:
    """The first galaxies of each campaign, as many of each as make up ``count``."""
    numbers = campaign_numbers(galaxies)
    each = -(-count // (numbers.max() + 1))
    parts = [np.flatnonzero(numbers == campaign)[:each] for campaign in np.unique(numbers)]
    return np.sort(np.concatenate(parts))[:count]


def learned_votes(
    galaxies: Galaxies, config: PretrainConfig
) -> tuple[DecisionTree, npt.NDArray[np.int32]]:
    """The tree to learn, and the votes on it ``(N, answers)``: zero where they are not learned."""
    if galaxies.tree is None:
        weight = config.supervised_weight
        raise ConfigError(f"supervised_weight: {weight} needs votes; {galaxies.no_votes}")
    tree, votes = known_tree(galaxies, config.held_out)
    learned = labelled_rows(galaxies.ids, config.labelled, config.seed)
    if len(learned) < len(galaxies):
        votes = votes.copy()
        votes[np.setdiff1d(np.arange(len(galaxies)), learned)] = 0
    if not votes.any():
        raise ConfigError(
            f"labelled: a share of {config.labelled} of {len(galaxies)} galaxies holds no votes"
        )
    return tree, votes


def build_model(encoder: nn.Module, config: PretrainConfig, tree: DecisionTree | None) -> nn.Module:
    """SimCLR, with a head for the votes on a tree if there is one to learn."""
    if tree is None:
        return SimCLR(encoder, config.simclr).to(memory_format=torch.channels_last)
    model = HybridSimCLR(encoder, config.simclr, tree)
    return model.to(memory_format=torch.channels_last)


def build_step(config: PretrainConfig, tree: DecisionTree | None) -> Step:
    """The loss of a batch of two views of each galaxy."""
    contrast = SimCLRLoss(config.simclr)

    def simclr(wrapped: nn.Module, batch: Batch, epoch: int) -> Tensor:
        del epoch
        _, projections = wrapped(batch["pixels"])
        return contrast(projections)

    if tree is None:
        return simclr
    both = HybridLoss(config.simclr, tree, config.supervised_weight)

    def hybrid(wrapped: nn.Module, batch: Batch, epoch: int) -> Tensor:
        del epoch
        return both(*wrapped(batch["pixels"]), batch["votes"])

    return hybrid


def pretrain(config: PretrainConfig) -> None:
    """Run the recipe and write ``<output>/weights``."""
    crops = crop_of_each(config.crop, config.data)
    accelerator, folder, config = open_run(config)
    encoder = start_encoder(
        config.encoder,
        config.weights,
        config.views.side,
        in_chans=config.in_chans,
        fits=config.fits,
    )
    transform = replace(transform_of(encoder), size=config.views.side, crop=crops[0])
    attach_transform(encoder, transform)
    with accelerator.main_process_first():
        galaxies = load_galaxies(
            config.data,
            config=config.data_config,
            split=config.split,
            size=config.kept_side,
            crop=crops,
            on_error=config.on_error,
            errors_path=errors_file(accelerator, folder, config.streaming),
            bands=transform.bands,
            held_out_campaign=config.held_out_campaign,
            window=config.stream_window if config.streaming else 0,
        )
    arrays: dict[str, npt.NDArray[Any] | StreamedImages] = {"images": galaxies.images}
    tree: DecisionTree | None = None
    if config.supervised_weight:
        tree, arrays["votes"] = learned_votes(galaxies, config)
    model = build_model(encoder, config, tree)
    augment = Augment(config.views, transform, config.seed, views=2)
    groups = campaign_numbers(galaxies) if config.balance else None
    order = batch_order(
        np.arange(len(galaxies)), config.batch_size, config.seed, accelerator, groups
    )
    trained = train(
        Run(
            folder,
            config.epochs,
            config.optim,
            bool(config.resume),
            checkpoint=config.checkpoint,
            ids=galaxies.ids,
            sync_batch_norm=config.sync_batch_norm,
        ),
        accelerator,
        model,
        build_optimiser(parameter_groups(model, config.optim.weight_decay), config.optim),
        batches_for(arrays, order, accelerator.device, augment),
        build_step(config, tree),
        Watch(galaxies, config.watch),
    )
    if accelerator.is_main_process:
        record = provenance("pretrain_simclr", config, galaxies.licences)
        head = None if tree is None else trained.head
        save_weights(folder / "weights", trained.encoder, transform, record, head=head)
    close_run(accelerator, folder, config)


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the options and run."""
    pretrain(parse_config(PretrainConfig, "Pretrain an encoder with SimCLR.", argv))


if __name__ == "__main__":
    main()
