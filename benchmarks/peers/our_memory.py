"""The memory of ``gzfound embed`` at its peak, in a process of its own.

Linux counts the peak of the process that starts another as the other's too, so this one stays
small: it imports nothing heavy.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

from serve import Line

SAVE = """
import sys
from gzfound.models import EncoderTransform, create_encoder, save_weights
path, encoder, size = sys.argv[1:]
save_weights(path, create_encoder(encoder), EncoderTransform(int(size)), {"data": "none"})
"""
EMBED = "from gzfound.cli import main; main()"


def main() -> None:
    """Serve."""
    line = Line()
    told = line.settings
    with tempfile.TemporaryDirectory() as folder:
        weights, output = f"{folder}/weights", f"{folder}/embeddings.parquet"
        save = [sys.executable, "-c", SAVE, weights, told["encoder"], str(told["size"])]
        subprocess.run(save, check=True)
        command = [sys.executable, "-c", EMBED, "embed", told[told["galaxies"]]]
        command += ["--weights", weights, "--output", output]
        to_log = [(os.POSIX_SPAWN_DUP2, 2, 1)]

        def measure(_: int) -> dict[str, float]:
            child = os.posix_spawn(sys.executable, command, os.environ, file_actions=to_log)
            _, status, usage = os.wait4(child, 0)
            if status:
                raise SystemExit(f"gzfound embed failed: status {status}")
            return {"megabytes": usage.ru_maxrss * 1024 / 1e6}

        line.serve(measure)


if __name__ == "__main__":
    main()
