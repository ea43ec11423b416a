"""Galaxies that are streamed: their order, their batches, and the runs that learn from them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from accelerate import Accelerator

import gzfound.training.progress as progress_module
import gzfound.training.streamed as streamed_module
from gzfound.data.card import licence_of
from gzfound.data.read import read_images
from gzfound.data.stream import Group, Stream, open_stream
from gzfound.errors import ConfigError, DataError, ImageError
from gzfound.training.batches import ArrayBatches
from gzfound.training.galaxies import Galaxies, load_galaxies
from gzfound.training.order import BatchOrder
from gzfound.training.progress import CheckpointConfig, Checkpoints, Progress
from gzfound.training.resident import batches_for
from gzfound.training.run import RunConfig, provenance
from gzfound.training.streamed import StreamedBatches, StreamedImages
from gzfound.training.windows import WindowedOrder

sys.path.insert(0, str(Path(__file__).parent.parent))
from range_server import serving

CPU = torch.device("cpu")


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


@pytest.fixture(scope="module")
def many_pieces(pieces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """480 galaxies in 120 row groups: 40 of the others, again and again under other names."""
    table = pa.concat_tables([pq.read_table(p) for p in sorted(pieces.glob("data/*"))])[:40]
    place, field = table.column_names.index("id_str"), table.schema.field("id_str")
    copies = [
        table.set_column(place, field, pa.array([f"g{copy}-{row}" for row in range(40)]))
        for copy in range(12)
    ]
    target = tmp_path_factory.mktemp("many") / "data" / "train-0.parquet"
    target.parent.mkdir()
    pq.write_table(pa.concat_tables(copies), target, row_group_size=4)
    return target.parents[1]


def load(source: Path | str, window: int, **more: object) -> Galaxies:
    options: Any = {"config": None, "split": "train", "size": 32, "crop": 1.0, "window": window}
    return load_galaxies([str(source)], **(options | more))


def order(galaxies: Galaxies, size: int = 8, **more: int) -> BatchOrder:
    """Batches of all galaxies, in the order that streaming makes of them."""
    images = galaxies.images
    assert isinstance(images, StreamedImages)
    plain = BatchOrder(np.arange(len(galaxies)), size, seed=5, **more)
    return WindowedOrder.of(plain, images.pieces(), images.window)


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


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_batches_have_the_same_bits_for_any_workers_and_processes(
    pieces: Path, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    galaxies = load(pieces, 3)
    arrays = {"images": galaxies.images, "votes": galaxies.votes}
    expected = list(batches_for(arrays, order(galaxies), CPU).epoch(1))
    for threads in (1, 2, 5):
        monkeypatch.setattr("gzfound.training.streamed.usable_cores", lambda count=threads: count)
        shared = [order(galaxies, process=k, processes=processes) for k in range(processes)]
        parts = [list(batches_for(arrays, each, CPU).epoch(1)) for each in shared]
        for whole, *own in zip(expected, *parts, strict=True):
            for name, values in whole.items():
                assert torch.equal(values, torch.cat([part[name] for part in own]))


class Held:
    """A row group that is counted while it is held."""

    alive = 0

    def __init__(self, group: Group) -> None:
        self.group = group
        Held.alive += 1

    def __getitem__(self, name: str) -> list[object]:
        return self.group[name]

    def __del__(self) -> None:
        Held.alive -= 1


def counting(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the row groups of a stream counted while they are held."""
    real = stream.read
    monkeypatch.setattr(Held, "alive", 0)
    monkeypatch.setattr(stream, "read", lambda piece: Held(real(piece)))


