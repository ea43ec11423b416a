"""The stages of the scale benchmark, for one size."""

from __future__ import annotations

import gzfound  # noqa: F401  # isort: skip  # before torch: says how its threads wait

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from kill_runs import difference, result_of
from killing import arguments, left_overs, recipe
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
    write_raw,
    write_votes,
)
from scale_work import Work

from gzfound.cli import main as gzfound_command
from gzfound.errors import ConfigError
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
class Scale(Work):
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
        wrong = self.answer(lambda: difference(folder, result_of(self.home / "run")))
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


def _steps(run: Path) -> list[dict[str, Any]]:
    path = run / "metrics.jsonl"
    return read_metrics(path, "step") if path.exists() else []
