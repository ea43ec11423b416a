"""What benchmarks/search.py measures of one table: index and exact search, in new processes.

All times are of the processor, not of the wall: with one thread they agree where nothing else runs,
and other work on the machine disturbs them less.
"""

from __future__ import annotations

import gzfound  # noqa: F401  # isort: skip  # before torch: says how its threads wait

import multiprocessing
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gzfound.embedding.table import EmbeddingTable
from gzfound.search import Searcher, build_index, index

K = 10
CLUSTERS, INTRINSIC = 1_000, 16
BLOCK = 20_000

Batches = Iterator[tuple[list[str], npt.NDArray[np.float32]]]


def made_vectors(rows: int, features: int, seed: int) -> Batches:
    """Clustered vectors with their names, some at a time."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(CLUSTERS, INTRINSIC)).astype(np.float32)
    spread = (rng.normal(size=(INTRINSIC, features)) / 4).astype(np.float32)
    for first in range(0, rows, BLOCK):
        count = min(BLOCK, rows - first)
        inner = centres[rng.integers(CLUSTERS, size=count)]
        inner = inner + 0.5 * rng.normal(size=inner.shape).astype(np.float32)
        noise = 0.1 * np.abs(rng.normal(size=(count, features)).astype(np.float32))
        yield (
            [f"v{n:08d}" for n in range(first, first + count)],
            np.maximum(inner @ spread, 0) + noise,
        )


def split(batches: Batches, rows: int) -> tuple[Batches, list[npt.NDArray[np.float32]]]:
    """The first ``rows`` of the batches, and a list that gains the others once these are read."""
    others: list[npt.NDArray[np.float32]] = []

    def first() -> Batches:
        left = rows
        for names, vectors in batches:
            if left:
                yield names[:left], vectors[:left]
            others.append(vectors[left:])
            left -= min(left, len(names))

    return first(), others


def apart(work: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """What ``work`` gives in a new process, with its peak memory without mapped files, in MiB."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(watched, work, arguments).result()


def watched(work: Callable[..., dict[str, Any]], arguments: tuple[Any, ...]) -> dict[str, Any]:
    """``work`` with its peak memory; what it held before it began is ``memory_before``."""
    seen, ended = [own_memory()], threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            seen.append(own_memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    found = work(*arguments)
    ended.set()
    watcher.join()
    return {**found, "memory_before": seen[0], "memory_peak": max(seen)}


def own_memory(kind: str = "RssAnon") -> float:
    """Resident memory of this process that is no mapped file, or of another kind, in MiB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in lines if line.startswith(kind)]
    return int(line.split()[1]) / 1024


def build(path: str) -> dict[str, Any]:
    """Build the index of a table of any size."""
    index.LEAST_ROWS = 0
    began = time.process_time()
    made = build_index(path)
    return {"seconds": time.process_time() - began, "bytes": made.size, "lists": made.lists}


def search(path: str, queries: npt.NDArray[np.float32], exact: bool) -> dict[str, Any]:
    """Open a table, search for one query, then for all, and once more: the faster is kept."""
    index.LEAST_ROWS = 0
    began = time.process_time()
    searcher = Searcher(path, exact=exact)
    opened = time.process_time() - began
    singles, rates = [], []
    for query in queries[: 2 if exact else 100]:
        began = time.process_time()
        searcher.nearest(query[None], K)
        singles.append(time.process_time() - began)
    for _ in range(1 if exact else 3):
        began = time.process_time()
        rows, similarities = searcher.nearest(queries, K)
        rates.append(len(queries) / (time.process_time() - began))
    return {
        "open_seconds": opened,
        "one_query_seconds": float(np.median(singles)),
        "queries_per_second": max(rates),
        "rows": rows,
        "similarities": similarities,
    }


def command_seconds(path: Path, name: str, exact: bool) -> float:
    """What the command takes that looks for the neighbours of one galaxy: the less of two runs."""
    code = (
        "from gzfound.search import index\nindex.LEAST_ROWS = 0\nimport sys\n"
        "from gzfound.cli import main\nmain(sys.argv[1:])"
    )
    words = ["neighbours", str(path), "--query", name, *(["--exact"] if exact else [])]
    found = []
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code, *words], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(found)


def measured(path: Path, queries: npt.NDArray[np.float32]) -> dict[str, Any]:
    """The index of a table beside exact search: everything but the found rows themselves."""
    table = EmbeddingTable(path)
    made = apart(build, str(path))
    exact, indexed = (apart(search, str(path), queries, exact) for exact in (True, False))
    truth, found = exact.pop("rows"), indexed.pop("rows")
    same = truth[:, :, None] == found[:, None, :]
    right, wrong = exact.pop("similarities"), indexed.pop("similarities")
    name = table.names([table.rows // 2])[0]
    return {
        "rows": table.rows,
        "features": table.features,
        "table_bytes": path.stat().st_size,
        "build": made,
        "exact": {**exact, "command_seconds": command_seconds(path, name, True)},
        "index": {
            **indexed,
            "command_seconds": command_seconds(path, name, False),
            f"recall_at_{K}": float(same.any(axis=2).mean()),
            "largest_error_of_similarity": float(
                np.abs(right[:, :, None] - wrong[:, None, :])[same].max()
            ),
        },
    }
