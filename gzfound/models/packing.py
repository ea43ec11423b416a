"""Weights, or a head alone, made small enough to ship: half precision, and what was packed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from gzfound.files import atomic_directory
from gzfound.models.card import weights_card
from gzfound.models.checkpoint import read_config
from gzfound.models.weights_files import read_tensors
from gzfound.weights import HEAD

Half = Literal["bf16", "fp16"]

_TYPES: Mapping[Half, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}


def halve_weights(
    source: Path, target: Path, precision: Half, notes: Mapping[str, Any] | None = None
) -> None:
    """Write weights again with kernels and matrices in half precision.

    Vectors stay as they are: biases and the statistics of norms are a thousandth of the file, and
    every output depends on them. Both gzfound and timm load the file into a float32 encoder.

    Args:
        source: weights directory.
        target: directory to write, replaced as a whole.
        precision: of kernels and matrices.
        notes: metadata in place of those of ``source``.

    Raises:
        WeightsError: ``source`` is not a weights directory.
    """
    config = read_config(source)
    config["gzfound"] = {**(config["gzfound"] if notes is None else notes)}
    with atomic_directory(target) as folder:
        for name in ("model.safetensors", HEAD):
            if (source / name).is_file():
                _halve(source / name, folder / name, precision)
        _describe(folder, config)


def add_head(
    source: Path, encoder: Path, target: Path, precision: Half, notes: Mapping[str, Any]
) -> None:
    """Write weights again with a head of others, which stands on the same encoder.

    Args:
        source: weights directory with the head.
        encoder: weights directory whose encoder and metadata are kept as they are.
        target: directory to write, replaced as a whole.
        precision: of the matrices of the head.
        notes: metadata of the head.

    Raises:
        WeightsError: one of the two is not a weights directory.
    """
    described = read_config(source)["gzfound"]["head"]
    config = read_config(encoder)
    config["gzfound"] |= {"head": described, "head_notes": dict(notes)}
    with atomic_directory(target) as folder:
        shutil.copyfile(encoder / "model.safetensors", folder / "model.safetensors")
        _halve(source / HEAD, folder / HEAD, precision)
        _describe(folder, config)


def _halve(source: Path, target: Path, precision: Half) -> None:
    from safetensors.torch import save_file

    state = {key: _half(value, precision) for key, value in read_tensors(source).items()}
    save_file(state, target, metadata={"format": "pt"})


def _describe(folder: Path, config: Mapping[str, Any]) -> None:
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(weights_card(config), encoding="utf-8")


def _half(values: Tensor, precision: Half) -> Tensor:
    wide = values.ndim > 1 and values.is_floating_point()
    return values.to(_TYPES[precision]) if wide else values
