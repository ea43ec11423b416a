"""The tables that Galaxy Zoo released, built and read back: votes and image bytes, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from datasets import Dataset, Image, concatenate_datasets

from gzfound import load_dataset, load_tree
from gzfound.data.build import build_dataset
from gzfound.votes import total_votes, votes_from_columns


def built(output: Path) -> Dataset:
    """All rows of a dataset, images undecoded."""
    splits = load_dataset(output)
    return concatenate_datasets(list(splits.values())).cast_column("image", Image(decode=False))


def test_ferengi_votes_and_images(real_data: Path, tmp_path: Path) -> None:
    """8,306 rows and 56 images, one of which ends too early: 55 galaxies."""
    table, images = (real_data / "votes" / f"gz_hubble_ferengi{e}" for e in (".csv.gz", "_images"))
    output = tmp_path / "out"
    report = build_dataset(table, images, campaign="gz_hubble", output=output)
    assert (report.rows, report.refused, sum(report.written.values())) == (8306, 8251, 55)
    assert sorted(report.reasons.values()) == [1, 8250]
    assert report.absent == ()
    rows = built(output)
    for row in rows:
        assert row["image"]["bytes"] == (images / row["image"]["path"]).read_bytes()
        assert row["image"]["path"] == f"{row['id_str']}.jpg"
    lines = [json.loads(line) for line in Path(f"{output}.refused.jsonl").read_text().splitlines()]
    (broken,) = [line for line in lines if "truncated" in line["reason"]]
    assert broken["id_str"] == "5249ce0c3ae74072a3003b73"


def test_ferengi_votes_alone(real_data: Path, tmp_path: Path) -> None:
    """Every count over its total is the fraction of the table, to the last bit of a float64."""
    path = real_data / "votes" / "gz_hubble_ferengi.csv.gz"
    report = build_dataset(path, campaign="gz_hubble", output=tmp_path / "out")
    assert (report.refused, dict(report.written)) == (0, {"train": 6654, "test": 1652})
    table = pd.read_csv(path, float_precision="round_trip").set_index("subject_id")
    rows = built(tmp_path / "out").remove_columns("image").to_pandas().set_index("id_str")
    assert sorted(rows.index) == sorted(table.index)
    table = table.loc[rows.index]
    pairs = {
        "clumpy-appearance-hubble_yes": ("t14_clumpy_a39_yes_frac", "t14_clumpy_count"),
        "bar-hubble_no": ("t03_bar_a07_no_bar_frac", "t03_bar_count"),
        "clump-count-hubble_1": ("t19_clumps_count_a50_2_frac", "t19_clumps_count_count"),
        "clump-count-hubble_cant-tell": ("t19_clumps_count_a60_1_frac", "t19_clumps_count_count"),
        "clumps-embedded-larger-object-hubble_yes": (
            "t21_clumps_embedded_a57_yes_frac",
            "t21_clumps_embedded_a58_count",
        ),
    }
    for column, (fraction, count) in pairs.items():
        total = table[count].to_numpy()
        exact = np.divide(rows[column], total, out=np.zeros(len(total)), where=total > 0)
        np.testing.assert_array_equal(exact, table[fraction].to_numpy())
    tree = load_tree("gz_hubble")
    votes = votes_from_columns({c: rows[c].to_numpy() for c in tree.columns}, tree)
    assert (total_votes(votes, tree)[:, 0] == 0).sum() == 1682


@pytest.mark.parametrize(("excess", "galaxies"), [(0, 18592), (2, 19761)])
def test_gz2_votes_alone(real_data: Path, tmp_path: Path, excess: int, galaxies: int) -> None:
    """1,169 galaxies have more votes on a question than lead to it, 1,250 times; by 2 at most."""
    path = real_data / "votes" / "gz2_stripe82_coadd.csv.gz"
    output = tmp_path / "out"
    report = build_dataset(path, campaign="gz2", output=output, excess=excess)
    assert sum(report.written.values()) == galaxies
    assert report.refused == 19761 - galaxies
    assert sum(report.reasons.values()) == (1250 if excess == 0 else 0)
    rows = built(output).remove_columns("image").to_pandas().set_index("id_str")
    table = pd.read_csv(path, dtype={"objid": str}).set_index("objid").loc[rows.index]
    for column, source in {
        "smooth-or-featured-gz2_artifact": "t01_smooth_or_features_a03_star_or_artifact_count",
        "bulge-size-gz2_no": "t05_bulge_prominence_a10_no_bulge_count",
        "spiral-arm-count-gz2_more-than-4": "t11_arms_number_a36_more_than_4_count",
        "something-odd-gz2_yes": "t06_odd_a14_yes_count",
        "ra": "ra",
        "sample": "sample",
    }.items():
        assert (rows[column] == table[source]).all(), column


def test_hst_goods_has_no_totals(real_data: Path, tmp_path: Path) -> None:
    """139 images with a fraction but no totals: images and columns, no votes."""
    folder = real_data / "hst_goods"
    report = build_dataset(
        folder / "labels.csv",
        folder / "images",
        campaign="gz_hubble",
        output=tmp_path / "out",
        votes=False,
    )
    assert (report.refused, dict(report.written)) == (0, {"train": 111, "test": 28})
    rows = built(tmp_path / "out")
    table = pd.read_csv(folder / "labels.csv").set_index("file")
    for row in rows:
        name = row["image"]["path"]
        assert row["image"]["bytes"] == (folder / "images" / name).read_bytes()
        assert row["p_features"] == table["p_features"][name]
    assert rows.features["gzh_objno"].dtype == "int64"
