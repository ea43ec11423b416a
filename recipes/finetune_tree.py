"""Fine-tune a decision-tree head, and as much of the encoder as you like, on vote counts.

accelerate launch recipes/finetune_tree.py --config C --weights W --data D --output O
"""

from __future__ import annotations

import gzfound  # noqa: F401  # isort: skip  # before torch: says how its threads wait

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from gzfound.data import load_dataset, split_by_id
from gzfound.data.splits import check_no_overlap
from gzfound.embedding import embed_arrays
from gzfound.errors import ConfigError, DataError, one_line_errors
from gzfound.evaluation import evaluate_predictions
from gzfound.files import write_text
from gzfound.losses import DirichletMultinomialLoss
from gzfound.models import EncoderTransform, TreeHead, load_encoder, save_weights, transform_of
from gzfound.models.checkpoint import load_head, read_config, start_encoder
from gzfound.models.tuning import TreeModel, Tune, freeze, layerwise_groups
from gzfound.prediction import concentrations_of, prediction_table, write_table
from gzfound.training.augment import Augment
from gzfound.training.batches import Batch
from gzfound.training.config import parse_config
from gzfound.training.galaxies import known_tree, load_galaxies
from gzfound.training.loop import Run, Step, train
from gzfound.training.optim import build_optimiser, parameter_groups
from gzfound.training.resident import batches_for
from gzfound.training.run import RunConfig, batch_order, open_run, provenance
from gzfound.trees import DecisionTree
from gzfound.views import ViewConfig


@dataclass(frozen=True)
class FinetuneConfig(RunConfig):
    """Options of decision-tree fine-tuning.

    Attributes:
        encoder: timm architecture; empty for that of the weights, or resnet18 without any.
        held_out: questions, separated by commas, to leave out with every question below them.
        tune: head (frozen encoder), blocks (its last layers too) or all.
        blocks: number of last layers that ``blocks`` tunes.
        layer_decay: factor on the learning rate for each layer further from the head.
        encoder_scale: learning rate of the encoder's last layer over that of the head.
        dropout: on the embedding.
        test_split: split to predict and to report on.
        views: ranges of the augmentations, unless only the head learns; the size is that of the
            weights.
        min_votes: fewest votes on a question for a galaxy to count in the metrics.
    """

    encoder: str = ""
    held_out: str = ""
    tune: Tune = "all"
    blocks: int = 2
    layer_decay: float = 0.75
    encoder_scale: float = 0.1
    dropout: float = 0.2
    test_split: str = "test"
    views: ViewConfig = field(default_factory=lambda: ViewConfig(zoom=(0.7, 1.0), noise=0.03))
    min_votes: int = 20
    output: str = "runs/finetune"
    epochs: int = 30
    batch_size: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.layer_decay <= 1:
            raise ConfigError(f"layer_decay: {self.layer_decay} must be above 0 and at most 1")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout: {self.dropout} must be at least 0 and below 1")


def build_model(config: FinetuneConfig, tree: DecisionTree) -> TreeModel:
    """The encoder to start from, frozen as far as asked, with a new head."""
    untrained = "" if config.weights else "resnet18"
    encoder = start_encoder(config.encoder or untrained, config.weights, config.views.size)
    if config.weights is None:
        encoder.transform = EncoderTransform(config.views.size)
    transform = transform_of(encoder)
    if config.tune != "head" and transform.size != config.views.size:
        raise ConfigError(
            f"views.size: {config.views.size} must be {transform.size}, that of the weights"
        )
    freeze(encoder, config.tune, config.blocks)
    return TreeModel(encoder, tree, config.dropout).to(memory_format=torch.channels_last)


def build_groups(model: TreeModel, config: FinetuneConfig) -> list[dict[str, Any]]:
    """The head at the full learning rate, the encoder slower, and slower towards its input."""
    decay = config.optim.weight_decay
    groups = layerwise_groups(model.encoder, decay, config.layer_decay)
    for group in groups:
        group["scale"] *= config.encoder_scale if config.weights else 1.0
    return [*groups, *parameter_groups(model.head, decay)]


def build_step(config: FinetuneConfig, model: TreeModel) -> Step:
    """The loss of a batch of augmented images; of embeddings if only the head learns."""
    loss = DirichletMultinomialLoss(model.head.tree)

    def on_embeddings(wrapped: nn.Module, batch: Batch, epoch: int) -> Tensor:
        del epoch
        return loss(wrapped(batch["embeddings"]), batch["votes"])

    def on_images(wrapped: nn.Module, batch: Batch, epoch: int) -> Tensor:
        del epoch
        return loss(wrapped(batch["pixels"]), batch["votes"])

    return on_embeddings if config.tune == "head" else on_images


