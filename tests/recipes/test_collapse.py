"""A pretraining run that collapses says so once; one that learns does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from gzfound.training.telemetry import read_metrics


@pytest.mark.parametrize(("rate", "collapses"), [("1", True), ("0.003", False)])
def test_a_collapse_is_said_once(
    recipe: Callable[[str], ModuleType],
    simulated_galaxies: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    rate: str,
    collapses: bool,
) -> None:
    """A learning rate a thousand times too large leaves every galaxy the same embedding."""
    options = ["--encoder", "test_resnet", "--views.size", "24", "--image-size", "32"]
    options += ["--epochs", "3", "--batch-size", "16", "--precision", "no", "--optim.clip", "0"]
    options += ["--data", str(simulated_galaxies), "--output", str(tmp_path / "run")]
    recipe("pretrain_simclr").main([*options, "--optim.learning-rate", rate])
    said = capsys.readouterr().err
    assert said.count("the embedding has collapsed (rank") == collapses
    spreads = [row["spread"] for row in read_metrics(tmp_path / "run" / "metrics.jsonl", "epoch")]
    assert len(spreads) == 3
    assert (min(spreads) < 0.01) == collapses
