"""Extraction to files that goes on after a kill: every galaxy once, in order, bit by bit."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from torch import nn

from gzfound import ConfigError, DataError, Embeddings, embed, extract, load_encoder
from gzfound.embedding.identity import EncoderIdentity
from gzfound.embedding.shards import Shards
from gzfound.embedding.store import MANIFEST
from gzfound.embedding.table import EmbeddingTable
from gzfound.errors import OutputError

ROWS = 7


class KilledError(Exception):
    """Stands for a process that ends between two batches."""


@pytest.fixture(scope="module")
def encoder(encoder_weights: Path) -> nn.Module:
    return load_encoder(encoder_weights)


@pytest.fixture
def cutouts(tmp_path: Path) -> Path:
    """g00 to g24, of which g06, g07 and g20 cannot be read: both sides of an edge, and one more."""
    folder = tmp_path / "cutouts"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for number in range(25):
        image = Image.fromarray(draw.integers(0, 255, (36, 36, 3), dtype=np.uint8))
        image.save(folder / f"g{number:02d}.png")
    for number in (6, 7, 20):
        (folder / f"g{number:02d}.png").write_bytes(b"\x89PNG and no more")
    return folder


def run(
    data: Path, encoder: nn.Module, output: Path, kill_at: int | None = None, **options: Any
) -> int:
    """Extract, and end once so many galaxies are done."""

    def progress(done: int, total: int) -> None:
        if kill_at is not None and done >= kill_at:
            raise KilledError

    how = {"rows_per_file": ROWS, "batch_size": 4, "precision": "no", "threads": 2, **options}
    return extract(data, encoder, output, progress=progress, **how).galaxies


def inodes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in folder.glob("*.parquet")}


def test_a_killed_extraction_goes_on_with_the_next_file(
    simulated_galaxies: Path, encoder: nn.Module, tmp_path: Path
) -> None:
    """60 galaxies in 9 files; the batches of 4 do not care for their edges."""
    expected = embed(simulated_galaxies, encoder, batch_size=4, precision="no")
    output = tmp_path / "out"
    seen: list[set[str]] = []
    for kill_at in (9, 9, 24, 60):
        before = inodes(output)
        with pytest.raises(KilledError):
            run(simulated_galaxies, encoder, output, kill_at, resume=True)
        assert before.items() <= inodes(output).items(), "finished files are not touched"
        seen.append(set(inodes(output)))
    assert [len(files) for files in seen] == [1, 1, 3, 8]
    assert run(simulated_galaxies, encoder, output, resume=True) == 60
    found = Embeddings.read(output)
    assert found.ids == expected.ids
    np.testing.assert_array_equal(found.vectors, expected.vectors)
    names = [f"part-{number:05d}.parquet" for number in range(9)]
    assert sorted(path.name for path in output.iterdir()) == [MANIFEST, *names]
    before = inodes(output)
    assert run(simulated_galaxies, encoder, output, resume=True) == 60, "finished: nothing to do"
    assert inodes(output) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"], "no lock is left"


def test_weights_that_moved_go_on_and_make_one_table(
    simulated_galaxies: Path, encoder_weights: Path, tmp_path: Path
) -> None:
    output, moved = tmp_path / "out", tmp_path / "moved"
    with pytest.raises(KilledError):
        run(simulated_galaxies, load_encoder(encoder_weights), output, 20)
    shutil.copytree(encoder_weights, moved)
    assert run(simulated_galaxies, load_encoder(moved), output, resume=True) == 60
    assert len(Embeddings.read(output).ids) == EmbeddingTable(output).rows == 60
    last = EmbeddingTable(output / "part-00008.parquet").encoder
    assert last is not None
    assert last.weights == str(moved), "each file says where its weights were"


@pytest.mark.parametrize("read", [Embeddings.read, EmbeddingTable])
def test_what_a_killed_run_left_is_no_table(
    simulated_galaxies: Path, encoder: nn.Module, tmp_path: Path, read: Callable[[Path], Any]
) -> None:
    output = tmp_path / "out"
    with pytest.raises(KilledError):
        run(simulated_galaxies, encoder, output, 24)
    whole = len(inodes(output))
    assert 0 < whole < 9
    with pytest.raises(DataError, match=f"out is not finished: {whole} of 9 files are there; run"):
        read(output)
    read(output / "part-00000.parquet")
    (output / MANIFEST).write_text('{"files": ')
    with pytest.raises(DataError, match=f"{MANIFEST} is damaged"):
        read(output)
    (output / MANIFEST).write_text('{"name": "of something else"}')
    read(output)


def test_images_left_out_are_listed_once_however_often_it_was_killed(
    cutouts: Path, encoder: nn.Module, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    with pytest.raises(DataError, match=r"g06\.png"):
        run(cutouts, encoder, output)
    for kill_at in (3, 12, 18):
        with pytest.raises(KilledError):
            run(cutouts, encoder, output, kill_at, resume=True, on_error="skip")
    assert run(cutouts, encoder, output, resume=True, on_error="skip") == 22
    expected = embed(cutouts, encoder, batch_size=4, precision="no", on_error="skip")
    found = Embeddings.read(output)
    assert found.ids == expected.ids == [f"g{n:02d}" for n in range(25) if n not in (6, 7, 20)]
    np.testing.assert_array_equal(found.vectors, expected.vectors)
    assert [pq.read_metadata(path).num_rows for path in sorted(output.glob("*.parquet"))] == [
        *(6, 6, 6, 4),
    ]
    lines = Path(f"{output}.errors.jsonl").read_text().splitlines()
    assert [json.loads(line)["id_str"] for line in lines] == ["g06", "g07", "g20"]
    assert "g20.png" in json.loads(lines[2])["reason"]


def test_a_folder_in_which_nothing_can_be_read(encoder: nn.Module, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.png").write_bytes(b"\x89PNG and no more")
    with pytest.raises(DataError, match="there is no image that can be read"):
        run(tmp_path / "data", encoder, tmp_path / "out", on_error="skip")


@pytest.mark.parametrize("place", [4, 0.3, 0.56, "cut"])
def test_a_damaged_file_is_written_again(
    simulated_galaxies: Path,
    encoder: nn.Module,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    place: float | str,
) -> None:
    """A bit flipped in the data, or the end of the file gone."""
    output = tmp_path / "out"
    run(simulated_galaxies, encoder, output)
    expected = Embeddings.read(output)
    path, before = output / "part-00003.parquet", inodes(output)
    data = bytearray(path.read_bytes())
    if place == "cut":
        data = data[:-100]
    else:
        data[int(place if place > 1 else place * len(data))] ^= 1
    path.write_bytes(data)
    capsys.readouterr()
    run(simulated_galaxies, encoder, output, resume=True)
    said = capsys.readouterr().err
    assert f"resume: {path} is damaged (" in said
    assert "resume: 53 of 60 galaxies are there already" in said
    found = Embeddings.read(output)
    assert found.ids == expected.ids
    np.testing.assert_array_equal(found.vectors, expected.vectors)
    assert {name for name, inode in inodes(output).items() if before[name] != inode} == {path.name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resume": False}, "already holds an extraction; pass --resume to go on, or another"),
        ({"batch_size": 5}, "was extracted with batch_size 4, this run has 5"),
        ({"precision": "bf16"}, "was extracted with precision float32, this run has bfloat16"),
        ({"rows_per_file": 8}, "was extracted with rows_per_file 7, this run has 8"),
        ({"split": "test"}, "was extracted with galaxies 60, this run has "),
        ({"rows_per_file": 0}, "rows_per_file: 0 must be at least 1"),
        ({"rows_per_file": None, "output": "x.parquet"}, "resume: one file is written as a whole"),
    ],
)
def test_another_job_does_not_go_on(
    simulated_galaxies: Path,
    encoder: nn.Module,
    tmp_path: Path,
    change: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(KilledError):
        run(simulated_galaxies, encoder, tmp_path / "out", 20)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    options = {"resume": True, **change}
    output = tmp_path / options.pop("output", "out")
    with pytest.raises(ConfigError, match=message):
        run(simulated_galaxies, encoder, output, **options)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_other_weights_and_other_images_do_not_go_on(
    cutouts: Path, encoder: nn.Module, encoder_weights: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    run(cutouts, encoder, output, on_error="skip")
    other = load_encoder(encoder_weights)
    next(other.parameters()).data.view(-1)[0] += 1e-6
    with pytest.raises(ConfigError, match="was extracted with weights "):
        run(cutouts, other, output, resume=True, on_error="skip")
    os.utime(cutouts / "g03.png", ns=(1, 1))
    with pytest.raises(ConfigError, match="was extracted with data "):
        run(cutouts, encoder, output, resume=True, on_error="skip")


def test_a_folder_with_other_files_is_left_alone(
    simulated_galaxies: Path, encoder: nn.Module, tmp_path: Path
) -> None:
    for name in ("part-00000.parquet", "thesis.tex"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_text("years of work")
        with pytest.raises(ConfigError, match=rf"holds other files \({name}\); name a new"):
            run(simulated_galaxies, encoder, folder, resume=True)
        assert [path.name for path in folder.iterdir()] == [name]


def test_what_a_killed_run_was_writing_is_removed(
    simulated_galaxies: Path, encoder: nn.Module, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / ".part-00002.parquet.0123abcd.tmp").write_text("half a fi")
    assert run(simulated_galaxies, encoder, output, resume=True) == 60
    assert not list(output.glob(".*"))


HOLD = (
    "import sys, time; from gzfound.locks import hold; hold(sys.argv[1]); print(); time.sleep(60)"
)


@pytest.mark.parametrize("rows_per_file", [ROWS, None])
def test_two_runs_do_not_write_to_one_output(
    simulated_galaxies: Path, encoder: nn.Module, tmp_path: Path, rows_per_file: int | None
) -> None:
    output = tmp_path / "out"
    other = subprocess.Popen([sys.executable, "-uc", HOLD, str(output)], stdout=subprocess.PIPE)
    assert other.stdout is not None
    with other:
        other.stdout.readline()
        with pytest.raises(OutputError, match="out is being written by another run"):
            run(simulated_galaxies, encoder, output, rows_per_file=rows_per_file)
        with pytest.raises(OutputError, match="out is being written by another run"):
            embed(simulated_galaxies, encoder, output=output)
        assert not output.exists()
        other.kill()
    assert run(simulated_galaxies, encoder, output, rows_per_file=rows_per_file) == 60


def test_a_full_disk_leaves_what_resumes(
    simulated_galaxies: Path, encoder: nn.Module, tmp_path: Path
) -> None:
    """No file may be longer than 2,000 bytes: as a full disk, but for the number of the error."""
    output = tmp_path / "out"
    with pytest.raises(KilledError):
        run(simulated_galaxies, encoder, output, 30)
    kept = inodes(output)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(OutputError) as caught:
            run(simulated_galaxies, encoder, output, resume=True)
        with pytest.raises(OutputError, match=r"one.parquet: File too large$"):
            run(simulated_galaxies, encoder, tmp_path / "one.parquet", rows_per_file=None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    said = (
        f"output: cannot write {output}/part-0000{len(kept)}.parquet: File too large; whole files"
    )
    assert str(caught.value) == f"{said} are kept, --resume goes on"
    assert inodes(output) == kept
    assert not list(output.glob(".*"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    assert run(simulated_galaxies, encoder, output, resume=True) == 60
    assert Embeddings.read(output).ids == embed(simulated_galaxies, encoder).ids


@pytest.mark.parametrize("rows", [1, 3, 4, 10, 100])
@pytest.mark.parametrize("together", [1, 4, 7])
def test_forward_passes_do_not_depend_on_the_files(rows: int, together: int) -> None:
    """Every pass of one large file, and no other; each file has all of its rows."""
    made_by = EncoderIdentity("", "", 1.0)
    whole = Shards(Path(), 23, 23, together, 1, {}, made_by)
    expected = {tuple(batch) for batch in whole.batches([0])}
    files = Shards(Path(), rows, 23, together, 1, {}, made_by)
    assert {tuple(batch) for batch in files.batches(range(files.count))} == expected
    for number in range(files.count):
        held = {row for batch in files.batches([number]) for row in batch}
        assert held >= set(files.stretch(number))
    assert [row for n in range(files.count) for row in files.stretch(n)] == list(range(23))


@pytest.mark.parametrize(("galaxies", "name"), [(100_000, "part-00000"), (100_001, "part-000000")])
def test_names_of_many_files_sort_as_their_numbers(
    encoder: nn.Module, galaxies: int, name: str
) -> None:
    """From 100,001 files on, names of five digits would come in another order than the rows."""
    shards = Shards(Path("e"), 1, galaxies, 4, 16, {}, EncoderIdentity.of(encoder))
    assert shards.path(0).stem == name
    numbers = [0, 1, 10, 9_999, 10_000, 99_999, shards.count - 1]
    paths = [shards.path(number) for number in sorted(set(numbers))]
    assert sorted(paths) == paths
