"""Galaxies that are streamed: their order, their batches, and the runs that learn from them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from gzfound.errors import ConfigError, DataError, ImageError
from gzfound.training.batches import ArrayBatches
from gzfound.training.galaxies import Galaxies, load_galaxies
from gzfound.training.order import BatchOrder
from gzfound.training.resident import batches_for
from gzfound.training.run import RunConfig
from gzfound.training.streamed import StreamedBatches, StreamedImages
from gzfound.training.windows import WindowedOrder

CPU = torch.device("cpu")
PIECES = np.arange(10_000) // 100


def in_pieces(source: Path, target: Path, rows: int, broken: tuple[int, ...] = ()) -> Path:
    """A copy of the train split in two files of small row groups; some images are no images."""
    table = pa.concat_tables([pq.read_table(p) for p in sorted(source.glob("data/train-*"))])
    images = table.column("image").to_pylist()
    for row in broken:
        images[row] = {"bytes": b"no image", "path": None}
    kind = table.schema.field("image").type
    table = table.set_column(
        table.column_names.index("image"), table.schema.field("image"), pa.array(images, kind)
    )
    (target / "data").mkdir(parents=True)
    half = len(table) // 2
    for number, part in enumerate((table.slice(0, half), table.slice(half))):
        path = target / "data" / f"train-{number:05d}-of-00002.parquet"
        pq.write_table(part, path, row_group_size=rows)
    return target


@pytest.fixture(scope="module")
def pieces(simulated_galaxies: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return in_pieces(simulated_galaxies, tmp_path_factory.mktemp("pieces") / "galaxies", 4)


def load(source: Path | str, window: int, **more: object) -> Galaxies:
    options = {"config": None, "split": "train", "size": 32, "crop": 1.0, "window": window}
    return load_galaxies([str(source)], **(options | more))  # type: ignore[arg-type]


def order(galaxies: Galaxies, window: int = 3, size: int = 8, **more: int) -> WindowedOrder:
    assert isinstance(galaxies.images, StreamedImages)
    rows = np.arange(len(galaxies))
    own = galaxies.images.pieces()
    return WindowedOrder(rows, size, seed=5, pieces=own, window=window, **more)


def test_an_epoch_has_each_galaxy_once_and_epochs_differ() -> None:
    rows = np.arange(5_000, 15_000)
    epochs = [WindowedOrder(rows, 100, seed=1, pieces=PIECES, window=8).epoch(k) for k in (0, 1)]
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch.ravel()), rows)
    assert (epochs[0] != epochs[1]).mean() > 0.99
    again = WindowedOrder(rows, 100, seed=1, pieces=PIECES, window=8).epoch(0)
    np.testing.assert_array_equal(epochs[0], again)
    other = WindowedOrder(rows, 100, seed=2, pieces=PIECES, window=8).epoch(0)
    assert (epochs[0] != other).mean() > 0.99


def test_processes_divide_the_batches_and_the_pieces() -> None:
    rows = np.arange(10_000)
    whole = WindowedOrder(rows, 96, seed=3, pieces=PIECES, window=16).epoch(2)
    parts = [WindowedOrder(rows, 96, 3, k, 4, pieces=PIECES, window=16).epoch(2) for k in range(4)]
    np.testing.assert_array_equal(whole, np.concatenate(parts, axis=1))
    read = [len(np.unique(PIECES[part[40:60]])) for part in parts]
    assert max(read) < 0.6 * len(np.unique(PIECES[whole[40:60]]))


def test_a_batch_needs_few_pieces_and_they_are_let_go() -> None:
    steps = WindowedOrder(np.arange(10_000), 100, seed=0, pieces=PIECES, window=8).epoch(0)
    held = PIECES[steps]
    first = {p: np.flatnonzero((held == p).any(1)).min() for p in range(100)}
    last = {p: np.flatnonzero((held == p).any(1)).max() for p in range(100)}
    alive = [sum(first[p] <= k <= last[p] for p in range(100)) for k in range(len(steps))]
    assert max(alive) <= 1.5 * 8 + 2
    assert np.mean(alive) <= 8 + 2


def test_the_stream_is_shuffled() -> None:
    """Place in the stream says nothing of place in the data, nor does one galaxy of the next."""
    steps = WindowedOrder(np.arange(10_000), 100, seed=0, pieces=PIECES, window=32).epoch(0)
    ranks = np.corrcoef(np.arange(10_000), steps.ravel())[0, 1]
    assert abs(ranks) < 0.1
    full = BatchOrder(np.arange(10_000), 100, seed=0).epoch(0)
    means, plain = steps.mean(axis=1), full.mean(axis=1)
    in_file_order = np.arange(10_000).reshape(100, 100).mean(axis=1)
    assert means.std() < 3 * plain.std() < 0.4 * in_file_order.std()
    together = np.mean([len(np.unique(PIECES[step])) for step in steps])
    assert together > 28  # of a window of 32; 100 draws of 100 pieces have 63


def test_as_many_pieces_as_the_window_are_shuffled_whole() -> None:
    own = np.arange(600) // 100
    steps = WindowedOrder(np.arange(600), 60, seed=0, pieces=own, window=6).epoch(0)
    assert all(len(np.unique(own[step])) == 6 for step in steps)
    with pytest.raises(ConfigError, match="stream_window"):
        WindowedOrder(np.arange(600), 60, seed=0, pieces=own, window=0)


def test_the_batches_are_those_of_decoded_images(pieces: Path) -> None:
    streamed, decoded = load(pieces, 3), load(pieces, 0)
    assert streamed.ids == decoded.ids
    np.testing.assert_array_equal(streamed.votes, decoded.votes)
    np.testing.assert_array_equal(streamed.images[np.arange(20, 4, -3)], decoded.images[20:4:-3])
    np.testing.assert_array_equal(streamed.images[3:9], decoded.images[3:9])
    plan = order(streamed)
    found = batches_for({"images": streamed.images, "votes": streamed.votes}, plan, CPU)
    assert isinstance(found, StreamedBatches)
    expected = ArrayBatches({"images": decoded.images, "votes": decoded.votes}, plan, CPU)
    for start in (0, 2):
        pairs = list(zip(found.epoch(1, start), expected.epoch(1, start), strict=True))
        assert len(pairs) == plan.steps - start
        for ours, theirs in pairs:
            assert ours.keys() == theirs.keys()
            assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_run_that_goes_on_reads_only_what_is_left(
    pieces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    galaxies = load(pieces, 2)
    assert isinstance(galaxies.images, StreamedImages)
    (stream,) = galaxies.images.streams
    read: list[int] = []
    real = stream.read
    monkeypatch.setattr(stream, "read", lambda piece: read.append(piece) or real(piece))
    plan = order(galaxies, window=2)
    batches = StreamedBatches(galaxies.images, {}, plan, CPU)
    assert len(list(batches.epoch(0, plan.steps - 1))) == 1
    own = galaxies.images.pieces()
    assert sorted(read) == sorted(set(own[plan.epoch(0)[-1]].tolist()))
    read.clear()
    assert len(list(batches.epoch(0))) == plan.steps
    assert sorted(read) == sorted(set(own[plan.epoch(0).ravel()].tolist()))


def test_threads_keep_their_number(pieces: Path) -> None:
    galaxies = load(pieces, 2)
    assert isinstance(galaxies.images, StreamedImages)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        batches = StreamedBatches(galaxies.images, {}, order(galaxies), CPU).epoch(0)
        next(batches)
        assert torch.get_num_threads() == 2
        batches.close()  # type: ignore[attr-defined]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_an_image_that_cannot_be_read_ends_the_epoch_or_another_stands_in(
    simulated_galaxies: Path, tmp_path: Path
) -> None:
    source = in_pieces(simulated_galaxies, tmp_path / "broken", 4, broken=(5, 17))
    strict = load(source, 3)
    with pytest.raises(ImageError, match="not an image"):
        list(batches_for({"images": strict.images}, order(strict), CPU).epoch(0))
    errors = tmp_path / "errors.jsonl"
    galaxies = load(source, 3, on_error="skip", errors_path=errors)
    arrays = {"images": galaxies.images, "numbers": np.arange(len(galaxies))}
    plan = order(galaxies)
    seen = []
    for _ in range(2):
        for batch in batches_for(arrays, plan, CPU).epoch(0):
            assert len(batch["images"]) == 8
            bad = torch.isin(batch["rows"], torch.tensor([5, 17]))
            assert torch.equal(batch["numbers"][~bad], batch["rows"][~bad])
            assert not torch.isin(batch["numbers"], torch.tensor([5, 17])).any()
            for place in torch.nonzero(bad).ravel():
                stand = torch.nonzero(batch["rows"] == batch["numbers"][place]).item()
                assert torch.equal(batch["images"][place], batch["images"][int(stand)])
                seen.append(int(batch["rows"][place]))
    expected = [row for row in (5, 17) if (plan.epoch(0) == row).any()]
    assert sorted(seen) == sorted(2 * expected)
    lines = [json.loads(line) for line in errors.read_text().splitlines()]
    assert sorted(line["id_str"] for line in lines) == sorted(galaxies.ids[row] for row in expected)
    again = load(source, 3, on_error="skip", errors_path=errors)
    list(batches_for({"images": again.images}, plan, CPU).epoch(0))
    assert len(errors.read_text().splitlines()) == len(expected)


def test_a_batch_without_any_image_ends_the_run(simulated_galaxies: Path, tmp_path: Path) -> None:
    source = in_pieces(simulated_galaxies, tmp_path / "broken", 4, broken=tuple(range(8)))
    galaxies = load(source, 3, on_error="skip", errors_path=tmp_path / "errors.jsonl")
    with pytest.raises(DataError, match="none of the 8 images of a batch"):
        galaxies.images[np.arange(8)]


def test_two_datasets_and_a_held_out_campaign(pieces: Path, simulated_galaxies: Path) -> None:
    one = load(pieces, 3)
    with pytest.raises(ConfigError, match="leaves no galaxies"):
        load(pieces, 3, held_out_campaign=one.campaigns[0])
    options = {"config": None, "size": 32, "bands": one.images.bands}  # type: ignore[union-attr]
    sources = [str(pieces), str(simulated_galaxies)]
    both = {
        window: load_galaxies(sources, split="train", crop=(1.0, 0.5), window=window, **options)  # type: ignore[arg-type]
        for window in (0, 3)
    }
    assert both[3].ids == both[0].ids
    rows = np.array([1, len(one) + 2, 3])
    np.testing.assert_array_equal(both[3].images[rows], both[0].images[rows])
    assert isinstance(both[3].images, StreamedImages)
    own = both[3].images.pieces()
    assert own[len(one) - 1] < own[len(one)]


def test_balance_and_streaming_do_not_go_together() -> None:
    with pytest.raises(ConfigError, match="balance"):
        RunConfig(streaming=True, balance=True)


def test_an_address_needs_streaming() -> None:
    with pytest.raises(DataError, match="pass --streaming"):
        load("https://example.org/galaxies", 0)
