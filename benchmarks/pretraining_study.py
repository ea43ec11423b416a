"""What makes SimCLR work on galaxies: short runs that differ in one thing, probed elsewhere.

    gzfound simulate STUDY --galaxies 12500 --seed 32
    gzfound simulate PROBED --galaxies 80000 --seed 30
    python benchmarks/pretraining_study.py --data STUDY --probed PROBED --output R.json

Only training splits are read: a run learns from that of STUDY, probes are fitted to four in five of
some galaxies of PROBED's and scored on the fifth. Variants that R.json has already are left out, so
that the study can be stopped and gone on with; ``--only`` names some of ``study_variants.py``.
"""

from __future__ import annotations

import gzfound  # isort: skip  # before torch: says how its threads wait

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rich
import torch
import yaml
from study_variants import BASE, VARIANTS

from gzfound.data import decoded_images, load_dataset, split_by_id
from gzfound.embedding import embed_arrays
from gzfound.errors import ConfigError, one_line_errors
from gzfound.evaluation import ResultTable, probe_table
from gzfound.evaluation.results import write_results
from gzfound.evaluation.sample import names_in
from gzfound.evaluation.table import MEAN
from gzfound.models import transform_of
from gzfound.training.config import parse_config
from gzfound.training.telemetry import read_metrics
from gzfound.trees import DecisionTree
from gzfound.votes import votes_from_columns

sys.path.insert(0, str(Path(__file__).parents[1] / "recipes"))
import pretrain_simclr

QUESTIONS = (
    "clumpy-appearance-hubble",
    "disk-edge-on-hubble",
    "bar-hubble",
    "has-spiral-arms-hubble",
    "spiral-arm-count-hubble",
)
RAREST = "has-spiral-arms-hubble"
"""Probed are the galaxies with enough votes on this question, and some others."""

SHARES = {"fitted": 0.8, "scored": 0.2}
DIVISION = 1
"""Seed of the division; 0 would find all in one part, as it made the training split."""


@dataclass(frozen=True)
class StudyConfig:
    """Options of the study.

    Attributes:
        data: dataset to learn from, its training split.
        probed: dataset to probe, its training split.
        output: JSON file to write, or to go on with.
        only: variants to run, separated by commas; all by default.
        others: galaxies to probe beside those with votes on the rarest question.
        min_votes: fewest votes on a question for a galaxy to count.
        resamples: of the bootstrap.
    """

    data: str = ""
    probed: str = ""
    output: str = ""
    only: str = ""
    others: int = 3000
    min_votes: int = 10
    resamples: int = 200


@dataclass(frozen=True)
class Probed:
    """The galaxies to probe: those with votes, their counts ``(N, A)``, and the two parts."""

    dataset: Any
    tree: DecisionTree
    votes: npt.NDArray[np.int32]
    fitted: npt.NDArray[np.integer]
    scored: npt.NDArray[np.integer]


def probed_galaxies(config: StudyConfig) -> Probed:
    """Choose and divide them, always in the same way."""
    dataset = load_dataset(config.probed, split="train")
    columns = dataset.with_format(None).remove_columns("image").to_pandas()
    tree = DecisionTree.from_columns(list(columns)).tree
    votes = votes_from_columns({name: columns[name].to_numpy() for name in columns}, tree)
    many = votes[:, tree.slices[RAREST]].sum(1) >= config.min_votes
    others = np.random.default_rng(0).permutation(np.flatnonzero(~many))[: config.others]
    rows = np.sort(np.concatenate((np.flatnonzero(many), others)))
    parts = split_by_id(list(columns["id_str"].iloc[rows]), SHARES, DIVISION)
    return Probed(dataset.select(rows), tree, votes[rows], parts["fitted"], parts["scored"])


def learn(overrides: dict[str, Any], data: str, folder: Path) -> dict[str, Any]:
    """Pretrain one variant; its last loss and rank, its galaxies a second and its seconds."""
    options = folder / "options.yaml"
    options.write_text(yaml.safe_dump({**merged(BASE, overrides), "data": [data]}))
    start = time.perf_counter()
    pretrain_simclr.main(["--config", str(options), "--output", str(folder / "run")])
    last = list(read_metrics(folder / "run" / "metrics.jsonl", "epoch"))[-1]
    kept = {name: last[name] for name in ("loss", "rank", "galaxies_per_second")}
    return {**kept, "seconds": round(time.perf_counter() - start, 1)}


def merged(base: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """The base options with some replaced, groups within groups."""
    found = dict(base)
    for name, value in overrides.items():
        inner = isinstance(value, dict) and isinstance(base.get(name), dict)
        found[name] = merged(base[name], value) if inner else value
    return found


def skills(folder: Path, probed: Probed, config: StudyConfig) -> dict[str, Any]:
    """Skill of probes on each question and on average, with intervals."""
    encoder = gzfound.load_encoder(folder / "run" / "weights")
    transform = transform_of(encoder)
    images = decoded_images(probed.dataset, transform.size, crop=transform.crop).images
    embeddings = embed_arrays(encoder, np.asarray(images), torch.device("cpu"))
    table = probe_table(
        {"embedding": embeddings},
        probed.votes,
        probed.tree,
        probed.fitted,
        probed.scored,
        QUESTIONS,
        constant=False,
        min_votes=config.min_votes,
        resamples=config.resamples,
    ).table
    return skill_of(table)


def skill_of(table: ResultTable) -> dict[str, Any]:
    """Target to its skill; the mean over answers is named ``mean``."""
    rows = table.to_dict()["rows"]
    return {"mean" if row["target"] == MEAN else row["target"]: row["skill"] for row in rows}


def chosen(only: str) -> list[str]:
    """The variants named, or all.

    Raises:
        ConfigError: a name that is none of them.
    """
    names = names_in(only) or list(VARIANTS)
    for name in names:
        if name not in VARIANTS:
            raise ConfigError(f"only: {name!r} is no variant; allowed: {', '.join(VARIANTS)}")
    return names


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Run the variants that are not in the output yet."""
    config = parse_config(StudyConfig, "Short SimCLR runs that differ in one thing.", argv)
    for name in ("data", "probed", "output"):
        if not getattr(config, name):
            raise ConfigError(f"--{name} is missing; --data, --probed and --output are needed")
    names, output = chosen(config.only), Path(config.output)
    found = json.loads(output.read_text())["variants"] if output.exists() else {}
    probed = probed_galaxies(config)
    for name in names:
        if name in found:
            continue
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            run = learn(VARIANTS[name], config.data, folder)
            found[name] = {
                "options": VARIANTS[name],
                **run,
                "skill": skills(folder, probed, config),
            }
        mean = found[name]["skill"]["mean"]
        rich.print(f"{name}: {mean['value']:.3f} ({mean['low']:.3f} to {mean['high']:.3f})")
        sizes = {"fitted": len(probed.fitted), "scored": len(probed.scored)}
        command = sys.argv if argv is None else ["benchmarks/pretraining_study.py", *argv]
        write_results(output, {"base": BASE, **sizes, "variants": found, "command": command})


if __name__ == "__main__":
    main()
