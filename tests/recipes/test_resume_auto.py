"""One command, again and again: it starts, goes on, and says when there is nothing left to do."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from safetensors.torch import load_file

from gzfound import load_dataset
from gzfound.errors import ConfigError
from gzfound.training.config import parse_config, read_config_file
from gzfound.training.run import RunConfig
from gzfound.training.telemetry import read_metrics

SMALL = [
    *("--encoder", "test_resnet", "--views.size", "24", "--image-size", "32", "--epochs", "2"),
    *("--batch-size", "16", "--precision", "no", "--watch", "8", "--resume", "auto"),
]


@pytest.fixture(scope="module")
def script(recipe: Callable[[str], ModuleType]) -> ModuleType:
    return recipe("pretrain_simclr")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], False),
        (["--resume"], True),
        (["--resume", "--epochs", "3"], True),
        (["--resume", "auto", "--epochs", "3"], "auto"),
        (["--resume", "no"], False),
    ],
)
def test_the_ways_to_ask_for_it(words: list[str], expected: object) -> None:
    assert parse_config(RunConfig, "A run.", words).resume is expected or (
        parse_config(RunConfig, "A run.", words).resume == expected == "auto"
    )


def test_other_words_are_a_mistake() -> None:
    with pytest.raises(ConfigError, match="--resume auto, --resume no"):
        parse_config(RunConfig, "A run.", ["--resume", "perhaps"])


@pytest.mark.parametrize("value", [True, False, "auto"])
def test_it_may_stand_in_a_file_and_be_overridden(tmp_path: Path, value: object) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump({"resume": value}))
    assert read_config_file(RunConfig, path).resume == value
    assert parse_config(RunConfig, "A run.", ["--config", str(path)]).resume == value
    assert parse_config(RunConfig, "A run.", ["--config", str(path), "--resume", "no"]).resume is (
        False
    )


def test_the_same_command_three_times(
    script: ModuleType,
    simulated_galaxies: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Interrupted in the second epoch, gone on with, finished; more epochs go on from there."""
    run = tmp_path / "run"
    command = [*SMALL, "--data", str(simulated_galaxies), "--output", str(run)]
    steps = len(load_dataset(str(simulated_galaxies), split="train")) // 16
    calls, loss = 0, script.SimCLRLoss.forward

    def interrupted(*args: object) -> object:
        nonlocal calls
        calls += 1
        if calls == steps + 1:
            raise KeyboardInterrupt
        return loss(*args)

    with monkeypatch.context() as patch:
        patch.setattr(script.SimCLRLoss, "forward", interrupted)
        with pytest.raises(KeyboardInterrupt):
            script.main(command)
    assert len(read_metrics(run / "metrics.jsonl", "epoch")) == 1
    (run / "checkpoints" / ".step-000000004.0123abcd.tmp").mkdir()  # as a kill leaves it
    (run / "errors.jsonl").write_text('{"id_str": "listed before"}\n')
    script.main(command)
    assert not (run / "errors.jsonl").exists()
    assert f"resumed at step {steps} of {2 * steps}" in capsys.readouterr().err
    assert not list((run / "checkpoints").glob(".*"))
    assert len(read_metrics(run / "metrics.jsonl", "epoch")) == 2
    weights = (run / "weights" / "model.safetensors").stat()
    with pytest.raises(SystemExit) as caught:
        script.main(command)
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"output: {run} holds a finished run of 2 epochs\n"
    assert (run / "weights" / "model.safetensors").stat() == weights
    script.main([*command, "--epochs", "3"])
    assert len(read_metrics(run / "metrics.jsonl", "epoch")) == 3
    assert load_file(run / "weights" / "model.safetensors")


HOLD = "import sys, time, gzfound.locks as l; l.hold(sys.argv[1]); print(); time.sleep(60)"


def test_a_folder_that_is_being_written_is_refused(
    script: ModuleType,
    simulated_galaxies: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "run"
    other = subprocess.Popen([sys.executable, "-uc", HOLD, str(run)], stdout=subprocess.PIPE)
    assert other.stdout is not None
    with other:
        other.stdout.readline()
        with pytest.raises(SystemExit) as caught:
            script.main([*SMALL, "--data", str(simulated_galaxies), "--output", str(run)])
        other.kill()
    assert caught.value.code == 2
    shown = capsys.readouterr().err
    assert f"error: output: {run} is being written by another run" in shown
    assert shown.count("\n") == 1
    assert not run.exists()
