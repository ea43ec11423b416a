"""One function for every kind of galaxy dataset: hub name, local directory, folder of images."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gzfound.data.address import is_address, refuse_credentials
from gzfound.data.card import check_data_files
from gzfound.data.folder import load_folder, load_pattern
from gzfound.data.several import is_pattern
from gzfound.data.skipped import BadInput
from gzfound.data.table import is_table, shorten
from gzfound.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

    from gzfound.data.names import Names

_ROWS_PER_BATCH = 10_000
"""Rows of a batch in the copy that ``datasets`` keeps, if as many are in a row group.

A loaded dataset holds objects for each column of each batch; with images the default is 100.
"""
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def load_dataset(
    source: str | Path | Sequence[str | Path],
    config: str | None = None,
    split: str | None = None,
    *,
    table: str | Path | None = "auto",
    on_error: str = "raise",
    errors_path: str | Path | None = None,
) -> Dataset | DatasetDict:
    """Load a galaxy dataset.

    Args:
        source: one of a hub name (``mwalmsley/gz_hubble``); a directory in the layout of the hub
            (``README.md``, ``data/train-*.parquet``); a folder of images, flat or nested; a
            CSV or Parquet table of image files, which then says which images are loaded; or, for
            galaxies with a FITS file a band, a pattern such as ``cutouts/{id}_{band}.fits``.
            Several become one dataset: the union of their columns, votes zero where a question was
            not asked, and a column ``dataset_name``.
        config: configuration of a hub dataset or directory, such as ``tiny``.
        split: one split, or a slice of one such as ``train[:100]``. A folder has one: ``train``.
        table: for a folder of images, its table of labels: ``auto`` takes the only CSV or Parquet
            file directly inside the folder, if any; None ignores it.
        on_error: for a folder, ``raise``, or ``skip`` to leave out rows without a file, images
            without a row and repeated ids (the first is kept).
        errors_path: JSON-lines file that gains ``id_str`` and ``reason`` of what was left out.

    Returns:
        A ``datasets.Dataset`` if ``split`` is given, else a ``datasets.DatasetDict``; column
        ``image`` is a ``datasets.Image``, column ``id_str`` holds unique strings.

    Raises:
        DataError: the source cannot be found, reached or understood; or several have a galaxy of
            the same ``id_str``.
    """
    if not isinstance(source, str | Path):
        options: Any = {"table": table, "on_error": on_error, "errors_path": errors_path}
        return _load_several([str(each) for each in source], config, split, options)
    if is_address(source):
        refuse_credentials(source)
        reason = "with --streaming where there is such an option, else make a copy on the disk"
        raise DataError(f"data: {source} is an address, which only streams: {reason}")
    bad = BadInput(on_error, errors_path)
    path = _local(source)
    if is_pattern(str(source)):
        return load_pattern(str(source), config, split, bad)
    if path.is_dir() and is_hub_layout(path):
        return _load_published(str(path.absolute()), str(source), config, split)
    if path.is_dir() or (path.is_file() and is_table(path)):
        return load_folder(path, config, split, table=table, bad=bad)
    if path.exists():
        raise DataError(f"{source}: neither a folder nor a CSV or Parquet table")
    if not _HUB_NAME.fullmatch(str(source)):
        raise DataError(f"{source}: no such folder or table, nor a hub name such as owner/name")
    return _load_published(str(source), str(source), config, split)


def _load_several(
    sources: Sequence[str], config: str | None, split: str | None, options: Any
) -> Dataset | DatasetDict:
    import datasets

    from gzfound.data.union import unite

    if not sources:
        raise DataError("data: name at least one dataset")
    loaded = [(source, load_dataset(source, config, split, **options)) for source in sources]
    if split is not None:
        return unite(loaded)
    splits = dict.fromkeys(name for _, parts in loaded for name in parts)
    return datasets.DatasetDict(
        {
            name: unite([(source, parts[name]) for source, parts in loaded if name in parts])
            for name in splits
        }
    )


def _local(source: str | Path) -> Path:
    """The path that may be meant."""
    try:
        path = Path(source).expanduser()
        path.exists()
    except (OSError, RuntimeError) as error:  # a name that is too long; a user who is not there
        raise DataError(f"{source}: no such folder or table ({error})") from error
    return path


def is_hub_layout(folder: Path) -> bool:
    """Whether a folder is a dataset in the layout of the hub: Parquet in ``data``, or a card."""
    if any(folder.glob("data/*.parquet")):
        return True
    card = folder / "README.md"
    if not card.is_file():
        return False
    matter = card.read_text(encoding="utf-8", errors="replace").split("---")
    return len(matter) > 2 and bool(re.search(r"^(configs|dataset_info):", matter[1], re.M))


def _load_published(
    path: str, source: str, config: str | None, split: str | None
) -> Dataset | DatasetDict:
    import datasets

    from gzfound.data.hub import explain

    local = Path(path).is_absolute()
    if local:
        check_data_files(Path(path))
    try:
        with _quiet_bars(local):
            loaded = datasets.load_dataset(
                path, config, split=split, writer_batch_size=_ROWS_PER_BATCH
            )
    except Exception as error:  # every failure of datasets and of its network stack becomes a line
        raise explain(error, source, local=local) from error
    if isinstance(loaded, datasets.DatasetDict):
        return datasets.DatasetDict({n: _checked(part, source) for n, part in loaded.items()})
    return _checked(loaded, source)


@contextmanager
def _quiet_bars(quiet: bool) -> Iterator[None]:
    """No progress bars for local files; downloads keep theirs."""
    import datasets

    quiet = quiet and not datasets.are_progress_bars_disabled()
    if quiet:
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        if quiet:
            datasets.enable_progress_bars()


def _checked(dataset: Any, source: str) -> Dataset:
    """The dataset with ``image`` as images and ``id_str`` as unique strings."""
    import datasets

    where = f"{source}: split '{dataset.split}'"
    for column in ("image", "id_str"):
        if column not in dataset.column_names:
            found = shorten(dataset.column_names)
            raise DataError(f"{where}: column '{column}' is missing; found {found}")
    if not isinstance(dataset.features["image"], datasets.Image):
        dataset = _as_images(dataset, where)
    return checked_ids(dataset, where)


def checked_ids(dataset: Any, where: str) -> Dataset:
    """The dataset with ``id_str`` as unique strings.

    Args:
        dataset: with a column ``id_str``.
        where: what to call it in an error.

    Raises:
        DataError: it holds no text, nothing in a row, or a string twice.
    """
    ids = dataset.data.column("id_str")
    text = _as_text(ids, where)
    hashes = _hashes(text, where, ids.type)
    if ids.null_count:
        raise DataError(f"{where}: column 'id_str' is empty in {ids.null_count} rows")
    hashes.sort()
    alike = set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())
    if alike and (repeat := _first_repeat(text, alike)):
        raise DataError(f"{where}: {repeat}")
    if str(ids.type) not in ("string", "large_string"):
        order = dataset.column_names
        dataset = dataset.remove_columns("id_str").add_column("id_str", text.column)
        dataset = dataset.select_columns(order)
    return dataset


def _as_text(ids: Any, where: str) -> Names:
    import pyarrow as pa

    from gzfound.data.names import Names

    try:
        return Names(ids.cast("string"))
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise _no_text(where, ids.type) from error


def _hashes(text: Names, where: str, kind: Any) -> npt.NDArray[np.int64]:
    """A hash of each name, of 8 bytes; those of names that are the same are the same."""
    found = np.empty(len(text), np.int64)
    done = 0
    try:
        for names in text.pieces():
            found[done : done + len(names)] = list(map(hash, names))
            done += len(names)
    except UnicodeDecodeError as error:
        raise _no_text(where, kind) from error
    return found


def _no_text(where: str, kind: Any) -> DataError:
    return DataError(f"{where}: column 'id_str' must hold text; it holds {kind}")


def _as_images(dataset: Any, where: str) -> Any:
    import datasets
    import pyarrow as pa

    try:
        return dataset.cast_column("image", datasets.Image())
    except (pa.ArrowException, TypeError, ValueError) as error:
        kind = dataset.data.schema.field("image").type
        raise DataError(f"{where}: column 'image' must hold images; it holds {kind}") from error


def _first_repeat(ids: Names, hashes: Collection[int]) -> str:
    """Where a name with one of some hashes comes again; empty if none does."""
    seen: dict[str, int] = {}
    for row, name in enumerate(ids, start=1):
        if hash(name) not in hashes:
            continue
        if name in seen:
            return f"id_str '{name}' is repeated in rows {seen[name]} and {row}"
        seen[name] = row
    return ""
