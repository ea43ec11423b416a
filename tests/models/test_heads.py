"""The decision-tree head and what fine-tuning moves."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gzfound import load_tree
from gzfound.errors import ConfigError
from gzfound.models import TreeHead, create_encoder
from gzfound.models.tuning import HeadModel, freeze, layer_depths, layerwise_groups

TREE = load_tree("gz_hubble")


def test_a_new_head_expects_equal_fractions_with_concentration_e_squared() -> None:
    concentrations = TreeHead(8, TREE)(torch.randn(4, 8))
    for question in TREE.questions:
        part = concentrations[:, TREE.slices[question.name]]
        expected = torch.full_like(part, 7.389056 / len(question.answers))
        torch.testing.assert_close(part, expected, rtol=1e-5, atol=0)


def test_logits_and_totals_act_as_softmax_and_sum() -> None:
    head = TreeHead(8, TREE)
    for parameter in head.parameters():
        nn.init.normal_(parameter)
    embeddings = torch.randn(6, 8)
    concentrations = head(embeddings)
    logits, totals = head.answers(embeddings), head.totals(embeddings).clamp(*head.log_range).exp()
    for number, question in enumerate(TREE.questions):
        where = TREE.slices[question.name]
        expected = logits[:, where].softmax(dim=1) * totals[:, number : number + 1]
        torch.testing.assert_close(concentrations[:, where], expected.clamp_min(1e-6))


def test_extreme_embeddings_stay_finite_and_positive() -> None:
    head = TreeHead(8, TREE)
    nn.init.normal_(head.answers.weight, std=100.0)
    nn.init.normal_(head.totals.weight, std=100.0)
    concentrations = head(torch.randn(50, 8) * 100)
    assert torch.isfinite(concentrations).all()
    assert (concentrations > 0).all()


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_vit"])
def test_freezing_leaves_the_last_layers(name: str) -> None:
    encoder = create_encoder(name)
    depths = layer_depths(encoder)
    deepest = max(depths.values())
    for tune, blocks, first in (
        ("head", 1, deepest + 1),
        ("blocks", 2, deepest - 1),
        ("all", 1, 0),
    ):
        freeze(encoder, tune, blocks)  # type: ignore[arg-type]
        moving = {n for n, p in encoder.named_parameters() if p.requires_grad}
        assert moving == {n for n, _ in encoder.named_parameters() if depths[n] >= first}


def test_learning_rates_shrink_towards_the_input() -> None:
    encoder = create_encoder("test_resnet")
    groups = layerwise_groups(encoder, 0.1, 0.5)
    depths = layer_depths(encoder)
    scale = {id(p): group["scale"] for group in groups for p in group["params"]}
    deepest = max(depths.values())
    for name, parameter in encoder.named_parameters():
        assert scale[id(parameter)] == pytest.approx(0.5 ** (deepest + 1 - depths[name]))
    assert {group["weight_decay"] for group in groups} == {0.0, 0.1}


def test_frozen_batch_norms_keep_their_statistics() -> None:
    encoder = create_encoder("test_resnet")
    freeze(encoder, "head", 1)
    model = HeadModel(encoder, TreeHead(encoder.num_features, TREE)).train()
    before = {name: value.clone() for name, value in encoder.named_buffers()}
    model(torch.randn(4, 3, 32, 32))
    assert before
    assert all(torch.equal(value, before[name]) for name, value in encoder.named_buffers())
    assert model.head.training


def test_too_many_blocks_are_named() -> None:
    with pytest.raises(ConfigError, match="blocks: 99 must be 1 to"):
        freeze(create_encoder("test_resnet"), "blocks", 99)
