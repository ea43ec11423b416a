"""Checkpoints that resume a run exactly: safetensors and JSON, whole or absent, with checksums."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gzfound.errors import OutputError, WeightsError
from gzfound.files import atomic_directory, digest_of, one_line_if_full

CHECKSUMS = "checksums.json"


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

    Raises:
        OutputError: it cannot be written; those before it are as they were.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    held = optimiser.state_dict()["state"]
    moments = {
        f"{number}.{name}": torch.as_tensor(value).detach().cpu().contiguous()
        for number, values in held.items()
        for name, value in values.items()
        if value is not None
    }
    moments["random_state"] = torch.get_rng_state()
    weights = {k: v.cpu().contiguous() for k, v in module.state_dict().items()}
    path = folder / f"step-{state['step']:09d}"
    try:
        with one_line_if_full(path), atomic_directory(path) as target:
            save_file(weights, target / "model.safetensors")
            save_file(moments, target / "optimiser.safetensors")
            _write_json(target / "state.json", state)
            _write_json(target / CHECKSUMS, {f.name: digest_of(f) for f in target.iterdir()})
    except SafetensorError as error:
        raise OutputError(f"output: cannot write {path}: {' '.join(str(error).split())}") from error
    for old in checkpoints(folder)[:-keep]:
        shutil.rmtree(old)


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    return sorted(folder.glob("step-*"))


def damage(path: Path) -> str:
    """What is wrong with the files of a checkpoint, in a few words; empty if nothing is."""
    try:
        expected = json.loads((path / CHECKSUMS).read_text(encoding="utf-8"))
        found = {name: digest_of(path / name) for name in expected}
    except (OSError, ValueError, TypeError) as error:
        return " ".join(str(error).split())[:200]
    wrong = [name for name, digest in found.items() if digest != expected[name]]
    if len(found) < 3:
        return f"{CHECKSUMS} names {len(found)} files, not 3"
    return f"{', '.join(wrong)}: not the bytes that were written" if wrong else ""


def load_checkpoint(path: Path, module: nn.Module, optimiser: Any) -> dict[str, Any]:
    """Put a checkpoint back into a model and its optimiser; returns its ``state``.

    Raises:
        WeightsError: the checkpoint is damaged, or is one of another model.
    """
    from safetensors.torch import load_file

    try:
        if wrong := damage(path):
            raise ValueError(wrong)
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


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
