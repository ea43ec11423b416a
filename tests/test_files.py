"""Files and directories are whole or absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from gzfound.errors import ConfigError
from gzfound.files import atomic_directory, atomic_file, check_file, write_text


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
