"""Tables of labels and votes, CSV and Parquet; published Parquet; Parquet of embeddings."""

from __future__ import annotations

import io
import json
import math
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gzfound import Embeddings, load_dataset, load_tree
from gzfound.data.stream import open_stream
from gzfound.data.table import read_table
from gzfound.embedding.table import EmbeddingTable
from gzfound.errors import DataError
from gzfound.training.galaxies import load_galaxies
from gzfound.trees import DecisionTree
from gzfound.votes import votes_from_columns

Refused = Callable[..., str | None]
Damaged = Callable[[bytes, str, int], bytes]

TREE = load_tree("gz_hubble")
WAYS = ("cut", "flip", "drop", "zero")
IDS = ["a", "b", "c"]

NOT_COUNTS: dict[str, Any] = {
    "none": None,
    "NaN": math.nan,
    "infinite": math.inf,
    "negative": -1,
    "minus infinite": -math.inf,
    "fractional": 2.5,
    "a little less than whole": 0.9999999,
    "too large": 2**31,
    "far too large": 2**63 - 1,
    "larger than any float": 10**400,
    "text": "3",
    "empty text": "",
    "yes": True,
    "a list": [1],
    "bytes": b"3",
    "complex": 3 + 0j,
    "date": np.datetime64("2020-01-01"),
    "duration": np.timedelta64(3, "s"),
    "nothing of pandas": pa.scalar(None),
}


def test_a_value_that_is_no_count_names_its_column(refused: Refused) -> None:
    """Every kind of value, in every column of the tree, in the first, a middle and the last row."""
    cases = 0
    good = {name: [1, 2, 3] for name in TREE.columns}
    for number, (kind, value) in enumerate(NOT_COUNTS.items()):
        for column in TREE.columns:
            row = (number + len(column)) % 3
            values: list[Any] = [1, 2, 3]
            values[row] = value
            table = {**good, column: np.array(values, dtype=object)}
            call = partial(votes_from_columns, table, TREE)
            said = refused(f"{kind} in {column}", call, column)
            assert said is not None, (kind, column)
            assert f"row {row}" in said
            cases += 1
    assert cases == 19 * len(TREE.columns) > 700


