"""What benchmarks/scale.py is made of: raw tables of any length, watched work, checks."""

from __future__ import annotations

import gc
import json
import resource
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from search_parts import own_memory

from gzfound.data import decode_image, load_dataset
from gzfound.data.image_index import ImageIndex
from gzfound.data.names import Names
from gzfound.data.ordered import ordered_map
from gzfound.errors import DataError
from gzfound.files import digest_of, write_text
from gzfound.simulation.dataset import encode_jpeg
from gzfound.training.telemetry import read_metrics
from gzfound.training.vote_counts import read_votes, room_for_votes
from gzfound.trees import DecisionTree

TABLE, IMAGES = "table.parquet", "images"
FILES_A_FOLDER = 1000
NOISE = 2.0
"""Grey levels by which a repeated galaxy differs in each pixel, one standard deviation."""


def write_raw(galaxies: Path, rows: int, target: Path, seed: int = 0, threads: int = 2) -> None:
    """A table of votes and a folder of images, as a release has them, ``rows`` long.

    Where ``rows`` are more than there are galaxies, these come again: rotated, mirrored, with other
    noise, and under other names. Memory does not depend on ``rows``.

    Args:
        galaxies: a simulated dataset.
        rows: of the table.
        target: new folder for ``table.parquet`` and ``images``.
        seed: of the noise.
        threads: that write images.
    """
    target.mkdir(parents=True)

    def write_images(numbered: tuple[int, int, pa.Table]) -> pa.Table:
        first, turn, table = numbered
        names = [f"{name}-{turn}" for name in table["id_str"].to_pylist()]
        rng = np.random.default_rng((seed, first))
        for place, (name, file) in enumerate(zip(names, table["image"].to_pylist(), strict=True)):
            folder = target / IMAGES / f"{(first + place) // FILES_A_FOLDER:05d}"
            folder.mkdir(parents=True, exist_ok=True)
            data = file["bytes"] if not turn else turned(file["bytes"], turn, rng)
            (folder / f"{name}.jpg").write_bytes(data)
        columns = {"id_str": names}
        kept = [c for c in table.column_names if c not in ("image", "id_str")]
        return pa.table({**columns, **{c: table[c] for c in kept}})

    writer: pq.ParquetWriter | None = None
    for part in ordered_map(write_images, repeated(galaxies, rows), threads):
        writer = writer or pq.ParquetWriter(target / TABLE, part.schema)
        writer.write_table(part)
    if writer:
        writer.close()


def repeated(galaxies: Path, rows: int) -> Iterator[tuple[int, int, pa.Table]]:
    """The rows of a dataset again and again: number of the first row, of the turn, and rows."""
    first = turn = 0
    files = dataset_files(galaxies)
    if not files:
        raise DataError(f"{galaxies}: no Parquet files in data/")
    while first < rows:
        for file in files:
            with pq.ParquetFile(file) as parquet:
                for batch in parquet.iter_batches(5000):
                    table = pa.Table.from_batches([batch]).slice(0, rows - first)
                    if not table.num_rows:
                        return
                    yield first, turn, table
                    first += table.num_rows
        turn += 1


def turned(jpeg: bytes, turn: int, rng: np.random.Generator) -> bytes:
    """A galaxy in one of its eight orientations, with some more noise."""
    pixels = np.rot90(decode_image(jpeg, "simulated"), turn % 4)
    if turn // 4 % 2:
        pixels = pixels[::-1]
    noisy = pixels + rng.normal(0.0, NOISE, pixels.shape)
    return encode_jpeg(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))


def write_votes(data: Path, target: Path) -> None:
    """The table of a dataset without its images."""
    files = dataset_files(data)
    names = [name for name in pq.read_schema(files[0]).names if name != "image"]
    with pq.ParquetWriter(target, pq.read_table(files[0], columns=names).schema) as writer:
        for file in files:
            writer.write_table(pq.read_table(file, columns=names))


def dataset_files(folder: Path, *splits: str) -> list[Path]:
    """The Parquet files of a dataset, or of some of its splits, in the order of its rows."""
    splits = splits or ("train", "test")
    return [path for split in splits for path in sorted(folder.glob(f"data/{split}-*.parquet"))]


