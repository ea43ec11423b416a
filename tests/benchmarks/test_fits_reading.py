"""The benchmark of FITS: what it measures, and the figures that docs/fits.md takes from it."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = ROOT / "benchmarks" / "fits_reading.py"
    specification = importlib.util.spec_from_file_location("fits_reading", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["fits_reading"] = module  # dataclasses look their module up
    specification.loader.exec_module(module)
    return module


def test_rates_are_of_every_kind_of_file(script: ModuleType) -> None:
    found = script.measure_rates(script.FitsReadingConfig(images=2, pixels=32, size=16, rounds=1))
    kinds = ["JPEG", "FITS asinh", "FITS linear", "FITS percentile"]
    assert list(found["images_a_processor_second"]) == [*kinds, "FITS .gz asinh", "FITS .fz asinh"]
    assert all(rate["median"] > 0 for rate in found["images_a_processor_second"].values())
    assert found["bytes"]["FITS"] == 2880 + -(-3 * 32 * 32 * 4 // 2880) * 2880


def test_agreement_counts_every_value(script: ModuleType) -> None:
    flux = np.random.default_rng(0).exponential(2, (20, 30, 3)).astype(np.float32)
    found = script.compare_with_astropy(flux)
    assert sum(found["differences"].values()) == found["values"] == 20 * 30 * 3
    assert set(found["differences"]) <= {0, 1}


def test_the_figures_of_the_page_are_those_measured() -> None:
    page = (ROOT / "docs" / "fits.md").read_text(encoding="utf-8")
    held = json.loads((ROOT / "benchmarks" / "results" / "fits_reading.json").read_text())
    rates = held["rates"]["images_a_processor_second"]
    assert len(rates) == 6
    for name, rate in rates.items():
        shown = " ".join(f"{rate[end]:.0f}" for end in ("median", "least", "greatest"))
        median, least, greatest = shown.split()
        assert f"| {name} | {median} ({least} to {greatest}) |" in page, name
    positions = held["positions"]
    page = " ".join(page.split())
    assert f"{positions['galaxies']} galaxies" in page
    assert f"{positions['detections']} detections" in page
    assert f"{positions['median_offset']:.2f} pixels" in page
    for near, share in positions["within"].items():
        assert f"{share * 100:.0f} % have one within {float(near):g}" in page
    differences, values = held["agreement"]["differences"], held["agreement"]["values"]
    assert max(map(int, differences)) == 1
    same, above = (f"{100 * differences[step] / values:.0f}%" for step in ("0", "1"))
    assert f"{same} have the grey level of `make_lupton_rgb` and {above} are one above" in page
    megabytes = {kind: f"{size / 1e6:.2g}" for kind, size in held["rates"]["bytes"].items()}
    plain, packed, tiled = (megabytes[f"FITS{ending}"] for ending in ("", " .gz", " .fz"))
    assert f"FITS takes {plain} MB an image, {packed} MB as `.gz` and {tiled} MB as `.fz`" in page
    assert f"JPEG takes {float(megabytes['JPEG']):.2f} MB" in page
    assert f"{held['agreement']['values']:,} values" in page
