"""The small runs that kill_campaign.py and soak.py kill: how they start, and what they leave."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from killing import Ended, arguments, left_overs, recipe, run

from gzfound.errors import GzfoundError
from gzfound.simulation import simulate_dataset
from gzfound.training.resume import checkpoints
from gzfound.weights import HEAD

RATES = ("time", "galaxies_per_second", "waiting", "flops_per_second")
"""What differs from run to run in metrics.jsonl."""


@dataclass(frozen=True)
class RunsConfig:
    """Options that the campaign and the soak share.

    Attributes:
        output: JSON file to write.
        galaxies: simulated; four fifths of them are trained on.
        seed: of every moment.
        pause_file: nothing is started while this file exists.
    """

    output: str = ""
    galaxies: int = 300
    seed: int = 0
    pause_file: str = ""


@dataclass(frozen=True)
class Case:
    """A training run to kill.

    Attributes:
        name: of the run.
        recipe: that it runs.
        options: of the recipe.
        processes: of torch.distributed.
    """

    name: str
    recipe: str
    options: dict[str, Any]
    processes: int = 1


def cases(galaxies: Path, weights: Path) -> list[Case]:
    """Pretraining and fine-tuning, by one process and by two."""
    common = {
        "data": galaxies,
        "batch-size": 16,
        "precision": "no",
        "views.size": 24,
        "checkpoint.steps": 4,
    }
    pretrain = {
        **common,
        "encoder": "test_resnet",
        "image-size": 32,
        "epochs": 4,
        "watch": 64,
    }
    finetune = {**common, "weights": weights, "image-size": 32, "epochs": 3, "head-epochs": 2}
    return [
        Case("pretrain", "pretrain_simclr", pretrain),
        Case("pretrain, votes too", "pretrain_simclr", {**pretrain, "supervised-weight": 0.1}),
        Case("finetune", "finetune_tree", finetune),
        Case("pretrain, 2 processes", "pretrain_simclr", pretrain, 2),
        Case("finetune, 2 processes", "finetune_tree", finetune, 2),
    ]


def result_of(folder: Path) -> dict[str, Any]:
    """All that a training run leaves, but for times: bytes of files, lines of metrics.

    Of the checkpoints only the last: a run that was stopped has one more before it.
    """
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.parent.parent.name == "checkpoints":
            if path.parent == checkpoints(path.parent.parent)[-1]:
                found[name] = path.read_bytes()
        elif path.name == "metrics.jsonl":
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            found[name] = [{k: v for k, v in row.items() if k not in RATES} for row in rows]
        elif path.name in ("model.safetensors", HEAD, "metrics.json"):
            found[name] = path.read_bytes()
        elif path.name == "predictions.parquet":
            found[name] = pq.read_table(path).to_pydict()
    return found


def difference(folder: Path, expected: dict[str, Any]) -> str:
    """What is not as it should be, in a few words."""
    found = result_of(folder)
    if other := set(found) ^ set(expected):
        return f"{min(other)} is in one of them alone"
    for name in sorted(found):
        if found[name] != expected[name]:
            return f"{name} differs"
    if left := left_overs(folder):
        return f"{left[0]} was left over"
    return ""


class Runs:
    """Starts of training and extraction, on galaxies and weights of their own.

    Args:
        config: how many galaxies.
        work: folder for everything.
    """

    def __init__(self, config: RunsConfig, work: Path) -> None:
        self.config = config
        self.work = work
        self.draw = random.Random(config.seed)
        self.log = work / "log.txt"
        self.count = 0
        self.data = work / "galaxies"
        self.weights = work / "start" / "weights"

    def prepare(self) -> None:
        """Galaxies, and weights to fine-tune."""
        make = partial(
            simulate_dataset, self.data, galaxies=self.config.galaxies, image_size=32, threads=1
        )
        self.must(run(make, self.log))
        start = cases(self.data, self.weights)[0]
        self.must(self.train(start, self.work / "start"))

    def must(self, ended: Ended) -> None:
        """Raise unless all processes ended well."""
        if any(ended.statuses):
            lines = self.log.read_text().splitlines()[-5:]
            raise GzfoundError(f"a run ended with {ended.statuses}: {' | '.join(lines)}")

    def train(self, case: Case, folder: Path, *more: str, **how: Any) -> Ended:
        """One start of a training run."""
        self.pause()
        options = {**case.options, "output": folder}
        main = recipe(case.recipe).main
        words = arguments(options, *more)
        return run(lambda: main(words), self.log, processes=case.processes, **how)

    def pause(self) -> None:
        """Wait while the file exists that says so."""
        while self.config.pause_file and Path(self.config.pause_file).exists():
            time.sleep(1)

    def reference(self, case: Case) -> tuple[dict[str, Any], float]:
        """The run that nobody kills, and its seconds."""
        folder = self.work / f"{case.recipe}-{case.processes}-{self.next()}"
        ended = self.train(case, folder)
        self.must(ended)
        return result_of(folder), ended.seconds

    def next(self) -> int:
        """A number for a folder."""
        self.count += 1
        return self.count

    def extraction_options(self, folder: Path) -> Sequence[str]:
        """The command line of an extraction."""
        options = {"data": self.data, "weights": self.weights, "output": folder}
        options |= {"rows-per-file": 16, "batch-size": 12, "precision": "no", "threads": 1}
        return arguments(options, "--resume")

    def extract(self, folder: Path, processes: int, **how: Any) -> Ended:
        """One start of an extraction in files of 16 galaxies."""
        self.pause()
        main = recipe("extract_embeddings").main
        words = self.extraction_options(folder)
        return run(lambda: main(words), self.log, processes=processes, **how)


def embeddings_in(folder: Path) -> list[tuple[list[str], Any]]:
    """Ids and embeddings of every file, in order."""
    tables = [pq.read_table(path) for path in sorted(folder.glob("*.parquet"))]
    return [
        (t.column("id_str").to_pylist(), np.stack(t.column("embedding").to_numpy())) for t in tables
    ]


def options_of(config: Any) -> dict[str, Any]:
    """What decides the figures, for the JSON file."""
    return {k: v for k, v in asdict(config).items() if k not in ("output", "pause_file")}
