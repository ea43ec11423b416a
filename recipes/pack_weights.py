"""Make the weights of a run small enough to ship, check them, and write their card.

    python recipes/pack_weights.py --weights runs/default/weights --name NAME --check-data D \
        --results R1.json R2.json --limits "What they were never shown."

Writes ``gzfound/weights/NAME``. The results are files of ``benchmarks/linear_probe.py``,
``real_galaxies.py`` and ``ranked_answers.py``, measured with the same weights, or the
``metrics.json`` of the run itself.

With ``--head-only`` the weights are a head that was fitted to the frozen encoder of the packaged
weights NAME (``finetune_tree.py --weights NAME --tune head``); it is added to them.
"""

from __future__ import annotations

import gzfound  # noqa: F401  # isort: skip  # before torch: says how its threads wait

import json
import os
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from datasets import Dataset

from gzfound.embedding import embed, whole_dataset
from gzfound.errors import ConfigError, WeightsError, one_line_errors
from gzfound.evaluation import ResultTable
from gzfound.models import TreeHead, load_encoder, transform_of
from gzfound.models.checkpoint import load_head, read_config
from gzfound.models.packing import Half, add_head, halve_weights
from gzfound.prediction import predict
from gzfound.training.config import parse_config
from gzfound.weights import FOLDER, HEAD, LARGEST, directory_size

LEAST_COSINE = 0.999
"""Least cosine of an embedding with that of the weights in float32."""

MOST_DIFFERENCE = 0.02
"""Most by which an expected vote fraction may differ from that of the weights in float32."""


@dataclass(frozen=True)
class PackConfig:
    """Options of packing.

    Attributes:
        weights: weights directory of a run.
        name: of the packaged weights, in lower case.
        head_only: add the head alone to packaged weights of that name.
        check_data: images whose embeddings and predictions must not change.
        crop: linear fraction of these images to look at, if not that of the weights.
        galaxies: number of these images, at most.
        results: JSON files of the benchmarks, for the card.
        limits: what the weights were never shown, and what they are not for.
        data_title: what they were trained on, in words; by default the names in the run.
        licence: of the weights, an identifier of the hub; by default that of the data.
        precision: of kernels and matrices.
        output: folder of packaged weights.
    """

    weights: str = ""
    name: str = ""
    head_only: bool = False
    check_data: str = ""
    crop: float | None = None
    galaxies: int = 1000
    results: tuple[str, ...] = ()
    limits: str = ""
    data_title: str = ""
    licence: str = ""
    precision: Half = "bf16"
    output: str = str(FOLDER)

    def __post_init__(self) -> None:
        if self.name and not re.fullmatch(r"[a-z0-9_]+", self.name):
            raise ConfigError(f"name: {self.name!r}; allowed: lower case, digits and underscores")
        if timm.is_model(self.name):
            raise ConfigError(f"name: {self.name!r} is a model of timm; choose another name")
        if self.galaxies < 1:
            raise ConfigError(f"galaxies: {self.galaxies} must be at least 1")


def pack(config: PackConfig) -> Path:
    """Write the packaged weights; returns their directory."""
    for name in ("weights", "name", "check_data", "results", "limits"):
        if not getattr(config, name):
            option = name.replace("_", "-")
            raise ConfigError(f"{name}: missing; pass --{option}")
    source, target = Path(config.weights), Path(config.output) / config.name
    notes = described(config, read_config(source).get("gzfound", {}))
    write = partial(halve_weights, source)
    if config.head_only:
        check_same_encoder(source, target)
        write = partial(add_head, source, target)
    with tempfile.TemporaryDirectory() as folder:
        halved = Path(folder) / config.name
        write(halved, config.precision, notes)
        check_size(config, source, directory_size(halved))
        packed = {"precision": config.precision, **agreement(config, source, halved)}
    write(target, config.precision, {**notes, "packed": packed})
    return target


def check_size(config: PackConfig, source: Path, size: int) -> None:
    """Raise ``WeightsError`` if a directory would make the packaged weights too large."""
    others = sum(
        directory_size(path.parent)
        for path in Path(config.output).glob("*/config.json")
        if path.parent.name != config.name
    )
    if size + others > LARGEST:
        beside = f" in all, and others take {others / 2**20:.1f}" if others else ""
        raise WeightsError(
            f"weights: {source} takes {size / 2**20:.1f} MiB in {config.precision}; "
            f"packaged weights take {LARGEST / 2**20:g} MiB at most{beside}"
        )


def check_same_encoder(source: Path, target: Path) -> None:
    """Raise ``WeightsError`` unless a tree head stands on the encoder of packaged weights."""
    name = target.name
    head = load_head(source, one := load_encoder(source))
    if not isinstance(head, TreeHead):
        raise WeightsError(f"weights: the head of {source} is no decision tree")
    other = load_encoder(target)
    mine, theirs = one.state_dict(), other.state_dict()
    same = mine.keys() == theirs.keys() and all(torch.equal(mine[k], theirs[k]) for k in mine)
    if not same or transform_of(one) != transform_of(other):
        raise WeightsError(
            f"weights: {source} has not the encoder and the input of {name}; fit the head with "
            f"finetune_tree.py --weights {name} --tune head, without --crop"
        )


