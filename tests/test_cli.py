"""The command line: quick to start, and its mistakes are one line on stderr with status 2."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import gzfound
from gzfound.cli import main

HEAVY = ("torch", "timm", "datasets", "numpy", "pandas", "pyarrow", "lightly", "accelerate")
HELP = "import sys; from gzfound.cli import main; main(['--help'])"


def seconds(code: str) -> float:
    """The least processor time of five runs; the wall clock also counts what else is running."""
    found = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(found)


def test_help_is_there_before_the_user_notices() -> None:
    assert seconds("import gzfound") < 0.2
    assert seconds(HELP) < 0.4


@pytest.mark.parametrize("command", [["--help"], ["embed", "--help"], ["trees"], ["--version"]])
def test_help_imports_nothing_heavy(command: list[str]) -> None:
    code = (
        "import json, sys\nfrom gzfound.cli import main\n"
        f"try:\n    main({command!r})\nexcept SystemExit:\n    pass\n"
        f"sys.stderr.write(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert json.loads(found.stderr) == []
    assert found.stdout


def test_every_public_name_can_be_imported() -> None:
    assert len(gzfound.__all__) > 10
    assert dir(gzfound) == sorted(gzfound.__all__)
    for name in gzfound.__all__:
        assert getattr(gzfound, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'embedd'"):
        _ = gzfound.embedd


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--help"], []):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 0
        shown = capsys.readouterr().out
        assert all(
            name in shown
            for name in ("simulate", "build", "embed", "predict", "trees", "weights", "push")
        )
        assert all(name in shown for name in ("neighbours", "index", "anomalies", "cutouts"))


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--version"])
    assert capsys.readouterr().out == f"gzfound {gzfound.__version__}\n"


def test_trees(capsys: pytest.CaptureFixture[str]) -> None:
    main(["trees"])
    assert capsys.readouterr().out.split() == list(gzfound.list_trees())
    main(["trees", "gz_hubble"])
    assert capsys.readouterr().out == f"{gzfound.load_tree('gz_hubble')}\n"


def test_simulate_then_embed_then_predict(
    tmp_path: Path, head_weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, weights = str(tmp_path / "galaxies"), str(head_weights)
    main(["simulate", data, "--galaxies", "20", "--image-size", "32", "--seed", "3"])
    assert capsys.readouterr().out == f"20 galaxies: {data}\n"
    vectors, answers = str(tmp_path / "e.parquet"), str(tmp_path / "p.parquet")
    main(["embed", data, "--weights", weights, "--output", vectors, "--batch-size", "8"])
    width = gzfound.load_encoder(weights).num_features
    assert capsys.readouterr().out == f"20 embeddings of {width} numbers: {vectors}\n"
    main(["predict", data, "--weights", weights, "--output", answers])
    assert capsys.readouterr().out == f"20 galaxies: {answers}\n"
    ids = gzfound.Embeddings.read(vectors).ids
    assert len(set(ids)) == 20
    assert pq.read_table(answers).column("id_str").to_pylist() == ids


def test_embeddings_are_searched(
    tmp_path: Path, simulated_galaxies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vectors, sheet = str(tmp_path / "e.parquet"), tmp_path / "n.png"
    gzfound.extract(simulated_galaxies, output=vectors)
    ids = gzfound.Embeddings.read(vectors).ids
    pictures = ["--images", str(simulated_galaxies), "--sheet"]
    main(["neighbours", vectors, "--query", ids[3], ids[5], "--k", "4", *pictures, str(sheet)])
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines] == [ids[3]] * 4 + [ids[5]] * 4
    found = gzfound.find_neighbours(vectors, ids[3], 4)[0]
    assert [line[1] for line in lines[:4]] == found.ids
    assert [line[2] for line in lines[:4]] == [f"{s:.4f}" for s in found.similarities]
    strange, wall = str(tmp_path / "a.parquet"), tmp_path / "a.png"
    main(["anomalies", vectors, "--top", "6", "--output", strange, *pictures, str(wall)])
    assert capsys.readouterr().out == f"6 galaxies: {strange}\n"
    expected = gzfound.rank_anomalies(vectors, top=6)
    assert pq.read_table(strange)["id_str"].to_pylist() == expected.ids
    assert sheet.stat().st_size > 1_000 < wall.stat().st_size


def test_an_index_is_made_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import numpy as np

    monkeypatch.setattr("gzfound.search.index.LEAST_ROWS", 200)
    monkeypatch.setattr("gzfound.search.index.PROBES", 80)
    made = np.random.default_rng(0).normal(size=(400, 8)).astype(np.float32)
    path = str(tmp_path / "e.parquet")
    gzfound.Embeddings([f"g{n}" for n in range(400)], made).write(path)
    main(["index", path])
    assert capsys.readouterr().out == f"400 embeddings in 80 lists, 0 MiB: {path}.index\n"
    answers = []
    for exact in ([], ["--exact"]):
        main(["neighbours", path, "--query", "g7", *exact])
        answers.append([line.split("\t") for line in capsys.readouterr().out.splitlines()])
    indexed, right = answers
    assert len(right) == 10
    assert [line[1] for line in indexed] == [line[1] for line in right]
    assert [float(line[2]) for line in indexed] == pytest.approx(
        [float(line[2]) for line in right], abs=1e-3
    )
    gzfound.Embeddings([f"g{n}" for n in range(400)], -made[::-1]).write(path)
    with pytest.raises(SystemExit):
        main(["neighbours", path, "--query", "g7"])
    shown = capsys.readouterr()
    assert (shown.out, shown.err.count("\n")) == ("", 1)
    assert "is of other embeddings" in shown.err


MISTAKES = [
    (["frobnicate"], "frobnicate"),
    (["embed"], "DATA"),
    (["embed", "D", "--weights", "W", "--on-error", "ignore"], "'raise', 'skip'"),
    (["embed", "D", "--weights", "W", "--batch", "3"], "--batch-size"),
    (["embed", "nowhere", "--weights", "W"], "nowhere: no such folder"),
    (["embed", "DATA", "--weights", "nowhere"], "weights: 'nowhere' is no directory"),
    (["embed", "DATA", "--weights", "WEIGHTS", "--split", "dev"], "dev"),
    (["embed", "DATA", "--weights", "WEIGHTS", "--batch-size", "0"], "batch_size 0"),
    (["embed", "DATA", "--weights", "WEIGHTS", "--device", "gpu"], "device: 'gpu' cannot be"),
    (["embed", "DATA", "--weights", "WEIGHTS", "--device", "cuda:99"], "device: 'cuda:99'"),
    (["predict", "DATA", "--weights", "WEIGHTS"], "has no head"),
    (["neighbours", "nowhere.parquet", "--query", "a"], "nowhere.parquet holds no embeddings"),
    (["neighbours", "nowhere.parquet"], "--query"),
    (["index", "nowhere.parquet"], "nowhere.parquet holds no embeddings"),
    (["anomalies", "nowhere.parquet"], "nowhere.parquet holds no embeddings"),
    (["anomalies", "E", "--method", "forest"], "'isolation_forest'"),
    (["trees", "gz_hubbel"], "gz_hubble"),
    (["simulate", "OUT", "--galaxies", "ten"], "--galaxies"),
    (["simulate", "OUT", "--image-size", "4"], "image_size 4 is out of range"),
    (["simulate", "DATA"], "galaxies"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_a_mistake_is_one_line_and_status_2(
    arguments: Sequence[str],
    message: str,
    simulated_galaxies: Path,
    encoder_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    real = {"DATA": str(simulated_galaxies), "WEIGHTS": str(encoder_weights)}
    with pytest.raises(SystemExit) as caught:
        main([real.get(word, word) for word in arguments])
    assert caught.value.code == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1
    assert message in shown.err
    assert list(tmp_path.iterdir()) == [], "nothing is written"
