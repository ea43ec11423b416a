"""The scale benchmark in small, and that docs/scale.md holds what it found at full size."""

from __future__ import annotations

import importlib
import json
import mmap
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
STAGES = ["simulate", "raw", "build", "build_votes", "pretrain", "parts", "extract_1", "extract_2"]
STAGES += ["kill_extraction", "kill_pretraining"]


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module


@pytest.fixture
def small(tmp_path: Path) -> list[str]:
    """240 galaxies, of which 100 are simulated; 192 train, in 12 steps."""
    options = ["--sizes", "240", "--distinct", "100", "--encoder", "test_resnet"]
    options += ["--batch-size", "16", "--rows-per-file", "24", "--home", str(tmp_path / "home")]
    return [*options, "--output", str(tmp_path / "scale.json")]


def test_every_stage_in_small_and_none_of_them_twice(
    module: Any, small: list[str], tmp_path: Path
) -> None:
    """Killed by nobody between its stages, but started again: what is done stays as it was."""
    starts = ([*small, "--stages", "simulate", "raw", "build"], small)
    twice = "import json, sys, scale; [scale.main(start) for start in json.loads(sys.argv[1])]"
    ended = subprocess.run(
        [sys.executable, "-c", twice, json.dumps(starts)],
        cwd=BENCHMARKS,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    begun = [line.split()[1] for line in ended.stdout.splitlines() if line.endswith(" ...")]
    assert begun == STAGES
    found = json.loads((tmp_path / "scale.json").read_text())
    stages = found["sizes"]["240"]
    assert list(stages) == STAGES
    assert (stages["simulate"]["galaxies"], stages["build"]["galaxies"]) == (100, 240)
    assert 10 <= stages["pretrain"]["steps"] <= 13
    for name in ("build", "pretrain", "extract_1", "extract_2"):
        assert stages[name]["complete"] is True
        assert stages[name]["memory_peak"] >= stages[name]["memory_before"] > 50
        assert stages[name]["cpu_seconds"] > 0
    assert stages["extract_2"]["identical"] is True
    assert stages["kill_pretraining"]["identical"] is stages["kill_extraction"]["identical"] is True
    assert stages["kill_extraction"]["files"] == 10
    assert found["machine"]["cores"] >= 1
    assert not (tmp_path / "home").exists()
    tables = module("scale_tables")
    for table in (tables.time_table, tables.growth_table, tables.kill_table):
        assert table(found["sizes"]) in ended.stdout


def test_raw_rows_are_galaxies_turned(
    module: Any, simulated_galaxies: Path, tmp_path: Path
) -> None:
    """Three turns and a bit: every id once; votes as they were; pixels turned, with some noise."""
    from gzfound.data import decode_image

    parts = module("scale_parts")
    files = parts.dataset_files(simulated_galaxies)
    galaxies = [row for file in files for row in pq.read_table(file).to_pylist()]
    rows = 3 * len(galaxies) + 5
    parts.write_raw(simulated_galaxies, rows, tmp_path / "raw")
    table = pq.read_table(tmp_path / "raw" / parts.TABLE).to_pylist()
    images = {path.stem: path for path in (tmp_path / "raw").rglob("*.jpg")}
    assert [row["id_str"] for row in table[:2]] == [f"{g['id_str']}-0" for g in galaxies[:2]]
    assert len({row["id_str"] for row in table}) == len(images) == rows
    last, first = table[-1], galaxies[4]
    assert last["id_str"] == f"{first['id_str']}-3"
    votes = [name for name in first if name not in ("image", "id_str")]
    assert [last[name] for name in votes] == [first[name] for name in votes]
    one = decode_image(first["image"]["bytes"], "one").astype(float)
    other = decode_image(images[last["id_str"]].read_bytes(), "other").astype(float)
    apart = np.abs(np.rot90(one, 3) - other).mean()
    assert 0 < apart < 4 < np.abs(one - other).mean()


def test_the_watched_work_leaves_a_note(module: Any, tmp_path: Path) -> None:
    """64 MiB that are written to are seen, and so is a file of 3 kB that is gone at the end."""
    parts = module("scale_parts")

    def work() -> None:
        # Memory of its own: an array may be given what others have let go.
        held = mmap.mmap(-1, 64 * 2**20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        held.write(b"1" * len(held))
        (tmp_path / "seen").mkdir()
        (tmp_path / "seen" / "f").write_bytes(bytes(3000))
        time.sleep(2.3)  # folders are looked at every other second
        (tmp_path / "seen" / "f").unlink()
        raise SystemExit(0)

    parts.watched(work, tmp_path / "note.json", [tmp_path / "seen"])
    note = json.loads((tmp_path / "note.json").read_text())
    assert note["memory_peak"] - note["memory_before"] > 60
    assert 2.3 < note["seconds"] < 20
    assert note["bytes_peak"] == 3000
    with pytest.raises(SystemExit):
        parts.watched(lambda: sys.exit(3), tmp_path / "note.json", [])
    assert list(json.loads((tmp_path / "note.json").read_text())) == ["began"]


def test_galaxies_that_are_lost_doubled_or_moved_are_seen(module: Any, tmp_path: Path) -> None:
    import pyarrow as pa

    same = module("scale_parts").same_galaxies

    def file(*ids: str) -> Path:
        path = tmp_path / f"{'-'.join(ids)}.parquet"
        pq.write_table(pa.table({"id_str": list(ids)}), path)
        return path

    whole = [file("a", "b"), file("c")]
    assert same(whole, [file("a"), file("b", "c")], in_order=True)
    assert same(whole, [file("c", "a", "b")], in_order=False)
    for other in (
        file("c", "a", "b"),
        file("a", "b"),
        file("a", "b", "b"),
        file("a", "b", "c", "c"),
    ):
        assert not same(whole, [other], in_order=True)
        assert same(whole, [other], in_order=False) == (other.stem == "c-a-b")


def test_growth_by_hand(module: Any) -> None:
    """1,000 galaxies more: 2 s, 1 s of the processor and 1 MiB more."""
    few = {"galaxies": 1000, "seconds": 1.0, "cpu_seconds": 1.0, "mapped_peak": 0, "bytes_peak": 0}
    few |= {"memory_before": 100.0, "memory_peak": 105.0}
    many = {**few, "galaxies": 2000, "seconds": 3.0, "cpu_seconds": 2.0, "memory_peak": 106.0}
    tables = module("scale_tables")
    table = tables.growth_table({"2000": {"build": many}, "1000": {"build": few, "simulate": {}}})
    row = "| build | 1,000, 2,000 | 2,000 µs | 1,000 µs | 1,049 bytes |"
    assert table.splitlines()[2:] == [row]


@pytest.fixture
def sizes() -> Any:
    """What was found at full size."""
    found = json.loads((BENCHMARKS / "results" / "scale.json").read_text(encoding="utf-8"))
    assert list(found["sizes"]) == ["10000", "100000", "1000000"]
    return found["sizes"]


def test_the_page_holds_the_tables(module: Any, sizes: Any) -> None:
    page = (BENCHMARKS.parent / "docs" / "scale.md").read_text(encoding="utf-8")
    tables, plan = module("scale_tables"), module("scale_plan")
    for table in (tables.time_table, tables.growth_table, tables.kill_table):
        assert table(sizes) in page
    assert plan.plan_table(plan.load_rates()) in page
    parts = sizes["1000000"]["parts"]
    for name in ("table of datasets", "names", "votes", "paths of images", "index of images"):
        assert f"| {parts[name]:.0f} |" in page, name


def test_nothing_was_lost_doubled_or_changed(sizes: Any) -> None:
    for stages in sizes.values():
        assert all(stages[name]["complete"] for name in ("build", "pretrain"))
        assert all(stages[name]["complete"] for name in ("extract_1", "extract_2"))
        assert stages["extract_2"]["identical"]
        assert 0 < stages["kill_extraction"]["files_kept"] < stages["kill_extraction"]["files"]
        assert stages["kill_extraction"]["identical"]
        assert 0 < stages["kill_pretraining"]["steps_done"] < stages["pretrain"]["steps"]
        assert stages["kill_pretraining"]["identical"]


@pytest.mark.parametrize("stage", ["build", "pretrain", "extract_1", "extract_2"])
def test_a_further_galaxy_takes_the_same_time_of_the_processor(
    module: Any, sizes: Any, stage: str
) -> None:
    slope = module("scale_tables").slope
    few, some, many = (sizes[size][stage] for size in sizes)
    early, late = slope(few, some, "cpu_seconds"), slope(some, many, "cpu_seconds")
    assert late == pytest.approx(early, rel=0.05)
    assert slope(some, many, "memory") < 1200


def test_after_the_mends_memory_hardly_grows(module: Any) -> None:
    """From 100,000 galaxies to a million, on a disk; the page has the figures."""
    sizes = json.loads((BENCHMARKS / "results" / "scale_mended.json").read_text())["sizes"]
    page = (BENCHMARKS.parent / "docs" / "scale.md").read_text(encoding="utf-8")
    tables = module("scale_tables")
    assert tables.time_table(sizes) in page
    assert tables.growth_table(sizes) in page
    some, many = sizes["100000"], sizes["1000000"]
    for stage in ("build", "build_votes", "extract_1", "extract_2"):
        assert tables.slope(some[stage], many[stage], "memory") < 150, stage
    for stages in sizes.values():
        assert all(stages[name]["complete"] for name in ("build", "pretrain", "extract_1"))
        assert stages["extract_2"]["identical"]
