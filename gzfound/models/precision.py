"""Devices and precisions, chosen by what the machine is fast at."""

from __future__ import annotations

from typing import Literal

import torch

Precision = Literal["auto", "no", "bf16", "fp16"]


def pick_device(device: str = "auto") -> torch.device:
    """The named device, or the GPU where there is one."""
    if device != "auto":
        return torch.device(device)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def pick_precision(precision: Precision, device: torch.device | None = None) -> str:
    """``no`` (float32), ``bf16`` or ``fp16``; ``auto`` takes bf16 where the hardware has it."""
    if precision != "auto":
        return precision
    where = device or pick_device()
    if where.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16" if where.type == "cpu" and fast else "no"
