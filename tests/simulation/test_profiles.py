"""Profiles against closed forms: total flux, half-light radius, shape, arms, blur."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import gammaincinv
from torch import Tensor

from gzfound.simulation import profiles
from gzfound.simulation.colour import band_weights, lupton_rgb
from gzfound.simulation.psf import FWHM, gaussian_blur, telescope_blur
from gzfound.simulation.spirals import DiskPlane, arm_contrast, arm_phase

STEP = 0.05
ZERO, ONE = torch.tensor(0.0), torch.tensor(1.0)


def plane(half: float = 30.0, step: float = STEP) -> tuple[Tensor, Tensor]:
    steps = torch.arange(-half + 0.5 * step, half, step, dtype=torch.float64)
    return steps[None, :], steps[:, None]


def flux(light: Tensor, step: float = STEP) -> float:
    return float(light.sum()) * step * step


@pytest.mark.parametrize("index", [1.0, 1.5, 2.0, 4.0, 6.0])
def test_sersic_b_halves_the_light(index: float) -> None:
    """b_n solves gamma(2n, b) = Gamma(2n) / 2, which scipy inverts."""
    ours = float(profiles.sersic_b(torch.tensor(index, dtype=torch.float64)))
    assert ours == pytest.approx(gammaincinv(2.0 * index, 0.5), rel=1e-4)


@pytest.mark.parametrize(("index", "ratio"), [(1.0, 1.0), (1.0, 0.3), (2.5, 0.6), (0.7, 0.8)])
def test_sersic_holds_unit_flux_and_half_within_its_effective_radius(
    index: float, ratio: float
) -> None:
    x, y = plane()
    q = torch.tensor(ratio, dtype=torch.float64)
    r = profiles.elliptical_radius(x, y, q, ZERO)
    light = profiles.sersic(r, torch.tensor(2.0), torch.tensor(index), q)
    assert flux(light) == pytest.approx(1.0, abs=0.01)
    assert flux(light * (r < 2.0)) == pytest.approx(0.5, abs=0.01)


def test_exponential_is_sersic_one() -> None:
    """At n = 1, b = 1.67835: scale length = effective radius / 1.67835."""
    r = torch.linspace(0.1, 10.0, 50, dtype=torch.float64)
    wanted = profiles.sersic(r, torch.tensor(1.67835), ONE, torch.tensor(0.5))
    ours = profiles.exponential(r, ONE, torch.tensor(0.5))
    assert torch.allclose(ours, wanted, rtol=1e-3)


def test_edge_on_disk_has_unit_flux_and_a_sech_squared_edge() -> None:
    """sech^2(1) = 0.41997 at one scale height."""
    x, y = plane()
    light = profiles.edge_on_disk(x, y, torch.tensor(2.0), torch.tensor(0.4))
    assert flux(light) == pytest.approx(1.0, abs=0.005)
    heights = profiles.edge_on_disk(ONE, torch.tensor([0.0, 0.4]), torch.tensor(2.0), 0.4 * ONE)
    assert float(heights[1] / heights[0]) == pytest.approx(1.0 / math.cosh(1.0) ** 2, rel=1e-4)


def test_bar_ring_and_clump_have_unit_flux() -> None:
    x, y = plane()
    q = torch.tensor(0.4, dtype=torch.float64)
    assert flux(profiles.bar(x, y, 3.0 * ONE, q)) == pytest.approx(1.0, abs=1e-3)
    r = profiles.elliptical_radius(x, y, q, ZERO)
    assert flux(profiles.ring(r, 6.0 * ONE, 0.8 * ONE, q)) == pytest.approx(1.0, abs=1e-3)
    assert flux(profiles.gaussian(x, y, ONE)) == pytest.approx(1.0, abs=1e-3)


def test_boxy_radius_runs_from_ellipse_to_box() -> None:
    """On the diagonal x = y/q = 1: r = sqrt(2) for an ellipse, and 2^(1/4) for x^4 + y^4."""
    point, q = torch.tensor(1.0), torch.tensor(0.5)
    round_r = profiles.boxy_radius(point, q * point, q, ZERO, ZERO)
    boxy_r = profiles.boxy_radius(point, q * point, q, ONE, ZERO)
    assert float(round_r) == pytest.approx(math.sqrt(2.0), rel=1e-6)
    assert float(boxy_r) == pytest.approx(2.0**0.25, rel=1e-6)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("pitch", [12.0, -30.0])
def test_arms_are_counted_by_the_azimuthal_fourier_mode(count: int, pitch: float) -> None:
    """Around a circle exp(k cos(m t)) has modes m, 2m, ...: the strongest is m, the mean is 1."""
    angle = torch.arange(720, dtype=torch.float64) * (2.0 * math.pi / 720)
    radius = torch.full_like(angle, 1.7)
    circle = DiskPlane.of(radius * torch.cos(angle), radius * torch.sin(angle), ZERO)
    phase = arm_phase(circle, torch.tensor(count), torch.deg2rad(torch.tensor(pitch)), ZERO)
    contrast = arm_contrast(phase, 2.0 * ONE).numpy()
    modes = np.abs(np.fft.rfft(contrast))
    assert modes[1:].argmax() + 1 == count
    assert contrast.mean() == pytest.approx(1.0, abs=1e-6)


def test_arms_wind_at_their_pitch() -> None:
    """On a ridge of pitch p, angle = log(r) / tan(p): the phase stays 0 along it."""
    pitch = torch.tensor(math.radians(20.0))
    radius = torch.linspace(0.9, 1.3, 9)
    angle = torch.log(radius) / torch.tan(pitch)
    ridge = DiskPlane.of(radius * torch.cos(angle), radius * torch.sin(angle), ZERO)
    phase = arm_phase(ridge, torch.tensor(2), pitch, ZERO)
    assert torch.allclose(torch.cos(phase), torch.ones(9), atol=1e-4)


def test_blur_keeps_flux_and_adds_variances() -> None:
    """A Gaussian of sigma 3 blurred by sigma 4 has sigma 5."""
    side = 97
    steps = torch.arange(side, dtype=torch.float32) - side // 2
    image = profiles.gaussian(steps[None, :], steps[:, None], torch.tensor(3.0))[None, None]
    blurred = gaussian_blur(image, torch.tensor([4.0]))[0, 0]
    assert float(blurred.sum()) == pytest.approx(1.0, abs=1e-3)
    variance = float((blurred.sum(0) * steps**2).sum() / blurred.sum())
    assert variance == pytest.approx(25.0, rel=0.02)


def test_telescope_blur_keeps_flux_and_width() -> None:
    """Without wings, a point of one pixel gets the telescope's FWHM (plus the pixel's own 1/12)."""
    image = torch.zeros(2, 3, 96, 96)
    image[:, :, 48, 48] = 1.0
    pixel = torch.tensor([0.05, 0.025])[:, None, None]
    winged = telescope_blur(image, 0.2, 0.25, 3.5, pixel)
    assert torch.allclose(winged.sum((2, 3)), torch.ones(2, 3), atol=2e-3)
    core = telescope_blur(image, 0.2, 0.0, 3.5, pixel)
    steps = torch.arange(96.0) - 48.0
    for row, size in enumerate((0.05, 0.025)):
        variance = float((core[row, 0].sum(0) * steps**2).sum())
        assert variance == pytest.approx((0.2 / FWHM / size) ** 2 + 1.0 / 12.0, rel=0.03)


def test_stretch_keeps_colour_and_never_overflows() -> None:
    """Above the sky's pedestal, the ratio red : blue of a bright pixel is that of the bands."""
    colour = torch.tensor(1.0)[None, None, None]
    bands = 800.0 * band_weights(colour).expand(1, 3, 2, 2)
    picture = lupton_rgb(bands, 270.0)[0, 0, 0].float()
    wanted = 10.0**0.4
    assert float(picture[0] - 8.0) / float(picture[2] - 5.5) == pytest.approx(wanted, rel=0.05)
    brightest = lupton_rgb(bands * 1e4, 270.0)[0, 0, 0]
    assert brightest[0] == 255
    assert brightest[2] < 255
