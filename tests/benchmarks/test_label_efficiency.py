"""The script, on galaxies whose votes follow their size."""

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
QUESTION = "smooth-or-featured-hubble"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = ROOT / "benchmarks" / "label_efficiency.py"
    specification = importlib.util.spec_from_file_location("label_efficiency", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["label_efficiency"] = module  # dataclasses look their module up
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Weights that know nothing, and sixty discs whose radius is the share of smooth votes."""
    folder = tmp_path_factory.mktemp("efficiency")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_weights(folder / "W", create_encoder("resnet10t"), EncoderTransform(32), {})
    draw = np.random.default_rng(0)
    columns = gzfound.load_tree("gz_hubble").columns
    y, x = np.mgrid[:32, :32] - 15.5
    lines = [",".join(["file", *columns])]
    (folder / "D").mkdir()
    for number in range(60):
        radius = draw.uniform(2, 14)
        disc = np.repeat(np.where(np.hypot(x, y) < radius, 200, 20)[..., None], 3, axis=2)
        Image.fromarray(disc.astype(np.uint8)).save(folder / "D" / f"g{number}.png")
        smooth = draw.binomial(40, radius / 16)
        votes = [smooth, 40 - smooth, *[0] * (len(columns) - 2)]
        lines.append(",".join(map(str, [f"g{number}.png", *votes])))
    (folder / "D" / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [
        *("--weights", str(folder / "W"), "--data", str(folder / "D"), "--questions", QUESTION),
        *("--baselines", "constant,pixels", "--components", "4", "--draws", "2"),
    ]


def test_files_and_their_numbers(script: ModuleType, options: list[str], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    output = tmp_path / "R.json"
    script.main([*options, "--shares", "0.01", "0.3", "1", "--output", str(output)])
    found = json.loads(output.read_text(encoding="utf-8"))
    skill = {(row["method"], row["share"]): row["skill"]["mean"] for row in found["rows"]}
    assert list(skill) == [(m, s) for s in (0.3, 1) for m in ("embedding", "pixel PCA", "constant")]
    assert skill["pixel PCA", 1] > max(0.5, skill["constant", 1])
    assert "left out" in found["notes"][1]
    assert {"machine", "revision", "configuration", "command"} <= set(found)
    assert "| smooth-or-featured-hubble | embedding |" in (tmp_path / "R.md").read_text()
    with Image.open(tmp_path / "R.png") as picture:
        assert picture.format == "PNG"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["R.json", "R.md", "R.png"]


def test_mistakes_end_in_one_line(
    script: ModuleType, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for output, message in (("R.csv", "allowed: a name that ends in .json"), ("", "--output is")):
        with pytest.raises(SystemExit):
            script.main([*options, "--output", output])
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
