"""The JSON file of a benchmark: its numbers, and what they were measured on and with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gzfound.files import write_text
from gzfound.training.provenance import machine, revision, versions


def write_results(path: str | Path, found: Mapping[str, Any]) -> None:
    """Write results with machine, versions and revision; numbers that are not finite are null."""
    result = {**found, "machine": machine(), "versions": versions(), "revision": revision()}
    write_text(path, json.dumps(without_nan(result), indent=2, allow_nan=False) + "\n")


def without_nan(value: Any) -> Any:
    """The same, with null for numbers that are not finite."""
    if isinstance(value, dict):
        return {name: without_nan(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
