"""Pictures: the same for a galaxy in any batch, and shaped as the latents say."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from gzfound.errors import ConfigError
from gzfound.simulation.latents import ARTIFACT, GALAXY, STAR, Latents
from gzfound.simulation.noise import NOISE_MARGIN, add_noise, white_noise
from gzfound.simulation.population import sample_population
from gzfound.simulation.render import render
from gzfound.simulation.telescope import telescope_for

HUBBLE = telescope_for("gz_hubble")
QUIET = dataclasses.replace(HUBBLE, neighbour_density=0.0)


@pytest.fixture(scope="module")
def latents() -> Latents:
    return sample_population(np.arange(40), seed=6)


def plain(count: int, **changes: float | int | bool) -> Latents:
    """``count`` bright, smooth, round ellipticals with ``changes``."""
    base = sample_population(np.arange(1000, 1000 + count), seed=1)
    fixed = {name: 0.0 for name in dataclasses.asdict(base) if name.endswith("_strength")} | {
        "kind": GALAXY,
        "is_disk": False,
        "magnitude": 18.5,
        "signal_to_noise": 3000.0,
        "effective_radius": 0.8,
        "axis_ratio": 1.0,
        "inclination": 0.0,
        "position_angle": 0.0,
        "bulge_fraction": 1.0,
        "bulge_sersic": 1.0,
        "bulge_boxiness": 0.0,
        "disturbance": 0.0,
        "companion_flux": 0.0,
        "clump_strength": 0.0,
        "colour": 0.5,
    }
    values = base.to_columns()
    for name, value in (fixed | changes).items():
        values[name] = np.full(count, value, dtype=values[name].dtype)
    return Latents.from_columns(values)


def axis_ratio_and_angle(picture: torch.Tensor) -> tuple[float, float]:
    """From second moments of the light within the outline at a third of the peak."""
    light = picture.float().sum(-1).numpy()
    outline = (light > light.max() / 3.0).astype(float)
    y, x = np.mgrid[: len(light), : len(light)] - (len(light) - 1) / 2.0
    x, y = x - (outline * x).sum() / outline.sum(), y - (outline * y).sum() / outline.sum()
    matrix = np.array(
        [[(outline * x * x).sum(), (outline * x * y).sum()], [0.0, (outline * y * y).sum()]]
    )
    matrix[1, 0] = matrix[0, 1]
    values, vectors = np.linalg.eigh(matrix)
    angle = np.arctan2(vectors[1, 1], vectors[0, 1]) % np.pi
    return float(np.sqrt(values[0] / values[1])), float(angle)


@pytest.mark.parametrize("image_size", [128, 75, 40])
def test_a_picture_does_not_depend_on_its_batch(latents: Latents, image_size: int) -> None:
    together = render(latents, image_size, HUBBLE, seed=6)
    assert together.shape == (40, image_size, image_size, 3)
    assert together.dtype == torch.uint8
    for size in (1, 7):
        parts = [
            render(latents[start : start + size], image_size, HUBBLE, seed=6)
            for start in range(0, 40, size)
        ]
        assert torch.equal(torch.cat(parts), together)
    backwards = render(latents[np.arange(39, -1, -1)], image_size, HUBBLE, seed=6)
    assert torch.equal(backwards.flip(0), together)


def test_seed_and_galaxy_change_the_picture(latents: Latents) -> None:
    ours, other = (render(latents[:4], 64, HUBBLE, seed=seed) for seed in (6, 7))
    assert (ours != other).float().mean() > 0.3
    assert not torch.equal(ours[0], ours[1])


def test_no_galaxies_and_tiny_pictures(latents: Latents) -> None:
    assert render(latents[:0], 32, HUBBLE, seed=0).shape == (0, 32, 32, 3)
    with pytest.raises(ConfigError, match="image_size: 8 is too small"):
        render(latents, 8, HUBBLE, seed=0)


@pytest.mark.parametrize("ratio", [0.9, 0.6, 0.4])
def test_an_elliptical_has_its_axis_ratio_and_angle(ratio: float) -> None:
    picture = render(plain(1, axis_ratio=ratio, position_angle=0.7), 128, QUIET, seed=1)[0]
    measured, angle = axis_ratio_and_angle(picture)
    assert measured == pytest.approx(ratio, abs=0.04)
    assert angle == pytest.approx(0.7, abs=0.1)


@pytest.mark.parametrize("inclination", [0.3, 0.9, 1.2])
def test_an_inclined_disk_is_foreshortened(inclination: float) -> None:
    """A disk of thickness 0.15: q^2 = 0.15^2 + (1 - 0.15^2) cos^2(i), Hubble 1926."""
    disk = plain(6, is_disk=True, bulge_fraction=0.0, inclination=inclination)
    wanted = np.sqrt(0.0225 + 0.9775 * np.cos(inclination) ** 2)
    pictures = render(disk, 128, QUIET, seed=1)
    measured = [axis_ratio_and_angle(picture)[0] for picture in pictures]
    assert np.median(measured) == pytest.approx(wanted, abs=0.08)


def test_edge_on_disks_are_thin() -> None:
    disk = plain(4, is_disk=True, bulge_fraction=0.0, inclination=np.pi / 2)
    ratios = [axis_ratio_and_angle(picture)[0] for picture in render(disk, 128, QUIET, seed=1)]
    assert max(ratios) < 0.35


@pytest.mark.parametrize("count", [2, 3, 4])
def test_arms_of_a_picture_are_counted_by_azimuthal_modes(count: int) -> None:
    """The summed power of mode m around rings of the disk peaks at the number of arms."""
    spiral = plain(
        12, is_disk=True, bulge_fraction=0.1, arm_strength=1.0, arm_count=count, pitch_angle=25.0
    )
    light = render(spiral, 128, QUIET, seed=1).float().sum(-1).numpy()
    angle = np.arange(256) * (2.0 * np.pi / 256)
    power = np.zeros(9)
    for radius in np.arange(12.0, 30.0):
        x = np.rint(63.5 + radius * np.cos(angle)).astype(int)
        y = np.rint(63.5 + radius * np.sin(angle)).astype(int)
        ring = light[:, y, x]
        modes = np.abs(np.fft.rfft(ring / ring.mean(1, keepdims=True), axis=1)) ** 2
        power += modes[:, :9].sum(0)
    assert power[1:].argmax() + 1 == count


def test_clumps_and_companions_add_peaks() -> None:
    """Three separate clumps in a line leave more light off the centre than a smooth disk."""
    disk = {"is_disk": True, "bulge_fraction": 0.0, "clump_arrangement": 1, "clump_count": 3}
    smooth, clumpy = (
        render(plain(6, clump_strength=strength, **disk), 128, QUIET, seed=1).float().sum(-1)
        for strength in (0.0, 0.45)
    )
    along = clumpy[:, 60:68].mean(1) / (smooth[:, 60:68].mean(1) + 1.0)
    assert float(along.amax(1).median()) > 1.2
    alone, paired = (
        render(plain(6, companion_flux=flux), 128, QUIET, seed=1).float().sum((1, 2, 3))
        for flux in (0.0, 0.8)
    )
    assert bool((paired > 1.1 * alone).all())


def test_faint_galaxies_are_smaller_and_lost_in_noise() -> None:
    """Both pictures show the same sky; 5 magnitudes fainter is 1 % of the light."""
    bright, faint = (
        render(plain(2, magnitude=magnitude), 64, QUIET, seed=1).float()[:, 28:36, 28:36].mean()
        for magnitude in (19.0, 24.0)
    )
    assert float(bright) > 3.0 * float(faint)


def test_red_galaxies_are_red() -> None:
    red, blue = (render(plain(1, colour=c), 64, QUIET, seed=1)[0, 32, 32] for c in (1.5, -0.8))
    assert red[0] > 2 * red[2]
    assert blue[2] > blue[0]


def test_stars_and_artifacts_are_painted_where_galaxies_are_not() -> None:
    star = render(plain(3, kind=STAR, magnitude=19.0), 96, QUIET, seed=1)
    assert int(star[:, 46:50, 46:50].amax()) == 255
    junk = render(plain(24, kind=ARTIFACT), 96, QUIET, seed=1).float()
    black = (junk.amax(-1) == 0).float().mean((1, 2))
    assert int((black > 0.1).sum()) >= 3
    assert float(junk.amax()) == 255.0


def test_noise_has_the_variance_asked_for_and_neighbouring_pixels_agree() -> None:
    """Empty sky: sigma = sky / pixel in the middle band; resampling correlates neighbours."""
    white = white_noise(np.arange(4), 3, 128 + 2 * NOISE_MARGIN, torch.device("cpu"))
    pixel = torch.full((4, 1, 1), 0.03)
    sky = torch.full((4, 1, 1), 2.0)
    noise = add_noise(torch.zeros(4, 3, 128, 128), white, sky, pixel, HUBBLE)
    assert float(noise[:, 1].std()) == pytest.approx(2.0 / 0.03, rel=0.02)
    middle = noise[:, 1] / noise[:, 1].std()
    neighbours = float((middle[:, 1:] * middle[:, :-1]).mean())
    assert 0.2 < neighbours < 0.7
