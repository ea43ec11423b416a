"""OpenCV's route and torch's: the same views to a grey level, and the same distribution."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from gzfound.data import decoded_images
from gzfound.data.load import load_dataset
from gzfound.errors import ConfigError
from gzfound.views import ViewConfig, make_views, opencv, tensors
from gzfound.views.draws import ANTIALIAS, draw

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def routes(images: Tensor, config: ViewConfig, **options: object) -> list[Tensor]:
    """Views of OpenCV, then of torch."""
    count, _, _, channels = images.shape
    draws = draw(np.arange(count), tuple(images.shape[1:]), config, seed=0, epoch=0, view=0)
    found = []
    for route in (opencv, tensors):
        out = torch.full((count, config.size, config.size, channels), torch.nan)
        out = out.permute(0, 3, 1, 2)
        route.fill(out, images, draws, config, options.get("standardise"))
        found.append(out)
    return found


def smooth_images(count: int, height: int, width: int, channels: int) -> Tensor:
    coarse = torch.rand(count, channels, 8, 8, generator=torch.Generator().manual_seed(0))
    fine = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")
    return (fine.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).contiguous()


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
def test_both_routes_give_the_same_view(channels: int) -> None:
    """The resample of OpenCV rounds to grey levels: uniform within half a level, rms 0.29.

    The blur, of half of the views, averages that; brightness changes it by up to 1.4 x 1.1.
    """
    first, second = routes(smooth_images(32, 64, 64, channels), ViewConfig(size=48))
    levels = (first - second) * 255
    assert float(levels.abs().max()) < 2
    assert float(levels.square().mean().sqrt()) < 0.3
    assert float(levels.mean().abs()) < 0.01


@pytest.mark.parametrize("shape", [(150, 150), (151, 99), (500, 300)])
def test_small_views_of_large_images_come_from_halved_copies(shape: tuple[int, int]) -> None:
    images = smooth_images(16, *shape, 3)
    config = ViewConfig(size=48, zoom=(0.4, 1.2))
    draws = draw(np.arange(16), (*shape, 3), config, seed=0, epoch=0, view=0)
    zoom = np.sqrt(np.abs(np.linalg.det(draws.affine[:, :, :2])))
    left = zoom * max(shape) / 48 / 2.0**draws.halvings
    assert draws.halvings.max() > 0
    assert left.max() <= ANTIALIAS + 1e-9
    assert left[draws.halvings > 0].min() > ANTIALIAS / 2
    first, second = routes(images, config)
    assert float((first - second).abs().max() * 255) < 2


def test_fine_texture_leaves_no_false_pattern() -> None:
    """Stripes 2 px wide cannot be seen at 3.3 px a pixel; a plain bilinear look-up invents them."""
    stripes = np.zeros((8, 160, 160, 3), np.uint8)
    stripes[:, :, 0::4] = stripes[:, :, 1::4] = 200
    still = ViewConfig(
        *(48, 180.0, (1.0, 1.0), 1.0, 0.08), blur=0, noise=0, brightness=1, contrast=1, colour=1
    )
    for views in routes(torch.from_numpy(stripes), still):
        inside = views[:, :, 8:-8, 8:-8] * 255
        assert float(inside.mean()) == pytest.approx(100, abs=1)
        assert float(inside.std()) < 12  # 100 in the image; about 50 without halved copies


def test_halving_is_the_mean_over_the_area() -> None:
    """Five pixels become two of two and a half each."""
    row = torch.tensor([0.0, 100, 200, 50, 250]) / 255
    found = tensors.halve(row.expand(1, 1, 4, 5)) * 255
    first, second = (0 + 100 + 100) / 2.5, (100 + 50 + 250) / 2.5
    torch.testing.assert_close(found, torch.tensor([first, second]).expand(1, 1, 2, 2))


def test_standardising_costs_no_precision() -> None:
    images = smooth_images(8, 40, 40, 3)
    mean, std = (torch.tensor(x)[:, None, None] for x in IMAGENET)
    plain = routes(images, ViewConfig(size=32))
    standard = routes(images, ViewConfig(size=32), standardise=IMAGENET)
    for before, after in zip(plain, standard, strict=True):
        torch.testing.assert_close(after, (before - mean) / std, atol=1e-5, rtol=0)


def moments(views: Tensor) -> dict[str, Tensor]:
    """Of each band: mean, deviation, correlation of neighbours at 1 and 4 px, noise."""
    away = views - views.mean(dim=(0, 2, 3), keepdim=True)
    power = away.square().mean(dim=(0, 2, 3))
    laplace = torch.tensor([[1.0, -2, 1], [-2, 4, -2], [1, -2, 1]]).expand(3, 1, 3, 3)
    rough = torch.nn.functional.conv2d(views, laplace, groups=3)
    return {
        "mean": views.mean(dim=(0, 2, 3)),
        "deviation": power.sqrt(),
        "near": (away[..., 1:] * away[..., :-1]).mean(dim=(0, 2, 3)) / power,
        "far": (away[..., 4:] * away[..., :-4]).mean(dim=(0, 2, 3)) / power,
        "noise": rough.square().mean(dim=(0, 2, 3)).sqrt() / 6,
    }


@pytest.fixture(scope="module")
def galaxies(simulated_galaxies: Path) -> Tensor:
    images = decoded_images(load_dataset(str(simulated_galaxies), split="train"), 64).images
    return torch.from_numpy(np.array(images))


@pytest.mark.parametrize("size", [24, 48])
@pytest.mark.parametrize("noise", [0.0, 0.06])
def test_the_moments_of_both_routes_agree(galaxies: Tensor, size: int, noise: float) -> None:
    """Within a quarter of a grey level, which the rounding explains: it has a deviation of 0.29."""
    config = ViewConfig(size=size, noise=noise)
    found, expected = (moments(views) for views in routes(galaxies, config))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-3, rtol=0)


def test_cpu_tensors_go_through_opencv_and_others_through_torch() -> None:
    images = smooth_images(4, 40, 40, 3)
    config = ViewConfig(size=32)
    options = {"seed": 0, "epoch": 0, "view": 0}
    assert torch.equal(make_views(images, range(4), config, **options), routes(images, config)[0])
    elsewhere = make_views(images.to("meta"), range(4), config, **options)
    assert elsewhere.shape == (4, 3, 32, 32)


def test_views_are_written_where_asked() -> None:
    images = smooth_images(4, 40, 40, 3)
    config = ViewConfig(size=32)
    pair = torch.empty(8, 3, 32, 32).to(memory_format=torch.channels_last)
    for view in (0, 1):
        part = pair[4 * view : 4 * view + 4]
        made = make_views(images, range(4), config, seed=0, epoch=0, view=view, out=part)
        assert made.data_ptr() == part.data_ptr()
        assert torch.equal(part, make_views(images, range(4), config, seed=0, epoch=0, view=view))


@pytest.mark.parametrize(
    "out",
    [torch.empty(2, 3, 16, 16), torch.empty(3, 16, 16, 3).permute(0, 3, 1, 2), torch.empty(1)],
)
def test_memory_of_another_layout_is_refused(out: Tensor) -> None:
    images = torch.zeros(2, 20, 20, 3, dtype=torch.uint8)
    with pytest.raises(ConfigError, match=r"out: .* must be \(2, 3, 16, 16\)"):
        make_views(images, [0, 1], ViewConfig(16), seed=0, epoch=0, view=0, out=out)
