"""The memory of ``gzfound embed`` at its peak, in a process of its own."""

from __future__ import annotations

import gzfound  # noqa: F401  # isort: skip  # before torch: says how its threads wait

import os
import sys
import tempfile
from pathlib import Path

import torch
from serve import Line

from gzfound.models import EncoderTransform, create_encoder, save_weights


def main() -> None:
    """Serve."""
    line = Line()
    told = line.settings
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights"
        transform = EncoderTransform(told["size"])
        save_weights(weights, create_encoder(told["encoder"]), transform, {"data": "none"})
        data, output = told[told["galaxies"]], f"{folder}/embeddings.parquet"
        program = "from gzfound.cli import main; main()"
        command = [sys.executable, "-c", program, "embed", data]
        command += ["--weights", str(weights), "--output", output]

        def measure(_: int) -> dict[str, float]:
            child = os.posix_spawn(
                sys.executable, command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)]
            )
            _, status, usage = os.wait4(child, 0)
            if status:
                raise SystemExit(f"gzfound embed failed: status {status}")
            return {"megabytes": usage.ru_maxrss * 1024 / 1e6}

        line.serve(measure)


if __name__ == "__main__":
    main()
