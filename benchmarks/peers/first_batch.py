"""From the start of Python to the embeddings of a small folder; and what no program can skip.

The other side imports torch and timm, and runs the encoder once on as many images.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from our_memory import EMBED, SAVE
from serve import Line, timed

IMAGES = 16
PLAIN = """
import torch, timm
with torch.inference_mode():
    timm.create_model("{encoder}", num_classes=0).eval()(torch.zeros({images}, 3, {size}, {size}))
"""


def main() -> None:
    """Serve."""
    line = Line()
    told = line.settings
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wanted = {"encoder": told["encoder"], "size": told["size"], "images": IMAGES}
        command = [sys.executable, "-c", PLAIN.format(**wanted)]
        if told["embed"]:
            save = [sys.executable, "-c", SAVE, str(folder / "weights"), told["encoder"]]
            subprocess.run([*save, str(told["size"])], check=True)
            (folder / "images").mkdir()
            for file in sorted(Path(told["jpeg"]).iterdir())[:IMAGES]:
                os.link(file, folder / "images" / file.name)
            command = [sys.executable, "-c", EMBED, "embed", str(folder / "images")]
            command += ["--weights", str(folder / "weights"), "--output", str(folder / "e.parquet")]

        def work() -> None:
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

        line.serve(lambda _: timed(work, 1))


if __name__ == "__main__":
    main()
