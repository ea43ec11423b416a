"""Folders of images, with and without tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gzfound.data import load_dataset, read_images
from gzfound.errors import ConfigError, DataError


def test_without_a_table(folder: Path) -> None:
    both = load_dataset(folder)
    assert list(both) == ["train"]
    train = both["train"]
    assert train["id_str"][:] == ["deep/g3", "g0", "g1", "g2"]
    assert isinstance(train.features["image"], datasets.Image)
    assert train[1]["image"].size == (60, 60)


def test_bytes_are_not_copied(folder: Path) -> None:
    files = load_dataset(folder, split="train").cast_column("image", datasets.Image(decode=False))
    assert files[1]["image"] == {"bytes": None, "path": str(folder / "g0.jpg")}


def test_relative_source(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stored paths stay right when the working directory changes."""
    monkeypatch.chdir(folder.parent)
    train = load_dataset(folder.name, split="train")
    monkeypatch.chdir("/")
    assert train[0]["image"].size == (60, 60)


def test_hidden_files_are_passed_over(folder: Path) -> None:
    (folder / ".g9.jpg").write_bytes(b"x")
    (folder / ".thumbnails").mkdir()
    (folder / ".thumbnails" / "g8.jpg").write_bytes(b"x")
    assert load_dataset(folder)["train"].num_rows == 4


@pytest.mark.parametrize("column", ["file", "file_name", "filename", "image"])
def test_table_by_file_keeps_labels(folder: Path, column: str) -> None:
    """Nested images are found by their name alone; rows keep the order of the table."""
    table = pa.table(
        {
            column: ["g3.jpg", "g0.jpg", "g2.jpg", "g1.jpg"],
            "bar-hubble_yes": pa.array([4, 0, None, 2], pa.int16()),
            "p": [0.5, 0.25, 0.0, 1.0],
            "survey": ["HST", "SDSS", "HST", "HST"],
        }
    )
    pq.write_table(table, folder / "labels.parquet")
    train = load_dataset(folder, split="train")
    assert train["id_str"][:] == ["deep/g3", "g0", "g2", "g1"]
    assert train.features["bar-hubble_yes"].dtype == "int16"
    assert train["bar-hubble_yes"][:] == [4, 0, None, 2]
    assert train["p"][:] == [0.5, 0.25, 0.0, 1.0]
    assert train["survey"][:] == ["HST", "SDSS", "HST", "HST"]
    assert train[0]["image"].filename == str(folder / "deep" / "g3.jpg")


def test_table_by_id(tmp_path: Path, jpeg: Callable[..., bytes]) -> None:
    """Leading zeros of a name survive the CSV."""
    for k, name in enumerate(("0007", "0012")):
        (tmp_path / f"{name}.jpg").write_bytes(jpeg(k))
    (tmp_path / "labels.csv").write_text("id,bar\n0012,3\n0007,5\n")
    train = load_dataset(tmp_path, split="train")
    assert train["id_str"][:] == ["0012", "0007"]
    assert train["bar"][:] == [3, 5]


def test_id_str_beside_file_is_the_name(folder: Path) -> None:
    (folder / "labels.csv").write_text(
        "id_str,file\nalpha,g0.jpg\nbeta,g1.jpg\n3,g2.jpg\ndelta,deep/g3.jpg\n"
    )
    train = load_dataset(folder, split="train")
    assert train["id_str"][:] == ["alpha", "beta", "3", "delta"]
    assert train["file"][3] == "deep/g3.jpg"


def test_late_type_change_in_a_long_csv(folder: Path) -> None:
    """pyarrow guesses types from the first megabyte; a fraction after it must not break that."""
    lines = ["file,bar,note"] + [f"g0.jpg,1,{'x' * 3000}" for _ in range(600)] + ["g1.jpg,1.5,y"]
    (folder / "labels.csv").write_text("\n".join(lines))
    train = load_dataset(folder / "labels.csv", split="train", on_error="skip")
    assert train["bar"][:] == [1.0, 1.5]


