"""Several datasets as one: the union of their columns, and which campaign each galaxy is of.

A vote column that a dataset does not have is zero there: nobody was asked. Any other column is
empty. Columns that are added cost no memory a row: all zeros share one buffer.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from gzfound.data.names import Names, repeated
from gzfound.data.several import is_pattern, pattern_root
from gzfound.data.table import is_table
from gzfound.errors import ConfigError, DataError
from gzfound.trees import DecisionTree
from gzfound.trees.loading import campaign_of, campaigns_of, list_trees

if TYPE_CHECKING:
    from datasets import Dataset

NAME = "dataset_name"
"""Column that says of which dataset, by campaign, a galaxy is."""


def dataset_names(dataset: Dataset, source: str | Path) -> Names:
    """The campaign of each galaxy.

    It is the column ``dataset_name`` where there is one, else the campaign of the vote columns,
    else the last part of ``source``: of a pattern or a table, the folder's.
    """
    if NAME in dataset.column_names:
        held = Names.of(dataset, NAME)
        if held.column.type == pa.string() and not held.column.null_count:
            return held
        return Names.packed(map(str, held))
    try:
        name = DecisionTree.from_columns(dataset.column_names).tree.name
    except DataError:
        name = _last_part(str(source))
    return Names(repeated(pa.array([name], pa.string()), len(dataset)))


def _last_part(source: str) -> str:
    place = pattern_root(source) if is_pattern(source) else Path(source)
    return (place.parent if is_table(place) else place).absolute().name


def questions_of(tree: DecisionTree, campaign: str) -> tuple[str, ...]:
    """The questions of ``tree`` that a campaign asked, or the campaigns of a union."""
    members = campaigns_of(campaign) if campaign in list_trees() else ()
    return tuple(name for name in tree.slices if campaign_of(name) in members)


def campaigns_in(names: Collection[str], campaign: str) -> set[str]:
    """Which of the ``names`` of datasets are those of a campaign, or of a part of it.

    Raises:
        ConfigError: none.
    """
    members = {campaign, *(campaigns_of(campaign) if campaign in list_trees() else ())}
    found = members & set(names)
    if not found:
        there = ", ".join(sorted(set(names)))
        raise ConfigError(f"held_out_campaign: {campaign!r} is not in the data; allowed: {there}")
    return found


def unite(parts: Sequence[tuple[str, Dataset]]) -> Dataset:
    """One dataset of several, ``(source, dataset)``, in their order.

    Raises:
        DataError: an ``id_str`` is in two of them, or a column holds what does not go together.
    """
    import datasets

    check_ids(parts)
    order = ["image", "id_str", NAME]
    order += [c for _, part in parts for c in part.column_names if c not in order]
    order = list(dict.fromkeys(order))
    try:
        votes = set(DecisionTree.from_columns(order).tree.columns)
    except DataError:
        votes = set()
    types = {c: datasets.Value("int32") if c in votes else _type_of(c, parts) for c in order[2:]}
    return datasets.concatenate_datasets(
        [_completed(part, source, types, votes).select_columns(order) for source, part in parts]
    )


def check_ids(parts: Sequence[tuple[str, Dataset]]) -> None:
    """Raise ``DataError`` if a galaxy of one source is in another, ``(source, dataset)`` each.

    With several sources it takes some 150 bytes of memory a galaxy.
    """
    if len(parts) < 2:
        return
    seen: dict[str, str] = {}
    for source, part in parts:
        ids = part.with_format(None)["id_str"][:]
        for name in ids:
            if name in seen:
                raise DataError(f"data: id_str {name!r} is in {seen[name]} and in {source}")
        seen.update(dict.fromkeys(ids, source))


def _type_of(column: str, parts: Sequence[tuple[str, Dataset]]) -> Any:
    """The type of a column in the union: its own, else float64 for numbers and truths, or text."""
    import datasets

    if column == NAME:
        return datasets.Value("string")
    found = [part.features[column] for _, part in parts if column in part.column_names]
    if all(each == found[0] for each in found):
        return found[0]
    if not all(type(each) is datasets.Value for each in found):
        raise DataError(f"column {column!r}: it holds {' in one dataset, '.join(map(str, found))}")
    kinds = [each.pa_type for each in found]
    numeric = all(map(_is_number, kinds))
    return datasets.Value("float64" if numeric else "string")


def _is_number(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))


def _completed(
    part: Dataset, source: str, types: Mapping[str, Any], votes: Collection[str]
) -> Dataset:
    """A dataset with all the columns, of their types; those it has already are not copied."""
    import datasets

    plain = part.with_format(None)
    kept = [c for c in plain.column_names if c not in types or plain.features[c] == types[c]]
    added: dict[str, Any] = {}
    for column, feature in types.items():
        if column in kept:
            continue
        if column == NAME:
            added[column] = dataset_names(part, source).column
        elif column in plain.column_names:
            added[column] = _cast(plain.data.column(column), feature.pa_type, column, source)
        elif column in votes:
            added[column] = _zeros(len(part))
        else:
            added[column] = pa.nulls(
                len(part), datasets.Features({column: feature}).arrow_schema.field(column).type
            )
    if not added:
        return plain
    features = datasets.Features({column: types[column] for column in added})
    extra = datasets.Dataset.from_dict(added, features)
    return datasets.concatenate_datasets([plain.select_columns(kept), extra], axis=1)


def _cast(held: Any, kind: pa.DataType, column: str, source: str) -> Any:
    try:
        return held.cast(kind)
    except pa.ArrowException as error:
        reason = " ".join(str(error).split())[:300]
        raise DataError(f"{source}: column {column!r} cannot be {kind} ({reason})") from error


def _zeros(length: int) -> pa.ChunkedArray:
    """int32 zeros ``(length,)`` on one buffer."""
    return repeated(pa.array([0], pa.int32()), length)
