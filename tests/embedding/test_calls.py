"""Embeddings: every galaxy once, in order, the same by any road."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import nn

from gzfound import (
    DataError,
    Embeddings,
    ImageError,
    embed,
    extract,
    load_dataset,
    load_encoder,
)
from gzfound.embedding import embed_arrays, embed_batches, write_embeddings
from gzfound.embedding.calls import Extraction


@pytest.fixture
def cutouts(tmp_path: Path) -> Path:
    """Seven images of different sizes, c0 to c6."""
    folder = tmp_path / "cutouts"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for number in range(7):
        coarse = draw.integers(0, 255, (5, 5, 3), dtype=np.uint8)
        size = (40 + 3 * number, 50)
        Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(
            folder / f"c{number}.png"
        )
    return folder


@pytest.fixture(scope="module")
def encoder(encoder_weights: Path) -> nn.Module:
    return load_encoder(encoder_weights)


def test_a_folder_agrees_with_the_encoder_called_by_hand(cutouts: Path, encoder: nn.Module) -> None:
    found = embed(cutouts, encoder, precision="no")
    assert found.ids == [f"c{number}" for number in range(7)]
    assert found.vectors.shape == (7, encoder.num_features)
    assert found.vectors.dtype == np.float32
    for name, vector in zip(found.ids, found.vectors, strict=True):
        image = Image.open(cutouts / f"{name}.png")
        with torch.inference_mode():
            expected = encoder(encoder.transform(image)[None])[0].numpy()
        np.testing.assert_allclose(vector, expected, atol=1e-5, rtol=1e-4)
    assert found.vectors.std(axis=0).max() > 1e-2, "galaxies must differ, or the test is empty"


def test_a_dataset_keeps_its_order_and_gives_every_row_once(
    simulated_galaxies: Path, encoder_weights: Path
) -> None:
    """Without a split: train, then test."""
    splits = load_dataset(str(simulated_galaxies))
    found = embed(simulated_galaxies, encoder_weights)
    assert found.ids == [*splits["train"]["id_str"], *splits["test"]["id_str"]]
    assert len(found.ids) == len(set(found.ids)) == len(found.vectors) == 60
    assert embed(simulated_galaxies, encoder_weights, split="test").ids == list(
        splits["test"]["id_str"]
    )
    tiny = embed(simulated_galaxies, encoder_weights, config="tiny", split="train")
    assert set(tiny.ids) < set(splits["train"]["id_str"])


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_the_batch_size_does_not_matter(
    simulated_galaxies: Path, encoder: nn.Module, batch_size: int
) -> None:
    dataset = load_dataset(str(simulated_galaxies), split="train")
    expected = embed(dataset, encoder, precision="no", batch_size=16)
    found = embed(dataset, encoder, precision="no", batch_size=batch_size, threads=1)
    assert found.ids == expected.ids
    np.testing.assert_allclose(found.vectors, expected.vectors, atol=1e-5, rtol=1e-4)


def test_bf16_points_the_same_way(simulated_galaxies: Path, encoder: nn.Module) -> None:
    dataset = load_dataset(str(simulated_galaxies), split="test")
    exact, rounded = (embed(dataset, encoder, precision=name).vectors for name in ("no", "bf16"))
    lengths = np.linalg.norm(exact, axis=1) * np.linalg.norm(rounded, axis=1)
    assert ((exact * rounded).sum(axis=1) / lengths).min() > 0.999
    assert not np.array_equal(exact, rounded)


def test_chosen_rows_come_in_the_order_of_the_choice(
    simulated_galaxies: Path, encoder: nn.Module
) -> None:
    dataset = load_dataset(str(simulated_galaxies), split="train")
    batches = list(embed_batches(dataset, encoder, rows=[5, 3, 11], batch_size=2))
    assert [len(ids) for ids, _ in batches] == [2, 1]
    names = dataset["id_str"]
    assert [name for ids, _ in batches for name in ids] == [names[5], names[3], names[11]]


def test_decoded_images_give_the_embeddings_of_the_files(
    simulated_galaxies: Path, encoder: nn.Module
) -> None:
    from gzfound.data import decoded_images

    dataset = load_dataset(str(simulated_galaxies), split="test")
    images = decoded_images(dataset, encoder.transform.size, crop=encoder.transform.crop).images
    expected = embed(dataset, encoder, precision="no").vectors
    np.testing.assert_allclose(embed_arrays(encoder, images), expected, atol=1e-5, rtol=1e-4)


def test_what_is_written_reads_back(cutouts: Path, encoder: nn.Module, tmp_path: Path) -> None:
    output = tmp_path / "new" / "e.parquet"
    found = embed(cutouts, encoder, output=output, batch_size=3)
    read = Embeddings.read(output)
    assert read.ids == found.ids
    np.testing.assert_array_equal(read.vectors, found.vectors)
    assert pq.read_schema(output).field("embedding").type == pa.list_(
        pa.float32(), encoder.num_features
    )
    assert [path.name for path in output.parent.iterdir()] == ["e.parquet"]
    found.write(tmp_path / "again.parquet")
    np.testing.assert_array_equal(Embeddings.read(tmp_path / "again.parquet").vectors, read.vectors)


def test_no_rows_read_back_as_no_rows(tmp_path: Path) -> None:
    assert write_embeddings(iter([]), 5, tmp_path / "none.parquet") == 0
    read = Embeddings.read(tmp_path / "none.parquet")
    assert (read.ids, read.vectors.shape) == ([], (0, 5))


def test_a_broken_image_is_listed_only_if_asked_for(
    cutouts: Path, encoder: nn.Module, tmp_path: Path
) -> None:
    (cutouts / "c3.png").write_bytes(b"\x89PNG not really")
    output = tmp_path / "e.parquet"
    with pytest.raises(ImageError, match=r"c3\.png"):
        embed(cutouts, encoder, output=output)
    assert not output.exists()
    for _ in range(2):
        found = embed(cutouts, encoder, output=output, on_error="skip", batch_size=2)
        assert found.ids == ["c0", "c1", "c2", "c4", "c5", "c6"]
        lines = Path(f"{output}.errors.jsonl").read_text().splitlines()
        assert [json.loads(line)["id_str"] for line in lines] == ["c3"], "once, however often run"
        assert "c3.png" in json.loads(lines[0])["reason"]
    (cutouts / "c3.png").unlink()
    embed(cutouts, encoder, output=output)
    assert not Path(f"{output}.errors.jsonl").exists()


def test_nothing_but_broken_images_is_an_error(tmp_path: Path, encoder: nn.Module) -> None:
    (tmp_path / "a.png").write_bytes(b"no")
    with pytest.raises(DataError, match="holds no image that can be read"):
        embed(tmp_path, encoder, on_error="skip")


def test_a_file_of_something_else_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not parquet\n" * 20)
    pq.write_table(pa.table({"id_str": ["a"]}), tmp_path / "no-vectors")
    pq.write_table(pa.table({"id_str": ["a"], "embedding": [[1.0]]}), tmp_path / "any-length")
    for name in ("text", "no-vectors", "any-length", "absent"):
        with pytest.raises(DataError, match=f"{name} holds no embeddings: ") as caught:
            Embeddings.read(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_streamed_to_files_as_held_in_memory(
    simulated_galaxies: Path, encoder: nn.Module, tmp_path: Path
) -> None:
    """The galaxies each second, and the operations of the encoder, come with it."""
    expected = embed(simulated_galaxies, encoder, precision="no")
    seen: list[tuple[int, int]] = []
    done = extract(
        simulated_galaxies,
        encoder,
        tmp_path / "shards",
        rows_per_file=25,
        precision="no",
        progress=lambda galaxies, total: seen.append((galaxies, total)),
    )
    assert (done.galaxies, done.features) == (60, encoder.num_features)
    assert 0 < done.waiting < 1
    assert done.flops_per_second / done.galaxies_per_second > 1e5
    assert f"{done.galaxies_per_second:,.0f} galaxies/s" in done.rates
    assert seen[-1] == (60, 60)
    assert seen == sorted(set(seen))
    found = Embeddings.read(tmp_path / "shards")
    assert found.ids == expected.ids
    np.testing.assert_array_equal(found.vectors, expected.vectors)


def test_a_long_wait_names_its_remedy() -> None:
    hurried, waiting = (Extraction(10, 5, 100.0, share, 1e9).rates for share in (0.04, 0.06))
    assert hurried == "100 galaxies/s, 4.0% waiting for images, 1.0 GFLOP/s"
    assert waiting.startswith("100 galaxies/s, 6.0% waiting for images, 1.0 GFLOP/s; ")
    assert "more cores" in waiting