def watched(work: Callable[[], Any], note: Path, folders: Sequence[Path]) -> None:
    """Do some work in this process, and leave a note of what it took.

    The note has ``began`` from the start on; at the end it also has the seconds of the wall and of
    the processor, the memory before the work and at the peak, that of mapped files, both in MiB,
    and the most bytes in ``folders``.
    """
    began = time.time()
    write_text(note, json.dumps({"began": began}))
    before = own_memory()
    peaks = {"memory_peak": before, "mapped_peak": 0.0, "bytes_peak": 0}
    ended = threading.Event()

    def watch() -> None:
        looked = 0.0
        while True:
            last = ended.wait(0.1)
            peaks["memory_peak"] = max(peaks["memory_peak"], own_memory())
            mapped = own_memory("RssFile") + own_memory("RssShmem")  # the latter on a RAM disk
            peaks["mapped_peak"] = max(peaks["mapped_peak"], mapped)
            if last or time.monotonic() - looked > 2:
                peaks["bytes_peak"] = max(peaks["bytes_peak"], sum(map(bytes_in, folders)))
                looked = time.monotonic()
            if last:
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    status = 0
    try:
        work()
    except SystemExit as stop:  # as commands end
        status = stop.code if isinstance(stop.code, int) else 0
        if status:
            raise
    finally:
        seconds = time.time() - began
        ended.set()
        watcher.join()
    used = resource.getrusage(resource.RUSAGE_SELF)
    found = {"began": began, "seconds": seconds, "cpu_seconds": used.ru_utime + used.ru_stime}
    write_text(note, json.dumps({**found, "memory_before": before, **peaks}))


def bytes_held(data: Path) -> dict[str, float]:
    """Memory a galaxy of what builds and runs hold of each, in bytes; only large data tell."""
    found: dict[str, float] = {}
    held: list[Any] = []

    def measure(name: str, make: Callable[[], Any]) -> Any:
        before = own_memory()
        held.append(make())
        gc.collect()
        found[name] = (own_memory() - before) * 2**20
        return held[-1]

    dataset = measure("table of datasets", lambda: load_dataset(data, split="train"))
    names = measure("names", lambda: Names.of(dataset))
    named = (f"{name[-5:]}/{name}.jpg" for name in names)
    paths = measure("paths of images", lambda: Names.packed(named).sorted())
    measure("index of images", lambda: ImageIndex(paths))
    measure("images that were found", lambda: np.ones(len(paths), bool))
    measure("votes", lambda: load_votes(dataset))
    return {name: size / len(names) for name, size in found.items()}


def load_votes(dataset: Any) -> Any:
    """The votes ``(N, answers)`` of a dataset, as a training run holds them."""
    tree = DecisionTree.from_columns(dataset.column_names).tree
    room = room_for_votes(len(dataset), tree)
    return read_votes(dataset, np.arange(len(dataset)), tree, "data", room)


def bytes_in(folder: Path) -> int:
    """The bytes of all files in a folder, hidden ones too; files may come and go meanwhile."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total


def until_first_step(run: Path, began: float) -> float:
    """Seconds from the start of a training run to the end of its first step."""
    return float(read_metrics(run / "metrics.jsonl", "step")[0]["time"]) - began


def steps_once(run: Path) -> bool:
    """Whether a training run recorded each of its steps once, in order."""
    steps = [row["step"] for row in read_metrics(run / "metrics.jsonl", "step")]
    return steps == list(range(1, len(steps) + 1))


def same_galaxies(found: Sequence[Path], expected: Sequence[Path], *, in_order: bool) -> bool:
    """Whether some Parquet files hold the ``id_str`` of others, each as often."""
    one, other = (
        pa.concat_tables([pq.read_table(file, columns=["id_str"]) for file in files])
        for files in (found, expected)
    )
    if not in_order:
        one, other = (table.sort_by("id_str") for table in (one, other))
    return bool(one["id_str"].combine_chunks().equals(other["id_str"].combine_chunks()))


def rows_in(files: Sequence[Path]) -> int:
    """The rows of some Parquet files."""
    return sum(pq.read_metadata(file).num_rows for file in files)


def digests(folder: Path) -> dict[str, str]:
    """A checksum of each file of an extraction."""
    return {path.name: digest_of(path) for path in sorted(folder.glob("part-*.parquet"))}
