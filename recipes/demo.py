"""The main job in minutes: simulate, pretrain, embed, fine-tune, probe, report. `make demo`.

Each stage prints the command that does the same by hand.
"""

from __future__ import annotations

import importlib.util
import json
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rich
from rich.console import Console

from gzfound.errors import ConfigError, one_line_errors
from gzfound.training.config import parse_config

ROOT = Path(__file__).resolve().parent.parent
STAGES = ("galaxies", "simclr", "tree")


@dataclass(frozen=True)
class DemoConfig:
    """Options of the demo.

    Attributes:
        output: folder that receives everything; what an earlier demo left there is replaced.
        galaxies: number of galaxies to simulate.
        epochs: of pretraining.
        held_out: questions, separated by commas, that fine-tuning never sees.
        min_votes: fewest votes on a question for a galaxy to count in the probe's errors.
        seed: of every random draw.
    """

    output: str = "demo"
    galaxies: int = 3000
    epochs: int = 9
    held_out: str = "how-rounded-hubble,disk-edge-on-hubble"
    min_votes: int = 10
    seed: int = 0


class Stages:
    """Runs stages one after the other, showing the command and the time of each."""

    def __init__(self) -> None:
        self.console = Console(soft_wrap=True, highlight=False)
        self.commands: list[str] = []
        self.seconds: dict[str, float] = {}

    def run(self, name: str, script: str, arguments: Sequence[str]) -> None:
        """Run the ``main`` of a recipe, or a ``gzfound`` command, in this process."""
        launcher = "accelerate launch " if script.startswith("recipes/") else "python "
        command = "gzfound " if script == "gzfound" else f"{launcher}{script} "
        self.commands.append(command + shlex.join(arguments))
        self.console.print(f"\n[bold]{name}[/bold]\n[dim]$ {self.commands[-1]}[/dim]")
        began = time.perf_counter()
        main_of(script)(arguments)
        self.seconds[name] = time.perf_counter() - began


def main_of(script: str) -> Callable[[Sequence[str]], None]:
    """The ``main`` function of a script of this repository, or of the command line."""
    if script == "gzfound":
        from gzfound.cli import main as command_line

        return command_line
    found: Callable[[Sequence[str]], None] = load_script(ROOT / script).main
    return found


def load_script(path: Path) -> Any:
    """Import a script by its path, under its own name."""
    specification = importlib.util.spec_from_file_location(path.stem, path)
    if specification is None or specification.loader is None:
        raise ConfigError(f"demo: {path} is not a Python script")
    module = importlib.util.module_from_spec(specification)
    sys.modules[path.stem] = module
    specification.loader.exec_module(module)
    return module


def demo(config: DemoConfig) -> Path:
    """Run every stage and write ``<output>/report.html``; returns its path."""
    folder = Path(config.output)
    for name in STAGES:
        shutil.rmtree(folder / name, ignore_errors=True)
    galaxies, simclr, tree = (str(folder / name) for name in STAGES)
    weights, seed = str(folder / "simclr/weights"), ["--seed", str(config.seed)]
    data = ["--data", galaxies]
    stages = Stages()
    stages.run(
        "Simulate", "gzfound", ["simulate", galaxies, "--galaxies", str(config.galaxies), *seed]
    )
    stages.run(
        "Pretrain",
        "recipes/pretrain_simclr.py",
        [
            *("--config", "recipes/configs/demo_pretrain.yaml", *data, "--output", simclr),
            *("--epochs", str(config.epochs), *seed),
        ],
    )
    stages.run(
        "Embed",
        "recipes/extract_embeddings.py",
        ["--weights", weights, *data, "--output", str(folder / "embeddings.parquet")],
    )
    stages.run(
        "Fine-tune",
        "recipes/finetune_tree.py",
        [
            *("--config", "recipes/configs/demo_finetune.yaml", "--weights", weights, *data),
            *("--output", tree, "--held-out", config.held_out, *seed),
        ],
    )
    stages.run(
        "Probe",
        "benchmarks/linear_probe.py",
        [
            *("--weights", weights, *data, "--questions", config.held_out, *seed),
            *("--baselines", "constant,untrained,pixels"),  # morphology would take half an hour
            *("--min-votes", str(config.min_votes), "--output", str(folder / "probe.json")),
        ],
    )
    return report(folder, stages)


def report(folder: Path, stages: Stages) -> Path:
    """Keep what was run beside the results, and write the report of both."""
    record = {"commands": stages.commands, "seconds": stages.seconds}
    (folder / "stages.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    path: Path = load_script(ROOT / "recipes/demo_report.py").write_report(folder)
    return path


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the options and run."""
    config = parse_config(DemoConfig, "The main job, end to end, in minutes.", argv)
    began = time.perf_counter()
    path = demo(config)
    rich.print(f"\n{time.perf_counter() - began:.0f} s in all. The report: {path.resolve()}")


if __name__ == "__main__":
    main(sys.argv[1:])
