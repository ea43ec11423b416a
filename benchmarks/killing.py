"""Runs of recipes as forks of one warm process, and ways to kill them.

The parent imports everything and computes nothing, so that a run starts at once in a fork of it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import datasets
import lightly.loss  # noqa: F401
import safetensors.torch
import timm  # noqa: F401
import torch

RECIPES = Path(__file__).parents[1] / "recipes"
WAYS = ("moment", "half a file", "renaming")
"""A kill at a random moment, inside the n-th file of weights, or around the n-th rename."""

_PATIENCE = 10.0


def recipe(name: str) -> ModuleType:
    """A recipe by the name of its file."""
    specification = importlib.util.spec_from_file_location(name, RECIPES / f"{name}.py")
    if specification is None or specification.loader is None:
        raise ModuleNotFoundError(name)
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module  # dataclasses look their module up
    specification.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class Kill:
    """How a run is to end early.

    Attributes:
        way: one of :data:`WAYS`, or ``terminate`` for a SIGTERM at a random moment.
        after: seconds from its start, or the number of the file or of the rename.
        process: of those of the run, which is killed; the others are left to notice.
    """

    way: str
    after: float
    process: int = 0


@dataclass(frozen=True)
class Ended:
    """How the processes of a run ended.

    Attributes:
        statuses: of each; minus the signal that killed it.
        seconds: from the start, or from the signal if there was one.
        signalled: whether a signal was sent before the end.
    """

    statuses: tuple[int, ...]
    seconds: float
    signalled: bool

    @property
    def killed(self) -> bool:
        """Whether one of them was killed as planned."""
        return -signal.SIGKILL in self.statuses


def run(
    work: Callable[[], Any],
    log: Path,
    *,
    processes: int = 1,
    threads: int = 1,
    kill: Kill | None = None,
) -> Ended:
    """Do some work in one or more forks of this process, and kill it if so asked.

    Args:
        work: what each process does.
        log: file that gains what they print.
        processes: of ``torch.distributed``.
        threads: of torch in each.
        kill: how to end one of them.
    """
    port = _free_port()
    began = time.monotonic()
    children = []
    for number in range(processes):
        mine = kill if kill is not None and kill.process == number else None
        child = os.fork()
        if child == 0:
            _live(work, log, number, processes, port, threads, mine)
        children.append(child)
    signalled = False
    if kill is not None and kill.way in ("moment", "terminate"):
        status = _wait(children[kill.process], began + kill.after, reap=False)
        if status is None:
            sent = signal.SIGKILL if kill.way == "moment" else signal.SIGTERM
            os.kill(children[kill.process], sent)
            began, signalled = time.monotonic(), True
    ends: list[int | None] = [None] * processes
    first_death: float | None = None
    while None in ends:
        for place, child in enumerate(children):
            if ends[place] is None:
                ends[place] = _wait(child, time.monotonic() + 0.005)
        if first_death is None and any(status not in (None, 0) for status in ends):
            first_death = time.monotonic()
        # As a launcher would: those that do not notice that one is gone are ended.
        if first_death is not None and time.monotonic() - first_death > _PATIENCE:
            for place, child in enumerate(children):
                if ends[place] is None:
                    os.kill(child, signal.SIGKILL)
    statuses = tuple(status for status in ends if status is not None)
    return Ended(statuses, time.monotonic() - began, signalled)


def use_threads(threads: int) -> None:
    """Have torch use so many; recipes take all cores where the environment says one."""
    os.environ.pop("OMP_NUM_THREADS", None)
    torch.set_num_threads(threads)


def use_caches(decoded: Path, copies: Path) -> None:
    """Keep decoded images and the copies of ``datasets`` here, in this process and its forks."""
    os.environ["GZFOUND_CACHE"] = str(decoded)
    datasets.config.HF_DATASETS_CACHE = copies  # its variable was read on import


def random_kill(draw: random.Random, way: str, seconds: float, files: int, process: int) -> Kill:
    """A kill somewhere in a run that takes so many seconds and writes so many files."""
    if way in ("moment", "terminate"):
        return Kill(way, draw.uniform(0.0, seconds), process)
    return Kill(way, draw.randint(1, files), process)


def left_overs(folder: Path) -> list[str]:
    """Temporary files and folders, and locks, anywhere in a folder."""
    kinds = ("*.tmp", "*.old", "*.lock", ".*.part-*")
    return sorted(str(path.relative_to(folder)) for kind in kinds for path in folder.rglob(kind))


def _live(
    work: Callable[[], Any],
    log: Path,
    number: int,
    processes: int,
    port: int,
    threads: int,
    kill: Kill | None,
) -> None:
    """The life of a fork."""
    status = 1
    try:
        with log.open("a") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        if processes > 1:
            names = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": processes}
            os.environ.update({name: str(value) for name, value in names.items()})
            os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
            os.environ.update(LOCAL_WORLD_SIZE=str(processes))
        use_threads(threads)
        if kill is not None and kill.way == "half a file":
            _die_inside_file(int(kill.after))
        if kill is not None and kill.way == "renaming":
            _die_renaming(int(kill.after))
        work()
        status = 0
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _die_inside_file(number: int) -> None:
    """Leave half of the n-th file of weights, and die."""
    save, calls = safetensors.torch.save_file, 0

    def dying(tensors: Any, filename: Any, metadata: Any = None) -> None:
        nonlocal calls
        calls += 1
        save(tensors, filename, metadata)
        if calls == number:
            path = Path(filename)
            os.truncate(path, path.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    safetensors.torch.save_file = dying


def _die_renaming(number: int) -> None:
    """Die before the n-th rename of a file or a directory, or after it if n is odd."""
    replace, calls = Path.replace, 0

    def dying(path: Path, target: Any) -> Path:
        nonlocal calls
        calls += 1
        if calls == number and number % 2 == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        found = replace(path, target)
        if calls == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    Path.replace = dying  # type: ignore[method-assign]  # to die in the middle of a rename


def _wait(child: int, until: float, *, reap: bool = True) -> int | None:
    """The status of a child that ends in time; None for one that does not."""
    while True:
        options = os.WNOHANG | (0 if reap else os.WNOWAIT)
        if not reap:
            if os.waitid(os.P_PID, child, os.WEXITED | options) is not None:
                return 0
        else:
            found, status = os.waitpid(child, options)
            if found:
                return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= until:
            return None
        time.sleep(0.002)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def arguments(options: dict[str, Any], *more: str) -> Sequence[str]:
    """Options as a command line."""
    words = [[f"--{name}", str(value)] for name, value in options.items()]
    return [*(word for pair in words for word in pair), *more]
