"""The loop: it learns, it logs, and a run that is killed resumes to the same bits."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from gzfound.errors import ConfigError, GzfoundError, OutputError, WeightsError
from gzfound.training.batches import ArrayBatches, Batch
from gzfound.training.loop import Run, train
from gzfound.training.optim import OptimConfig, build_optimiser, parameter_groups
from gzfound.training.order import BatchOrder
from gzfound.training.preemption import PREEMPTED, Preemption
from gzfound.training.progress import CheckpointConfig
from gzfound.training.resume import checkpoints, damage, load_checkpoint
from gzfound.training.telemetry import Telemetry, read_metrics

OPTIM = OptimConfig(learning_rate=0.05, weight_decay=0.01)
EPOCHS = CheckpointConfig()
"""Checkpoints at the end of each epoch alone, in runs as short as these."""


class KilledError(Exception):
    """Stands for a process that ends in the middle of an epoch."""


def regression(
    folder: Path,
    *,
    resume: bool = False,
    kill_at: int | None = None,
    batch_size: int = 8,
    validation: Sequence[float] = (),
    checkpoint: CheckpointConfig = EPOCHS,
    terminate_at: int | None = None,
    terminate_evaluation: int | None = None,
) -> nn.Module:
    """Fit y = x w with dropout, which needs the random state that a checkpoint keeps."""
    torch.manual_seed(1)
    generator = np.random.default_rng(0)
    x = generator.normal(size=(64, 5)).astype(np.float32)
    y = x @ np.arange(5, dtype=np.float32)
    model = nn.Sequential(nn.Linear(5, 16), nn.Dropout(0.1), nn.BatchNorm1d(16), nn.Linear(16, 1))
    order = BatchOrder(np.arange(64), batch_size, seed=5)
    calls = 0

    def step(wrapped: nn.Module, batch: Batch, epoch: int) -> Tensor:
        nonlocal calls
        calls += 1
        if kill_at is not None and calls > kill_at:
            raise KilledError
        if calls == terminate_at:
            os.kill(os.getpid(), signal.SIGTERM)
        return (wrapped(batch["x"])[:, 0] - batch["y"]).square().mean()

    def at_epoch_end(bare: nn.Module) -> dict[str, float]:
        if terminate_evaluation == len(read_metrics(folder / "metrics.jsonl", "epoch")) + 1:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        metrics = {"training": float(bare.training)}
        if validation:
            seen = len(read_metrics(folder / "metrics.jsonl", "epoch"))
            metrics["validation_loss"] = validation[seen]
        return metrics

    accelerate = Accelerator(cpu=True)
    return train(
        Run(folder, 4, OPTIM, resume, patience=2 if validation else 0, checkpoint=checkpoint),
        accelerate,
        model,
        build_optimiser(parameter_groups(model, OPTIM.weight_decay), OPTIM),
        ArrayBatches({"x": x, "y": y}, order, torch.device("cpu")),
        step,
        at_epoch_end,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def test_the_loss_falls_and_everything_is_logged(folder: Path) -> None:
    regression(folder)
    steps, epochs = (read_metrics(folder / "metrics.jsonl", kind) for kind in ("step", "epoch"))
    assert [row["step"] for row in steps] == list(range(1, 33))
    assert [row["epoch"] for row in epochs] == [1, 2, 3, 4]
    assert epochs[-1]["loss"] < 0.7 * epochs[0]["loss"]
    assert all(row["galaxies_per_second"] > 0 and 0 <= row["waiting"] <= 1 for row in epochs)
    assert {row["training"] for row in epochs} == {0.0}
    # Multiplications and additions, forward and twice backward; the input needs no gradient.
    operations = 2 * (2 * 5 * 16 + 3 * 16)
    for row in epochs:
        assert row["flops_per_second"] / row["galaxies_per_second"] == pytest.approx(operations)
    assert [path.name for path in checkpoints(folder / "checkpoints")] == [
        "step-000000024",
        "step-000000032",
    ]


@pytest.mark.parametrize("kill_at", [9, 16, 23])
def test_a_killed_run_resumes_to_the_same_bits(folder: Path, tmp_path: Path, kill_at: int) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    expected = regression(whole)
    with pytest.raises(KilledError):
        regression(folder, kill_at=kill_at)
    resumed = regression(folder, resume=True)
    for name, value in expected.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    for kind in ("step", "epoch"):
        logged, whole_log = (read_metrics(run / "metrics.jsonl", kind) for run in (folder, whole))
        assert [row["step"] for row in logged] == [row["step"] for row in whole_log]
        assert [row["loss"] for row in logged] == [row["loss"] for row in whole_log]


@pytest.mark.parametrize(
    ("validation", "epochs"),
    [((5, 6, 7, 8), 3), ((5, 6, 4, 5), 4), ((5, 5, float("nan"), 1), 3), ((5, 4, 3, 2), 4)],
)
def test_patience_ends_a_run_two_epochs_after_its_best(
    folder: Path, validation: tuple[float, ...], epochs: int
) -> None:
    """Equal is not better, and neither is what is no number."""
    regression(folder, validation=validation)
    assert len(read_metrics(folder / "metrics.jsonl", "epoch")) == epochs


@pytest.mark.parametrize("kill_at", [12, 20, None])
def test_patience_is_kept_over_a_resume(folder: Path, tmp_path: Path, kill_at: int | None) -> None:
    """Killed in the second or in the third, last epoch, or not at all: then nothing is added."""
    (tmp_path / "whole").mkdir()
    expected = regression(tmp_path / "whole", validation=(5, 6, 7, 1))
    if kill_at is None:
        regression(folder, validation=(5, 6, 7, 1))
    else:
        with pytest.raises(KilledError):
            regression(folder, validation=(5, 6, 7, 1), kill_at=kill_at)
    resumed = regression(folder, validation=(5, 6, 7, 1), resume=True)
    assert [row["epoch"] for row in read_metrics(folder / "metrics.jsonl", "epoch")] == [1, 2, 3]
    for name, value in expected.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_a_line_that_was_cut_short_is_dropped_on_resuming(folder: Path) -> None:
    with pytest.raises(KilledError):
        regression(folder, kill_at=12)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "step", "st')
    regression(folder, resume=True)
    steps = read_metrics(folder / "metrics.jsonl", "step")
    assert [row["step"] for row in steps] == list(range(1, 33))


def test_a_loss_that_is_not_finite_stops_the_run(folder: Path) -> None:
    model = nn.Linear(1, 1)
    with pytest.raises(GzfoundError, match="loss: nan at step 1"):
        train(
            Run(folder, 1, OPTIM),
            Accelerator(cpu=True),
            model,
            build_optimiser(parameter_groups(model, 0.0), OPTIM),
            ArrayBatches(
                {"x": np.full((8, 1), np.nan, np.float32)},
                BatchOrder(np.arange(8), 4, 0),
                torch.device("cpu"),
            ),
            lambda wrapped, batch, epoch: wrapped(batch["x"]).mean(),
            lambda bare: {},
        )
    assert not checkpoints(folder / "checkpoints")


def test_a_run_that_waits_says_so_once_and_names_the_remedy(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {"loss": 1.0, "galaxies_per_second": 139.4, "waiting": 0.004, "flops_per_second": 2e10}
    with Telemetry(folder, 3, True, None) as says:
        says.epoch(1, 3, values)
        says.epoch(2, 3, values | {"waiting": 0.21})
        says.epoch(3, 3, values | {"waiting": 0.4})
    said = capsys.readouterr().err
    assert "epoch 1/3: loss 1, galaxies/s 139, waiting 0.4 %, 20 GFLOP/s" in said
    assert said.count("GZFOUND_CACHE") == 1
    assert "epoch 2: 21 % of the time went by waiting for data" in said


def test_a_damaged_checkpoint_is_named(folder: Path) -> None:
    model = regression(folder)
    last = checkpoints(folder / "checkpoints")[-1]
    (last / "model.safetensors").write_bytes(b"not tensors")
    optimiser = build_optimiser(parameter_groups(model, 0.0), OPTIM)
    with pytest.raises(WeightsError, match=last.name):
        load_checkpoint(last, model, optimiser)


def test_two_half_batches_added_up_equal_a_whole_one(tmp_path: Path) -> None:
    """The mean of the gradients of two halves is that of the whole, and so are rates and order."""
    found = []
    for accumulate, batch_size in ((1, 16), (2, 8)):
        torch.manual_seed(0)
        model = nn.Linear(5, 1)
        x = np.random.default_rng(0).normal(size=(70, 5)).astype(np.float32)
        order = BatchOrder(np.arange(70), batch_size, seed=1, accumulate=accumulate)
        assert order.steps == 4 * accumulate
        folder = tmp_path / str(accumulate)
        folder.mkdir()
        trained = train(
            Run(folder, 3, OPTIM),
            Accelerator(cpu=True, gradient_accumulation_steps=accumulate),
            model,
            build_optimiser(parameter_groups(model, 0.0), OPTIM),
            ArrayBatches({"x": x}, order, torch.device("cpu")),
            lambda wrapped, batch, epoch: (wrapped(batch["x"])[:, 0] - 3).square().mean(),
            lambda bare: {},
        )
        found.append(trained.weight.detach())
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-6)


def test_a_checkpoint_of_another_run_is_not_gone_on_from(folder: Path) -> None:
    regression(folder)
    with pytest.raises(ConfigError, match=r"resume: .* has 8 steps an epoch, this run 4"):
        regression(folder, resume=True, batch_size=16)


def metrics(folder: Path) -> list[dict[str, Any]]:
    """Every line of ``metrics.jsonl``, but for times and rates."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    timed = ("time", "galaxies_per_second", "waiting", "flops_per_second")
    return [{name: value for name, value in row.items() if name not in timed} for row in rows]


