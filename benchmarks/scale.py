"""A million galaxies of 32 pixels: simulate, build, pretrain, extract, kill and go on.

    python benchmarks/scale.py --output benchmarks/results/scale.json    # about an hour

Each stage runs in a fork of a process that has imported everything, so times are without the start
of Python, and writes its result to the JSON file at once; a stage whose result is there is not
done again. Prints the tables of docs/scale.md.
"""

from __future__ import annotations

import gzfound  # noqa: F401  # isort: skip  # before torch: says how its threads wait

import json
import os
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from scale_stages import STAGES, Scale, ScaleConfig
from scale_tables import growth_table, kill_table, time_table
from scale_work import remove

from gzfound.errors import ConfigError, GzfoundError, one_line_errors
from gzfound.evaluation.results import write_results
from gzfound.training.config import parse_config
from gzfound.training.provenance import revision


def pause(config: ScaleConfig) -> None:
    """Wait while the file exists that says so."""
    while config.pause_file and Path(config.pause_file).exists():
        time.sleep(1)


def one_size(
    config: ScaleConfig, galaxies: int, code: str, keep: Callable[[str, Any], None]
) -> None:
    """The stages of a size that are not done yet; ``keep`` is told the result of each at once.

    Each result has ``code``, the revision when this process began: others may be of another one.
    """
    scale = Scale(config, galaxies, known(config, galaxies))
    left = [name for name in config.stages or STAGES if name not in scale.found]
    if left and scale.found and not scale.home.exists():
        raise ConfigError(f"home: {scale.home} is gone, which {left[0]} needs")
    for name in left:
        pause(config)
        load = os.getloadavg()
        print(f"{galaxies:,}: {name} ...", flush=True)
        found = STAGES[name](scale)
        found["load_average"] = {"before": load, "after": os.getloadavg()}
        found["revision"] = code
        found["ended"] = datetime.now(timezone.utc).isoformat(timespec="seconds")
        scale.found[name] = found
        keep(name, found)
        if wrong := [key for key in ("complete", "identical") if found.get(key) is False]:
            raise GzfoundError(f"{galaxies:,}: {name}: not {wrong[0]}")
    if set(scale.found) == set(STAGES):
        remove(scale.home)


def known(config: ScaleConfig, galaxies: int) -> dict[str, dict[str, Any]]:
    """The results of the stages of a size that the JSON file holds."""
    found: dict[str, dict[str, Any]] = results(config).get("sizes", {}).get(str(galaxies), {})
    return found


def results(config: ScaleConfig) -> dict[str, Any]:
    """What the JSON file holds; empty without one."""
    path = Path(config.output)
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Run what is not done yet of every size, smallest first, and print the tables."""
    config = parse_config(ScaleConfig, "A million galaxies.", argv)
    if not config.output:
        raise ConfigError("output: missing; pass --output")
    os.environ.update(ACCELERATE_USE_CPU="true", CUDA_VISIBLE_DEVICES="")
    code = revision()
    for galaxies in config.sizes:

        def keep(name: str, found: Any, size: str = str(galaxies)) -> None:
            whole = results(config)
            whole.setdefault("sizes", {}).setdefault(size, {})[name] = found
            names = ("distinct", "encoder", "batch_size", "rows_per_file")
            whole["options"] = {name: getattr(config, name) for name in names}
            write_results(config.output, whole)

        one_size(config, galaxies, code, keep)
    if all(set(known(config, galaxies)) == set(STAGES) for galaxies in config.sizes):
        remove(Path(config.home))
    sizes = results(config)["sizes"]
    print(time_table(sizes), growth_table(sizes), kill_table(sizes), sep="\n\n")


if __name__ == "__main__":
    main()
