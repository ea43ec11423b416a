"""Which parts of an encoder a fine-tuning run moves, and how fast each of them moves."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn

from gzfound.errors import ConfigError
from gzfound.models.heads import Head

Tune = Literal["head", "blocks", "all"]


def layer_depths(encoder: nn.Module) -> dict[str, int]:
    """The depth of each parameter by name, 0 at the input, as timm groups the layers."""
    from timm.models import group_parameters

    matcher = encoder.group_matcher(coarse=False)  # type: ignore[operator]  # timm's method
    depths: dict[str, int] = group_parameters(encoder, matcher, reverse=True)
    return depths


def freeze(encoder: nn.Module, tune: Tune, blocks: int) -> None:
    """Leave only the parameters trainable that ``tune`` asks for.

    Args:
        encoder: a timm model.
        tune: ``head`` freezes the encoder, ``blocks`` all but its last layers, ``all`` nothing.
        blocks: number of last layers that ``blocks`` leaves trainable.

    Raises:
        ConfigError: the encoder has fewer layers than ``blocks``.
    """
    depths = layer_depths(encoder)
    layers = max(depths.values()) + 1
    if tune == "blocks" and not 1 <= blocks <= layers:
        raise ConfigError(f"blocks: {blocks} must be 1 to {layers}, the layers of this encoder")
    first = {"head": layers, "blocks": layers - blocks, "all": 0}[tune]
    for name, parameter in encoder.named_parameters():
        parameter.requires_grad_(depths[name] >= first)


def layerwise_groups(
    encoder: nn.Module, weight_decay: float, layer_decay: float
) -> list[dict[str, Any]]:
    """Parameter groups whose learning rate shrinks by ``layer_decay`` a layer towards the input.

    Bao et al. 2021 (BEiT), arXiv:2106.08254, appendix. Frozen parameters are left out.
    """
    depths = layer_depths(encoder)
    layers = max(depths.values()) + 1
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in encoder.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((depths[name], parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "weight_decay": weight_decay if matrix else 0.0,
            "scale": layer_decay ** (layers - depth),
        }
        for (depth, matrix), parameters in groups.items()
    ]


class HeadModel(nn.Module):
    """An encoder with a head; layers whose parameters are frozen stay in evaluation.

    Args:
        encoder: maps images ``(B, C, H, W)`` to embeddings.
        head: maps embeddings to what is predicted.
    """

    def __init__(self, encoder: nn.Module, head: Head) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        """What the head makes of images ``(B, C, H, W)``."""
        outputs: Tensor = self.head(self.encoder(images))
        return outputs

    def train(self, mode: bool = True) -> HeadModel:
        """Switch to training, except where nothing is trained (batch norm keeps its statistics)."""
        super().train(mode)
        for part in self.encoder.modules():
            own = list(part.parameters())
            if own and not any(parameter.requires_grad for parameter in own):
                part.eval()
        return self
