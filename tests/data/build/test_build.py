"""A table and a folder become a dataset: bit for bit, or refused by row, column and value."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from datasets import Image

import gzfound
from gzfound.cli import main
from gzfound.data.build import build_dataset
from gzfound.data.card import GALAXY_ZOO_REQUEST
from gzfound.data.splits import split_by_id
from gzfound.errors import ConfigError, DataError
from gzfound.trees import DecisionTree, load_tree

TREE = load_tree("gz_ukidss")
Columns = dict[str, list[Any]]


def random_votes(galaxies: int, tree: DecisionTree = TREE, seed: int = 0) -> Columns:
    """Whole votes that follow the tree: each question splits what arrives at it."""
    draw = np.random.default_rng(seed)
    votes: dict[str, np.ndarray] = {}
    for question in tree.questions:
        arriving = sum((votes[c] for c in question.asked_after), np.zeros(galaxies, int))
        total = draw.integers(0, 41, galaxies) if not question.asked_after else arriving
        shares = draw.dirichlet([1.0] * len(question.answers), galaxies)
        rows = np.array([draw.multinomial(n, p) for n, p in zip(total, shares, strict=True)])
        votes |= dict(zip(question.columns, rows.T, strict=True))
    return {name: values.tolist() for name, values in votes.items()}


def write_csv(path: Path, columns: Mapping[str, Sequence[Any]]) -> Path:
    rows = zip(*columns.values(), strict=True)
    lines = [",".join(columns), *(",".join("" if v is None else str(v) for v in r) for r in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def cutouts(tmp_path: Path, jpeg: Callable[..., bytes]) -> Path:
    """Twelve images, g00 to g11, some of them in a folder of their own."""
    folder = tmp_path / "cutouts"
    (folder / "deep").mkdir(parents=True)
    for k in range(12):
        (folder / ("deep" if k > 8 else "") / f"g{k:02d}.jpg").write_bytes(jpeg(k))
    return folder


@pytest.fixture
def columns() -> Columns:
    """The votes and two more columns of g00 to g11, named by question without the campaign."""
    votes = {n.replace("-ukidss_", "_"): v for n, v in random_votes(12).items()}
    ids = [f"g{k:02d}" for k in range(12)]
    others = {
        "ra": [k + 0.5 for k in range(12)],
        "field": [["LAS", "UDS"][k % 2] for k in range(12)],
    }
    return {"dr7objid": ids, **others, **votes}


def read_back(output: Path, config: str | None = None) -> dict[str, dict[str, Any]]:
    """Every row by ``id_str``, images undecoded, with its split."""
    found = {}
    for split, part in gzfound.load_dataset(output, config).items():
        plain = part.cast_column("image", Image(decode=False))
        found |= {row["id_str"]: {**row, "split": split} for row in plain}
    return found


def refused(output: Path) -> list[dict[str, Any]]:
    lines = output.with_name(f"{output.name}.refused.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_the_round_trip_is_exact(
    tmp_path: Path, cutouts: Path, columns: Columns, suffix: str
) -> None:
    """Image bytes, votes and other columns come back as they were, in the split of their id."""
    table = tmp_path / f"table{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.table(columns), table)
    else:
        text = write_csv(tmp_path / "plain.csv", columns).read_bytes()
        table.write_bytes(gzip.compress(text) if suffix == ".csv.gz" else text)
    report = build_dataset(table, cutouts, campaign="gz_ukidss", output=tmp_path / "out")
    assert (report.rows, report.refused, dict(report.reasons)) == (12, 0, {})
    assert not (tmp_path / "out.refused.jsonl").exists()
    rows = read_back(tmp_path / "out")
    assert sorted(rows) == columns["dr7objid"]
    expected = split_by_id(columns["dr7objid"])
    for k, name in enumerate(columns["dr7objid"]):
        row = rows[name]
        (path,) = cutouts.rglob(f"{name}.jpg")
        assert row["image"] == {"bytes": path.read_bytes(), "path": path.name}
        assert (row["ra"], row["field"]) == (columns["ra"][k], columns["field"][k])
        assert k in expected[row["split"]]
        for column in TREE.columns:
            assert row[column] == columns[column.replace("-ukidss_", "_")][k]
    assert len(read_back(tmp_path / "out", "tiny")) == 12


def test_the_card_is_complete(tmp_path: Path, cutouts: Path, columns: Columns) -> None:
    output = tmp_path / "out"
    table = write_csv(tmp_path / "t.csv", columns)
    report = build_dataset(table, cutouts, campaign="gz_ukidss", output=output)
    text = (output / "README.md").read_text()
    card = yaml.safe_load(text.split("---\n")[1])
    assert card["license"] == "cc-by-nc-sa-4.0"
    assert [config["config_name"] for config in card["configs"]] == ["default", "tiny"]
    info = card["dataset_info"][0]
    types = {each["name"]: each["dtype"] for each in info["features"]}
    assert list(types) == ["image", "id_str", "ra", "field", *TREE.columns]
    assert (types["image"], types["ra"], types["field"]) == ("image", "float64", "string")
    assert {types[name] for name in TREE.columns} == {"int32"}
    assert {s["name"]: s["num_examples"] for s in info["splits"]} == dict(report.written)
    assert GALAXY_ZOO_REQUEST in text
    assert "Scaling Laws for Galaxy Images" in text
    assert "hubble" not in text.lower(), "another campaign's name"


def test_everything_wrong_is_listed_by_row_column_and_value(
    tmp_path: Path, cutouts: Path, columns: Columns
) -> None:
    ids, smooth = columns["dr7objid"], columns["smooth-or-featured_smooth"]
    ids[1], ids[2] = "g00", None
    smooth[3], smooth[4] = "many", 2.5
    columns["bar_yes"][5] = 999
    ids[6] = "elsewhere"
    (cutouts / "g07.jpg").write_bytes((cutouts / "g07.jpg").read_bytes()[:400])
    output = tmp_path / "out"
    table = write_csv(tmp_path / "t.csv", columns)
    report = build_dataset(table, cutouts, campaign="gz_ukidss", output=output)
    assert (report.refused, sum(report.written.values())) == (7, 5)
    lines = refused(output)
    first = {line["row"]: line for line in reversed(lines)}
    shown = {row: (each["column"], each["value"]) for row, each in first.items() if row}
    assert shown == {
        2: ("id_str", "g00"),
        3: ("dr7objid", None),
        4: ("smooth-or-featured_smooth", "many"),
        5: ("smooth-or-featured_smooth", "2.5"),
        6: ("bar-ukidss", first[6]["value"]),
        7: ("dr7objid", "elsewhere"),
        8: ("dr7objid", "g07"),
    }
    assert first[6]["value"] >= 999
    assert first[2]["reason"] == "the id of row 1"
    assert "truncated" in first[8]["reason"]
    unnamed = {each["value"] for each in lines if each["row"] is None}
    assert unnamed == {"g01.jpg", "g02.jpg", "g06.jpg"}, "images that no row names"
    assert sorted(read_back(output)) == ["g00", "g08", "g09", "g10", "g11"]
    assert f"7 refused: {output}.refused.jsonl" in str(report)


def test_votes_alone(tmp_path: Path, columns: Columns) -> None:
    table = write_csv(tmp_path / "t.csv", columns)
    build_dataset(table, campaign="gz_ukidss", output=tmp_path / "out")
    rows = read_back(tmp_path / "out")
    assert [row["image"] for row in rows.values()] == [None] * 12
    assert "no images" in (tmp_path / "out" / "README.md").read_text()


def test_images_and_other_columns_alone(tmp_path: Path, cutouts: Path) -> None:
    table = write_csv(
        tmp_path / "t.csv",
        {"file": [f"g{k:02d}.jpg" for k in range(12)], "z": [k / 10 for k in range(12)]},
    )
    options: dict[str, Any] = {"campaign": "gz2", "output": tmp_path / "out"}
    with pytest.raises(DataError, match="no votes of gz2"):
        build_dataset(table, cutouts, **options)
    build_dataset(table, cutouts, votes=False, **options)
    rows = read_back(tmp_path / "out")
    assert rows["g03"]["z"] == 0.3
    assert set(rows["g03"]) == {"image", "id_str", "z", "split"}


def test_long_numbers_stay_names(tmp_path: Path, columns: Columns) -> None:
    """Above 2**53 two such ids are one float64."""
    columns["dr7objid"] = [8647474690312307154 + k for k in range(12)]
    for suffix in (".csv", ".parquet"):
        table = tmp_path / f"t{suffix}"
        if suffix == ".csv":
            write_csv(table, columns)
        else:
            pq.write_table(pa.table(columns), table)
        output = tmp_path / f"out{suffix}"
        build_dataset(table, campaign="gz_ukidss", output=output)
        assert sorted(read_back(output)) == [str(8647474690312307154 + k) for k in range(12)]


def test_nothing_is_left_of_a_build_that_fails(
    tmp_path: Path, cutouts: Path, columns: Columns, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = write_csv(tmp_path / "t.csv", columns)
    before = sorted(tmp_path.iterdir())

    def fail(done: int, rows: int) -> None:
        raise RuntimeError("stopped half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        build_dataset(table, cutouts, campaign="gz_ukidss", output=tmp_path / "out", progress=fail)
    assert sorted(tmp_path.iterdir()) == before
    columns["smooth-or-featured_smooth"] = ["x"] * 12
    write_csv(table, columns)
    with pytest.raises(DataError, match=r"none of 12 rows can be used; row 1, .*not a number"):
        build_dataset(table, campaign="gz_ukidss", output=tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == before


def test_mistakes_are_one_line(tmp_path: Path, columns: Columns) -> None:
    table = write_csv(tmp_path / "t.csv", columns)
    options: dict[str, Any] = {"campaign": "gz_ukidss", "output": tmp_path / "out"}
    with pytest.raises(DataError, match=r"no such table; allowed: \.csv"):
        build_dataset(tmp_path / "t.fits", **options)
    with pytest.raises(DataError, match="images 'nowhere': no such folder"):
        build_dataset(table, "nowhere", **options)
    with pytest.raises(DataError, match="no column 'name'; found dr7objid"):
        build_dataset(table, id_column="name", **options)
    with pytest.raises(ConfigError, match="excess -1"):
        build_dataset(table, excess=-1, **options)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(ConfigError, match="is not empty"):
        build_dataset(table, **options)
    broken = tmp_path / "broken.csv"
    broken.write_text("id_str,bar_yes,bar_no\na,1,2\nb,3\n")
    with pytest.raises(DataError, match="cannot be read as a table"):
        build_dataset(broken, campaign="gz2", output=tmp_path / "new")


def test_the_command_says_what_it_did(
    tmp_path: Path, cutouts: Path, columns: Columns, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 0 where all rows were taken, 3 where some were not, 2 for a mistake."""
    table = write_csv(tmp_path / "t.csv", columns)
    command = ["build", str(table), str(cutouts), "--campaign", "gz_ukidss", "--output"]
    main([*command, str(tmp_path / "a")])
    assert capsys.readouterr().out.startswith("12 rows: 12 written (")
    (cutouts / "g03.jpg").unlink()
    with pytest.raises(SystemExit) as stopped:
        main([*command, str(tmp_path / "b")])
    assert stopped.value.code == 3
    first, *rest = capsys.readouterr().out.splitlines()
    assert first.startswith("12 rows: 11 written (")
    assert first.endswith(f", 1 refused: {tmp_path / 'b'}.refused.jsonl")
    assert rest == ["  1 x no such image in cutouts"]
    with pytest.raises(SystemExit) as stopped:
        main([*command, str(tmp_path / "b")])
    assert stopped.value.code == 2
    assert "is not empty" in capsys.readouterr().err


