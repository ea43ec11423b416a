"""Write a galaxy dataset in the layout that Galaxy Zoo publishes on the Hugging Face hub.

    OUT/README.md                            the card, with configs, features and sizes
    OUT/data/train-00000-of-00002.parquet    config "default"
    OUT/data/test-00000-of-00001.parquet
    OUT/tiny/train-00000-of-00001.parquet    config "tiny": one row in a hundred

Rows arrive in batches of any size and leave in row groups of a fixed one, so the files do not
depend on the batches and memory stays flat. All of it is written beside ``OUT`` and renamed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa

from gzfound.data.card import DatasetCard, SplitSize, front_matter, render_card
from gzfound.data.shards import OneInAHundred, ParquetShards
from gzfound.errors import ConfigError, DataError
from gzfound.files import atomic_directory, write_text

FOLDERS: Mapping[str, str] = {"default": "data", "tiny": "tiny"}

IMAGE = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])

Batch: TypeAlias = Mapping[str, Any] | pa.Table


def write_dataset(
    output: str | Path,
    splits: Mapping[str, Iterable[Batch]],
    card: DatasetCard,
    *,
    overwrite: bool = False,
) -> Path:
    """Write ``splits`` (batches of columns, by split name) to the directory ``output``.

    A batch maps column names to equally long sequences, or is an Arrow table; ``image`` holds
    encoded files (``bytes``), ``id_str`` strings. Returns ``output``.

    Raises:
        ConfigError: ``output`` is in use (see ``DatasetWriter``).
        DataError: a batch lacks a column or changes a column's type.
    """
    with dataset_writer(output, card, splits=tuple(splits), overwrite=overwrite) as writer:
        for split, batches in splits.items():
            for batch in batches:
                writer.write(split, batch)
    return Path(output)


@contextmanager
def dataset_writer(
    output: str | Path,
    card: DatasetCard,
    *,
    splits: Sequence[str] = ("train", "test"),
    overwrite: bool = False,
) -> Iterator[DatasetWriter]:
    """Give a writer whose rows become the dataset ``output`` when the context ends well.

    An exception inside the context leaves ``output`` as it was. Files written to the writer's
    ``folder`` are published with the dataset.

    Raises:
        ConfigError: ``output`` is not empty and may not, or must not, be overwritten.
    """
    target = Path(output).absolute()
    check_output(target, overwrite)
    with atomic_directory(target) as folder:
        writer = DatasetWriter(folder, card, splits)
        yield writer
        writer.finish()


class DatasetWriter:
    """Takes batches of rows by split; made by ``dataset_writer``."""

    def __init__(self, folder: Path, card: DatasetCard, splits: Sequence[str]) -> None:
        self.folder = folder
        self.card = card
        self._splits = tuple(splits)
        self._schemas: dict[str, pa.Schema] = {}
        self._sinks: dict[tuple[str, str], ParquetShards | OneInAHundred] = {}

    def write(self, split: str, batch: Batch) -> None:
        """Add the rows of ``batch`` to ``split``, in order.

        Raises:
            DataError: the batch lacks a column of the first batch, or has one of another type.
        """
        if split not in self._splits:
            raise DataError(f"split '{split}': not one of {', '.join(self._splits)}")
        if not self._schemas:
            self._open(_infer_schema(batch))
        table = _to_table(batch, self._schemas["default"])
        self._sinks["default", split].add(table)
        name = pa.array([self.card.name] * len(table), pa.string())
        self._sinks["tiny", split].add(table.add_column(2, "dataset_name", name))

    def _open(self, schema: pa.Schema) -> None:
        tiny = schema.insert(2, pa.field("dataset_name", pa.string()))
        self._schemas = {"default": schema, "tiny": _with_metadata(tiny)}
        for config, folder in FOLDERS.items():
            (self.folder / folder).mkdir()
            for split in self._splits:
                shards = ParquetShards(self.folder / folder, split, self._schemas[config])
                self._sinks[config, split] = OneInAHundred(shards) if config == "tiny" else shards

    def finish(self) -> None:
        """Write the last rows and the card; a split without rows is left out of both."""
        if not self._schemas:
            raise DataError("no rows to write: every split is empty")
        sizes: dict[str, dict[str, SplitSize]] = {config: {} for config in FOLDERS}
        for (config, split), sink in self._sinks.items():
            size = sink.finish()
            if size.rows:
                sizes[config][split] = size
        features = {config: _hub_types(schema) for config, schema in self._schemas.items()}
        matter = front_matter(self.card, FOLDERS, features, sizes)
        write_text(self.folder / "README.md", render_card(self.card, matter))


def check_output(output: Path, overwrite: bool) -> None:
    """Raise ``ConfigError`` unless ``output`` is new, empty, or a dataset that may be replaced."""
    if output.is_dir() and not any(output.iterdir()):
        return
    if not output.exists():
        return
    if not overwrite:
        raise ConfigError(
            f"output '{output}' is not empty: choose another, or overwrite it (overwrite=True)"
        )
    if not (output / "README.md").is_file() or not (output / FOLDERS["default"]).is_dir():
        raise ConfigError(
            f"output '{output}' is not a dataset (no README.md and data/): "
            "only a dataset can be overwritten"
        )


def _infer_schema(batch: Batch) -> pa.Schema:
    names = _names(batch)
    for required in ("image", "id_str"):
        if required not in names:
            raise DataError(f"column '{required}' is missing: found {', '.join(names) or 'none'}")
    rest = [name for name in names if name not in ("image", "id_str")]
    fields = [(name, _array(batch[name]).type) for name in rest]
    return _with_metadata(pa.schema([("image", IMAGE), ("id_str", pa.string()), *fields]))


def _names(batch: Batch) -> list[str]:
    return list(batch.column_names if isinstance(batch, pa.Table) else batch)


def _array(values: Any) -> Any:
    return values if isinstance(values, pa.ChunkedArray | pa.Array) else pa.array(values)


def _hub_types(schema: pa.Schema) -> dict[str, str]:
    names = {"double": "float64", "float": "float32"}
    return {
        field.name: "image" if field.type == IMAGE else names.get(str(field.type), str(field.type))
        for field in schema
    }


def _with_metadata(schema: pa.Schema) -> pa.Schema:
    """Add the features as ``datasets`` writes them, so that ``image`` opens as an image."""
    features = {
        name: {"_type": "Image"} if dtype == "image" else {"dtype": dtype, "_type": "Value"}
        for name, dtype in _hub_types(schema).items()
    }
    return schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def _to_table(batch: Batch, schema: pa.Schema) -> pa.Table:
    if odd := sorted(set(_names(batch)) ^ set(schema.names)):
        raise DataError(f"column '{odd[0]}': every batch must have the columns of the first")
    columns = []
    for field in schema:
        values = batch[field.name]
        try:
            if field.type == IMAGE:
                columns.append(_image_column(values, batch["id_str"]))
            else:
                columns.append(_array(values).cast(field.type))
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:  # casts
            reason = str(error).splitlines()[0]
            raise DataError(f"column '{field.name}': not {field.type}: {reason}") from error
    return pa.table(columns, schema=schema)


def _image_column(values: Any, ids: Any) -> Any:
    files = _array(values)
    if files.type == IMAGE:
        return files
    names, contents = _array(ids).to_pylist(), files.to_pylist()
    paths = [f"{name}{_suffix(data)}" for name, data in zip(names, contents, strict=True)]
    return pa.StructArray.from_arrays(
        [pa.array(contents, pa.binary()), pa.array(paths, pa.string())], fields=list(IMAGE)
    )


def _suffix(data: bytes) -> str:
    return ".png" if data[:4] == b"\x89PNG" else ".jpg"
