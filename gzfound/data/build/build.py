"""A released table and a folder of images to a dataset in the layout of the hub.

Two passes over the table: one finds repeated ids and types, one writes. Rows go through a group at
a time, images with them, so memory does not grow with the images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gzfound.data.build.columns import VoteColumns, find_votes, other_columns
from gzfound.data.build.counts import Wrong, read_votes
from gzfound.data.build.describe import describe
from gzfound.data.build.pictures import Pictures
from gzfound.data.build.refused import Refusal, Refusals, refusals_beside, refused_path
from gzfound.data.build.rows import RawTable, Survey, hash_of, open_table, survey
from gzfound.data.card import GALAXY_ZOO_LICENCE
from gzfound.data.ordered import ordered_map
from gzfound.data.splits import DEFAULT_FRACTIONS, split_by_id
from gzfound.data.write import IMAGE, DatasetWriter, check_output, dataset_writer
from gzfound.errors import ConfigError, DataError, ImageError

RESERVED = ("image", "id_str", "dataset_name")


@dataclass(frozen=True)
class BuildReport:
    """What became of a table.

    Attributes:
        output: the dataset.
        rows: of the table.
        written: galaxies in each split.
        refused: rows left out.
        reasons: how often each reason occurs; a row may have several, an image without a row one.
        absent: questions of the campaign that the table does not have.
    """

    output: Path
    rows: int
    written: Mapping[str, int]
    refused: int
    reasons: Mapping[str, int]
    absent: tuple[str, ...]

    def __str__(self) -> str:
        splits = ", ".join(f"{count} {split}" for split, count in self.written.items())
        lines = [f"{self.rows} rows: {sum(self.written.values())} written ({splits})"]
        if self.reasons:
            lines[0] += f", {self.refused} refused: {refused_path(self.output)}"
        lines += [f"  {count} x {reason}" for reason, count in self.reasons.items()]
        if self.absent:
            lines.append(f"  not in the table: {', '.join(self.absent)}")
        return "\n".join(lines)


def build_dataset(
    table: str | Path,
    images: str | Path | None = None,
    *,
    campaign: str,
    output: str | Path,
    id_column: str | None = None,
    votes: bool = True,
    excess: int = 0,
    licence: str = GALAXY_ZOO_LICENCE,
    threads: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> BuildReport:
    """Write the galaxies of a released table to ``output``; list beside it what was refused.

    Args:
        table: CSV or Parquet with a row a galaxy.
        images: folder of their images; without it the column ``image`` is empty.
        campaign: whose votes they are, such as ``gz2``.
        output: directory to write; it must not exist yet.
        id_column: names the galaxies; by default one of the usual names.
        votes: whether the table has any; without, its other columns alone are kept.
        excess: votes by which a question may outnumber the answers that lead to it.
        licence: as the hub names it.
        threads: threads that read rows and images.
        progress: called with the rows done and the rows of the table.

    Raises:
        ConfigError: an option is out of range, or ``output`` is in use.
        DataError: the table or folder cannot be used, or no row can.
    """
    if excess < 0 or threads < 1:
        raise ConfigError(f"excess {excess}, threads {threads}: at least 0, and at least 1")
    target = Path(output).absolute()
    check_output(target, overwrite=False)
    source = open_table(table, id_column)
    found = find_votes(source.names, campaign) if votes else None
    others = found.others if found else other_columns(source.names, campaign)
    named = {*source.naming, *RESERVED}
    seen = survey(source, [name for name in others if name not in named])
    examiner = _Examiner(source, found, Pictures(images) if images else None, excess)
    card = describe(source.path.name, campaign, licence, votes=votes, images=images is not None)
    with refusals_beside(target) as refusals, dataset_writer(target, card) as writer:
        keeper = _Keeper(writer, refusals, seen, found)
        wanted = [*source.naming, *seen.types, *_vote_columns(found)]
        numbered = _numbered(source.batches(wanted))
        for part in ordered_map(examiner, numbered, threads):
            keeper.take(part)
            if progress:
                progress(part.first + len(part.ids), seen.rows)
        if not keeper.written:
            first = refusals.first or "the table is empty"
            raise DataError(f"{table}: none of {seen.rows} rows can be used; {first}")
        for path in examiner.pictures.unused() if examiner.pictures else ():
            refusals.add(Refusal(None, None, "image", path, "no row names this image"))
        report = BuildReport(
            target,
            seen.rows,
            {split: keeper.written.get(split, 0) for split in DEFAULT_FRACTIONS},
            refusals.rows,
            dict(refusals.reasons),
            found.absent if found else (),
        )
        writer.card = replace(card, body=f"{card.body}\n\n{_counted(report)}")
    return report


def _counted(report: BuildReport) -> str:
    lines = [f"Of {report.rows:,} rows, {report.refused:,} were refused:"]
    lines += [f"- {count:,} x {reason}" for reason, count in report.reasons.items()]
    if not report.reasons:
        lines = [f"All {report.rows:,} rows were taken."]
    if report.absent:
        lines.append(f"\nThe table does not have {', '.join(f'`{q}`' for q in report.absent)}.")
    return "\n".join(lines)


def _vote_columns(found: VoteColumns | None) -> list[str]:
    sources = found.sources if found else ()
    return [name for source in sources for name in (source.column, source.total) if name]


def _numbered(batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[int, pa.RecordBatch]]:
    first = 0
    for batch in batches:
        yield first, batch
        first += batch.num_rows


@dataclass(frozen=True)
class _Part:
    """Rows of the table, ``first`` counted from 0; a row of ``files`` is bytes and a name."""

    first: int
    batch: pa.RecordBatch
    ids: list[str | None]
    votes: npt.NDArray[np.int32] | None
    files: list[dict[str, Any] | None]
    wrong: list[Wrong]


class _Examiner:
    """Reads the votes and the image of each row, in any thread."""

    def __init__(
        self, table: RawTable, found: VoteColumns | None, pictures: Pictures | None, excess: int
    ) -> None:
        self.table = table
        self.found = found
        self.pictures = pictures
        self.excess = excess

    def __call__(self, numbered: tuple[int, pa.RecordBatch]) -> _Part:
        first, batch = numbered
        ids = self.table.ids(batch)
        id_column = self.table.id_column or self.table.file_column or ""
        wrong = [Wrong(r, id_column, None, "missing") for r, name in enumerate(ids) if not name]
        votes = None
        if self.found is not None:
            votes, problems = read_votes(batch, self.found, self.excess)
            wrong += problems
        files: list[dict[str, Any] | None] = [None] * len(ids)
        if self.pictures is not None:
            bad = {each.row for each in wrong}
            for row, name in enumerate(self.table.files(batch)):
                found = self._image(self.pictures, row, name, wrong)
                files[row] = None if row in bad else found
        return _Part(first, batch, ids, votes, files, sorted(wrong, key=lambda each: each.row))

    def _image(
        self, pictures: Pictures, row: int, name: str | None, wrong: list[Wrong]
    ) -> dict[str, Any] | None:
        column = self.table.file_column or self.table.id_column or ""
        try:
            path = pictures.find(name or "")
        except ImageError as error:
            wrong.append(Wrong(row, column, name, str(error)))
            return None
        try:
            return {"bytes": pictures.read(path), "path": Path(path).name}
        except ImageError as error:
            wrong.append(Wrong(row, column, name, str(error), "an image that cannot be decoded"))
            return None


class _Keeper:
    """Writes the good rows, and refuses the others and those whose id came before."""

    def __init__(
        self, writer: DatasetWriter, refusals: Refusals, seen: Survey, found: VoteColumns | None
    ) -> None:
        self.written: dict[str, int] = {}
        self._writer = writer
        self._refusals = refusals
        self._seen = seen
        self._columns = found.tree.columns if found else ()
        self._first: dict[str, int] = {}

    def take(self, part: _Part) -> None:
        """Write or refuse each row of a part."""
        wrong = sorted([*part.wrong, *self._repeats(part)], key=lambda each: each.row)
        for each in wrong:
            row = part.first + each.row + 1
            refusal = Refusal(row, part.ids[each.row], each.column, each.value, each.reason)
            self._refusals.add(refusal, each.kind)
        good = np.setdiff1d(np.arange(len(part.ids)), [each.row for each in wrong])
        if not len(good):
            return
        ids = [str(part.ids[row]) for row in good]
        columns: dict[str, Any] = {
            "image": pa.array([part.files[row] for row in good], IMAGE),
            "id_str": pa.array(ids, pa.string()),
        }
        for name, kind in self._seen.types.items():
            columns[name] = part.batch.column(name).take(pa.array(good)).cast(kind)
        if part.votes is not None:
            columns |= dict(zip(self._columns, part.votes[good].T, strict=True))
        table = pa.table(columns)
        for split, rows in split_by_id(ids).items():
            if len(rows):
                self._writer.write(split, table.take(pa.array(rows)))
                self.written[split] = self.written.get(split, 0) + len(rows)

    def _repeats(self, part: _Part) -> Iterator[Wrong]:
        for row, name in enumerate(part.ids):
            if not name or hash_of(name) not in self._seen.repeated:
                continue
            if (first := self._first.setdefault(name, part.first + row)) != part.first + row:
                reason = f"the id of row {first + 1}"
                yield Wrong(row, "id_str", name, reason, "the id of an earlier row")
