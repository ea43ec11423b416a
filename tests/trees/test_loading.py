"""Every campaign loads, with the published columns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import gzfound
from gzfound import list_trees, load_tree
from gzfound.errors import ConfigError

SIZES = {
    "gz2": (10, 30),
    "gz_candels": (11, 32),
    "gz_desi": (30, 98),
    "gz_desi_dr12": (10, 30),
    "gz_desi_dr5": (10, 34),
    "gz_desi_dr8": (10, 34),
    "gz_euclid": (13, 46),
    "gz_evo": (74, 230),
    "gz_h2o": (13, 45),
    "gz_hubble": (13, 40),
    "gz_jwst": (12, 39),
    "gz_ukidss": (10, 30),
}
"""Questions and answers, counted in the published column lists."""

HUBBLE_CARD = """
smooth-or-featured_smooth smooth-or-featured_features smooth-or-featured_artifact
how-rounded_completely how-rounded_in-between how-rounded_cigar-shaped
clumpy-appearance_yes clumpy-appearance_no
clump-count_1 clump-count_2 clump-count_3 clump-count_4 clump-count_5-plus clump-count_cant-tell
disk-edge-on_yes disk-edge-on_no
bulge-shape_rounded bulge-shape_boxy bulge-shape_none
bar_yes bar_no has-spiral-arms_yes has-spiral-arms_no
spiral-winding_tight spiral-winding_medium spiral-winding_loose
spiral-arm-count_1 spiral-arm-count_2 spiral-arm-count_3 spiral-arm-count_4
spiral-arm-count_5-plus spiral-arm-count_cant-tell
bulge-size_none bulge-size_just-noticeable bulge-size_obvious bulge-size_dominant
galaxy-symmetrical_yes galaxy-symmetrical_no
clumps-embedded-larger-object_yes clumps-embedded-larger-object_no
"""
"""The order of the vote columns on the dataset card of mwalmsley/gz_hubble, less the suffix."""


def test_every_campaign_is_listed() -> None:
    assert list_trees() == tuple(sorted(SIZES))


@pytest.mark.parametrize("name", sorted(SIZES))
def test_sizes(name: str) -> None:
    tree = load_tree(name)
    assert (len(tree.questions), len(tree.columns)) == SIZES[name]
    assert tree.name == name


def test_hubble_columns_are_those_of_the_dataset_card() -> None:
    card = tuple(name.replace("_", "-hubble_") for name in HUBBLE_CARD.split())
    assert load_tree("gz_hubble").columns == card


@pytest.mark.parametrize(
    ("union", "members"),
    [
        ("gz_desi", ["gz_desi_dr12", "gz_desi_dr5", "gz_desi_dr8"]),
        ("gz_evo", ["gz2", "gz_desi", "gz_candels", "gz_hubble", "gz_ukidss"]),
    ],
)
def test_unions_are_their_members_one_after_another(union: str, members: list[str]) -> None:
    joined = tuple(question for name in members for question in load_tree(name).questions)
    assert load_tree(union).questions == joined


def test_loading_twice_gives_the_same_object() -> None:
    assert load_tree("gz_hubble") is gzfound.trees.load_tree("gz_hubble")


def test_an_unknown_name_is_answered_with_the_closest_and_with_all() -> None:
    with pytest.raises(ConfigError, match=r"'gz_hubbel'; did you mean gz_hubble") as error:
        load_tree("gz_hubbel")
    assert all(name in str(error.value) for name in SIZES)
    assert "\n" not in str(error.value)


def test_every_data_file_says_where_its_tree_comes_from() -> None:
    files = sorted((Path(gzfound.trees.__file__).parent / "campaigns").glob("*.json"))
    assert len(files) == len(SIZES)
    for file in files:
        content = json.loads(file.read_text(encoding="utf-8"))
        assert content["title"].startswith("Galaxy Zoo"), file.name
        assert "flow" in content["source"] or "union_of" in content or "same_as" in content
