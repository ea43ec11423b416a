"""An extraction in files of so many rows each: one that is killed goes on with the next file.

A file holds a fixed stretch of the rows of the data, whatever process writes it, and is whole or
absent. It carries a checksum of what is in it, the job that it belongs to, and the images that were
left out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gzfound.data.read import Rows
from gzfound.data.skipped import BadInput
from gzfound.embedding.batches import Embedded
from gzfound.embedding.identity import EncoderIdentity
from gzfound.embedding.store import MANIFEST, read_batches
from gzfound.embedding.writing import Batch, write_one_file
from gzfound.errors import ConfigError, DataError, OutputError
from gzfound.files import remove_left_overs, write_text

_NOTES = "gzfound_file"


@dataclass(frozen=True)
class Shards:
    """The files of an extraction.

    Attributes:
        folder: that holds them.
        rows: of the data in each file but the last.
        galaxies: rows of the data in all.
        together: galaxies a forward pass; passes do not depend on the files.
        width: length of an embedding.
        job: everything that the embeddings depend on, as JSON values.
        encoder: what makes the embeddings.
    """

    folder: Path
    rows: int
    galaxies: int
    together: int
    width: int
    job: Mapping[str, Any]
    encoder: EncoderIdentity

    @property
    def count(self) -> int:
        """Number of files."""
        return max(1, -(-self.galaxies // self.rows))

    def path(self, number: int) -> Path:
        """A file; the order of the names is that of the numbers."""
        digits = max(5, len(str(self.count - 1)))
        return self.folder / f"part-{number:0{digits}d}.parquet"

    def stretch(self, number: int) -> range:
        """The rows of the data in a file."""
        return range(number * self.rows, min((number + 1) * self.rows, self.galaxies))

    def batches(self, numbers: Sequence[int]) -> Iterator[Rows]:
        """The forward passes that some files need; one across an edge is needed by both sides."""
        for number in numbers:
            for batch in self._passes(number):
                start = batch * self.together
                yield np.arange(start, min(start + self.together, self.galaxies))

    def _passes(self, number: int) -> range:
        rows = self.stretch(number)
        return range(rows.start // self.together, -(-rows.stop // self.together))

    def begin(self, resume: bool, say: Callable[[str], None]) -> list[int]:
        """Make the folder, or check what an earlier run left in it; returns the files to write.

        Only one process may do this, while it holds the folder.

        Raises:
            ConfigError: the folder holds something else, or an extraction and ``resume`` is off,
                or one of other data, weights or options.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_left_overs(self.folder)
        manifest = self.folder / MANIFEST
        names = {self.path(number).name for number in range(self.count)}
        if manifest.exists():
            self._check_job(manifest, resume)
        else:
            names = set()
        others = sorted({path.name for path in self.folder.iterdir()} - names - {MANIFEST})
        if others:
            raise ConfigError(
                f"output: {self.folder} holds other files ({others[0]}); name a new directory"
            )
        written = {"files": self.count, "job": self.job}
        write_text(manifest, json.dumps(written, indent=2) + "\n")
        return [number for number in range(self.count) if not self._kept(number, say)]

    def write(
        self,
        numbers: Sequence[int],
        found: Iterator[Embedded],
        bad: BadInput,
        done: Callable[[int], None],
    ) -> None:
        """Write some files.

        Args:
            numbers: of the files.
            found: the embeddings of :meth:`batches` of them.
            bad: what to do with images that could not be read.
            done: called with the number of galaxies of a file or of a part of it.
        """
        for number in numbers:
            file = _File(self.stretch(number), bad.skip)
            passes = islice(found, len(self._passes(number)))
            batches = _told(file.batches(passes), done)
            notes = partial(self._notes, file)
            write_one_file(batches, self.width, self.path(number), notes, self.encoder)

    def end(self, errors_path: Path) -> int:
        """List the images left out, and return the number of embeddings.

        Raises:
            DataError: there are none.
            OutputError: a file is not there.
        """
        count = 0
        left_out: list[dict[str, str]] = []
        for number in range(self.count):
            try:
                metadata = pq.read_metadata(self.path(number))
            except OSError as error:
                raise OutputError(f"output: {self.path(number)} went away meanwhile") from error
            count += metadata.num_rows
            left_out += _notes_of(metadata)["left_out"]
        errors_path.unlink(missing_ok=True)
        if left_out:
            write_text(errors_path, "".join(json.dumps(item) + "\n" for item in left_out))
        if not count:
            raise DataError("data: there is no image that can be read")
        return count

    def _notes(self, file: _File) -> dict[str, str]:
        notes = {"job": _digest(self.job), "content": file.content(), "left_out": file.left_out}
        return {_NOTES: json.dumps(notes)}

    def _kept(self, number: int, say: Callable[[str], None]) -> bool:
        """Whether a file is there and whole; one that is damaged is said."""
        path = self.path(number)
        if not path.exists():
            return False
        try:
            notes = _notes_of(pq.read_metadata(path))
            content = _Content()
            for batch in read_batches(path):
                content.add(*batch)
            whole = (notes["job"], notes["content"]) == (_digest(self.job), content.digest())
            reason = "" if whole else "not the embeddings that were written"
        except (OSError, pa.ArrowException, DataError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())[:200]
        if reason:
            say(f"resume: {path} is damaged ({reason}); it is written again")
        return not reason

    def _check_job(self, manifest: Path, resume: bool) -> None:
        if not resume:
            raise ConfigError(
                f"output: {self.folder} already holds an extraction; pass --resume to go on, or "
                "another --output"
            )
        try:
            held = json.loads(manifest.read_text(encoding="utf-8"))["job"]
            names = [name for name in {**held, **self.job} if held.get(name) != self.job.get(name)]
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"output: {manifest} is damaged; name a new directory") from error
        if names:
            was, now = (job.get(names[0]) for job in (held, self.job))
            raise ConfigError(
                f"resume: {self.folder} was extracted with {names[0]} {was}, this run has {now}; "
                "go on with the same, or name a new directory"
            )


