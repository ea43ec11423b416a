"""Whether N processes learn what one learns, and how far apart they end.

    python benchmarks/many_processes.py    # about ten minutes on two cores

The recipes run for some twenty steps with 1, 2 and 3 processes on CPUs, on simulated galaxies.
Writes results/many_processes.json.
"""

from __future__ import annotations

import gzfound  # noqa: F401  # isort: skip  # before torch: says how its threads wait

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import load_file

from gzfound import Embeddings
from gzfound.errors import GzfoundError, one_line_errors
from gzfound.evaluation.results import write_results
from gzfound.simulation import simulate_dataset
from gzfound.training.config import parse_config
from gzfound.training.telemetry import read_metrics

ROOT = Path(__file__).parents[1]
RATE = "--optim.learning-rate"
STILL = "1e-30"
"""A learning rate that leaves the weights where they start."""
PIXELS = ("--views.size", "32", "--image-size", "48", "--batch-size", "24", "--precision", "no")


@dataclass(frozen=True)
class ManyConfig:
    """Options of the benchmark.

    Attributes:
        processes: numbers of processes to compare with one.
        encoder: timm architecture, with batch norm.
        galaxies: simulated; four fifths of them train.
        epochs: of every run; five steps each with 150 galaxies.
        only: training or extraction; both by default.
        output: JSON file to write.
    """

    processes: tuple[int, ...] = (2, 3)
    encoder: str = "resnet10t"
    galaxies: int = 150
    epochs: int = 4
    only: tuple[Literal["training", "extraction"], ...] = ("training", "extraction")
    output: str = str(ROOT / "benchmarks" / "results" / "many_processes.json")


def launch(processes: int, recipe: str, options: Sequence[str | Path]) -> None:
    """Run a recipe with some processes of one thread each.

    Raises:
        GzfoundError: it failed; the message has its last line.
    """
    command = [sys.executable]
    if processes > 1:
        command += ["-m", "torch.distributed.run", "--standalone"]
        command += ["--nproc_per_node", str(processes)]
    alone = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    ended = subprocess.run(
        [*command, str(ROOT / "recipes" / f"{recipe}.py"), *map(str, options)],
        env={**os.environ, **alone},
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        raise GzfoundError(f"{recipe}: {ended.stderr.strip().splitlines()[-1]}")


def weights(run: Path) -> dict[str, torch.Tensor]:
    """All floating-point numbers that a run saved, encoder and head, in float64."""
    files = sorted((run / "weights").glob("*.safetensors"))
    named = {f"{file.stem}.{k}": v for file in files for k, v in load_file(file).items()}
    return {name: value.double() for name, value in named.items() if value.is_floating_point()}


def apart(one: Path, other: Path, start: Path) -> dict[str, float]:
    """How far two runs end from one another.

    ``travelled`` is the distance between their parameters over that from where they started.
    """
    found, expected, first = weights(other), weights(one), weights(start)
    learned = [name for name in expected if "running" not in name]

    def distance(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
        return float(torch.cat([(a[name] - b[name]).flatten() for name in learned]).norm())

    size = float(torch.cat([expected[name].flatten() for name in learned]).norm())
    losses = [
        np.array([row["loss"] for row in read_metrics(run / "metrics.jsonl", "step")])
        for run in (one, other)
    ]
    relative = np.abs(losses[1] / losses[0] - 1)
    return {
        "steps": len(relative),
        "first_loss": float(relative[0]),
        "largest_loss": float(relative.max()),
        "weights": distance(found, expected) / size,
        "travelled": distance(found, expected) / distance(expected, first),
    }


def compare_training(
    config: ManyConfig, home: Path, recipe: str, rate: str, options: Sequence[str | Path]
) -> list[dict[str, Any]]:
    """A recipe with each number of processes, then with batch norm in each of two for itself."""
    options = [*options, *PIXELS, "--epochs", str(config.epochs)]
    one, start = home / "one", home / "start"
    launch(1, recipe, [*options, RATE, rate, "--output", one])
    launch(1, recipe, [*options, RATE, STILL, "--output", start])
    rows = []
    for processes, shared in [*((n, True) for n in config.processes), (2, False)]:
        option = "--sync-batch-norm" if shared else "--no-sync-batch-norm"
        run = home / f"{processes}{option}"
        launch(processes, recipe, [*options, RATE, rate, option, "--output", run])
        told = {"learning_rate": rate, "processes": processes, "sync_batch_norm": shared}
        rows.append({**told, **apart(one, run, start)})
        print(home.name, rows[-1], flush=True)
    return rows


def compare_extraction(
    config: ManyConfig, home: Path, data: Path, weights_of: Path
) -> list[dict[str, Any]]:
    """Names and largest difference of the embeddings by each number of processes."""
    found = {}
    for processes in (1, *config.processes):
        target = home / f"e-{processes}.parquet"
        options = ["--weights", weights_of, "--data", data, "--batch-size", "16"]
        launch(processes, "extract_embeddings", [*options, "--output", target])
        found[processes] = Embeddings.read(target)
    return [
        {
            "processes": processes,
            "galaxies": len(found[processes].ids),
            "same_names": found[processes].ids == found[1].ids,
            "difference": float(np.abs(found[processes].vectors - found[1].vectors).max()),
        }
        for processes in config.processes
    ]


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the options, run everything, write what comes out."""
    config = parse_config(ManyConfig, "Many processes against one.", argv)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        data = simulate_dataset(home / "small", galaxies=config.galaxies, image_size=48, seed=1)
        simclr = ["--data", data, "--encoder", config.encoder]
        votes = [*simclr, "--supervised-weight", "0.1"]
        start = home / "start"
        launch(1, "pretrain_simclr", [*simclr, *PIXELS, "--epochs", "1", "--output", start])
        tuned = ["--data", data, "--weights", start / "weights", "--head-epochs", "2"]
        runs = {
            "simclr": ("pretrain_simclr", "1e-4", simclr),
            "simclr, faster": ("pretrain_simclr", "1e-3", simclr),
            "hybrid": ("pretrain_simclr", "1e-4", votes),
            "tree": ("finetune_tree", "1e-3", tuned),
        }
        target = Path(config.output)
        result = json.loads(target.read_text(encoding="utf-8")) if target.exists() else {}
        result["configuration"] = {**asdict(config), "output": target.name}
        if "training" in config.only:
            result["training"] = {
                name: compare_training(config, home / name, *run) for name, run in runs.items()
            }
        if "extraction" in config.only:
            result["extraction"] = compare_extraction(config, home, data, start / "weights")
    write_results(target, result)
    print(f"written: {config.output}")


if __name__ == "__main__":
    main()
