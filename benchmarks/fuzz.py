"""Coverage-guided fuzzing of what reads other people's files.

    pip install atheris    # no dependency of gzfound: Linux and macOS alone
    python benchmarks/fuzz.py --target decode --seconds 600    # or tables, weights

Every input has to end in a result or in a ``GzfoundError``. Anything else is a finding: its input
is kept in ``build/fuzz/TARGET/findings`` and the search goes on. Results go to
``benchmarks/results/fuzz_TARGET.json``.
"""

from __future__ import annotations

import gzfound  # noqa: F401  # isort: skip  # before torch: says how its threads wait

import hashlib
import io
import json
import os
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import atheris

with atheris.instrument_imports(include=["gzfound", "PIL", "yaml", "timm.models._hub"]):
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    import yaml
    from PIL import Image

    from gzfound.data.decode import _decode_pil, decode_image
    from gzfound.data.table import read_table
    from gzfound.embedding.store import Embeddings
    from gzfound.errors import GzfoundError
    from gzfound.evaluation.results import write_results
    from gzfound.models import EncoderTransform, TreeHead, create_encoder, load_encoder
    from gzfound.models.checkpoint import load_head, save_weights
    from gzfound.training.config import parse_config, read_config_file
    from gzfound.training.run import RunConfig
    from gzfound.trees import DecisionTree, load_tree
    from gzfound.votes import votes_from_columns
    from gzfound.weights import HEAD

LONGEST = 2**15
"""Bytes of an input, at most."""

Target = Literal["decode", "tables", "weights"]


@dataclass(frozen=True)
class FuzzConfig:
    """Options of the search.

    Attributes:
        target: image decoders; readers of tables, embeddings and configurations; or weights.
        seconds: how long it searches.
        seed: of the mutations.
        work: folder of the corpus and of the findings.
        output: folder of the JSON file.
    """

    target: Target = "decode"
    seconds: int = 600
    seed: int = 0
    work: str = "build/fuzz"
    output: str = "benchmarks/results"


def decode(data: bytes) -> None:
    """Decoded pixels have three bands; those of a PNG are what PIL makes of it."""
    pixels = decode_image(data, "fuzzed")
    assert pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == np.uint8  # noqa: PT018
    if data.startswith(b"\x89PNG"):
        assert np.array_equal(pixels, _decode_pil(data, "fuzzed")), "OpenCV and PIL differ"


class Tables:
    """The first byte chooses the reader of the rest."""

    names = ("labels.csv", "labels.parquet", "embeddings.parquet", "run.yaml")

    def __init__(self, scratch: Path) -> None:
        self.paths = [scratch / name for name in self.names]

    def __call__(self, data: bytes) -> None:
        """What is read has as many rows in every part."""
        path = self.paths[data[0] % len(self.paths)] if data else self.paths[0]
        path.write_bytes(data[1:])
        if path.suffix == ".yaml":
            read_config_file(RunConfig, path)
        elif path.stem == "embeddings":
            found = Embeddings.read(path)
            assert len(found.ids) == len(found.vectors)
        else:
            table = read_table(path)
            assert len(table.names) == len(table.columns)
            columns = {
                name: table.columns.column(name).to_pylist() for name in table.columns.column_names
            }
            tree = DecisionTree.from_columns(columns).tree
            assert votes_from_columns(columns, tree).min(initial=0) >= 0


class Weights:
    """The first byte chooses a file of a weights directory; the rest is it, or is its header."""

    names = ("config.json", "model.safetensors", HEAD)

    def __init__(self, scratch: Path) -> None:
        self.folder = scratch / "weights"
        encoder = create_encoder("test_resnet")
        head = TreeHead(encoder.num_features, load_tree("gz_hubble"))
        save_weights(self.folder, encoder, EncoderTransform(24), {"data": "none"}, head=head)
        self.whole = {name: (self.folder / name).read_bytes() for name in self.names}

    def header(self, name: str) -> bytes:
        """What is mutated of a file: all of JSON, the header of tensors."""
        data = self.whole[name]
        return data if name.endswith("json") else data[: 8 + int.from_bytes(data[:8], "little")]

    def __call__(self, data: bytes) -> None:
        """Weights that load give finite numbers."""
        name = self.names[data[0] % len(self.names)] if data else self.names[0]
        path, whole = self.folder / name, self.whole[name]
        path.write_bytes(data[1:] + whole[len(self.header(name)) :])
        try:
            encoder = load_encoder(self.folder)
            head = load_head(self.folder, encoder)
            assert all(value.isfinite().all() for value in encoder.state_dict().values())
            assert all(value.isfinite().all() for value in head.state_dict().values())
        finally:
            path.write_bytes(whole)