class _Content:
    """A checksum of embeddings that does not depend on their division into batches."""

    def __init__(self) -> None:
        self._ids, self._vectors = (hashlib.blake2b(digest_size=16) for _ in range(2))

    def add(self, ids: Sequence[str], vectors: Any) -> None:
        self._ids.update("".join(f"{name}\0" for name in ids).encode())
        self._vectors.update(np.ascontiguousarray(vectors, dtype=np.float32).data)

    def digest(self) -> str:
        return self._ids.hexdigest() + self._vectors.hexdigest()


@dataclass(eq=False)
class _File:
    """What goes into a file.

    Attributes:
        rows: of the data.
        skip: whether images that cannot be read are left out.
        left_out: those that were.
    """

    rows: range
    skip: bool
    left_out: list[dict[str, str]] = field(default_factory=list)
    _content: _Content = field(default_factory=_Content)

    def batches(self, found: Iterator[Embedded]) -> Iterator[Batch]:
        """The part of forward passes that lies within the file."""
        for part in found:
            failed = np.setdiff1d(part.wanted, part.rows)
            for row, (name, error) in zip(failed, part.failures, strict=True):
                if row not in self.rows:
                    continue
                if not self.skip:
                    raise error
                self.left_out.append({"id_str": name, "reason": str(error)})
            inside = (part.rows >= self.rows.start) & (part.rows < self.rows.stop)
            if part.vectors is not None and inside.any():
                ids = [name for name, within in zip(part.ids, inside, strict=True) if within]
                vectors = part.vectors[inside]
                self._content.add(ids, vectors)
                yield ids, vectors

    def content(self) -> str:
        """The checksum of the batches so far."""
        return self._content.digest()


def _told(batches: Iterator[Batch], done: Callable[[int], None]) -> Iterator[Batch]:
    for batch in batches:
        yield batch
        done(len(batch[0]))


def _notes_of(metadata: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((metadata.metadata or {})[_NOTES.encode()])
    return found


def _digest(job: Mapping[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(job, sort_keys=True).encode(), digest_size=16).hexdigest()
