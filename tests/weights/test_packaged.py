"""Weights that ship with the package: by name, by default, in half precision."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import timm
import torch
from safetensors.torch import load_file

import gzfound
import gzfound.weights
from gzfound import WeightsError, embed, extract, list_weights, load_encoder, predict
from gzfound.cli import main
from gzfound.models.checkpoint import load_head, start_encoder
from gzfound.models.packing import halve_weights
from gzfound.weights import DEFAULT, FOLDER, LARGEST

ROOT = Path(__file__).parents[2]
KERNEL = "conv1.0.weight"


def test_no_packaged_name_is_that_of_a_timm_model() -> None:
    names = {DEFAULT, *list_weights()}
    assert not names & {*timm.list_models(), *timm.list_pretrained()}
    assert not any(timm.is_model(name) for name in names)


def test_what_is_packaged_is_small_half_precision_and_says_where_it_comes_from() -> None:
    assert FOLDER == ROOT / "gzfound" / "weights"
    together = sum(p.stat().st_size for name in list_weights() for p in (FOLDER / name).iterdir())
    assert together <= LARGEST == 16 * 2**20
    for name in list_weights():
        folder = FOLDER / name
        assert sum(path.stat().st_size for path in folder.iterdir()) <= LARGEST
        kinds = {v.dtype for v in load_file(folder / "model.safetensors").values() if v.ndim > 1}
        assert kinds <= {torch.bfloat16, torch.float16}
        notes = json.loads((folder / "config.json").read_text())["gzfound"]
        assert notes["limits"]
        assert notes["results"]
        assert not any(str(part).startswith("/") for part in notes["config"]["data"])


def test_packaged_heads_are_small_and_say_what_they_are() -> None:
    """How one gets into the package is tested in ``tests/recipes/test_pack_head.py``."""
    if not list_weights(head=True):
        pytest.skip("no weights of this package have a head")
    for name in list_weights(head=True):
        head = load_file(FOLDER / name / "head.safetensors").values()
        assert {v.dtype for v in head if v.ndim > 1} <= {torch.bfloat16, torch.float16}
        notes = json.loads((FOLDER / name / "config.json").read_text())["gzfound"]
        own = notes.get("head_notes", notes)
        assert own["limits"]
        assert own["results"]
        assert own["packed"]["fraction_difference"] < 0.02


def test_the_name_of_the_file_of_a_head_stands_once() -> None:
    """In code; sentences may say it."""
    scripts = [
        path
        for part in ("gzfound", "recipes", "benchmarks")
        for path in ROOT.glob(f"{part}/**/*.py")
    ]
    name = f'"{gzfound.weights.HEAD}"'
    assert [str(path.relative_to(ROOT)) for path in scripts if name in path.read_text()] == [
        "gzfound/weights/__init__.py"
    ]


def test_git_and_so_the_wheel_keep_the_files_of_weights() -> None:
    """Hatchling takes what is under the package unless git ignores it."""
    names = ("model.safetensors", "head.safetensors", "config.json", "README.md")
    paths = [f"gzfound/weights/{DEFAULT}/{name}" for name in names]
    ignored = subprocess.run(
        ["git", "check-ignore", "--no-index", *paths], cwd=ROOT, capture_output=True, check=False
    )
    if ignored.returncode == 128:
        pytest.skip("not a git checkout")
    assert ignored.returncode == 1
    assert ignored.stdout == b""


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_loads_into_a_float32_encoder_with_gzfound_and_with_timm(
    encoder_weights: Path, tmp_path: Path, precision: str
) -> None:
    """A value keeps 8 bits in bf16, 11 in fp16: it is off by at most 2^-8 or 2^-11 of itself."""
    halve_weights(encoder_weights, tmp_path / "W", precision)
    kept = load_file(tmp_path / "W" / "model.safetensors")
    whole = load_file(encoder_weights / "model.safetensors")
    step = {"bf16": 2.0**-8, "fp16": 2.0**-11}[precision]
    for name, values in whole.items():
        assert kept[name].dtype == (
            {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]
            if values.ndim > 1
            else values.dtype
        )
        torch.testing.assert_close(kept[name].to(values.dtype), values, rtol=step, atol=1e-7)
    encoder = load_encoder(tmp_path / "W")
    plain = timm.create_model(f"local-dir:{tmp_path / 'W'}", pretrained=True).eval()
    images = torch.randn(2, 3, 24, 24)
    for model in (encoder, plain):
        assert {p.dtype for p in model.parameters()} == {torch.float32}
        assert torch.equal(model.state_dict()[KERNEL], kept[KERNEL].float())
    assert torch.equal(encoder(images), plain(images))


def test_the_default_is_taken_where_none_is_named(
    packaged_weights: Path, simulated_galaxies: Path, tmp_path: Path
) -> None:
    assert list_weights() == (DEFAULT,)
    by_name = load_encoder(DEFAULT)
    for encoder in (load_encoder(), load_encoder(packaged_weights / DEFAULT)):
        assert torch.equal(encoder.state_dict()[KERNEL], by_name.state_dict()[KERNEL])
    assert start_encoder("test_resnet", DEFAULT, 24).training
    assert load_head(None, by_name).tree.columns == load_head(DEFAULT, by_name).tree.columns
    expected = embed(simulated_galaxies, by_name, precision="no").vectors
    np.testing.assert_array_equal(embed(simulated_galaxies, precision="no").vectors, expected)
    extract(simulated_galaxies, output=tmp_path / "e.parquet", precision="no")
    found = gzfound.Embeddings.read(tmp_path / "e.parquet").vectors
    np.testing.assert_array_equal(found, expected)
    assert predict(simulated_galaxies).num_rows == 60


def test_the_commands_need_nothing_but_a_folder(
    packaged_weights: Path,
    simulated_galaxies: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["embed", str(simulated_galaxies)])
    main(["predict", str(simulated_galaxies)])
    capsys.readouterr()
    ids = gzfound.Embeddings.read("embeddings.parquet").ids
    assert pq.read_table("predictions.parquet")["id_str"].to_pylist() == ids
    assert len(ids) == 60


def test_weights_are_listed_one_a_line_without_anything_heavy(packaged_weights: Path) -> None:
    size = sum(path.stat().st_size for path in (packaged_weights / DEFAULT).iterdir()) / 2**20
    code = (
        "import pathlib, sys, gzfound.weights\nfrom gzfound.cli import main\n"
        f"gzfound.weights.FOLDER = pathlib.Path({str(packaged_weights)!r})\n"
        "main(['weights'])\nassert not {'torch', 'timm', 'numpy'} & set(sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert ended.stdout == (
        f"{DEFAULT}  test_resnet, encoder and head  {size:.1f} MiB  none  (default)\n"
    )


def test_a_directory_of_the_user_goes_before_a_packaged_name(
    packaged_weights: Path, encoder_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(encoder_weights, DEFAULT)
    mine = load_file(encoder_weights / "model.safetensors")[KERNEL]
    assert torch.equal(load_encoder(DEFAULT).state_dict()[KERNEL], mine)
    assert not torch.equal(load_encoder().state_dict()[KERNEL], mine)


def test_a_package_without_weights_says_so_in_one_line(
    simulated_galaxies: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(gzfound.weights, "FOLDER", tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match="'other' is no directory, no packaged name"):
        load_encoder("other")
    for arguments in (["embed", str(simulated_galaxies)], ["predict", str(simulated_galaxies)]):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2
        assert capsys.readouterr().err == (
            f"error: weights: the default, {DEFAULT}, is not in this package; name a weights "
            "directory, 'hf-hub:owner/name' or a timm model\n"
        )
    with pytest.raises(SystemExit):
        main(["weights"])
    assert capsys.readouterr().err == "error: weights: this package holds none\n"
    assert list(tmp_path.iterdir()) == []
