"""Search in embeddings: time, size, memory and recall of the index, and what anomaly ranking finds.

    python benchmarks/search.py --output benchmarks/results/search.json   # prints the tables too

The tables of vectors are made: clusters in 16 dimensions, spread over 512 by random half-planes, so
that a vector has neighbours as those of an encoder have. The galaxies are simulated, and embedded
by the weights that ship with the package. Every figure of time and memory is of a new process;
times are of the processor.
"""

from __future__ import annotations

import gzfound  # isort: skip  # before torch: says how its threads wait

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from search_parts import K, made_vectors, measured, split
from sklearn.metrics import roc_auc_score

from gzfound import Embeddings
from gzfound.embedding import write_embeddings
from gzfound.errors import ConfigError, one_line_errors
from gzfound.evaluation.results import write_results
from gzfound.search import index, rank_anomalies
from gzfound.search.anomalies import METHODS
from gzfound.simulation import simulate_dataset
from gzfound.simulation.dataset import read_truth
from gzfound.simulation.latents import ARTIFACT, GALAXY, STAR
from gzfound.training.config import parse_config

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class SearchConfig:
    """Options of the benchmark.

    Attributes:
        output: JSON file to write.
        sizes: rows of the tables of made vectors.
        features: numbers in each vector.
        queries: vectors that are searched for in each table.
        galaxies: simulated galaxies.
        planted: odd objects among galaxies, where they are rare.
        among: galaxies that they are planted among.
        draws: how often they are drawn anew.
        seed: of vectors, galaxies and draws.
        home: folder for the tables; what is made there is removed.
    """

    output: str = ""
    sizes: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    features: int = 512
    queries: int = 500
    galaxies: int = 6_000
    planted: int = 12
    among: int = 4_000
    draws: int = 8
    seed: int = 12
    home: str = str(ROOT / "build" / "bench_search")


def scale(config: SearchConfig, home: Path, rows: int) -> dict[str, Any]:
    """A table of made vectors; the queries are other vectors like them."""
    path = home / f"made-{rows}.parquet"
    together = made_vectors(rows + config.queries, config.features, config.seed)
    kept, queries = split(together, rows)
    write_embeddings(kept, config.features, path)
    found = measured(path, np.concatenate(queries))
    path.unlink()
    shutil.rmtree(index.index_path(path))
    return found


def embedded_galaxies(config: SearchConfig, home: Path) -> tuple[Path, Path]:
    """Simulated galaxies and their embeddings."""
    data, path = home / "galaxies", home / "galaxies.parquet"
    simulate_dataset(data, galaxies=config.galaxies, seed=config.seed)
    gzfound.extract(data, output=path)
    return data, path


