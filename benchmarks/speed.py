"""How fast the parts of gzfound are, and how exact its likelihood is in float32.

    python benchmarks/speed.py --output R.json

Every row is the median and the range of repeats after a warm-up; rows of one group take turns, so
that what else the machine does falls on all of them. Writes the tables as JSON.
"""

from __future__ import annotations

import gzfound  # isort: skip  # before torch: says how its threads wait

import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import rich
import speed_tasks
import torch
from plain_likelihood import float32_errors
from rich.table import Table
from speed_tasks import Tasks
from threadpoolctl import threadpool_limits

from gzfound.errors import ConfigError, one_line_errors
from gzfound.files import write_text
from gzfound.training.config import parse_config
from gzfound.training.provenance import machine, revision, versions

Row = dict[str, Any]


@dataclass(frozen=True)
class SpeedConfig:
    """Options of the speed benchmark.

    Attributes:
        output: JSON file to write.
        repeats: of every row.
        probe_repeats: of the probes, which take seconds.
        calls: of what takes milliseconds, averaged in each repeat.
        threads: of torch and linear algebra (the likelihood: one, too); those that simulate.
        galaxies: simulated end to end.
        images: read.
        batch: galaxies in a call of the likelihood and of the tree.
        rows: of the table of votes.
        probed: galaxies that the probes are fitted to.
        features: of each of them.
        seed: of all that is random.
    """

    output: str = ""
    repeats: int = 5
    probe_repeats: int = 3
    calls: int = 20
    threads: int = 2
    galaxies: int = 500
    images: int = 256
    batch: int = 1024
    rows: int = 100_000
    probed: int = 2400
    features: int = 512
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name not in ("output", "seed") and value < 1:
                raise ConfigError(f"{name}: {value} must be at least 1")


def groups(config: SpeedConfig, folder: Path) -> Iterator[Tasks]:
    """What is timed."""
    yield speed_tasks.starting()
    c, tree = config, gzfound.load_tree("gz_hubble")
    yield speed_tasks.simulation(c.galaxies, c.threads, c.seed, folder)
    yield speed_tasks.reading(c.images, c.seed)
    for name, threads in product(("gz_hubble", "gz_desi"), sorted({1, c.threads})):
        yield speed_tasks.likelihood(gzfound.load_tree(name), c.batch, c.calls, threads, c.seed)
    yield speed_tasks.asked(tree, c.batch, c.calls, c.seed)
    yield speed_tasks.votes_in(tree, c.rows, c.seed)
    yield speed_tasks.probes(tree, c.probed, c.features, c.probe_repeats, c.seed)


def timed(tasks: Tasks, repeats: int) -> list[Row]:
    """Time every function of a group in turn, after one round of warm-up."""
    repeats = min(repeats, tasks.most_repeats or repeats)
    seconds: dict[str, list[float]] = {name: [] for name in tasks.work}
    for repeat in range(repeats + 1):
        for name, function in tasks.work.items():
            start = time.perf_counter()
            for _ in range(tasks.calls):
                function()
            if repeat:
                seconds[name].append((time.perf_counter() - start) / tasks.calls)
    if tasks.things:
        rates = {name: [tasks.things / s for s in values] for name, values in seconds.items()}
        return [row(name, "a second", values) for name, values in rates.items()]
    found = [in_time(name, values) for name, values in seconds.items()]
    if tasks.compare:
        first, *_, last = seconds.values()
        ratios = [b / a for a, b in zip(first, last, strict=True)]
        found.append(row(f"{list(seconds)[-1]} over gzfound", "ratio", ratios))
    return found


def in_time(name: str, seconds: list[float]) -> Row:
    """A row in seconds, or in milliseconds where they are small."""
    if median(seconds) < 0.1:
        return row(name, "ms", [1e3 * value for value in seconds])
    return row(name, "s", seconds)


def row(name: str, unit: str, values: list[float]) -> Row:
    """Values with their median and range."""
    ends = {"median": median(values), "least": min(values), "greatest": max(values)}
    return {"name": name, "unit": unit, **ends, "values": values}


def short(value: float) -> str:
    """Three digits, or all those before the point."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def show(rows: list[Row], errors: list[Row]) -> None:
    """Print both tables."""
    table = Table("what", "unit", "median", "range", "repeats", title="Speed")
    for each in rows:
        middle, least, most = (short(each[key]) for key in ("median", "least", "greatest"))
        count = str(len(each["values"]))
        table.add_row(each["name"], each["unit"], middle, f"{least} to {most}", count)
    rich.print(table)
    title = "Largest error of a question's log likelihood in float32, nats"
    table = Table("concentrations", "questions", "gzfound", "plain lgamma", title=title)
    for each in errors:
        between = f"{each['least']:.0e} to {each['greatest']:.0e}"
        worst = f"{each['gzfound']:.1e}", f"{each['lgamma']:.1e}"
        table.add_row(between, str(each["questions"]), *worst)
    rich.print(table)


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the options, time everything, print the tables and write the JSON file."""
    config = parse_config(SpeedConfig, "How fast the parts of gzfound are.", argv)
    if not config.output:
        raise ConfigError("output: missing; pass --output")
    before, torch_threads = os.getloadavg(), torch.get_num_threads()
    rows: list[Row] = []
    try:
        with threadpool_limits(config.threads), tempfile.TemporaryDirectory() as folder:
            for tasks in groups(config, Path(folder)):
                torch.set_num_threads(tasks.threads or config.threads)
                rows += timed(tasks, config.repeats)
            errors = float32_errors(gzfound.load_tree("gz_hubble"), config.seed)
            where = machine()
    finally:
        torch.set_num_threads(torch_threads)
    show(rows, errors)
    result = {
        "rows": rows,
        "float32_errors": errors,
        "load_average": {"before": before, "after": os.getloadavg()},
        "configuration": asdict(config),
        "machine": where,
        "versions": versions(),
        "revision": revision(),
    }
    write_text(config.output, json.dumps(result, indent=2, allow_nan=False) + "\n")
    print(f"written: {config.output}")


if __name__ == "__main__":
    main()
