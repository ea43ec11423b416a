"""The group of the GPU benchmark that probes the pretrained weights, and keeps them small."""

from __future__ import annotations

import gzfound  # isort: skip  # noqa: F401  # before torch: says how its threads wait

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import linear_probe
import numpy as np
from gpu_sizes import Job
from gpu_training import simulated

from gzfound.evaluation.methods import (
    EMBEDDING,
    chosen_baselines,
    load_encoders,
    method_embeddings,
)
from gzfound.evaluation.results import without_nan
from gzfound.evaluation.sample import Sample, load_sample
from gzfound.models import transform_of
from gzfound.models.precision import usable_cores

Result = dict[str, Any]
WEIGHT_FILE = 15 * 2**20
"""Largest file of weights, in bytes."""


def probes(job: Job) -> Result:
    """Probe the pretrained weights on all questions; keep them as bf16 beside the work."""
    weights = job.work / "pretraining" / "weights"
    if not weights.exists():
        return {"skipped": "pretraining has not finished yet"}
    config = linear_probe.ProbeConfig(
        weights=str(weights),
        data=str(simulated(job, "pretraining", job.sizes.galaxies)),
        questions="all",
        baselines="constant,untrained,pixels",
        min_votes=20 if job.sizes.compiles else 1,
        seed=job.seed,
        device=str(job.device),
        threads=usable_cores(),
        resamples=200,
    )
    baselines, encoders = chosen_baselines(config.baselines), load_encoders(config)
    transform = transform_of(encoders[EMBEDDING])
    whole = load_sample(config, transform.size, transform.crop, bands=transform.bands)
    sample = fewer(whole, job)
    embeddings = method_embeddings(config, encoders, sample, baselines)
    found = linear_probe.probe_questions(config, sample, embeddings, constant=True)
    files = save_small(weights, job.work / "weights_bf16")
    table = without_nan({"rows": found["rows"], "notes": found["notes"]})
    return {"table": table, "weight_files": files}


def fewer(sample: Sample, job: Job) -> Sample:
    """The test galaxies, and the first ``probed`` of the others; they cannot be decoded again."""
    assert sample.test_rows is not None
    train = np.setdiff1d(np.arange(len(sample.ids)), sample.test_rows)[: job.sizes.probed]
    rows = np.concatenate([train, sample.test_rows])
    return replace(
        sample,
        images=sample.images[rows],
        ids=[sample.ids[row] for row in rows],
        columns={name: values[rows] for name, values in sample.columns.items()},
        test_rows=np.arange(len(train), len(rows)),
        sources=(),
    )


def save_small(weights: Path, target: Path) -> dict[str, int]:
    """Weights as bf16 in files of at most ``WEIGHT_FILE`` bytes; returns the size of each."""
    from huggingface_hub import save_torch_state_dict
    from safetensors.torch import load_file

    state = load_file(weights / "model.safetensors")
    small = {n: v.bfloat16() if v.is_floating_point() else v for n, v in state.items()}
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    save_torch_state_dict(small, target, max_shard_size=WEIGHT_FILE)
    shutil.copy(weights / "config.json", target)
    return {path.name: path.stat().st_size for path in sorted(target.glob("*.safetensors"))}