class Validation:
    """Scores the model on the validation galaxies and writes the weights whenever they are better.

    Args:
        inputs: images, or embeddings if only the head learns.
        votes: ``(N, answers)``.
        folder: of the weights.
        encoder: the frozen encoder if only the head learns.
        record: metadata of the weights.
        resume: whether the weights in the folder, if any, are the best so far.
    """

    def __init__(
        self,
        inputs: npt.NDArray[Any],
        votes: npt.NDArray[np.int32],
        folder: Path,
        encoder: nn.Module,
        record: Mapping[str, Any],
        resume: bool,
    ) -> None:
        self.inputs = inputs
        self.votes = torch.from_numpy(votes)
        self.folder = folder
        self.encoder = encoder
        self.record = record
        kept = read_config(folder)["gzfound"] if resume and folder.exists() else {}
        self.best = float(kept.get("validation_loss", "inf"))

    def __call__(self, model: nn.Module) -> Mapping[str, float]:
        """The validation loss after an epoch, and the best so far."""
        head: TreeHead = model.head if isinstance(model, TreeModel) else model
        device = next(head.parameters()).device
        embeddings = self.inputs
        if embeddings.dtype == np.uint8:
            embeddings = embed_arrays(self.encoder, embeddings, device)
        with torch.inference_mode():
            concentrations = head(torch.from_numpy(embeddings).to(device)).cpu()
            value = float(DirichletMultinomialLoss(head.tree)(concentrations, self.votes))
        if value < self.best:
            self.best = value
            transform = transform_of(self.encoder)
            record = {**self.record, "validation_loss": value}
            save_weights(self.folder, self.encoder, transform, record, head=head)
        return {"validation_loss": value, "best": self.best}


def report(
    config: FinetuneConfig, folder: Path, train_votes: npt.NDArray[np.int32], device: torch.device
) -> None:
    """Predict the test split with the best weights; write predictions and metrics."""
    encoder = load_encoder(folder / "weights")
    head = load_head(folder / "weights", encoder)
    transform = transform_of(encoder)
    test = load_galaxies(
        config.data,
        config=config.data_config,
        split=config.test_split,
        size=transform.size,
        crop=transform.crop,
        on_error=config.on_error,
    )
    _, votes = known_tree(test, config.held_out)
    concentrations = concentrations_of(head, embed_arrays(encoder, test.images, device))
    write_table(
        prediction_table(test.ids, concentrations, head.tree), folder / "predictions.parquet"
    )
    try:
        metrics = evaluate_predictions(
            concentrations,
            votes,
            head.tree,
            train_votes=train_votes,
            min_votes=config.min_votes,
            seed=config.seed,
        )
    except DataError as error:  # too few votes to score; the predictions stand
        metrics = {"rows": [], "notes": [str(error)]}
    write_text(folder / "metrics.json", json.dumps(metrics, indent=2) + "\n")


def finetune(config: FinetuneConfig) -> None:
    """Run the recipe and write ``weights``, ``predictions.parquet`` and ``metrics.json``."""
    accelerator, folder = open_run(config)
    transform: EncoderTransform | None = None
    if config.weights:
        transform = load_encoder(config.weights).transform
    with accelerator.main_process_first():
        tested = [  # a test split that is missing fails now, not after training
            name
            for source in config.data
            for name in load_dataset(source, config.data_config, config.test_split)["id_str"]
        ]
        galaxies = load_galaxies(
            config.data,
            config=config.data_config,
            split=config.split,
            size=transform.size if transform and config.tune == "head" else config.image_size,
            crop=transform.crop if transform else 1.0,
            on_error=config.on_error,
            errors_path=folder / "errors.jsonl",
        )
    tree, votes = known_tree(galaxies, config.held_out)
    check_no_overlap(galaxies.ids, tested, config.split, config.test_split)
    model = build_model(config, tree)
    shares = {"train": 0.9, "validation": 0.1}
    parts = split_by_id(galaxies.ids, shares, config.seed, purpose="validation")
    if not len(parts["validation"]):
        raise DataError(f"data: {len(galaxies)} galaxies are too few to hold a tenth back")
    inputs: npt.NDArray[Any] = galaxies.images
    if config.tune == "head":
        inputs = embed_arrays(model.encoder, galaxies.images, accelerator.device)
    head_only = config.tune == "head"
    augment = Augment(config.views, transform_of(model.encoder), config.seed, views=1)
    batches = batches_for(
        {"embeddings" if head_only else "images": inputs, "votes": votes},
        batch_order(parts["train"], config.batch_size, config.seed, accelerator),
        accelerator.device,
        None if head_only else augment,
    )
    held = np.asarray(parts["validation"])
    record = provenance("finetune_tree", config)
    train(
        Run(folder, config.epochs, config.optim, config.resume),
        accelerator,
        model.head if config.tune == "head" else model,
        build_optimiser(build_groups(model, config), config.optim),
        batches,
        build_step(config, model),
        Validation(
            inputs[held], votes[held], folder / "weights", model.encoder, record, config.resume
        ),
    )
    if accelerator.is_main_process:
        report(config, folder, votes, accelerator.device)
        accelerator.print(f"weights: {folder / 'weights'}")
    accelerator.end_training()


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the options and run."""
    finetune(parse_config(FinetuneConfig, "Fine-tune on Galaxy Zoo vote counts.", argv))


if __name__ == "__main__":
    main()
