"""The loop: it learns, it logs, and a run that is killed resumes to the same bits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from gzfound.errors import ConfigError, GzfoundError, WeightsError
from gzfound.training.batches import ArrayBatches, Batch
from gzfound.training.loop import Run, train
from gzfound.training.optim import OptimConfig, build_optimiser, parameter_groups
from gzfound.training.order import BatchOrder
from gzfound.training.resume import checkpoints, load_checkpoint
from gzfound.training.telemetry import Telemetry, read_metrics

OPTIM = OptimConfig(learning_rate=0.05, weight_decay=0.01)


class KilledError(Exception):
    """Stands for a process that ends in the middle of an epoch."""


def regression(
    folder: Path,
    *,
    resume: bool = False,
    kill_at: int | None = None,
    batch_size: int = 8,
    validation: Sequence[float] = (),
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
        return (wrapped(batch["x"])[:, 0] - batch["y"]).square().mean()

    def at_epoch_end(bare: nn.Module) -> dict[str, float]:
        metrics = {"training": float(bare.training)}
        if validation:
            seen = len(read_metrics(folder / "metrics.jsonl", "epoch"))
            metrics["validation_loss"] = validation[seen]
        return metrics

    accelerate = Accelerator(cpu=True)
    return train(
        Run(folder, 4, OPTIM, resume, patience=2 if validation else 0),
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
