"""The options that every fine-tuning recipe has."""

from __future__ import annotations

from dataclasses import dataclass, field

from gzfound.errors import ConfigError
from gzfound.models.tuning import Tune
from gzfound.training.run import RunConfig
from gzfound.views import ViewConfig


@dataclass(frozen=True)
class FinetuneConfig(RunConfig):
    """Options of fine-tuning.

    Attributes:
        crop: linear fraction of each image kept around its centre, if not that of the weights, or
            all of it without any.
        tune: head (frozen encoder), blocks (its last layers too) or all.
        blocks: number of last layers that ``blocks`` tunes.
        head_epochs: epochs in which only the head learns, before ``epochs`` of all that is tuned;
            none if only the head is tuned, or without weights.
        patience: epochs without a better validation loss that end a run; 0 never ends it.
        layer_decay: factor on the learning rate for each layer further from the head.
        encoder_scale: learning rate of the encoder's last layer over that of the head.
        dropout: on the embedding.
        test_split: split to predict and to report on.
        views: ranges of the augmentations, unless only the head learns.
    """

    crop: float | None = None
    tune: Tune = "all"
    blocks: int = 2
    head_epochs: int = 20
    patience: int = 10
    layer_decay: float = 0.75
    encoder_scale: float = 0.1
    dropout: float = 0.2
    test_split: str = "test"
    views: ViewConfig = field(default_factory=lambda: ViewConfig(zoom=(0.7, 1.0), noise=0.03))
    output: str = "runs/finetune"
    epochs: int = 30
    batch_size: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("head_epochs", "patience"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name}: {getattr(self, name)} must be at least 0")
        if self.crop is not None and not 0 < self.crop <= 1:
            raise ConfigError(f"crop: {self.crop} must be above 0 and at most 1")
        if self.streaming and self.on_error == "skip":
            reason = "images are met too late to leave their labels out"
            raise ConfigError(f"on_error: skip does not go with streaming here, where {reason}")
        if not 0 < self.layer_decay <= 1:
            raise ConfigError(f"layer_decay: {self.layer_decay} must be above 0 and at most 1")
        if not 0 < self.encoder_scale < float("inf"):
            raise ConfigError(f"encoder_scale: {self.encoder_scale} must be above 0")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout: {self.dropout} must be at least 0 and below 1")

    @property
    def probes(self) -> bool:
        """Whether the head learns alone first."""
        return self.tune != "head" and self.weights is not None and self.head_epochs > 0

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the data that are needed beside images and votes."""
        return ()


@dataclass(frozen=True)
class TargetConfig(FinetuneConfig):
    """Options of fine-tuning on a column of labels.

    Attributes:
        target: column of the datasets or their tables.
    """

    target: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        """The target.

        Raises:
            ConfigError: it was not named.
        """
        if not self.target:
            raise ConfigError("target: name the column to learn")
        return (self.target,)
