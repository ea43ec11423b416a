"""gzfound's pretraining recipe: its steps after the first, with or without their decoding."""

from __future__ import annotations

import gzfound  # noqa: F401  # isort: skip  # before torch: says how its threads wait

import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from images import first_files
from serve import Line

from gzfound.training.telemetry import read_metrics
from gzfound.views import ViewConfig

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "recipes"))
import pretrain_simclr  # noqa: E402
from pretrain_simclr import PretrainConfig  # noqa: E402


def main() -> None:
    """Serve."""
    line = Line()
    told = line.settings
    home = Path(told["home"])
    decoding: list[float] = []
    load = pretrain_simclr.load_galaxies

    def timed_load(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        galaxies = load(*args, **kwargs)
        decoding.append(time.perf_counter() - start)
        return galaxies

    pretrain_simclr.load_galaxies = timed_load

    def measure(views: int) -> dict[str, float]:
        count = views // 2 + told["galaxies_a_batch"]
        data = first_files(told["jpeg"], count, home / f"simclr-{count}")
        with tempfile.TemporaryDirectory() as folder:
            config = PretrainConfig(
                data=(str(data),),
                output=f"{folder}/run",
                encoder=told["encoder"],
                views=ViewConfig(size=told["size"]),
                image_size=told["size"],
                epochs=1,
                batch_size=told["galaxies_a_batch"],
                watch=32,
            )
            pretrain_simclr.pretrain(config)
            steps = read_metrics(Path(folder) / "run" / "metrics.jsonl", "step")
        seconds = steps[-1]["time"] - steps[0]["time"]
        if told["decoding"]:
            seconds += decoding[-1] * (len(steps) - 1) / len(steps)
            shutil.rmtree(told["cache"], ignore_errors=True)
        return {"seconds": seconds, "images": 2 * (len(steps) - 1) * told["galaxies_a_batch"]}

    line.serve(measure)


if __name__ == "__main__":
    main()
