"""SIGTERM at every moment of a fine-tuning: it goes on to what it would have been, bit by bit.

With ``GZFOUND_EVERY_MOMENT=1`` in the environment every moment is tried by itself too, which takes
minutes.
"""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gzfound.training.galaxies import load_galaxies
from gzfound.training.preemption import PREEMPTED
from gzfound.training.telemetry import read_metrics

OPTIONS = [
    *("--patience", "1", "--batch-size", "16", "--precision", "no"),
    *("--checkpoint.steps", "1", "--resume", "auto"),
]
RUNS = {
    "better and better": [
        *("--head-epochs", "1", "--epochs", "3"),
        *("--encoder-scale", "1", "--optim.learning-rate", "0.01"),
    ],
    "ends early": [
        *("--head-epochs", "2", "--epochs", "4"),
        *("--encoder-scale", "0.03", "--optim.learning-rate", "0.03"),
    ],
}
"""Runs whose second stage gets better weights twice, or none and is ended by its patience."""

RATES = ("time", "galaxies_per_second", "waiting", "flops_per_second")

Start = Callable[..., None]
Left = dict[str, Any]


@pytest.fixture(scope="module")
def script(recipe: Callable[[str], ModuleType]) -> ModuleType:
    return recipe("finetune_tree")


@pytest.fixture
def start(
    script: ModuleType,
    simulated_galaxies: Path,
    encoder_weights: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Start:
    """One start of the run in a folder: both stages, without the report on the test split."""
    data = [str(simulated_galaxies)]
    galaxies = load_galaxies(data, config=None, split="train", size=32, crop=0.8)
    room = import_module("gzfound.finetuning.finetune")
    monkeypatch.setattr(room, "load_galaxies", lambda *_, **__: galaxies)
    monkeypatch.setattr(room, "tested_ids", lambda _: [])
    monkeypatch.setattr(room, "write_report", lambda *_: None)

    def run(folder: Path, *more: str) -> None:
        from accelerate.state import AcceleratorState, GradientState

        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()
        given = ["--data", *data, "--weights", str(encoder_weights), "--output", str(folder)]
        script.main([*OPTIONS, *given, *more])

    return run


def left_by(folder: Path) -> Left:
    """Every file of a run, but for times: its bytes, or its rows of metrics."""
    found: Left = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.name == "metrics.jsonl":
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            found[name] = [{k: v for k, v in row.items() if k not in RATES} for row in rows]
        elif path.is_file():
            held = path.read_bytes().replace(str(folder).encode(), b"RUN")
            found[name] = held.replace(b'"keep": 99', b'"keep": 2')
    return found


class Moments:
    """Sends SIGTERM when a moment comes for the n-th time; a run that would die of it is spared.

    Args:
        number: of the moment; None for never.
    """

    def __init__(self, number: int | None) -> None:
        self.number = number
        self.seen = 0

    def come(self) -> None:
        """The moment is here."""
        if callable(signal.getsignal(signal.SIGTERM)):
            self.seen += 1
            if self.seen == self.number:
                os.kill(os.getpid(), signal.SIGTERM)


def watch_losses(patch: pytest.MonkeyPatch, script: ModuleType, moments: Moments) -> None:
    """A moment is before a loss: one a step, and one in the middle of an evaluation."""
    loss = script.DirichletMultinomialLoss.forward

    def watched(*args: object) -> Any:
        moments.come()
        return loss(*args)

    patch.setattr(script.DirichletMultinomialLoss, "forward", watched)


def watch_renames(patch: pytest.MonkeyPatch, script: ModuleType, moments: Moments) -> None:
    """A moment is after a rename: of a checkpoint, or of the best weights after an evaluation."""
    del script
    replace = Path.replace

    def watched(path: Path, target: Any) -> Path:
        found = replace(path, target)
        moments.come()
        return found

    patch.setattr(Path, "replace", watched)


WATCHES = {"loss": watch_losses, "rename": watch_renames}


def start_to_end(start: Start, folder: Path, name: str) -> Left:
    """What a run leaves that nobody stops; it keeps all its checkpoints."""
    start(folder, *RUNS[name], "--checkpoint.keep", "99")
    probe, whole = (
        [row["validation_loss"] for row in read_metrics(part / "metrics.jsonl", "epoch")]
        for part in (folder / "probe", folder)
    )
    if name == "ends early":
        assert len(whole) == 2 < 4
        assert min(whole) > min(probe)
    else:
        assert whole[1] < min(probe)
        assert whole[2] < whole[1]
    return left_by(folder)


@pytest.mark.parametrize(
    ("name", "moment"), [("ends early", "loss"), ("better and better", "rename")]
)
def test_a_run_that_is_stopped_again_and_again_ends_as_it_would_have(
    start: Start, script: ModuleType, tmp_path: Path, name: str, moment: str
) -> None:
    """Starts come to their second, third or fourth moment in turn: a step, an evaluation, a file.

    Stopped at the same file each time, a run would never get past it.
    """
    expected = start_to_end(start, tmp_path / "whole", name)
    starts, folder, going = 0, tmp_path / "stopped", True
    while going and starts < 50:
        starts += 1
        with pytest.MonkeyPatch.context() as patch:
            WATCHES[moment](patch, script, Moments(2 + starts % 3))
            try:
                start(folder, *RUNS[name])
                going = False
            except SystemExit as stop:
                if stop.code != PREEMPTED:
                    raise
    assert 3 < starts < 50
    assert differences(left_by(folder), expected) == []


@pytest.mark.skipif("GZFOUND_EVERY_MOMENT" not in os.environ, reason="it takes minutes")
@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("moment", WATCHES)
def test_a_run_that_is_stopped_at_any_moment_ends_as_it_would_have(
    start: Start, script: ModuleType, tmp_path: Path, name: str, moment: str
) -> None:
    """Weights, metrics, and every checkpoint that both keep, with moments and random state."""
    seen = Moments(None)
    with pytest.MonkeyPatch.context() as patch:
        WATCHES[moment](patch, script, seen)
        expected = start_to_end(start, tmp_path / "whole", name)
    assert seen.seen > 10
    wrong = []
    for number in range(1, seen.seen + 1):
        folder = tmp_path / f"stopped-{number}"
        with pytest.MonkeyPatch.context() as patch:
            WATCHES[moment](patch, script, Moments(number))
            with pytest.raises(SystemExit) as caught:
                start(folder, *RUNS[name])
        assert caught.value.code == PREEMPTED
        start(folder, *RUNS[name])
        wrong += [f"{number}: {line}" for line in differences(left_by(folder), expected)]
    assert wrong == [], f"of {seen.seen} moments"


def differences(found: Left, expected: Left) -> list[str]:
    """What is not as in the run that nobody stopped; options and older checkpoints may be gone."""
    ours, theirs = (
        {name: value for name, value in each.items() if not name.endswith("config.yaml")}
        for each in (found, expected)
    )
    missing = [name for name in theirs if name not in ours and not re.search(r"/step-\d", name)]
    return [
        *(f"{name} is missing" for name in missing),
        *(f"{name} is new" for name in ours if name not in theirs),
        *(f"{name} differs" for name in ours if name in theirs and ours[name] != theirs[name]),
    ]
