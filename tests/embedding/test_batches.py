"""The fast road from files to embeddings agrees with the plain one, whatever the threads."""

from __future__ import annotations

import json
import resource
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch import nn

from gzfound import load_dataset, load_encoder
from gzfound.data.decode import decode_image
from gzfound.data.read import image_files
from gzfound.embedding import batches, embed_batches
from gzfound.embedding.batches import default_batch_size
from gzfound.embedding.forward import Forward, grey_levels, standardised
from gzfound.embedding.writing import Batch
from gzfound.errors import ConfigError, DataError
from gzfound.models import EncoderTransform


@pytest.fixture(scope="module")
def encoder(encoder_weights: Path) -> nn.Module:
    return load_encoder(encoder_weights)


@pytest.fixture(scope="module")
def dataset(simulated_galaxies: Path) -> Dataset:
    return load_dataset(str(simulated_galaxies), split="train")


def plainly(dataset: Dataset, encoder: nn.Module) -> np.ndarray:
    """One image at a time, by the transform that the encoder carries."""
    files = image_files(dataset)
    with torch.inference_mode():
        images = [encoder.transform(decode_image(f["bytes"], "x")) for f in files["image"]]
        return np.concatenate([encoder(image[None]).numpy() for image in images])


def joined(found: Iterator[tuple[list[str], np.ndarray]]) -> tuple[list[str], np.ndarray]:
    ids, vectors = zip(*found, strict=True)
    return [name for some in ids for name in some], np.concatenate(vectors)


@pytest.mark.parametrize("decode", ["cpu", "device"])
def test_agrees_with_one_image_at_a_time(dataset: Dataset, encoder: nn.Module, decode: str) -> None:
    """Decoding on a device may move a pixel by one grey level."""
    expected = plainly(dataset, encoder)
    ids, vectors = joined(embed_batches(dataset, encoder, precision="no", decode=decode))
    assert ids == list(dataset["id_str"])
    if decode == "cpu":
        np.testing.assert_allclose(vectors, expected, atol=1e-5, rtol=1e-4)
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(expected, axis=1)
    assert ((vectors * expected).sum(axis=1) / lengths).min() > 0.9999


def test_the_same_bits_for_any_number_of_threads(dataset: Dataset, encoder: nn.Module) -> None:
    one, two, five = (
        joined(embed_batches(dataset, encoder, precision="no", threads=threads))
        for threads in (1, 2, 5)
    )
    assert one[0] == two[0] == five[0]
    np.testing.assert_array_equal(one[1], two[1])
    np.testing.assert_array_equal(one[1], five[1])


def test_the_road_of_a_gpu_on_a_cpu(
    dataset: Dataset, encoder: nn.Module, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    expected = joined(embed_batches(dataset, encoder, precision="no"))
    monkeypatch.setattr(batches, "_on_cpu", batches._on_device)
    found = joined(embed_batches(dataset, encoder, precision="no"))
    assert found[0] == expected[0]
    np.testing.assert_allclose(found[1], expected[1], atol=1e-6)


def test_bad_images_are_recorded_by_either_decoder(
    dataset: Dataset, encoder: nn.Module, tmp_path: Path
) -> None:
    files = image_files(dataset)[:6]
    files["image"][1] = {"bytes": b"no image", "path": None}
    files["image"][4] = {"bytes": None, "path": str(tmp_path / "gone.jpg")}
    broken = Dataset.from_dict(files, features=image_files(dataset).features)
    for decode in ("cpu", "device"):
        errors = tmp_path / f"{decode}.jsonl"
        found = embed_batches(
            broken, encoder, batch_size=2, on_error="skip", errors_path=errors, decode=decode
        )
        kept = [files["id_str"][place] for place in (0, 2, 3, 5)]
        assert joined(found)[0] == kept
        records = [json.loads(line) for line in errors.read_text().splitlines()]
        assert [r["id_str"] for r in records] == [files["id_str"][1], files["id_str"][4]]
        assert "gone.jpg: cannot be read" in records[1]["reason"]


def test_looking_up_gives_the_bits_of_the_transform() -> None:
    transform = EncoderTransform(24, mean=(0.2, 0.5, 0.7), std=(0.1, 0.3, 0.9))
    images = np.random.default_rng(0).integers(0, 256, (5, 24, 24, 3), dtype=np.uint8)
    found = standardised(images, grey_levels(transform))
    expected = transform.normalise(torch.from_numpy(images))
    assert torch.equal(found, expected)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_time_without_images_is_told(dataset: Dataset, encoder: nn.Module) -> None:
    told: list[float] = []
    for _ in embed_batches(dataset, encoder, batch_size=8, waited=told.append):
        pass
    assert len(told) == -(-len(dataset) // 8)
    assert min(told) > 0


def test_a_consumer_that_stops_ends_the_threads(dataset: Dataset, encoder: nn.Module) -> None:
    found = embed_batches(dataset, encoder, batch_size=2)
    next(found)
    found.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("gzfound-decode")]


def test_the_rule_for_batches() -> None:
    rule = partial(default_batch_size, device=torch.device("cpu"))
    assert [rule(size, 10**6) for size in (32, 128, 224, 299, 512, 2048)] == [64, 64, 16, 8, 4, 4]
    assert [rule(224, galaxies) for galaxies in (1, 40, 100, 200)] == [4, 4, 8, 16]
    assert default_batch_size(224, 10**6, torch.device("cuda")) == 256


def test_options_are_checked_at_once(dataset: Dataset, encoder: nn.Module) -> None:
    with pytest.raises(ConfigError, match="threads 0, batch_size 8: must both be at least 1"):
        embed_batches(dataset, encoder, threads=0, batch_size=8)
    with pytest.raises(ConfigError, match="decode 'gpu': not one of cpu, device"):
        embed_batches(dataset, encoder, decode="gpu")  # type: ignore[arg-type]


@pytest.mark.parametrize("engine", [batches._on_cpu, batches._on_device])
def test_an_embedding_that_overflows_names_its_galaxy(
    dataset: Dataset, encoder: nn.Module, engine: Callable[..., Iterator[Batch]]
) -> None:
    """The third galaxy of the second batch of four."""
    count = 0

    def overflow(read: batches.Reader, forward: Forward, *others: Any) -> Iterator[Batch]:
        def spoiled(pixels: np.ndarray) -> np.ndarray:
            nonlocal count
            count += 1
            vectors = np.array(forward(pixels))
            vectors[2, 5] = np.inf if count == 2 else 0
            return vectors

        spoiled.start = lambda pixels: lambda: spoiled(pixels)  # type: ignore[attr-defined]
        return engine(read, spoiled, *others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "_on_cpu", overflow)
        found = embed_batches(dataset, encoder, batch_size=4, threads=1)
        assert next(found)[0] == dataset["id_str"][:4]
        with pytest.raises(DataError, match=f"that of {dataset['id_str'][6]} is not finite; pass"):
            next(found)


def test_ten_times_the_galaxies_take_no_more_memory(dataset: Dataset, encoder: nn.Module) -> None:
    """The peak of the process does not move by the size of the embeddings, let alone of images."""

    def peak() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

    forward = Forward(encoder, torch.device("cpu"), "no")
    assert forward.transform.size <= 64
    for _ in embed_batches(dataset, encoder, rows=np.resize(np.arange(len(dataset)), 400)):
        pass
    before = peak()
    for _ in embed_batches(dataset, encoder, rows=np.resize(np.arange(len(dataset)), 4000)):
        pass
    assert peak() - before < 30
