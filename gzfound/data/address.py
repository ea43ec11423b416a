"""Where the Parquet files of a dataset are: in a directory, on the hub, or at an address."""

from __future__ import annotations

import os
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from gzfound.data.card import matter_in
from gzfound.errors import DataError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem


def is_address(source: object) -> bool:
    """Whether a source is an address such as ``https://...``, which only streaming can read."""
    return isinstance(source, str) and "://" in source


def parquet_files(
    source: str | Path, config: str | None, split: str | None
) -> tuple[AbstractFileSystem, list[str]]:
    """The Parquet files of a split, in order, and the file system that they are in.

    Args:
        source: a directory in the layout of the hub, a hub name, or an address of such a directory
            with ``https://``, ``s3://``, ``hf://datasets/`` or whatever fsspec knows. An ``http``
            server must list its directories and answer requests for ranges.
        config: one of its card, such as ``tiny``; without, the default.
        split: name of the split, not a slice; None for all of them, one after the other.

    Raises:
        DataError: it cannot be reached, or has no such config or split.
    """
    name = str(source)
    if split is not None and not split.isidentifier():
        raise DataError(f"split {split!r}: streaming takes the name of a split, not a slice")
    try:
        files, root = _filesystem(name)
        card = f"{root}/README.md"
        text = files.cat_file(card).decode("utf-8", "replace") if files.exists(card) else ""
        splits = _patterns(matter_in(text), config, split, name)
        patterns = [pattern for each in splits for pattern in each]
        found = [sorted({p for at in each for p in files.glob(f"{root}/{at}")}) for each in splits]
    except DataError:
        raise
    except Exception as error:  # whatever the client of the network raises
        raise DataError(f"{name}: cannot be listed ({in_a_line(error)})") from error
    paths = [p for p in dict.fromkeys(chain.from_iterable(found)) if p.endswith(".parquet")]
    if not paths:
        what = f"split '{split}'" if split else "any split"
        where = ", ".join(patterns) or "any path that its README.md names"
        raise DataError(f"{name}: no Parquet file of {what} at {where}; only Parquet streams")
    return files, paths


def in_a_line(error: BaseException) -> str:
    """The kind of an error, and what it says."""
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _filesystem(source: str) -> tuple[AbstractFileSystem, str]:
    from fsspec.core import url_to_fs

    if source.startswith("s3://"):
        from fsspec.implementations.arrow import ArrowFSWrapper
        from pyarrow.fs import S3FileSystem

        names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
        endpoint = next(filter(None, map(os.environ.get, names)), None)
        client = S3FileSystem(endpoint_override=endpoint)
        return ArrowFSWrapper(client), source.removeprefix("s3://").rstrip("/")
    local = not is_address(source) and Path(source).expanduser().is_dir()
    if not local and not is_address(source):
        if source.count("/") != 1:
            raise DataError(f"{source}: no such folder, nor a hub name such as owner/name")
        source = f"hf://datasets/{source}"
    files, root = url_to_fs(str(Path(source).expanduser().absolute()) if local else source)
    return files, root.rstrip("/")


def _patterns(
    matter: dict[str, Any], config: str | None, split: str | None, source: str
) -> list[list[str]]:
    """Where the card says that the files of each split are, or where they are without one."""
    listed = matter.get("configs")
    names = ("train", "validation", "test", "*") if split is None else (split,)
    configs = {
        str(each.get("config_name", "default")): each.get("data_files")
        for each in (listed if isinstance(listed, list) else ())
        if isinstance(each, dict)
    } or {"default": [{"split": each, "path": f"data/{each}-*"} for each in names]}
    chosen = config or ("default" if "default" in configs else next(iter(configs)))
    if chosen not in configs:
        raise DataError(f"{source}: config '{chosen}' not found; it has {', '.join(configs)}")
    entries = configs[chosen]
    entries = entries if isinstance(entries, list) else [{"split": "train", "path": entries}]
    splits: dict[str, list[str]] = {}
    for entry in entries:
        if isinstance(entry, dict):
            path = entry.get("path")
            paths = [str(each) for each in (path if isinstance(path, list) else [path]) if each]
            splits.setdefault(str(entry.get("split")), []).extend(paths)
    if split is not None and split not in splits:
        raise DataError(f"{source}: split '{split}' not found; it has {', '.join(splits)}")
    wanted = list(splits.values()) if split is None else [splits[split]]
    for path in (path for each in wanted for path in each):
        if path.startswith("/") or ".." in PurePosixPath(path).parts or "://" in path:
            raise DataError(f"{source}: {path!r} in its README.md is not in this folder")
    return wanted
