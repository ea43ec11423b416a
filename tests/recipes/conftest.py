"""Recipes as modules, and a clean accelerate state for each test."""

from __future__ import annotations

import importlib.util
import os
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
    """Run a recipe under ``accelerate launch`` with two processes.

    Without a GPU, ``--multi_gpu`` means processes of torch.distributed; with ``--cpu`` accelerate
    starts one process whatever ``--num_processes`` says.
    """

    def run(name: str, arguments: list[str]) -> subprocess.CompletedProcess[str]:
        hidden = {"ACCELERATE_USE_CPU": "false", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
        launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
        launch += ["--num_processes", "2", "--num_machines", "1", "--main_process_port", "0"]
        return subprocess.run(
            [*launch, str(RECIPES / f"{name}.py"), *arguments],
            env={**os.environ, **hidden},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return run


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
