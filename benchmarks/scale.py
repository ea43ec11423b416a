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
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import datasets
from kill_runs import difference, result_of
from killing import Ended, Kill, arguments, left_overs, recipe, run
from scale_parts import (
    IMAGES,
    TABLE,
    bytes_held,
    bytes_in,
    dataset_files,
    digests,
    rows_in,
    same_galaxies,
    steps_once,
    until_first_step,
    watched,
    write_raw,
    write_votes,
)
from scale_tables import growth_table, kill_table, time_table

from gzfound.cli import main as gzfound_command
from gzfound.errors import ConfigError, GzfoundError, one_line_errors
from gzfound.evaluation.results import write_results
from gzfound.files import write_text
from gzfound.training.config import parse_config
from gzfound.training.provenance import revision
from gzfound.training.telemetry import read_metrics

ROOT = Path(__file__).parents[1]
IMAGE_SIZE = 32
CHECKPOINTS = 8
"""Checkpoints of an epoch, of any length."""


@dataclass(frozen=True)
class ScaleConfig:
    """Options of the benchmark.

    Attributes:
        output: JSON file that gains the results.
        sizes: galaxies of the datasets, from small to large.
        distinct: galaxies that are simulated at most; larger datasets turn them and add noise.
        stages: to run, in their order; all by default.
        encoder: timm architecture.
        batch_size: galaxies a step of pretraining.
        rows_per_file: rows of each file of an extraction.
        home: folder for everything; a size is removed when its last stage is done.
        pause_file: no stage begins while this file exists.
    """

    output: str = ""
    sizes: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    distinct: int = 20_000
    stages: tuple[str, ...] = ()
    encoder: str = "test_resnet"
    batch_size: int = 256
    rows_per_file: int = 2000
    home: str = str(ROOT / "build" / "bench_scale")
    pause_file: str = ""

    def __post_init__(self) -> None:
        for name in self.stages:
            if name not in STAGES:
                raise ConfigError(f"stages: no stage {name!r}; allowed: {', '.join(STAGES)}")


