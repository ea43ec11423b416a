"""Devices, precisions and threads."""

from __future__ import annotations

import os

import pytest
import torch

from gzfound.models.precision import local_processes, pick_precision, use_all_cores


@pytest.fixture
def threads() -> object:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_a_single_thread_set_by_accelerate_becomes_a_share_of_the_cores(
    monkeypatch: pytest.MonkeyPatch, threads: object
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "False")
    for told, processes, expected in (("1", 1, 6), ("1", 2, 3), ("1", 9, 1), ("2", 1, 1)):
        torch.set_num_threads(1)
        monkeypatch.setenv("OMP_NUM_THREADS", told)
        use_all_cores(processes)
        assert torch.get_num_threads() == expected
    torch.set_num_threads(1)
    monkeypatch.delenv("ACCELERATE_USE_CPU")
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    use_all_cores(1)
    assert torch.get_num_threads() == 1
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")  # torchrun, and accelerate with --multi_gpu
    use_all_cores(2)
    assert torch.get_num_threads() == 3


def test_the_processes_of_other_machines_take_no_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert local_processes(3) == 3
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert local_processes(8) == 2


def test_a_named_precision_is_kept_and_auto_is_one_of_them() -> None:
    assert pick_precision("fp16") == "fp16"
    assert pick_precision("auto", torch.device("cpu")) in ("no", "bf16")
