"""Bad input at the command line: one line on stderr, status 2, and no half of an output."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from gzfound import Embeddings
from gzfound.cli import main


def png(seed: int = 0) -> bytes:
    draw = np.random.default_rng(seed)
    Image.fromarray(draw.integers(0, 255, (30, 30, 3), dtype=np.uint8)).save(
        out := io.BytesIO(), "PNG"
    )
    return out.getvalue()


@pytest.fixture
def cutouts(tmp_path: Path) -> Path:
    """g00 to g11, of which g07 is cut short."""
    folder = tmp_path / "cutouts"
    folder.mkdir()
    for number in range(12):
        (folder / f"g{number:02d}.png").write_bytes(png(number)[: 300 if number == 7 else None])
    return folder


def damaged_weights(weights: Path) -> None:
    (weights / "model.safetensors").write_bytes(b"\xff" * 100)


def pickled_weights(weights: Path) -> None:
    for path in weights.iterdir():
        path.unlink()
    (weights / "model.pt").write_bytes(b"PK")


def odd_config(weights: Path) -> None:
    (weights / "config.json").write_text("[" * 100_000)


def two_columns(cutouts: Path) -> None:
    (cutouts / "labels.csv").write_text("file,bar,bar\ng00.png,1,2\n")


def binary_table(cutouts: Path) -> None:
    (cutouts / "labels.csv").write_bytes(b"file,\xff\n\xfe,1\n")


def no_labels(cutouts: Path) -> None:
    pq.write_table(pa.table({"bar": [1]}), cutouts / "labels.parquet")


def nothing(folder: Path) -> None:
    del folder


CASES: dict[str, tuple[Callable[[Path], None], Callable[[Path], None], list[str], str]] = {
    "a cut image": (nothing, nothing, [], "g07.png"),
    "damaged weights": (nothing, damaged_weights, [], "model.safetensors"),
    "pickled weights": (nothing, pickled_weights, [], "no config.json and no model.safetensors"),
    "nested JSON": (nothing, odd_config, [], "config.json"),
    "a column twice": (two_columns, nothing, [], "labels.csv: column 'bar'"),
    "a table that is no text": (binary_table, nothing, [], "labels.csv: cannot be read"),
    "a table without names": (no_labels, nothing, [], "labels.parquet: no column names the images"),
    "a split that is none": (nothing, nothing, ["--split", "train[x"], "split 'train[x' not found"),
    "a crop of NaN": (nothing, nothing, ["--crop", "nan"], "crop: nan"),
    "no threads": (nothing, nothing, ["--threads", "0"], "threads 0"),
}


@pytest.mark.parametrize("case", CASES)
def test_one_line_status_2_and_no_output(
    cutouts: Path,
    head_weights: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    case: str,
) -> None:
    """``capfd`` hears the C libraries too."""
    spoil_cutouts, spoil_weights, options, message = CASES[case]
    weights = tmp_path / "w"
    weights.mkdir()
    for path in head_weights.iterdir():
        (weights / path.name).write_bytes(path.read_bytes())
    spoil_cutouts(cutouts)
    spoil_weights(weights)
    before = sorted(path.name for path in tmp_path.rglob("*"))
    output = ["--weights", str(weights), "--output", str(tmp_path / "e.parquet")]
    with pytest.raises(SystemExit) as caught:
        main(["embed", str(cutouts), *output, *options])
    assert caught.value.code == 2
    shown = capfd.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1
    assert message in shown.err
    assert sorted(path.name for path in tmp_path.rglob("*")) == before, (
        "no output, no temporary file"
    )


def test_skipping_gives_the_others_whole_and_lists_what_is_not_there(
    cutouts: Path, head_weights: Path, tmp_path: Path
) -> None:
    output = tmp_path / "e.parquet"
    options = ["--weights", str(head_weights), "--output", str(output), "--on-error", "skip"]
    main(["embed", str(cutouts), *options])
    assert Embeddings.read(output).ids == [f"g{n:02d}" for n in range(12) if n != 7]
    (line,) = Path(f"{output}.errors.jsonl").read_text().splitlines()
    assert json.loads(line)["id_str"] == "g07"
    assert "g07.png" in json.loads(line)["reason"]


def test_a_process_of_its_own_ends_in_one_line(
    cutouts: Path, head_weights: Path, tmp_path: Path
) -> None:
    """Nothing is caught by a test here: no traceback, no warning of a library, no other words."""
    command = [sys.executable, "-c", "from gzfound.cli import main; main()", "embed", str(cutouts)]
    ended = subprocess.run(
        [*command, "--weights", str(head_weights), "--output", str(tmp_path / "e.parquet")],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith("error: image ")
    assert ended.stderr.count("\n") == 1
    assert not list(tmp_path.glob("*.parquet*"))
