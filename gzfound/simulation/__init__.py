"""Simulated galaxies and volunteers: the data set that needs no download.

The names are imported on first use: ``import gzfound.simulation`` loads neither torch nor cv2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gzfound.lazy import lazy_names

if TYPE_CHECKING:
    from gzfound.simulation.dataset import read_truth, simulate_dataset
    from gzfound.simulation.latents import Latents
    from gzfound.simulation.mosaic import simulate_mosaic
    from gzfound.simulation.population import sample_population
    from gzfound.simulation.telescope import Telescope, telescope_for
    from gzfound.simulation.visibility import Visibility, visible
    from gzfound.simulation.volunteers import answer_probabilities, vote

_HOME = {
    "Latents": "gzfound.simulation.latents",
    "Telescope": "gzfound.simulation.telescope",
    "Visibility": "gzfound.simulation.visibility",
    "answer_probabilities": "gzfound.simulation.volunteers",
    "read_truth": "gzfound.simulation.dataset",
    "sample_population": "gzfound.simulation.population",
    "simulate_dataset": "gzfound.simulation.dataset",
    "simulate_mosaic": "gzfound.simulation.mosaic",
    "telescope_for": "gzfound.simulation.telescope",
    "visible": "gzfound.simulation.visibility",
    "vote": "gzfound.simulation.volunteers",
}

__all__ = [
    "Latents",
    "Telescope",
    "Visibility",
    "answer_probabilities",
    "read_truth",
    "sample_population",
    "simulate_dataset",
    "simulate_mosaic",
    "telescope_for",
    "visible",
    "vote",
]

__getattr__, __dir__ = lazy_names(__name__, _HOME)
