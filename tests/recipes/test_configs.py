"""Every YAML file beside the recipes is one that its recipe accepts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from gzfound.training.config import read_config_file

CONFIGS = sorted((Path(__file__).parents[2] / "recipes" / "configs").glob("**/*.y*ml"))


def test_there_are_configurations_for_both_recipes() -> None:
    assert {"finetune" in path.stem for path in CONFIGS} == {True, False}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_configuration_is_accepted(
    path: Path, recipe: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files for fine-tuning have it in their name; all others pretrain."""
    monkeypatch.setenv("GZFOUND_REAL_DATA", "/somewhere")
    if "finetune" in path.stem:
        kind = recipe("finetune_tree").TreeConfig
    else:
        kind = recipe("pretrain_simclr").PretrainConfig
    config = read_config_file(kind, path)
    assert config != kind()
    assert config.views.size <= config.image_size, "views are made from decoded images"
    assert path.read_text().startswith("# "), "says what it is for, and what it takes"
