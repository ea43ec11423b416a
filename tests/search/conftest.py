"""Tables of vectors in clusters, small enough to search exactly, and indexed all the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gzfound import Embeddings
from gzfound.search import index

ROWS, FEATURES = 3_000, 16


@pytest.fixture
def vectors() -> np.ndarray:
    """Sixty clusters of fifty vectors of any length."""
    rng = np.random.default_rng(0)
    centres = np.repeat(rng.normal(size=(60, FEATURES)), ROWS // 60, axis=0)
    near = centres + 0.3 * rng.normal(size=centres.shape)
    return (near * rng.uniform(0.1, 10, size=(ROWS, 1))).astype(np.float32)


@pytest.fixture
def table(tmp_path: Path, vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The vectors as a file of which an index may be made."""
    monkeypatch.setattr(index, "LEAST_ROWS", 100)
    Embeddings([f"g{n}" for n in range(ROWS)], vectors).write(tmp_path / "e.parquet")
    return tmp_path / "e.parquet"
