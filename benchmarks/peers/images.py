"""The images that are measured with: made once, kept under ``build``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gzfound.data.card import DatasetCard
from gzfound.data.write import write_dataset
from gzfound.files import atomic_directory
from gzfound.simulation import simulate_dataset


def galaxies(home: Path, count: int, size: int) -> dict[str, str]:
    """Simulated galaxies twice: a dataset of the hub's layout, and a folder of JPEG files."""
    parquet = home / f"galaxies-{size}-{count}"
    jpeg = home / f"jpeg-{size}-{count}"
    if not parquet.exists():
        simulate_dataset(parquet, galaxies=count, image_size=size)
    if not jpeg.exists():
        with atomic_directory(jpeg) as folder:
            (folder / "images").mkdir()
            for file in sorted((parquet / "data").glob("*.parquet")):
                table = pq.read_table(file, columns=["id_str", "image"])
                for row in table.to_pylist():
                    path = folder / "images" / f"{row['id_str']}.jpg"
                    path.write_bytes(row["image"]["bytes"])
    return {"parquet": str(parquet), "folder": str(jpeg), "jpeg": str(jpeg / "images")}


def first_files(folder: str, count: int, target: Path) -> Path:
    """A folder with links to the first images of another, each under two names if too few."""
    files = sorted(Path(folder).iterdir())
    if not target.exists():
        with atomic_directory(target) as part:
            for number in range(count):
                os.link(files[number % len(files)], part / f"{number:06d}.jpg")
    return target


def small(home: Path, counts: tuple[int, int], size: int = 32) -> dict[str, str]:
    """Two datasets of small images, the larger one repeating the smaller under other names."""
    few, many = (home / f"galaxies-{size}-{count}" for count in counts)
    if not few.exists():
        simulate_dataset(few, galaxies=counts[0], image_size=size)
    if not many.exists():
        _repeat(few, many, counts[1] // counts[0])
    return {"few": str(few), "many": str(many)}


def _repeat(source: Path, target: Path, times: int) -> None:
    def again(split: str) -> Iterator[pa.Table]:
        (file,) = (source / "data").glob(f"{split}-*.parquet")
        table = pq.read_table(file)
        names = table["id_str"].to_pylist()
        files = pa.array([image["bytes"] for image in table["image"].to_pylist()])
        for number in range(times):
            ids = pa.array([f"{name}-{number}" for name in names])
            yield pa.table({"image": files, "id_str": ids})

    card = DatasetCard("repeated", "The same galaxies again and again", "cc0-1.0", "Simulated.")
    write_dataset(target, {split: again(split) for split in ("train", "test")}, card)
