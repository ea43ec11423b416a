"""The study in small: its variants are options that exist, and none is run twice."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gzfound
from gzfound.simulation import simulate_dataset
from gzfound.training.config import parse_config

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TINY = {
    "encoder": "test_resnet",
    "crop": 0.5,
    "image_size": 16,
    "views": {"size": 16, "blur": 0.5},
    "epochs": 1,
    "batch_size": 8,
    "watch": 8,
}


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("pretraining_study")


@pytest.fixture(scope="module")
def galaxies(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("study") / "galaxies"
    simulate_dataset(folder, galaxies=600, image_size=32, seed=0)
    return str(folder)


def test_every_variant_is_made_of_options_of_the_recipe(study: Any, tmp_path: Path) -> None:
    file = tmp_path / "options.yaml"
    found = []
    for overrides in study.VARIANTS.values():
        file.write_text(json.dumps(study.merged(study.BASE, overrides)))
        argv = ["--config", str(file), "--data", "D"]
        found.append(parse_config(study.pretrain_simclr.PretrainConfig, "", argv))
    assert len(set(map(repr, found))) == len(found) > 20


def test_merging_replaces_within_groups_and_leaves_the_base_alone(study: Any) -> None:
    base = {"epochs": 6, "views": {"size": 48, "blur": 1.5}}
    merged = study.merged(base, {"views": {"blur": 0.0}, "epochs": 2, "seed": 1})
    assert merged == {"epochs": 2, "views": {"size": 48, "blur": 0.0}, "seed": 1}
    assert base == {"epochs": 6, "views": {"size": 48, "blur": 1.5}}


def test_fitted_and_scored_galaxies_are_apart_and_of_the_training_split(
    study: Any, galaxies: str
) -> None:
    probed = study.probed_galaxies(study.StudyConfig(probed=galaxies, others=100))
    assert len(np.intersect1d(probed.fitted, probed.scored)) == 0
    assert len(probed.fitted) > 2 * len(probed.scored) > 20
    names = set(gzfound.load_dataset(galaxies, split="train")["id_str"])
    assert set(probed.dataset["id_str"]) <= names
    asked = probed.votes[:, probed.tree.slices[study.RAREST]].sum(1) >= 10
    assert len(asked) - asked.sum() == 100


def test_a_study_goes_on_where_it_was_stopped(
    study: Any, galaxies: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "BASE", TINY)
    output = tmp_path / "study.json"
    argv = ["--data", galaxies, "--probed", galaxies, "--output", str(output)]
    argv += ["--others", "100", "--min-votes", "1", "--resamples", "10"]
    study.main([*argv, "--only", "base"])
    first = json.loads(output.read_text())["variants"]["base"]
    learn, ran = study.learn, []

    def counted(overrides: dict[str, Any], data: str, folder: Path) -> Any:
        ran.append(overrides)
        return learn(overrides, data, folder)

    monkeypatch.setattr(study, "learn", counted)
    study.main([*argv, "--only", "base,seed 1"])
    found = json.loads(output.read_text())["variants"]
    assert ran == [{"seed": 1}]
    assert found["base"] == first
    assert set(found["base"]["skill"]) == {*study.QUESTIONS, "mean"}
    assert found["base"]["loss"] != found["seed 1"]["loss"]
    skill = found["base"]["skill"]["mean"]
    assert skill["low"] <= skill["value"] <= skill["high"]


def test_an_unknown_variant_is_one_line(study: Any, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--data", "D", "--probed", "D", "--output", "O", "--only", "colour 9"]
    with pytest.raises(SystemExit):
        study.main(argv)
    assert "only: 'colour 9' is no variant; allowed: base, " in capsys.readouterr().err


def test_the_documentation_has_the_runs_that_were_made(study: Any) -> None:
    found = json.loads((BENCHMARKS / "results" / "pretraining_study.json").read_text())
    told = (BENCHMARKS.parent / "docs" / "pretraining.md").read_text()
    assert study.markdown(found["variants"]) in told
    assert f"{found['fitted']:,}" in told
    assert f"{found['scored']:,}" in told
    assert found["base"] == study.BASE
    for name, run in found["variants"].items():
        assert run["options"] == study.VARIANTS[name]
