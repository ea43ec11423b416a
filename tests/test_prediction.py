"""Predictions: what the columns mean, and from images to a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from scipy import stats

from gzfound import WeightsError, embed, load_dataset, load_encoder, load_tree, predict
from gzfound.models.checkpoint import load_head
from gzfound.prediction import outputs_of, prediction_table

TREE = load_tree("gz_hubble")


@pytest.fixture(scope="module")
def concentrations() -> np.ndarray:
    """Of 20 galaxies, at least 0.5: a Beta distribution less skewed has its mean inside 5-95 %."""
    draw = np.random.default_rng(0)
    return draw.gamma(2.0, 4.0, size=(20, len(TREE.columns))).astype(np.float32) + 0.5


@pytest.fixture(scope="module")
def table(concentrations: np.ndarray) -> dict[str, np.ndarray]:
    found = prediction_table([f"g{i}" for i in range(20)], concentrations, TREE)
    return {name: found.column(name).to_numpy() for name in found.column_names}


def test_the_columns_are_those_of_the_tree(table: dict[str, np.ndarray]) -> None:
    """1 id + 13 questions x 2 + 40 answers x 3 for gz_hubble."""
    assert table["id_str"].tolist() == [f"g{i}" for i in range(20)]
    expected = {"id_str"}
    for question in TREE.questions:
        expected |= {f"{question.name}_asked", f"{question.name}_concentration"}
        for column in question.columns:
            expected |= {column, f"{column}_low", f"{column}_high"}
    assert set(table) == expected
    assert len(table) == 1 + 2 * len(TREE.questions) + 3 * len(TREE.columns)
    assert {values.dtype for name, values in table.items() if name != "id_str"} == {
        np.dtype(np.float32)
    }


def test_fractions_are_those_of_the_concentrations(
    table: dict[str, np.ndarray], concentrations: np.ndarray
) -> None:
    """The mean of a Dirichlet is a / sum(a), and its total concentration is sum(a)."""
    for question in TREE.questions:
        part = concentrations[:, TREE.slices[question.name]].astype(np.float64)
        total = part.sum(axis=1)
        fractions = np.stack([table[column] for column in question.columns], axis=1)
        np.testing.assert_allclose(fractions, part / total[:, None], rtol=1e-5)
        np.testing.assert_allclose(fractions.sum(axis=1), 1.0, rtol=1e-5)
        np.testing.assert_allclose(table[f"{question.name}_concentration"], total, rtol=1e-5)


def test_intervals_are_central_and_contain_the_fraction(
    table: dict[str, np.ndarray], concentrations: np.ndarray
) -> None:
    """One answer of a Dirichlet is Beta(a, sum(a) - a): 5 % below, 5 % above."""
    for question in TREE.questions:
        part = concentrations[:, TREE.slices[question.name]].astype(np.float64)
        for number, column in enumerate(question.columns):
            a, b = part[:, number], part.sum(axis=1) - part[:, number]
            low, high = table[f"{column}_low"], table[f"{column}_high"]
            np.testing.assert_allclose(stats.beta.cdf(low, a, b), 0.05, atol=1e-4)
            np.testing.assert_allclose(stats.beta.cdf(high, a, b), 0.95, atol=1e-4)
            assert ((low < table[column]) & (table[column] < high)).all(), column


def test_asked_follows_the_tree(table: dict[str, np.ndarray]) -> None:
    """Written out by hand for gz_hubble; bulge-size follows spiral no, or any arm count."""
    smooth, features = (table[f"smooth-or-featured-hubble_{a}"] for a in ("smooth", "features"))
    clumpy, plain = (table[f"clumpy-appearance-hubble_{a}"] for a in ("yes", "no"))
    edge_on, face_on = (table[f"disk-edge-on-hubble_{a}"] for a in ("yes", "no"))
    spiral = table["has-spiral-arms-hubble_yes"]
    expected = {
        "smooth-or-featured": np.ones(20),
        "how-rounded": smooth,
        "clumpy-appearance": features,
        "clump-count": features * clumpy,
        "galaxy-symmetrical": features * clumpy,
        "disk-edge-on": features * plain,
        "bulge-shape": features * plain * edge_on,
        "bar": features * plain * face_on,
        "spiral-winding": features * plain * face_on * spiral,
        "bulge-size": features * plain * face_on,
    }
    for name, asked in expected.items():
        np.testing.assert_allclose(table[f"{name}-hubble_asked"], asked, rtol=1e-5, err_msg=name)


def test_from_images_to_a_table(
    simulated_galaxies: Path, head_weights: Path, tmp_path: Path
) -> None:
    output = tmp_path / "p.parquet"
    found = predict(simulated_galaxies, head_weights, output=output, precision="no", split="test")
    assert found.column("id_str").to_pylist() == list(
        load_dataset(str(simulated_galaxies), split="test")["id_str"]
    )
    assert pq.read_table(output).equals(found)
    encoder = load_encoder(head_weights)
    embeddings = embed(simulated_galaxies, encoder, precision="no", split="test")
    head = load_head(head_weights, encoder)
    with torch.inference_mode():
        raw = head(torch.from_numpy(embeddings.vectors)).numpy()
    np.testing.assert_array_equal(raw, outputs_of(head, embeddings.vectors))
    by_hand = prediction_table(embeddings.ids, raw, TREE)
    assert by_hand.schema.equals(found.schema)
    for name in found.column_names[1:]:
        np.testing.assert_allclose(found.column(name), by_hand.column(name), rtol=1e-5)
    smooth = found.column("smooth-or-featured-hubble_smooth").to_numpy()
    assert isinstance(found, pa.Table)
    assert smooth.std() > 1e-3, "galaxies must differ, or the test is empty"


def test_weights_without_a_head_are_refused(
    simulated_galaxies: Path, encoder_weights: Path, tmp_path: Path
) -> None:
    output = tmp_path / "p.parquet"
    with pytest.raises(WeightsError, match="has no head; fine-tune it first"):
        predict(simulated_galaxies, encoder_weights, output=output)
    assert not output.exists()
