"""The groups of the GPU benchmark that train: steps, simulation, pretraining, probes."""

from __future__ import annotations

import gzfound  # isort: skip  # before torch: says how its threads wait

import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import linear_probe
import numpy as np
import torch
from gpu_sizes import Job, Sizes, compiled, seconds, spread, tuned
from torch.utils.flop_counter import FlopCounterMode

from gzfound.files import write_text
from gzfound.models import create_encoder, transform_of
from gzfound.models.precision import pick_precision, usable_cores
from gzfound.simclr import SimCLR, SimCLRConfig, SimCLRLoss
from gzfound.simulation import simulate_dataset
from gzfound.training.optim import OptimConfig, build_optimiser, parameter_groups
from gzfound.training.telemetry import read_metrics
from gzfound.views import ViewConfig

sys.path.insert(0, str(Path(__file__).parents[1] / "recipes"))
from pretrain_simclr import PretrainConfig, pretrain

Result = dict[str, Any]
WEIGHT_FILE = 15 * 2**20
"""Largest file of weights, in bytes."""


class TimeUp(BaseException):
    """The time limit is reached; not an ``Exception``, so that nothing on the way swallows it."""


def matrix_peak(job: Job) -> Result:
    """The rate of a large product of bf16 matrices, in FLOP/s."""
    n = job.sizes.matrix
    left, right = (torch.randn(n, n, device=job.device, dtype=torch.bfloat16) for _ in range(2))
    work = {"product": lambda: [left @ right for _ in range(10)]}
    times = seconds(work, job.sizes.repeats, job.device)["product"]
    return {"flops": spread([10 * 2 * n**3 / taken for taken in times])}


def training(job: Job) -> Result:
    """The recipe from a dataset, over forward, backward and optimiser on random pixels."""
    sizes = job.sizes
    data = simulated(job, "stepped", sizes.stepped)
    work = raw_steps(job)
    before = seconds(work, sizes.repeats, job.device)
    with tempfile.TemporaryDirectory(dir=job.work) as folder:
        pretrain(recipe(job, data, Path(folder) / "run", epochs=sizes.repeats + 1))
        epochs = read_metrics(Path(folder) / "run" / "metrics.jsonl", "epoch")[1:]
    after = seconds(work, sizes.repeats, job.device)
    galaxies = sizes.steps * sizes.batch
    raw = {name: [galaxies / s for s in before[name] + after[name]] for name in work}
    ours = [epoch["galaxies_per_second"] for epoch in epochs]
    return {
        "ratio": median(ours) / median(raw["raw"]),
        "waiting": median(epoch["waiting"] for epoch in epochs),
        "galaxies_per_second": spread(ours),
        **{f"{n.replace(' ', '_')}_galaxies_per_second": spread(v) for n, v in raw.items()},
        "flops_per_galaxy": flops_per_galaxy(sizes),
    }


def raw_steps(job: Job) -> dict[str, Callable[[], None]]:
    """SimCLR steps on pixels that are there already, at the recipe's precision; also compiled."""
    sizes, device = job.sizes, job.device
    model = SimCLR(create_encoder(sizes.encoder), SimCLRConfig())
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = build_optimiser(parameter_groups(model, 0.05), OptimConfig())
    loss = SimCLRLoss(SimCLRConfig())
    shape = (2 * sizes.batch, 3, sizes.pixels, sizes.pixels)
    pixels = torch.randn(shape, device=device).contiguous(memory_format=torch.channels_last)
    chosen = pick_precision("auto", device)
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(chosen)

    def steps(network: Any, count: int) -> None:
        for _ in range(count):
            with torch.autocast(device.type, dtype, enabled=dtype is not None), tuned():
                _, projections = network(pixels)
                value = loss(projections)
            with tuned():
                value.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad()

    work: dict[str, Callable[[], None]] = {"raw": lambda: steps(model, sizes.steps)}
    faster = compiled(model, lambda network: steps(network, 1)) if sizes.compiles else None
    if faster is not None:
        work["raw compiled"] = lambda: steps(faster, sizes.steps)
    return work


def flops_per_galaxy(sizes: Sizes) -> float:
    """FLOP of forward and backward of both views of a galaxy, counted by torch."""
    model = SimCLR(create_encoder(sizes.encoder), SimCLRConfig())
    views = torch.randn(4, 3, sizes.pixels, sizes.pixels)
    with FlopCounterMode(display=False) as counter:
        _, projections = model(views)
        projections.sum().backward()
    return counter.get_total_flops() / 2


