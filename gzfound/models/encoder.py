"""Encoders: any timm backbone without its classifier, ``num_features`` outputs."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from torch import nn

from gzfound.errors import ConfigError


def create_encoder(name: str, *, image_size: int | None = None, in_chans: int = 3) -> nn.Module:
    """Build an untrained timm encoder whose output is an embedding ``(B, num_features)``.

    Args:
        name: a timm architecture, such as ``resnet18`` or ``convnext_nano``.
        image_size: side of the images, for encoders made for one size (such as ViTs).
        in_chans: number of bands of the input images.

    Raises:
        ConfigError: timm has no such architecture; the message lists the closest names.
    """
    import timm

    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=5, cutoff=0.5)
        hint = f"did you mean {', '.join(close)}?" if close else "see timm.list_models()"
        raise ConfigError(f"encoder: timm has no model named {name!r}; {hint}")
    size = fixed_size(timm.get_pretrained_cfg(name), image_size)
    model: nn.Module = timm.create_model(name, num_classes=0, in_chans=in_chans, **size)
    return model


def fixed_size(details: Any, image_size: int | None) -> dict[str, Any]:
    """The argument that makes an encoder of one size that of ``image_size``; none for the others.

    Args:
        details: timm's ``pretrained_cfg`` of the architecture, an object or a mapping.
        image_size: side of the images in pixels.
    """
    held = details if isinstance(details, Mapping) else vars(details) if details else {}
    return {"img_size": image_size} if image_size and held.get("fixed_input_size") else {}


def encoder_features(encoder: nn.Module) -> int:
    """The length of an embedding of this encoder."""
    return int(encoder.num_features)  # type: ignore[arg-type]  # timm's attribute
