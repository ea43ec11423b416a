"""Classical morphology on galaxies whose shape is known."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from gzfound.errors import DataError, GzfoundError
from gzfound.evaluation.morphology import FEATURES, fill_failed, measure_morphology, segments

SIZE = 64


def galaxy(
    index: float = 1.0, *, bright: float = 0.0, at: tuple[float, float] = (0, 0)
) -> npt.NDArray[np.uint8]:
    """A round Sérsic profile of half-light radius 7 pixels, and a blob on one side, on noise."""
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    radius = np.hypot(x - at[1], y - at[0])
    light = np.exp(-(2 * index - 1 / 3) * ((radius / 7) ** (1 / index) - 1))
    blob = bright * np.exp(-((x - 7) ** 2 + y**2) / 8)
    noise = np.random.default_rng(0).normal(0, 1.5, (SIZE, SIZE))
    pixels = np.clip(20 * np.minimum(light, 11) + blob + 10 + noise, 0, 255)
    return np.repeat(pixels[..., None], 3, axis=2).round().astype(np.uint8)


def test_numbers_follow_the_shape() -> None:
    """An exponential disk has C = 5 lg(2.994 / 0.824) = 2.80, and no asymmetry.

    (1 - (1 + x) exp(-x) is 0.8 and 0.2 at those radii, in scale lengths.) A blob on one side adds
    asymmetry, and the light's second moment goes outwards.
    """
    pytest.importorskip("statmorph")
    disk, lopsided, empty = measure_morphology(
        [galaxy(), galaxy(bright=120), np.full((SIZE, SIZE, 3), 10, np.uint8)]
    )
    assert disk.shape == (len(FEATURES),)
    assert disk[0] == pytest.approx(2.80, abs=0.15)
    assert abs(disk[1]) < 0.06
    assert lopsided[1] > disk[1] + 0.1
    assert lopsided[4] > disk[4]
    assert np.isnan(empty).all()


def test_errors_and_bad_flags_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """The flag is 1 (suspect) for the first, 2 (bad) for the second; the third raises."""
    statmorph = pytest.importorskip("statmorph")
    flags = iter([1, 2])

    def fake(*args: Any, **options: Any) -> Any:
        class Found(dict[str, float]):
            flag = next(flags)

        return Found(dict.fromkeys(FEATURES, 4.0))

    monkeypatch.setattr(statmorph, "SourceMorphology", fake)
    measured = measure_morphology([galaxy()] * 3)
    np.testing.assert_array_equal(np.isnan(measured[:, 0]), [False, True, True])
    assert (measured[0] == 4).all()


def test_the_galaxy_is_the_segment_at_the_centre() -> None:
    """A brighter neighbour is another segment; nothing at the centre is no galaxy."""
    both = np.maximum(galaxy(), galaxy(at=(-25, 25)))
    grey, labels, label = segments(both)
    middle = SIZE // 2
    assert label == labels[middle, middle] != 0
    assert labels[7, 57] not in (0, label)
    assert abs(np.median(grey[labels == 0])) < 1
    assert segments(galaxy(at=(-25, 25)))[2] == 0


def test_failed_galaxies_get_the_training_median() -> None:
    """Rows 0 to 2 are trained on; their medians without the failed row 1 are 2 to 6."""
    measured = np.array([np.arange(5.0), np.full(5, np.nan), 4 + np.arange(5.0), np.full(5, 9.0)])
    measured = np.concatenate([measured, measured[1:2]])
    filled = fill_failed(measured, np.array([0, 1, 2]))
    assert filled.dtype == np.float32
    np.testing.assert_array_equal(filled[1], [2, 3, 4, 5, 6, 1])
    np.testing.assert_array_equal(filled[4], filled[1])
    np.testing.assert_array_equal(filled[3], [9, 9, 9, 9, 9, 0])
    with pytest.raises(DataError, match="morphology failed on all 1 training galaxies"):
        fill_failed(measured, np.array([1]))


def test_missing_statmorph_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **options: Any) -> Any:
        if name == "statmorph":
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(GzfoundError, match=r"pip install 'gzfound\[morphology\]'"):
        measure_morphology([])
