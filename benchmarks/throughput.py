"""gzfound beside its limits and its peers: the table behind docs/performance.md.

    make bench                                              # all groups, about two hours
    python benchmarks/throughput.py --only views likelihood # some of them

The contenders of a group are processes that wait for their turn, so each row compares measurements
of one run, taken in turns. A group's result takes the place of its last one in the JSON file as
soon as it is there. The peers' environment is installed into ``build/peers``; the variable
``GZFOUND_PEERS`` names another.
"""

from __future__ import annotations

import gzfound  # noqa: F401  # isort: skip  # before torch: says how its threads wait

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import rich
from peers import images, volunteers
from peers.contender import Contender, take_turns
from peers.environment import peer_versions, peers_python
from peers.groups import GROUPS, Group
from peers.results import described, merge, rows_of, show

from gzfound.errors import ConfigError, GzfoundError, one_line_errors
from gzfound.models.precision import pick_precision, usable_cores
from gzfound.training.config import parse_config
from gzfound.training.provenance import machine, revision, versions

ROOT = Path(__file__).parents[1]
COMMITTED = ROOT / "benchmarks" / "results" / "throughput.json"
JPEG_SIZE = {True: 96, False: 424}
"""Side of the images in pixels, by ``quick``; 424 is that of Galaxy Zoo's cutouts."""
SMALL = {True: (40, 400), False: (2000, 20_000)}
"""Galaxies of the two extractions whose peak memory is compared, by ``quick``."""


@dataclass(frozen=True)
class ThroughputConfig:
    """Options of the benchmark.

    Attributes:
        only: groups to run, all by default.
        output: JSON file that gains their results.
        repeats: measurements of every contender.
        images: of a measurement, if not those of the group.
        peers: whether the peers take part; without, their rows are left out.
        quick: few images and two repeats, to see that everything works; not for the committed file.
        home: folder for the images and the peers' environment.
    """

    only: tuple[str, ...] = ()
    output: str = ""
    repeats: int = 5
    images: int | None = None
    peers: bool = True
    quick: bool = False
    home: str = str(ROOT / "build")

    def __post_init__(self) -> None:
        for name in self.only:
            if name not in GROUPS:
                raise ConfigError(f"only: no group {name!r}; allowed: {', '.join(GROUPS)}")
        if self.repeats < 1 or (self.images is not None and self.images < 1):
            raise ConfigError(f"repeats {self.repeats}, images {self.images}: at least 1")
        if self.quick and self.target == COMMITTED:
            raise ConfigError(f"output: {self.target} does not take quick results")

    @property
    def target(self) -> Path:
        """The file to write."""
        quick = Path(self.home) / "bench" / "quick.json"
        return Path(self.output or (quick if self.quick else COMMITTED)).absolute()


def needed(config: ThroughputConfig, group: Group, home: Path) -> dict[str, str]:
    """Paths of the images that a group works on."""
    if group.data == "galaxies":
        count = group.quick_images if config.quick else 1000
        return images.galaxies(home, max(count, 20), JPEG_SIZE[config.quick])
    if group.data == "small":
        return images.small(home, SMALL[config.quick])
    if group.data == "votes":
        return volunteers.votes(home, 1024)
    return {}


def measure(config: ThroughputConfig, name: str) -> dict[str, Any]:
    """Run one group."""
    group, home = GROUPS[name], Path(config.home) / "bench"
    count = config.images or (group.quick_images if config.quick else group.images)
    repeats = 2 if config.quick else config.repeats
    entries = {k: e for k, e in group.entries.items() if config.peers or not e.peer}
    with_peers = any(entry.peer for entry in entries.values())
    python = peers_python(Path(config.home) / "peers") if with_peers else sys.executable
    cache = str(home / "cache")
    settings = {**needed(config, group, home), "home": str(home), "cache": cache, "images": count}
    settings["quick"] = config.quick
    environment = {"GZFOUND_CACHE": cache, "HF_DATASETS_CACHE": str(home / "datasets")}
    before, began = os.getloadavg(), datetime.now(timezone.utc)
    with ExitStack() as stack:
        contenders = {}
        about = {}
        for key, entry in entries.items():
            own = Contender(
                f"{name} {key}",
                python if entry.peer else sys.executable,
                entry.script,
                {**settings, **entry.options},
                home / "logs",
                environment,
            )
            contenders[key] = stack.enter_context(own)
            about[key] = own.about()  # one after the other: some search for what is fastest
        found, busiest = take_turns(contenders, count, repeats, group.warm_up)
    precision = pick_precision("auto")
    return {
        "began": began.isoformat(timespec="seconds"),
        "ended": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "quick": config.quick,
        "repeats": repeats,
        "images": count,
        "precision": precision,
        "threads": usable_cores(),
        "load_average": {"before": before, "after": os.getloadavg()},
        "busiest_while_waiting": busiest,
        "revision": revision(),
        "machine": machine(),
        "versions": versions(),
        "peer_versions": peer_versions(python) if with_peers else {},
        "rows": rows_of(group, found, precision),
        "contenders": described(found, about),
    }


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the options, run the groups, print and write what comes out."""
    config = parse_config(ThroughputConfig, "gzfound beside its limits and its peers.", argv)
    results, failed = {}, []
    common = {
        "machine": machine(),
        "versions": versions(),
        "configuration": {**asdict(config), "home": Path(config.home).name},
    }
    for name in config.only or GROUPS:
        rich.print(f"{name} ...")
        try:
            results[name] = measure(config, name)
        except GzfoundError as error:
            failed.append(f"{name}: {error}")
            rich.print(f"[bold red]{failed[-1]}[/]")
            continue
        merge(config.target, name, results[name], common)
        show({name: results[name]})
    if len(results) > 1:
        show(results)
    print(f"written: {config.target}")
    if failed:
        raise GzfoundError("; ".join(failed))


if __name__ == "__main__":
    main()
