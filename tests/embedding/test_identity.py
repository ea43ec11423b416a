"""Embeddings know the encoder that made them, by a digest of all that decides what it gives."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from gzfound import DataError, Embeddings, embed, extract, load_encoder
from gzfound.data import Bands, FitsConfig, Stretch
from gzfound.embedding.identity import EncoderIdentity
from gzfound.embedding.store import encoder_of
from gzfound.models import EncoderTransform
from gzfound.models.transform import attach_transform
from gzfound.weights import DEFAULT


def test_the_same_weights_have_one_digest(encoder_weights: Path) -> None:
    first, second = (EncoderIdentity.of(load_encoder(encoder_weights)) for _ in range(2))
    assert first == second
    assert (first.weights, first.crop) == (str(encoder_weights.absolute()), 0.8)
    assert EncoderIdentity.of(load_encoder()).weights == DEFAULT


@pytest.mark.parametrize("changed", ["parameter", "buffer", "size", "mean"])
def test_whatever_changes_the_embedding_changes_the_digest(
    encoder_weights: Path, changed: str
) -> None:
    encoder = load_encoder(encoder_weights)
    before = EncoderIdentity.of(encoder)
    with torch.no_grad():
        if changed == "parameter":
            next(encoder.parameters()).view(-1)[0] += 1e-3
        elif changed == "buffer":
            next(b for b in encoder.buffers() if b.is_floating_point())[0] += 1e-3
        elif changed == "size":
            attach_transform(encoder, EncoderTransform(32, crop=0.8))
        else:
            attach_transform(encoder, EncoderTransform(24, crop=0.8, mean=(0.5, 0.5, 0.5)))
    assert EncoderIdentity.of(encoder).digest != before.digest


def test_the_crop_is_kept_beside_the_digest(encoder_weights: Path) -> None:
    whole = EncoderIdentity.of(load_encoder(encoder_weights, crop=1.0))
    assert whole.crop == 1.0
    assert whole.digest == EncoderIdentity.of(load_encoder(encoder_weights)).digest


def test_files_say_what_made_them(
    tmp_path: Path, simulated_galaxies: Path, encoder_weights: Path
) -> None:
    expected = EncoderIdentity.of(load_encoder(encoder_weights))
    held = embed(simulated_galaxies, encoder_weights, output=tmp_path / "one.parquet")
    extract(simulated_galaxies, encoder_weights, tmp_path / "many", rows_per_file=25)
    Embeddings.read(tmp_path / "one.parquet").write(tmp_path / "again.parquet")
    assert held.encoder == expected
    for name in ("one.parquet", "many", "again.parquet"):
        assert encoder_of(tmp_path / name) == expected, name
    Embeddings(["a"], held.vectors[:1]).write(tmp_path / "unknown.parquet")
    assert encoder_of(tmp_path / "unknown.parquet") is None
    told = encoder_of(tmp_path / "again.parquet")
    assert told is not None
    assert (told.weights, told.bands) == (expected.weights, Bands())


def test_fits_options_come_back_from_a_file(tmp_path: Path, encoder_weights: Path) -> None:
    options = FitsConfig(bands=("i", "r", "g"), stretch=Stretch("asinh", q=4))
    made_by = EncoderIdentity.of(load_encoder(encoder_weights, in_chans=5, fits=options))
    assert made_by.bands == Bands(5, options)
    told = EncoderIdentity.from_metadata(made_by.metadata())
    assert told is not None
    assert told.bands == made_by.bands
    old = {b"gzfound": b'{"encoder": {"weights": "w", "digest": "d", "crop": 1.0}}'}
    before = EncoderIdentity.from_metadata(old)
    assert before is not None
    assert before.bands == Bands(), "a file of before these were kept"


def test_files_of_two_encoders_do_not_make_a_table(
    tmp_path: Path, simulated_galaxies: Path, encoder_weights: Path
) -> None:
    for number, crop in enumerate((0.5, 1.0)):
        extract(simulated_galaxies, encoder_weights, tmp_path / f"{number}.parquet", crop=crop)
    with pytest.raises(DataError, match=r"several encoders \(1.parquet\)"):
        encoder_of(tmp_path)


def test_damaged_metadata_is_one_line(tmp_path: Path, simulated_galaxies: Path) -> None:
    extract(simulated_galaxies, output=tmp_path / "e.parquet")
    table = pq.read_table(tmp_path / "e.parquet")
    pq.write_table(table.replace_schema_metadata({"gzfound": "{"}), tmp_path / "bad.parquet")
    with pytest.raises(DataError, match="metadata 'gzfound' is damaged") as caught:
        encoder_of(tmp_path / "bad.parquet")
    assert "\n" not in str(caught.value)


def test_a_moved_directory_keeps_its_digest(tmp_path: Path, encoder_weights: Path) -> None:
    shutil.copytree(encoder_weights, tmp_path / "moved")
    here, there = (
        EncoderIdentity.of(load_encoder(w)) for w in (encoder_weights, tmp_path / "moved")
    )
    assert here.digest == there.digest
    assert here.weights != there.weights
