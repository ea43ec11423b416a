"""What pretraining and extraction cost on 1, 8 and 64 GPUs, and what saturates first.

    python benchmarks/cost_model.py              # prints the tables of docs/cost_model.md
    python benchmarks/cost_model.py --measure    # measures decoding here first

Every resource has a rate at which it alone would let galaxies through; the job runs at the lowest.
Decoding and bytes are measured (results/cost_model.json), and so are the rates of the GPU where
results/gpu.json has them; all else is assumed, and says so.
"""

from __future__ import annotations

import gzfound  # noqa: F401  # isort: skip  # before torch: says how its threads wait

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from gzfound.errors import one_line_errors
from gzfound.files import write_text
from gzfound.training.config import parse_config
from gzfound.training.provenance import machine, revision, versions

RESULTS = Path(__file__).parent / "results"
SAMPLES = {"Galaxy Zoo Hubble": 77_158, "DESI": 8_700_000, "LSST, Euclid": 1_000_000_000}
GPUS = (1, 8, 64)
EPOCHS = 100

PEAK = 989e12
"""bf16 FLOP/s of an H100 SXM without sparsity, from its data sheet."""
UTILISATION = 0.10
"""Share of the peak that a small network reaches, being bound by the memory's bandwidth."""
TRAINED_FLOP = 2 * 3 * 1.184e9
"""ResNet18 at 128 px: two views a galaxy; backward takes twice what forward takes."""
EXTRACTED_FLOP = 4.890e9
"""ConvNeXt-Nano at 224 px, forward."""

CORES_A_GPU, GPUS_A_NODE = 16, 8
DISK, NETWORK = 3e9, 12.5e9
"""Bytes a second that a node reads from its disk, and moves over its network (100 Gbit/s)."""
GPU_MEMORY = 80e9
GRADIENT_BYTES = 4 * 11.5e6
BATCH_A_GPU = 512
CACHED_BYTES = 3 * 128**2
EMBEDDING_BYTES = 4 * 640 + 24
"""ConvNeXt-Nano's 640 float32, and a name."""


@dataclass(frozen=True)
class CostConfig:
    """Options of the cost model.

    Attributes:
        measure: time the decoding of JPEG files on one core and write it first.
        repeats: of that measurement.
        images: decoded in each.
    """

    measure: bool = False
    repeats: int = 7
    images: int = 150


@dataclass(frozen=True)
class Rates:
    """Galaxies a second of one core or one GPU, and bytes a JPEG."""

    decoded_a_core: float
    bytes_a_jpeg: float
    trained_a_gpu: float = PEAK * UTILISATION / TRAINED_FLOP
    extracted_a_gpu: float = PEAK * UTILISATION / EXTRACTED_FLOP
    gpu: str = "assumed, not measured"


@dataclass(frozen=True)
class Cost:
    """One row of the table; ``limits`` are galaxies a second that each resource lets through."""

    job: str
    galaxies: int
    gpus: int
    limits: dict[str, float]
    hours: float
    read: float
    written: float

    @property
    def first(self) -> tuple[str, float]:
        """The resource that saturates first, and its rate."""
        return min(self.limits.items(), key=lambda item: item[1])


def nodes(gpus: int) -> int:
    """How many machines hold so many GPUs."""
    return math.ceil(gpus / GPUS_A_NODE)


def extraction(rates: Rates, galaxies: int, gpus: int) -> Cost:
    """ConvNeXt-Nano embeddings at 224 px from JPEG files of 424 px, decoded by the CPU's cores."""
    limits = {
        "GPU": gpus * rates.extracted_a_gpu,
        "decoding": gpus * CORES_A_GPU * rates.decoded_a_core,
        "disk": nodes(gpus) * DISK / rates.bytes_a_jpeg,
        "network": nodes(gpus) * NETWORK / rates.bytes_a_jpeg,
    }
    hours = galaxies / min(limits.values()) / 3600
    read, written = galaxies * rates.bytes_a_jpeg, galaxies * EMBEDDING_BYTES
    return Cost("extraction", galaxies, gpus, limits, hours, read, written)


def pretraining(rates: Rates, galaxies: int, gpus: int) -> Cost:
    """SimCLR with ResNet18 at 128 px from the decoded cache, which is built once before.

    The cache is read from disk every epoch unless it fits into half of each GPU's memory.
    """
    cache = galaxies * CACHED_BYTES
    limits = {"GPU": gpus * rates.trained_a_gpu}
    resident = cache <= GPU_MEMORY / 2
    if not resident:
        limits["disk"] = nodes(gpus) * DISK / CACHED_BYTES
    if nodes(gpus) > 1:  # a ring sends and receives the gradient about twice a step
        limits["network"] = gpus * BATCH_A_GPU * NETWORK / (2 * GRADIENT_BYTES)
    building = galaxies / (gpus * CORES_A_GPU * rates.decoded_a_core)
    hours = (building + EPOCHS * galaxies / min(limits.values())) / 3600
    read = galaxies * rates.bytes_a_jpeg + (1 if resident else EPOCHS) * cache
    return Cost("pretraining", galaxies, gpus, limits, hours, read, float(cache))


