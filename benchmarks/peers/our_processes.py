"""A recipe under ``accelerate launch`` with some processes on all cores; start-up taken off."""

from __future__ import annotations

import gzfound  # noqa: F401  # isort: skip  # before torch: says how its threads wait

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from images import first_files
from serve import Line

from gzfound.errors import GzfoundError
from gzfound.models import EncoderTransform, create_encoder, save_weights
from gzfound.models.checkpoint import read_config
from gzfound.training.telemetry import read_metrics

RECIPES = Path(__file__).parents[2] / "recipes"
FEW = 128
"""Galaxies of the extraction whose time is taken off that of the long one."""
EXTRACTION_SIZE = 224


def main() -> None:
    """Serve."""
    line = Line()
    told = line.settings
    work = {"extraction": extraction, "pretraining": pretraining}[told["work"]]
    line.serve(lambda images: work(told, images))


def launch(processes: int, script: str, options: Sequence[str]) -> float:
    """Seconds that a recipe takes, from start to end.

    On a CPU, ``--multi_gpu`` means processes of torch.distributed; with ``--cpu`` there is one,
    whatever ``--num_processes`` says.
    """
    command = [sys.executable, "-m", "accelerate.commands.launch"]
    command += ["--multi_gpu", "--main_process_port", "0"] if processes > 1 else ["--cpu"]
    command += ["--num_processes", str(processes), "--num_machines", "1"]
    command += ["--mixed_precision", "no", "--dynamo_backend", "no"]
    start = time.perf_counter()
    subprocess.run([*command, str(RECIPES / script), *options], check=True)
    return time.perf_counter() - start


def extraction(told: dict[str, Any], images: int) -> dict[str, float]:
    """The time of many galaxies less that of few."""
    torch.manual_seed(0)
    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights"
        transform = EncoderTransform(EXTRACTION_SIZE)
        save_weights(weights, create_encoder(told["encoder"]), transform, {"data": "none"})
        for count in (FEW, FEW + images):
            data = first_files(told["jpeg"], count, Path(told["home"]) / f"extraction-{count}")
            options = ["--weights", str(weights), "--data", str(data)]
            options += ["--output", f"{folder}/{count}.parquet"]
            seconds[count] = launch(told["processes"], "extract_embeddings.py", options)
    return {"seconds": seconds[FEW + images] - seconds[FEW], "images": images}


def pretraining(told: dict[str, Any], views: int) -> dict[str, float]:
    """From the end of the first step to that of the last."""
    batch = told["galaxies_a_batch"]
    count = views // 2 + batch
    data = first_files(told["jpeg"], count, Path(told["home"]) / f"simclr-{count}")
    with tempfile.TemporaryDirectory() as folder:
        options = ["--data", str(data), "--output", f"{folder}/run", "--encoder", told["encoder"]]
        options += ["--views.size", str(told["size"]), "--image-size", str(told["size"])]
        options += ["--epochs", "1", "--batch-size", str(batch), "--watch", "32"]
        options += told["more"]
        launch(told["processes"], "pretrain_simclr.py", options)
        steps = read_metrics(Path(folder) / "run" / "metrics.jsonl", "step")
        held = read_config(Path(folder) / "run" / "weights")["gzfound"]["processes"]
    if held != told["processes"]:
        raise GzfoundError(f"processes: {held} ran, not {told['processes']}")
    seconds = steps[-1]["time"] - steps[0]["time"]
    return {"seconds": seconds, "images": 2 * batch * (len(steps) - 1)}


if __name__ == "__main__":
    main()