def test_the_table_as_source_says_what_is_loaded(folder: Path) -> None:
    (folder / "some.csv").write_text("file,bar\ng2.jpg,1\n")
    assert load_dataset(folder / "some.csv", split="train")["id_str"][:] == ["g2"]


def test_table_elsewhere(folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "elsewhere.csv"
    table.write_text(f"file,bar\n{folder}/g0.jpg,1\ng1.jpg,2\ng2,3\ndeep/g3.jpg,4\n")
    assert load_dataset(folder, split="train", table=table)["bar"][:] == [1, 2, 3, 4]


BAD_TABLES = {
    "missing": (
        "file\ng0.jpg\nlost.jpg\ng1.jpg\nlost2.jpg\ng2.jpg\ng3.jpg\n",
        "2 of 6 rows name an image that is not in FOLDER, first 'lost.jpg' in row 2; "
        "on_error='skip' leaves them out",
        ["g0", "g1", "g2", "deep/g3"],
        ["lost.jpg", "lost2.jpg"],
    ),
    "no row": (
        "file\ng0.jpg\ng1.jpg\n",
        "2 of 4 images have no row, first deep/g3.jpg; load TABLE itself for those with a row, or "
        "pass table=None for all without labels",
        ["g0", "g1"],
        ["deep/g3", "g2"],
    ),
    "repeated": (
        "file\ng0.jpg\ng1.jpg\ng0.jpg\ng2.jpg\ng3.jpg\n",
        "id_str 'g0' is repeated in rows 1 and 3; keep one row an image",
        ["g0", "g1", "g2", "deep/g3"],
        ["g0"],
    ),
}


@pytest.mark.parametrize("case", list(BAD_TABLES))
def test_table_and_images_must_fit(folder: Path, tmp_path: Path, case: str) -> None:
    text, message, kept, left_out = BAD_TABLES[case]
    table = folder / "labels.csv"
    table.write_text(text)
    with pytest.raises(DataError) as caught:
        load_dataset(folder)
    expected = message.replace("FOLDER", str(folder)).replace("TABLE", str(table))
    assert str(caught.value) == f"{table}: {expected}"
    errors = tmp_path / "errors.jsonl"
    train = load_dataset(folder, split="train", on_error="skip", errors_path=errors)
    assert train["id_str"][:] == kept
    assert [json.loads(line)["id_str"] for line in errors.read_text().splitlines()] == left_out
    assert load_dataset(folder, split="train", table=None).num_rows == 4


def test_skipped_without_a_file_is_logged(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "labels.csv").write_text("file\ng0.jpg\ng1.jpg\ng2.jpg\ng3.jpg\nlost.jpg\n")
    load_dataset(folder, on_error="skip")
    assert [record.args[0] for record in caplog.records] == ["lost.jpg"]  # type: ignore[index]


def test_same_name_twice(folder: Path, jpeg: Callable[..., bytes]) -> None:
    (folder / "g0.png").write_bytes(jpeg(0))
    with pytest.raises(DataError, match=r"id_str 'g0' is shared by g0\.jpg and g0\.png; rename"):
        load_dataset(folder)
    assert load_dataset(folder, on_error="skip")["train"].num_rows == 4


def test_a_name_that_fits_two_images(folder: Path, jpeg: Callable[..., bytes]) -> None:
    (folder / "other").mkdir()
    (folder / "other" / "g3.jpg").write_bytes(jpeg(9))
    (folder / "some.csv").write_text("file\ng3.jpg\n")
    with pytest.raises(DataError, match=r"row 1 names 'g3\.jpg', which fits deep/g3\.jpg and oth"):
        load_dataset(folder / "some.csv")
    (folder / "some.csv").write_text("file\nother/g3.jpg\n")
    assert load_dataset(folder / "some.csv")["train"]["id_str"][:] == ["other/g3"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("survey,bar\nHST,1\n", "no column names the images; needs one of file, file_name, filena"),
        ("file,bar\ng0.jpg,1\n,2\n", "column 'file' is empty in row 2"),
        ("file,bar\ng0.jpg,1\ng1.jpg\n", "cannot be read as a table ("),
        ("", "cannot be read as a table ("),
    ],
)
def test_bad_tables(folder: Path, text: str, message: str) -> None:
    table = folder / "labels.csv"
    table.write_text(text)
    with pytest.raises(DataError) as caught:
        load_dataset(folder)
    assert str(caught.value).startswith(f"{table}: {message}")
    assert "\n" not in str(caught.value)


