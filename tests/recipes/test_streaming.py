"""Recipes on data that is streamed: killed, shared by processes, from a server, without a copy."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from gzfound import embed, extract
from gzfound.data import load_dataset
from gzfound.data.stream import Stream, open_stream
from gzfound.embedding.calls import galaxies_of
from gzfound.errors import ConfigError, DataError
from gzfound.evaluation.sample import DataConfig, load_sample
from gzfound.finetuning import FinetuneConfig, report
from gzfound.finetuning.config import TargetConfig
from gzfound.training.telemetry import read_metrics

sys.path.insert(0, str(Path(__file__).parent.parent))
from range_server import RangeServer, serving

RECIPES = Path(__file__).parents[2] / "recipes"
SMALL = [
    *("--encoder", "test_resnet", "--views.size", "24", "--image-size", "32", "--epochs", "2"),
    *("--batch-size", "16", "--precision", "no", "--watch", "8", "--supervised-weight", "1"),
    *("--streaming", "--stream-window", "3", "--checkpoint.steps", "1"),
]


KILLED = """
import os, signal, sys
import torch
sys.path.insert(0, {folder!r})
import pretrain_simclr as script
torch.set_num_threads({threads})
calls, forward = 0, script.HybridLoss.forward
def killer(*args, **kwargs):
    global calls
    calls += 1
    if calls == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return forward(*args, **kwargs)
script.HybridLoss.forward = killer
script.main({arguments!r})
"""


@pytest.fixture(scope="module")
def source(simulated_galaxies: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The galaxies in row groups of five."""
    folder = tmp_path_factory.mktemp("rows") / "galaxies"
    (folder / "data").mkdir(parents=True)
    for path in simulated_galaxies.glob("data/*.parquet"):
        pq.write_table(pq.read_table(path), folder / "data" / path.name, row_group_size=5)
    return folder


@pytest.fixture(scope="module")
def served(source: Path) -> Iterator[tuple[RangeServer, str]]:
    with serving(source) as (server, address):
        yield server, address


@pytest.fixture(scope="module")
def script(recipe: Callable[[str], ModuleType]) -> ModuleType:
    return recipe("pretrain_simclr")


def losses(run: Path) -> list[float]:
    return [row["loss"] for row in read_metrics(run / "metrics.jsonl", "step")]


