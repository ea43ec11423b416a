"""The group of the GPU benchmark that extracts embeddings from JPEG files."""

from __future__ import annotations

import gzfound  # isort: skip  # before torch: says how its threads wait

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from gpu_sizes import Job, compiled, seconds, spread, tuned

from gzfound.data import decode_image, square_resize
from gzfound.data.device_decode import decode_on, decodes_on
from gzfound.models import EncoderTransform, attach_transform, create_encoder
from gzfound.models.precision import pick_precision, usable_cores
from gzfound.simulation.dataset import encode_jpeg
from gzfound.simulation.population import sample_population
from gzfound.simulation.render import render
from gzfound.simulation.telescope import telescope_for

Result = dict[str, Any]
Work = dict[str, Callable[[], object]]


def extraction(job: Job) -> Result:
    """``gzfound.embed`` from JPEG, by the better decoder, over raw forward or that decoder."""
    sizes, device = job.sizes, job.device
    files = jpegs(job, sizes.drawn)
    with torch.random.fork_rng():
        torch.manual_seed(job.seed)
        encoder = create_encoder(sizes.extractor).to(device).eval()
    attach_transform(encoder, EncoderTransform(sizes.extracted_pixels))
    many = [files[n % len(files)] for n in range(sizes.extracted)]
    dataset = in_memory(many)
    forward, compiling = forwards(job, encoder)
    cores = usable_cores()

    def embed(decode: Literal["cpu", "device"]) -> None:
        together = sizes.extracted_batch
        gzfound.embed(dataset, encoder, batch_size=together, device=str(device), decode=decode)

    with ThreadPoolExecutor(cores, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        work: Work = {
            **forward,
            "decode_cpu": lambda: list(pool.map(lambda data: on_cpu(data, job), many)),
            "embed": lambda: embed("cpu"),
        }
        if decodes_on(device):
            work["decode_device"] = lambda: on_device(many, job)
            work["embed_decode_device"] = lambda: embed("device")
        times = seconds(work, sizes.repeats, device)
    rates = {name: spread([sizes.extracted / s for s in found]) for name, found in times.items()}
    middle = {name: rate["median"] for name, rate in rates.items()}
    raw = max(middle[name] for name in forward)
    decoding = max(middle[n] for n in ("decode_cpu", "decode_device") if n in middle)
    ours = max(middle[n] for n in ("embed", "embed_decode_device") if n in middle)
    return {
        "ratio": ours / min(raw, decoding),
        "limit": "decoding" if decoding < raw else "the network",
        **{f"{name}_galaxies_per_second": rate for name, rate in rates.items()},
        **pays_back(middle, compiling),
        **agreement(files, encoder, job),
        "decoding_cores": cores,
        "bytes_per_jpeg": float(np.mean([len(data) for data in files])),
    }


def jpegs(job: Job, count: int) -> list[bytes]:
    """JPEG files of simulated galaxies at the size of survey cutouts."""
    sizes, telescope = job.sizes, telescope_for("gz_hubble")
    found: list[bytes] = []
    for start in range(0, count, 64):
        numbers = np.arange(start, min(start + 64, count))
        latents = sample_population(numbers, job.seed, "gz_hubble")
        images = render(latents, sizes.jpeg_pixels, telescope, job.seed, device=job.device)
        found += [encode_jpeg(image) for image in images.cpu().numpy()]
    return found


def in_memory(files: list[bytes]) -> Any:
    """A dataset of JPEG files that needs no disk."""
    from datasets import Dataset, Features, Image, Value

    columns = {
        "image": [{"bytes": data, "path": None} for data in files],
        "id_str": [f"g{number}" for number in range(len(files))],
    }
    return Dataset.from_dict(columns, Features({"image": Image(), "id_str": Value("string")}))


def forwards(job: Job, encoder: torch.nn.Module) -> tuple[Work, float]:
    """The network on images that are on the device, as it is and compiled; seconds to compile."""
    sizes, device = job.sizes, job.device
    side = sizes.extracted_pixels
    shape = (sizes.extracted_batch, side, side, 3)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, device=device)
    chosen = pick_precision("auto", device)
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(chosen)
    network = encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch has none of it alone

    def passes(net: Any, count: int) -> None:
        autocast = torch.autocast(device.type, dtype, enabled=dtype is not None)
        with torch.inference_mode(), autocast, tuned():
            for _ in range(count):
                net(network.transform.normalise(images))

    count = max(1, sizes.extracted // sizes.extracted_batch)
    work: Work = {"raw": lambda: passes(network, count)}
    compiling = 0.0
    if sizes.compiles:
        start = time.perf_counter()
        faster = compiled(network, lambda net: passes(net, 1))
        compiling = time.perf_counter() - start
        if faster is not None:
            work["raw_compiled"] = lambda: passes(faster, count)
    return work, compiling


def on_cpu(data: bytes, job: Job) -> npt.NDArray[np.uint8]:
    """One image as the CPU decodes it."""
    return square_resize(decode_image(data, "benchmark"), job.sizes.extracted_pixels)


def on_device(files: list[bytes], job: Job) -> None:
    """All images as the device decodes them."""
    step = job.sizes.extracted_batch
    for start in range(0, len(files), step):
        part = files[start : start + step]
        decode_on(job.device, part, [""] * len(part), job.sizes.extracted_pixels)


def pays_back(rates: dict[str, float], compiling: float) -> Result:
    """After how many galaxies compiling has paid for itself; None if it never does."""
    if "raw_compiled" not in rates:
        return {}
    saved = 1 / rates["raw"] - 1 / rates["raw_compiled"]
    after = round(compiling / saved) if saved > 0 else None
    return {"compile_seconds": round(compiling, 1), "compile_pays_after_galaxies": after}


def agreement(files: list[bytes], encoder: torch.nn.Module, job: Job) -> Result:
    """How far pixels decoded by the device are from the CPU's, and embeddings from float32's."""
    some = files[: job.sizes.extracted_batch]
    exact = np.stack([on_cpu(data, job) for data in some])
    batch = decode_on(job.device, some, [""] * len(some), job.sizes.extracted_pixels)
    apart = np.abs(batch.images.cpu().numpy().astype(int) - exact)
    rough = gzfound.embed(in_memory(some), encoder, device=str(job.device)).vectors
    plain = encoder.to("cpu")
    with torch.inference_mode():
        fine = plain(plain.transform.normalise(torch.from_numpy(exact))).numpy()
    encoder.to(job.device)
    cosine = (rough * fine).sum(1) / np.linalg.norm(rough, axis=1) / np.linalg.norm(fine, axis=1)
    return {
        "pixels_apart_mean": float(apart.mean()),
        "pixels_apart_most": int(apart.max()),
        "cosine_to_float32_median": float(median(cosine.tolist())),
        "cosine_to_float32_least": float(cosine.min()),
    }
