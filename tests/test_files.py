"""Files and directories are whole or absent."""

from __future__ import annotations

from pathlib import Path

import pytest

from gzfound.files import atomic_directory, atomic_file, write_text


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
