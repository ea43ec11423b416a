"""Fixtures that the whole suite shares."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from torch import Tensor


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real galaxies and votes, where the machine has it."""
    folder = os.environ.get("GZFOUND_REAL_DATA")
    if not folder:
        pytest.skip("GZFOUND_REAL_DATA is not set")
    return Path(folder)


@pytest.fixture(scope="session", autouse=True)
def _caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep caches out of the user's home, here and in the processes that tests start."""
    folder = tmp_path_factory.mktemp("caches")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_DATASETS_CACHE", str(folder / "datasets"))
        patch.setenv("GZFOUND_CACHE", str(folder / "gzfound"))
        if "datasets" in sys.modules:
            patch.setattr("datasets.config.HF_DATASETS_CACHE", folder / "datasets")
        yield


@pytest.fixture(scope="session")
def simulated_galaxies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset directory of 60 simulated galaxies of 32 pixels, two splits."""
    from gzfound.simulation import simulate_dataset

    output = tmp_path_factory.mktemp("simulated") / "galaxies"
    return simulate_dataset(output, galaxies=60, image_size=32, seed=1, threads=1)


@pytest.fixture(scope="session")
def encoder_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights directory of a small untrained encoder that takes 24 pixels."""
    import torch

    from gzfound.models import EncoderTransform, create_encoder, save_weights

    folder = tmp_path_factory.mktemp("weights") / "encoder"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = create_encoder("test_resnet")
    save_weights(folder, encoder, EncoderTransform(24, crop=0.8), {"data": "none"})
    return folder


@pytest.fixture(scope="session")
def head_weights(tmp_path_factory: pytest.TempPathFactory, encoder_weights: Path) -> Path:
    """A weights directory of the same encoder with a head of random weights for gz_hubble."""
    import torch

    from gzfound import load_encoder, load_tree
    from gzfound.models import TreeHead, encoder_features, save_weights

    folder = tmp_path_factory.mktemp("weights") / "head"
    encoder = load_encoder(encoder_weights)
    head = TreeHead(encoder_features(encoder), load_tree("gz_hubble"))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        torch.nn.init.normal_(head.answers.weight, std=0.3)
        torch.nn.init.normal_(head.totals.weight, std=0.1)
    save_weights(folder, encoder, encoder.transform, {"data": "none"}, head=head)
    return folder


@pytest.fixture
def packaged_weights(
    tmp_path_factory: pytest.TempPathFactory, head_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder of packaged weights in place of the real one: the default, with a head, in bf16."""
    from gzfound.models.packing import halve_weights
    from gzfound.weights import DEFAULT

    folder = tmp_path_factory.mktemp("packaged")
    halve_weights(head_weights, folder / DEFAULT, "bf16")
    monkeypatch.setattr("gzfound.weights.FOLDER", folder)
    return folder


@pytest.fixture(scope="session")
def by_one_and_two(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[dict[str, dict[str, Tensor]], dict[str, dict[str, Tensor]]]:
    """What one process learns of whole batches, and two of half of each, in all kinds of training.

    ``two_processes.py`` says which kinds; each has the loss and the gradient of the first step, and
    all weights and buffers after the last.
    """
    import torch

    folder = tmp_path_factory.mktemp("processes")
    script = [sys.executable, str(Path(__file__).parent / "two_processes.py")]
    for count in (1, 2):
        running = [
            subprocess.Popen([*script, str(folder / f"store{count}"), str(rank), str(count)])
            for rank in range(count)
        ]
        assert [process.wait(timeout=120) for process in running] == [0] * count
    one, two = (torch.load(folder / f"store{count}.pt", weights_only=True) for count in (1, 2))
    return one, two
