"""Weights that ship with the package: a directory beside this file for each name.

Each is a weights directory in half precision, made by ``recipes/pack_weights.py``; all of them
together take at most 16 MiB. No name is that of a timm model.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gzfound.errors import WeightsError

FOLDER = Path(__file__).parent
"""Where the directories are."""

LARGEST = 16 * 2**20
"""The most that the files of all names together may take, in bytes."""

HEAD = "head.safetensors"
"""The file of a weights directory that holds its head."""

DEFAULT = "hubble_resnet10t"
"""The weights that are taken where none are named."""


@dataclass(frozen=True)
class PackagedWeights:
    """What ``gzfound weights`` says of packaged weights.

    Attributes:
        name: what ``gzfound.load_encoder`` takes.
        architecture: of timm.
        size: of all files together, in bytes.
        data: what they were trained on.
        head: whether they answer the questions of a tree.
    """

    name: str
    architecture: str
    size: int
    data: str
    head: bool

    def __str__(self) -> str:
        kind = "encoder and head" if self.head else "encoder"
        size = f"{self.size / 2**20:.1f} MiB"
        return f"{self.name}  {self.architecture}, {kind}  {size}  {self.data}"


def list_weights(*, head: bool = False) -> tuple[str, ...]:
    """The names of the weights that ship with the package.

    Args:
        head: only of those that have a head, with which ``gzfound.predict`` predicts.
    """
    found = sorted(path.parent for path in FOLDER.glob("*/config.json"))
    return tuple(path.name for path in found if not head or (path / HEAD).is_file())


def describe_weights(name: str) -> PackagedWeights:
    """What packaged weights are, from their files."""
    folder = FOLDER / name
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return PackagedWeights(
        name=name,
        architecture=config["architecture"],
        size=directory_size(folder),
        data=data_of(config.get("gzfound", {})),
        head=(folder / HEAD).is_file(),
    )


def find_weights(weights: str | Path | None) -> Path | str:
    """The directory that is meant; a name that is not known here comes back as it is.

    Args:
        weights: a directory, a packaged name, or another name; None is the packaged default. A
            directory of the user goes before a packaged name.

    Raises:
        WeightsError: the default is asked for and is not in this package.
    """
    if weights is None and DEFAULT not in list_weights():
        raise WeightsError(
            f"weights: the default, {DEFAULT}, is not in this package; name a weights directory, "
            "'hf-hub:owner/name' or a timm model"
        )
    named = str(DEFAULT if weights is None else weights)
    if weights is not None and os.path.exists(weights):  # noqa: PTH110  # never raises
        return Path(weights)
    return FOLDER / named if named in list_weights() else named


def find_head(weights: str | Path | None) -> str | Path | None:
    """The weights to predict with: those that are named, or packaged ones that have a head.

    Of these the default goes first.

    Raises:
        WeightsError: none are named, and no packaged weights have a head.
    """
    if weights is not None or not list_weights():
        return weights
    names = list_weights(head=True)
    if not names:
        raise WeightsError(
            f"weights: those that ship with the package ({', '.join(list_weights())}) have no head "
            "to predict with; name the weights directory of a fine-tuning run"
        )
    return FOLDER / (DEFAULT if DEFAULT in names else names[0])


def data_of(notes: Mapping[str, Any]) -> str:
    """What weights were trained on, in words or else as the recipe was given it."""
    return str(notes.get("data_title") or notes.get("data", "unknown"))


def directory_size(folder: Path) -> int:
    """The size in bytes of the files in a directory."""
    return sum(path.stat().st_size for path in folder.iterdir())