@pytest.fixture
def whole(tmp_path: Path) -> tuple[nn.Module, list[dict[str, Any]]]:
    """A run from start to end, and what it logged: 32 steps and 4 epochs."""
    (tmp_path / "whole").mkdir()
    model = regression(tmp_path / "whole")
    logged = metrics(tmp_path / "whole")
    assert len(logged) == 36
    return model, logged


def same(model: nn.Module, folder: Path, whole: tuple[nn.Module, list[dict[str, Any]]]) -> bool:
    expected, logged = whole
    state = model.state_dict()
    bits = all(torch.equal(value, state[name]) for name, value in expected.state_dict().items())
    return bits and metrics(folder) == logged


@pytest.mark.parametrize(("kill_at", "step"), [(2, 0), (5, 3), (14, 12), (15, 15), (31, 30)])
def test_a_run_goes_on_within_an_epoch(
    folder: Path,
    whole: tuple[nn.Module, list[dict[str, Any]]],
    capsys: pytest.CaptureFixture[str],
    kill_at: int,
    step: int,
) -> None:
    """Every three steps and after every eighth: from the last checkpoint before the kill."""
    every = CheckpointConfig(steps=3)
    with pytest.raises(KilledError):
        regression(folder, kill_at=kill_at, checkpoint=every)
    capsys.readouterr()
    resumed = regression(folder, resume=True, checkpoint=every)
    assert (f"resumed at step {step} of 32" in capsys.readouterr().err) == (step > 0)
    assert same(resumed, folder, whole)


