"""A head for the packaged encoder: packed in half precision, described, and what predict takes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

import gzfound
from gzfound import load_encoder, load_tree, predict
from gzfound.cli import main
from gzfound.models import TreeHead, encoder_features, save_weights
from gzfound.models.checkpoint import read_config
from gzfound.models.heads import ClassHead
from gzfound.models.packing import halve_weights

NAME = "tiny_one"
TREE = load_tree("gz_hubble")


@pytest.fixture(scope="module")
def script(recipe: Callable[[str], ModuleType]) -> ModuleType:
    return recipe("pack_weights")


@pytest.fixture
def packaged(encoder_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package whose only weights, the default, have no head."""
    folder = tmp_path / "packaged"
    notes = {"name": NAME, "data": "none", "weights_licence": "cc0-1.0", "limits": "Untrained."}
    notes |= {"citations": ["Of the encoder"]}
    halve_weights(encoder_weights, folder / NAME, "bf16", notes)
    monkeypatch.setattr("gzfound.weights.FOLDER", folder)
    monkeypatch.setattr("gzfound.weights.DEFAULT", NAME)
    return folder


def save_run(
    folder: Path, encoder: torch.nn.Module, head: Any, transform: Any | None = None
) -> None:
    """What a fine-tuning run leaves: weights with a head, and the metrics of its test split."""
    options = {"data": ["runs/galaxies"], "test_split": "test", "tune": "head"}
    record = {"data": "runs/galaxies", "licence": "cc-by-4.0", "recipe": "finetune_tree"}
    record |= {"config": options, "revision": "abc123", "version": "0.1.0"}
    record |= {"citations": ["Of the encoder", "Of the head"]}
    save_weights(folder / "weights", encoder, transform or encoder.transform, record, head=head)
    row = {"target": "bar-hubble", "method": "model", "galaxies": 12, "RMSE": None}
    row["RMSE"] = {"value": 0.25, "low": 0.2, "high": 0.3}
    table = {"title": "Predicted vote fractions", "notes": [], "rows": [row]}
    (folder / "metrics.json").write_text(json.dumps({**table, "coverage_level": 0.9}))


@pytest.fixture
def run(packaged: Path, tmp_path: Path) -> Path:
    """A head of random weights on the packaged encoder, as finetune_tree.py leaves it."""
    encoder = load_encoder(packaged / NAME)
    head = TreeHead(encoder_features(encoder), TREE)
    generator = torch.Generator().manual_seed(1)
    for layer in (head.answers, head.totals):
        torch.nn.init.normal_(layer.weight, std=0.1, generator=generator)
    save_run(tmp_path / "run", encoder, head)
    return tmp_path / "run"


@pytest.fixture
def arguments(run: Path, packaged: Path, simulated_galaxies: Path) -> list[str]:
    return [
        *("--weights", str(run / "weights"), "--name", NAME, "--head-only"),
        *("--check-data", str(simulated_galaxies), "--galaxies", "20", "--licence", "cc-by-4.0"),
        *("--results", str(run / "metrics.json"), "--limits", "Fitted to twelve galaxies."),
        *("--data-title", "12 galaxies with votes", "--output", str(packaged)),
    ]


def test_the_head_is_added_and_the_encoder_stays(
    script: ModuleType, arguments: list[str], packaged: Path, run: Path, capsys: Any
) -> None:
    before = (packaged / NAME / "model.safetensors").read_bytes()
    notes = read_config(packaged / NAME)["gzfound"]
    script.main(arguments)
    assert (packaged / NAME / "model.safetensors").read_bytes() == before
    kinds = {
        v.dtype for v in load_file(packaged / NAME / "head.safetensors").values() if v.ndim > 1
    }
    assert kinds == {torch.bfloat16}
    found = read_config(packaged / NAME)["gzfound"]
    assert {name: found[name] for name in notes} == notes
    assert found["head"]["columns"] == list(TREE.columns)
    head = found["head_notes"]
    assert head["packed"]["galaxies"] == 20
    assert head["recipe"] == "finetune_tree"
    assert "cosine" not in capsys.readouterr().out, "the encoder is the same"
    card = (packaged / NAME / "README.md").read_text()
    for said in (
        "license: other\n",
        f"# {NAME}: test_resnet, with a decision-tree head\n",
        "- Licence of the weights: cc0-1.0\n",
        "## Limits\n\nUntrained.\n",
        "## The head\n",
        "- Trained on: 12 galaxies with votes\n",
        "- Licence of the head: cc-by-4.0\n",
        "- Recipe: finetune_tree\n",
        "revision abc123\n",
        "| bar-hubble | model | 12 | 0.2500 [0.2000, 0.3000] |\n",
        "`metrics.json`: data `runs/galaxies, split test`; revision abc123.",
        "Limits: Fitted to twelve galaxies.\n",
        "\n\n- Of the encoder\n- Of the head\n\n",
        f'predictions = gzfound.predict("cutouts", "{NAME}")',
    ):
        assert said in card, said


