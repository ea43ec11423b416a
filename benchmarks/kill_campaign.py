"""Kill training and extraction again and again: what comes out is what it would have been.

    python benchmarks/kill_campaign.py --output R.json

Tiny runs are killed with SIGKILL at random moments, inside a file of weights and around a rename,
and go on with the same command; the end is compared, bit by bit, with a run that nobody killed.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from killing import WAYS, Ended, arguments, left_overs, random_kill, recipe, run

from gzfound.errors import GzfoundError, one_line_errors
from gzfound.evaluation.results import write_results
from gzfound.simulation import simulate_dataset
from gzfound.training.config import parse_config
from gzfound.training.preemption import PREEMPTED
from gzfound.training.resume import checkpoints

RATES = ("time", "galaxies_per_second", "waiting", "flops_per_second")
"""What differs from run to run in metrics.jsonl."""


@dataclass(frozen=True)
class CampaignConfig:
    """Options of the campaign.

    Attributes:
        output: JSON file to write.
        kills: SIGKILLs of training.
        terminations: SIGTERMs of training.
        extraction_kills: SIGKILLs of extraction.
        galaxies: simulated; four fifths of them are trained on.
        only: training runs to do, all by default.
        seed: of every moment.
        pause_file: nothing is started while this file exists.
    """

    output: str = "kill_campaign.json"
    kills: int = 50
    terminations: int = 15
    extraction_kills: int = 20
    galaxies: int = 300
    only: tuple[str, ...] = ()
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


@dataclass
class Tally:
    """What happened to the runs of a case."""

    kills: Counter[str] = field(default_factory=Counter)
    chains: int = 0
    identical: int = 0
    resumed_from_checkpoint: int = 0
    started_over: int = 0
    wrong: list[str] = field(default_factory=list)


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
        elif path.name in ("model.safetensors", "head.safetensors", "metrics.json"):
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


class Campaign:
    """Runs, kills and compares.

    Args:
        config: how many of each.
        work: folder for everything.
    """

    def __init__(self, config: CampaignConfig, work: Path) -> None:
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

    def kill(self, case: Case, kills: int) -> dict[str, Any]:
        """Kill a case so many times, in chains of up to five, each to its end."""
        expected, seconds = self.reference(case)
        tally = Tally()
        while sum(tally.kills.values()) < kills:
            folder = self.work / f"killed-{self.next()}"
            tally.chains += 1
            for _ in range(min(5, kills - sum(tally.kills.values()))):
                way = self.draw.choice(WAYS)
                process = self.draw.randrange(case.processes) if way == "moment" else 0
                # Later starts have less to do: a moment in the first half is more often in time.
                kill = random_kill(self.draw, way, 0.7 * seconds, 12, process)
                began = any(folder.rglob("step-*"))
                threads = self.draw.choice((1, 2)) if began else 1
                ended = self.train(case, folder, "--resume", "auto", kill=kill, threads=threads)
                if ended.killed:
                    tally.kills[way] += 1
                    tally.resumed_from_checkpoint += began
                    tally.started_over += not began
                if not any(ended.statuses):
                    break
            self.must(self.train(case, folder, "--resume", "auto"))
            wrong = difference(folder, expected)
            tally.identical += not wrong
            if wrong:
                tally.wrong.append(f"{folder.name}: {wrong}")
        return {**asdict(tally), "kills": dict(tally.kills)}

    def terminate(self, case: Case, times: int) -> dict[str, Any]:
        """Send SIGTERM at random moments; the run goes on, and ends with the same bits."""
        expected, seconds = self.reference(case)
        statuses: Counter[int] = Counter()
        waits: list[float] = []
        wrong: list[str] = []
        while sum(statuses.values()) < times:
            folder = self.work / f"stopped-{self.next()}"
            for _ in range(min(4, times - sum(statuses.values()))):
                process = self.draw.randrange(case.processes)
                kill = random_kill(self.draw, "terminate", 0.8 * seconds, 0, process)
                ended = self.train(case, folder, "--resume", "auto", kill=kill)
                if ended.signalled:
                    statuses[ended.statuses[process]] += 1
                    waits.append(ended.seconds)
                    if PREEMPTED in ended.statuses and set(ended.statuses) != {PREEMPTED}:
                        wrong.append(f"{folder.name}: processes ended with {ended.statuses}")
                if not any(ended.statuses):
                    break
            self.must(self.train(case, folder, "--resume", "auto"))
            if found := difference(folder, expected):
                wrong.append(f"{folder.name}: {found}")
        return {
            "statuses": {str(status): count for status, count in sorted(statuses.items())},
            "seconds_to_end": {"median": median(waits), "greatest": max(waits)},
            "wrong": wrong,
        }

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

    def kill_extraction(self, kills: int) -> dict[str, Any]:
        """Kill extraction, by one process and by two in turn, to the end."""
        whole = self.work / "whole"
        ended = self.extract(whole, 1)
        self.must(ended)
        expected = embeddings_in(whole)
        found: Counter[str] = Counter()
        wrong: list[str] = []
        kept: list[int] = []
        chains = starts = 0
        while sum(found.values()) < kills:
            folder = self.work / f"embeddings-{self.next()}"
            chains += 1
            for _ in range(min(10, kills - sum(found.values()))):
                processes = 1 + starts % 2
                starts += 1
                way = self.draw.choice(("moment", "renaming"))
                process = self.draw.randrange(processes) if way == "moment" else 0
                kill = random_kill(self.draw, way, 0.5 * ended.seconds, 6, process)
                kept.append(len(list(folder.glob("part-*"))))
                stopped = self.extract(folder, processes, kill=kill)
                found[f"{processes} processes, {way}"] += stopped.killed
                if not any(stopped.statuses):
                    break
            self.must(self.extract(folder, 1 + starts % 2))
            files = embeddings_in(folder)
            if [ids for ids, _ in files] != [ids for ids, _ in expected]:
                wrong.append(f"{folder.name}: other galaxies, or in another order")
            elif not all(
                np.array_equal(a, b) for (_, a), (_, b) in zip(files, expected, strict=True)
            ):
                wrong.append(f"{folder.name}: other embeddings")
            if left := left_overs(folder):
                wrong.append(f"{folder.name}: {left[0]} was left over")
        return {
            "kills": dict(found),
            "chains": chains,
            "files": len(expected),
            "files_there_at_a_start": {"median": median(kept), "greatest": max(kept)},
            "wrong": wrong,
        }


def embeddings_in(folder: Path) -> list[tuple[list[str], Any]]:
    """Ids and embeddings of every file, in order."""
    tables = [pq.read_table(path) for path in sorted(folder.glob("*.parquet"))]
    return [
        (t.column("id_str").to_pylist(), np.stack(t.column("embedding").to_numpy())) for t in tables
    ]


def options_of(config: Any) -> dict[str, Any]:
    """What decides the figures, for the JSON file."""
    return {k: v for k, v in asdict(config).items() if k not in ("output", "pause_file")}


def campaign(config: CampaignConfig) -> dict[str, Any]:
    """All of it; returns what goes into the JSON file."""
    os.environ.update(ACCELERATE_USE_CPU="true", CUDA_VISIBLE_DEVICES="")
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GZFOUND_CACHE"] = f"{folder}/cache"
        os.environ["HF_DATASETS_CACHE"] = f"{folder}/datasets"
        does = Campaign(config, Path(folder))
        does.prepare()
        chosen = [
            case
            for case in cases(does.data, does.weights)
            if not config.only or case.name in config.only
        ]
        found: dict[str, Any] = {"options": options_of(config)}
        found["training"] = each(chosen, config.kills, does.kill)
        found["terminated"] = each(chosen, config.terminations, does.terminate)
        if config.extraction_kills:
            found["extraction"] = does.kill_extraction(config.extraction_kills)
    found["seconds"] = round(time.monotonic() - began, 1)
    found["kills"] = sum(sum(case["kills"].values()) for case in found["training"].values())
    return found


def each(
    chosen: Sequence[Case], times: int, does: Callable[[Case, int], dict[str, Any]]
) -> dict[str, Any]:
    """Some times, divided over cases; the first get one more where they do not divide."""
    shares = [len(part) for part in np.array_split(np.arange(times), len(chosen))]
    return {
        case.name: does(case, share) for case, share in zip(chosen, shares, strict=True) if share
    }


def failures(found: dict[str, Any]) -> list[str]:
    """Everything that went wrong."""
    parts = [*found["training"].values(), *found["terminated"].values()]
    return [
        line for part in [*parts, found.get("extraction", {})] for line in part.get("wrong", [])
    ]


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Run the campaign and write its JSON file; status 1 if anything went wrong."""
    config = parse_config(CampaignConfig, "Kill training and extraction.", argv)
    found = campaign(config)
    write_results(config.output, found)
    wrong = failures(found)
    print(f"{found['kills']} kills of training, {len(wrong)} failures: {config.output}")
    for line in wrong:
        print(line)
    if wrong:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