def apart_from_queries(config: SearchConfig, path: Path) -> dict[str, Any]:
    """Every so many of the galaxies are searched for among the others."""
    galaxies = Embeddings.read(path)
    asked = np.zeros(len(galaxies.ids), dtype=bool)
    asked[:: max(2, len(asked) // config.queries)] = True
    others = [name for name, query in zip(galaxies.ids, asked, strict=True) if not query]
    table = path.with_name("others.parquet")
    Embeddings(others, galaxies.vectors[~asked]).write(table)
    return measured(table, galaxies.vectors[asked])


def anomalies(config: SearchConfig, data: Path, path: Path) -> dict[str, Any]:
    """How well each method tells odd objects from galaxies: area under the curve, and a count.

    ``rare``: a few odd objects of one kind among galaxies, drawn anew each time. ``common``: all
    odd objects of one kind among as many galaxies as there are.
    """
    galaxies = Embeddings.read(path)
    names, latents, _ = read_truth(data)
    at = {name: row for row, name in enumerate(names)}
    latents = latents[np.array([at[name] for name in galaxies.ids])]
    plain = np.flatnonzero((latents.kind == GALAXY) & (latents.disturbance == 0))
    kinds = {
        "artifacts": np.flatnonzero(latents.kind == ARTIFACT),
        "stars": np.flatnonzero(latents.kind == STAR),
        "torn galaxies": np.flatnonzero((latents.kind == GALAXY) & (latents.disturbance > 0.6)),
    }
    rng = np.random.default_rng(config.seed)
    table = path.with_name("planted.parquet")
    found: dict[str, Any] = {"rare": {}, "common": {}}
    for kind, odd in kinds.items():
        drawn = [
            (
                rng.choice(plain, config.among, replace=False),
                rng.choice(odd, config.planted, replace=False),
            )
            for _ in range(config.draws)
        ]
        for method in METHODS:
            scored = [score(method, galaxies, *rows, table) for rows in drawn]
            found["rare"].setdefault(kind, {})[method] = {
                name: [each[name] for each in scored] for name in scored[0]
            }
            found["common"].setdefault(kind, {})[method] = {
                **score(method, galaxies, plain, odd, table),
                "odd": len(odd),
                "galaxies": len(plain),
            }
    return found


def score(
    method: Any,
    galaxies: Embeddings,
    plain: npt.NDArray[np.int64],
    odd: npt.NDArray[np.int64],
    table: Path,
) -> dict[str, float]:
    """The area under the curve, and how many of the first 50 are odd."""
    rows = np.sort(np.concatenate([plain, odd]))
    Embeddings([galaxies.ids[row] for row in rows], galaxies.vectors[rows]).write(table)
    ranked = rank_anomalies(table, method)
    names = {galaxies.ids[row] for row in odd}
    is_odd = np.array([name in names for name in ranked.ids])
    area = float(roc_auc_score(is_odd, ranked.scores))
    return {"area": area, "odd_among_first_50": int(is_odd[:50].sum())}


def above(process: Mapping[str, float]) -> float:
    """The peak memory of a process above what it held when its work began, in MiB."""
    return process["memory_peak"] - process["memory_before"]


def scale_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table of docs/search.md on the index."""
    head = (
        "| vectors | table | index | build | peak memory | exact: one query | all | "
        "index: one query | all | recall@10 |\n" + "|---:" * 10 + "|"
    )
    lines = []
    for row in rows:
        exact, found = row["exact"], row["index"]
        cells = [
            f"{row['rows']:,}",
            f"{row['table_bytes'] / 2**20:,.0f} MiB",
            f"{row['build']['bytes'] / 2**20:,.0f} MiB",
            f"{row['build']['seconds']:,.0f} s",
            f"{above(row['build']):,.0f} MiB",
            f"{exact['one_query_seconds'] * 1e3:,.0f} ms",
            f"{exact['queries_per_second']:,.0f}/s",
            f"{found['one_query_seconds'] * 1e3:,.1f} ms",
            f"{found['queries_per_second']:,.0f}/s",
            f"{found[f'recall_at_{K}']:.4f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([head, *lines])


def command_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table of docs/search.md on the command line."""
    lines = [
        f"| {row['rows']:,} | {row['exact']['command_seconds']:.2f} s | "
        f"{row['index']['command_seconds']:.2f} s | {above(row['exact']):,.0f} MiB | "
        f"{above(row['index']):,.0f} MiB |"
        for row in rows
    ]
    head = "| vectors | exact | index | memory, exact | memory, index |\n|---:|---:|---:|---:|---:|"
    return "\n".join([head, *lines])


def anomaly_table(found: Mapping[str, Any]) -> str:
    """The table of docs/search.md on anomalies."""
    head = (
        "| method | odd objects | rare: area (least to most) | in the first 50 | common: area | "
        "in the first 50 |\n|---|---|---:|---:|---:|---:|"
    )
    lines = []
    for method in METHODS:
        for kind, rare in found["rare"].items():
            areas, counts = rare[method]["area"], rare[method]["odd_among_first_50"]
            common = found["common"][kind][method]
            lines.append(
                f"| `{method}` | {kind} | {np.mean(areas):.3f} ({min(areas):.3f} to "
                f"{max(areas):.3f}) | {np.mean(counts):.1f} | {common['area']:.3f} | "
                f"{common['odd_among_first_50']} |"
            )
    return "\n".join([head, *lines])


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the options, run all parts, print the tables; the JSON file grows part by part."""
    config = parse_config(SearchConfig, "Search in embeddings.", argv)
    if not config.output:
        raise ConfigError("output: missing; pass --output")
    result: dict[str, Any] = {
        "faiss": index.import_faiss().__version__,
        "configuration": {**asdict(config), "home": Path(config.home).name},
    }

    def keep(name: str, value: Any) -> None:
        result[name] = {"found": value, "load_average": os.getloadavg()}
        write_results(config.output, result)

    home = Path(config.home)
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    try:
        data, path = embedded_galaxies(config, home)
        keep("galaxies", apart_from_queries(config, path))
        keep("anomalies", anomalies(config, data, path))
        print(anomaly_table(result["anomalies"]["found"]), flush=True)
        tables: list[dict[str, Any]] = []
        for rows in config.sizes:
            tables.append(scale(config, home, rows))
            keep("made_vectors", tables)
            print(scale_table(tables), flush=True)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    everything = [*tables, result["galaxies"]["found"]]
    print(scale_table(everything), command_table(everything), sep="\n\n")
    print(f"written: {config.output}")


if __name__ == "__main__":
    main()
