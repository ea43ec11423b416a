"""A billion galaxies: what the cost model says of the plan in docs/scale.md, with prices.

python benchmarks/scale_plan.py    # prints the table of docs/scale.md
"""

from __future__ import annotations

import gzfound  # noqa: F401  # isort: skip  # before torch: says how its threads wait

from cost_model import (
    GPUS_A_NODE,
    Cost,
    Rates,
    duration,
    extraction,
    load_rates,
    markdown,
    number,
    pretraining,
    size,
)

SURVEY, SAMPLE = 1_000_000_000, 10_000_000
"""Galaxies in all, and those that an encoder is pretrained on."""
GPU_HOUR, TERABYTE_MONTH = 3.0, 20.0
"""Dollars: assumed, of the order that rented GPUs and object stores cost."""
HEAD = ("step", "nodes", "time", "GPU-hours", "computing", "read", "kept", "keeping it, a month")


def steps(rates: Rates) -> list[tuple[str, int, Cost]]:
    """What is done, on how many nodes, and what it costs."""
    return [
        ("pretrain on 10 million, 100 epochs", 1, pretraining(rates, SAMPLE, GPUS_A_NODE)),
        ("extract a billion", 1, extraction(rates, SURVEY, GPUS_A_NODE)),
        ("extract a billion", 8, extraction(rates, SURVEY, 8 * GPUS_A_NODE)),
    ]


def plan_table(rates: Rates) -> str:
    """One row a step."""
    rows = []
    for name, nodes, cost in steps(rates):
        gpu_hours = cost.hours * cost.gpus
        # The images are kept beside what is made of them; a cache is not.
        kept = cost.written + cost.galaxies * rates.bytes_a_jpeg if "extract" in name else 0.0
        rows.append(
            [
                name,
                f"{nodes}",
                duration(cost.hours),
                number(gpu_hours),
                f"{number(gpu_hours * GPU_HOUR)} dollars",
                size(cost.read),
                size(kept) if kept else "",
                f"{number(kept / 1e12 * TERABYTE_MONTH)} dollars" if kept else "",
            ]
        )
    return markdown(HEAD, rows, range(1, len(HEAD)))


if __name__ == "__main__":
    print(plan_table(load_rates()))
