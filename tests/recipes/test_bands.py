"""Training on FITS of five bands, and using what came of it: the same pixels reach the encoder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from gzfound import ImageError, embed, find_neighbours, load_encoder, predict
from gzfound.cli import main
from gzfound.data import Bands, FitsConfig, Stretch
from gzfound.embedding import Embeddings, Forward
from gzfound.models import EncoderTransform, create_encoder, save_weights

SIZE = 24
OPTIONS = [
    *("--views.size", str(SIZE), "--image-size", str(SIZE), "--epochs", "1", "--batch-size", "8"),
    *("--precision", "no", "--optim.learning-rate", "0.01"),
]
STRETCH = [
    *("--fits.stretch.kind", "asinh", "--fits.stretch.softening", "2", "--fits.stretch.q", "4"),
    *("--fits.bands", "4", "3", "2", "1", "0"),
]
FITS = FitsConfig(bands=("4", "3", "2", "1", "0"), stretch=Stretch("asinh", softening=2, q=4))


@pytest.fixture(scope="module")
def cutouts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty cubes of five bands, 30 pixels wide, some with NaN, and a number for each."""
    folder = tmp_path_factory.mktemp("fits") / "cutouts"
    folder.mkdir()
    draw = np.random.default_rng(0)
    y, x = np.mgrid[:30, :30] - 14.5
    rows = ["file,size"]
    for number in range(20):
        width = draw.uniform(2, 8)
        light = 20 * np.exp(-np.hypot(y, x) / width) * draw.uniform(0.5, 2, (5, 1, 1))
        cube = (light + draw.normal(0, 0.2, (5, 30, 30))).astype(np.float32)
        cube[:, :2, :2] = np.nan if number % 3 == 0 else cube[:, :2, :2]
        fits.writeto(folder / f"g{number:02d}.fits", cube)
        rows.append(f"g{number:02d}.fits,{width:.3f}")
    (folder / "sizes.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def pretrained(
    recipe: Callable[[str], ModuleType], cutouts: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, np.ndarray]:
    """Weights trained natively on five bands, and the images that they were trained on."""
    script, run = recipe("pretrain_simclr"), tmp_path_factory.mktemp("run") / "simclr"
    seen: list[Any] = []
    load = script.load_galaxies

    def watched(*args: Any, **kwargs: Any) -> Any:
        seen.append(load(*args, **kwargs))
        return seen[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCELERATE_USE_CPU", "true")
        patch.setattr(script, "load_galaxies", watched)
        source = ["--data", str(cutouts), "--encoder", "test_resnet", "--in-chans", "5"]
        script.main([*OPTIONS, *source, *STRETCH, "--output", str(run)])
    return run / "weights", np.asarray(seen[0].images)


def test_training_and_use_see_the_same_pixels(
    pretrained: tuple[Path, np.ndarray], cutouts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is said of FITS in use: the weights know."""
    weights, trained_on = pretrained
    assert trained_on.shape == (20, SIZE, SIZE, 5)
    assert len(np.unique(trained_on)) > 50
    encoder = load_encoder(weights)
    assert encoder.transform.bands == Bands(5, FITS)
    assert encoder(encoder.transform.normalise(_tensor(trained_on))).shape == (20, 96)
    seen: list[np.ndarray] = []
    start = Forward.start

    def watched(self: Forward, pixels: np.ndarray) -> Any:
        seen.append(np.array(pixels))
        return start(self, pixels)

    monkeypatch.setattr(Forward, "start", watched)
    found = embed(cutouts, weights, threads=1, precision="no")
    assert found.ids == [f"g{number:02d}" for number in range(20)]
    assert np.array_equal(np.concatenate(seen), trained_on)


def _tensor(images: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(images)


def test_other_choices_in_use_change_the_pixels(
    pretrained: tuple[Path, np.ndarray], cutouts: Path
) -> None:
    weights, _ = pretrained
    same = embed(cutouts, weights, precision="no").vectors
    forward = embed(cutouts, weights, precision="no", fits=FitsConfig(bands=tuple("01234")))
    linear = embed(cutouts, weights, precision="no", fits=FitsConfig(stretch=Stretch("linear")))
    assert not np.allclose(same, forward.vectors)
    assert not np.allclose(same, linear.vectors)
    with pytest.raises(ImageError, match="2 bands where the encoder takes 5"):
        embed(cutouts, weights, fits=FitsConfig(bands=("0", "1")))


def test_the_command_and_the_recipe_agree_with_the_call(
    recipe: Callable[[str], ModuleType],
    pretrained: tuple[Path, np.ndarray],
    cutouts: Path,
    tmp_path: Path,
) -> None:
    weights, _ = pretrained
    expected = embed(cutouts, weights, precision="no").vectors
    named = ["--weights", str(weights), "--precision", "no"]
    main(["embed", str(cutouts), *named, "--output", str(tmp_path / "a.parquet")])
    options = [*named, "--data", str(cutouts), "--output", str(tmp_path / "b.parquet")]
    recipe("extract_embeddings").main(options)
    for name in ("a", "b"):
        assert np.array_equal(Embeddings.read(tmp_path / f"{name}.parquet").vectors, expected)


def test_fine_tuning_goes_on_with_the_bands_of_the_weights(
    recipe: Callable[[str], ModuleType],
    pretrained: tuple[Path, np.ndarray],
    cutouts: Path,
    tmp_path: Path,
) -> None:
    weights, _ = pretrained
    script = recipe("finetune_regressor")
    arguments = [*OPTIONS, "--data", str(cutouts), "--target", "size", "--test-split", "train[:4]"]
    arguments += ["--split", "train[4:]", "--weights", str(weights), "--head-epochs", "1"]
    script.main([*arguments, "--output", str(tmp_path / "run")])
    tuned = tmp_path / "run" / "weights"
    assert load_encoder(tuned).transform == load_encoder(weights).transform
    notes = json.loads((tuned / "config.json").read_text())["gzfound"]
    assert notes["fits"]["stretch"]["q"] == 4
    assert predict(cutouts, tuned).num_rows == 20


def test_weights_of_three_channels_are_adapted_to_five_and_trained(
    recipe: Callable[[str], ModuleType],
    cutouts: Path,
    encoder_weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    script = recipe("pretrain_simclr")
    arguments = [*OPTIONS, *STRETCH, "--data", str(cutouts), "--weights", str(encoder_weights)]
    arguments += ["--encoder", "test_resnet", "--output", str(tmp_path / "run")]
    with pytest.raises(SystemExit):
        script.main(arguments)
    assert "5 bands where the encoder takes 3; choose 3 with fits.bands" in capsys.readouterr().err
    script.main([*arguments, "--in-chans", "5", "--output", str(tmp_path / "run5")])
    assert load_encoder(tmp_path / "run5" / "weights").transform.bands == Bands(5, FITS)
    assert embed(cutouts, tmp_path / "run5" / "weights").vectors.shape == (20, 96)


def test_weights_that_say_nothing_of_fits_refuse_it_until_told(
    encoder_weights: Path, cutouts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["embed", str(cutouts), "--weights", str(encoder_weights)]
    arguments += ["--output", str(tmp_path / "e.parquet")]
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: image {cutouts / 'g00.fits'}: FITS holds fluxes")
    assert line.endswith("choose fits.stretch.kind: asinh, percentile or linear")
    main([*arguments, "--fits.stretch.kind", "percentile", "--fits.bands", "2", "1", "0"])
    assert len(Embeddings.read(tmp_path / "e.parquet").ids) == 20


@pytest.mark.parametrize("named", ["by the weights", "by options"])
def test_search_sees_fits_as_the_table_did(
    pretrained: tuple[Path, np.ndarray],
    cutouts: Path,
    encoder_weights: Path,
    tmp_path: Path,
    named: str,
) -> None:
    """An image finds itself, and what was found is drawn: the table says how to read it."""
    weights, options = pretrained[0], ["--precision", "no"]
    if named == "by options":
        weights = encoder_weights
        options += ["--fits.stretch.kind", "percentile", "--fits.bands", "2", "1", "0"]
    table, image, sheet = tmp_path / "e.parquet", str(cutouts / "g03.fits"), tmp_path / "s.png"
    main(["embed", str(cutouts), "--weights", str(weights), *options, "--output", str(table)])
    (found,) = find_neighbours(table, image, 3)
    assert found.ids[0] == "g03"
    assert found.similarities[0] > 0.9999
    drawn = ["--images", str(cutouts), "--sheet", str(sheet)]
    main(["neighbours", str(table), "--query", image, "g04", "--k", "3", *drawn])
    assert sheet.stat().st_size > 1000
    sheet.unlink()
    main(["anomalies", str(table), "--output", str(tmp_path / "a.parquet"), "--top", "3", *drawn])
    assert sheet.stat().st_size > 1000


def test_extraction_of_fits_to_files_goes_on_with_the_same_bands_alone(
    recipe: Callable[[str], ModuleType],
    cutouts: Path,
    encoder_weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    script, output = recipe("extract_embeddings"), tmp_path / "out"
    arguments = ["--data", str(cutouts), "--weights", str(encoder_weights), "--precision", "no"]
    arguments += ["--output", str(output), "--rows-per-file", "7"]
    arguments += ["--fits.stretch.kind", "percentile", "--fits.bands"]
    script.main([*arguments, "2", "1", "0"])
    options = FitsConfig(bands=("2", "1", "0"), stretch=Stretch("percentile"))
    expected = embed(cutouts, encoder_weights, precision="no", fits=options)
    found = Embeddings.read(output)
    assert len(list(output.glob("part-*.parquet"))) == 3
    assert found.ids == expected.ids
    np.testing.assert_allclose(found.vectors, expected.vectors, rtol=1e-5, atol=1e-6)
    assert found.encoder == expected.encoder
    (output / "part-00001.parquet").unlink()
    with pytest.raises(SystemExit):
        script.main([*arguments, "0", "1", "2", "--resume"])
    said = capsys.readouterr().err
    assert "was extracted with fits FitsConfig(hdu=(), bands=('2', '1', '0')" in said
    assert not (output / "part-00001.parquet").exists()
    script.main([*arguments, "2", "1", "0", "--resume"])
    np.testing.assert_array_equal(Embeddings.read(output).vectors, found.vectors)


def test_greyscale_fits_for_weights_of_one_channel_and_of_three(tmp_path: Path) -> None:
    folder = tmp_path / "grey"
    folder.mkdir()
    for number in range(3):
        plane = np.random.default_rng(number).exponential(1, (30, 30)).astype(np.float32)
        fits.writeto(folder / f"g{number}.fits", plane)
    for channels in (1, 3):
        encoder = create_encoder("test_resnet", in_chans=channels)
        transform = EncoderTransform(
            SIZE, 1.0, (0.5,) * channels, (0.25,) * channels, FitsConfig(stretch=Stretch("linear"))
        )
        save_weights(tmp_path / f"w{channels}", encoder, transform, {"data": "none"})
        assert embed(folder, tmp_path / f"w{channels}").vectors.shape == (3, 96)
