"""The demo, from simulation to report, on a few galaxies."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


def test_every_stage_runs_and_the_report_holds_their_results(
    recipe: Callable[[str], ModuleType],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    folder = tmp_path / "demo"
    small = ["--galaxies", "150", "--epochs", "1", "--min-votes", "3"]
    recipe("demo").main([*small, "--output", str(folder)])
    shown = capsys.readouterr().out
    assert str(folder / "report.html") in shown.replace("\n", "").split("The report:")[1]
    stages = json.loads((folder / "stages.json").read_text())
    assert list(stages["seconds"]) == ["Simulate", "Pretrain", "Embed", "Fine-tune", "Probe"]
    page = (folder / "report.html").read_text()
    for row in json.loads((folder / "probe.json").read_text())["rows"]:
        assert f"{row['RMSE']['value']:.3f}" in page
    for heading in ("Augmented views", "Map of the embedding", "Predictions against votes"):
        assert f"<h2>{heading}</h2>" in page
