"""SimCLR pretraining, end to end on sixty galaxies."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import timm
import torch
from safetensors.torch import load_file

from gzfound import load_dataset, load_encoder, predict
from gzfound.training.config import read_config_file
from gzfound.training.galaxies import labelled_rows, load_galaxies
from gzfound.training.loop import Run
from gzfound.training.telemetry import read_metrics

HYBRID = ["--supervised-weight", "0.1", "--held-out", "disk-edge-on-hubble"]
RECIPES = Path(__file__).parents[2] / "recipes"
SMALL = [
    *("--encoder", "test_resnet", "--views.size", "24", "--image-size", "32"),
    *("--epochs", "2", "--batch-size", "16", "--precision", "no", "--optim.learning-rate", "0.01"),
]


@pytest.fixture(scope="module")
def script(recipe: Callable[[str], ModuleType]) -> ModuleType:
    return recipe("pretrain_simclr")


@pytest.fixture
def arguments(simulated_galaxies: Path) -> list[str]:
    return [*SMALL, "--data", str(simulated_galaxies)]


@pytest.fixture
def steps(simulated_galaxies: Path) -> int:
    """Whole batches of 16 in the training galaxies, about 48 of 60."""
    return len(load_dataset(str(simulated_galaxies), split="train")) // 16


@pytest.fixture
def run(script: ModuleType, arguments: list[str], tmp_path: Path) -> Path:
    """A run of two epochs, start to end."""
    script.main([*arguments, "--output", str(tmp_path / "run")])
    return tmp_path / "run"


def same_weights(one: Path, other: Path) -> bool:
    first, second = (load_file(run / "weights" / "model.safetensors") for run in (one, other))
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)


def test_the_weights_load_with_and_without_gzfound(run: Path, script: ModuleType) -> None:
    encoder = load_encoder(run / "weights")
    plain = timm.create_model(f"local-dir:{run / 'weights'}", pretrained=True).eval()
    images = torch.randn(2, 3, 24, 24)
    with torch.inference_mode():
        assert torch.equal(plain(images), encoder(images))
    assert (encoder.transform.size, encoder.transform.crop) == (24, 1.0)
    notes = json.loads((run / "weights" / "config.json").read_text())["gzfound"]
    assert notes["recipe"] == "pretrain_simclr"
    assert notes["processes"] == 1
    assert notes["config"]["optim"]["learning_rate"] == 0.01
    assert notes["data"].endswith("galaxies")


def test_the_resolved_configuration_and_every_step_are_recorded(
    run: Path, script: ModuleType, simulated_galaxies: Path, steps: int
) -> None:
    config = read_config_file(script.PretrainConfig, run / "config.yaml")
    assert config.data == (str(simulated_galaxies),)
    assert (config.encoder, config.views.size, config.epochs, config.watch) == (
        *("test_resnet", 24, 2),
        1000,
    )
    logged, epochs = (read_metrics(run / "metrics.jsonl", kind) for kind in ("step", "epoch"))
    assert [row["step"] for row in logged] == list(range(1, 2 * steps + 1))
    assert [row["epoch"] for row in epochs] == [1, 2]
    assert all(math.isfinite(row["loss"]) and row["rank"] >= 1 for row in epochs)
    assert len({row["loss"] for row in logged}) == len(logged)


def test_a_run_is_not_written_over(
    run: Path, script: ModuleType, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        script.main([*arguments, "--output", str(run)])
    assert caught.value.code == 2
    assert "already holds a run; pass --resume" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


KILLED = """
import os, signal, sys
import torch
sys.path.insert(0, {folder!r})
import pretrain_simclr as script
torch.set_num_threads({threads})
calls, forward = 0, script.SimCLRLoss.forward
def killer(*args, **kwargs):
    global calls
    calls += 1
    if calls == {calls}:
        os.kill(os.getpid(), signal.SIGKILL)
    return forward(*args, **kwargs)
