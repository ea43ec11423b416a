"""Where the Parquet files of a dataset are: in a directory, on the hub, or at an address."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from glob import has_magic
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote

from gzfound.data.card import matter_in
from gzfound.errors import DataError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

RETRIES = 4
CLIENTS = {
    "aiohttp",
    "asyncio",
    "azure",
    "botocore",
    "fsspec",
    "gcsfs",
    "http",
    "httpcore",
    "httpx",
}
"""Packages of network clients: errors of theirs may pass, also those that are no ``OSError``."""

Result = TypeVar("Result")


def is_address(source: object) -> bool:
    """Whether a source is an address such as ``https://...``, which only streaming can read."""
    return isinstance(source, str) and "://" in source


def refuse_credentials(source: object) -> None:
    """Raise ``DataError`` for an address with a user, which errors and weights would show."""
    if is_address(source) and (found := re.search(r"://[^/?#]*@", str(source))):
        raise DataError(
            f"data: {str(source)[: found.start()]}://...@ names a user; credentials go into the "
            "environment: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, HF_TOKEN, or FSSPEC_HTTPS"
        )


def parquet_files(
    source: str | Path, config: str | None, split: str | None
) -> tuple[AbstractFileSystem, list[str], str]:
    """The file system and the Parquet files of a split, in order, and the licence in its card.

    Args:
        source: a directory in the layout of the hub, a hub name, or an address of such a directory
            with ``https://``, ``s3://``, ``hf://datasets/`` or whatever fsspec knows. An ``http``
            server must list its directories and answer requests for ranges.
        config: one of its card, such as ``tiny``; without, the default.
        split: name of the split, not a slice; None for all of them, one after the other.

    Raises:
        DataError: it cannot be reached, or has no such config or split, or names a user.
    """
    refuse_credentials(source)
    name = str(source)
    if split is not None and not split.isidentifier():
        raise DataError(f"split {split!r}: streaming takes the name of a split, not a slice")
    try:
        files, root = _filesystem(name)
        matter = matter_in(_card(files, root))
        patterns = _patterns(matter, config, split, name)
        found = [path for pattern in patterns for path in _matching(files, root, pattern)]
    except DataError:
        raise
    except Exception as error:  # whatever the client of the network raises
        raise DataError(f"{name}: cannot be listed ({in_a_line(error)})") from error
    paths = [path for path in dict.fromkeys(found) if path.endswith(".parquet")]
    if not paths:
        what = f"split '{split}'" if split else "any split"
        where = ", ".join(patterns) or "any path that its README.md names"
        raise DataError(f"{name}: no Parquet file of {what} at {where}; only Parquet streams")
    return files, paths, str(matter.get("license", "unknown"))


def trying(read: Callable[[], Result]) -> Result:
    """What ``read`` gives; a failure of the network is met by trying again, a little later."""
    for wait in [2.0**k for k in range(RETRIES - 1)]:
        try:
            return read()
        except Exception as error:  # clients raise kinds of their own; what lasts is raised
            if not _may_pass(error):
                raise
            time.sleep(wait)
    return read()


def _may_pass(error: Exception) -> bool:
    """Whether an error is one of the network or the file system that need not last."""
    if isinstance(error, (FileNotFoundError, PermissionError)):
        return False
    kinds = type(error).__mro__
    return isinstance(error, OSError) or any(k.__module__.split(".")[0] in CLIENTS for k in kinds)


def in_a_line(error: BaseException) -> str:
    """The kind of an error, and what it says."""
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _card(files: AbstractFileSystem, root: str) -> str:
    """The text of the card, empty if it is not there; a failure does not pass for none."""
    try:
        found: bytes = trying(lambda: files.cat_file(f"{root}/README.md"))
    except FileNotFoundError:
        return ""
    return found.decode("utf-8", "replace")


def _matching(files: AbstractFileSystem, root: str, pattern: str) -> list[str]:
    """The files below ``root`` that a pattern names, sorted; ``glob`` would pass over failures."""
    from fsspec.utils import glob_translate

    if not has_magic(pattern):
        return [f"{root}/{pattern}"]
    parts = pattern.split("/")
    fixed = list(takewhile(lambda part: not has_magic(part), parts))
    depth = None if "**" in parts else len(parts) - len(fixed)

    def listed() -> list[str]:
        folders = files.walk(
            "/".join([root, *fixed, ""]), maxdepth=depth, detail=True, on_error="raise"
        )
        return [info["name"] for *_, own in folders for info in own.values()]

    try:
        names = trying(listed)
    except FileNotFoundError:
        return []
    matches = re.compile(glob_translate(pattern)).match
    return sorted(name for name in names if matches(name.removeprefix(f"{root}/")))


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
) -> list[str]:
    """Where the card says that the files of the splits are, or where they are without one."""
    listed = matter.get("configs")
    names = ("train", "validation", "test", "*") if split is None else (split,)
    configs = {
        str(each.get("config_name", "default")): each
        for each in (listed if isinstance(listed, list) else ())
        if isinstance(each, dict)
    } or {"default": {"data_files": [{"split": n, "path": f"data/{n}-*"} for n in names]}}
    chosen = config or _default(configs, source)
    if chosen not in configs:
        raise DataError(f"{source}: config '{chosen}' not found; it has {', '.join(configs)}")
    entries = configs[chosen].get("data_files")
    splits: dict[str, list[str]] = {}
    for entry in entries if isinstance(entries, list) else [entries]:
        each = entry if isinstance(entry, dict) and entry else {"split": "train", "path": entry}
        path = each.get("path")
        paths = [str(own) for own in (path if isinstance(path, list) else [path]) if own]
        splits.setdefault(str(each.get("split")), []).extend(paths)
    if split is not None and split not in splits:
        raise DataError(f"{source}: split '{split}' not found; it has {', '.join(splits)}")
    wanted = [path for own in splits.values() for path in own] if split is None else splits[split]
    for path in wanted:
        plain = path
        while (once := unquote(plain)) != plain:
            plain = once
        if plain.startswith("/") or ".." in PurePosixPath(plain).parts or "://" in plain:
            raise DataError(f"{source}: {path!r} in its README.md is not in this folder")
    return wanted


def _default(configs: dict[str, dict[str, Any]], source: str) -> str:
    """The config that is meant where none is named, by the rule of datasets."""
    marked = [name for name, each in configs.items() if each.get("default") is True]
    for found in (marked, [name for name in configs if name == "default"], list(configs)):
        if len(found) == 1:
            return found[0]
        if found:
            break
    raise DataError(f"{source}: which config? It has {', '.join(configs)}, none the default")
