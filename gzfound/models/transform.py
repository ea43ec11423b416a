"""What an encoder expects of an image: centre crop, size and normalisation."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from gzfound.data.bands import Bands
from gzfound.data.decode import check_geometry, square_resize
from gzfound.data.fits_config import FitsConfig
from gzfound.errors import ConfigError, WeightsError

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

LARGEST_INPUT = 8192
"""The most pixels that a side of the input may have: those of the largest image that is read."""


@dataclass(frozen=True)
class EncoderTransform:
    """Turns one image, or a batch of images of the right size, into what the encoder takes.

    Args:
        size: side of the square input, in pixels.
        crop: linear fraction of the image kept around its centre before the resize, in (0, 1].
        mean: mean subtracted from each channel, on the scale 0 to 1.
        std: standard deviation that divides each channel, on the scale 0 to 1.
        fits: which bands of FITS the channels are, and how their fluxes become pixels.

    Raises:
        ConfigError: one of them is out of range.
    """

    size: int
    crop: float = 1.0
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    fits: FitsConfig = field(default_factory=FitsConfig)

    @property
    def bands(self) -> Bands:
        """What becomes of the bands of an image before this."""
        return Bands(len(self.mean), self.fits)

    def reading(self, fits: FitsConfig) -> EncoderTransform:
        """This transform with other choices for FITS where ``fits`` makes any."""
        return replace(self, fits=fits.over(self.fits))

    def __post_init__(self) -> None:
        check_geometry(self.size, self.crop)
        if self.size > LARGEST_INPUT:
            raise ConfigError(f"size {self.size}: must be at most {LARGEST_INPUT} pixels")
        if len(self.mean) != len(self.std) or not np.isfinite([*self.mean, *self.std]).all():
            raise ConfigError(f"mean {self.mean}, std {self.std}: must be as many finite numbers")
        if not self.std or min(self.std) <= 0:
            raise ConfigError(f"std {self.std}: must be above 0")

    def __call__(self, image: Image | np.ndarray[Any, np.dtype[np.uint8]] | Tensor) -> Tensor:
        """One image to a normalised float tensor of shape ``(C, size, size)``.

        The image is a PIL image, a uint8 array ``(H, W, C)`` or a uint8 tensor ``(C, H, W)``.
        """
        if isinstance(image, Tensor):
            pixels = image.permute(1, 2, 0).numpy()
        elif isinstance(image, np.ndarray):
            pixels = image
        else:
            pixels = np.asarray(image.convert("RGB"))
        square = square_resize(pixels, self.size, crop=self.crop)
        return self.normalise(torch.from_numpy(square)[None])[0]

    def normalise(self, images: Tensor) -> Tensor:
        """Normalise uint8 images ``(B, H, W, C)`` to floats ``(B, C, H, W)``, channels last."""
        return self.standardise(images.permute(0, 3, 1, 2).float().div_(255.0))

    def standardise(self, images: Tensor) -> Tensor:
        """Subtract the mean from images ``(B, C, H, W)`` between 0 and 1, over the deviation."""
        mean = torch.tensor(self.mean, device=images.device)[:, None, None]
        return (images - mean) / torch.tensor(self.std, device=images.device)[:, None, None]


def channel_statistics(
    channels: int, mean: tuple[float, ...] = IMAGENET_MEAN, std: tuple[float, ...] = IMAGENET_STD
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of other channels: repeated in turn, as timm repeats the filters.

    Of a single one, whose filters timm adds up, they are the averages.
    """
    if channels == len(mean):
        return mean, std
    if channels == 1:
        return (float(np.mean(mean)),), (float(np.mean(std)),)
    turns = -(-channels // len(mean))
    return (mean * turns)[:channels], (std * turns)[:channels]


def attach_transform(encoder: nn.Module, transform: EncoderTransform) -> None:
    """Make a transform that of an encoder."""
    # torch declares every attribute of a module to be a tensor or a module.
    encoder.transform = transform  # type: ignore[assignment]


def transform_of(encoder: nn.Module) -> EncoderTransform:
    """The transform of an encoder.

    Raises:
        WeightsError: it has none; ``gzfound.load_encoder`` attaches one.
    """
    found = getattr(encoder, "transform", None)
    if not isinstance(found, EncoderTransform):
        raise WeightsError("encoder: it has no transform; load it with gzfound.load_encoder")
    return found
