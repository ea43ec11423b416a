"""Fine-tuning a decision-tree head, end to end on sixty galaxies."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import nn

from gzfound import load_dataset, load_encoder, load_tree, predict
from gzfound.models.checkpoint import load_head
from gzfound.models.tuning import layer_depths
from gzfound.training.config import read_config_file
from gzfound.training.loop import Run, train
from gzfound.training.telemetry import read_metrics

SMALL = [
    *("--views.size", "24", "--image-size", "32", "--epochs", "2", "--batch-size", "16"),
    *("--precision", "no", "--optim.learning-rate", "0.01", "--encoder-scale", "1"),
    *("--head-epochs", "2"),
]
TREE = load_tree("gz_hubble")


@pytest.fixture(scope="module")
def script(recipe: Callable[[str], ModuleType]) -> ModuleType:
    return recipe("finetune_tree")


@pytest.fixture
def finetune(
    script: ModuleType, simulated_galaxies: Path, encoder_weights: Path, tmp_path: Path
) -> Callable[..., Path]:
    """Run the recipe with more options and return the folder of the run."""

    def run(*options: str, name: str = "run") -> Path:
        data = ["--data", str(simulated_galaxies), "--weights", str(encoder_weights)]
        script.main([*SMALL, *data, "--output", str(tmp_path / name), *options])
        return tmp_path / name

    return run


def encoder_of(weights: Path) -> dict[str, torch.Tensor]:
    return load_file(weights / "model.safetensors")


@pytest.mark.parametrize("tune", ["head", "blocks", "all"])
def test_only_what_is_tuned_moves(
    finetune: Callable[..., Path], encoder_weights: Path, tune: str
) -> None:
    """Batch-norm statistics count as part of their layer."""
    run = finetune("--tune", tune, "--blocks", "2")
    before, after = encoder_of(encoder_weights), encoder_of(run / "weights")
    encoder = load_encoder(encoder_weights)
    depths = layer_depths(encoder)
    deepest = max(depths.values())
    first = {"head": deepest + 1, "blocks": deepest - 1, "all": 0}[tune]
    moved = {name for name, _ in encoder.named_parameters() if depths[name] >= first}
    assert bool(moved) == (tune != "head")
    for name, _ in encoder.named_parameters():
        assert torch.equal(before[name], after[name]) == (name not in moved), name
    layers = {name.rsplit(".", 1)[0] for name in moved}
    statistics = [name for name in before if name.endswith("running_mean")]
    assert statistics
    for name in statistics:
        kept = name.rsplit(".", 1)[0] not in layers
        assert torch.equal(before[name], after[name]) == kept, name
    head = load_head(run / "weights", encoder)
    assert head.answers.weight.abs().max() > 0


def test_weights_predictions_and_metrics_are_written(
    finetune: Callable[..., Path], script: ModuleType, simulated_galaxies: Path
) -> None:
    run = finetune("--tune", "all")
    assert sorted(path.name for path in run.iterdir()) == [
        *("checkpoints", "config.yaml", "metrics.json", "metrics.jsonl"),
        *("predictions.parquet", "probe", "weights"),
    ]
    config = read_config_file(script.TreeConfig, run / "config.yaml")
    assert (config.tune, config.views.size, config.blocks) == ("all", 24, 2)
    plain = timm.create_model(f"local-dir:{run / 'weights'}", pretrained=True).eval()
    images = torch.randn(2, 3, 24, 24)
    with torch.inference_mode():
        assert torch.equal(plain(images), load_encoder(run / "weights")(images))
    found = predict(simulated_galaxies, run / "weights", split="test", precision="no")
    written = pq.read_table(run / "predictions.parquet")
    assert written.column_names == found.column_names
    assert written.column("id_str").to_pylist() == found.column("id_str").to_pylist()
    for name in found.column_names[1:]:
        one, other = (torch.tensor(t.column(name).to_numpy()) for t in (written, found))
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)
    metrics = json.loads((run / "metrics.json").read_text())
    assert {row["method"] for row in metrics["rows"]} == {"model", "constant"}
    probe, epochs = (read_metrics(r / "metrics.jsonl", "epoch") for r in (run / "probe", run))
    assert len(probe) == len(epochs) == 2
    best = min(row["validation_loss"] for row in (*probe, *epochs))
    notes = json.loads((run / "weights" / "config.json").read_text())["gzfound"]
    assert notes["validation_loss"] == best == epochs[-1]["best"]
    assert notes["recipe"] == "finetune_tree"


@pytest.mark.parametrize(("option", "shared"), [([], True), (["--no-sync-batch-norm"], False)])
def test_whether_batch_norm_is_shared_is_told_to_both_stages(
    finetune: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    option: list[str],
    shared: bool,
) -> None:
    told: list[bool] = []

    def watched(run: Run, *rest: Any) -> nn.Module:
        told.append(run.sync_batch_norm)
        return train(run, *rest)

    monkeypatch.setattr("gzfound.finetuning.stages.train", watched)
    finetune("--epochs", "1", "--head-epochs", "1", *option)
    assert told == [shared, shared]


def test_held_out_questions_leave_with_everything_below(finetune: Callable[..., Path]) -> None:
    """Edge-on leads to bulge shape and bar, bar to arms, arms to winding, count and bulge size."""
    run = finetune("--tune", "head", "--held-out", "disk-edge-on-hubble, how-rounded-hubble")
    gone = {
        f"{name}-hubble"
        for name in (
            *("disk-edge-on", "how-rounded", "bulge-shape", "bar", "has-spiral-arms"),
            *("spiral-winding", "spiral-arm-count", "bulge-size"),
        )
    }
    columns = pq.read_schema(run / "predictions.parquet").names
    answered = {name.split("_")[0] for name in columns} - {"id"}
    assert answered == {question.name for question in TREE.questions} - gone
    head = load_head(run / "weights", load_encoder(run / "weights"))
    assert {question.name for question in head.tree.questions} == answered
    rows = json.loads((run / "metrics.json").read_text())["rows"]
    assert not any(name in row["target"] for row in rows for name in gone)


def same_run(one: Path, other: Path) -> bool:
    """Whether weights, head and predictions of two runs are the same, bit for bit."""
    for name in ("model.safetensors", "head.safetensors"):
        first, second = (load_file(run / "weights" / name) for run in (one, other))
        assert first.keys() == second.keys()
        if not all(torch.equal(first[key], second[key]) for key in first):
            return False
    tables = [pq.read_table(run / "predictions.parquet") for run in (one, other)]
    return tables[0].equals(tables[1])


@pytest.mark.parametrize(
    ("tune", "killed"), [("head", "head"), ("all", "head"), ("all", "first"), ("all", "both")]
)
def test_an_interrupted_run_resumes_to_the_same_bits(
    finetune: Callable[..., Path],
    script: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tune: str,
    killed: str,
) -> None:
    """The end comes in the second epoch of the head alone, in the first step of the encoder, or in
    its second epoch; dropout needs its random state back.

    The loss is called once a step and once an epoch.
    """
    whole = finetune("--tune", tune, name="whole")
    epoch = len(read_metrics(whole / "metrics.jsonl", "step")) // 2 + 1
    last = {"head": epoch + 1, "first": 2 * epoch + 1, "both": 3 * epoch + 1}[killed]
    calls, loss = 0, script.DirichletMultinomialLoss.forward

    def interrupted(*args: object) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == last:
            raise KeyboardInterrupt
        return loss(*args)

    with monkeypatch.context() as patch:
        patch.setattr(script.DirichletMultinomialLoss, "forward", interrupted)
        with pytest.raises(KeyboardInterrupt):
            finetune("--tune", tune, name="cut")
    resumed = finetune("--tune", tune, "--resume", name="cut")
    assert len(read_metrics(resumed / "metrics.jsonl", "epoch")) == 2
    assert same_run(whole, resumed)


def test_the_head_learns_before_the_encoder(
    finetune: Callable[..., Path], encoder_weights: Path
) -> None:
    """With the encoder all but still, the second stage starts where the first ended."""
    run = finetune("--encoder-scale", "1e-9", "--optim.learning-rate", "0.03", "--dropout", "0")
    probe = encoder_of(run / "probe" / "weights")
    before = encoder_of(encoder_weights)
    assert all(torch.equal(probe[name], before[name]) for name in before)
    stages = [read_metrics(r / "metrics.jsonl", "step") for r in (run / "probe", run)]
    assert stages[0][0]["loss"] > stages[1][0]["loss"] + 1
    notes = json.loads((run / "weights" / "config.json").read_text())["gzfound"]
    kept = json.loads((run / "probe" / "weights" / "config.json").read_text())["gzfound"]
    assert notes["validation_loss"] <= kept["validation_loss"]


@pytest.mark.parametrize("options", [["--tune", "head"], ["--head-epochs", "0"]])
def test_one_stage_where_one_is_asked_for(
    finetune: Callable[..., Path], options: list[str]
) -> None:
    assert not (finetune(*options, "--epochs", "1") / "probe").exists()


def test_a_run_killed_in_its_first_stage_is_not_written_over(
    finetune: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run = finetune("--epochs", "1", "--head-epochs", "1")
    (run / "metrics.jsonl").unlink()
    with pytest.raises(SystemExit):
        finetune("--epochs", "1", "--head-epochs", "1")
    assert "already holds a run" in capsys.readouterr().err


def test_votes_are_learned(finetune: Callable[..., Path]) -> None:
    """A new head expects equal fractions; even sixty galaxies teach it their mean answers."""
    to_the_end = ["--epochs", "20", "--patience", "0"]
    run = finetune("--tune", "head", *to_the_end, "--optim.learning-rate", "0.03")
    untrained = read_metrics(run / "metrics.jsonl", "step")[0]["loss"]
    epochs = read_metrics(run / "metrics.jsonl", "epoch")
    assert epochs[-1]["loss"] < 0.8 * untrained
    assert epochs[-1]["best"] < epochs[0]["validation_loss"]


def test_an_encoder_from_scratch(
    script: ModuleType, simulated_galaxies: Path, tmp_path: Path
) -> None:
    data = ["--data", str(simulated_galaxies), "--output", str(tmp_path / "run")]
    script.main([*SMALL, *data, "--encoder", "test_resnet", "--epochs", "1"])
    assert load_encoder(tmp_path / "run" / "weights").transform.size == 24


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--held-out", "bars-hubble"], "bars-hubble"),
        (["--encoder", "resnet18"], "'resnet18' was asked for, but"),
        (["--tune", "some"], "--tune"),
        (["--blocks", "99", "--tune", "blocks"], "blocks: 99 must be 1 to"),
        (["--views.size", "32"], "views.size: 32 must be 24, that of the weights"),
        (["--test-split", "dev"], "dev"),
        (["--test-split", "train"], "what is tested must not be trained on"),
        (["--dropout", "1"], "dropout: 1.0 must be"),
        (["--patience", "-1"], "patience: -1 must be at least 0"),
        (["--head-epochs", "-1"], "head_epochs: -1 must be at least 0"),
    ],
)
def test_mistakes_end_in_one_line_before_training(
    finetune: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    with pytest.raises(SystemExit) as caught:
        finetune(*options)
    assert caught.value.code == 2
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert message in shown
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_a_dataset_without_votes_is_refused(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    for number in range(3):
        Image.new("RGB", (32, 32)).save(tmp_path / f"g{number}.png")
    options = ["--data", str(tmp_path), "--output", str(tmp_path / "run"), "--test-split", "train"]
    with pytest.raises(SystemExit):
        script.main([*SMALL, *options])
    assert "no Galaxy Zoo campaign recognised" in capsys.readouterr().err


def test_a_run_is_not_written_over(
    finetune: Callable[..., Path], capsys: pytest.CaptureFixture[str], simulated_galaxies: Path
) -> None:
    run = finetune("--tune", "head", "--epochs", "1")
    before = (run / "weights" / "head.safetensors").read_bytes()
    with pytest.raises(SystemExit):
        finetune("--tune", "head", "--epochs", "1", "--seed", "5")
    assert "already holds a run" in capsys.readouterr().err
    assert (run / "weights" / "head.safetensors").read_bytes() == before
    ids = pq.read_table(run / "predictions.parquet").column("id_str").to_pylist()
    assert ids == list(load_dataset(str(simulated_galaxies), split="test")["id_str"])


def test_two_processes_under_accelerate_launch_fine_tune(
    two_processes: Callable[..., subprocess.CompletedProcess[str]],
    simulated_galaxies: Path,
    encoder_weights: Path,
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    data = ["--data", str(simulated_galaxies), "--weights", str(encoder_weights)]
    still = ["--optim.learning-rate", "1e-30", "--epochs", "6", "--patience", "1"]
    ended = two_processes("finetune_tree", [*SMALL, *data, *still, "--output", str(run)])
    assert ended.returncode == 0, ended.stderr
    notes = json.loads((run / "weights" / "config.json").read_text())["gzfound"]
    assert notes["processes"] == 2
    assert len(read_metrics(run / "probe" / "metrics.jsonl", "epoch")) == 2, "both stopped alike"
    test = load_dataset(simulated_galaxies, split="test")
    assert pq.read_table(run / "predictions.parquet")["id_str"].to_pylist() == test["id_str"][:]


def test_two_machines_learn_what_one_process_does(
    two_machines: Callable[..., list[subprocess.CompletedProcess[str]]],
    finetune: Callable[..., Path],
    simulated_galaxies: Path,
    encoder_weights: Path,
    tmp_path: Path,
) -> None:
    """Both stages, with dropout and batch norm; neither split is a whole number of batches."""
    run, one = tmp_path / "two", finetune("--optim.learning-rate", "1e-3", name="one")
    data = ["--data", str(simulated_galaxies), "--weights", str(encoder_weights)]
    rate = ["--optim.learning-rate", "1e-3", "--output", str(run)]
    for ended in two_machines("finetune_tree", [*SMALL, *data, *rate]):
        assert ended.returncode == 0, ended.stderr
    for part in ("probe", "."):
        found, alone = (read_metrics(f / part / "metrics.jsonl", "step") for f in (run, one))
        losses = [row["loss"] for row in alone]
        assert len(losses) == 4
        assert [row["loss"] for row in found] == pytest.approx(losses, rel=1e-5)
    found, alone = (pq.read_table(f / "predictions.parquet") for f in (run, one))
    test = load_dataset(simulated_galaxies, split="test")["id_str"][:]
    assert found["id_str"].to_pylist() == alone["id_str"].to_pylist() == test
    for name in found.column_names[1:]:
        np.testing.assert_allclose(found[name], alone[name], atol=1e-4, rtol=1e-4, err_msg=name)


def test_the_crop_is_that_of_the_option_or_of_the_weights(
    finetune: Callable[..., Path], script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    cropped = finetune("--tune", "head", "--crop", "0.4")
    assert load_encoder(cropped / "weights").transform.crop == 0.4
    with pytest.raises(SystemExit):
        script.main(["--crop", "nan"])
    assert "crop: nan must be above 0 and at most 1" in capsys.readouterr().err