def test_checkpoints_by_the_clock_and_how_many_are_kept(folder: Path) -> None:
    with pytest.raises(KilledError):
        regression(folder, kill_at=7, checkpoint=CheckpointConfig(seconds=1e-9, keep=3))
    kept = [path.name for path in checkpoints(folder / "checkpoints")]
    assert kept == ["step-000000005", "step-000000006", "step-000000007"]
    for name, value in (("steps", -1), ("seconds", -1.0), ("keep", 0)):
        with pytest.raises(ConfigError, match=f"checkpoint.*{name}"):
            CheckpointConfig(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("step", [1, 11, 16, 32])
def test_a_termination_stops_after_the_step_at_hand(
    folder: Path, whole: tuple[nn.Module, list[dict[str, Any]]], step: int
) -> None:
    """Also at the end of an epoch, before its metrics, and at that of the run."""
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as caught:
        regression(folder, terminate_at=step)
    assert caught.value.code == PREEMPTED == 75
    assert checkpoints(folder / "checkpoints")[-1].name == f"step-{step:09d}"
    assert [row["step"] for row in metrics(folder) if row["kind"] == "step"][-1] == step
    assert signal.getsignal(signal.SIGTERM) == handler
    assert same(regression(folder, resume=True), folder, whole)


@pytest.mark.parametrize("epoch", [1, 4])
def test_a_termination_cuts_the_evaluation_short(
    folder: Path, whole: tuple[nn.Module, list[dict[str, Any]]], epoch: int
) -> None:
    """The evaluation would take a minute; it is made again after resuming."""
    began = time.monotonic()
    with pytest.raises(SystemExit) as caught:
        regression(folder, terminate_evaluation=epoch)
    assert time.monotonic() - began < 20
    assert caught.value.code == PREEMPTED
    resumed = regression(folder, resume=True, checkpoint=CheckpointConfig(steps=5))
    assert same(resumed, folder, whole)


def test_a_kill_after_the_record_of_an_epoch_does_not_double_it(
    folder: Path, whole: tuple[nn.Module, list[dict[str, Any]]]
) -> None:
    """Stopped before the metrics of an epoch, then killed after them, before its checkpoint."""
    with pytest.raises(SystemExit):
        regression(folder, terminate_evaluation=2)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"kind": "epoch", "step": 16, "epoch": 2, "loss": 0}) + "\n")
    assert same(regression(folder, resume=True), folder, whole)


