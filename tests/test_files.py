"""Files and directories are whole or absent."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from gzfound.errors import ConfigError, OutputError
from gzfound.files import (
    atomic_directory,
    atomic_file,
    check_file,
    digest_of,
    one_line_if_full,
    remove_left_overs,
    write_text,
)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "table.txt"
    write_text(target, "old")
    with pytest.raises(RuntimeError), atomic_file(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert [p.name for p in target.parent.iterdir()] == ["table.txt"]


def test_a_directory_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "weights"
    for name in ("first", "second"):
        with atomic_directory(target) as folder:
            (folder / name).touch()
    assert [p.name for p in target.iterdir()] == ["second"]
    with pytest.raises(RuntimeError), atomic_directory(target) as folder:
        (folder / "third").touch()
        raise RuntimeError
    assert [p.name for p in target.iterdir()] == ["second"]
    assert [p.name for p in tmp_path.iterdir()] == ["weights"]


def test_files_of_a_directory_are_read_by_whoever_reads_the_directory(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        with atomic_directory(tmp_path / "weights") as folder:
            save_file({"a": torch.zeros(1)}, folder / "model.safetensors")
    finally:
        os.umask(mask)
    assert (tmp_path / "weights" / "model.safetensors").stat().st_mode & 0o777 == 0o640


def test_a_place_that_cannot_hold_a_file_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="is a directory; name a file"):
        check_file(tmp_path)
    with pytest.raises(ConfigError, match="is not a directory"):
        check_file(tmp_path / "file" / "deeper" / "x.parquet")
    check_file(tmp_path / "new" / "x.parquet")


@pytest.mark.parametrize("renames", [0, 1])
def test_a_directory_is_there_whenever_its_writer_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    """Before the old one is moved away, or before the new one is in its place."""
    target = tmp_path / "weights"
    with atomic_directory(target) as folder:
        (folder / "first").touch()
    replace, calls = Path.replace, 0

    def dying(path: Path, place: Path) -> Path:
        nonlocal calls
        calls += 1
        if calls > renames:
            raise KeyboardInterrupt
        return replace(path, place)

    monkeypatch.setattr(Path, "replace", dying)
    # As with SIGKILL, nothing is tidied up.
    monkeypatch.setattr("gzfound.files.shutil.rmtree", lambda *args, **kwargs: None)
    with pytest.raises(KeyboardInterrupt), atomic_directory(target) as folder:
        (folder / "second").touch()
    monkeypatch.undo()
    assert len(list(tmp_path.iterdir())) == 2
    remove_left_overs(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["weights"]
    assert [p.name for p in target.iterdir()] == ["first"]


def test_only_left_overs_are_removed(tmp_path: Path) -> None:
    for name in (".table.txt.0123abcd.tmp", ".weights.0123abcd.old", ".hidden.tmp", "x.tmp"):
        (tmp_path / name).touch()
    (tmp_path / "weights").mkdir()
    remove_left_overs(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".hidden.tmp", "weights", "x.tmp"]


def test_the_checksum_of_a_file_depends_on_every_bit(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(3))
    found = {digest_of(tmp_path / "file")}
    for bit in range(24):
        (tmp_path / "file").write_bytes((1 << bit).to_bytes(3, "little"))
        found.add(digest_of(tmp_path / "file"))
    assert len(found) == 25


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    said = r"cannot write .*x.txt: No space left on device$"
    with pytest.raises(OutputError, match=said), one_line_if_full(tmp_path / "x.txt"):
        raise OSError(errno.ENOSPC, "ignored")
