"""Views: what changes, what must not, and on what they depend."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from gzfound.errors import ConfigError
from gzfound.views import ViewConfig, make_views

STILL = ViewConfig(
    size=32,
    rotation=0,
    zoom=(1, 1),
    aspect=1,
    shift=0,
    blur=0,
    blur_probability=0,
    noise=0,
    brightness=1,
    contrast=1,
    colour=1,
)


def change(**options: object) -> ViewConfig:
    return ViewConfig(**{**STILL.__dict__, **options})  # type: ignore[arg-type]


def random_images(count: int = 16, size: int = 32) -> torch.Tensor:
    generator = np.random.default_rng(0)
    return torch.from_numpy(generator.integers(0, 255, (count, size, size, 3), dtype=np.uint8))


def view(images: torch.Tensor, config: ViewConfig, **options: int) -> torch.Tensor:
    chosen = {"seed": 0, "epoch": 0, "view": 0, **options}
    return make_views(images, np.arange(len(images)), config, **chosen)


def test_without_changes_a_view_is_the_image_or_its_mirror() -> None:
    images = random_images()
    pixels = images.permute(0, 3, 1, 2).float() / 255
    views = view(images, STILL)
    same = (views - pixels).abs().amax(dim=(1, 2, 3)) < 1e-5
    mirrored = (views - pixels.flip(3)).abs().amax(dim=(1, 2, 3)) < 1e-5
    assert (same | mirrored).all()
    assert same.any()
    assert mirrored.any()


@pytest.mark.parametrize("config", [ViewConfig(size=32), ViewConfig(size=24, zoom=(0.3, 1.2))])
def test_a_view_depends_on_the_galaxy_and_not_on_its_batch(config: ViewConfig) -> None:
    """Float rounding may differ with the batch, by far less than one of 255 grey levels."""
    images = random_images()
    together = view(images, config)
    for row in (0, 5, 15):
        alone = make_views(images[row : row + 1], [row], config, seed=0, epoch=0, view=0)
        torch.testing.assert_close(alone[0], together[row], atol=1e-5, rtol=0)


def test_epochs_views_and_seeds_differ_and_repeat() -> None:
    images = random_images()
    config = ViewConfig(size=32)
    first = view(images, config)
    torch.testing.assert_close(first, view(images, config), atol=0, rtol=0)
    for other in ({"epoch": 1}, {"view": 1}, {"seed": 1}):
        assert ((view(images, config, **other) - first).abs().mean(dim=(1, 2, 3)) > 0.01).all()


def test_rotation_turns_about_the_centre() -> None:
    """A disc at the centre survives any rotation; a spot off the centre keeps its radius."""
    size = 65
    y, x = np.mgrid[:size, :size] - size // 2
    spot = np.exp(-0.5 * ((x - 15) ** 2 + y**2) / 2.0**2)
    image = np.repeat((255 * spot).astype(np.uint8)[:, :, None], 3, axis=2)
    images = torch.from_numpy(np.stack([image] * 40))
    views = view(images, change(size=size, rotation=180)).mean(dim=1)
    weight = views / views.sum(dim=(1, 2), keepdim=True)
    cx, cy = (weight * torch.from_numpy(x)).sum((1, 2)), (weight * torch.from_numpy(y)).sum((1, 2))
    radius, angle = torch.hypot(cx, cy), torch.atan2(cy, cx)
    torch.testing.assert_close(radius, torch.full_like(radius, 15.0), atol=0.3, rtol=0)
    assert angle.std() > 1.2  # a uniform angle has a deviation of pi / sqrt(3) = 1.81


def test_zoom_magnifies_by_the_inverse_of_the_fraction_shown() -> None:
    """A Gaussian of 4 px has 8 px in a view of half the image, of the same size in pixels."""
    size = 64
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    blob = np.exp(-0.5 * (x**2 + y**2) / 4.0**2)
    image = np.repeat((255 * blob).astype(np.uint8)[:, :, None], 3, axis=2)
    shown = view(torch.from_numpy(image[None]), change(size=size, zoom=(0.5, 0.5)))[0, 0].numpy()
    width = math.sqrt((shown * x**2).sum() / shown.sum())
    assert width == pytest.approx(8.0, abs=0.4)


def test_noise_has_the_deviation_asked_for() -> None:
    """A uniform deviation up to 0.1 has a mean square of 0.1^2 / 3, so 0.0577 over all views."""
    grey = torch.full((400, 32, 32, 3), 128, dtype=torch.uint8)
    noise = view(grey, change(noise=0.1)) - 128 / 255
    assert float(noise.std()) == pytest.approx(0.1 / math.sqrt(3), rel=0.06)
    assert abs(float(noise.mean())) < 0.002


def test_blur_keeps_flux_and_widens() -> None:
    spot = torch.zeros(200, 33, 33, 3, dtype=torch.uint8)
    spot[:, 16, 16] = 250
    blurred = view(spot, change(size=33, blur=2.0, blur_probability=1.0))
    flux = blurred.sum(dim=(1, 2, 3))
    torch.testing.assert_close(flux, torch.full_like(flux, 3 * 250 / 255), rtol=1e-3, atol=0)
    assert float(blurred[:, 0, 16, 16].median()) < 0.5


def test_colours_stay_close_to_the_galaxy() -> None:
    grey = torch.full((300, 16, 16, 3), 100, dtype=torch.uint8)
    views = view(grey, change(size=16, colour=1.1)).mean(dim=(2, 3))
    ratio = views[:, 0] / views[:, 2]
    assert float(ratio.max()) <= 1.1**2 + 1e-3
    assert float(ratio.std()) > 0.03


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"zoom": (0.0, 1.0)}, "views.zoom"),
        ({"zoom": (0.9, 0.5)}, "views.zoom"),
        ({"size": 4}, "views.size"),
        ({"colour": 0.9}, "views.colour"),
        ({"noise": -1.0}, "views.noise"),
    ],
)
def test_a_range_that_makes_no_sense_is_named(options: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        change(**options)