def image_seeds() -> list[bytes]:
    """Small pictures of every kind."""
    draw = np.random.default_rng(0)
    image = Image.fromarray(draw.integers(0, 255, (9, 8, 3), dtype=np.uint8))
    deep = Image.fromarray(draw.integers(0, 65535, (9, 8), dtype=np.uint16))
    kinds = [("RGB", kind) for kind in ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "PPM")]
    kinds += [
        ("L", "JPEG"),
        ("CMYK", "JPEG"),
        ("P", "PNG"),
        ("P", "GIF"),
        ("RGBA", "PNG"),
        ("1", "PNG"),
    ]
    found = [(image.convert(mode), kind, {}) for mode, kind in kinds]
    found += [(deep, "PNG", {}), (image, "JPEG", {"progressive": True})]
    found += [(image, "PNG", {"save_all": True, "append_images": [image.rotate(90)]})]
    seeds = []
    for picture, kind, options in found:
        picture.save(out := io.BytesIO(), kind, **options)
        seeds.append(out.getvalue())
    return seeds


def table_seeds() -> list[bytes]:
    """A small file for each reader."""
    columns = load_tree("gz_hubble").columns[:6]
    labels = pa.table({"file": ["a.jpg", "b.jpg"], **{name: [1, 2] for name in columns}})
    flat = pa.array(np.arange(6, dtype=np.float32))
    vectors = pa.FixedSizeListArray.from_arrays(flat, 3)
    seeds = ["\n".join([",".join(labels.column_names), "a.jpg,1,2,3,4,5,6"]).encode()]
    for table in (labels, pa.table({"id_str": ["a", "b"], "embedding": vectors})):
        pq.write_table(table, out := io.BytesIO(), compression="none")
        seeds.append(out.getvalue())
    options = {"data": ["one"], "epochs": 3, "optim": {"clip": 0.5}, "weights": "w"}
    return [bytes([n]) + seed for n, seed in enumerate([*seeds, yaml.safe_dump(options).encode()])]


class Search:
    """Counts executions and keeps what ends in anything but a result or a one-line error."""

    def __init__(self, config: FuzzConfig, run: Callable[[bytes], None], home: Path) -> None:
        self.config, self.run, self.home = config, run, home
        self.began = time.monotonic()
        self.executions = self.refused = 0
        self.slowest = 0.0
        self.findings: dict[str, dict[str, Any]] = {}

    def __call__(self, data: bytes) -> None:
        """One input."""
        if time.monotonic() - self.began > self.config.seconds:
            self.finish()
        began = time.monotonic()
        self.executions += 1
        try:
            self.run(data)
        except GzfoundError:
            self.refused += 1
        except Exception as error:  # whatever it is, it is what the search is for
            self.keep(error, data)
        self.slowest = max(self.slowest, time.monotonic() - began)

    def keep(self, error: Exception, data: bytes) -> None:
        """Note a finding, with the first input that led to it."""
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{type(error).__name__} in {Path(frame.filename).name}:{frame.name}"
        if where not in self.findings:
            name = hashlib.blake2b(data, digest_size=6).hexdigest()
            (self.home / "findings" / name).write_bytes(data)
            self.findings[where] = {"says": str(error)[:200], "input": name, "times": 0}
        self.findings[where]["times"] += 1

    def finish(self) -> None:
        """Write the results and end the process: the fuzzer itself never returns."""
        write_results(
            Path(self.config.output) / f"fuzz_{self.config.target}.json",
            {
                "target": self.config.target,
                "atheris": version("atheris"),
                "seconds": self.config.seconds,
                "processor_seconds": round(time.process_time()),
                "seed": self.config.seed,
                "executions": self.executions,
                "refused_in_one_line": self.refused,
                "corpus": len(list((self.home / "corpus").iterdir())),
                "slowest_seconds": round(self.slowest, 3),
                "peak_mebibytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
                "findings": self.findings,
            },
        )
        print(json.dumps(self.findings, indent=2), f"{self.executions} executions", flush=True)
        os._exit(0)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the options and search."""
    config = parse_config(FuzzConfig, "Fuzz what reads other people's files.", argv)
    home = Path(config.work) / config.target
    shutil.rmtree(home, ignore_errors=True)
    for name in ("corpus", "findings"):
        (home / name).mkdir(parents=True)
    scratch = Path(tempfile.mkdtemp(prefix="gzfound-fuzz-"))
    if config.target == "weights":
        weights = Weights(scratch)
        seeds = [bytes([n]) + weights.header(name) for n, name in enumerate(weights.names)]
        run: Callable[[bytes], None] = weights
    else:
        run = decode if config.target == "decode" else Tables(scratch)
        seeds = image_seeds() if config.target == "decode" else table_seeds()
    for number, seed in enumerate(seeds):
        (home / "corpus" / f"seed-{number:02d}").write_bytes(seed)
    # The C libraries and the fuzzer write to stderr by the thousand.
    os.dup2(os.open(home / "log.txt", os.O_WRONLY | os.O_CREAT), sys.stderr.fileno())
    options = [
        f"-seed={config.seed + 1}",
        f"-max_len={LONGEST}",
        "-timeout=30",
        "-rss_limit_mb=4096",
    ]
    atheris.Setup([sys.argv[0], *options, str(home / "corpus")], Search(config, run, home))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
