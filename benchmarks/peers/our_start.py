"""A command of gzfound in a process of its own, from its start to its end."""

from __future__ import annotations

import subprocess
import sys

from serve import Line, timed

RUNS = 5


def main() -> None:
    """Serve: the mean of a few runs."""
    line = Line()
    command = [sys.executable, *line.settings["command"]]

    def work() -> None:
        for _ in range(RUNS):
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    line.serve(lambda _: {"seconds": timed(work, 1)["seconds"] / RUNS, "images": 1})


if __name__ == "__main__":
    main()
