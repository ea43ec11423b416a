"""The first steps of docs/fits.md run as written, and the same on real files."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from gzfound import embed, load_dataset, load_encoder
from gzfound.cutouts import CutoutConfig, make_cutouts
from gzfound.data import FitsConfig, Stretch
from gzfound.weights import list_weights

PAGE = (Path(__file__).parents[1] / "docs" / "fits.md").read_text(encoding="utf-8")
COMMANDS = {"bash": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-c"]}
ZRG = FitsConfig(bands=("z", "r", "g"), stretch=Stretch("asinh", softening=0.5))


def test_the_first_steps(tmp_path: Path) -> None:
    if not list_weights():
        pytest.skip("this checkout holds no weights")
    steps = PAGE.split("## First steps")[1].split("\n## ")[0]
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", steps, flags=re.MULTILINE | re.DOTALL)
    assert [language for language, _ in blocks] == ["python", "bash", "bash"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for language, code in blocks:
        ended = subprocess.run(
            [*COMMANDS[language], code],
            cwd=tmp_path,
            env={**os.environ, "PATH": path, "CUDA_VISIBLE_DEVICES": ""},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert ended.returncode == 0, ended.stderr
    truth = pyarrow.csv.read_csv(tmp_path / "sky.csv")
    table = pq.read_table(tmp_path / "embeddings.parquet")
    assert len(table["embedding"][0]) == 512
    assert table["id_str"].equals(truth["id_str"])
    assert len(list((tmp_path / "detected").glob("*.fits"))) >= 9


def linked(real_data: Path, tmp_path: Path, pattern: str) -> Path:
    folder = tmp_path / "real"
    folder.mkdir()
    for path in (real_data / "fits").glob(pattern):
        (folder / path.name).symlink_to(path)
    return folder


def test_real_cubes_are_embedded_in_the_order_of_bands_asked_for(
    real_data: Path, tmp_path: Path, encoder_weights: Path
) -> None:
    folder = linked(real_data, tmp_path, "example_*.fits")
    found = embed(folder, encoder_weights, fits=ZRG, precision="no")
    assert found.ids == ["example_a", "example_b"]
    other = FitsConfig(bands=("g", "r", "z"), stretch=ZRG.stretch)
    assert not np.allclose(embed(folder, encoder_weights, fits=other).vectors, found.vectors)


def test_real_stamps_of_two_bands_one_hdu_a_galaxy(
    real_data: Path, tmp_path: Path, encoder_weights: Path
) -> None:
    """Five galaxies of AEGIS: the same HDU of two files, one in F606W and one in F814W."""
    folder = linked(real_data, tmp_path, "galsim_AEGIS_*_images_*.fits")
    rows = ["id_str,fits_F814W,fits_F606W,hdu"]
    for file, hdus in (("01", 3), ("02", 2)):
        for hdu in range(hdus):
            names = (f"galsim_AEGIS_{band}_images_{file}.fits" for band in ("F814w", "F606w"))
            rows.append(f"g{file}-{hdu},{','.join(names)},{hdu}")
    (folder / "catalogue.csv").write_text("\n".join(rows) + "\n")
    dataset = load_dataset(folder, split="train")
    assert len(dataset) == 5
    fits = FitsConfig(stretch=Stretch("percentile"))
    encoder = load_encoder(encoder_weights, in_chans=2, fits=fits)
    vectors = embed(dataset, encoder).vectors
    assert np.isfinite(vectors).all()
    assert len(np.unique(vectors.round(5), axis=0)) == 5


def test_cutouts_of_a_real_image(real_data: Path, tmp_path: Path) -> None:
    """DECaLS: its two brightest galaxies lie in the middle, the reference pixel is 255, 255."""
    image = real_data / "fits" / "example_a.fits"
    made, left_out = make_cutouts(image, tmp_path / "c", config=CutoutConfig(size=32))
    assert made > 30
    assert left_out == 0
    table = pyarrow.csv.read_csv(tmp_path / "c" / "cutouts.csv").to_pydict()
    nearest = np.hypot(np.array(table["x"]) - 254, np.array(table["y"]) - 254).argmin()
    assert nearest < 5, "it is among the brightest"
    found = (table["ra"][nearest], table["dec"][nearest])
    assert found == pytest.approx((359.995016, 0.701753), abs=2 / 3600)
    again = make_cutouts(
        image, tmp_path / "d", catalogue=tmp_path / "c" / "cutouts.csv", config=CutoutConfig(size=9)
    )
    assert again == (made, 0)