def test_predict_then_needs_nothing_but_a_folder(
    script: ModuleType,
    arguments: list[str],
    packaged: Path,
    run: Path,
    simulated_galaxies: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Before it there is one line; after it, what the float32 head predicts, nearly."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        main(["predict", str(simulated_galaxies)])
    assert caught.value.code == 2
    assert capsys.readouterr().err == (
        f"error: weights: those that ship with the package ({NAME}) have no head to predict with; "
        "name the weights directory of a fine-tuning run\n"
    )
    assert gzfound.list_weights(head=True) == ()
    script.main(arguments)
    assert gzfound.list_weights(head=True) == gzfound.list_weights() == (NAME,)
    main(["predict", str(simulated_galaxies)])
    main(["weights"])
    assert f"{NAME}  test_resnet, encoder and head  " in capsys.readouterr().out
    written = pq.read_table("predictions.parquet")
    assert written.num_rows == 60
    packed, whole = (
        predict(simulated_galaxies, weights, precision="no") for weights in (None, run / "weights")
    )
    one, other = (np.stack([t[c].to_numpy() for c in TREE.columns]) for t in (packed, whole))
    most = np.abs(one - other).max()
    assert 0 < most <= script.MOST_DIFFERENCE
    assert one.std(axis=1).max() > 0.01, "galaxies must differ, or the test is empty"
    found = read_config(packaged / NAME)["gzfound"]["head_notes"]["packed"]
    assert 0 < found["fraction_difference"] <= most + 1e-6, "of the first 20 galaxies"


def test_a_second_name_with_a_head_is_the_default_of_predict_alone(
    packaged: Path,
    run: Path,
    simulated_galaxies: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A directory of the same name beside the images changes nothing: none was named."""
    halve_weights(run / "weights", packaged / "tuned", "bf16")
    assert gzfound.list_weights() == (NAME, "tuned")
    assert gzfound.list_weights(head=True) == ("tuned",)
    assert gzfound.weights.find_head(None) == packaged / "tuned"
    assert gzfound.weights.find_weights(None) == packaged / NAME
    main(["weights"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[-1] for line in lines] == ["(default)", "(default of predict)"]
    chosen, named = (predict(simulated_galaxies, w, precision="no") for w in (None, "tuned"))
    assert chosen.equals(named)


def test_packaged_weights_with_a_head_go_through_the_same_recipe(
    script: ModuleType, arguments: list[str], packaged: Path, run: Path
) -> None:
    """Of a whole fine-tuned network, fractions are held against float32 too."""
    place = arguments.index("--name")
    whole = [*arguments[:place], "--name", "tuned", *arguments[place + 3 :]]
    script.main(whole)
    packed = read_config(packaged / "tuned")["gzfound"]["packed"]
    assert packed["fraction_difference"] > 0
    assert packed["cosine_least"] > 0.999
    card = (packaged / "tuned" / "README.md").read_text()
    assert "the expected vote fractions of 20 galaxies differ from those of the float32" in card


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("encoder", f"has not the encoder and the input of {NAME}; fit the head with"),
        ("crop", f"has not the encoder and the input of {NAME}; fit the head with"),
        ("class", "is no decision tree"),
        ("none", "has no head; fine-tune it first"),
        ("coarse", "in bf16 an expected fraction is off by 0."),
        ("others", "packaged weights take 1 MiB at most in all, and others take 0.7"),
        ("name", "nowhere' is no directory, no packaged name (tiny_one)"),
    ],
)
def test_what_does_not_fit_is_one_line_and_changes_nothing(
    script: ModuleType,
    arguments: list[str],
    packaged: Path,
    run: Path,
    encoder_weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: str,
    message: str,
) -> None:
    encoder = load_encoder(packaged / NAME, crop=0.3 if change == "crop" else None)
    head: Any = TreeHead(encoder_features(encoder), TREE)
    if change == "encoder":
        encoder = load_encoder(encoder_weights)
    if change == "class":
        head = ClassHead(encoder_features(encoder), "kind", ["a", "b"])
    if change in ("encoder", "crop", "class", "none"):
        save_run(run, encoder, None if change == "none" else head)
    if change == "coarse":
        monkeypatch.setattr(script, "MOST_DIFFERENCE", 1e-9)
    if change == "others":
        halve_weights(encoder_weights, packaged / "other", "bf16")
        size = sum(path.stat().st_size for path in (packaged / NAME).iterdir())
        assert size < 2**20 < 2 * size
        monkeypatch.setattr(script, "LARGEST", 2**20)
    if change == "name":
        arguments[arguments.index("--name") + 1] = "nowhere"
    before = {path: path.read_bytes() for path in packaged.rglob("*") if path.is_file()}
    with pytest.raises(SystemExit) as caught:
        script.main(arguments)
    assert caught.value.code == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1
    assert {path: path.read_bytes() for path in packaged.rglob("*") if path.is_file()} == before
