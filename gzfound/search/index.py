"""An index beside embeddings: vectors in half precision, grouped, read through memory maps.

The index is faiss's inverted file: k-means centres, each with the list of the vectors that are
nearest to it; a query is compared with the vectors of the nearest lists alone. Memory stays flat:
centres are fitted to a sample, and vectors are written into their lists a block at a time.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gzfound.embedding.table import BLOCK, EmbeddingTable
from gzfound.embedding.writing import Vectors
from gzfound.errors import ConfigError, DataError, GzfoundError
from gzfound.files import atomic_directory
from gzfound.neighbours import Floats, Integers, unit_vectors
from gzfound.search.content import Content, stamps_of

LEAST_ROWS = 50_000
"""Embeddings below which exact search answers as fast, so that there is no index."""
PROBES = 32
"""Lists that a query is compared with."""
_LISTS = 16_384
"""Most lists."""
_SAMPLE_OF_A_LIST = 32
"""Vectors a list that the centres are fitted to."""
_ROUNDS = 10
_ROW = np.dtype(np.int64)
_MANIFEST, _CENTRES, _VECTORS = "index.json", "centres.faiss", "vectors.ivfdata"
_SIZES = "sizes.npy"


@dataclass(frozen=True)
class IndexSummary:
    """What ``gzfound index`` made."""

    path: Path
    rows: int
    lists: int
    size: int
    """Bytes of all files together."""

    def __str__(self) -> str:
        return f"{self.rows} embeddings in {self.lists} lists, {self.size / 2**20:,.0f} MiB"


def index_path(embeddings: str | Path) -> Path:
    """The directory of the index of a file or directory of embeddings: beside it."""
    place = Path(embeddings).absolute()
    return place.with_name(f"{place.name}.index")


def build_index(
    embeddings: str | Path, *, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> IndexSummary:
    """Make the index that :func:`gzfound.find_neighbours` and the anomaly ranking look into.

    Args:
        embeddings: a Parquet file of ``gzfound embed``, or a directory of them.
        seed: of the sample that the centres are fitted to.
        progress: called with the embeddings done and the embeddings in all.

    Raises:
        ConfigError: there are too few embeddings for an index to be of use.
        DataError: the embeddings cannot be read, or changed meanwhile.
    """
    faiss = import_faiss()
    table = EmbeddingTable(embeddings)
    if table.rows < LEAST_ROWS:
        raise ConfigError(
            f"index: {table.path} holds {table.rows} embeddings: below {LEAST_ROWS} there is none, "
            "for exact search is as fast"
        )
    stamps = stamps_of(table.files)
    lists = min(int(4 * table.rows**0.5), _LISTS)
    with atomic_directory(index_path(embeddings)) as folder:
        index = _trained(faiss, table, lists, seed)
        sizes = _write_lists(index, table, folder / _VECTORS, progress)
        faiss.write_index(index, str(folder / _CENTRES))
        np.save(folder / _SIZES, sizes)
        content = Content.of(table.files)
        if content.stamps != stamps:
            raise DataError(f"embeddings: {table.path} changed while it was indexed; try again")
        lengths = {file.name: file.stat().st_size for file in sorted(folder.iterdir())}
        notes = {"rows": table.rows, "features": table.features, "lengths": lengths}
        text = json.dumps({**notes, "faiss": faiss.__version__, "content": asdict(content)})
        (folder / _MANIFEST).write_text(text + "\n", encoding="utf-8")
    return IndexSummary(index_path(embeddings), table.rows, lists, sum(lengths.values()))


class Index:
    """An index that belongs to a table, opened as memory maps.

    Raises:
        DataError: the index is of other embeddings, or damaged.
    """

    def __init__(self, table: EmbeddingTable) -> None:
        faiss = import_faiss()
        place = index_path(table.path)
        try:
            notes: dict[str, Any] = json.loads((place / _MANIFEST).read_text(encoding="utf-8"))
            told = notes["content"]
            stamps = tuple(tuple(stamp) for stamp in told["stamps"])
            content = Content(told["digest"], stamps, told["settled"])
            whole = all((place / n).stat().st_size == s for n, s in notes["lengths"].items())
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _useless(place, table, f"is damaged ({error})") from error
        if not whole:
            raise _useless(place, table, "is damaged (a file has lost its length)")
        if not content.holds(table.files):
            raise _useless(place, table, "is of other embeddings")
        try:
            index = faiss.read_index(str(place / _CENTRES))
            index.replace_invlists(_mapped(faiss, index, place), True)
        except (RuntimeError, ValueError, OSError) as error:
            raise _useless(place, table, "is damaged (faiss cannot read it)") from error
        index.ntotal = table.rows
        index.nprobe = PROBES
        self._index = index

    def nearest(self, queries: Vectors, k: int) -> tuple[Integers, Floats]:
        """As :func:`gzfound.neighbours.nearest`; row -1 where the lists hold fewer than ``k``."""
        similarities, rows = self._index.search(unit_vectors(queries, "queries"), k)
        return rows.astype(np.int64), np.clip(similarities, -1, 1)


def import_faiss() -> Any:
    """The module ``faiss``; where it is missing, one clear line."""
    try:
        import faiss
    except ImportError as error:
        raise GzfoundError(
            "an index needs faiss, which is not installed: pip install 'gzfound[search]'"
        ) from error
    return faiss


def _trained(faiss: Any, table: EmbeddingTable, lists: int, seed: int) -> Any:
    """An empty index with its centres."""
    index = faiss.index_factory(table.features, f"IVF{lists},SQfp16", faiss.METRIC_INNER_PRODUCT)
    index.by_residual = False
    index.cp.niter, index.cp.min_points_per_centroid = _ROUNDS, 1
    _, sample = table.sample(min(table.rows, _SAMPLE_OF_A_LIST * lists), seed)
    for first in range(0, len(sample), BLOCK):
        some = slice(first, first + BLOCK)
        sample[some] = unit_vectors(sample[some])
    index.train(sample)
    return index


def _write_lists(
    index: Any, table: EmbeddingTable, path: Path, progress: Callable[[int, int], None] | None
) -> Integers:
    """Write every list, its vectors and then their rows, as faiss maps them; returns the sizes.

    The table is read twice: to count the vectors of each list, and to put them in their places.
    """
    lists = np.concatenate(
        [index.quantizer.assign(unit_vectors(b), 1)[:, 0].astype(np.int32) for b in table.blocks()]
    )
    sizes = np.bincount(lists, minlength=index.nlist)
    starts = np.concatenate([[0], np.cumsum(sizes * (index.code_size + _ROW.itemsize))])
    written = np.zeros_like(sizes)
    file = np.memmap(path, dtype=np.uint8, mode="w+", shape=(int(starts[-1]),))
    first = 0
    for block in table.blocks():
        codes = index.sq.compute_codes(unit_vectors(block, "vectors", first))
        order = np.argsort(lists[first : first + len(block)], kind="stable")
        numbers, counts = np.unique(lists[first : first + len(block)], return_counts=True)
        for number, some in zip(numbers, np.split(order, np.cumsum(counts)[:-1]), strict=True):
            at = starts[number] + written[number] * index.code_size
            file[at : at + codes[some].size] = codes[some].ravel()
            rows = (first + some).astype(_ROW).view(np.uint8)
            at = starts[number] + sizes[number] * index.code_size + written[number] * _ROW.itemsize
            file[at : at + len(rows)] = rows
            written[number] += len(some)
        first += len(block)
        if progress is not None:
            progress(first, table.rows)
    file.flush()
    return sizes


def _mapped(faiss: Any, index: Any, place: Path) -> Any:
    """The lists of an index on the disk, as a memory map."""
    sizes = np.load(place / _SIZES).astype(np.uint64)
    lists = faiss.OnDiskInvertedLists(index.nlist, index.code_size, str(place / _VECTORS))
    lists.set_all_lists_sizes(faiss.swig_ptr(sizes))
    lists.totsize = (place / _VECTORS).stat().st_size
    lists.read_only = True
    lists.do_mmap()
    lists.this.disown()
    return lists


def _useless(place: Path, table: EmbeddingTable, why: str) -> DataError:
    return DataError(
        f"index: {place} {why}; `gzfound index {table.path}` makes it anew, and --exact does "
        "without it"
    )
