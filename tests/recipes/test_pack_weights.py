"""Packing: half the size, the same embeddings, a card that tells, and no folder of this machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import timm
import torch

from gzfound import embed, load_encoder
from gzfound.data.card import GALAXY_ZOO_REQUEST
from gzfound.models import save_weights
from gzfound.models.checkpoint import load_head, read_config


@pytest.fixture(scope="module")
def script(recipe: Callable[[str], ModuleType]) -> ModuleType:
    return recipe("pack_weights")


@pytest.fixture
def weights(head_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Weights of a run whose data had absolute paths."""
    monkeypatch.setenv("GZFOUND_REAL_DATA", str(tmp_path / "real"))
    encoder = load_encoder(head_weights)
    data = ["runs/simulated", str(tmp_path / "real" / "hst"), str(tmp_path / "mine" / "cutouts")]
    record = {
        "data": ", ".join(data),
        "licence": "cc0-1.0, unknown",
        "recipe": "pretrain_simclr",
        "revision": "abc123",
        "citations": ["SimCLR: Chen et al. 2020, arXiv:2002.05709"],
        "config": {"data": data, "output": str(tmp_path / "run")},
    }
    folder = tmp_path / "run" / "weights"
    head = load_head(head_weights, encoder)
    save_weights(folder, encoder, encoder.transform, record, head=head)
    return folder


@pytest.fixture
def results(weights: Path, tmp_path: Path) -> Path:
    row = {
        "target": "p_features",
        "method": "embedding",
        "galaxies": 139,
        "Spearman": {"value": 0.81834, "low": 0.7225, "high": 0.8587},
        "MAE": {"value": None, "low": None, "high": None},
    }
    table = {"title": "Probes of p_features", "notes": ["5 folds."], "rows": [row]}
    options = {"weights": str(weights), "data": str(tmp_path / "real"), "crop": 0.2}
    path = tmp_path / "R.json"
    path.write_text(
        json.dumps({"hst_goods": table, "configuration": options, "revision": "def456"})
    )
    return path


@pytest.fixture
def arguments(weights: Path, results: Path, simulated_galaxies: Path, tmp_path: Path) -> list[str]:
    return [
        *("--weights", str(weights), "--name", "tiny_one", "--results", str(results)),
        *("--check-data", str(simulated_galaxies), "--galaxies", "20", "--licence", "cc-by-4.0"),
        *("--limits", "Never shown a quasar.", "--output", str(tmp_path / "packaged")),
        *("--data-title", "60 simulated galaxies"),
    ]


def test_the_packed_directory_has_everything_but_folders(
    script: ModuleType,
    arguments: list[str],
    weights: Path,
    simulated_galaxies: Path,
    tmp_path: Path,
) -> None:
    script.main(arguments)
    target = tmp_path / "packaged" / "tiny_one"
    names = {"README.md", "config.json", "head.safetensors", "model.safetensors"}
    assert {path.name for path in target.iterdir()} == names
    for name in ("README.md", "config.json"):
        assert str(tmp_path) not in (target / name).read_text()
    notes = read_config(target)["gzfound"]
    assert notes["config"]["data"] == ["runs/simulated", "$GZFOUND_REAL_DATA/hst", "cutouts"]
    assert notes["data"] == "runs/simulated, $GZFOUND_REAL_DATA/hst, cutouts"
    assert notes["config"]["output"] == "run"
    images = torch.randn(2, 3, 24, 24)
    plain = timm.create_model(f"local-dir:{target}", pretrained=True).eval()
    assert torch.equal(plain(images), load_encoder(target)(images))
    assert notes["packed"]["galaxies"] == 20
    one, other = (
        embed(simulated_galaxies, folder, precision="no").vectors[:20]
        for folder in (weights, target)
    )
    cosines = [
        float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
        for a, b in zip(one, other, strict=True)
    ]
    assert notes["packed"]["cosine_least"] == pytest.approx(min(cosines), abs=1e-6)
    assert notes["packed"]["cosine_mean"] == pytest.approx(np.mean(cosines), abs=1e-6)
    assert 0.999 < min(cosines) < 1, "half precision is not quite the same"


def test_the_card_tells_all_of_it(script: ModuleType, arguments: list[str], tmp_path: Path) -> None:
    script.main(arguments)
    card = (tmp_path / "packaged" / "tiny_one" / "README.md").read_text()
    for said in (
        "license: cc-by-4.0\n",
        "# tiny_one: test_resnet, with a decision-tree head\n",
        "- Trained on: 60 simulated galaxies\n",
        "- Licence of the data: cc0-1.0, unknown\n",
        "- Licence of the weights: cc-by-4.0\n",
        "- Recipe: pretrain_simclr\n",
        "revision abc123\n",
        "- Precision of the file: bf16; the embeddings of 20 galaxies",
        "| target | method | galaxies | Spearman | MAE |\n",
        "| p_features | embedding | 139 | 0.8183 [0.7225, 0.8587] | – |\n",
        "`R.json`: data `$GZFOUND_REAL_DATA`, crop 0.2; revision def456.\n",
        "## Limits\n\nNever shown a quasar.\n",
        GALAXY_ZOO_REQUEST,
        "- SimCLR: Chen et al. 2020",
        'gzfound.load_encoder("tiny_one")',
        'timm.create_model("local-dir:PATH", pretrained=True)',
    ):
        assert said in card, said


def mistake(arguments: list[str], option: str, value: str) -> list[str]:
    place = arguments.index(option) + 1
    return [*arguments[:place], value, *arguments[place + 1 :]]


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--name", "resnet18", "'resnet18' is a model of timm"),
        ("--name", "a/b", "'a/b'; allowed: lower case"),
        ("--limits", "", "limits: missing; pass --limits"),
        ("--weights", "nowhere", "nowhere has no config.json"),
        ("--results", "nowhere.json", "cannot read nowhere.json"),
        ("--results", "OTHER", "is of weights 'W', not"),
        ("--results", "EMPTY", "is no file of benchmarks/linear_probe.py"),
        ("--results", "LIST", "does not say which weights were measured"),
        ("--results", "ROWS", "holds a table that is none"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(
    script: ModuleType,
    arguments: list[str],
    results: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    option: str,
    value: str,
    message: str,
) -> None:
    found: dict[str, Any] = json.loads(results.read_text())
    files = {
        "OTHER": {**found, "configuration": {"weights": "W"}},
        "EMPTY": {"rows": 3},
        "LIST": {**found, "configuration": [1]},
        "ROWS": {**found, "rows": [{"target": 3}]},
    }
    if value in files:
        (tmp_path / "other.json").write_text(json.dumps(files[value]))
        value = str(tmp_path / "other.json")
    with pytest.raises(SystemExit) as caught:
        script.main(mistake(arguments, option, value))
    assert caught.value.code == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1
    assert not (tmp_path / "packaged").exists()


@pytest.mark.parametrize(
    ("limit", "value", "message"),
    [
        ("LARGEST", 2**19, r"MiB in bf16; packaged weights take 0.5 MiB at most"),
        ("LEAST_COSINE", 1.1, "in bf16 the cosine with the float32 embeddings falls to 0.99"),
    ],
)
def test_weights_that_are_too_large_or_too_coarse_are_refused(
    script: ModuleType,
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    limit: str,
    value: float,
    message: str,
) -> None:
    monkeypatch.setattr(script, limit, value)
    with pytest.raises(SystemExit):
        script.main(arguments)
    assert message in capsys.readouterr().err
    assert not (tmp_path / "packaged").exists()
