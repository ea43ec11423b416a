"""The benchmark of streaming, with as little to do as possible."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The benchmark; accelerate keeps its state for the life of a process."""
    from accelerate.state import AcceleratorState, GradientState

    def reset() -> None:
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()

    reset()
    monkeypatch.syspath_prepend(BENCHMARKS)
    path = BENCHMARKS / "streaming.py"
    specification = importlib.util.spec_from_file_location("streaming_benchmark", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    monkeypatch.setitem(sys.modules, "streaming_benchmark", module)
    specification.loader.exec_module(module)
    yield module
    reset()


def test_epochs_take_turns(script: ModuleType, simulated_galaxies: Path, tmp_path: Path) -> None:
    small = ["--encoder", "test_resnet", "--size", "24", "--image-size", "32", "--rounds", "2"]
    where = ["--data", str(simulated_galaxies), "--output", str(tmp_path / "R.json")]
    script.main([*small, *where, "--batch-size", "16"])
    found = json.loads((tmp_path / "R.json").read_text(encoding="utf-8"))
    assert found["galaxies"] % 16 == 0
    assert found["configuration"]["output"] == "R.json"
    assert found["machine"]["cores"] >= 1
    cached, streamed = (found["epochs"][name] for name in ("cached", "streamed"))
    ratios = [a["seconds"] / b["seconds"] for a, b in zip(cached, streamed, strict=True)]
    assert found["streamed_over_cached"]["values"] == pytest.approx(ratios)
    assert len(ratios) == 2
    assert all(0 <= epoch["waited"] < epoch["seconds"] for epoch in [*cached, *streamed])
