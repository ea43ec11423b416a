"""Encoders of any number of channels, and weights that know how FITS becomes their pixels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from gzfound import load_encoder
from gzfound.data import Bands, FitsConfig, Stretch
from gzfound.embedding import embed_arrays
from gzfound.errors import ConfigError, WeightsError
from gzfound.models import EncoderTransform, create_encoder, save_weights
from gzfound.models.checkpoint import start_encoder
from gzfound.models.transform import IMAGENET_MEAN, channel_statistics

FITS = FitsConfig(
    hdu=("SCI",),
    bands=("z", "r", "g"),
    unit="nJy",
    scale=(1.0, 2.0, 3.0),
    stretch=Stretch("asinh", softening=0.5, percentiles=(2.0, 98.0)),
)


def saved(folder: Path, channels: int, fits: FitsConfig) -> Path:
    torch.manual_seed(channels)
    mean, std = channel_statistics(channels)
    transform = EncoderTransform(24, 1.0, mean, std, fits)
    encoder = create_encoder("test_resnet", in_chans=channels)
    save_weights(folder / f"w{channels}", encoder, transform, {"data": "none"})
    return folder / f"w{channels}"


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_weights_of_any_number_of_channels_come_back_bit_by_bit(
    tmp_path: Path, channels: int
) -> None:
    weights = saved(tmp_path, channels, FitsConfig())
    torch.manual_seed(channels)
    encoder = create_encoder("test_resnet", in_chans=channels).eval()
    images = torch.randn(2, channels, 24, 24)
    loaded = load_encoder(weights)
    with torch.inference_mode():
        assert torch.equal(loaded(images), encoder(images))
        plain = timm.create_model(f"local-dir:{weights}", pretrained=True).eval()
        assert torch.equal(plain(images), encoder(images))
    assert loaded.transform.bands == Bands(channels)
    config = json.loads((weights / "config.json").read_text())
    assert ("first_conv" in config["pretrained_cfg"]) == (channels == 3)
    pixels = np.random.default_rng(0).integers(0, 255, (2, 24, 24, channels), dtype=np.uint8)
    with torch.inference_mode():
        expected = loaded(loaded.transform.normalise(torch.from_numpy(pixels))).numpy()
    assert np.allclose(embed_arrays(loaded, pixels), expected, atol=1e-5)


def test_what_weights_say_of_fits_comes_back(tmp_path: Path) -> None:
    weights = saved(tmp_path, 3, FITS)
    assert load_encoder(weights).transform.fits == FITS
    assert timm.create_model(f"local-dir:{weights}", pretrained=True) is not None
    other = FitsConfig(bands=("i", "r", "g"))
    chosen = load_encoder(weights, fits=other).transform.fits
    assert (chosen.bands, chosen.stretch, chosen.unit) == (other.bands, FITS.stretch, "nJy")
    card = (weights / "README.md").read_text()
    assert "- FITS: HDU SCI; bands z, r, g in nJy; asinh stretch (minimum 0.0," in card


def test_weights_on_the_hub_say_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what is asked of the hub is replaced: which repository and revision."""
    weights = saved(tmp_path, 3, FITS)
    asked = []

    def download(repo: str, revision: str | None = None, **_: object) -> str:
        asked.append((repo, revision))
        return str(weights)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert load_encoder("hf-hub:me/galaxies@v2").transform.fits == FITS
    assert load_encoder("hf-hub:me/galaxies").transform.fits == FITS
    assert asked == [("me/galaxies", "v2"), ("me/galaxies", None)]


def test_weights_that_say_something_else_are_refused(tmp_path: Path) -> None:
    weights = saved(tmp_path, 3, FITS)
    config = json.loads((weights / "config.json").read_text())
    for fits, said in (
        ({"stretch": {"kind": "sqrt"}}, "stretch.kind: 'sqrt'"),
        ({"planes": [1]}, "planes"),
    ):
        config["gzfound"]["fits"] = fits
        (weights / "config.json").write_text(json.dumps(config))
        with pytest.raises(WeightsError, match=said) as caught:
            load_encoder(weights)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("channels", [1, 2, 5, 7])
def test_filters_of_three_channels_are_adapted_as_timm_does(tmp_path: Path, channels: int) -> None:
    """Repeated in turn and scaled by 3 / C, so that grey gives what it gave; added up for one."""
    weights = saved(tmp_path, 3, FitsConfig())
    three, adapted = load_encoder(weights), load_encoder(weights, in_chans=channels)
    first, found = next(three.parameters()), next(adapted.parameters())
    assert found.shape[1] == channels
    if channels == 1:
        expected = first.sum(1, keepdim=True)
    else:
        turns = -(-channels // 3)
        expected = first.repeat(1, turns, 1, 1)[:, :channels] * (3 / channels)
    assert torch.allclose(found, expected)
    mean = adapted.transform.mean
    assert len(mean) == channels
    if channels == 1:
        assert mean == (pytest.approx(np.mean(IMAGENET_MEAN)),)
    else:
        assert mean == tuple(IMAGENET_MEAN[channel % 3] for channel in range(channels))
    save_weights(tmp_path / "again", adapted, adapted.transform, {"data": "none"})
    again = load_encoder(tmp_path / "again")
    images = torch.randn(2, channels, 24, 24)
    with torch.inference_mode():
        assert torch.equal(again(images), adapted(images))


def test_other_numbers_of_channels_are_not_adapted(tmp_path: Path) -> None:
    weights = saved(tmp_path, 5, FitsConfig())
    assert load_encoder(weights, in_chans=5).transform.bands == Bands(5)
    with pytest.raises(WeightsError, match="has 5 channels; only those of 3 are adapted to 3"):
        load_encoder(weights, in_chans=3)


def test_a_recipe_starts_from_any_number_of_channels(tmp_path: Path) -> None:
    untrained = start_encoder("test_resnet", None, 24, in_chans=4, fits=FITS)
    assert untrained.transform.bands == Bands(4, FITS)
    assert untrained(torch.zeros(2, 4, 24, 24)).shape == (2, 96)
    weights = str(saved(tmp_path, 3, FITS))
    adapted = start_encoder("", weights, 24, in_chans=4)
    assert adapted.transform.bands == Bands(4, FITS)
    with pytest.raises(ConfigError, match="in_chans: 0 must be at least 1"):
        load_encoder(weights, in_chans=0)
