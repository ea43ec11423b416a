"""The speed benchmark, with as little to do as possible."""

from __future__ import annotations

import importlib
import json
import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

import gzfound

TINY = {"repeats": 2, "probe-repeats": 1, "calls": 1, "galaxies": 20, "images": 2, "threads": 1}
TINY |= {"batch": 8, "rows": 30, "probed": 60, "features": 4}


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    return importlib.import_module("speed")


def test_rows(script: ModuleType, tmp_path: Path) -> None:
    options = [word for name, value in TINY.items() for word in (f"--{name}", str(value))]
    before = torch.get_num_threads()
    script.main(["--output", str(tmp_path / "R.json"), *options])
    assert torch.get_num_threads() == before
    found = json.loads((tmp_path / "R.json").read_text(encoding="utf-8"))
    assert set(found) == {
        *("rows", "float32_errors", "load_average", "configuration"),
        *("machine", "versions", "revision"),
    }
    names = [row["name"] for row in found["rows"]]
    assert len(set(names)) == len(names) == 17
    for row in found["rows"]:
        assert row["unit"] in ("s", "ms", "a second", "ratio")
        assert len(row["values"]) == (1 if row["name"].startswith("probes") else 2)
        assert 0 < row["least"] <= row["median"] <= row["greatest"]
    ours, plain, ratio = (row["values"] for row in found["rows"] if "gz_desi" in row["name"])
    assert ratio == pytest.approx([b / a for a, b in zip(ours, plain, strict=True)])
    assert len(found["load_average"]["before"]) == 3
    assert found["configuration"]["batch"] == 8
    assert found["machine"]["threads"] == 1
    errors = found["float32_errors"]
    assert max(row["gzfound"] for row in errors) < 1e-4 < errors[-1]["lgamma"]


def test_units(script: ModuleType) -> None:
    """10 things in less than 0.02 s are more than 500 a second; a median of 0.02 s is 20 ms."""
    tasks = script.Tasks({"nothing": lambda: None}, things=10)
    (row,) = script.timed(tasks, 3)
    assert (row["unit"], len(row["values"])) == ("a second", 3)
    assert row["median"] > 500
    assert script.in_time("n", [0.02, 0.03, 0.01])["median"] == pytest.approx(20)
    assert script.in_time("n", [2.0, 3.0, 1.0])["unit"] == "s"


def test_the_plain_and_the_exact_likelihood(script: ModuleType) -> None:
    """Three answers, alpha = 1: each of C(6, 2) = 15 outcomes of 4 votes has 1/15."""
    plain = importlib.import_module("plain_likelihood")
    tree = gzfound.DecisionTree("three", (gzfound.trees.Question("shape", ("a", "b", "c")),))
    alpha, votes = torch.ones(2, 3), torch.tensor([[2.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    for function in (plain.plain_likelihood, plain.exact_likelihood):
        value = function(alpha, votes, tree)[:, 0].numpy()
        np.testing.assert_allclose(value, [-math.log(15), 0], atol=1e-6)


def test_mistakes_end_in_one_line(
    script: ModuleType, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for options, message in (
        ([], "error: output: missing; pass --output\n"),
        (["--output", str(tmp_path / "R"), "--calls", "0"], "calls: 0 must be at least 1"),
    ):
        with pytest.raises(SystemExit):
            script.main(options)
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