@dataclass
class Scale:
    """One size: its folders, and what was found of it so far.

    Attributes:
        config: of the benchmark.
        galaxies: of the dataset.
        found: results of the stages before, by name.
    """

    config: ScaleConfig
    galaxies: int
    found: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        """Folder of this size."""
        return Path(self.config.home).absolute() / str(self.galaxies)

    @property
    def base(self) -> Path:
        """The simulated galaxies, shared by all sizes that have as many."""
        distinct = min(self.galaxies, self.config.distinct)
        return self.home.parent / f"simulated-{distinct}"

    @property
    def data(self) -> Path:
        """The dataset."""
        return self.home / "data"

    @property
    def weights(self) -> Path:
        """The pretrained encoder."""
        return self.home / "run" / "weights"

    def simulate(self) -> dict[str, Any]:
        """``gzfound simulate``; a size that shares the galaxies of another has no result."""
        if self.base.exists():
            return {}
        count = min(self.galaxies, self.config.distinct)
        options = {"galaxies": count, "image-size": IMAGE_SIZE}
        found = self.take(command("simulate", str(self.base), *arguments(options)), self.base)
        return {**found, "galaxies": count, "bytes": bytes_in(self.base)}

    def raw(self) -> dict[str, Any]:
        """The table and the folder of images that a build takes: not part of what is measured."""
        target = self.home / "raw"
        found = self.take(partial(write_raw, self.base, self.galaxies, target), target)
        return {name: found[name] for name in ("seconds", "memory_before", "memory_peak")}

    def build(self) -> dict[str, Any]:
        """``gzfound build``."""
        raw = self.home / "raw"
        options = {"campaign": "gz_hubble", "output": self.data}
        words = [str(raw / TABLE), str(raw / IMAGES), *arguments(options)]
        found = self.take(command("build", *words), self.data)
        same = self.answer(
            lambda: same_galaxies(dataset_files(self.data), [raw / TABLE], in_order=False)
        )
        shutil.rmtree(raw)
        return {**found, "galaxies": self.galaxies, "bytes": bytes_in(self.data), "complete": same}

    def build_votes(self) -> dict[str, Any]:
        """``gzfound build`` of the votes alone: a table without images."""
        table, target = self.home / "votes.parquet", self.home / "votes"
        self.answer(lambda: write_votes(self.data, table))
        options = {"campaign": "gz_hubble", "output": target}
        found = self.take(command("build", str(table), *arguments(options)), target)
        found |= {"galaxies": self.galaxies, "bytes": bytes_in(target)}
        table.unlink()
        shutil.rmtree(target)
        return found

    def pretrain(self) -> dict[str, Any]:
        """One epoch over the train split by one thread, with nothing decoded before."""
        folder = self.home / "run"
        found = self.take(self.training(folder), folder)
        steps = _steps(folder)
        return {
            **found,
            "galaxies": len(steps) * self.config.batch_size,
            "steps": len(steps),
            "seconds_to_first_step": until_first_step(folder, found["began"]),
            "metrics_bytes": (folder / "metrics.jsonl").stat().st_size,
            "checkpoint_bytes": bytes_in(folder / "checkpoints") // 2,
            "complete": steps_once(folder),
        }

    def training(self, folder: Path) -> Callable[[], Any]:
        """The recipe; it goes on where a folder holds a run that was killed."""
        batch = self.config.batch_size
        rows = self.answer(lambda: rows_in(dataset_files(self.data, "train")))
        every = max(1, rows // batch // CHECKPOINTS)
        options = {
            "data": self.data,
            "output": folder,
            "encoder": self.config.encoder,
            "image-size": IMAGE_SIZE,
            "views.size": IMAGE_SIZE,
            "batch-size": batch,
            "epochs": 1,
            "checkpoint.steps": every,
        }
        words = arguments(options, "--resume", "auto")
        return lambda: recipe("pretrain_simclr").main(words)

    def parts(self) -> dict[str, Any]:
        """What the memory of a build and of a run is made of, in bytes a galaxy."""
        found: dict[str, Any] = self.answer(lambda: bytes_held(self.data))
        return found

    def extract_1(self) -> dict[str, Any]:
        """Extraction by one process with a thread a core."""
        return self.extracted(self.home / "embeddings-1", 1)

    def extract_2(self) -> dict[str, Any]:
        """Extraction by two processes; every file is, byte by byte, that of one process."""
        found = self.extracted(self.home / "embeddings-2", 2)
        found["identical"] = self.like_whole(self.home / "embeddings-2")
        shutil.rmtree(self.home / "embeddings-2")
        return found

    def extracted(self, folder: Path, processes: int) -> dict[str, Any]:
        """An extraction, and whether every galaxy is there once and in order."""
        found = self.take(self.extraction(folder), folder, processes=processes)
        complete = self.answer(
            lambda: same_galaxies(
                sorted(folder.glob("part-*")), dataset_files(self.data), in_order=True
            )
        )
        size = bytes_in(folder)
        return {**found, "galaxies": self.galaxies, "bytes": size, "complete": complete}

    def extraction(self, folder: Path) -> Callable[[], Any]:
        """The recipe; it goes on where a folder holds a part of it."""
        options = {"data": self.data, "weights": self.weights, "output": folder}
        options["rows-per-file"] = str(self.config.rows_per_file)
        words = arguments(options, "--resume")
        return lambda: recipe("extract_embeddings").main(words)

    def like_whole(self, folder: Path) -> bool:
        """Whether an extraction has the bytes of that by one process, and nothing else."""
        same = digests(folder) == digests(self.home / "embeddings-1")
        return same and not left_overs(folder)

    def kill_pretraining(self) -> dict[str, Any]:
        """``kill -9`` in the middle of the steps; then the same command again."""
        folder, whole = self.home / "killed-run", self.found["pretrain"]
        steps = whole["seconds"] - whole["seconds_to_first_step"]
        work = self.training(folder)
        first = self.killed(work, folder, steps / 2)
        done = len(_steps(folder))
        began = json.loads(self.note.read_text())["began"]
        setup = until_first_step(folder, began) if done else 0.0
        again = self.take(work, folder, fresh=False)
        wrong = difference(folder, result_of(self.home / "run"))
        shutil.rmtree(folder)
        return {
            "killed_after_seconds": first,
            "steps_done": done,
            "resumed_seconds": again["seconds"],
            "seconds_lost": first - setup + again["seconds"] - steps,
            "identical": not wrong,
            "wrong": wrong,
        }

    def kill_extraction(self) -> dict[str, Any]:
        """``kill -9`` of one of two processes in the middle; one process goes on."""
        folder, whole = self.home / "killed-embeddings", self.found["extract_2"]
        work = self.extraction(folder)
        first = self.killed(work, folder, whole["seconds"] / 2, processes=2)
        kept = len(list(folder.glob("part-*")))
        again = self.take(work, folder, processes=2, fresh=False)
        same = self.like_whole(folder)
        shutil.rmtree(folder)
        return {
            "killed_after_seconds": first,
            "files_kept": kept,
            "files": -(-self.galaxies // self.config.rows_per_file),
            "resumed_seconds": again["seconds"],
            "seconds_lost": first + again["seconds"] - whole["seconds"],
            "identical": same,
        }

    @property
    def note(self) -> Path:
        """Where a process says what its work took; those of other processes are beside it."""
        return self.home / "note-0.json"

    def start(self, work: Callable[[], Any], **how: Any) -> Ended:
        """Run some work in a fork, or in two, with an eye on its memory."""
        self.home.mkdir(parents=True, exist_ok=True)
        for old in self.home.glob("note-*.json"):
            old.unlink()

        def noted() -> None:
            number = os.environ.get("RANK", "0")
            caches = self.use_caches()
            watched(work, self.home / f"note-{number}.json", caches if number == "0" else [])

        return run(noted, self.home / "log.txt", **how)

    def take(
        self, work: Callable[[], Any], output: Path, *, fresh: bool = True, **how: Any
    ) -> dict[str, Any]:
        """Do some work to its end; what an interrupted benchmark left of its output is removed."""
        if fresh:
            remove(output)
        ended = self.start(work, **how)
        if any(ended.statuses):
            lines = (self.home / "log.txt").read_text().splitlines()[-5:]
            raise GzfoundError(f"a stage ended with {ended.statuses}: {' | '.join(lines)}")
        notes = [json.loads(path.read_text()) for path in sorted(self.home.glob("note-*.json"))]
        summed = ("cpu_seconds", "memory_before", "memory_peak", "mapped_peak")
        together = {name: sum(note[name] for note in notes) for name in summed}
        return {**notes[0], "seconds": max(note["seconds"] for note in notes), **together}

    def use_caches(self) -> list[Path]:
        """Keep decoded images and the copies of ``datasets`` in the folder of this size."""
        caches = [self.home / name for name in ("decoded", "datasets")]
        os.environ["GZFOUND_CACHE"] = str(caches[0])
        datasets.config.HF_DATASETS_CACHE = caches[1]  # its variable was read on import
        return caches

    def answer(self, question: Callable[[], Any]) -> Any:
        """What a function finds out, in a fork: this process stays as small as it is."""
        answer = self.home / "answer.json"
        remove(answer)

        def work() -> None:
            self.use_caches()
            write_text(answer, json.dumps(question()))

        ended = run(work, self.home / "log.txt")
        if any(ended.statuses):
            raise GzfoundError(f"a check ended with {ended.statuses}: {self.home / 'log.txt'}")
        return json.loads(answer.read_text(encoding="utf-8"))

    def killed(self, work: Callable[[], Any], output: Path, after: float, **how: Any) -> float:
        """Kill some work; returns the seconds for which any of its processes ran."""
        remove(output)
        ended = self.start(work, kill=Kill("moment", after), **how)
        if not ended.killed:
            raise GzfoundError(f"killing: {output.name} ended with {ended.statuses} before it was")
        return after + ended.seconds


STAGES: dict[str, Callable[[Scale], dict[str, Any]]] = {
    "simulate": Scale.simulate,
    "raw": Scale.raw,
    "build": Scale.build,
    "build_votes": Scale.build_votes,
    "pretrain": Scale.pretrain,
    "parts": Scale.parts,
    "extract_1": Scale.extract_1,
    "extract_2": Scale.extract_2,
    "kill_extraction": Scale.kill_extraction,
    "kill_pretraining": Scale.kill_pretraining,
}


def command(*words: str) -> Callable[[], Any]:
    """A command of gzfound."""
    return lambda: gzfound_command(words)


def remove(path: Path) -> None:
    """Remove a folder or a file, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _steps(run: Path) -> list[dict[str, Any]]:
    path = run / "metrics.jsonl"
    return read_metrics(path, "step") if path.exists() else []


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
