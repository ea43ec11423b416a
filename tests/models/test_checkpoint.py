"""Weights directories: what goes in comes out, with and without gzfound, and nothing pickled."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import nn

from gzfound import load_encoder, load_tree
from gzfound.errors import ConfigError, WeightsError
from gzfound.models import EncoderTransform, TreeHead, create_encoder, save_weights
from gzfound.models.checkpoint import load_head, start_encoder
from gzfound.models.heads import ClassHead, NumberHead

TRANSFORM = EncoderTransform(40, crop=0.8, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))


@pytest.fixture
def encoder() -> nn.Module:
    torch.manual_seed(3)
    return create_encoder("test_resnet").eval()


@pytest.fixture
def weights(tmp_path: Path, encoder: nn.Module) -> Path:
    save_weights(tmp_path / "w", encoder, TRANSFORM, {"data": "made up", "recipe": "a test"})
    return tmp_path / "w"


def test_the_encoder_comes_back_with_its_transform(weights: Path, encoder: nn.Module) -> None:
    loaded = load_encoder(weights)
    images = torch.randn(3, 3, 40, 40)
    assert not loaded.training
    assert loaded.transform == TRANSFORM
    assert torch.equal(loaded(images), encoder(images))


def test_timm_loads_the_same_encoder_without_gzfound(weights: Path) -> None:
    plain = timm.create_model(f"local-dir:{weights}", pretrained=True).eval()
    images = torch.randn(3, 3, 40, 40)
    assert torch.equal(plain(images), load_encoder(weights)(images))
    data = timm.data.resolve_data_config(model=plain)
    assert data["input_size"] == (3, 40, 40)
    assert (tuple(data["mean"]), tuple(data["std"])) == (TRANSFORM.mean, TRANSFORM.std)
    assert data["crop_pct"] == 0.8


def test_the_directory_says_where_the_weights_come_from(weights: Path) -> None:
    assert sorted(path.name for path in weights.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    assert json.loads((weights / "config.json").read_text())["gzfound"]["data"] == "made up"
    card = (weights / "README.md").read_text()
    assert "made up" in card
    assert "released as source code by publication" in " ".join(card.split())


@pytest.mark.parametrize(
    ("licence", "tag"),
    [
        ("cc0-1.0", "cc0-1.0"),
        ("cc0-1.0, cc-by-4.0", "other"),
        ("cc0-1.0, unknown", "unknown"),
    ],
)
def test_the_card_names_one_licence(
    tmp_path: Path, encoder: nn.Module, licence: str, tag: str
) -> None:
    save_weights(tmp_path / "w", encoder, TRANSFORM, {"licence": licence})
    card = (tmp_path / "w" / "README.md").read_text()
    assert f"\nlicense: {tag}\n" in card
    assert f"- Licence of the data: {licence}\n" in card
    assert "Licence of the weights" not in card


def test_a_head_comes_back_for_the_questions_it_was_trained_on(
    tmp_path: Path, encoder: nn.Module
) -> None:
    tree = load_tree("gz_hubble").without("bar-hubble")
    head = TreeHead(encoder.num_features, tree).eval()
    nn.init.normal_(head.answers.weight)
    save_weights(tmp_path / "w", encoder, TRANSFORM, {}, head=head)
    loaded = load_head(tmp_path / "w", load_encoder(tmp_path / "w"))
    embeddings = torch.randn(5, encoder.num_features)
    assert loaded.tree.columns == tree.columns
    assert torch.equal(loaded(embeddings), head(embeddings))


def test_a_head_described_as_before_still_loads(tmp_path: Path, encoder: nn.Module) -> None:
    """Once the only kind was a tree, described by its columns alone."""
    tree = load_tree("gz_hubble")
    save_weights(tmp_path / "w", encoder, TRANSFORM, {}, head=TreeHead(encoder.num_features, tree))
    path = tmp_path / "w" / "config.json"
    config = json.loads(path.read_text())
    config["gzfound"] = {"columns": config["gzfound"]["head"]["columns"]}
    path.write_text(json.dumps(config))
    assert load_head(tmp_path / "w", load_encoder(tmp_path / "w")).tree.columns == tree.columns


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (ClassHead(16, "kind", ("a", "b")), "with a head for the classes of kind"),
        (NumberHead(16, "redshift", 0.5, 0.1), "with a head for the number redshift"),
    ],
)
def test_the_card_names_the_head(
    tmp_path: Path, encoder: nn.Module, head: nn.Module, words: str
) -> None:
    save_weights(tmp_path / "w", encoder, TRANSFORM, {}, head=head)
    assert words in (tmp_path / "w" / "README.md").read_text()


def test_an_encoder_alone_has_no_head(weights: Path) -> None:
    with pytest.raises(WeightsError, match="has no head"):
        load_head(weights, load_encoder(weights))
    with pytest.raises(WeightsError, match="from a directory, not from 'hf-hub:owner/name'"):
        load_head("hf-hub:owner/name", load_encoder(weights))


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('code was run')",)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".bin", ".pkl"])
def test_pickles_are_refused_unopened(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(WeightsError, match=r"pickled.*convert it to safetensors"):
        load_encoder(path)


def test_a_pickle_in_place_of_the_tensors_is_not_run(weights: Path) -> None:
    (weights / "model.safetensors").write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(WeightsError, match="cannot load"):
        load_encoder(weights)


def test_what_is_missing_or_wrong_is_named(tmp_path: Path, weights: Path) -> None:
    with pytest.raises(
        WeightsError, match=r"'nowhere' is no directory, no packaged name .*, no 'hf-hub:"
    ):
        load_encoder("nowhere")
    with pytest.raises(WeightsError, match=r"no config\.json and no model\.safetensors"):
        load_encoder(tmp_path)
    (weights / "config.json").write_text("{")
    with pytest.raises(WeightsError, match="is not JSON"):
        load_encoder(weights)
    (weights / "config.json").write_text("[]")
    with pytest.raises(WeightsError, match="names no 'architecture'"):
        load_encoder(weights)


def test_the_name_of_the_encoder_must_fit_the_weights(weights: Path) -> None:
    assert start_encoder("test_resnet", str(weights), 40).training
    with pytest.raises(ConfigError, match=r"'resnet18' was asked for, but .* holds 'test_resnet'"):
        start_encoder("resnet18", str(weights), 40)
    with pytest.raises(ConfigError, match=r"no model named 'resnet_18'; did you mean .*resnet18"):
        create_encoder("resnet_18")


def test_the_transform_crops_resizes_and_normalises() -> None:
    """Grey 51 is 0.2; (0.2 - mean) / std is 0.2, 0 and -1/7 for the three bands."""
    grey = np.full((50, 60, 3), 51, dtype=np.uint8)
    pixels = TRANSFORM(grey)
    assert pixels.shape == (3, 40, 40)
    expected = torch.tensor([0.2, 0.0, -1 / 7])[:, None, None].expand(3, 40, 40)
    torch.testing.assert_close(pixels, expected, atol=1e-6, rtol=0)
    as_tensor = TRANSFORM(torch.from_numpy(grey).permute(2, 0, 1))
    assert torch.equal(as_tensor, pixels)


def test_the_crop_can_be_that_of_other_images(weights: Path) -> None:
    assert load_encoder(weights, crop=0.3).transform == EncoderTransform(
        40, 0.3, TRANSFORM.mean, TRANSFORM.std
    )
    for crop in (0.0, 1.2):
        with pytest.raises(ConfigError, match=f"crop: {crop} must be above 0 and at most 1"):
            load_encoder(weights, crop=crop)


def test_an_encoder_of_one_size_is_built_and_kept_for_the_size_of_the_images(
    tmp_path: Path,
) -> None:
    """ViT-Tiny is made for 224 px and refuses any other size unless told."""
    encoder = create_encoder("vit_tiny_patch16_224", image_size=48).eval()
    save_weights(tmp_path / "w", encoder, EncoderTransform(48), {})
    images = torch.randn(2, 3, 48, 48)
    assert torch.equal(load_encoder(tmp_path / "w")(images), encoder(images))
    plain = timm.create_model(f"local-dir:{tmp_path / 'w'}", pretrained=True).eval()
    assert torch.equal(plain(images), encoder(images))