def test_a_run_holds_no_more_row_groups_than_are_mixed(
    many_pieces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six are mixed (nine near the ends), four read ahead, and those of five batches of 8."""
    galaxies = load(many_pieces, 6)
    assert isinstance(galaxies.images, StreamedImages)
    (stream,) = galaxies.images.streams
    counting(stream, monkeypatch)
    monkeypatch.setattr("gzfound.training.streamed.usable_cores", lambda: 2)
    plan = order(galaxies)
    held = []
    for _ in batches_for({"images": galaxies.images}, plan, CPU).epoch(0):
        held.append(Held.alive)
    assert len(stream.places) == 120
    assert 6 <= max(held) <= 9 + 4 + 5 * 2
    assert Held.alive <= 1


def test_an_extraction_holds_the_last_few_row_groups(
    many_pieces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = open_stream(many_pieces)
    counting(stream, monkeypatch)
    monkeypatch.setattr("gzfound.data.stream.KEPT_BYTES", 0)
    held = []
    for _ in read_images(stream, 32, batch_size=8, threads=2):
        held.append(Held.alive)
    assert len(held) == 60
    assert 3 <= max(held) <= 4 + 4 * 2


def test_a_run_that_goes_on_reads_only_what_is_left(
    pieces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    galaxies = load(pieces, 2)
    assert isinstance(galaxies.images, StreamedImages)
    (stream,) = galaxies.images.streams
    read: list[int] = []
    real = stream.read
    monkeypatch.setattr(stream, "read", lambda piece: read.append(piece) or real(piece))
    plan = order(galaxies)
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
        batches.close()
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
    assert isinstance(galaxies.images, StreamedImages)
    images, rows = galaxies.images.readable(np.array([4, 5, 17, 18]))
    assert rows.tolist() == [4, 18]
    np.testing.assert_array_equal(images, galaxies.images[[4, 18]])
    with errors.open("a") as file:
        file.write('{"id_str": "ha')  # as a run leaves it that is killed
    again = load(source, 3, on_error="skip", errors_path=errors)
    list(batches_for({"images": again.images}, plan, CPU).epoch(0))
    assert len(errors.read_text().splitlines()) == len(expected)


@pytest.mark.parametrize("damaged", ['{"id_str": "ha', "7", '{"id": "g"}', "", "\x00\u00ff"])
def test_a_damaged_line_among_those_left_out_is_named(
    pieces: Path, tmp_path: Path, damaged: str
) -> None:
    """What was cut off its end is no damage; the file stays as it is."""
    errors = tmp_path / "errors.jsonl"
    good, half = '{"id_str": "g", "reason": "none"}\n', '{"id_str": "ha'
    text = f"{good}{damaged}\n{good}{half}".encode("latin-1")
    errors.write_bytes(text)
    with pytest.raises(DataError, match=r"errors\.jsonl: line 2 is damaged: .*mend it") as caught:
        load(pieces, 3, on_error="skip", errors_path=errors)
    assert "\n" not in str(caught.value)
    assert errors.read_bytes() == text


def test_a_batch_without_any_image_ends_the_run(simulated_galaxies: Path, tmp_path: Path) -> None:
    source = in_pieces(simulated_galaxies, tmp_path / "broken", 4, broken=tuple(range(8)))
    galaxies = load(source, 3, on_error="skip", errors_path=tmp_path / "errors.jsonl")
    with pytest.raises(DataError, match="none of the 8 images of a batch"):
        galaxies.images[np.arange(8)]


def test_two_datasets_and_a_held_out_campaign(
    pieces: Path, many_pieces: Path, simulated_galaxies: Path
) -> None:
    one = load(pieces, 3)
    with pytest.raises(ConfigError, match="leaves no galaxies"):
        load(pieces, 3, held_out_campaign=one.campaigns[0])
    options: Any = {"config": None, "size": 32, "split": "train"}
    sources = [str(pieces), str(many_pieces)]
    both = {
        window: load_galaxies(sources, crop=(1.0, 0.5), window=window, **options)
        for window in (0, 3)
    }
    assert both[3].ids == both[0].ids
    rows = np.array([1, len(one) + 2, 3])
    np.testing.assert_array_equal(both[3].images[rows], both[0].images[rows])
    assert isinstance(both[3].images, StreamedImages)
    own = both[3].images.pieces()
    assert own[len(one) - 1] < own[len(one)]
    with pytest.raises(DataError, match=r"id_str .* is in .*pieces.* and in .*simulated"):
        load_galaxies([sources[0], str(simulated_galaxies)], crop=1.0, window=3, **options)


@pytest.mark.parametrize(("cores", "local", "threads"), [(64, 1, 8), (64, 16, 4), (2, 4, 1)])
def test_threads_are_few_and_divided_over_the_processes_of_a_machine(
    pieces: Path, monkeypatch: pytest.MonkeyPatch, cores: int, local: int, threads: int
) -> None:
    given: list[int] = []
    real = streamed_module.ordered_map
    monkeypatch.setattr(
        streamed_module, "ordered_map", lambda f, work, n: given.append(n) or real(f, work, n)
    )
    monkeypatch.setattr(streamed_module, "usable_cores", lambda: cores)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(local))
    assert len(load(pieces, 2).images[np.arange(3)]) == 3
    assert given == [threads]


def test_a_checkpoint_within_an_epoch_is_one_of_the_order(
    pieces: Path, simulated_galaxies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the processes; not with another window, without streaming, or in other pieces."""
    module = torch.nn.Linear(2, 2)
    optimiser = torch.optim.SGD(module.parameters())

    def checkpoints(order: BatchOrder) -> Checkpoints:
        return Checkpoints(
            tmp_path / "run", CheckpointConfig(), Accelerator(cpu=True), module, optimiser, order
        )

    galaxies = load(pieces, 3)
    checkpoints(order(galaxies)).save(Progress(step=1), {})
    for same in (order(load(pieces, 3)), order(galaxies, process=1, processes=2)):
        assert checkpoints(same).load(print)["step"] == 1
    others = in_pieces(simulated_galaxies, tmp_path / "others", 6)
    plain = BatchOrder(np.arange(len(galaxies)), 8, seed=5)
    changed = [order(load(pieces, 2)), order(load(others, 3)), plain]
    for other in changed:
        with pytest.raises(ConfigError, match="come in another order; seed, data and their row"):
            checkpoints(other).load(print)
    real = progress_module.load_checkpoint

    def older(*args: Any) -> dict[str, Any]:
        state = real(*args)
        del state["order"]
        return state

    with monkeypatch.context() as patch:
        patch.setattr(progress_module, "load_checkpoint", older)
        assert checkpoints(plain).load(print)["step"] == 1
    checkpoints(order(galaxies)).save(Progress(step=plain.steps, epochs=1), {})
    for other in changed:
        assert checkpoints(other).load(print)["epochs"] == 1


def test_the_licence_is_that_of_the_card(simulated_galaxies: Path) -> None:
    licence = licence_of(simulated_galaxies)
    assert licence != "unknown"
    with serving(simulated_galaxies) as (_, address):
        for galaxies in (load(address, 3), load(simulated_galaxies, 0)):
            assert provenance("recipe", RunConfig(), galaxies.licences)["licence"] == licence
            assert galaxies.only(np.arange(2)).licences == [licence]


def test_balance_and_streaming_do_not_go_together() -> None:
    with pytest.raises(ConfigError, match="balance"):
        RunConfig(streaming=True, balance=True)


def test_an_address_needs_streaming() -> None:
    with pytest.raises(DataError, match="which only streams: with --streaming"):
        load("https://example.org/galaxies", 0)
