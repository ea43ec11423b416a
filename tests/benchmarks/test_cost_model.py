"""The cost model: its arithmetic by hand, its constants, and the tables in the documentation."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from gzfound.models import create_encoder

ROOT = Path(__file__).parents[2]


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("cost_model")


def test_the_page_holds_the_tables(model: ModuleType) -> None:
    tables = model.tables(model.load_rates())
    assert tables.count("\n") > 25
    assert tables in (ROOT / "docs" / "cost_model.md").read_text(encoding="utf-8")


def test_extraction_by_hand(model: ModuleType) -> None:
    """16 cores x 500/s = 8,000/s a GPU; 3 GB/s over 50 KB are 60,000/s a node of 8 GPUs."""
    rates = model.Rates(500.0, 50e3, trained_a_gpu=1e4, extracted_a_gpu=2e4)
    one, node, eight = (model.extraction(rates, 36_000_000, gpus) for gpus in (1, 8, 64))
    assert one.first == ("decoding", 8000.0)
    assert one.hours == pytest.approx(1.25)
    assert one.read == 1.8e12
    assert node.first == ("disk", 60_000.0)
    assert eight.first == ("disk", 480_000.0)


def test_pretraining_by_hand(model: ModuleType) -> None:
    """72,000 galaxies: 100 epochs at 10,000/s are 720 s, and decoding once at 8,000/s is 9 s."""
    rates = model.Rates(500.0, 50e3, trained_a_gpu=1e4, extracted_a_gpu=2e4)
    small = model.pretraining(rates, 72_000, 1)
    assert small.limits == {"GPU": 1e4}
    assert small.hours == pytest.approx(729 / 3600)
    assert small.read == 72_000 * (50e3 + 49_152)
    large = model.pretraining(rates, 10_000_000, 64)
    assert large.first == ("disk", pytest.approx(8 * 3e9 / 49_152))
    assert large.limits["network"] == pytest.approx(64 * 512 * 12.5e9 / (2 * 4 * 11.5e6))
    assert large.read == 10_000_000 * (50e3 + 100 * 49_152)


@pytest.mark.parametrize(
    ("name", "pixels", "constant", "passes"),
    [("resnet18", 128, "TRAINED_FLOP", 6), ("convnext_nano", 224, "EXTRACTED_FLOP", 1)],
)
def test_flop_are_those_of_the_networks(
    model: ModuleType, name: str, pixels: int, constant: str, passes: int
) -> None:
    with FlopCounterMode(display=False) as counter, torch.device("meta"), torch.no_grad():
        create_encoder(name).eval()(torch.empty(1, 3, pixels, pixels))
    assert getattr(model, constant) == pytest.approx(passes * counter.get_total_flops(), rel=1e-3)


def test_rates_of_a_gpu_replace_assumed_ones(model: ModuleType, tmp_path: Path) -> None:
    here = {"decoded_a_core": {"median": 500.0}, "bytes_a_jpeg": 5e4}
    (tmp_path / "cost_model.json").write_text(json.dumps(here))
    assert model.load_rates(tmp_path).gpu == "assumed, not measured"
    groups = {
        "training": {"galaxies_per_second": {"median": 9e3}},
        "extraction": {"raw_galaxies_per_second": {"median": 8e3}},
    }
    for small, expected in ((True, model.Rates(500.0, 5e4).trained_a_gpu), (False, 9e3)):
        found = {"groups": groups, "small": small, "machine": {"gpu": "H200"}}
        (tmp_path / "gpu.json").write_text(json.dumps(found))
        assert model.load_rates(tmp_path).trained_a_gpu == expected
    assert "measured on H200" in model.tables(model.load_rates(tmp_path))


def test_units(model: ModuleType) -> None:
    assert [model.duration(h) for h in (0.001, 0.1, 3.0, 480.0)] == [
        "3.6 s",
        "6 min",
        "3 h",
        "20 days",
    ]
    assert [model.size(b) for b in (2e6, 3e9, 4e12, 5e15)] == ["2 MB", "3 GB", "4 TB", "5 PB"]


def test_decoding_is_measured(model: ModuleType) -> None:
    found = model.measure(model.CostConfig(repeats=1, images=2))
    assert found["decoded_a_core"]["median"] > 1
    assert 1e3 < found["bytes_a_jpeg"] < 424**2 * 3
