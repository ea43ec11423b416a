"""Fine-tuning on a column of classes or of numbers, end to end on sixty galaxies."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file

from gzfound import load_dataset, load_encoder, predict
from gzfound.errors import WeightsError
from gzfound.models.checkpoint import load_head
from gzfound.training.galaxies import labelled_rows
from gzfound.training.telemetry import read_metrics

SMALL = [
    *("--views.size", "24", "--image-size", "32", "--epochs", "2", "--batch-size", "16"),
    *("--precision", "no", "--optim.learning-rate", "0.01", "--head-epochs", "2"),
]


@pytest.fixture(scope="module")
def labelled(simulated_galaxies: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Galaxies with a brightness of the image, in odd units, and a class that follows it.

    Of the training galaxies, the first three have no labels and the fourth alone is 'odd'.
    """
    data = tmp_path_factory.mktemp("labelled") / "galaxies" / "data"
    data.mkdir(parents=True)
    for split in ("train", "test"):
        galaxies = load_dataset(simulated_galaxies, split=split)
        light = [1e6 + 10 * float(np.asarray(image).mean()) for image in galaxies["image"]]
        names = ["bright" if value > np.median(light) else "faint" for value in light]
        if split == "train":
            light[:3], names[:4] = [None] * 3, [None, "", None, "odd"]
        whole = galaxies.select_columns(["image", "id_str"])
        whole = whole.add_column("light", light).add_column("kind", names)
        whole.to_parquet(data / f"{split}-00000-of-00001.parquet")
    return data.parent


@pytest.fixture
def finetune(
    recipe: Callable[[str], ModuleType], labelled: Path, encoder_weights: Path, tmp_path: Path
) -> Callable[..., Path]:
    """Run a recipe with more options and return the folder of the run."""

    def run(name: str, *options: str, output: str = "run") -> Path:
        data = ["--data", str(labelled), "--weights", str(encoder_weights)]
        arguments = [*SMALL, *data, "--output", str(tmp_path / output), *options]
        recipe(name).main(arguments)
        return tmp_path / output

    return run


def metrics_of(run: Path) -> dict[str, dict[str, dict[str, float]]]:
    rows = json.loads((run / "metrics.json").read_text())["rows"]
    return {row["method"]: row for row in rows}


