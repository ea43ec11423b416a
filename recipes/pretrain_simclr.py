"""Pretrain an encoder with SimCLR on galaxy images; votes, where there are any, only watch.

accelerate launch recipes/pretrain_simclr.py --config recipes/configs/X.yaml --data D --output O
"""

from __future__ import annotations

import gzfound  # noqa: F401  # isort: skip  # before torch: says how its threads wait

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from gzfound.embedding import embed_arrays
from gzfound.errors import one_line_errors
from gzfound.evaluation.online import effective_rank, knn_score
from gzfound.models import EncoderTransform, save_weights
from gzfound.models.checkpoint import start_encoder
from gzfound.simclr import SimCLR, SimCLRConfig, SimCLRLoss
from gzfound.training.augment import Augment
from gzfound.training.batches import Batch
from gzfound.training.config import parse_config
from gzfound.training.galaxies import Galaxies, crop_of_each, load_galaxies
from gzfound.training.loop import Run, train
from gzfound.training.optim import build_optimiser, parameter_groups
from gzfound.training.resident import batches_for
from gzfound.training.run import RunConfig, batch_order, open_run, provenance
from gzfound.views import ViewConfig


@dataclass(frozen=True)
class PretrainConfig(RunConfig):
    """Options of SimCLR pretraining.

    Attributes:
        encoder: timm architecture.
        crop: linear fraction of each image kept around its centre: one number, or one for each of
            data, of which the weights keep the first.
        views: ranges of the augmentations.
        simclr: temperature and projection head.
        watch: galaxies on which the embedding is watched after each epoch.
    """

    encoder: str = "resnet18"
    crop: float | tuple[float, ...] = 1.0
    views: ViewConfig = field(default_factory=ViewConfig)
    simclr: SimCLRConfig = field(default_factory=SimCLRConfig)
    watch: int = 1000
    output: str = "runs/pretrain"


class Watch:
    """Watches the embedding of some galaxies: its rank, and what its neighbours know of votes."""

    def __init__(self, galaxies: Galaxies, count: int) -> None:
        rows = slice(0, count)
        self.images = galaxies.images[rows]
        self.tree = galaxies.tree
        self.votes = None if galaxies.votes is None else galaxies.votes[rows]

    def __call__(self, model: nn.Module) -> Mapping[str, float]:
        """Metrics of the model after an epoch; without ``knn_r2`` where too few have votes."""
        device = next(model.parameters()).device
        embeddings = embed_arrays(model.encoder, self.images, device)
        metrics = {"rank": effective_rank(embeddings)}
        if self.tree is not None and self.votes is not None:
            metrics["knn_r2"] = knn_score(embeddings, self.votes, self.tree)
        return {name: value for name, value in metrics.items() if np.isfinite(value)}


def pretrain(config: PretrainConfig) -> None:
    """Run the recipe and write ``<output>/weights``."""
    crops = crop_of_each(config.crop, config.data)
    accelerator, folder = open_run(config)
    with accelerator.main_process_first():
        galaxies = load_galaxies(
            config.data,
            config=config.data_config,
            split=config.split,
            size=config.image_size,
            crop=crops,
            on_error=config.on_error,
            errors_path=folder / "errors.jsonl",
        )
    encoder = start_encoder(config.encoder, config.weights, config.views.size)
    transform = EncoderTransform(config.views.size, crops[0])
    encoder.transform = transform
    model = SimCLR(encoder, config.simclr).to(memory_format=torch.channels_last)
    loss = SimCLRLoss(config.simclr)
    augment = Augment(config.views, transform, config.seed, views=2)
    order = batch_order(np.arange(len(galaxies)), config.batch_size, config.seed, accelerator)

    def step(wrapped: nn.Module, batch: Batch, epoch: int) -> Tensor:
        del epoch
        _, projections = wrapped(batch["pixels"])
        return loss(projections)

    trained = train(
        Run(folder, config.epochs, config.optim, config.resume),
        accelerator,
        model,
        build_optimiser(parameter_groups(model, config.optim.weight_decay), config.optim),
        batches_for({"images": galaxies.images}, order, accelerator.device, augment),
        step,
        Watch(galaxies, config.watch),
    )
    if accelerator.is_main_process:
        record = provenance("pretrain_simclr", config)
        save_weights(folder / "weights", trained.encoder, transform, record)
        accelerator.print(f"weights: {folder / 'weights'}")
    accelerator.end_training()


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the options and run."""
    pretrain(parse_config(PretrainConfig, "Pretrain an encoder with SimCLR.", argv))


if __name__ == "__main__":
    main()
