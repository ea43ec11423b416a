"""Galaxy views: the random changes that leave a galaxy what it is.

A galaxy on the sky has no up, no handedness and no preferred distance, and the telescope adds
blur and noise; its colours carry physics. So a view turns, mirrors, zooms and shifts freely,
blurs and adds noise, and touches the colours only mildly (Walmsley et al. 2024, arXiv:2404.02973;
Hayat et al. 2021, ApJL 911, L33). The whole geometry is one resample. Every draw is a hash of
(seed, epoch, view, galaxy), so views do not depend on the batch, the process or the thread.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from gzfound.draws import stream_key, uniforms
from gzfound.errors import ConfigError

COLUMNS = (
    *("angle", "flip", "zoom", "aspect", "shift_x", "shift_y", "blur_on", "blur"),
    *("noise", "row", "column", "brightness", "contrast", "red", "green", "blue"),
)
_BANK = 1024


@dataclass(frozen=True)
class ViewConfig:
    """Ranges of the random changes.

    Attributes:
        size: side of a view in pixels.
        rotation: largest angle of rotation, in degrees; 180 is any rotation.
        zoom: smallest and largest linear fraction of the image that a view shows.
        aspect: largest stretch of one axis over the other, 1 for none.
        shift: largest offset of the centre of a view, as a fraction of the image.
        blur: largest standard deviation of the Gaussian blur, in pixels of the view.
        blur_probability: share of the views that are blurred.
        noise: largest standard deviation of the pixel noise, on the scale 0 to 1.
        brightness: largest factor of brightness (and its inverse), 1 for none.
        contrast: largest exponent of the brightness curve (and its inverse), 1 for none.
        colour: largest factor of one band over another (and its inverse), 1 for none.
    """

    size: int = 96
    rotation: float = 180.0
    zoom: tuple[float, float] = (0.5, 1.0)
    aspect: float = 1.1
    shift: float = 0.08
    blur: float = 1.5
    blur_probability: float = 0.5
    noise: float = 0.06
    brightness: float = 1.4
    contrast: float = 1.3
    colour: float = 1.1

    def __post_init__(self) -> None:
        low, high = self.zoom
        if not 0 < low <= high <= 1.5:
            raise ConfigError(f"views.zoom: {self.zoom} must be 0 < smallest <= largest <= 1.5")
        if self.size < 8:
            raise ConfigError(f"views.size: {self.size} must be at least 8")
        for name in ("aspect", "brightness", "contrast", "colour"):
            if getattr(self, name) < 1:
                raise ConfigError(f"views.{name}: {getattr(self, name)} must be at least 1")
        if self.blur > self.size / 6:
            raise ConfigError(f"views.blur: {self.blur} must be at most {self.size / 6:.3g}")
        for name in ("rotation", "shift", "blur", "blur_probability", "noise"):
            if getattr(self, name) < 0:
                raise ConfigError(f"views.{name}: {getattr(self, name)} must be at least 0")


def make_views(
    images: Tensor, galaxies: npt.ArrayLike, config: ViewConfig, *, seed: int, epoch: int, view: int
) -> Tensor:
    """One random view of each image.

    Args:
        images: uint8 ``(B, S, S, C)``, on any device.
        galaxies: an integer identity of each galaxy, ``(B,)``.
        config: the ranges.
        seed: of the run.
        epoch: a galaxy gets other views in every epoch.
        view: 0 for the first view of the pair, 1 for the second.

    Returns:
        Floats ``(B, C, size, size)`` between 0 and 1, channels last, on the device of ``images``.
    """
    draws = uniforms(stream_key(seed, "views", epoch, view), galaxies, len(COLUMNS))
    drawn = {name: draws[:, i] for i, name in enumerate(COLUMNS)}
    pixels = _resample(images, drawn, config)
    if config.blur > 0 and config.blur_probability > 0:
        pixels = _blur(pixels, drawn, config)
    pixels = _tone(pixels, drawn, config)
    if config.noise > 0:
        pixels = _add_noise(pixels, drawn, config)
    return pixels.clamp_(0.0, 1.0)


def _resample(images: Tensor, drawn: dict[str, npt.NDArray[np.float64]], c: ViewConfig) -> Tensor:
    low, high = (math.log(edge) for edge in c.zoom)
    zoom = np.exp(low + (high - low) * drawn["zoom"])
    stretch = np.exp(_symmetric(drawn["aspect"]) * math.log(c.aspect) / 2)
    angle = np.deg2rad(c.rotation) * _symmetric(drawn["angle"])
    mirror = np.where(drawn["flip"] < 0.5, -1.0, 1.0)
    cosine, sine = np.cos(angle), np.sin(angle)
    across, along = zoom * stretch, zoom / stretch
    theta = np.empty((len(zoom), 2, 3), dtype=np.float32)
    theta[:, 0] = np.stack([cosine * across * mirror, -sine * along, zoom * 0], axis=1)
    theta[:, 1] = np.stack([sine * across * mirror, cosine * along, zoom * 0], axis=1)
    theta[:, 0, 2] = 2 * c.shift * _symmetric(drawn["shift_x"])
    theta[:, 1, 2] = 2 * c.shift * _symmetric(drawn["shift_y"])
    pixels = images.permute(0, 3, 1, 2).float().div_(255.0)
    shape = [len(images), images.shape[3], c.size, c.size]
    grid = functional.affine_grid(
        torch.from_numpy(theta).to(images.device), shape, align_corners=False
    )
    return functional.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)


def _blur(pixels: Tensor, drawn: dict[str, npt.NDArray[np.float64]], c: ViewConfig) -> Tensor:
    """Convolve each blurred view with a Gaussian of its own width, one axis at a time."""
    chosen = np.flatnonzero(drawn["blur_on"] < c.blur_probability)
    if len(chosen) == 0:
        return pixels
    sigma = np.maximum(drawn["blur"][chosen] * c.blur, 0.05)
    radius = math.ceil(2.5 * c.blur)
    offsets = np.arange(-radius, radius + 1)
    kernels = np.exp(-0.5 * (offsets[None] / sigma[:, None]) ** 2)
    kernels /= kernels.sum(axis=1, keepdims=True)
    rows = torch.from_numpy(chosen).to(pixels.device)
    views = pixels[rows]
    count, channels, height, width = views.shape
    flat = views.reshape(1, count * channels, height, width)
    weight = torch.from_numpy(kernels).to(flat).repeat_interleave(channels, dim=0)
    for shape, pad in (((1, -1), (radius, radius, 0, 0)), ((-1, 1), (0, 0, radius, radius))):
        kernel = weight.view(count * channels, 1, *shape)
        flat = functional.conv2d(
            functional.pad(flat, pad, mode="reflect"), kernel, groups=count * channels
        )
    return pixels.index_copy(0, rows, flat.view(count, channels, height, width))


def _tone(pixels: Tensor, drawn: dict[str, npt.NDArray[np.float64]], c: ViewConfig) -> Tensor:
    gain = np.exp(_symmetric(drawn["brightness"]) * math.log(c.brightness))
    bands = np.stack([drawn["red"], drawn["green"], drawn["blue"]], axis=1)[:, : pixels.shape[1]]
    gains = gain[:, None] * np.exp(_symmetric(bands) * math.log(c.colour))
    power = np.exp(_symmetric(drawn["contrast"]) * math.log(c.contrast))
    scaled = pixels * torch.from_numpy(gains[:, :, None, None]).to(pixels)
    if c.contrast == 1:
        return scaled
    return scaled.clamp_min_(1e-4).pow_(torch.from_numpy(power[:, None, None, None]).to(pixels))


def _add_noise(pixels: Tensor, drawn: dict[str, npt.NDArray[np.float64]], c: ViewConfig) -> Tensor:
    """Add a random window of a fixed bank of normal noise, scaled for each view."""
    size, channels = pixels.shape[-1], pixels.shape[1]
    bank = _noise_bank(channels, max(_BANK, 2 * size), pixels.device)
    windows = bank.unfold(1, size, 1).unfold(2, size, 1)
    places = windows.shape[1]
    rows = torch.from_numpy((drawn["row"] * places).astype(np.int64)).to(pixels.device)
    columns = torch.from_numpy((drawn["column"] * places).astype(np.int64)).to(pixels.device)
    noise = windows[:, rows, columns].transpose(0, 1)
    sigma = torch.from_numpy((drawn["noise"] * c.noise)[:, None, None, None]).to(pixels)
    return pixels + noise * sigma


@lru_cache(maxsize=4)
def _noise_bank(channels: int, side: int, device: torch.device) -> Tensor:
    generator = np.random.Generator(np.random.Philox(key=int(stream_key("noise bank"))))
    bank = generator.standard_normal((channels, side, side), dtype=np.float32)
    return torch.from_numpy(bank).to(device)


def _symmetric(draws: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return 2.0 * draws - 1.0