def test_processes_that_read_late_skip_and_stop_together(tmp_path: Path) -> None:
    """What ``two_late.py`` says: neither goes ahead of the other, and both see the checkpoint."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(held.getsockname()[1])}
    script = [sys.executable, str(Path(__file__).parents[1] / "two_late.py"), str(tmp_path)]
    running = [
        subprocess.Popen(
            script,
            env={**os.environ, **where, "WORLD_SIZE": "2", "RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    try:
        said = [process.communicate(timeout=60)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    assert [process.returncode for process in running] == [0, 0]
    expected = {"skipped": 16 + 1, "stopped": 4, "last": "step-000000004"}  # 1 is looked at again
    assert [json.loads(line) for line in said] == [expected] * 2
    epochs = read_metrics(tmp_path / "skipped" / "metrics.jsonl", "epoch")
    assert [row.get("skipped") for row in epochs] == [1, None]


def test_a_second_signal_changes_nothing() -> None:
    with Preemption() as preemption:
        for kind in (signal.SIGUSR1, signal.SIGTERM, signal.SIGTERM):
            os.kill(os.getpid(), kind)
    assert preemption.asked


def flip(path: Path, place: float) -> None:
    """Flip one bit of a file, somewhere between its start (0) and its end (1)."""
    data = bytearray(path.read_bytes())
    bit = int(place * (8 * len(data) - 1))
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def test_a_flipped_bit_is_found_wherever_it_is(folder: Path) -> None:
    with pytest.raises(KilledError):
        regression(folder, kill_at=9)
    (path,) = checkpoints(folder / "checkpoints")
    files = sorted(path.iterdir())
    assert len(files) == 4
    for file in files:
        before = file.read_bytes()
        for place in np.linspace(0, 1, 40):
            assert damage(path) == ""
            flip(file, place)
            assert damage(path), f"{file.name} at {place}"
            file.write_bytes(before)
    for file in files:
        file.rename(folder / "away")
        assert damage(path)
        (folder / "away").rename(file)


@pytest.mark.parametrize("damaged", [1, 2])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    folder: Path,
    whole: tuple[nn.Module, list[dict[str, Any]]],
    capsys: pytest.CaptureFixture[str],
    damaged: int,
) -> None:
    with pytest.raises(KilledError):
        regression(folder, kill_at=26, checkpoint=CheckpointConfig(keep=3))
    kept = checkpoints(folder / "checkpoints")
    assert [path.name for path in kept] == [f"step-{step:09d}" for step in (8, 16, 24)]
    for path in kept[3 - damaged :]:
        flip(path / "optimiser.safetensors", 0.7)
    capsys.readouterr()
    resumed = regression(folder, resume=True)
    lines = [line for line in capsys.readouterr().err.splitlines() if "is damaged" in line]
    assert len(lines) == damaged
    assert "step-000000024 is damaged (optimiser.safetensors: not the bytes" in lines[0]
    assert lines[0].endswith(f"going on from {kept[2 - damaged].name}")
    assert same(resumed, folder, whole)
    assert not any(damage(path) for path in checkpoints(folder / "checkpoints"))


def test_nothing_but_damaged_checkpoints_ends_in_one_line(folder: Path) -> None:
    with pytest.raises(KilledError):
        regression(folder, kill_at=17)
    for path in checkpoints(folder / "checkpoints"):
        flip(path / "state.json", 0.5)
    with pytest.raises(WeightsError, match=r"step-000000016: state.json: not .*; nor any other$"):
        regression(folder, resume=True)
    assert len(checkpoints(folder / "checkpoints")) == 2, "nothing is removed"


def test_a_resumed_run_takes_as_many_threads_as_before(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = torch.get_num_threads()
    with pytest.raises(KilledError):
        regression(folder, kill_at=9)
    torch.set_num_threads(before + 1)
    try:
        regression(folder, resume=True)
        assert torch.get_num_threads() == before
    finally:
        torch.set_num_threads(before)
    assert f"resume: {before} threads, as before, not {before + 1}" in capsys.readouterr().err


def test_a_full_disk_ends_in_one_line_and_keeps_the_checkpoints(
    folder: Path, whole: tuple[nn.Module, list[dict[str, Any]]]
) -> None:
    """No file may be longer than 1,000 bytes: as a full disk, but for the number of the error."""
    with pytest.raises(KilledError):
        regression(folder, kill_at=9)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"^output: cannot write .*: File too large$"):
            regression(folder, resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["step-000000008"]
    assert same(regression(folder, resume=True), folder, whole)
