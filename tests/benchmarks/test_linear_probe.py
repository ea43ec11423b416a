"""The benchmark script, on a folder of images and on a dataset with votes."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

import gzfound
from gzfound.errors import DataError
from gzfound.evaluation import methods
from gzfound.evaluation.sample import load_sample
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
    chosen = [] if "--baselines" in options else ["--baselines", "constant,untrained,pixels"]
    script.main([*common, *chosen, "--resamples", "100", "--components", "8", *options])
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


def test_other_weights_see_the_galaxies_at_their_own_size(
    script: ModuleType, weights: Path, data: Path, tmp_path: Path
) -> None:
    """The same encoder that takes 16 pixels is another method; its embeddings are those of
    ``gzfound.embed``, which decodes at its size, and not those of images made for the first."""
    other = tmp_path / "small"
    save_weights(other, gzfound.load_encoder(weights), EncoderTransform(16, crop=0.8), {})
    config = script.ProbeConfig(weights=str(weights), also=str(other), data=str(data))
    encoders = methods.load_encoders(config)
    sample = load_sample(config, 32, 1.0)
    found = methods.method_embeddings(config, encoders, sample, ())
    assert list(found) == ["embedding", str(other)]
    expected = gzfound.embed(data, other, split="train", precision="no")
    assert expected.ids == sample.ids
    np.testing.assert_allclose(found[str(other)], expected.vectors, rtol=1e-3, atol=1e-3)
    options = ["--target", "radius", "--baselines", "none", "--also", str(other)]
    table = run(script, weights, data, tmp_path / "R.json", *options)
    assert {row["method"] for row in table["rows"]} == {"embedding", str(other)}


def test_a_name_with_a_comma_is_one_dataset_where_it_is_there(
    script: ModuleType, data: Path, tmp_path: Path
) -> None:
    """Otherwise the names between the commas are those of datasets."""
    (tmp_path / "one,two").symlink_to(data)
    sample = load_sample(script.ProbeConfig(data=str(tmp_path / "one,two")), 8, 1.0)
    assert len(sample.ids) == len(load_sample(script.ProbeConfig(data=str(data)), 8, 1.0).ids)
    with pytest.raises(DataError, match=f"{tmp_path}/none: no such folder"):
        load_sample(script.ProbeConfig(data=f"{tmp_path}/none,{data}"), 8, 1.0)
    with pytest.raises(DataError, match="no such folder"):
        load_sample(script.ProbeConfig(data=",".join(["none"] * 99)), 8, 1.0)


def test_morphology_is_a_method_like_any_other(
    script: ModuleType,
    weights: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Five numbers of which the first is the share of bright pixels, and one galaxy failed."""

    def measure(images: Iterable[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float64]:
        found = np.array([[(image > 100).mean(), 0, 0, 0, 0] for image in images])
        found[3] = np.nan
        return found

    monkeypatch.setattr(methods, "measure_morphology", measure)
    options = ["--questions", "smooth-or-featured-hubble", "--baselines", "morphology"]
    found = run(script, weights, data, tmp_path / "R.json", *options)
    rows = {row["method"]: row for row in found["rows"]}
    assert list(rows) == ["embedding", "morphology"]
    assert rows["morphology"]["skill"]["value"] > 0.8
    assert {item["less"] for item in found["differences"]} == {"morphology"}


def test_without_statmorph_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(methods.importlib.util, "find_spec", lambda name: None)
    assert methods.chosen_baselines("all") == ("constant", "untrained", "pixels")
    said = capsys.readouterr().err
    assert "pip install 'gzfound[morphology]'" in said
    assert said.count("\n") == 1
    monkeypatch.setattr(methods.importlib.util, "find_spec", lambda name: name)
    assert methods.chosen_baselines("all") == tuple(methods.BASELINES)
    assert capsys.readouterr().err == ""


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
        (["--target", "radius", "--baselines", "pca"], "baselines: 'pca' is unknown; allowed: con"),
        (["--target", "radius", "--also", "resnet0"], "weights: 'resnet0' is no directory"),
        (["--target", "radius", "--also", "pixel PCA"], "also: 'pixel PCA' is a method already"),
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