def simulation(job: Job) -> Result:
    """Galaxies simulated a second, whole datasets, by all cores and by the GPU."""
    cores = usable_cores()
    places = {"cpu": ("cpu", cores)}
    if job.device.type == "cuda":
        places["gpu"] = (str(job.device), 2)

    def make(device: str, threads: int) -> None:
        with tempfile.TemporaryDirectory(dir=job.work) as folder:
            count, size = job.sizes.simulated, job.sizes.pixels
            simulate_dataset(
                Path(folder) / "data",
                galaxies=count,
                image_size=size,
                threads=threads,
                device=device,
            )

    work = {name: lambda place=place: make(*place) for name, place in places.items()}
    times = seconds(work, min(job.sizes.repeats, 3), job.device)
    rates = {n: spread([job.sizes.simulated / s for s in found]) for n, found in times.items()}
    return {"cores": cores, **{f"{n}_galaxies_per_second": rate for n, rate in rates.items()}}


def simulated(job: Job, name: str, galaxies: int) -> Path:
    """A simulated dataset in the work folder, made by all cores if it is not there yet."""
    folder = job.work / f"{name}-{galaxies}-{job.sizes.pixels}-{job.seed}"
    if not folder.exists():
        simulate_dataset(
            folder,
            galaxies=galaxies,
            image_size=job.sizes.pixels,
            seed=job.seed,
            threads=usable_cores(),
        )
    return folder


def recipe(job: Job, data: Path, output: Path, epochs: int) -> PretrainConfig:
    """The options of the recipe; it goes on where it was stopped."""
    sizes = job.sizes
    return PretrainConfig(
        data=(str(data),),
        output=str(output),
        encoder=sizes.encoder,
        image_size=sizes.pixels,
        views=ViewConfig(size=sizes.pixels),
        epochs=epochs,
        batch_size=sizes.batch,
        watch=256,
        seed=job.seed,
        resume=True,
    )


def pretraining(job: Job) -> Result:
    """Pretrain on as many simulated galaxies as Galaxy Zoo Hubble has, in as many calls as needed.

    ``seconds`` is the time of all calls together, from data on disk to weights, with starts.
    """
    folder, sizes = job.work / "pretraining", job.sizes
    data = simulated(job, "pretraining", sizes.galaxies)
    clock = folder / "seconds.json"
    spent = float(json.loads(clock.read_text())) if clock.exists() else 0.0
    start = time.perf_counter()
    if not (folder / "weights").exists():
        try:
            with at_most(job.until - time.monotonic()):
                pretrain(recipe(job, data, folder, sizes.epochs))
        except TimeUp:
            print("pretraining: stopped at the time limit; --only pretraining goes on")
        spent += time.perf_counter() - start
        write_text(clock, json.dumps(spent))
    epochs = read_metrics(folder / "metrics.jsonl", "epoch")
    rates = [epoch["galaxies_per_second"] for epoch in epochs]
    result: Result = {
        "finished": (folder / "weights").exists(),
        "epochs": len(epochs),
        "seconds": round(spent, 1),
    }
    if rates:
        peak = matrix_peak(job)["flops"]["median"]
        result["galaxies_per_second"] = spread(rates)
        result["share_of_peak"] = median(rates) * flops_per_galaxy(sizes) / peak
        result["last_epoch"] = epochs[-1]
    return result


@contextmanager
def at_most(limit: float) -> Iterator[None]:
    """Raise :class:`TimeUp` in the main thread after ``limit`` seconds."""

    def stop(*_: object) -> None:
        raise TimeUp

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(limit, 1.0))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def probes(job: Job) -> Result:
    """Probe the pretrained weights on all questions; keep them as bf16 beside the work."""
    weights = job.work / "pretraining" / "weights"
    if not weights.exists():
        return {"skipped": "pretraining has not finished yet"}
    config = linear_probe.ProbeConfig(
        weights=str(weights),
        data=str(simulated(job, "pretraining", job.sizes.galaxies)),
        questions="all",
        min_votes=20 if job.sizes.compiles else 1,
        seed=job.seed,
        device=str(job.device),
        threads=usable_cores(),
        resamples=200,
    )
    encoder = gzfound.load_encoder(weights)
    transform = transform_of(encoder)
    sample = fewer(linear_probe.load_sample(config, transform.size, transform.crop), job)
    embeddings = linear_probe.make_embeddings(config, encoder, sample.images)
    found = linear_probe.probe_questions(config, sample, embeddings)
    files = save_small(weights, job.work / "weights_bf16")
    table = linear_probe.without_nan({"rows": found["rows"], "notes": found["notes"]})
    return {"table": table, "weight_files": files}


def fewer(sample: linear_probe.Sample, job: Job) -> linear_probe.Sample:
    """The test galaxies, and the first ``probed`` of the others."""
    assert sample.test_rows is not None
    train = np.setdiff1d(np.arange(len(sample.ids)), sample.test_rows)[: job.sizes.probed]
    rows = np.concatenate([train, sample.test_rows])
    return replace(
        sample,
        images=sample.images[rows],
        ids=[sample.ids[row] for row in rows],
        columns={name: values[rows] for name, values in sample.columns.items()},
        test_rows=np.arange(len(train), len(rows)),
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
