"""What the weights of a run decide where no option says it: the encoder and the sizes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from gzfound.models import load_encoder, transform_of

if TYPE_CHECKING:
    from gzfound.training.run import RunConfig

C = TypeVar("C", bound="RunConfig")

UNTRAINED = "resnet18"
"""The architecture of a run that names neither an encoder nor weights."""


def completed(config: C) -> C:
    """The options of a run with encoder, size of the views and size of the kept images filled in.

    Raises:
        WeightsError: the weights cannot be loaded.
        ConfigError: the blur is too wide for views of the size that the weights have.
    """
    name, side = config.encoder, config.views.size
    if config.weights is None:
        name = name or UNTRAINED
    elif not name or side is None:
        encoder: Any = load_encoder(config.weights)
        name = name or encoder.pretrained_cfg["architecture"]
        side = side or transform_of(encoder).size
    views = replace(config.views, size=side or config.views.side)
    found = replace(config, encoder=name, views=views)
    return replace(found, image_size=found.kept_side)
