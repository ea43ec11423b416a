"""Probes of all questions: gzfound's (side 0), or the loop over scikit-learn (side 1)."""

from __future__ import annotations

import gzfound  # noqa: F401  # isort: skip  # before torch: says how its threads wait

import sys
from pathlib import Path

from serve import Line, timed

sys.path.insert(0, str(Path(__file__).parents[1]))
from probe_pair import prepare


def main() -> None:
    """Serve."""
    line = Line()
    fit = prepare(0, line.settings["images"])[line.settings["side"]]
    line.serve(lambda galaxies: timed(fit, galaxies))


if __name__ == "__main__":
    main()
