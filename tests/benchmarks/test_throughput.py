"""The benchmark of speed beside limits and peers: its talk, its rows, its file, its quick mode."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gzfound.errors import ConfigError, GzfoundError

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
PARROT = """
import sys
sys.path.insert(0, {peers!r})
print("printed as it was imported")
from serve import Line, timed
line = Line()
print("printed later")
if line.settings["ends"]:
    raise SystemExit("no such file")
line.serve(lambda images: {{"seconds": line.settings["seconds"], "images": images}}, threads=1)
"""


@pytest.fixture(autouse=True)
def _path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)


@pytest.fixture
def groups() -> ModuleType:
    return import_module("peers.groups")


@pytest.fixture
def results() -> ModuleType:
    return import_module("peers.results")


def parrot(folder: Path, seconds: float = 2.0, ends: bool = False) -> Any:
    """A contender that says that everything took so many seconds."""
    script = folder / "parrot.py"
    script.write_text(PARROT.format(peers=str(BENCHMARKS / "peers")))
    settings = {"seconds": seconds, "ends": ends}
    kind = import_module("peers.contender").Contender
    return kind("parrot", sys.executable, str(script), settings, folder / "logs", {})


def test_a_contender_answers_in_spite_of_what_libraries_print(tmp_path: Path) -> None:
    with parrot(tmp_path) as contender:
        assert contender.about() == {"threads": 1}
        assert contender.measure(7) == {"seconds": 2.0, "images": 7}
        assert contender.cpu_seconds() >= 0
    assert contender.process.returncode == 0
    assert "printed later" in contender.log.read_text()


def test_a_contender_that_ends_early_is_named_with_its_log(tmp_path: Path) -> None:
    with (
        pytest.raises(GzfoundError, match=r"contender parrot: it ended early; see .*parrot\.txt"),
        parrot(tmp_path, ends=True) as contender,
    ):
        contender.about()
    assert "no such file" in contender.log.read_text()


def test_contenders_take_turns_and_the_order_turns_round(tmp_path: Path) -> None:
    take_turns = import_module("peers.contender").take_turns
    order: list[str] = []

    class Noted:
        def __init__(self, name: str) -> None:
            self.name = name

        def measure(self, images: int) -> dict[str, float]:
            order.append(f"{self.name}{images}")
            return {"seconds": 4.0, "images": images}

        def cpu_seconds(self) -> float:
            return float(len(order)) if self.name == "a" else 0.0

    found, busiest = take_turns({"a": Noted("a"), "b": Noted("b")}, 9, 3, 5)
    assert order == ["a5", "b5", "a9", "b9", "b9", "a9", "a9", "b9"]
    assert [len(values) for values in found.values()] == [3, 3]
    assert busiest == pytest.approx(1 / 4), "one second of CPU while b took four"


def test_ratios_are_taken_within_a_round(groups: ModuleType, results: ModuleType) -> None:
    """100 in 1, 2, 4 s over 100 in 2, 2, 2 s: 2, 1 and 1/2."""
    ours = [{"seconds": s, "images": 100} for s in (1.0, 2.0, 4.0)]
    theirs = [{"seconds": 2.0, "images": 100}] * 3
    row = groups.Row("r", "ours", "theirs", goal=2.0, fp32_goal=1.0)
    found = results.evaluate(row, {"ours": ours, "theirs": theirs}, "no")
    assert found["values"] == [2.0, 1.0, 0.5]
    assert (found["least"], found["median"], found["greatest"]) == (0.5, 1.0, 2.0)
    assert (found["goal"], found["met"], found["unit"]) == (1.0, True, "x")
    assert not results.evaluate(row, {"ours": ours, "theirs": theirs}, "bf16")["met"]


def test_seconds_and_memory_have_an_upper_bound(groups: ModuleType, results: ModuleType) -> None:
    found = {"a": [{"seconds": 0.3, "images": 1, "megabytes": 90.0}], "b": [{"megabytes": 30.0}]}
    start = results.evaluate(groups.Row("s", "a", None, 0.2, kind="seconds"), found, "no")
    assert (start["median"], start["unit"], start["met"]) == (0.3, "s", False)
    growth = results.evaluate(groups.Row("g", "a", "b", 60, kind="growth"), found, "no")
    assert (growth["median"], growth["unit"], growth["met"]) == (60.0, "MB", True)


def test_a_group_replaces_its_own_result_and_no_other(results: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "R.json"
    for name, value in (("a", 1), ("b", 2), ("a", 3)):
        results.merge(path, name, {"rows": value}, {"machine": "m"})
    held = json.loads(path.read_text())
    assert held == {"machine": "m", "groups": {"a": {"rows": 3}, "b": {"rows": 2}}}
    path.write_text("[]")
    with pytest.raises(ConfigError, match="holds no results"):
        results.merge(path, "a", {}, {})


def test_every_row_has_contenders_and_every_contender_a_script(groups: ModuleType) -> None:
    rows = [(group, row) for group in groups.GROUPS.values() for row in group.rows]
    assert len({row.name for _, row in rows}) == len(rows) == 27
    for group, row in rows:
        assert {row.ours, row.theirs} - {None} <= set(group.entries), row.name
        assert row.fp32_goal is None or row.fp32_goal < row.goal
    for group in groups.GROUPS.values():
        for entry in group.entries.values():
            assert (BENCHMARKS / "peers" / entry.script).is_file(), entry.script


def test_the_peers_environment_that_is_named_must_exist(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GZFOUND_PEERS", str(tmp_path))
    with pytest.raises(ConfigError, match=r"GZFOUND_PEERS: .* is no environment"):
        import_module("peers.environment").peers_python(tmp_path)
    versions = import_module("peers.environment").REQUIREMENTS.read_text()
    pinned = (BENCHMARKS.parent / "constraints.txt").read_text().splitlines()
    for name in ("torch", "torchvision", "timm"):
        (line,) = (line for line in pinned if line.startswith(f"{name}=="))
        assert line in versions.splitlines(), "both sides run the same"


def test_quick(tmp_path: Path) -> None:
    """Groups that need no peers, from the command line to the file."""
    script = import_module("throughput")
    output = tmp_path / "R.json"
    options = ["--quick", "--no-peers", "--only", "start", "views"]
    script.main([*options, "--home", str(tmp_path), "--output", str(output)])
    held = json.loads(output.read_text())
    assert held["machine"]["processor"]
    assert held["versions"]["torch"]
    assert set(held["groups"]) == {"start", "views"}
    start, views = held["groups"]["start"], held["groups"]["views"]
    assert [row["unit"] for row in start["rows"]] == ["s", "s"]
    assert views["rows"] == [], "they need peers"
    assert set(views["contenders"]) == {"ours, 224", "ours, 128"}
    for group in (start, views):
        assert group["quick"] is True
        assert group["repeats"] == 2
        for contender in group["contenders"].values():
            assert len(contender["measurements"]) == 2
            assert contender["images_per_second"]["least"] > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--only", "extraction"],
            "only: no group 'extraction'; allowed: start, first-batch, likelihood",
        ),
        (["--repeats", "0"], "repeats 0"),
        (["--quick", "--output", "benchmarks/results/throughput.json"], "does not take quick"),
    ],
)
def test_mistakes_end_in_one_line(
    options: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(BENCHMARKS.parent)
    with pytest.raises(SystemExit):
        import_module("throughput").main(options)
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
