"""Extraction: every galaxy once, in order, by one process or by two."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from gzfound import Embeddings, embed, load_dataset


@pytest.fixture(scope="module")
def script(recipe: Callable[[str], ModuleType]) -> ModuleType:
    return recipe("extract_embeddings")


@pytest.fixture(scope="module")
def cutouts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """g00 to g24, of which g17 cannot be read."""
    folder = tmp_path_factory.mktemp("cutouts")
    draw = np.random.default_rng(0)
    for number in range(25):
        coarse = Image.fromarray(draw.integers(0, 255, (6, 6, 3), dtype=np.uint8))
        coarse.resize((36, 36), Image.Resampling.BICUBIC).save(folder / f"g{number:02d}.png")
    (folder / "g17.png").write_bytes(b"\x89PNG and no more")
    return folder


def test_one_process_gives_what_embed_gives(
    script: ModuleType,
    simulated_galaxies: Path,
    encoder_weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "new" / "e.parquet"
    options = ["--weights", str(encoder_weights), "--data", str(simulated_galaxies)]
    script.main([*options, "--output", str(output), "--precision", "no"])
    assert capsys.readouterr().out == f"60 embeddings of 96 numbers: {output}\n"
    found = Embeddings.read(output)
    expected = embed(simulated_galaxies, encoder_weights, precision="no")
    assert found.ids == expected.ids
    np.testing.assert_array_equal(found.vectors, expected.vectors)
    assert found.encoder == expected.encoder is not None
    assert [path.name for path in output.parent.iterdir()] == ["e.parquet"]


def test_a_split_of_a_configuration(
    script: ModuleType, simulated_galaxies: Path, encoder_weights: Path, tmp_path: Path
) -> None:
    options = ["--weights", str(encoder_weights), "--data", str(simulated_galaxies)]
    output = tmp_path / "e.parquet"
    script.main([*options, "--output", str(output), "--data-config", "tiny", "--split", "test"])
    expected = load_dataset(str(simulated_galaxies), "tiny", split="test")["id_str"]
    assert Embeddings.read(output).ids == list(expected)


def test_two_processes_give_every_row_once_in_order(
    two_processes: Callable[..., subprocess.CompletedProcess[str]],
    cutouts: Path,
    encoder_weights: Path,
    tmp_path: Path,
) -> None:
    output = tmp_path / "e.parquet"
    stale = Path(f"{tmp_path}/.e.parquet.part-0.errors.jsonl")
    stale.write_text('{"id_str": "of a killed run", "reason": "?"}\n')
    options = ["--weights", str(encoder_weights), "--data", str(cutouts), "--on-error", "skip"]
    options += ["--output", str(output), "--precision", "no", "--batch-size", "4"]
    ended = two_processes("extract_embeddings", options)
    assert ended.returncode == 0, ended.stderr
    assert "24 embeddings of 96 numbers by 2 processes" in ended.stdout
    found = Embeddings.read(output)
    assert found.ids == [f"g{number:02d}" for number in range(25) if number != 17]
    one = embed(cutouts, encoder_weights, precision="no", on_error="skip")
    assert one.ids == found.ids
    np.testing.assert_allclose(found.vectors, one.vectors, atol=1e-5, rtol=1e-4)
    same = embed(cutouts, encoder_weights, precision="no", on_error="skip", batch_size=4)
    np.testing.assert_array_equal(found.vectors, same.vectors)
    errors = Path(f"{output}.errors.jsonl")
    assert [json.loads(line)["id_str"] for line in errors.read_text().splitlines()] == ["g17"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [output.name, errors.name]


@pytest.mark.parametrize("galaxies", [0, 1, 8, 25, 97])
def test_any_number_of_processes_has_every_row_once_in_whole_batches(
    script: ModuleType, galaxies: int
) -> None:
    """Of three processes and one batch, two have nothing to do."""
    batches = [list(range(galaxies))[k : k + 8] for k in range(0, galaxies, 8)]
    for processes in (1, 2, 3, 5):
        states = [
            SimpleNamespace(num_processes=processes, process_index=k) for k in range(processes)
        ]
        parts = [script.stretch(galaxies, 8, state).tolist() for state in states]
        assert [row for part in parts for row in part] == list(range(galaxies))
        starts = {batch[0] for batch in batches}
        assert all(part[0] in starts for part in parts if part)
        counts = [-(-len(part) // 8) for part in parts]
        assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "data: missing; pass --data"),
        (["--weights", "W", "--data", "nowhere"], "nowhere: no such folder"),
        (["--weights", "nowhere", "--data", "CUTOUTS"], "'nowhere' is no directory"),
        (["--weights", "WEIGHTS", "--data", "CUTOUTS"], "g17.png"),
        (["--weights", "WEIGHTS", "--data", "CUTOUTS", "--on-error", "no"], "raise, skip"),
    ],
)
def test_mistakes_end_in_one_line_and_leave_nothing(
    script: ModuleType,
    cutouts: Path,
    encoder_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    real = {"CUTOUTS": str(cutouts), "WEIGHTS": str(encoder_weights)}
    with pytest.raises(SystemExit) as caught:
        script.main([real.get(word, word) for word in options])
    assert caught.value.code == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
