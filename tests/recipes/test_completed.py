"""Sizes and encoder that no option names are those of the weights, and are written down."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from gzfound import load_encoder
from gzfound.errors import ConfigError
from gzfound.finetuning import FinetuneConfig
from gzfound.training.completed import completed
from gzfound.training.config import read_config_file
from gzfound.training.run import RunConfig
from gzfound.views import ViewConfig

TARGET = ["--target", "ra"]


def sizes(config: RunConfig) -> tuple[str, int | None, int | None]:
    return config.encoder, config.views.size, config.image_size


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ("test_resnet", 24, 32)),
        ({"image_size": 40}, ("test_resnet", 24, 40)),
        ({"views": ViewConfig(size=25)}, ("test_resnet", 25, 34)),
        ({"encoder": "resnet18"}, ("resnet18", 24, 32)),
        ({"weights": None}, ("resnet18", 96, 128)),
        ({"weights": None, "encoder": "test_vit"}, ("test_vit", 96, 128)),
        ({"weights": None, "views": ViewConfig(size=48)}, ("resnet18", 48, 64)),
    ],
)
def test_what_is_not_given_is_that_of_the_weights(
    encoder_weights: Path, given: dict[str, Any], expected: tuple[str, int, int]
) -> None:
    """Kept images are a third larger than views, rounded up."""
    found = completed(FinetuneConfig(**{"weights": str(encoder_weights), **given}))
    assert sizes(found) == expected
    assert completed(found) == found
    assert found.views.zoom == (FinetuneConfig(**given).views.zoom)


def test_a_blur_too_wide_for_the_views_of_the_weights_is_named(encoder_weights: Path) -> None:
    config = RunConfig(weights=str(encoder_weights), views=ViewConfig(blur=5.0))
    with pytest.raises(ConfigError, match=r"views.blur: 5.0 must be at most 4 for views of 24"):
        completed(config)


@pytest.mark.parametrize(
    ("name", "options", "place"),
    [
        ("finetune_tree", [], "gzfound.finetuning.finetune"),
        ("finetune_classifier", TARGET, "gzfound.finetuning.finetune"),
        ("finetune_regressor", TARGET, "gzfound.finetuning.finetune"),
        ("pretrain_simclr", [], "pretrain_simclr"),
    ],
)
def test_every_recipe_takes_and_records_them(
    recipe: Callable[[str], ModuleType],
    simulated_galaxies: Path,
    encoder_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    options: list[str],
    place: str,
) -> None:
    """No run of it, but the size that images are to be decoded at."""
    script, asked = recipe(name), []

    def spy(*_: object, size: int, **__: object) -> None:
        asked.append(size)
        raise KeyboardInterrupt

    monkeypatch.setattr(import_module(place), "load_galaxies", spy)
    where = ["--data", str(simulated_galaxies), "--output", str(tmp_path / "run")]
    with pytest.raises(KeyboardInterrupt):
        script.main([*where, "--weights", str(encoder_weights), "--precision", "no", *options])
    assert asked == [32]
    kinds = {"finetune_tree": "TreeConfig", "pretrain_simclr": "PretrainConfig"}
    kind = getattr(script, kinds.get(name, "TargetConfig"))
    config = read_config_file(kind, tmp_path / "run" / "config.yaml")
    assert sizes(config) == ("test_resnet", 24, 32)


SHORT = [
    *("--epochs", "2", "--batch-size", "16", "--head-epochs", "1", "--precision", "no"),
    *("--optim.learning-rate", "0.01"),
]


def test_a_run_without_sizes_is_that_with_them_also_after_a_kill(
    recipe: Callable[[str], ModuleType],
    simulated_galaxies: Path,
    encoder_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The end comes in the second step of the encoder: one loss a step, and one an epoch."""
    script = recipe("finetune_tree")
    data = ["--data", str(simulated_galaxies), "--weights", str(encoder_weights)]
    given = ["--views.size", "24", "--image-size", "32"]
    script.main([*SHORT, *data, *given, "--output", str(tmp_path / "given")])
    calls, loss = 0, script.DirichletMultinomialLoss.forward

    def interrupted(*args: object) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise KeyboardInterrupt
        return loss(*args)

    command = [*SHORT, *data, "--output", str(tmp_path / "left")]
    with monkeypatch.context() as patch:
        patch.setattr(script.DirichletMultinomialLoss, "forward", interrupted)
        with pytest.raises(KeyboardInterrupt):
            script.main(command)
    script.main([*command, "--resume"])
    for name in ("model.safetensors", "head.safetensors"):
        one, other = (load_file(tmp_path / run / "weights" / name) for run in ("given", "left"))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one), name
    assert load_encoder(tmp_path / "left" / "weights").transform.size == 24


def test_a_finished_run_says_so_without_the_weights_it_started_from(
    recipe: Callable[[str], ModuleType],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints" / "finished.json").write_text('{"epochs": 3}')
    command = ["--weights", str(tmp_path / "gone"), "--output", str(run), "--epochs", "3"]
    with pytest.raises(SystemExit) as caught:
        recipe("finetune_tree").main([*command, "--resume", "auto", "--precision", "no"])
    assert caught.value.code == 0
    assert "holds a finished run of 3 epochs" in capsys.readouterr().out
