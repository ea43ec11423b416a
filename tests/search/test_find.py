"""Similar galaxies by name and by image: the right ones, and never by other weights."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gzfound import (
    ConfigError,
    DataError,
    Embeddings,
    GzfoundError,
    build_index,
    embed,
    find_neighbours,
    load_encoder,
)
from gzfound.models import EncoderTransform, save_weights
from gzfound.neighbours import nearest
from gzfound.search import index


@pytest.fixture
def cutouts(tmp_path: Path, encoder_weights: Path) -> Path:
    """Twelve images of noise and their embeddings ``e.parquet``; the weights are a copy."""
    shutil.copytree(encoder_weights, tmp_path / "weights")
    folder = tmp_path / "cutouts"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for number in range(12):
        image = Image.fromarray(draw.integers(0, 255, (40, 40, 3), dtype=np.uint8))
        image.save(folder / f"g{number:02d}.png")
    embed(folder, tmp_path / "weights", output=tmp_path / "e.parquet", crop=0.5)
    return folder


@pytest.mark.parametrize("indexed", [False, True])
def test_by_name_without_itself(table: Path, vectors: np.ndarray, indexed: bool) -> None:
    if indexed:
        build_index(table)
    found = find_neighbours(table, ["g42", "g7", "g42"], 5, exact=not indexed)
    assert [each.query for each in found] == ["g42", "g7", "g42"]
    names = np.array([f"g{n}" for n in range(3_000)])
    rows, similarities = nearest(vectors, vectors[[42, 7]], 5, ids=names, query_ids=names[[42, 7]])
    for each, line, scores in zip(
        found, [*rows, rows[0]], [*similarities, similarities[0]], strict=True
    ):
        assert each.ids == names[line].tolist()
        np.testing.assert_allclose(each.similarities, scores, atol=1e-3)
        assert not each.image


def test_rows_of_one_name_are_not_one_anothers_neighbours(tmp_path: Path) -> None:
    vectors = np.array([[1, 0], [1, 0], [1, 0.1], [0, 1]], dtype=np.float32)
    Embeddings(["a", "a", "b", "c"], vectors).write(tmp_path / "e.parquet")
    (found,) = find_neighbours(tmp_path / "e.parquet", "a", 2)
    assert found.ids == ["b", "c"]
    with pytest.raises(ConfigError, match="k is 3: allowed is 1 to 2, the number of other"):
        find_neighbours(tmp_path / "e.parquet", "a", 3)


def test_by_image_as_the_table_was_made(cutouts: Path) -> None:
    """The image of a galaxy of the table finds that galaxy: same weights, same crop."""
    by_image, by_name = find_neighbours(
        cutouts.with_name("e.parquet"), [cutouts / "g03.png", "g03"], 11
    )
    assert (by_image.query, by_image.image) == (str(cutouts / "g03.png"), True)
    assert by_image.ids[0] == "g03"
    assert by_image.similarities[0] > 0.9999
    assert by_image.ids[1:] == by_name.ids[:10]
    whole = embed(cutouts, cutouts.with_name("weights"), crop=1.0)
    other, _ = nearest(Embeddings.read(cutouts.with_name("e.parquet")).vectors, whole.vectors, 1)
    assert whole.encoder is not None
    assert other[:, 0].tolist() != list(range(12)), "the crop matters"


def test_weights_that_moved_are_named(cutouts: Path, tmp_path: Path) -> None:
    (tmp_path / "weights").rename(tmp_path / "moved")
    table, image = tmp_path / "e.parquet", cutouts / "g03.png"
    with pytest.raises(GzfoundError, match=r"weights: '.*/weights' is no directory"):
        find_neighbours(table, image, 1)
    (found,) = find_neighbours(table, image, 1, weights=tmp_path / "moved")
    assert found.ids == ["g03"]


def test_other_weights_are_refused(cutouts: Path, tmp_path: Path) -> None:
    table, image = tmp_path / "e.parquet", cutouts / "g03.png"
    with pytest.raises(GzfoundError, match=r"hubble_resnet10t did not make .*e.parquet") as caught:
        find_neighbours(table, image, 1, weights="hubble_resnet10t")
    assert "\n" not in str(caught.value)
    encoder = load_encoder(tmp_path / "weights")
    save_weights(tmp_path / "weights", encoder, EncoderTransform(24, mean=(0, 0, 0)), {})
    with pytest.raises(GzfoundError, match=r"weights did not make .*as they were then"):
        find_neighbours(table, image, 1)


def test_an_encoder_without_a_name_has_to_be_named(cutouts: Path, tmp_path: Path) -> None:
    encoder = load_encoder(tmp_path / "weights", crop=0.5)
    del encoder.loaded_from
    table, image = tmp_path / "own.parquet", cutouts / "g03.png"
    embed(cutouts, encoder, output=table)
    with pytest.raises(GzfoundError, match=r"own.parquet does not say where they are; name them"):
        find_neighbours(table, image, 1)
    (found,) = find_neighbours(table, image, 1, weights=tmp_path / "weights")
    assert found.ids == ["g03"]


def test_bad_queries_are_one_line(cutouts: Path, tmp_path: Path) -> None:
    table = tmp_path / "e.parquet"
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    made = Embeddings.read(table)
    Embeddings(made.ids, made.vectors).write(tmp_path / "unknown.parquet")
    cases = [
        (table, "g99", 1, {}, "'g99' is no id_str of .*e.parquet and no image file"),
        (table, [], 1, {}, "query: missing"),
        (table, str(tmp_path / "broken.jpg"), 1, {}, "broken.jpg"),
        (table, "g03", 12, {}, "k is 12: allowed is 1 to 11"),
        (table, "g03", 0, {}, "k is 0"),
        (tmp_path / "unknown.parquet", str(cutouts / "g03.png"), 1, {}, "does not say which"),
        (tmp_path / "nowhere.parquet", "g03", 1, {}, "nowhere.parquet holds no embeddings"),
    ]
    for path, query, k, options, words in cases:
        with pytest.raises(GzfoundError, match=words) as caught:
            find_neighbours(path, query, k, **options)
        assert "\n" not in str(caught.value)


def test_a_name_goes_before_a_file(
    cutouts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(cutouts / "g05.png", tmp_path / "g03")
    monkeypatch.chdir(tmp_path)
    (found,) = find_neighbours(tmp_path / "e.parquet", "g03", 3)
    assert not found.image


def test_queries_of_another_length_are_refused(table: Path) -> None:
    from gzfound.search import Searcher

    with pytest.raises(DataError, match=r"shape \(1, 3\): allowed is \(any, 16\)"):
        Searcher(table, exact=True).nearest(np.ones((1, 3), np.float32), 1)
    with pytest.raises(ConfigError, match="k is 3001: allowed is 1 to 3000"):
        Searcher(table, exact=True).nearest(np.ones((1, 16), np.float32), 3_001)
    assert index.LEAST_ROWS == 100
