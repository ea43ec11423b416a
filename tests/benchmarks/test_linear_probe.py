"""The benchmark script, on a folder of images and on a dataset with votes."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

import gzfound
from gzfound.models import EncoderTransform, create_encoder, save_weights

ROOT = Path(__file__).parents[2]
GALAXIES = 60


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = ROOT / "benchmarks" / "linear_probe.py"
    specification = importlib.util.spec_from_file_location("linear_probe", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["linear_probe"] = module  # dataclasses look their module up
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "W"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_weights(folder, create_encoder("resnet10t"), EncoderTransform(32), {})
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Discs whose radius is the target, the class, and the share of smooth votes."""
    folder = tmp_path_factory.mktemp("data")
    draw = np.random.default_rng(0)
    y, x = np.mgrid[:32, :32] - 15.5
    columns = gzfound.load_tree("gz_hubble").columns
    lines = [",".join(["file", "radius", "kind", *columns])]
    for number in range(GALAXIES):
        radius = draw.uniform(2, 14)
        disc = 200 * (np.hypot(x, y) < radius) + draw.normal(20, 5, (32, 32))
        pixels = np.repeat(np.clip(disc, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
        Image.fromarray(pixels).save(folder / f"g{number}.png")
        smooth = draw.binomial(40, radius / 16)
        votes = [smooth, 40 - smooth, *[0] * (len(columns) - 2)]
        kind = "large" if radius > 8 else "small"
        lines.append(",".join(map(str, [f"g{number}.png", radius, kind, *votes])))
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def run(script: ModuleType, weights: Path, data: Path, output: Path, *options: str) -> dict:
    common = ["--weights", str(weights), "--data", str(data), "--output", str(output)]
    script.main([*common, "--resamples", "100", "--components", "8", *options])
    return json.loads(output.read_text(encoding="utf-8"))


def test_questions(script: ModuleType, weights: Path, data: Path, tmp_path: Path) -> None:
    found = run(
        script, weights, data, tmp_path / "R.json", "--questions", "smooth-or-featured-hubble"
    )
    rows = {row["method"]: row for row in found["rows"]}
    assert set(rows) == {"embedding", "untrained encoder", "pixel PCA", "constant"}
    assert rows["pixel PCA"]["skill"]["value"] > 0.5
    assert rows["constant"]["RMSE floor"]["value"] < rows["constant"]["RMSE"]["value"]
    assert {item["less"] for item in found["differences"]} == set(rows) - {"embedding"}
    assert torch.__version__.startswith(found["versions"]["torch"])
    assert {"machine", "revision", "configuration", "command", "penalties"} <= set(found)
    assert [path.name for path in tmp_path.iterdir()] == ["R.json"]


def test_number_and_class_targets(
    script: ModuleType, weights: Path, data: Path, tmp_path: Path
) -> None:
    found = run(script, weights, data, tmp_path / "R.json", "--target", "radius", "--folds", "3")
    rows = {row["method"]: row for row in found["rows"]}
    assert rows["pixel PCA"]["Spearman"]["value"] > 0.8
    assert rows["constant"]["Spearman"]["value"] is None
    assert len(found["folds"]["embedding"]["Spearman"]) == 3
    found = run(script, weights, data, tmp_path / "R.json", "--target", "kind", "--folds", "3")
    rows = {row["method"]: row for row in found["rows"]}
    assert rows["pixel PCA"]["accuracy"]["value"] > 0.8


def test_the_same_seed_gives_the_same_numbers(
    script: ModuleType, weights: Path, data: Path, tmp_path: Path
) -> None:
    first, second = (
        run(script, weights, data, tmp_path / name, "--target", "radius")["rows"]
        for name in ("A.json", "B.json")
    )
    assert first == second


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give either --questions Q1,Q2 (or all) or --target COLUMN"),
        (["--target", "colour"], "there is no column 'colour'; the columns are"),
        (["--questions", "bar"], "'bar' is not a question of gz_hubble; allowed: smooth-or"),
    ],
)
def test_mistakes_end_in_one_line(
    script: ModuleType,
    weights: Path,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    with pytest.raises(SystemExit):
        run(script, weights, data, tmp_path / "R.json", *options)
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "R.json").exists()


def test_real_hubble_galaxies(
    script: ModuleType, weights: Path, real_data: Path, tmp_path: Path
) -> None:
    """139 galaxies with a vote fraction: pixels alone correlate by 0.3 to 0.75."""
    table = real_data / "hst_goods" / "labels.csv"
    found = run(script, weights, table, tmp_path / "R.json", "--target", "p_features")
    rows = {row["method"]: row for row in found["rows"]}
    assert rows["pixel PCA"]["galaxies"] == 139
    assert 0.3 < rows["pixel PCA"]["Spearman"]["value"] < 0.75
