"""Devices and precisions, chosen by what the machine is fast at."""

from __future__ import annotations

import os
from typing import Literal

import torch

from gzfound.errors import ConfigError

Precision = Literal["auto", "no", "bf16", "fp16"]


def pick_device(device: str = "auto") -> torch.device:
    """The named device, or the GPU where there is one.

    Raises:
        ConfigError: this machine has no such device.
    """
    best = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        found = torch.device(best if device == "auto" else device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:
        allowed = "auto, cpu" if best == "cpu" else f"auto, cpu, {best}"
        raise ConfigError(f"device: {device!r} cannot be used here; allowed: {allowed}") from error
    return found


def only_cpu() -> bool:
    """Whether this machine has no GPU of any kind.

    ``accelerate`` has to be told: several processes without a GPU would each take themselves for
    the only one.
    """
    return not torch.accelerator.is_available()


def usable_cores() -> int:
    """The cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def local_processes(processes: int) -> int:
    """Those on this machine, of all ``processes`` that a launcher started."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", processes))


def use_all_cores(processes: int) -> None:
    """Divide the cores over the processes where a launcher gave each a single thread.

    ``accelerate launch`` and ``torchrun`` set ``OMP_NUM_THREADS=1`` unless told otherwise; a user
    who wants one thread cannot be told apart, and should run the recipe with ``python``.

    Args:
        processes: on this machine.
    """
    launched = "ACCELERATE_USE_CPU" in os.environ or "LOCAL_WORLD_SIZE" in os.environ
    if launched and os.environ.get("OMP_NUM_THREADS") == "1":
        torch.set_num_threads(max(1, usable_cores() // processes))


def pick_precision(precision: Precision, device: torch.device | None = None) -> str:
    """``no`` (float32), ``bf16`` or ``fp16``; ``auto`` takes bf16 where the hardware has it."""
    if precision != "auto":
        return precision
    where = device or pick_device()
    if where.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16" if where.type == "cpu" and fast else "no"