def load_rates(folder: Path = RESULTS) -> Rates:
    """The measured rates, with those of the GPU where they have been measured at full size."""
    here = json.loads((folder / "cost_model.json").read_text(encoding="utf-8"))
    measured = here["decoded_a_core"]["median"], here["bytes_a_jpeg"]
    path = folder / "gpu.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    groups = found.get("groups", {})
    if found.get("small", True) or not {"training", "extraction"} <= set(groups):
        return Rates(*measured)
    return Rates(
        *measured,
        trained_a_gpu=groups["training"]["galaxies_per_second"]["median"],
        extracted_a_gpu=groups["extraction"]["raw_galaxies_per_second"]["median"],
        gpu=f"measured on {found['machine']['gpu']}",
    )


def inputs(rates: Rates) -> list[list[str]]:
    """What the model takes, and whether it is measured."""
    assumed = "assumed, not measured"
    by_flop = f"{PEAK / 1e12:g} TFLOP/s x {UTILISATION:g}"
    train = f"{by_flop} / {TRAINED_FLOP / 1e9:.2f} GFLOP"
    embed = f"{by_flop} / {EXTRACTED_FLOP / 1e9:.2f} GFLOP"
    known = rates.gpu != assumed
    return [
        ["decoding, one core", f"{rates.decoded_a_core:,.0f} galaxies/s", "measured"],
        ["one JPEG of 424 px", f"{rates.bytes_a_jpeg / 1e3:.1f} KB", "measured"],
        ["one galaxy in the cache, 128 px", f"{CACHED_BYTES / 1e3:.1f} KB", "exact"],
        ["one embedding", f"{EMBEDDING_BYTES / 1e3:.2f} KB", "exact, without compression"],
        [
            "SimCLR step, one GPU",
            f"{rates.trained_a_gpu:,.0f} galaxies/s",
            rates.gpu if known else f"{assumed}: {train}",
        ],
        [
            "ConvNeXt-Nano at 224, one GPU",
            f"{rates.extracted_a_gpu:,.0f} galaxies/s",
            rates.gpu if known else f"{assumed}: {embed}",
        ],
        ["cores a GPU, GPUs a node", f"{CORES_A_GPU}, {GPUS_A_NODE}", assumed],
        ["memory of a GPU", f"{GPU_MEMORY / 1e9:g} GB", assumed],
        ["disk of a node", f"{DISK / 1e9:g} GB/s", assumed],
        ["network of a node", f"{NETWORK / 1e9:g} GB/s", assumed],
    ]


def results(rates: Rates) -> list[list[str]]:
    """One row a job, a survey and a number of GPUs."""
    rows = []
    for model in (pretraining, extraction):
        for survey, galaxies in SAMPLES.items():
            for gpus in GPUS:
                cost = model(rates, galaxies, gpus)
                resource, rate = cost.first
                rows.append(
                    [
                        cost.job,
                        survey,
                        f"{gpus}",
                        f"{rate:,.0f}",
                        duration(cost.hours),
                        number(cost.hours * gpus),
                        size(cost.read),
                        size(cost.written),
                        resource,
                    ]
                )
    return rows


def duration(hours: float) -> str:
    """Hours in the unit that suits them."""
    for unit, length in (("days", 24.0), ("h", 1.0), ("min", 1 / 60)):
        if hours >= 2 * length:
            return f"{number(hours / length)} {unit}"
    return f"{number(hours * 3600)} s"


def size(count: float) -> str:
    """Bytes in the unit that suits them."""
    for unit, length in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9)):
        if count >= length:
            return f"{number(count / length)} {unit}"
    return f"{number(count / 1e6)} MB"


def number(value: float) -> str:
    """Two digits, or all those before the point."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int]) -> str:
    """A Markdown table; the columns in ``right`` are aligned there."""
    rule = ["---:" if n in right else "---" for n in range(len(head))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))


def tables(rates: Rates) -> str:
    """Both tables, as docs/cost_model.md holds them."""
    first = markdown(("what", "value", "known from"), inputs(rates), ())
    head = ("job", "galaxies of", "GPUs", "galaxies/s", "time", "GPU-hours")
    head = (*head, "bytes read", "bytes written", "saturates first")
    return f"{first}\n\n{markdown(head, results(rates), range(2, 8))}"


def measure(config: CostConfig) -> dict[str, Any]:
    """Decode JPEG files of simulated galaxies, 424 px, to 224 px on one core."""
    import torch
    from gpu_extraction import jpegs, on_cpu
    from gpu_sizes import FULL, Job

    job = Job(FULL, Path(), torch.device("cpu"), math.inf, seed=0)
    files = jpegs(job, config.images)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rates = []
        for _ in range(config.repeats + 1):
            start = time.perf_counter()
            for data in files:
                on_cpu(data, job)
            rates.append(len(files) / (time.perf_counter() - start))
    finally:
        torch.set_num_threads(threads)
    rates = rates[1:]
    ends = {"median": median(rates), "least": min(rates), "greatest": max(rates)}
    return {
        "decoded_a_core": {**ends, "values": rates},
        "bytes_a_jpeg": sum(map(len, files)) / len(files),
        "images": len(files),
        "machine": machine(),
        "versions": versions(),
        "revision": revision(),
    }


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the options, measure if asked to, and print the tables."""
    config = parse_config(CostConfig, "What pretraining and extraction cost.", argv)
    if config.measure:
        found = measure(config)
        write_text(RESULTS / "cost_model.json", json.dumps(found, indent=2) + "\n")
    print(tables(load_rates()))


if __name__ == "__main__":
    main()