PEAK = """
import resource, sys
from gzfound.data.build import build_dataset
build_dataset(sys.argv[1], sys.argv[2], campaign="gz2", output=sys.argv[3])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_images(tmp_path: Path, jpeg: Callable[..., bytes]) -> None:
    """1,000 more images of 100 kB are 100 MB; the peak grows by less than half of that."""
    plain, noise = jpeg(0), np.random.default_rng(0)
    comment = b"\xff\xfe" + (50_002).to_bytes(2, "big") + noise.bytes(50_000)
    big = plain[:2] + 2 * comment + plain[2:]
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "g00000.jpg").write_bytes(big)
    for k in range(1, 1400):
        (folder / f"g{k:05d}.jpg").hardlink_to(folder / "g00000.jpg")
    peaks = []
    for galaxies in (400, 1400):
        ids = [f"g{k:05d}" for k in range(galaxies)]
        votes = {"bar_yes": [1] * galaxies, "bar_no": [2] * galaxies}
        table = write_csv(tmp_path / f"{galaxies}.csv", {"id_str": ids, **votes})
        arguments = [str(table), str(folder), str(tmp_path / f"out{galaxies}")]
        ran = subprocess.run(
            [sys.executable, "-c", PEAK, *arguments], capture_output=True, text=True, check=True
        )
        peaks.append(int(ran.stdout) / 1024)
    size = sum(path.stat().st_size for path in (tmp_path / "out1400" / "data").iterdir())
    assert size > 140e6
    assert peaks[1] - peaks[0] < 50


NOT_UTF8 = b"g\xff\xfe0"


@pytest.mark.parametrize("where", ["id_str", "file", "field"])
def test_text_that_is_not_utf8_is_one_line(tmp_path: Path, cutouts: Path, where: str) -> None:
    """Parquet may hold it in a value, where no reader has looked."""
    names = pa.array([f"g{k:02d}" for k in range(12)])
    spoilt = pa.array([b"g00", NOT_UTF8, *(b"g" for _ in range(10))], pa.binary()).view(pa.string())
    table = {"id_str": names, "file": names, "field": names, "bar_yes": [1] * 12}
    table |= {"bar_no": [1] * 12, where: spoilt}
    pq.write_table(pa.table(table), tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"t\.parquet: cannot be read as a table \(.*UTF"):
        build_dataset(
            tmp_path / "t.parquet", cutouts, campaign="gz_ukidss", output=tmp_path / "out"
        )
    assert not (tmp_path / "out").exists()


def test_a_column_name_that_is_not_utf8_is_one_line(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id_str": ["a"], "zzzz": [1]}), tmp_path / "t.parquet")
    data = (tmp_path / "t.parquet").read_bytes()
    assert b"zzzz" in data
    (tmp_path / "t.parquet").write_bytes(data.replace(b"zzzz", b"z\xff\xfez"))
    with pytest.raises(DataError, match=r"t\.parquet: cannot be read as a table"):
        build_dataset(tmp_path / "t.parquet", campaign="gz_ukidss", output=tmp_path / "out")


def test_a_pipe_among_the_images_is_refused(
    tmp_path: Path, cutouts: Path, columns: Columns
) -> None:
    """Reading it would wait for ever."""
    (cutouts / "g03.jpg").unlink()
    os.mkfifo(cutouts / "g03.jpg")
    table, output = write_csv(tmp_path / "t.csv", columns), tmp_path / "out"
    report = build_dataset(table, cutouts, campaign="gz_ukidss", output=output)
    assert report.refused == 1
    (line,) = refused(output)
    assert line["id_str"] == "g03"
    assert "g03.jpg: not a file of at most" in line["reason"]


def test_fits_is_passed_over_and_a_folder_of_nothing_else_refused(
    tmp_path: Path, cutouts: Path, columns: Columns
) -> None:
    """A FITS file beside the JPEG of the same name is no second image of it."""
    (cutouts / "g00.fits").write_bytes(b"SIMPLE")
    table = write_csv(tmp_path / "t.csv", columns)
    report = build_dataset(table, cutouts, campaign="gz_ukidss", output=tmp_path / "out")
    assert (report.refused, dict(report.reasons)) == (0, {})
    (tmp_path / "flux").mkdir()
    (cutouts / "g00.fits").rename(tmp_path / "flux" / "g00.fits")
    with pytest.raises(DataError, match=r"no images in it; build takes \.jpg, .*, not FITS"):
        build_dataset(table, tmp_path / "flux", campaign="gz_ukidss", output=tmp_path / "other")
