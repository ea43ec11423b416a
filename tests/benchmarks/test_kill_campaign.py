"""The campaign in small: what is killed comes out as if it had not been."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_a_few_kills_of_training_and_extraction(tmp_path: Path) -> None:
    """By one process and, where it is extraction, also by two."""
    output = tmp_path / "campaign.json"
    options = ["--kills", "3", "--terminations", "1", "--extraction-kills", "2"]
    options += ["--only", "pretrain", "--galaxies", "100", "--output", str(output)]
    users = tmp_path / "of the user"
    ended = subprocess.run(
        [sys.executable, str(BENCHMARKS / "kill_campaign.py"), *options],
        env={**os.environ, "HF_DATASETS_CACHE": str(users), "GZFOUND_CACHE": str(users)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = json.loads(output.read_text())
    assert found["kills"] == sum(found["training"]["pretrain"]["kills"].values()) == 3
    assert found["training"]["pretrain"]["identical"] == found["training"]["pretrain"]["chains"]
    assert sum(found["extraction"]["kills"].values()) == 2
    (status,) = found["terminated"]["pretrain"]["statuses"]
    assert status in ("75", "-15"), "a checkpoint, or nothing to keep yet"
    assert not users.exists()


@pytest.fixture
def soak(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return import_module("soak")


@pytest.mark.parametrize(("name", "step"), [("handles", 1), ("megabytes", 10)])
def test_the_soak_sees_what_grows(soak: Any, name: str, step: int) -> None:
    flat = dict.fromkeys(
        ("megabytes", "parent_megabytes", "handles", "parent_handles", "threads", "files_in_work"),
        10,
    )
    rounds = [{**flat, "temporary_files": 0} for _ in range(12)]
    assert soak.growth(rounds) == []
    growing = [{**row, name: row[name] + step * n} for n, row in enumerate(rounds)]
    (said,) = soak.growth(growing)
    assert said.startswith(f"{name} grew from ")
    assert soak.growth([*rounds[:-1], {**rounds[-1], "temporary_files": 1}]) == [
        "temporary files were left over"
    ]


def test_the_soak_keeps_its_copies_to_itself(soak: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both caches lie in its folder; the locks of ``datasets`` where nothing is counted."""
    import datasets

    def prepare(does: Any) -> None:
        found.extend([does.work, Path(os.environ["GZFOUND_CACHE"])])
        found.append(Path(datasets.config.HF_DATASETS_CACHE))
        raise RuntimeError("begun")

    found: list[Path] = []
    monkeypatch.setattr(soak.Runs, "prepare", prepare)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", datasets.config.HF_DATASETS_CACHE)
    monkeypatch.setattr(tempfile, "tempdir", tempfile.tempdir)
    for name in ("GZFOUND_CACHE", "ACCELERATE_USE_CPU", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    with pytest.raises(RuntimeError, match="begun"):
        soak.soak(soak.SoakConfig())
    work, decoded, copies = found
    assert decoded.parent == work
    assert copies.parent == work.parent


def test_the_committed_soak_did_not_grow(soak: Any) -> None:
    rounds = json.loads((BENCHMARKS / "results" / "soak.json").read_text())["rounds"]
    assert len(rounds) >= 20
    assert soak.growth(rounds) == []