script.SimCLRLoss.forward = killer
script.main({arguments!r})
"""


def test_kill_minus_nine_and_resume_give_the_same_bits(
    run: Path, script: ModuleType, arguments: list[str], steps: int, tmp_path: Path
) -> None:
    """One loss a step: that of the second step of the second epoch is killed."""
    killed = tmp_path / "killed"
    code = KILLED.format(
        folder=str(RECIPES),
        threads=torch.get_num_threads(),
        calls=steps + 2,
        arguments=[*arguments, "--output", str(killed)],
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    assert len(read_metrics(killed / "metrics.jsonl", "step")) == steps + 1
    assert not (killed / "weights").exists()
    script.main([*arguments, "--output", str(killed), "--resume"])
    assert same_weights(killed, run)
    losses = [
        [row["loss"] for row in read_metrics(folder / "metrics.jsonl", "step")]
        for folder in (killed, run)
    ]
    assert losses[0] == losses[1]


def test_another_seed_gives_other_weights(
    run: Path, script: ModuleType, arguments: list[str], tmp_path: Path
) -> None:
    for name, seed in (("same", "0"), ("other", "1")):
        script.main([*arguments, "--output", str(tmp_path / name), "--seed", seed])
    assert same_weights(tmp_path / "same", run)
    assert not same_weights(tmp_path / "other", run)


def test_pretraining_goes_on_from_weights(
    run: Path, script: ModuleType, arguments: list[str], tmp_path: Path
) -> None:
    """With next to no learning rate the weights stay where they were."""
    slow = ["--optim.learning-rate", "1e-12", "--weights", str(run / "weights")]
    script.main([*arguments, "--output", str(tmp_path / "on"), *slow])
    before, after = (
        load_file(folder / "weights" / "model.safetensors") for folder in (run, tmp_path / "on")
    )
    kept = [name for name in before if "running" not in name and "num_batches" not in name]
    assert len(kept) > 10
    for name in kept:
        torch.testing.assert_close(after[name], before[name], atol=1e-6, rtol=0)


def test_sources_have_crops_of_their_own_and_one_may_be_named_twice(
    script: ModuleType, simulated_galaxies: Path, tmp_path: Path
) -> None:
    """The weights keep the first crop; a source named twice is gone through twice an epoch."""
    data, crops = [str(simulated_galaxies)] * 2, ["0.5", "1.0"]
    where = ["--output", str(tmp_path / "run"), "--epochs", "1"]
    script.main([*SMALL, *where, "--data", *data, "--crop", *crops])
    assert load_encoder(tmp_path / "run" / "weights").transform.crop == 0.5
    config = read_config_file(script.PretrainConfig, tmp_path / "run" / "config.yaml")
    assert config.crop == (0.5, 1.0)
    galaxies = 2 * len(load_dataset(str(simulated_galaxies), split="train"))
    assert len(read_metrics(tmp_path / "run" / "metrics.jsonl", "step")) == galaxies // 16


def test_without_a_weight_votes_change_nothing(
    run: Path, script: ModuleType, simulated_galaxies: Path, tmp_path: Path
) -> None:
    data = tmp_path / "unlabelled" / "data"
    data.mkdir(parents=True)
    galaxies = load_dataset(simulated_galaxies, split="train")
    galaxies.select_columns(["image", "id_str"]).to_parquet(data / "train-00000-of-00001.parquet")
    arguments = [*SMALL, "--data", str(data.parent), "--output", str(tmp_path / "other")]
    script.main([*arguments, "--supervised-weight", "0"])
    assert same_weights(tmp_path / "other", run)
    assert not (run / "weights" / "head.safetensors").exists()


def test_a_weight_on_the_votes_trains_a_head_that_predicts(
    run: Path, script: ModuleType, arguments: list[str], simulated_galaxies: Path, tmp_path: Path
) -> None:
    """Edge-on is held out with what is below it; the encoder differs from that of SimCLR alone."""
    hybrid = tmp_path / "hybrid"
    script.main([*arguments, *HYBRID, "--output", str(hybrid)])
    assert not same_weights(hybrid, run)
    table = predict(simulated_galaxies, hybrid / "weights", split="test", precision="no")
    assert "smooth-or-featured-hubble_smooth" in table.column_names
    assert not any(name.startswith(("disk-edge-on", "bar-")) for name in table.column_names)
    assert table.column("smooth-or-featured-hubble_smooth").to_numpy().std() > 0
    plain = timm.create_model(f"local-dir:{hybrid / 'weights'}", pretrained=True)
    assert plain.num_features == load_encoder(hybrid / "weights").num_features


def test_an_interrupted_hybrid_run_resumes_to_the_same_bits(
    script: ModuleType,
    arguments: list[str],
    steps: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, cut = ([*arguments, *HYBRID, "--output", str(tmp_path / n)] for n in ("whole", "cut"))
    script.main(whole)
    calls, loss = 0, script.HybridLoss.forward

    def interrupted(*args: object) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == steps + 2:
            raise KeyboardInterrupt
        return loss(*args)

    with monkeypatch.context() as patch:
        patch.setattr(script.HybridLoss, "forward", interrupted)
        with pytest.raises(KeyboardInterrupt):
            script.main(cut)
    script.main([*cut, "--resume"])
    assert same_weights(tmp_path / "whole", tmp_path / "cut")
    one, other = (load_file(tmp_path / n / "weights/head.safetensors") for n in ("whole", "cut"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_labelled_takes_the_votes_of_a_share_of_the_galaxies(
    script: ModuleType, simulated_galaxies: Path
) -> None:
    galaxies = load_galaxies(
        [str(simulated_galaxies)], config=None, split="train", size=32, crop=1.0
    )
    config = script.PretrainConfig(supervised_weight=1.0, labelled=0.3)
    _, votes = script.learned_votes(galaxies, config)
    expected = galaxies.only(labelled_rows(galaxies.ids, 0.3, config.seed)).votes
    assert expected is not None
    assert 0 < len(expected) < len(galaxies)
    assert (votes[votes.any(axis=1)] == expected).all()


def test_a_weight_needs_votes(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    for number in range(3):
        Image.new("RGB", (32, 32)).save(tmp_path / f"g{number}.png")
    options = ["--data", str(tmp_path), "--output", str(tmp_path / "run")]
    with pytest.raises(SystemExit):
        script.main([*SMALL, *options, "--supervised-weight", "0.1"])
    shown = capsys.readouterr().err
    assert "supervised_weight: 0.1 needs votes; data: " in shown
    assert shown.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--supervised-weight", "-1"], "supervised_weight: -1.0 must be at least 0"),
        (["--labelled", "0"], "labelled: 0.0 must be above 0"),
        (["--supervised-weight", "1", "--held-out", "bars-hubble"], "bars-hubble"),
        (["--encoder", "resnet_18"], "timm has no model named 'resnet_18'"),
        (["--data", "nowhere"], "nowhere: no such folder"),
        (["--split", "dev"], "dev"),
        (["--epochs", "0"], "epochs: 0 must be at least 1"),
        (["--crop", "0.5", "0.2"], "crop: 2 numbers for 1 datasets; allowed: one number, or one"),
        (["--config", "nowhere.yaml"], "config: cannot read nowhere.yaml"),
    ],
)
def test_mistakes_end_in_one_line(
    script: ModuleType,
    arguments: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    with pytest.raises(SystemExit) as caught:
        script.main([*arguments, "--output", str(tmp_path / "run"), *options])
    assert caught.value.code == 2
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert message in shown
    assert not (tmp_path / "run" / "weights").exists()


@pytest.mark.parametrize(("option", "shared"), [([], True), (["--no-sync-batch-norm"], False)])
def test_whether_batch_norm_is_shared_is_told_to_the_loop(
    script: ModuleType,
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    option: list[str],
    shared: bool,
) -> None:
    told: list[bool] = []

    def stopped(run: Run, *_: object) -> None:
        told.append(run.sync_batch_norm)
        raise KeyboardInterrupt

    monkeypatch.setattr(script, "train", stopped)
    with pytest.raises(KeyboardInterrupt):
        script.main([*arguments, "--output", str(tmp_path / "run"), *option])
    assert told == [shared]


def test_two_processes_under_accelerate_launch_learn_what_one_does(
    two_processes: Callable[..., subprocess.CompletedProcess[str]],
    script: ModuleType,
    arguments: list[str],
    steps: int,
    tmp_path: Path,
) -> None:
    """With votes, and with batch norm in encoder and projection head."""
    run, one = tmp_path / "run", tmp_path / "one"
    slow = [*arguments, *HYBRID, "--optim.learning-rate", "1e-4", "--output"]
    ended = two_processes("pretrain_simclr", [*slow, str(run)])
    assert ended.returncode == 0, ended.stderr
    notes = json.loads((run / "weights" / "config.json").read_text())["gzfound"]
    assert notes["processes"] == 2
    assert notes["config"]["sync_batch_norm"] is True
    logged = read_metrics(run / "metrics.jsonl", "step")
    numbers = [row["step"] for row in logged]
    assert numbers == list(range(1, 2 * steps + 1)), "one process writes, once a step"
    assert load_encoder(run / "weights").num_features > 0
    script.main([*slow, str(one)])
    expected = [row["loss"] for row in read_metrics(one / "metrics.jsonl", "step")]
    assert [row["loss"] for row in logged] == pytest.approx(expected, rel=1e-5)
    for name in ("model", "head"):
        found, alone = (load_file(f / "weights" / f"{name}.safetensors") for f in (run, one))
        assert found.keys() == alone.keys()
        for key, value in alone.items():
            torch.testing.assert_close(found[key], value, atol=2e-4, rtol=1e-4, msg=key)