def test_names_of_the_wrong_type(folder: Path) -> None:
    pq.write_table(pa.table({"file": [0.5]}), folder / "labels.parquet")
    with pytest.raises(DataError, match="'file' must hold text or whole numbers; it holds double"):
        load_dataset(folder)


def test_several_tables(folder: Path) -> None:
    for name in ("a.csv", "b.parquet"):
        (folder / name).write_text("file\n")
    with pytest.raises(DataError, match=r"several tables \(a\.csv, b\.parquet\); name one"):
        load_dataset(folder)


def test_other_mistakes(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: no images in it \(\.jpg, "):
        load_dataset(tmp_path / "empty")
    with pytest.raises(DataError, match="config 'tiny' not found; a folder of images has none"):
        load_dataset(folder, "tiny")
    with pytest.raises(DataError, match="split 'test' not found; a folder has one, train"):
        load_dataset(folder, split="test")
    with pytest.raises(DataError, match=r"table 'no\.csv': no such file"):
        load_dataset(folder, table="no.csv")
    with pytest.raises(DataError, match="neither a folder nor a CSV or Parquet table"):
        load_dataset(folder / "g0.jpg")
    with pytest.raises(ConfigError, match="on_error 'ignore': not one of raise, skip"):
        load_dataset(folder, on_error="ignore")


@pytest.mark.parametrize(
    ("split", "ids"),
    [("train[:1]", ["deep/g3"]), ("train[50%:]", ["g1", "g2"]), ("train[-1:]", ["g2"])],
)
def test_slices(folder: Path, split: str, ids: list[str]) -> None:
    assert load_dataset(folder, split=split)["id_str"][:] == ids


def test_real_hubble_galaxies(real_data: Path) -> None:
    """139 of the 312 images have a row; the other 173 lie in ``unlabelled``."""
    root = real_data / "hst_goods"
    with pytest.raises(DataError, match="173 of 312 images have no row"):
        load_dataset(root)
    assert load_dataset(root, table=None)["train"].num_rows == 312
    train = load_dataset(root / "labels.csv", split="train")
    assert train.num_rows == 139
    assert train[0]["id_str"] == "images/g10117_bviz_thumb"
    assert train[0]["p_features"] == 0.846
    assert train.features["gzh_objno"].dtype == "int64"


def test_real_examples_repeat_images(real_data: Path) -> None:
    """528 labels of 460 images: an error with them, 460 galaxies without."""
    root = real_data / "gz_examples"
    with pytest.raises(DataError, match=r"id_str 'images/.*' is repeated in rows 12 and 13; keep"):
        load_dataset(root)
    train = load_dataset(root, table=None, split="train")
    assert train.num_rows == 460
    read = [images.shape[1:] for _, images in read_images(train, 32, rows=range(0, 460, 20))]
    assert read == [(32, 32, 3)]


def test_ids_of_a_few_kinds_are_text(folder: Path) -> None:
    """Parquet that pandas wrote from categories holds them as a dictionary."""
    names = pa.array(["g1.jpg", "g0.jpg"]).dictionary_encode()
    pq.write_table(pa.table({"file": names, "bar": [1, 2]}), folder / "labels.parquet")
    train = load_dataset(folder / "labels.parquet", split="train")
    assert train["id_str"][:] == ["g1", "g0"]