def described(config: PackConfig, notes: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of the run, without this machine's folders, and what the card adds to them."""
    found: dict[str, Any] = portable(dict(notes))
    sources = found.get("config", {}).get("data")
    added = {
        "name": config.name,
        "data": ", ".join(sources) if sources else found.get("data", "unknown"),
        "data_title": config.data_title,
        "weights_licence": config.licence,
        "limits": config.limits,
        "results": [table for path in config.results for table in tables(config, Path(path))],
    }
    return {**found, **{name: value for name, value in added.items() if value}}


def portable(value: Any) -> Any:
    """The value with absolute paths as ``$GZFOUND_REAL_DATA/...``, or else as their last name."""
    if isinstance(value, dict):
        return {name: portable(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [portable(item) for item in value]
    if not isinstance(value, str) or not Path(value).is_absolute():
        return value
    path, known = Path(value), os.environ.get("GZFOUND_REAL_DATA")
    if known and path.is_relative_to(known):
        return str(Path("$GZFOUND_REAL_DATA") / path.relative_to(known))
    return path.name


def tables(config: PackConfig, path: Path) -> list[str]:
    """The tables of a benchmark's file in Markdown, each with a line on where it comes from."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"results: cannot read {path}: {error}") from error
    if path.resolve() == (Path(config.weights).parent / "metrics.json").resolve():
        found = {**of_the_run(config), **found}
    parts = [found, *found.values()] if isinstance(found, dict) else []
    kept = [part for part in parts if isinstance(part, dict) and "rows" in part]
    if not kept or not {"configuration", "revision"} <= set(found):
        raise ConfigError(
            f"results: {path} is no file of benchmarks/linear_probe.py, real_galaxies.py or "
            "ranked_answers.py, nor the metrics.json beside the weights"
        )
    options = found["configuration"]
    if not isinstance(options, dict) or not isinstance(options.get("weights"), str):
        raise ConfigError(f"results: {path} does not say which weights were measured")
    measured = options["weights"]
    if measured != config.name and Path(measured).resolve() != Path(config.weights).resolve():
        raise ConfigError(f"results: {path} is of weights {measured!r}, not {config.weights!r}")
    crops = [f"{key} {options[key]:g}" for key in ("crop", "examples_crop") if options.get(key)]
    data = ", ".join([f"`{portable(options.get('data'))}`", *crops])
    origin = f"`{path.name}`: data {data}; revision {found['revision']}."
    try:
        return [f"{ResultTable.from_dict(part).to_markdown()}\n{origin}" for part in kept]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"results: {path} holds a table that is none ({error!r})") from error


def of_the_run(config: PackConfig) -> dict[str, Any]:
    """What the ``metrics.json`` of a run does not say itself: what was measured, and with which."""
    notes = read_config(Path(config.weights))["gzfound"]
    options = notes.get("config", {})
    data = ", ".join(portable(list(options.get("data", ())))) + f", split {options['test_split']}"
    return {
        "configuration": {"weights": config.weights, "data": data},
        "revision": notes.get("revision", "unknown"),
    }


def agreement(config: PackConfig, source: Path, halved: Path) -> dict[str, Any]:
    """How alike embeddings and expected vote fractions of two weights directories are."""
    dataset = whole_dataset(config.check_data, None, None)
    dataset = dataset.select(range(min(config.galaxies, len(dataset))))
    found = {"data": portable(config.check_data), "galaxies": len(dataset)}
    if not config.head_only:
        found |= cosines(config, dataset, source, halved)
    if (halved / HEAD).is_file():
        found |= fractions(config, dataset, source, halved)
    return found


def fractions(config: PackConfig, dataset: Dataset, source: Path, halved: Path) -> dict[str, float]:
    """The largest difference of an expected fraction; nothing for heads of other kinds."""
    head = load_head(halved, load_encoder(halved))
    if not isinstance(head, TreeHead):
        return {}
    one, other = (
        np.stack([table[column].to_numpy() for column in head.tree.columns])
        for table in (
            predict(dataset, weights, crop=config.crop, precision="no")
            for weights in (source, halved)
        )
    )
    most = float(np.abs(one - other).max())
    if not most <= MOST_DIFFERENCE:
        raise WeightsError(
            f"precision: in {config.precision} an expected fraction is off by {most:.4f}; "
            f"{MOST_DIFFERENCE} is allowed, try the other of bf16 and fp16"
        )
    return {"fraction_difference": most}


def cosines(config: PackConfig, dataset: Dataset, source: Path, halved: Path) -> dict[str, float]:
    """The mean and the least cosine between the embeddings of each galaxy."""
    one, other = (
        embed(dataset, load_encoder(weights, crop=config.crop), precision="no").vectors.astype(
            np.float64
        )
        for weights in (source, halved)
    )
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    found = (one * other).sum(axis=1) / lengths
    if not found.min() >= LEAST_COSINE:
        raise WeightsError(
            f"precision: in {config.precision} the cosine with the float32 embeddings falls to "
            f"{found.min():.6f}; {LEAST_COSINE} is allowed, try the other of bf16 and fp16"
        )
    return {"cosine_mean": float(found.mean()), "cosine_least": float(found.min())}


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the options and run."""
    config = parse_config(PackConfig, "Make weights small enough to ship, with their card.", argv)
    target = pack(config)
    notes = read_config(target)["gzfound"]
    packed = (notes["head_notes"] if config.head_only else notes)["packed"]
    said = [f"weights: {target}", f"{directory_size(target) / 2**20:.1f} MiB"]
    if "cosine_least" in packed:
        said.append(f"cosine with float32 {packed['cosine_least']:.6f} or more")
    if "fraction_difference" in packed:
        said.append(f"fractions at most {packed['fraction_difference']:.4f} from float32")
    sys.stdout.write(", ".join(said) + "\n")


if __name__ == "__main__":
    main()
