"""Checkpoints that resume a run exactly: safetensors and JSON, whole or absent."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gzfound.errors import WeightsError
from gzfound.files import atomic_directory


def save_checkpoint(
    folder: Path, module: nn.Module, optimiser: Any, state: dict[str, Any], *, keep: int = 2
) -> None:
    """Write a checkpoint of a step and remove all but the last ``keep``.

    Args:
        folder: holds one directory a checkpoint.
        module: unwrapped model; all of its parameters and buffers are kept.
        optimiser: its state is kept tensor by tensor.
        state: JSON values; ``step`` names the checkpoint.
        keep: number of checkpoints to keep.
    """
    from safetensors.torch import save_file

    held = optimiser.state_dict()["state"]
    moments = {
        f"{number}.{name}": torch.as_tensor(value).detach().cpu().contiguous()
        for number, values in held.items()
        for name, value in values.items()
        if value is not None
    }
    moments["random_state"] = torch.get_rng_state()
    with atomic_directory(folder / f"step-{state['step']:09d}") as target:
        save_file(
            {k: v.cpu().contiguous() for k, v in module.state_dict().items()},
            target / "model.safetensors",
        )
        save_file(moments, target / "optimiser.safetensors")
        (target / "state.json").write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
    for old in checkpoints(folder)[:-keep]:
        shutil.rmtree(old)


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    return sorted(folder.glob("step-*"))


def load_checkpoint(path: Path, module: nn.Module, optimiser: Any) -> dict[str, Any]:
    """Put a checkpoint back into a model and its optimiser; returns its ``state``.

    Raises:
        WeightsError: the checkpoint is damaged, or is one of another model.
    """
    from safetensors.torch import load_file

    try:
        module.load_state_dict(load_file(path / "model.safetensors"))
        moments = load_file(path / "optimiser.safetensors")
        state: dict[str, Any] = json.loads((path / "state.json").read_text(encoding="utf-8"))
    except Exception as error:  # safetensors raises its own kind, torch a RuntimeError
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(f"resume: cannot use the checkpoint {path}: {reason}") from error
    torch.set_rng_state(moments.pop("random_state"))
    whole = optimiser.state_dict()
    held: dict[int, dict[str, Tensor]] = {}
    for key, value in moments.items():
        number, name = key.split(".", 1)
        held.setdefault(int(number), {})[name] = value
    # A fused optimiser takes moments and weights in the order of memory: layouts have to agree.
    weights = [weight for group in optimiser.param_groups for weight in group["params"]]
    for index, values in held.items():
        for name, value in values.items():
            if value.shape == weights[index].shape:
                values[name] = torch.empty_like(weights[index]).copy_(value)
    optimiser.load_state_dict({"state": held, "param_groups": whole["param_groups"]})
    return state
