"""The GPU benchmark on the CPU, with as little to do as possible."""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

ROOT = Path(__file__).parents[2]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The benchmark on the CPU; accelerate keeps its state for the life of a process."""
    from accelerate.state import AcceleratorState, GradientState

    def reset() -> None:
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()

    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    reset()
    yield importlib.import_module("gpu")
    reset()


def run(script: ModuleType, folder: Path, *options: str) -> dict[str, Any]:
    output = folder / "R.json"
    there = ["--small", "--device", "cpu", "--work", str(folder / "w"), "--output", str(output)]
    script.main([*there, *options])
    found: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
    return found


def test_every_group(script: ModuleType, tmp_path: Path) -> None:
    found = run(script, tmp_path)
    groups = found["groups"]
    assert list(groups) == list(script.GROUPS)
    assert found["small"]
    assert found["machine"]["processor"]
    assert found["versions"]["torch"]
    for values in groups.values():
        assert values["took"] >= 0
        assert values["revision"]
    training, extraction = groups["training"], groups["extraction"]
    ours, raw = (training[f"{n}galaxies_per_second"]["median"] for n in ("", "raw_"))
    assert training["ratio"] == pytest.approx(ours / raw)
    assert len(training["galaxies_per_second"]["values"]) == 2
    assert extraction["pixels_apart_most"] <= 1
    assert extraction["cosine_to_float32_least"] > 0.99
    assert extraction["limit"] in ("decoding", "the network")
    assert groups["simulation"]["cpu_galaxies_per_second"]["median"] > 0
    assert groups["pretraining"]["finished"]
    assert groups["pretraining"]["epochs"] == 2
    methods = {row["method"] for row in groups["probes"]["table"]["rows"]}
    assert methods == {"embedding", "untrained encoder", "pixel PCA", "constant"}
    kept = load_file(tmp_path / "w" / "weights_bf16" / "model.safetensors")
    whole = load_file(tmp_path / "w" / "pretraining" / "weights" / "model.safetensors")
    assert kept.keys() == whole.keys()
    for name, value in whole.items():
        assert torch.equal(kept[name], value.bfloat16() if value.is_floating_point() else value)


def test_pretraining_goes_on_where_the_limit_stopped_it(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first call is stopped in its second epoch; other groups stay in the file."""
    import gpu_training

    run(script, tmp_path, "--only", "peak")
    pretrain = gpu_training.pretrain

    def until_the_second(config: Any) -> None:
        names = pretrain.__globals__
        watch = names["Watch"]

        class Stopping(watch):
            def __call__(self, model: Any) -> Any:
                if (Path(config.output) / "checkpoints").exists():
                    raise gpu_training.TimeUp
                return super().__call__(model)

        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(names, "Watch", Stopping)
            pretrain(config)

    monkeypatch.setattr(gpu_training, "pretrain", until_the_second)
    stopped = run(script, tmp_path, "--only", "pretraining")["groups"]
    assert not stopped["pretraining"]["finished"]
    assert stopped["pretraining"]["epochs"] == 1
    monkeypatch.setattr(gpu_training, "pretrain", pretrain)
    ended = run(script, tmp_path, "--only", "pretraining")["groups"]
    assert ended["pretraining"]["finished"]
    assert ended["pretraining"]["epochs"] == 2
    assert ended["pretraining"]["seconds"] > stopped["pretraining"]["seconds"]
    assert "peak" in ended


def test_the_limit_stops_what_runs(script: ModuleType) -> None:
    import gpu_training

    start = time.monotonic()
    with pytest.raises(gpu_training.TimeUp), gpu_training.at_most(0.1):
        while time.monotonic() < start + 20:
            time.sleep(0.05)
    assert time.monotonic() < start + 10


def test_large_weights_are_cut_into_files(script: ModuleType, tmp_path: Path) -> None:
    """20 MiB of bf16 need two files of at most 15 MiB; together they hold every tensor."""
    import gpu_probes
    from safetensors.torch import save_file

    state = {f"w{n}": torch.full((2**20,), float(n)) for n in range(10)}
    (tmp_path / "W").mkdir()
    save_file(state, tmp_path / "W" / "model.safetensors")
    (tmp_path / "W" / "config.json").write_text("{}")
    sizes = gpu_probes.save_small(tmp_path / "W", tmp_path / "small")
    assert len(sizes) == 2
    assert max(sizes.values()) <= 16 * 2**20
    found = {k: v for name in sizes for k, v in load_file(tmp_path / "small" / name).items()}
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name].float(), state[name]) for name in state)


def test_mistakes_end_in_one_line(
    script: ModuleType, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "R.json").write_text("[]")
    there = ["--work", str(tmp_path / "w"), "--output", str(tmp_path / "R.json")]
    cases = (
        (["--only", "sleep"], "only: 'sleep' is no group; allowed: peak, training"),
        (["--limit", "0"], "limit: 0.0 must be above 0 seconds"),
        (["--device", "cpu"], "there is no GPU here; pass --small"),
        (["--small"], "R.json is not a file of this benchmark"),
    )
    for options, message in cases:
        with pytest.raises(SystemExit):
            script.main([*there, *options])
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
