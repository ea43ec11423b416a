"""Classical morphology as a baseline: five numbers a galaxy that need no training.

Concentration, asymmetry and smoothness (Conselice 2003, ApJS 147, 1), Gini and M20 (Lotz, Primack
& Madau 2004, AJ 128, 163), measured by statmorph (Rodriguez-Gomez et al. 2019, MNRAS 483, 4140)
with its defaults, but for the two parts of it that none of the five needs and that take time:
its Sérsic fit stops after one step, and its multimode statistic is not polished.

What has to be chosen, and why:

* One band: the mean of R, G and B. Galaxy Zoo's images are stretched, and not by the same curve
  in each band, so no weights would give fluxes. The numbers rank galaxies of one survey; they are
  not those of published catalogues, which are measured on linear flux.
* Sky: the sigma-clipped median of the outer sixteenth on each side. Galaxies are centred.
* Segments: 1.5 sigma above the sky, as in statmorph's tutorial, which first smooths by the point
  spread; that of a picture is not known, so a Gaussian of 1 pixel stands for it. The sky's sigma
  counts as at least half a grey level, since pixels are whole numbers.
* The galaxy: the segment at the centre, or the nearest within a tenth of the side, as dim
  galaxies have holes. Other segments are masked, so neighbours count for nothing.
* Failed: no segment there, statmorph's flag 2 ("bad") or more, an error, or a number that is not
  finite. Nothing is known of such a galaxy, so it gets the training median, and a column says so.

About 2 galaxies a second on one core at 128 pixels; more than half of that time looks for the
centre of least asymmetry.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from gzfound.errors import DataError, GzfoundError

FEATURES = ("concentration", "asymmetry", "smoothness", "gini", "m20")
THRESHOLD = 1.5
_LEAST_SIGMA = 0.5
_BAD = 2


def measure_morphology(images: Iterable[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float64]:
    """The five numbers of each image, ``(N, 5)`` in the order of ``FEATURES``; NaN where failed.

    Args:
        images: uint8, each ``(H, W, 3)``.

    Raises:
        GzfoundError: statmorph is not installed.
    """
    morphology_of = _statmorph()
    rows = [_measure(image, morphology_of) for image in images]
    return np.array(rows, np.float64).reshape(len(rows), len(FEATURES))


def fill_failed(
    measured: npt.NDArray[np.floating], train_rows: npt.NDArray[np.integer]
) -> npt.NDArray[np.float32]:
    """Features for a probe, ``(N, 6)``, all finite: the five numbers, and 1 where they failed.

    Args:
        measured: of :func:`measure_morphology`, ``(N, 5)``.
        train_rows: rows whose median replaces what failed.

    Raises:
        DataError: all of the training galaxies failed.
    """
    failed = ~np.isfinite(measured).all(axis=1)
    known = measured[train_rows][~failed[train_rows]]
    if not len(known):
        raise DataError(f"morphology failed on all {len(train_rows)} training galaxies")
    filled = np.where(failed[:, None], np.median(known, axis=0), measured)
    return np.column_stack([filled, failed]).astype(np.float32)


def segments(
    image: npt.NDArray[np.uint8],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.integer], int]:
    """The image less its sky, its segments, and the number of the galaxy's, 0 for none.

    Args:
        image: uint8 ``(H, W, 3)``.

    Returns:
        Float64 ``(H, W)`` in grey levels; whole numbers ``(H, W)``, 0 for the sky; the label.
    """
    grey = np.asarray(image, np.float64).mean(axis=2)
    height, width = grey.shape
    edge = max(1, min(height, width) // 16)
    inner = np.zeros(grey.shape, bool)
    inner[edge:-edge, edge:-edge] = True
    sky, sigma = _clipped(grey[~inner])
    grey -= sky
    threshold = THRESHOLD * max(sigma, _LEAST_SIGMA)
    labels, _ = ndimage.label(ndimage.gaussian_filter(grey, 1.0) > threshold)
    y, x = np.mgrid[:height, :width]
    distance = np.hypot(y - (height - 1) / 2, x - (width - 1) / 2)
    distance[labels == 0] = np.inf
    nearest = int(np.argmin(distance))
    near = distance.flat[nearest] <= max(1.0, 0.1 * min(height, width))
    return grey, labels, int(labels.flat[nearest]) if near else 0


def _clipped(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Median and deviation of the values within 3 deviations of the median, clipped five times."""
    for _ in range(5):
        middle, sigma = float(np.median(values)), float(values.std())
        values = values[np.abs(values - middle) <= 3 * sigma]
    return float(np.median(values)), float(values.std())


def _statmorph() -> Any:
    try:
        import statmorph
    except ImportError as error:
        raise GzfoundError(
            "morphology needs statmorph, which is not installed: pip install 'gzfound[morphology]'"
        ) from error
    return statmorph.SourceMorphology


def _measure(image: npt.NDArray[np.uint8], morphology_of: Any) -> list[float]:
    grey, labels, label = segments(image)
    failed = [float("nan")] * len(FEATURES)
    if label == 0:
        return failed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what they say is in the flag
        try:
            found = morphology_of(
                grey,
                labels,
                label,
                gain=1.0,  # only for its signal-to-noise and Sérsic fit
                sersic_fitting_args={"maxiter": 1},
                niter_bh_mid=0,
            )
        except Exception:  # it raises whatever an odd galaxy makes numpy, scipy or skimage raise
            return failed
    return [float(found[name]) for name in FEATURES] if found.flag < _BAD else failed