ROOTS = TREE.without(*[question.name for question in TREE.questions if question.asked_after])


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.lists(
        st.one_of(
            st.integers(-5, 2**33),
            st.floats(),
            st.none(),
            st.text(max_size=3),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_what_is_taken_is_what_was_given(values: list[Any]) -> None:
    """Either every value is a whole number from 0 to 2^31 - 1 and comes back, or one is named."""
    table = dict.fromkeys(ROOTS.columns, values)
    whole = all(
        isinstance(v, (int, float)) and not isinstance(v, bool) and 0 <= v < 2**31 and v == int(v)
        for v in values
    )
    if whole:
        found = votes_from_columns(table, ROOTS)
        assert found.tolist() == [[int(v)] * len(ROOTS.columns) for v in values]
    else:
        with pytest.raises(DataError, match=ROOTS.columns[0]):
            votes_from_columns(table, ROOTS)


@pytest.mark.parametrize("kind", ["i1", "u1", "i2", "u4", "i8", "u8", "f2", "f4", "f8"])
def test_whole_numbers_of_every_type_are_counts(kind: str) -> None:
    """Small ones, and the largest whole number of the type where it is no count."""
    table = {name: np.array([0, 1, 100], dtype=kind) for name in TREE.columns}
    assert votes_from_columns(table, TREE).tolist() == [
        [n] * len(TREE.columns) for n in (0, 1, 100)
    ]
    largest = np.finfo(kind).max if kind[0] == "f" else np.iinfo(kind).max
    if largest > 2**31 - 1:
        table[TREE.columns[3]] = np.array([0, 1, largest], dtype=kind)
        with pytest.raises(DataError, match=f"row 2, column '{TREE.columns[3]}'.*too large"):
            votes_from_columns(table, TREE)


@pytest.fixture(scope="module")
def cutouts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three images, a.png to c.png."""
    folder = tmp_path_factory.mktemp("cutouts")
    draw = np.random.default_rng(0)
    for name in IDS:
        Image.fromarray(draw.integers(0, 255, (9, 9, 3), dtype=np.uint8)).save(
            folder / f"{name}.png"
        )
    return folder


def labels(**changes: Any) -> pa.Table:
    """A table of the three images with the first questions of Hubble; None leaves a column out."""
    columns: dict[str, Any] = {"file": [f"{name}.png" for name in IDS], "id_str": IDS}
    columns |= {name: [3, 2, 1] for name in TREE.columns[:6]}
    columns |= changes
    return pa.table({name: value for name, value in columns.items() if value is not None})


VOTE = TREE.columns[0]
STRUCTURES: dict[str, tuple[pa.Table, str]] = {
    "no column names images": (labels(file=None, id_str=None), "no column names the images"),
    "no columns": (pa.table({}), "no column names the images"),
    "empty": (labels().slice(0, 0), "3 of 3 images have no row"),
    "a row too few": (labels().slice(0, 2), "1 of 3 images have no row"),
    "one image twice": (labels(file=["a.png", "a.png", "c.png"]), "images have no row"),
    "repeated ids": (labels(id_str=["x", "y", "x"]), "repeated in rows 1 and 3"),
    "an id without text": (labels(id_str=["x", "", "z"]), "'id_str' is empty in row 2"),
    "a missing id": (labels(id_str=["x", None, "z"]), "'id_str' is empty in row 2"),
    "a missing file": (labels(file=["a.png", None, "c.png"]), "'file' is empty in row 2"),
    "files that are numbers": (labels(file=[0.5, 1.5, 2.5]), "'file' must hold text"),
    "files that are lists": (labels(file=[["a"], ["b"], ["c"]]), "'file' must hold text"),
    "ids that are bytes": (labels(id_str=[b"\xff", b"b", b"c"]), "'id_str' must hold text"),
    "ids that are dates": (labels(id_str=[np.datetime64(0, "s")] * 3), "'id_str' must hold text"),
    "a file outside": (labels(file=["../a.png", "b.png", "c.png"]), "1 of 3 rows name an image"),
    "a file elsewhere": (labels(file=["/etc/passwd", "b.png", "c.png"]), "1 of 3 rows name"),
    "a missing count": (labels(**{VOTE: [1, None, 3]}), "row 1"),
    "a NaN count": (labels(**{VOTE: [1.0, math.nan, 3.0]}), "row 1"),
    "a negative count": (labels(**{VOTE: [1, -2, 3]}), "row 1"),
    "a fractional count": (labels(**{VOTE: [1.0, 2.5, 3.0]}), "row 1"),
    "too large a count": (labels(**{VOTE: [1, 2**40, 3]}), "row 1"),
    "counts that are text": (labels(**{VOTE: ["one", "two", "x"]}), "row 0"),
    "counts that are true": (labels(**{VOTE: [True, False, True]}), "row 0"),
    "counts that are lists": (labels(**{VOTE: [[1], [2], [3]]}), "has shape (3, 1)"),
    "counts that are records": (labels(**{VOTE: [{"n": 1}] * 3}), "row 0"),
    "counts that are dates": (labels(**{VOTE: [np.datetime64(0, "s")] * 3}), "row 0"),
    "counts that are nothing": (labels(**{VOTE: pa.nulls(3)}), "row 0"),
    "counts of an unknown campaign": (
        labels(**dict.fromkeys(TREE.columns[:6]), **{"bar-andromeda_yes": [1, 2, 3]}),
        "no Galaxy Zoo campaign recognised",
    ),
    "half a question": (
        labels(**dict.fromkeys(TREE.columns[1:6])),
        "no question of gz_hubble has all of its columns",
    ),
}


def load_votes(folder: Path) -> None:
    """What a recipe does with a folder: images, table and votes, which have to be there."""
    galaxies = load_galaxies([str(folder)], config=None, split="train", size=8, crop=1.0)
    if galaxies.tree is None:
        raise DataError(f"{folder}: {galaxies.no_votes}")


def write_table(table: pa.Table, path: Path) -> bool:
    """Write it in the format of the path; whether that can hold it."""
    if path.suffix == ".parquet":
        pq.write_table(table, path)
        return True
    try:
        pa.csv.write_csv(table, path)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return False
    return True


@pytest.mark.parametrize("ending", [".parquet", ".csv"])
def test_a_table_that_does_not_fit_is_named_with_the_reason(
    refused: Refused, cutouts: Path, ending: str
) -> None:
    held = 0
    table = cutouts / f"labels{ending}"
    try:
        for case, (columns, reason) in STRUCTURES.items():
            if write_table(columns, table):
                held += 1
                said = refused(case, partial(load_votes, cutouts), str(cutouts))
                assert said is not None, case
                if ending == ".parquet":
                    assert reason in said, (case, said)
    finally:
        table.unlink()
    assert held == len(STRUCTURES) if ending == ".parquet" else held > 20


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "cannot be read"),
        (b"\n\n\n", "cannot be read"),
        (b"file,file\na.png,b.png\n", "column 'file' is there more than once"),
        (b"file,bar,bar\na.png,1,2\n", "column 'bar' is there more than once"),
        (b"file,bar\na.png\n", "cannot be read"),
        (b"file,bar\na.png,1,2,3\n", "cannot be read"),
        (b"file,\xff\xfe\na.png,1\n", "cannot be read"),
        (b"file,bar\n\xff\xfe.png,1\n", "cannot be read"),
        (b'file,bar\n"a.png,1\n', "cannot be read"),
        (b"\x00\x01\x02\x03", "cannot be read"),
        (b"PAR1", "cannot be read"),
        (b"PAR1\n1", "no column names the images"),
        (b'file,bar\n"a\nb.png",1\n', "'a\\nb.png'"),
    ],
)
def test_text_that_is_no_table_is_named_with_the_reason(
    refused: Refused, cutouts: Path, text: bytes, reason: str
) -> None:
    table = cutouts / "labels.csv"
    table.write_bytes(text)
    try:
        said = refused(repr(text), partial(load_votes, cutouts), str(table))
    finally:
        table.unlink()
    assert reason in str(said)


def parquet_bytes(table: pa.Table) -> bytes:
    pq.write_table(table, out := io.BytesIO(), compression="snappy")
    return out.getvalue()


def embeddings(vectors: Any, ids: Any = ("a", "b", "c")) -> pa.Table:
    return pa.table({"id_str": ids, "embedding": vectors})


FLAT = pa.array(np.arange(12, dtype=np.float32))
VECTORS = pa.FixedSizeListArray.from_arrays(FLAT, 4)


def read_labels(path: Path) -> None:
    table = read_table(path)
    columns = {name: table.columns.column(name).to_pylist() for name in table.columns.column_names}
    votes_from_columns(columns, DecisionTree.from_columns(columns).tree)


def read_embeddings(path: Path) -> None:
    found = Embeddings.read(path)
    assert found.vectors.shape[0] == len(found.ids)
    assert all(isinstance(name, str) for name in found.ids)


def search_embeddings(path: Path) -> None:
    table = EmbeddingTable(path)
    assert sum(len(block) for block in table.blocks()) == table.rows
    assert all(isinstance(name, str) for name in table.names(range(table.rows)))
    assert table.vectors(range(table.rows)).shape == (table.rows, table.features)
    table.find(["a"])


@pytest.mark.parametrize(
    ("name", "read", "data"),
    [
        ("labels.parquet", read_labels, parquet_bytes(labels())),
        (
            "labels.csv",
            read_labels,
            b"file,bar\n" + b"".join(b"g%d.png,%d\n" % (n, n) for n in range(9)),
        ),
        ("embeddings.parquet", read_embeddings, parquet_bytes(embeddings(VECTORS))),
        ("searched.parquet", search_embeddings, parquet_bytes(embeddings(VECTORS))),
    ],
)
def test_damage_to_a_table_ends_in_a_line_or_in_a_whole_table(
    refused: Refused,
    damaged: Damaged,
    tmp_path: Path,
    name: str,
    read: Callable[[Path], None],
    data: bytes,
) -> None:
    path = tmp_path / name
    ends = 0
    for way in WAYS:
        for seed in range(30):
            bad = damaged(data, way, seed)
            path.write_bytes(bad)
            said = refused(f"{name}, {way} {seed}", partial(read, path), "")
            ends += said is not None
            if way == "cut" and name.endswith("parquet"):
                assert said is not None, "a Parquet file ends with what it holds"
                assert name in said
    assert ends > 30


WRONG_EMBEDDINGS: dict[str, tuple[pa.Table, str]] = {
    "no ids": (pa.table({"embedding": VECTORS}), "one column 'id_str' is needed"),
    "no vectors": (pa.table({"id_str": IDS}), "one column 'embedding' is needed"),
    "predictions": (
        pa.table({"id_str": IDS, "p": [0.1, 0.2, 0.3]}),
        "one column 'embedding' is needed",
    ),
    "lists of any size": (embeddings([[1.0], [2.0, 3.0], []]), "must hold lists of one size"),
    "numbers": (embeddings([1.0, 2.0, 3.0]), "must hold lists of one size"),
    "text": (embeddings(pa.array([["x"]] * 3, pa.list_(pa.string(), 1))), "holds no embeddings"),
    "lists of nothing": (
        embeddings(
            pa.FixedSizeListArray.from_arrays(pa.array([], pa.float32()), 1).slice(0, 0), []
        ),
        "",
    ),
    "a missing vector": (
        embeddings(pa.array([[1.0], None, [3.0]], pa.list_(pa.float32(), 1))),
        "rows without an embedding, or without all of it",
    ),
    "a missing number": (
        embeddings(pa.array([[1.0], [None], [3.0]], pa.list_(pa.float32(), 1))),
        "rows without an embedding, or without all of it",
    ),
    "a missing id": (embeddings(VECTORS, ["a", None, "c"]), "rows without an id_str"),
    "ids that are lists": (embeddings(VECTORS, [["a"], ["b"], ["c"]]), "holds no embeddings"),
    "ids that are no text": (
        embeddings(VECTORS, pa.array([b"\xff", b"b", b"c"]).cast(pa.string(), safe=False)),
        "holds no embeddings",
    ),
}


@pytest.mark.parametrize("read", [read_embeddings, search_embeddings])
def test_embeddings_that_are_none_are_named_with_the_reason(
    refused: Refused, tmp_path: Path, read: Callable[[Path], None]
) -> None:
    path = tmp_path / "e.parquet"
    for case, (table, reason) in WRONG_EMBEDDINGS.items():
        pq.write_table(table, path)
        said = refused(case, partial(read, path), str(path))
        assert (said is None) == (reason == ""), (case, said)
        assert reason in str(said), (case, said)
    assert len(WRONG_EMBEDDINGS) == 12


@pytest.mark.parametrize("read", [read_embeddings, search_embeddings, read_labels])
def test_a_column_whose_name_is_no_text_is_refused(
    refused: Refused, tmp_path: Path, read: Callable[[Path], None]
) -> None:
    """Found by fuzzing: pyarrow reads the names of all columns when it opens a file."""
    table = embeddings(VECTORS).append_column("zzzzzz", [[1, 2, 3]])
    path = tmp_path / "e.parquet"
    path.write_bytes(parquet_bytes(table).replace(b"zzzzzz", b"zz\xe7\xffzz"))
    assert refused("name", partial(read, path), str(path))


def test_columns_in_another_order_and_ids_that_are_numbers_are_read(tmp_path: Path) -> None:
    doubles = pa.FixedSizeListArray.from_arrays(FLAT.cast(pa.float64()), 4)
    pq.write_table(
        pa.table({"x": [0] * 3, "embedding": doubles, "id_str": [7, 8, 9]}), tmp_path / "e.parquet"
    )
    found = Embeddings.read(tmp_path / "e.parquet")
    assert found.ids == ["7", "8", "9"]
    assert found.vectors.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


def test_files_of_other_embeddings_do_not_mix(refused: Refused, tmp_path: Path) -> None:
    for name, width in (("part-0.parquet", 4), ("part-1.parquet", 6)):
        vectors = pa.FixedSizeListArray.from_arrays(FLAT, width)
        pq.write_table(embeddings(vectors, IDS[: 12 // width]), tmp_path / name)
    assert refused("two widths", partial(read_embeddings, tmp_path), "part-1.parquet")
    assert refused("nowhere", partial(read_embeddings, tmp_path / "no"), str(tmp_path / "no"))


class Hostile:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, (f"open({str(self.canary)!r}, 'w')",)


def test_a_pickle_in_the_type_of_a_column_is_not_run(
    refused: Refused, tmp_path: Path, canary: Path
) -> None:
    """Arrow once kept Python types of columns as pickles in the metadata of a file."""
    hidden = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": pickle.dumps(Hostile(canary)),
    }
    schema = pa.schema(
        [pa.field("id_str", pa.string()), pa.field("bar", pa.int64(), metadata=hidden)]
    )
    path = tmp_path / "labels.parquet"
    pq.write_table(pa.table([["a"], [1]], schema=schema), path)
    refused("pickled type", partial(read_table, path), str(path))
    refused("pickled type", partial(Embeddings.read, path), str(path))


def image_rows(count: int) -> list[dict[str, Any]]:
    Image.new("RGB", (9, 9)).save(out := io.BytesIO(), "PNG")
    return [{"bytes": out.getvalue(), "path": None}] * count


PUBLISHED: dict[str, tuple[dict[str, Any], str]] = {
    "no image": ({"id_str": IDS}, "column 'image' is missing"),
    "no ids": ({"image": image_rows(3)}, "column 'id_str' is missing"),
    "images that are numbers": ({"image": [1, 2, 3], "id_str": IDS}, "'image' must hold images"),
    "repeated ids": (
        {"image": image_rows(3), "id_str": ["a", "b", "a"]},
        "repeated in rows 1 and 3",
    ),
    "a missing id": ({"image": image_rows(3), "id_str": ["a", None, "c"]}, "empty in 1 rows"),
    "ids that are lists": ({"image": image_rows(3), "id_str": [["a"]] * 3}, "must hold text"),
    "ids that are records": ({"image": image_rows(3), "id_str": [{"n": 1}] * 3}, "must hold text"),
}


@pytest.mark.parametrize("case", PUBLISHED)
def test_published_data_that_break_the_contract_are_named(
    refused: Refused, tmp_path: Path, case: str
) -> None:
    columns, reason = PUBLISHED[case]
    (tmp_path / "gz" / "data").mkdir(parents=True)
    pq.write_table(pa.table(columns), tmp_path / "gz" / "data" / "train-0.parquet")
    said = refused(case, partial(load_dataset, tmp_path / "gz"), str(tmp_path / "gz"))
    assert reason in str(said)
    said = refused(case, lambda: open_stream(tmp_path / "gz").labels(), str(tmp_path / "gz"))
    assert reason in str(said)


@pytest.mark.parametrize(
    ("matter", "reason"),
    [
        (
            "configs: [{config_name: default, data_files: ../secret/*.parquet}]",
            "not in this folder",
        ),
        ("configs: [{config_name: default, data_files: /secret/*.parquet}]", "not in this folder"),
        (
            "configs: [{config_name: default, data_files: [{split: train, path: [a, ../b]}]}]",
            "not in this folder",
        ),
        (
            "configs: [{config_name: default, data_files: 'zip://*::http://x/y'}]",
            "not in this folder",
        ),
        ("configs: [{config_name: default, data_dir: ..}]", "not in this folder"),
        ("configs: 3", "cannot be loaded"),
        ("configs: [{config_name: [], data_files: {}}]", "cannot be loaded"),
        ("configs: " + "[" * 600, "cannot be loaded"),
        ("configs: &a [*a]", "cannot be loaded"),
        ("configs: !!python/object/apply:os.system ['exit 1']", "cannot be loaded"),
        ("configs:\n- date: 2020-99-99", "cannot be loaded"),
    ],
)
def test_a_hostile_card_is_named_with_the_reason(
    refused: Refused, tmp_path: Path, matter: str, reason: str
) -> None:
    folder = tmp_path / "gz"
    folder.mkdir()
    (tmp_path / "secret").mkdir()
    table = pa.table({"image": image_rows(3), "id_str": IDS})
    pq.write_table(table, tmp_path / "secret" / "train.parquet")
    pq.write_table(table, folder / "train.parquet")
    (folder / "README.md").write_text(f"---\n{matter}\n---\n# Galaxies\n")
    said = refused(matter, partial(load_dataset, folder), str(folder))
    assert reason in str(said)
    assert refused(matter, partial(open_stream, folder), str(folder))


def test_python_in_a_dataset_directory_is_not_run(
    refused: Refused, tmp_path: Path, canary: Path
) -> None:
    """The hub's datasets once were scripts, named as their directory."""
    folder = tmp_path / "gz"
    (folder / "data").mkdir(parents=True)
    (folder / "gz.py").write_text(f"open({str(canary)!r}, 'w')\n")
    pq.write_table(
        pa.table({"image": image_rows(3), "id_str": IDS}), folder / "data" / "train-0.parquet"
    )
    refused("script", partial(load_dataset, folder), str(folder))


@pytest.mark.parametrize(
    "source",
    ["", " ", "a" * 5000, "\0", "~nobody-of-that-name/x", "x/../..", "a//b", "line\nbreak"],
)
def test_a_source_that_is_none_is_refused(
    refused: Refused, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert refused(repr(source), partial(load_dataset, source), "")
    assert refused(repr(source), partial(open_stream, source), "")


@pytest.mark.parametrize(
    "split", ["no", "", "train[", "train[:200%]", "train+train", "train[a:b]", "train[5:2]", "\0"]
)
def test_a_split_that_is_none_is_refused_or_empty(
    refused: Refused, cutouts: Path, split: str
) -> None:
    if refused(split, partial(load_dataset, cutouts, split=split), str(cutouts)) is None:
        assert len(load_dataset(cutouts, split=split)) == 0


def test_what_is_skipped_is_recorded_row_by_row(cutouts: Path, tmp_path: Path) -> None:
    """A repeated row and a row without a file: both listed, and the rest is whole."""
    table = tmp_path / "labels.csv"
    table.write_text("file,bar\na.png,1\na.png,2\nlost.png,3\nb.png,4\nc.png,5\n")
    errors = tmp_path / "errors.jsonl"
    found = load_dataset(cutouts, split="train", table=table, on_error="skip", errors_path=errors)
    assert found["bar"][:] == [1, 4, 5]
    lines = [json.loads(line) for line in errors.read_text().splitlines()]
    assert [line["id_str"] for line in lines] == ["lost.png", "a"]
    assert all(str(table) in line["reason"] for line in lines)
