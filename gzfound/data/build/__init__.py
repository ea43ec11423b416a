"""From the tables that Galaxy Zoo releases to datasets in the layout of the hub."""

from __future__ import annotations

from gzfound.data.build.build import BuildReport, build_dataset

__all__ = ["BuildReport", "build_dataset"]
