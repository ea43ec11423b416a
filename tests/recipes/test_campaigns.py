"""Many campaigns at once: pretrained, fine-tuned and probed together, or all but one."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from gzfound import load_dataset, load_encoder, load_tree
from gzfound.evaluation.scores import mean_of
from gzfound.evaluation.table import MEAN
from gzfound.models.checkpoint import load_head, read_config
from gzfound.simulation import simulate_dataset
from gzfound.training.galaxies import campaign_numbers, load_galaxies
from gzfound.training.run import batch_order

SMALL = [
    *("--views.size", "24", "--image-size", "32", "--epochs", "1", "--batch-size", "16"),
    *("--precision", "no"),
]
HELD_OUT = ["--held-out-campaign", "gz_h2o"]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """60 galaxies of GZ2, 40 of Cosmic Dawn and 80 of UKIDSS, at 32 pixels."""
    folder = tmp_path_factory.mktemp("campaigns")
    sizes = {"gz2": 60, "gz_h2o": 40, "gz_ukidss": 80}
    for campaign, galaxies in sizes.items():
        options: Any = {"image_size": 32, "seed": 2, "threads": 1}
        simulate_dataset(folder / campaign, galaxies=galaxies, campaign=campaign, **options)
    return [str(folder / campaign) for campaign in sizes]


@pytest.fixture(scope="module")
def probe() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "linear_probe.py"
    specification = importlib.util.spec_from_file_location("linear_probe_of_campaigns", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


def galaxies_of(sources: list[str], **options: Any) -> Any:
    return load_galaxies(sources, config=None, split="train", size=8, crop=1.0, **options)


def test_galaxies_know_their_campaign(sources: list[str]) -> None:
    """As many of each as the sources have; votes only on the questions of its own campaign."""
    found = galaxies_of(sources)
    sizes = [len(load_dataset(source, split="train")) for source in sources]
    assert found.campaigns == [
        name
        for name, n in zip(("gz2", "gz_h2o", "gz_ukidss"), sizes, strict=True)
        for _ in range(n)
    ]
    assert np.bincount(campaign_numbers(found)).tolist() == sizes
    for campaign in ("gz2", "gz_h2o", "gz_ukidss"):
        own = np.isin(found.tree.columns, load_tree(campaign).columns)
        here = np.array(found.campaigns) == campaign
        assert found.votes[here][:, own].any()
        assert not found.votes[~here][:, own].any()


def test_a_held_out_campaign_leaves_nothing_behind(sources: list[str]) -> None:
    found = galaxies_of(sources, held_out_campaign="gz_h2o")
    assert set(found.campaigns) == {"gz2", "gz_ukidss"}
    assert not any(name.endswith("-cd") for name in found.tree.slices)
    assert len(found.tree.questions) == 20
    with pytest.raises(ValueError, match="'gz_h20' is not in the data; allowed: gz2, gz_h2o"):
        galaxies_of(sources, held_out_campaign="gz_h20")
    with pytest.raises(ValueError, match="'gz2' leaves no galaxies; name more data"):
        galaxies_of(sources[:1], held_out_campaign="gz2")


def test_each_campaign_is_watched(sources: list[str], recipe: Callable[[str], ModuleType]) -> None:
    """Nine galaxies are the first three of each, wherever they are."""
    found = galaxies_of(sources)
    rows = recipe("pretrain_simclr").watched_rows(found, 9)
    assert [found.campaigns[row] for row in rows] == ["gz2"] * 3 + ["gz_h2o"] * 3 + [
        "gz_ukidss"
    ] * 3
    assert rows[0] == 0


def test_all_but_one_and_a_probe_on_that_one(
    sources: list[str],
    recipe: Callable[[str], ModuleType],
    probe: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Hybrid pretraining, fine-tuning and the probe; scores of each campaign and of all."""
    balanced: list[list[int]] = []

    def spy(rows: Any, size: int, seed: int, accelerator: Any, groups: Any) -> Any:
        assert len(groups) == len(rows)
        balanced.append(sorted(set(groups.tolist())))
        return batch_order(rows, size, seed, accelerator, groups)

    pretrain = recipe("pretrain_simclr")
    monkeypatch.setattr(pretrain, "batch_order", spy)
    monkeypatch.setattr("gzfound.finetuning.stages.batch_order", spy)
    data = ["--data", *sources]
    pretrained, tuned = tmp_path / "simclr", tmp_path / "tree"
    pretrain.main(
        [
            *(*SMALL, *data, *HELD_OUT, "--balance", "--encoder", "test_resnet"),
            *("--supervised-weight", "0.1", "--output", str(pretrained)),
        ]
    )
    recipe("finetune_tree").main(
        [
            *(*SMALL, *data, *HELD_OUT, "--balance", "--weights", str(pretrained / "weights")),
            *("--head-epochs", "1", "--min-votes", "1", "--output", str(tuned)),
        ]
    )
    assert balanced == [[0, 1]] * 3, "pretraining, the head alone, the head and the encoder"
    for folder in (pretrained, tuned):
        saved = read_config(folder / "weights")["gzfound"]
        assert saved["config"]["held_out_campaign"] == "gz_h2o"
        head: Any = load_head(folder / "weights", load_encoder(folder / "weights"))
        suffixes = {name.rsplit("-", 1)[1] for name in head.tree.slices}
        assert suffixes == {"gz2", "ukidss"}
    targets = {row["target"] for row in json.loads((tuned / "metrics.json").read_text())["rows"]}
    assert {mean_of("gz2"), mean_of("gz_ukidss"), MEAN} <= targets
    output = tmp_path / "probe.json"
    probe.main(
        [
            *("--weights", str(tuned / "weights"), "--data", ",".join(sources), *HELD_OUT),
            *("--questions", "all", "--min-votes", "1", "--baselines", "constant"),
            *("--resamples", "20", "--output", str(output)),
        ]
    )
    rows = json.loads(output.read_text())["rows"]
    probed = {row["target"] for row in rows} - {MEAN}
    assert probed == set(load_tree("gz_h2o").slices)
    tested = len(load_dataset(sources[1], split="test"))
    assert max(row["galaxies"] for row in rows) == tested