def test_kill_minus_nine_within_an_epoch_and_resume_from_a_server_give_the_same_bits(
    script: ModuleType,
    source: Path,
    served: tuple[RangeServer, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Killed in the second of four steps; the rest is read from a server, by more workers."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    script.main([*SMALL, "--data", str(source), "--output", str(whole)])
    code = KILLED.format(
        folder=str(RECIPES),
        threads=torch.get_num_threads(),
        arguments=[*SMALL, "--data", str(source), "--output", str(killed)],
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    assert (len(losses(killed)), len(losses(whole))) == (1, 4)
    monkeypatch.setattr("gzfound.training.streamed.usable_cores", lambda: 5)
    go_on = [*SMALL, "--data", served[1], "--output", str(killed), "--resume"]
    with pytest.raises(SystemExit):
        script.main([*go_on, "--stream-window", "2"])
    assert "come in another order" in capsys.readouterr().err
    script.main(go_on)
    assert losses(killed) == losses(whole)
    weights = [load_file(run / "weights" / "model.safetensors") for run in (killed, whole)]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_two_processes_learn_what_one_does(
    two_processes: Callable[..., subprocess.CompletedProcess[str]],
    script: ModuleType,
    source: Path,
    tmp_path: Path,
) -> None:
    slow = [*SMALL, "--optim.learning-rate", "1e-4", "--data", str(source), "--output"]
    ended = two_processes("pretrain_simclr", [*slow, str(tmp_path / "two")])
    assert ended.returncode == 0, ended.stderr
    script.main([*slow, str(tmp_path / "one")])
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)


def test_nothing_is_kept_on_the_disk(
    script: ModuleType,
    served: tuple[RangeServer, str],
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither by datasets nor by the cache of decoded images, where a decoded run keeps copies."""
    monkeypatch.setenv("GZFOUND_CACHE", str(tmp_path / "gzfound"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.setattr("gzfound.data.cache.IN_MEMORY", 0)

    def kept() -> list[str]:
        found = [
            path for kind in ("*.arrow", "*.parquet", "*.npy") for path in tmp_path.rglob(kind)
        ]
        return sorted({path.relative_to(tmp_path).parts[0] for path in found})

    script.main([*SMALL, "--data", served[1], "--output", str(tmp_path / "run")])
    assert kept() == []
    decoded = [option for option in SMALL if option != "--streaming"]
    script.main([*decoded, "--data", str(source), "--output", str(tmp_path / "decoded")])
    assert kept() == ["datasets", "gzfound"]


@pytest.mark.parametrize("tune", ["head", "all"])
def test_fine_tuning_streams(
    recipe: Callable[[str], ModuleType],
    served: tuple[RangeServer, str],
    source: Path,
    encoder_weights: Path,
    tmp_path: Path,
    tune: str,
) -> None:
    """The head alone learns from embeddings that are made in order: the same as without."""
    script = recipe("finetune_tree")
    options = [
        *("--views.size", "24", "--image-size", "32", "--epochs", "2", "--batch-size", "64"),
        *("--precision", "no", "--head-epochs", "1", "--weights", str(encoder_weights)),
        *("--tune", tune, "--optim.learning-rate", "0.01", "--dropout", "0"),
    ]
    stream = ["--streaming", "--data", served[1], "--output", str(tmp_path / "streamed")]
    script.main([*options, *stream])
    script.main([*options, "--data", str(source), "--output", str(tmp_path / "decoded")])
    found, expected = (
        pq.read_table(tmp_path / name / "predictions.parquet") for name in ("streamed", "decoded")
    )
    assert found["id_str"] == expected["id_str"]
    assert found.column_names == expected.column_names
    for name in found.column_names[1:]:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-3, atol=1e-3)


def test_fine_tuning_does_not_let_others_stand_in() -> None:
    with pytest.raises(ConfigError, match="on_error: skip does not go with streaming"):
        FinetuneConfig(streaming=True, on_error="skip")


def test_a_column_is_learned_from_a_server(
    recipe: Callable[[str], ModuleType],
    served: tuple[RangeServer, str],
    encoder_weights: Path,
    tmp_path: Path,
) -> None:
    options = [
        *("--views.size", "24", "--image-size", "32", "--epochs", "1", "--batch-size", "16"),
        *("--precision", "no", "--weights", str(encoder_weights), "--tune", "head"),
    ]
    stream = ["--streaming", "--data", served[1], "--output", str(tmp_path / "run")]
    recipe("finetune_regressor").main([*options, *stream, "--target", "dec"])
    found = pq.read_table(tmp_path / "run" / "predictions.parquet")["id_str"].to_pylist()
    assert found == open_stream(served[1], split="test").labels()["id_str"][:]


def test_a_directory_is_embedded_without_a_copy(
    source: Path, encoder_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gzfound.embedding.calls.load_dataset", None)
    done = extract(source, encoder_weights, tmp_path / "e.parquet", streaming=True, device="cpu")
    monkeypatch.undo()
    expected = embed(source, encoder_weights, device="cpu")
    found = pq.read_table(tmp_path / "e.parquet")
    assert done.galaxies == len(expected.ids)
    assert found["id_str"].to_pylist() == expected.ids
    np.testing.assert_array_equal(np.stack(found["embedding"].to_pylist()), expected.vectors)
    with pytest.raises(ConfigError, match="loaded already"):
        extract(load_dataset(source, split="train"), encoder_weights, streaming=True)


def test_a_galaxy_that_is_there_twice_is_refused(source: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for path in source.glob("data/train-*"):
        for copy in "01":
            shutil.copy(path, tmp_path / "data" / f"train-0000{copy}-of-00002.parquet")
    for streaming in (False, True):
        with pytest.raises(DataError, match=r"id_str '.*' is repeated in rows"):
            galaxies_of(tmp_path, None, "train", streaming)


def test_probes_refuse_an_address_in_a_line() -> None:
    with pytest.raises(DataError, match=r"is an address, .* else make a copy on the disk"):
        load_sample(DataConfig("https://example.org/galaxies"), 32, 1.0)


def test_embeddings_come_from_a_server(
    served: tuple[RangeServer, str], source: Path, encoder_weights: Path, tmp_path: Path
) -> None:
    server, address = served
    expected = embed(source, encoder_weights, split="train", batch_size=8, device="cpu")
    found = embed(address, encoder_weights, split="train", batch_size=8, device="cpu")
    assert found.ids == expected.ids
    np.testing.assert_array_equal(found.vectors, expected.vectors)
    server.sent = 0
    done = extract(address, encoder_weights, tmp_path / "all", rows_per_file=8, device="cpu")
    sizes = [path.stat().st_size for path in source.glob("data/*.parquet")]
    assert server.sent < 2 * sum(sizes)
    assert done.galaxies == sum(map(len, load_dataset(source).values()))
    again = extract(
        address, encoder_weights, tmp_path / "all", rows_per_file=8, device="cpu", resume=True
    )
    assert again.galaxies == done.galaxies


def test_of_the_galaxies_to_test_only_the_names_are_read(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before training; a column that their split lacks is still an error."""
    read: list[list[str]] = []
    columns = Stream._columns
    monkeypatch.setattr(
        Stream,
        "_columns",
        lambda self, path, names: read.append(names) or columns(self, path, names),
    )
    told = TargetConfig(data=(str(source),), streaming=True, target="bar-hubble_yes")
    expected = load_dataset(source, split="test")["id_str"][:]
    assert report.tested_ids(told) == expected
    assert read == [["id_str"]]
    with pytest.raises(DataError, match=r"no column 'redshif' in split 'test'"):
        report.tested_ids(TargetConfig(data=(str(source),), streaming=True, target="redshif"))
