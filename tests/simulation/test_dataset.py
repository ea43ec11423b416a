"""Simulated datasets: the hub's layout, the card's columns, the same bytes from the same seed."""

from __future__ import annotations

import io
from pathlib import Path

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from gzfound.errors import ConfigError
from gzfound.simulation import dataset
from gzfound.simulation.dataset import encode_jpeg, read_truth, simulate_dataset
from gzfound.simulation.population import sample_population
from gzfound.simulation.telescope import telescope_for
from gzfound.simulation.volunteers import answer_probabilities, vote
from gzfound.trees import load_tree
from gzfound.votes import check_votes, votes_from_columns

GALAXIES, SIZE, SEED = 60, 24, 4

HUBBLE_QUESTIONS = (
    "smooth-or-featured",
    "how-rounded",
    "clumpy-appearance",
    "clump-count",
    "disk-edge-on",
    "bulge-shape",
    "bar",
    "has-spiral-arms",
    "spiral-winding",
    "spiral-arm-count",
    "bulge-size",
    "galaxy-symmetrical",
    "clumps-embedded-larger-object",
)
"""In the order of the card of mwalmsley/gz_hubble."""


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("simulated") / "out"
    return simulate_dataset(output, galaxies=GALAXIES, image_size=SIZE, seed=SEED, threads=1)


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_datasets_opens_it_and_ignores_the_truth(simulated: Path) -> None:
    """A hash puts each of 60 galaxies into test with chance 0.2: 12 give or take 3.1, 4 sigma."""
    loaded = datasets.load_dataset(str(simulated))
    assert set(loaded) == {"train", "test"}
    assert len(loaded["train"]) + len(loaded["test"]) == GALAXIES
    assert abs(len(loaded["test"]) - 12) <= 12
    assert loaded["train"][0]["image"].size == (SIZE, SIZE)
    names = [*loaded["train"]["id_str"], *loaded["test"]["id_str"]]
    assert len(set(names)) == GALAXIES
    tiny = datasets.load_dataset(str(simulated), "tiny", split="test")
    assert set(tiny["id_str"]) <= set(loaded["test"]["id_str"])
    assert len(tiny) == 8
    assert "redshift" not in loaded["train"].column_names


def test_columns_are_those_of_the_published_card(simulated: Path) -> None:
    matter = yaml.safe_load((simulated / "README.md").read_text().split("---\n")[1])
    default, tiny = (info["features"] for info in matter["dataset_info"])
    names = [feature["name"] for feature in default]
    assert names[:4] == ["image", "id_str", "ra", "dec"]
    assert [feature["dtype"] for feature in default[:4]] == [
        "image",
        "string",
        "float64",
        "float64",
    ]
    assert {feature["dtype"] for feature in default[4:]} == {"int32"}
    questions = list(dict.fromkeys(name.split("_")[0] for name in names[4:]))
    assert questions == [f"{question}-hubble" for question in HUBBLE_QUESTIONS]
    assert tuple(names[4:]) == load_tree("gz_hubble").columns
    assert [f["name"] for f in tiny] == [*names[:2], "dataset_name", *names[2:]]


def test_card_says_that_it_is_simulated_and_how(simulated: Path) -> None:
    text = (simulated / "README.md").read_text()
    assert "**These galaxies are simulated**" in text
    assert (
        "gzfound simulate OUT --galaxies 60 --image-size 24 --seed 4 --campaign gz_hubble" in text
    )
    assert "cc0-1.0" in text
    assert "2017MNRAS.464.4176W" in text


def test_rows_agree_with_the_truth(simulated: Path) -> None:
    tree = load_tree("gz_hubble")
    ids, latents, chances = read_truth(simulated)
    expected = sample_population(np.arange(GALAXIES), SEED, "gz_hubble")
    for name, column in expected.to_columns().items():
        np.testing.assert_array_equal(latents.to_columns()[name], column)
    truth = answer_probabilities(latents, telescope_for("gz_hubble"), tree)
    assert list(chances) == list(tree.columns)
    np.testing.assert_array_equal(np.stack(list(chances.values()), axis=1), truth)
    table = datasets.concatenate_datasets(list(datasets.load_dataset(str(simulated)).values()))
    rows = [ids.index(name) for name in table["id_str"]]
    votes = votes_from_columns({name: table[name][:] for name in tree.columns}, tree)
    np.testing.assert_array_equal(
        votes, vote(latents, telescope_for("gz_hubble"), tree, SEED)[rows]
    )
    assert check_votes(votes, tree) == []


def test_bytes_do_not_depend_on_batches_or_threads(
    simulated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "BATCH", 13)
    again = simulate_dataset(
        tmp_path / "again", galaxies=GALAXIES, image_size=SIZE, seed=SEED, threads=3
    )
    assert contents(again) == contents(simulated)
    other = simulate_dataset(tmp_path / "other", galaxies=GALAXIES, image_size=SIZE, seed=5)
    images = [
        pq.read_table(next((folder / "data").glob("train-*")), columns=["image"])
        for folder in (simulated, other)
    ]
    assert not images[0].slice(0, 5).equals(images[1].slice(0, 5))


def test_more_galaxies_keep_the_first_ones(simulated: Path, tmp_path: Path) -> None:
    """Galaxies are numbered, so a larger data set of one seed begins with the smaller one."""
    larger = simulate_dataset(tmp_path / "larger", galaxies=70, image_size=SIZE, seed=SEED)
    first, second = (
        pq.read_table(next((folder / "data").glob("train-*"))) for folder in (simulated, larger)
    )
    assert second.slice(0, len(first)).equals(first)


def test_another_campaign_has_its_own_columns(tmp_path: Path) -> None:
    seen: list[int] = []
    output = simulate_dataset(
        tmp_path / "gz2",
        galaxies=40,
        image_size=16,
        campaign="gz2",
        progress=seen.append,
    )
    assert seen == [32, 8]
    train = datasets.load_dataset(str(output), split="train")
    assert tuple(train.column_names[4:]) == load_tree("gz2").columns
    assert all(-90 <= dec <= 90 for dec in train["dec"])


def test_jpeg_keeps_the_colours() -> None:
    """A smooth ramp of red over blue comes back within 8 grey levels a channel."""
    image = np.zeros((32, 32, 3), np.uint8)
    image[..., 0] = np.linspace(0, 200, 32)[None, :]
    image[..., 2] = np.linspace(50, 150, 32)[:, None]
    back = np.asarray(Image.open(io.BytesIO(encode_jpeg(image))))
    assert np.abs(back.astype(int) - image).mean() < 8


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("galaxies", 5),
        ("image_size", 4),
        ("seed", -1),
        ("threads", 0),
    ],
)
def test_options_out_of_range_are_named(option: str, value: int, tmp_path: Path) -> None:
    options = {"galaxies": 30, "image_size": 16, option: value}
    with pytest.raises(ConfigError, match=f"{option} {value} is out of range"):
        simulate_dataset(tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []


def test_unknown_campaign_and_used_output(tmp_path: Path, simulated: Path) -> None:
    with pytest.raises(ConfigError, match="gz_nowhere"):
        simulate_dataset(tmp_path / "out", galaxies=30, image_size=16, campaign="gz_nowhere")
    with pytest.raises(ConfigError, match="is not empty"):
        simulate_dataset(simulated, galaxies=30, image_size=16)
    with pytest.raises(ConfigError, match=r"no truth\.parquet"):
        read_truth(tmp_path)
