"""The population: reproducible galaxy by galaxy, and physically sensible."""

from __future__ import annotations

import numpy as np
import pytest

from gzfound.errors import ConfigError
from gzfound.simulation.latents import GALAXY, Latents
from gzfound.simulation.population import sample_population
from gzfound.simulation.telescope import telescope_for

IDS = np.arange(6000)


@pytest.fixture(scope="module")
def latents() -> Latents:
    return sample_population(IDS, seed=2)


def test_a_galaxy_does_not_depend_on_its_batch(latents: Latents) -> None:
    few = sample_population([17, 4000], seed=2)
    for name, column in few.to_columns().items():
        np.testing.assert_array_equal(column, latents.to_columns()[name][[17, 4000]])


def test_seeds_and_campaigns_differ(latents: Latents) -> None:
    other = sample_population(IDS, seed=3)
    assert not np.array_equal(other.redshift, latents.redshift)
    nearby = sample_population(IDS, seed=2, campaign="gz2")
    assert np.median(nearby.redshift) < 0.2 < np.median(latents.redshift)


def test_unknown_campaign_names_the_allowed_ones() -> None:
    allowed = "gz2, gz_candels, gz_desi, .*gz_hubble, gz_jwst, gz_ukidss$"
    with pytest.raises(ConfigError, match=rf"campaign: 'gz_moon' .* allowed: {allowed}"):
        sample_population(IDS, seed=0, campaign="gz_moon")


def test_columns_round_trip_and_rows_can_be_taken(latents: Latents) -> None:
    again = Latents.from_columns(latents.to_columns())
    assert len(again[10:20]) == 10
    np.testing.assert_array_equal(again[latents.kind > 0].kind, latents.kind[latents.kind > 0])


def test_every_value_is_finite_and_in_range(latents: Latents) -> None:
    columns = latents.to_columns()
    assert len(columns) > 20
    for name, column in columns.items():
        assert np.isfinite(column.astype(float)).all(), name
    fractions = ("axis_ratio", "bulge_fraction", "arm_strength", "clump_strength", "ring_strength")
    for name in (*fractions, "bar_strength", "disturbance", "bulge_boxiness", "companion_flux"):
        column = columns[name].astype(float)
        assert column.min() >= 0.0, name
        assert column.max() <= 1.0, name
    assert (latents.pitch_angle >= 8).all()
    assert (latents.pitch_angle <= 40).all()
    assert (latents.clump_count >= 1).all()
    assert (latents.signal_to_noise > 0).all()


def test_disks_are_seen_from_random_sides(latents: Latents) -> None:
    """cos(inclination) is uniform: mean 1/2, and a fifth of disks below 0.2 (error 0.006)."""
    cosine = np.cos(latents.inclination[latents.is_disk])
    assert cosine.mean() == pytest.approx(0.5, abs=0.02)
    assert (cosine < 0.2).mean() == pytest.approx(0.2, abs=0.025)


def test_the_mix_of_features(latents: Latents) -> None:
    galaxy = latents.kind == GALAXY
    disk = latents.is_disk
    assert 0.9 < galaxy.mean() < 0.97
    assert 0.55 < disk[galaxy].mean() < 0.8
    assert 0.2 < (latents.bar_strength > 0)[disk].mean() < 0.45
    armed = latents.arm_strength > 0
    assert (latents.arm_count[armed] == 2).mean() > 0.5
    assert not armed[~disk].any()


def test_clumps_are_commoner_far_away_and_faint_galaxies_noisier(latents: Latents) -> None:
    disk = latents.is_disk
    clumpy = latents.clump_strength > 0
    near, far = disk & (latents.redshift < 0.4), disk & (latents.redshift > 1.0)
    assert near.sum() > 200
    assert far.sum() > 200
    assert clumpy[far].mean() > 2.0 * clumpy[near].mean()
    faint, bright = latents.magnitude > 23.0, latents.magnitude < 21.0
    snr = latents.signal_to_noise
    assert np.median(snr[bright]) > 3.0 * np.median(snr[faint])


def test_signal_to_noise_is_sky_limited_when_faint() -> None:
    """A magnitude is a factor 10^0.4 in flux, and in signal to noise where the sky dominates."""
    telescope = telescope_for("gz_hubble")
    magnitude, radius = np.array([26.0, 27.0]), np.array([0.5, 0.5])
    snr = telescope.signal_to_noise(magnitude, radius)
    assert snr[0] / snr[1] == pytest.approx(10**0.4, rel=0.02)
