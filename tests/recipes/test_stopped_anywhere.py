"""SIGTERM at every moment of a fine-tuning: it goes on to what it would have been, bit by bit."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow.parquet as pq
import pytest

from gzfound.files import atomic_directory
from gzfound.training.preemption import PREEMPTED
from gzfound.training.telemetry import read_metrics

SMALL = [
    *("--epochs", "4", "--head-epochs", "2", "--patience", "1", "--batch-size", "16"),
    *("--precision", "no", "--optim.learning-rate", "0.03", "--encoder-scale", "1"),
    *("--checkpoint.steps", "1", "--checkpoint.keep", "99", "--resume", "auto"),
]
RATES = ("time", "galaxies_per_second", "waiting", "flops_per_second")


@pytest.fixture(scope="module")
def script(recipe: Callable[[str], ModuleType]) -> ModuleType:
    return recipe("finetune_tree")


Start = Callable[[Path], None]


@pytest.fixture
def start(script: ModuleType, simulated_galaxies: Path, encoder_weights: Path) -> Start:
    """One start of the run in a folder."""

    def run(folder: Path) -> None:
        from accelerate.state import AcceleratorState, GradientState

        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()
        data = ["--data", str(simulated_galaxies), "--weights", str(encoder_weights)]
        script.main([*SMALL, *data, "--output", str(folder)])

    return run


def left_by(folder: Path) -> dict[str, Any]:
    """Every file of a run, but for times: bytes, rows of metrics, predictions."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.name == "metrics.jsonl":
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            found[name] = [{k: v for k, v in row.items() if k not in RATES} for row in rows]
        elif path.name == "predictions.parquet":
            found[name] = pq.read_table(path).to_pydict()
        elif path.is_file() and path.name != "config.yaml":
            found[name] = path.read_bytes().replace(str(folder).encode(), b"")
    return found


def stop_at(
    monkeypatch: pytest.MonkeyPatch, script: ModuleType, moment: str, number: int
) -> Callable[[], int]:
    """Send SIGTERM at the n-th loss, before or after the n-th directory is written or renamed.

    The loss is called once a step and once an evaluation; directories are checkpoints and weights.
    Returns what counts how often such a moment came.
    """
    calls = 0

    def come() -> None:
        nonlocal calls
        calls += 1
        if calls == number:
            os.kill(os.getpid(), signal.SIGTERM)

    if moment == "loss":
        loss = script.DirichletMultinomialLoss.forward

        def stopped(*args: object) -> Any:
            come()
            return loss(*args)

        monkeypatch.setattr(script.DirichletMultinomialLoss, "forward", stopped)
    elif moment == "renamed":
        replace = Path.replace

        def renamed(path: Path, target: Any) -> Path:
            found = replace(path, target)
            if path.name.endswith((".tmp", ".old")) and path.parent.name != "":
                come()
            return found

        monkeypatch.setattr(Path, "replace", renamed)
    return lambda: calls


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {}
