"""The tables of docs/scale.md, from the results of benchmarks/scale.py."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

Sizes = Mapping[str, Mapping[str, Mapping[str, Any]]]

MEASURED = {
    "simulate": "simulate",
    "build": "build",
    "build_votes": "build, votes alone",
    "pretrain": "pretrain, one epoch",
    "extract_1": "extract, 1 process",
    "extract_2": "extract, 2 processes",
}
"""Stages with a time and a memory, and what the page calls them."""


def time_table(sizes: Sizes) -> str:
    """One row a stage and size: time, rate, memory, space."""
    lines = [
        "| stage | galaxies | time | galaxies/s | memory at the peak | of it before the work | "
        "mapped files | written | caches |",
        "|---|" + "---:|" * 8,
    ]
    for stage, name in MEASURED.items():
        for found in (stages[stage] for stages in ordered(sizes) if measured(stages, stage)):
            cells = [
                name,
                f"{found['galaxies']:,}",
                f"{found['seconds']:,.1f} s",
                f"{found['galaxies'] / found['seconds']:,.0f}",
                f"{found['memory_peak']:,.0f} MiB",
                f"{found['memory_before']:,.0f} MiB",
                f"{found['mapped_peak']:,.0f} MiB",
                f"{found['bytes'] / 2**20:,.0f} MiB" if "bytes" in found else "",
                f"{found['bytes_peak'] / 2**20:,.0f} MiB",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def growth_table(sizes: Sizes) -> str:
    """One row a stage: what a further galaxy costs, from one size to the next."""
    lines = [
        "| stage | from, to | time a galaxy | processor time a galaxy | memory a galaxy |",
        "|---|---|---:|---:|---:|",
    ]
    for stage, name in MEASURED.items():
        rows = [stages[stage] for stages in ordered(sizes) if measured(stages, stage)]
        for few, many in pairwise(rows):
            lines.append(
                f"| {name} | {few['galaxies']:,}, {many['galaxies']:,} | "
                f"{1e6 * slope(few, many, 'seconds'):,.0f} µs | "
                f"{1e6 * slope(few, many, 'cpu_seconds'):,.0f} µs | "
                f"{slope(few, many, 'memory'):,.0f} bytes |"
            )
    return "\n".join(lines)


def kill_table(sizes: Sizes) -> str:
    """One row a kill: when, what was there, and what it cost."""
    lines = [
        "| killed | galaxies | after | there by then | went on for | lost | the same bits |",
        "|---|" + "---:|" * 5 + "---|",
    ]
    for stage, name in (("kill_pretraining", "pretraining"), ("kill_extraction", "extraction")):
        for size in sorted(sizes, key=int):
            if (found := sizes[size].get(stage)) is None:
                continue
            there = (
                f"{found['steps_done']:,} steps"
                if stage == "kill_pretraining"
                else f"{found['files_kept']:,} of {found['files']:,} files"
            )
            lines.append(
                f"| {name} | {int(size):,} | {found['killed_after_seconds']:,.1f} s | {there} | "
                f"{found['resumed_seconds']:,.1f} s | {found['seconds_lost']:,.1f} s | "
                f"{'yes' if found['identical'] else 'NO'} |"
            )
    return "\n".join(lines)


def slope(few: Mapping[str, Any], many: Mapping[str, Any], what: str) -> float:
    """By how much a figure, or the bytes of memory that the work took, grow with each galaxy."""

    def value(found: Mapping[str, Any]) -> float:
        above = (found["memory_peak"] - found["memory_before"]) * 2**20
        return float(above if what == "memory" else found[what])

    return (value(many) - value(few)) / float(many["galaxies"] - few["galaxies"])


def ordered(sizes: Sizes) -> list[Mapping[str, Mapping[str, Any]]]:
    """The stages of every size, smallest first."""
    return [sizes[size] for size in sorted(sizes, key=int)]


def measured(stages: Mapping[str, Mapping[str, Any]], stage: str) -> bool:
    """Whether a stage was run for this size; a size may share simulated galaxies with another."""
    return "seconds" in stages.get(stage, {})
