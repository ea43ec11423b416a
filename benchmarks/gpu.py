"""How fast gzfound is on one GPU: steps, extraction, simulation, and a whole pretraining.

    python benchmarks/gpu.py                                  # everything that ten minutes allow
    python benchmarks/gpu.py --only pretraining               # again until it says "finished"
    python benchmarks/gpu.py --small --work build/gpu --output build/gpu.json     # on any CPU

Each group replaces its own part of the JSON file, so that groups can run one a call. Pretraining
stops by itself at the time limit, after its last whole epoch, and goes on at the next call.
"""

from __future__ import annotations

import gzfound  # noqa: F401  # isort: skip  # before torch: says how its threads wait

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gpu_extraction
import gpu_probes
import gpu_training
import rich
from gpu_sizes import FULL, SMALL, Job
from rich.table import Table

from gzfound.errors import ConfigError, one_line_errors
from gzfound.files import write_text
from gzfound.models.precision import pick_device
from gzfound.training.config import parse_config
from gzfound.training.provenance import machine, revision, versions

Result = dict[str, Any]
RESULTS = Path(__file__).parent / "results"

GROUPS: dict[str, Callable[[Job], Result]] = {
    "peak": gpu_training.matrix_peak,
    "training": gpu_training.training,
    "extraction": gpu_extraction.extraction,
    "simulation": gpu_training.simulation,
    "pretraining": gpu_training.pretraining,
    "probes": gpu_probes.probes,
}
"""In the order in which they run; ``probes`` needs the weights of ``pretraining``."""

GOALS = {
    "training": (("ratio", ">=", 0.95), ("waiting", "<=", 0.02)),
    "extraction": (("ratio", ">=", 0.9),),
    "pretraining": (("seconds", "<=", 600.0),),
}


@dataclass(frozen=True)
class GpuConfig:
    """Options of the GPU benchmark.

    Attributes:
        output: JSON file to write, or to add to.
        work: folder for simulated galaxies, checkpoints and weights; keep it between calls.
        only: groups to run, by default all.
        small: as little of everything as possible, on any machine.
        limit: seconds after which no group is started and pretraining stops, to go on next time.
        device: ``auto`` takes a GPU where there is one.
        seed: of all that is random.
    """

    output: str = str(RESULTS / "gpu.json")
    work: str = "runs/gpu"
    only: tuple[str, ...] = ()
    small: bool = False
    limit: float = 480.0
    device: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in self.only:
            if name not in GROUPS:
                raise ConfigError(f"only: {name!r} is no group; allowed: {', '.join(GROUPS)}")
        if not self.limit > 0:
            raise ConfigError(f"limit: {self.limit} must be above 0 seconds")


def run(config: GpuConfig) -> Result:
    """Run the groups, writing the file after each, and return what is in it."""
    until = time.monotonic() + config.limit
    job = Job(
        sizes=SMALL if config.small else FULL,
        work=Path(config.work),
        device=pick_device(config.device),
        until=until,
        seed=config.seed,
    )
    if job.device.type == "cpu" and not config.small:
        raise ConfigError("device: there is no GPU here; pass --small to try the benchmark out")
    job.work.mkdir(parents=True, exist_ok=True)
    found = read(Path(config.output))
    for name in config.only or GROUPS:
        if time.monotonic() > until:
            print(f"{name}: not started, the {config.limit:g} s are over; pass --only {name}")
            continue
        start = time.perf_counter()
        values = GROUPS[name](job)
        took = round(time.perf_counter() - start, 1)
        found["groups"][name] = {**values, "took": took, "revision": revision()}
        found |= {"machine": machine(), "versions": versions(), "small": config.small}
        found["configuration"] = {**asdict(config), "sizes": asdict(job.sizes)}
        write_text(config.output, json.dumps(found, indent=2, allow_nan=False) + "\n")
    return found


def read(path: Path) -> Result:
    """What earlier calls wrote.

    Raises:
        ConfigError: the file is not one of this benchmark.
    """
    if not path.exists():
        return {"groups": {}}
    try:
        found: Result = json.loads(path.read_text(encoding="utf-8"))
        found["groups"].keys()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"output: {path} is not a file of this benchmark") from error
    return found


def show(found: Result) -> None:
    """Print every figure that is one number, and whether the goals are met."""
    table = Table("group", "figure", "value", "goal", title="On the GPU")
    for group, values in found["groups"].items():
        of_group = () if found["small"] else GOALS.get(group, ())
        goals = {name: (sign, bound) for name, sign, bound in of_group}
        for name, value in values.items():
            number = value["median"] if isinstance(value, dict) and "median" in value else value
            if isinstance(number, bool) or not isinstance(number, (int, float)):
                continue
            sign, bound = goals.get(name, ("", 0.0))
            met = number >= bound if sign == ">=" else number <= bound
            goal = f"{sign} {bound:g}: {'met' if met else 'missed'}" if sign else ""
            table.add_row(group, name.replace("_", " "), f"{number:,.4g}", goal)
    rich.print(table)


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the options, run the groups and print the table."""
    config = parse_config(GpuConfig, "How fast gzfound is on one GPU.", argv)
    show(run(config))
    print(f"written: {config.output}")


if __name__ == "__main__":
    main()
