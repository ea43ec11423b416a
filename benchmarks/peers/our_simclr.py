"""gzfound's pretraining recipe: all of its steps, with or without the decoding before them."""

from __future__ import annotations

import gzfound  # noqa: F401  # isort: skip  # before torch: says how its threads wait

import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from images import first_files
from serve import Line

from gzfound.training.telemetry import read_metrics

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "recipes"))
import pretrain_simclr  # noqa: E402
from pretrain_simclr import PretrainConfig, ViewConfig  # noqa: E402


def main() -> None:
    """Serve."""
    line = Line()
    told = line.settings
    home = Path(told["home"])
    began: dict[str, float] = {}
    decoding: dict[str, float] = {}

    def noting(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any, **kwargs: Any) -> Any:
            began[name] = time.time()
            result = function(*args, **kwargs)
            decoding[name] = time.time() - began[name]
            return result

        return noted

    for name in ("load_galaxies", "train"):
        function = getattr(pretrain_simclr, name)
        setattr(pretrain_simclr, name, noting(name, function))

    def measure(views: int) -> dict[str, float]:
        count = views // 2
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
        seconds = steps[-1]["time"] - began["train"]
        if told["decoding"]:
            seconds += decoding["load_galaxies"]
            shutil.rmtree(told["cache"], ignore_errors=True)
        return {"seconds": seconds, "images": 2 * len(steps) * told["galaxies_a_batch"]}

    line.serve(measure)


if __name__ == "__main__":
    main()
