"""SimCLR: two views of a galaxy attract, views of different galaxies repel.

Chen et al. 2020, arXiv:2002.05709, with the projection head and NT-Xent loss of lightly.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from lightly.loss import NTXentLoss
from lightly.models.modules.heads import SimCLRProjectionHead
from torch import Tensor, nn

from gzfound.errors import ConfigError
from gzfound.models import encoder_features


@dataclass(frozen=True)
class SimCLRConfig:
    """The part of SimCLR that comes after the encoder.

    Attributes:
        temperature: of NT-Xent (eq. 1).
        hidden: width of the projection head.
        output: length of a projection.
        layers: number of layers of the projection head.
        batch_norm: whether the projection head normalises over the batch.
    """

    temperature: float = 0.2
    hidden: int = 512
    output: int = 128
    layers: int = 2
    batch_norm: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.temperature < float("inf"):
            raise ConfigError(f"simclr.temperature: {self.temperature} must be above 0")
        for name, top in (("hidden", 65536), ("output", 65536), ("layers", 64)):
            if not 1 <= getattr(self, name) <= top:
                found = getattr(self, name)
                raise ConfigError(f"simclr.{name}: {found} must be at least 1, at most {top}")


class SimCLR(nn.Module):
    """An encoder with a projection head.

    Args:
        encoder: maps ``(B, C, H, W)`` to embeddings ``(B, num_features)``.
        config: shape of the projection head.
    """

    def __init__(self, encoder: nn.Module, config: SimCLRConfig) -> None:
        super().__init__()
        self.encoder = encoder
        self.projection_head = SimCLRProjectionHead(
            encoder_features(encoder),
            config.hidden,
            config.output,
            num_layers=config.layers,
            batch_norm=config.batch_norm,
        )

    def forward(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings ``(2B, num_features)`` and projections ``(2B, output)`` of both views.

        Args:
            views: the first views of a batch, then the second views, ``(2B, C, H, W)``.
        """
        embeddings = self.encoder(views)
        return embeddings, self.projection_head(embeddings)


class SimCLRLoss(nn.Module):
    """NT-Xent (arXiv:2002.05709, eq. 1), in float32.

    Negatives come from every process, and gradients flow back to the process that made them: the
    mean of the losses over N processes with B/N galaxies each is the loss of one process with B.

    Args:
        config: holds the temperature.
    """

    def __init__(self, config: SimCLRConfig) -> None:
        super().__init__()
        self.nt_xent = NTXentLoss(config.temperature, gather_distributed=True)

    def forward(self, projections: Tensor) -> Tensor:
        """The loss, a scalar, of projections ``(2B, output)``: first views, then second views."""
        first, second = projections.float().chunk(2)
        with torch.autocast(projections.device.type, enabled=False):
            loss: Tensor = self.nt_xent(first, second)
        return loss
