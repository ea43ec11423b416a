"""Encoders: any timm backbone without its classifier, ``num_features`` outputs."""

from __future__ import annotations

import difflib
from typing import Any

from torch import nn

from gzfound.errors import ConfigError


def create_encoder(name: str, *, in_chans: int = 3, **model_args: Any) -> nn.Module:
    """Build an untrained timm encoder whose output is an embedding ``(B, num_features)``.

    Args:
        name: a timm architecture, such as ``resnet18`` or ``convnext_nano``.
        in_chans: number of bands of the input images.
        model_args: passed to ``timm.create_model``, such as ``img_size`` of a ViT.

    Raises:
        ConfigError: timm has no such architecture; the message lists the closest names.
    """
    import timm

    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=5, cutoff=0.5)
        hint = f"did you mean {', '.join(close)}?" if close else "see timm.list_models()"
        raise ConfigError(f"encoder: timm has no model named {name!r}; {hint}")
    model: nn.Module = timm.create_model(name, num_classes=0, in_chans=in_chans, **model_args)
    return model


def encoder_features(encoder: nn.Module) -> int:
    """The length of an embedding of this encoder."""
    return int(encoder.num_features)  # type: ignore[arg-type]
