"""The groups of the GPU benchmark that train: steps, simulation, pretraining."""

from __future__ import annotations

import gzfound  # noqa: F401  # isort: skip  # before torch: says how its threads wait

import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import torch
from gpu_sizes import Job, Sizes, compiled, seconds, spread, tuned
from torch.utils.flop_counter import FlopCounterMode

from gzfound.files import write_text
from gzfound.models import create_encoder
from gzfound.models.precision import pick_precision, usable_cores
from gzfound.simclr import SimCLR, SimCLRConfig, SimCLRLoss
from gzfound.simulation import simulate_dataset
from gzfound.training.optim import OptimConfig, build_optimiser, parameter_groups
from gzfound.training.telemetry import read_metrics
from gzfound.views import ViewConfig

sys.path.insert(0, str(Path(__file__).parents[1] / "recipes"))
from pretrain_simclr import PretrainConfig, pretrain

Result = dict[str, Any]


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
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch has no such one
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
