"""Two libraries of indexes on the same vectors, a thread each, in processor time: why faiss.

pip install usearch && python benchmarks/search_libraries.py --output R.json
"""

from __future__ import annotations

import gzfound  # noqa: F401  # isort: skip  # before torch: says how its threads wait

import importlib.metadata
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from search_parts import K, made_vectors

from gzfound.errors import ConfigError, one_line_errors
from gzfound.evaluation.results import write_results
from gzfound.neighbours import nearest, unit_vectors
from gzfound.training.config import parse_config

Vectors = npt.NDArray[np.float32]
Search = Callable[[Vectors, int], npt.NDArray[np.int64]]
EFFORTS = {"faiss": (8, 16, 32, 64), "usearch": (32, 64, 128, 256)}
"""Lists probed by faiss; length of the queue of candidates of usearch."""


@dataclass(frozen=True)
class LibrariesConfig:
    """Options of the comparison.

    Attributes:
        output: JSON file to write.
        rows: vectors in the index.
        features: numbers in each.
        queries: vectors to search for.
        seed: of the vectors.
    """

    output: str = ""
    rows: int = 20_000
    features: int = 512
    queries: int = 500
    seed: int = 0


def with_faiss(vectors: Vectors, file: Path) -> Callable[[int], Search]:
    """The index of gzfound: lists of vectors in half precision."""
    import faiss

    faiss.omp_set_num_threads(1)
    lists = int(4 * len(vectors) ** 0.5)
    index = faiss.index_factory(vectors.shape[1], f"IVF{lists},SQfp16", faiss.METRIC_INNER_PRODUCT)
    index.by_residual = False
    index.cp.niter, index.cp.min_points_per_centroid = 10, 1
    chosen = np.random.default_rng(0).permutation(len(vectors))[: 32 * lists]
    index.train(vectors[chosen])
    index.add(vectors)
    faiss.write_index(index, str(file))

    def at(effort: int) -> Search:
        index.nprobe = effort
        return lambda queries, k: index.search(queries, k)[1]

    return at


def with_usearch(vectors: Vectors, file: Path) -> Callable[[int], Search]:
    """A graph of vectors in half precision, with the library's own settings."""
    from usearch.index import Index

    index = Index(ndim=vectors.shape[1], metric="cos", dtype="f16")
    index.add(np.arange(len(vectors)), vectors, threads=1)
    index.save(str(file))
    mapped = Index.restore(str(file), view=True)

    def at(effort: int) -> Search:
        mapped.expansion_search = effort
        return lambda queries, k: mapped.search(queries, k, threads=1).keys.astype(np.int64)

    return at


def measure(
    build: Callable[[Vectors, Path], Callable[[int], Search]],
    efforts: Sequence[int],
    vectors: Vectors,
    queries: Vectors,
    truth: npt.NDArray[np.int64],
) -> dict[str, Any]:
    """Time to build and to search, size, and recall at several efforts."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "index"
        began = time.process_time()
        at = build(vectors, file)
        found: dict[str, Any] = {
            "build_seconds": time.process_time() - began,
            "bytes": file.stat().st_size,
            "efforts": [],
        }
        for effort in efforts:
            search = at(effort)
            search(queries, K)
            began = time.process_time()
            rows = search(queries, K)
            rate = len(queries) / (time.process_time() - began)
            recall = (truth[:, :, None] == rows[:, None, :]).any(axis=2).mean()
            found["efforts"].append(
                {"effort": effort, "queries_per_second": rate, "recall": float(recall)}
            )
    return found


def markdown(libraries: Mapping[str, Any]) -> str:
    """The table of docs/search.md on libraries."""
    head = (
        "| library | build | size | effort | queries a second | recall@10 |\n"
        "|---|---:|---:|---:|---:|---:|"
    )
    lines = [
        f"| {name} | {found['build_seconds']:.0f} s | {found['bytes'] / 2**20:.0f} MiB | "
        f"{each['effort']} | {each['queries_per_second']:,.0f} | {each['recall']:.4f} |"
        for name, found in libraries.items()
        for each in found["efforts"]
    ]
    return "\n".join([head, *lines])


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the options, measure both, print and write what comes out."""
    config = parse_config(LibrariesConfig, "Two libraries of search indexes.", argv)
    if not config.output:
        raise ConfigError("output: missing; pass --output")
    made = made_vectors(config.rows + config.queries, config.features, config.seed)
    together = unit_vectors(np.concatenate([vectors for _, vectors in made]))
    vectors, queries = together[: config.rows], together[config.rows :]
    truth, _ = nearest(vectors, queries, K)
    libraries = {"faiss": with_faiss, "usearch": with_usearch}
    try:
        versions = {"faiss": importlib.metadata.version("faiss-cpu")}
        versions["usearch"] = importlib.metadata.version("usearch")
    except importlib.metadata.PackageNotFoundError as error:
        raise ConfigError(f"libraries: {error.name} is not installed") from error
    found = {}
    for name, build in libraries.items():
        found[name] = measure(build, EFFORTS[name], vectors, queries, truth)
    result = {"libraries": found, "library_versions": versions, "configuration": asdict(config)}
    write_results(config.output, result)
    print(markdown(found))
    print(f"written: {config.output}")


if __name__ == "__main__":
    main()
