"""Every campaign has a telescope; the same galaxies can be looked at through each of them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from gzfound.errors import ConfigError
from gzfound.simulation import read_truth, sample_population, simulate_dataset
from gzfound.simulation.latents import GALAXY
from gzfound.simulation.population import seen_with
from gzfound.simulation.render import render
from gzfound.simulation.telescope import (
    list_telescopes,
    selection_of,
    sources_of,
    telescope_for,
)
from gzfound.simulation.volunteers import answer_probabilities, vote
from gzfound.trees import list_trees, load_tree
from gzfound.trees.loading import campaigns_of

DOCS = Path(__file__).parents[2] / "docs" / "campaigns.md"
DISTINCT = (
    "gz2",
    "gz_desi",
    "gz_ukidss",
    "gz_h2o",
    "gz_euclid",
    "gz_hubble",
    "gz_candels",
    "gz_jwst",
)


def test_every_campaign_has_a_telescope() -> None:
    """All trees but GZ Evo's, which is several telescopes at once."""
    assert set(list_telescopes()) == set(list_trees()) - {"gz_evo"}
    with pytest.raises(
        ConfigError, match=r"'gz_evo' cannot be simulated; allowed: gz2, gz_candels"
    ):
        telescope_for("gz_evo")
    assert telescope_for("gz_desi_dr5") == telescope_for("gz_desi")
    assert len({telescope_for(name) for name in DISTINCT}) == len(DISTINCT) == 8


@pytest.mark.parametrize("campaign", DISTINCT)
def test_the_table_in_the_docs_is_that_of_the_code(campaign: str) -> None:
    """Every number with its source, row by row."""
    telescope, selection, sources = (
        telescope_for(campaign),
        selection_of(campaign),
        sources_of(campaign),
    )
    shown = {
        "bands": ", ".join(telescope.bands),
        "pixel_scale": f"{telescope.pixel_scale}",
        "psf_fwhm": f"{telescope.psf_fwhm}",
        "depth": f"{telescope.depth}",
        "faintest": f"{selection.faintest}",
        "typical_redshift": f"{selection.typical_redshift}",
    }
    assert set(sources) == set(shown)
    lines = DOCS.read_text(encoding="utf-8").splitlines()
    for name, value in shown.items():
        assert f"| `{campaign}` | {name} | {value} | {sources[name]} |" in lines


@pytest.mark.parametrize("campaign", DISTINCT)
def test_galaxies_are_seen_and_answered(campaign: str) -> None:
    """Pictures are neither black nor burnt out, and the tree of the campaign gets votes."""
    telescope, tree = telescope_for(campaign), load_tree(campaign)
    latents = sample_population(np.arange(32), 5, campaign)
    images = render(latents, 48, telescope, 5).numpy()
    levels = images.reshape(32, -1).astype(float)
    assert (levels.std(axis=1) > 2).all()
    assert 3 < np.median(levels) < 60
    centre = images[:, 20:28, 20:28].mean(axis=(1, 2, 3))
    edge = images[:, :4].mean(axis=(1, 2, 3))
    assert np.mean(centre[latents.kind == GALAXY] > edge[latents.kind == GALAXY] + 10) > 0.8
    votes = vote(latents, telescope, tree, 5)
    first = votes[:, tree.slices[tree.questions[0].name]].sum(axis=1)
    assert (first > 0).all()


def test_the_redshift_of_cosmic_dawn_is_the_published_median() -> None:
    """0.42 for the galaxies of Galaxy Zoo: Cosmic Dawn (Pearson et al. 2025)."""
    latents = sample_population(np.arange(4000), 0, "gz_h2o")
    assert np.median(latents.redshift[latents.kind == GALAXY]) == pytest.approx(0.42, abs=0.03)


def test_the_same_galaxies_through_another_telescope() -> None:
    """Only the signal to noise changes; a telescope sees its own galaxies as it always did."""
    drawn = sample_population(np.arange(200), 1, "gz_h2o")
    own = seen_with(drawn, telescope_for("gz_h2o"))
    other = seen_with(drawn, telescope_for("gz2", "gz_h2o"))
    for name, values in drawn.to_columns().items():
        np.testing.assert_array_equal(own.to_columns()[name], values)
        same = np.array_equal(other.to_columns()[name], values)
        assert same == (name != "signal_to_noise")
    assert (other.signal_to_noise < own.signal_to_noise).all()


def test_a_blunter_telescope_hides_arms_from_volunteers() -> None:
    """Arms of the same spirals are seen less often through 1.3 arcsec than through 0.16."""
    drawn = sample_population(np.arange(600), 2, "gz_h2o")
    spirals = drawn[np.flatnonzero(drawn.arm_strength > 0.5)]
    seen = []
    for campaign in ("gz_euclid", "gz2"):
        telescope = telescope_for(campaign, "gz_h2o")
        tree = load_tree("gz2")
        chances = answer_probabilities(seen_with(spirals, telescope), telescope, tree)
        seen.append(chances[:, tree.columns.index("has-spiral-arms-gz2_yes")].mean())
    assert len(spirals) > 50
    assert seen[0] > seen[1] + 0.1


def test_a_dataset_of_another_campaigns_galaxies(tmp_path: Path) -> None:
    """Galaxy n is the same in both; image, votes and tree are of the telescope's campaign."""
    options = {"galaxies": 20, "image_size": 16, "seed": 4, "threads": 1}
    one = simulate_dataset(tmp_path / "one", campaign="gz_euclid", **options)
    two = simulate_dataset(
        tmp_path / "two", campaign="gz_ukidss", population="gz_euclid", **options
    )
    (ids, first, _), (others, second, chances) = read_truth(one), read_truth(two)
    assert others == [name.replace("gz_euclid", "gz_ukidss") for name in ids]
    np.testing.assert_array_equal(first.redshift, second.redshift)
    np.testing.assert_array_equal(first.effective_radius, second.effective_radius)
    assert (first.signal_to_noise != second.signal_to_noise).all()
    assert set(chances) == set(load_tree("gz_ukidss").columns)
    card = (two / "README.md").read_text()
    assert "--campaign gz_ukidss --population gz_euclid" in card
    own = (one / "README.md").read_text()
    assert not re.search("hubble", card + own, re.I), "another campaign's name"


def test_members_of_gz_desi_are_simulated_alone_or_together() -> None:
    assert campaigns_of("gz_desi") == ("gz_desi_dr12", "gz_desi_dr5", "gz_desi_dr8")
    latents = sample_population(np.arange(8), 0, "gz_desi")
    votes = vote(latents, telescope_for("gz_desi"), load_tree("gz_desi"), 0)
    assert (votes.sum(axis=1) > 0).all()
