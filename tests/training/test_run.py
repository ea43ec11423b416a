"""What a run sets up before it trains."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState, GradientState
from torch import distributed

from gzfound.training.run import WAIT, RunConfig, open_run


@pytest.fixture
def _launched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As the only process of a launcher, with a clean accelerate state before and after."""

    def reset() -> None:
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()

    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0", "WORLD_SIZE": "1", "RANK": "0"}
    where |= {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "ACCELERATE_USE_CPU": "true"}
    for name, value in where.items():
        monkeypatch.setenv(name, value)
    threads = torch.get_num_threads()
    reset()
    yield
    distributed.destroy_process_group()
    reset()
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("_launched")
def test_processes_wait_for_one_that_decodes_for_hours(tmp_path: Path) -> None:
    open_run(RunConfig(output=str(tmp_path / "run"), precision="no"))
    group = distributed.group.WORLD
    assert group is not None
    assert group._get_backend(torch.device("cpu")).options._timeout == WAIT
    assert WAIT.total_seconds() >= 3600
