"""Kill training and extraction again and again: what comes out is what it would have been.

    python benchmarks/kill_campaign.py --output R.json

Tiny runs are killed with SIGKILL at random moments, inside a file of weights and around a rename,
and go on with the same command; the end is compared, bit by bit, with a run that nobody killed.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from kill_runs import Case, Runs, RunsConfig, cases, difference, embeddings_in, options_of
from killing import WAYS, left_overs, random_kill, use_caches

from gzfound.errors import one_line_errors
from gzfound.evaluation.results import write_results
from gzfound.training.config import parse_config
from gzfound.training.preemption import PREEMPTED


@dataclass(frozen=True)
class CampaignConfig(RunsConfig):
    """Options of the campaign.

    Attributes:
        kills: SIGKILLs of training.
        terminations: SIGTERMs of training.
        extraction_kills: SIGKILLs of extraction.
        only: training runs to do, all by default.
    """

    output: str = "kill_campaign.json"
    kills: int = 50
    terminations: int = 15
    extraction_kills: int = 20
    only: tuple[str, ...] = ()


@dataclass
class Tally:
    """What happened to the runs of a case."""

    kills: Counter[str] = field(default_factory=Counter)
    chains: int = 0
    identical: int = 0
    resumed_from_checkpoint: int = 0
    started_over: int = 0
    wrong: list[str] = field(default_factory=list)


class Campaign(Runs):
    """Runs, kills and compares, each so many times."""

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


def campaign(config: CampaignConfig) -> dict[str, Any]:
    """All of it; returns what goes into the JSON file."""
    os.environ.update(ACCELERATE_USE_CPU="true", CUDA_VISIBLE_DEVICES="")
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        use_caches(work / "cache", work / "datasets")
        does = Campaign(config, work)
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
