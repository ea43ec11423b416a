"""Small images, folders and hub directories made on the fly."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def _own_caches(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every cache out of the user's."""
    import datasets

    folder = tmp_path_factory.mktemp("caches")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "datasets")
    monkeypatch.setenv("GZFOUND_CACHE", str(folder / "gzfound"))


@pytest.fixture(scope="session")
def galaxy() -> Callable[..., np.ndarray]:
    """A smooth blob with structure and noise: uint8 ``(height, width, 3)``."""

    def make(seed: int, height: int = 60, width: int = 60) -> np.ndarray:
        y, x = np.mgrid[:height, :width]
        draw = np.random.default_rng(seed)
        radius = np.hypot(y - height / 2, (x - width / 2) * draw.uniform(1, 2))
        light = 200 * np.exp(-radius / draw.uniform(5, 12))[..., None] * draw.uniform(0.5, 1, 3)
        return np.clip(light + draw.normal(20, 5, (height, width, 3)), 0, 255).astype(np.uint8)

    return make


@pytest.fixture(scope="session")
def jpeg(galaxy: Callable[..., np.ndarray]) -> Callable[..., bytes]:
    """The bytes of a JPEG of a galaxy."""

    def make(seed: int, height: int = 60, width: int = 60) -> bytes:
        out = io.BytesIO()
        Image.fromarray(galaxy(seed, height, width)).save(out, "JPEG", quality=95)
        return out.getvalue()

    return make


@pytest.fixture
def folder(tmp_path: Path, jpeg: Callable[..., bytes]) -> Path:
    """Four images: g0, g1, g2 and deep/g3."""
    root = tmp_path / "cutouts"
    (root / "deep").mkdir(parents=True)
    for k, name in enumerate(("g0.jpg", "g1.jpg", "g2.jpg", "deep/g3.jpg")):
        (root / name).write_bytes(jpeg(k))
    return root


@pytest.fixture
def hub_directory(jpeg: Callable[..., bytes]) -> Callable[..., Path]:
    """Write a directory in the layout of the hub, two configs of two splits, with a card."""

    def write(root: Path, ids: Sequence[object] = ("a", "b", "c"), **columns: Sequence) -> Path:
        images = [{"bytes": jpeg(k), "path": None} for k in range(len(ids))]
        table = pa.table({"image": images, "id_str": list(ids), **columns})
        card = ["---", "configs:"]
        for config, part in (("default", "data"), ("tiny", "tiny")):
            (root / part).mkdir(parents=True)
            card += [f"- config_name: {config}", "  data_files:"]
            for split, rows in (("train", table), ("test", table.slice(0, 1))):
                pq.write_table(rows, root / part / f"{split}-00000-of-00001.parquet")
                card += [f"  - split: {split}", f"    path: {part}/{split}-*"]
        (root / "README.md").write_text("\n".join([*card, "---", "# Galaxies"]))
        return root

    return write
