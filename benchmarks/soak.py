"""Train, kill, resume and extract for an hour: memory, files and handles do not grow.

    python benchmarks/soak.py --minutes 60 --output R.json

Each round kills and resumes a small pretraining and an extraction, and has a process that lives as
long as the soak do both once more without a kill; what that process holds is recorded.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from kill_runs import Runs, RunsConfig, cases, difference, embeddings_in, options_of
from killing import arguments, left_overs, random_kill, recipe, use_caches, use_threads

from gzfound.errors import GzfoundError, one_line_errors
from gzfound.evaluation.results import write_results
from gzfound.training.config import parse_config

WARM = 0.25
"""Share of the rounds that may still fill caches."""

MEGABYTES = 8
"""By which the memory of the second half may exceed that of the warm first half."""


@dataclass(frozen=True)
class SoakConfig(RunsConfig):
    """Options of the soak.

    Attributes:
        minutes: for which rounds are begun.
    """

    output: str = "soak.json"
    minutes: float = 60.0


class Resident:
    """A process that lives as long as the soak; it trains and extracts when told to.

    Args:
        does: knows the data.
    """

    def __init__(self, does: Runs) -> None:
        self.does = does
        ask, self.asked = os.pipe()
        self.told, tell = os.pipe()
        self.child = os.fork()
        if self.child == 0:
            os.close(self.asked)
            os.close(self.told)
            try:
                self._live(ask, tell)
            finally:
                os._exit(1)
        os.close(ask)
        os.close(tell)
        self.answers = os.fdopen(self.told)

    def round(self) -> dict[str, float]:
        """One training and one extraction; returns what the process holds after it."""
        os.write(self.asked, b"\n")
        line = self.answers.readline()
        if not line:
            raise GzfoundError("soak: the resident process ended")
        found: dict[str, float] = json.loads(line)
        return found

    def close(self) -> None:
        """End the process."""
        os.close(self.asked)
        self.answers.close()
        os.waitpid(self.child, 0)

    def _live(self, ask: int, tell: int) -> None:
        use_threads(1)
        log = self.does.log.open("a")
        case = cases(self.does.data, self.does.weights)[0]
        folder = self.does.work / "resident"
        train = recipe(case.recipe).main
        extract = recipe("extract_embeddings").main
        words = self.does.extraction_options(folder / "embeddings")
        with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
            while os.read(ask, 1):
                train(arguments({**case.options, "output": folder / "run"}))
                _reset_accelerate()
                extract(words)
                _reset_accelerate()
                shutil.rmtree(folder)
                os.write(tell, json.dumps(holds()).encode() + b"\n")
        os._exit(0)


def _reset_accelerate() -> None:
    """Accelerate keeps its state for the life of a process; a recipe expects to be the first."""
    from accelerate.state import AcceleratorState, GradientState

    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def holds() -> dict[str, float]:
    """What this process holds: megabytes of memory, open files, threads."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "megabytes": pages * resource.getpagesize() / 2**20,
        "handles": sum(1 for _ in Path("/proc/self/fd").iterdir()),
        "threads": threading.active_count(),
    }


def one_round(does: Runs, resident: Resident, expected: dict[str, Any]) -> dict[str, Any]:
    """A training and an extraction that are killed, then both in the resident process."""
    case = cases(does.data, does.weights)[0]
    run, files = does.work / "run", does.work / "embeddings"
    kills = 0
    for way in ("moment", "half a file"):
        kill = random_kill(does.draw, way, expected["seconds"], 8, 0)
        kills += does.train(case, run, "--resume", "auto", kill=kill).killed
    does.must(does.train(case, run, "--resume", "auto"))
    if wrong := difference(run, expected["run"]):
        raise GzfoundError(f"soak: {wrong}")
    for processes in (1, 2):
        kill = random_kill(does.draw, "moment", expected["extraction_seconds"], 0, 0)
        kills += does.extract(files, processes, kill=kill).killed
    does.must(does.extract(files, 1))
    ids = [name for names, _ in embeddings_in(files) for name in names]
    if ids != expected["ids"]:
        raise GzfoundError("soak: an extraction has other galaxies, or in another order")
    left = left_overs(does.work)
    for folder in (run, files):
        shutil.rmtree(folder)
    here = {f"parent_{name}": value for name, value in holds().items()}
    entries = sum(1 for _ in does.work.rglob("*"))
    return {
        "kills": kills,
        **resident.round(),
        **here,
        "temporary_files": len(left),
        "files_in_work": entries,
    }


def growth(rounds: Sequence[dict[str, Any]]) -> list[str]:
    """What grew over the rounds, in words; the first quarter may fill caches."""
    warm = list(rounds[int(WARM * len(rounds)) :])
    halves = warm[: len(warm) // 2], warm[len(warm) // 2 :]
    found = []
    limits = {"megabytes": MEGABYTES, "parent_megabytes": MEGABYTES, "handles": 0}
    limits |= {"parent_handles": 0, "threads": 0, "files_in_work": 0}
    for name, most in limits.items():
        before, after = (median(row[name] for row in half) for half in halves)
        if after - before > most:
            found.append(f"{name} grew from {before:g} to {after:g}")
    if any(row["temporary_files"] for row in rounds):
        found.append("temporary files were left over")
    return found


def soak(config: SoakConfig) -> dict[str, Any]:
    """Rounds until the time is over; returns what goes into the JSON file."""
    os.environ.update(ACCELERATE_USE_CPU="true", CUDA_VISIBLE_DEVICES="")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder, "work")
        use_caches(work / "cache", Path(folder, "datasets"))  # whose locks stay, and do not count
        tempfile.tempdir = f"{work}/tmp"  # of all that is counted
        Path(tempfile.tempdir).mkdir(parents=True)
        does = Runs(config, work)
        does.prepare()
        run, seconds = does.reference(cases(does.data, does.weights)[0])
        whole = does.work / "whole"
        ended = does.extract(whole, 1)
        does.must(ended)
        expected = {
            "run": run,
            "seconds": seconds,
            "extraction_seconds": ended.seconds,
            "ids": [name for names, _ in embeddings_in(whole) for name in names],
        }
        resident = Resident(does)
        began = time.monotonic()
        rounds: list[dict[str, Any]] = []
        while len(rounds) < 8 or time.monotonic() - began < 60 * config.minutes:
            rounds.append(one_round(does, resident, expected))
        resident.close()
    return {
        "options": options_of(config),
        "minutes": round((time.monotonic() - began) / 60, 1),
        "kills": sum(row["kills"] for row in rounds),
        "grew": growth(rounds),
        "rounds": rounds,
    }


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Soak and write the JSON file; status 1 if anything grew."""
    config = parse_config(SoakConfig, "Train, kill, resume and extract for a while.", argv)
    found = soak(config)
    write_results(config.output, found)
    print(f"{len(found['rounds'])} rounds in {found['minutes']} minutes: {config.output}")
    if found["grew"]:
        print("; ".join(found["grew"]))
        raise SystemExit(1)


if __name__ == "__main__":
    main()
