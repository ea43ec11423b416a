"""What a weights directory may hold: checked before any of it is used.

Weights come from strangers. Nothing pickled is opened, no link leads out of the directory, and
``config.json`` chooses an architecture and its sizes, never where weights come from or how strictly
they have to fit.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gzfound.errors import WeightsError

PICKLED = {".pt", ".pth", ".ckpt", ".bin", ".pkl"}
LARGEST_CONFIG = 2**24
LARGEST_SIZE = 2048
"""The most that ``model_args`` may ask for: pixels, blocks or bands."""


def refuse_pickle(path: Path) -> None:
    """Raise ``WeightsError`` for a pickled checkpoint, by its suffix; it is not opened."""
    if path.suffix.lower() in PICKLED:
        raise WeightsError(
            f"weights: {path} is pickled and may run code; convert it to safetensors and pass the "
            "directory that holds model.safetensors and config.json; docs/reliability.md says how"
        )


def check_inside(folder: Path) -> None:
    """Raise ``WeightsError`` if a file of a weights directory is a link that leads out of it.

    The cache of the Hugging Face hub is allowed: its files are links to the ``blobs`` beside them.
    """
    home = folder.resolve()
    blobs = home.parent.parent / "blobs" if home.parent.name == "snapshots" else home
    for path in folder.iterdir():
        target = path.resolve()
        if not (target.is_relative_to(home) or target.is_relative_to(blobs)):
            raise WeightsError(f"weights: {path} leads out of its directory, to {target}; copy it")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        WeightsError: it cannot be read, is too large, or holds something else.
    """
    try:
        if path.stat().st_size > LARGEST_CONFIG:
            raise WeightsError(f"weights: {path} is more than {LARGEST_CONFIG} bytes")
        found = json.loads(path.read_text(encoding="utf-8"))
    except WeightsError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"weights: {path} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise WeightsError(f"weights: {path} names no 'architecture'")
    return found


def check_model_args(args: object, path: Path) -> None:
    """Raise ``WeightsError`` unless ``model_args`` say no more than the shape of an architecture.

    Args:
        args: of ``config.json``.
        path: the file, for the message.
    """
    if not isinstance(args, dict):
        raise WeightsError(f"weights: {path}: model_args must be an object, not {args!r}")
    for name, value in args.items():
        if name.startswith("pretrained") or name in ("features_only", "cache_dir"):
            raise WeightsError(f"weights: {path}: model_args.{name} is not allowed")
        parts = value if isinstance(value, list) and len(value) <= 2 else [value]
        for part in parts:
            number = isinstance(part, (int, float)) and abs(part) <= LARGEST_SIZE
            if not (number or part is None or isinstance(part, str)):
                raise WeightsError(
                    f"weights: {path}: model_args.{name}: {value!r}; allowed: text, or one or two "
                    f"numbers of at most {LARGEST_SIZE}"
                )


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        WeightsError: it is damaged, or is no such file.
    """
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except Exception as error:  # safetensors raises its own kind, and whatever a header provokes
        raise WeightsError(f"weights: cannot load {path}: {in_one_line(error)}") from error


def check_tensors(module: nn.Module, tensors: dict[str, Tensor], path: Path | str) -> None:
    """Raise ``WeightsError`` where a module would turn whole numbers or NaN into weights.

    Args:
        module: takes the tensors.
        tensors: by name, as they are in the file.
        path: where they are from, for the message.
    """
    taken = module.state_dict()
    for name, value in tensors.items():
        wanted = taken.get(name)
        if wanted is None or not wanted.is_floating_point():
            continue
        if not value.is_floating_point():
            raise WeightsError(
                f"weights: {path}: {name} holds {value.dtype}; allowed: floating point"
            )
        if not torch.isfinite(value).all():
            raise WeightsError(f"weights: {path}: {name} holds values that are not finite")


def in_one_line(error: Exception) -> str:
    """What an error says, shortened."""
    return " ".join(str(error).split())[:300] or type(error).__name__
