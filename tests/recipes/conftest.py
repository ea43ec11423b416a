"""Recipes as modules, and a clean accelerate state for each test."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture(scope="session")
def recipe() -> Callable[[str], ModuleType]:
    """Load a recipe by the name of its file."""

    def load(name: str) -> ModuleType:
        specification = importlib.util.spec_from_file_location(name, RECIPES / f"{name}.py")
        assert specification is not None
        assert specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        sys.modules[name] = module  # dataclasses look their module up
        specification.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def two_processes() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a recipe under ``accelerate launch`` with two processes."""

    def run(name: str, arguments: list[str]) -> subprocess.CompletedProcess[str]:
        return _ended(launch(name, arguments, "--main_process_port", "0", "--num_machines", "1"))

    return run


@pytest.fixture
def two_machines() -> Callable[..., list[subprocess.CompletedProcess[str]]]:
    """Run a recipe with one process on each of two machines, which are both this one."""

    def run(name: str, arguments: list[str]) -> list[subprocess.CompletedProcess[str]]:
        with socket.create_server(("127.0.0.1", 0)) as held:
            port = str(held.getsockname()[1])
        where = ("--num_machines", "2", "--main_process_ip", "127.0.0.1")
        where += ("--main_process_port", port, "--machine_rank")
        machines = [launch(name, arguments, *where, rank) for rank in ("0", "1")]
        return [_ended(machine) for machine in machines]

    return run


def launch(name: str, arguments: list[str], *options: str) -> subprocess.Popen[str]:
    """Start a recipe under ``accelerate launch`` with two processes on all machines together.

    Without a GPU, ``--multi_gpu`` means processes of torch.distributed; with ``--cpu`` accelerate
    starts one process whatever ``--num_processes`` says.
    """
    hidden = {"ACCELERATE_USE_CPU": "false", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
    command += ["--num_processes", "2", *options, str(RECIPES / f"{name}.py"), *arguments]
    return subprocess.Popen(
        command,
        env={**os.environ, **hidden},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _ended(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    said, erred = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, said, erred)


@pytest.fixture(autouse=True)
def _fresh_accelerate(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """On the CPU, whose bits repeat; accelerate keeps its precision for the life of a process."""
    from accelerate.state import AcceleratorState, GradientState

    def reset() -> None:
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()

    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    reset()
    yield
    reset()