def test_a_classifier_from_labels_to_probabilities(
    finetune: Callable[..., Path], labelled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Probabilities add up to 1, the largest names the class, and the metrics follow from it."""
    run = finetune("finetune_classifier", "--target", "kind")
    training = len(load_dataset(labelled, split="train"))
    assert f"3 of {training} galaxies have no kind: left out" in capsys.readouterr().out
    head = load_head(run / "weights", load_encoder(run / "weights"))
    assert head.classes == ("bright", "faint", "odd")
    table = pq.read_table(run / "predictions.parquet")
    columns = [f"kind_{name}" for name in head.classes]
    assert table.column_names == ["id_str", "kind", *columns]
    chances = np.stack([table[name].to_numpy() for name in columns], axis=1)
    np.testing.assert_allclose(chances.sum(axis=1), 1, rtol=1e-5)
    named = table["kind"].to_pylist()
    assert named == [head.classes[k] for k in chances.argmax(axis=1)]
    truth = load_dataset(labelled, split="test")["kind"][:]
    found = metrics_of(run)
    right = np.mean([a == b for a, b in zip(named, truth, strict=True)])
    assert found["model"]["accuracy"]["value"] == pytest.approx(right)
    assert found["model"]["accuracy"]["low"] <= right <= found["model"]["accuracy"]["high"]
    assert found["constant"]["mean recall"]["value"] == pytest.approx(0.5), "one of two classes"
    again = predict(labelled, run / "weights", split="test", precision="no")
    assert again.column_names == table.column_names
    assert again["kind"].to_pylist() == named


def test_a_regression_from_labels_to_numbers(finetune: Callable[..., Path], labelled: Path) -> None:
    """Numbers of a million are learned as well as any, and come back in their units."""
    learn = ["--epochs", "30", "--tune", "head", "--dropout", "0", "--optim.learning-rate", "0.03"]
    run = finetune("finetune_regressor", "--target", "light", *learn)
    train, test = (load_dataset(labelled, split=s)["light"][:] for s in ("train", "test"))
    head = load_head(run / "weights", load_encoder(run / "weights"))
    assert head.mean == pytest.approx(np.mean(train[3:]), rel=1e-12)
    assert head.std == pytest.approx(np.std(train[3:]), rel=1e-9)
    table = pq.read_table(run / "predictions.parquet")
    assert table.column_names == ["id_str", "light"]
    found = metrics_of(run)
    errors = np.abs(table["light"].to_numpy() - np.array(test))
    assert found["model"]["MAE"]["value"] == pytest.approx(errors.mean(), rel=1e-6)
    constant = np.abs(np.median(train[3:]) - np.array(test)).mean()
    assert found["constant"]["MAE"]["value"] == pytest.approx(constant, rel=1e-6)
    assert found["constant"]["Spearman"]["value"] is None
    first = read_metrics(run / "metrics.jsonl", "step")[0]["loss"]
    assert first == pytest.approx(1, abs=0.7), "standardised numbers, a head that says the mean"
    epochs = read_metrics(run / "metrics.jsonl", "epoch")
    assert epochs[-1]["loss"] < 0.7 * epochs[0]["loss"]
    assert found["model"]["MAE"]["value"] < constant
    again = predict(labelled, run / "weights", split="test", precision="no")
    np.testing.assert_allclose(again["light"], table["light"], rtol=1e-7)


def test_a_share_of_the_labels_is_learned(finetune: Callable[..., Path], labelled: Path) -> None:
    """Mean and deviation are those of the galaxies that the run may know of."""
    options = ["--target", "light", "--tune", "head", "--epochs", "1", "--labelled", "0.5"]
    run = finetune("finetune_regressor", *options, "--batch-size", "4")
    train = load_dataset(labelled, split="train")
    light = [train["light"][row] for row in labelled_rows(train["id_str"][:], 0.5, seed=0)]
    head = load_head(run / "weights", load_encoder(run / "weights"))
    known = [value for value in light if value is not None]
    assert head.mean == pytest.approx(np.mean(known), rel=1e-12)
    assert 0 < len(light) < len(train)


def test_an_interrupted_classifier_resumes_to_the_same_bits(
    finetune: Callable[..., Path],
    recipe: Callable[[str], ModuleType],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = ["finetune_classifier", "--target", "kind", "--tune", "head"]
    whole = finetune(*options, output="whole")
    steps = len(read_metrics(whole / "metrics.jsonl", "step")) // 2
    from gzfound.finetuning.validation import Validation

    calls, score = 0, Validation.__call__

    def interrupted(*args: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return score(*args)

    with monkeypatch.context() as patch:
        patch.setattr(Validation, "__call__", interrupted)
        with pytest.raises(KeyboardInterrupt):
            finetune(*options, output="cut")
    finetune(*options, "--resume", output="cut")
    assert len(read_metrics(whole.parent / "cut" / "metrics.jsonl", "step")) == 2 * steps
    one, other = (
        load_file(whole.parent / n / "weights/head.safetensors") for n in ("whole", "cut")
    )
    assert one.keys() == other.keys()
    assert all((one[name] == other[name]).all() for name in one)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("finetune_classifier", [], "target: name the column to learn"),
        ("finetune_classifier", ["--target", "kinds"], "did you mean 'kind'?"),
        ("finetune_regressor", ["--target", "zzz"], "no column 'zzz' in split 'test'; there are"),
        ("finetune_regressor", ["--target", "kind"], "kind: it must hold numbers"),
    ],
)
def test_mistakes_end_in_one_line_before_training(
    finetune: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    options: list[str],
    message: str,
) -> None:
    with pytest.raises(SystemExit) as caught:
        finetune(name, *options)
    assert caught.value.code == 2
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert message in shown
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_a_head_of_an_unknown_kind_is_refused(finetune: Callable[..., Path]) -> None:
    run = finetune("finetune_classifier", "--target", "kind", "--tune", "head", "--epochs", "1")
    path = run / "weights" / "config.json"
    config = json.loads(path.read_text())
    encoder = load_encoder(run / "weights")
    for head, message in (({"kind": "oracle"}, "kind 'oracle'; allowed"), ({}, "has no head")):
        config["gzfound"]["head"] = head
        path.write_text(json.dumps(config))
        with pytest.raises(WeightsError, match=message):
            load_head(run / "weights", encoder)
    config["gzfound"]["head"] = {"kind": "class", "target": "kind"}
    path.write_text(json.dumps(config))
    with pytest.raises(WeightsError, match="the head has no 'classes'"):
        load_head(run / "weights", encoder)
