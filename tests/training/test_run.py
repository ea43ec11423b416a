"""What a run sets up before it trains."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from PIL import Image
from torch import distributed

from gzfound.errors import ConfigError, OutputError
from gzfound.training.exchange import WAIT
from gzfound.training.galaxies import load_galaxies
from gzfound.training.run import RunConfig, errors_file, open_run


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
    run = tmp_path / "run"
    run.mkdir()
    for old in ("errors.jsonl", "errors-1.jsonl"):  # of a run that took no step
        (run / old).write_text("{}\n")
    open_run(RunConfig(output=str(run), precision="no"))
    assert not list(run.glob("errors*"))
    group = distributed.group.WORLD
    assert group is not None
    assert group._get_backend(torch.device("cpu")).options._timeout == WAIT
    assert WAIT.total_seconds() >= 3600


@pytest.mark.parametrize(
    ("full", "message"),
    [(True, "run already holds a run; pass --resume"), (False, "run is being written by another")],
)
def test_a_folder_that_is_taken_is_refused_before_weights_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: bool, message: str
) -> None:
    """It is full, or another run holds it; the weights would not have loaded."""
    run = tmp_path / "run"
    run.mkdir()
    if full:
        (run / "metrics.jsonl").write_text("{}\n")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    told = RunConfig(output=str(run), precision="no", weights=str(tmp_path / "none"))
    with (tmp_path / ".run.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises((ConfigError, OutputError), match=message):
            open_run(told)


def test_an_image_left_out_by_every_process_is_listed_once(tmp_path: Path) -> None:
    """By three processes, of which one is the main one, and by a run that goes on."""
    images, run = tmp_path / "images", tmp_path / "run"
    images.mkdir()
    run.mkdir()
    for number in range(3):
        pixels = np.full((24, 24, 3), 40 * number, np.uint8)
        Image.fromarray(pixels).save(images / f"g{number}.png")
    (images / "g1.png").write_bytes(b"no image")
    for main in (True, False, False, True):
        process = cast("Accelerator", SimpleNamespace(is_main_process=main))
        listed = errors_file(process, run)
        told = {"on_error": "skip", "errors_path": listed}
        found = load_galaxies([str(images)], config=None, split="train", size=16, crop=1.0, **told)
        assert found.ids == ["g0", "g2"]
    lines = (run / "errors.jsonl").read_text().splitlines()
    assert [json.loads(line)["id_str"] for line in lines] == ["g1"]
