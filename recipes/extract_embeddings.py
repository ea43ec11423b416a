"""Embed a dataset with any number of processes: every galaxy once, in the order of the data.

accelerate launch recipes/extract_embeddings.py --weights W --data D --output E.parquet
"""

from __future__ import annotations

import gzfound  # noqa: F401  # isort: skip  # before torch: says how its threads wait

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from accelerate import PartialState

from gzfound.embedding import Embeddings, Vectors, embed_batches, whole_dataset, write_embeddings
from gzfound.errors import ConfigError, one_line_errors
from gzfound.files import write_text
from gzfound.models import encoder_features, load_encoder
from gzfound.models.precision import Precision, only_cpu, use_all_cores
from gzfound.training.config import parse_config


@dataclass(frozen=True)
class ExtractConfig:
    """Options of extraction.

    Attributes:
        weights: weights directory.
        data: hub name, dataset directory or folder of images.
        output: Parquet file of the embeddings.
        data_config: configuration of the dataset, such as ``tiny``.
        split: split of the dataset; all of them, one after the other, by default.
        crop: linear fraction of each image to look at, if not that of the weights.
        batch_size: galaxies a forward pass.
        threads: threads of each process that decode images.
        precision: auto takes bf16 where the hardware is fast at it.
        on_error: raise, or skip images that cannot be read and list them beside the output.
    """

    weights: str = ""
    data: str = ""
    output: str = "embeddings.parquet"
    data_config: str | None = None
    split: str | None = None
    crop: float | None = None
    batch_size: int = 32
    threads: int = 2
    precision: Precision = "auto"
    on_error: str = "raise"


def extract(config: ExtractConfig) -> None:
    """Embed this process's stretch of the rows; the main process joins the stretches."""
    for name in ("weights", "data"):
        if not getattr(config, name):
            raise ConfigError(f"{name}: missing; pass --{name}")
    state = PartialState(cpu=only_cpu())
    use_all_cores(state.num_processes)
    with state.main_process_first():
        dataset = whole_dataset(config.data, config.data_config, config.split)
    encoder = load_encoder(config.weights, crop=config.crop)
    rows = np.array_split(np.arange(len(dataset)), state.num_processes)[state.process_index]
    target = Path(config.output)
    parts = [target.with_name(f".{target.name}.part-{i}") for i in range(state.num_processes)]
    mine = parts[state.process_index]
    errors = Path(f"{mine}.errors.jsonl")
    errors.unlink(missing_ok=True)  # of a run that was killed
    batches = embed_batches(
        dataset,
        encoder,
        rows=rows,
        batch_size=config.batch_size,
        threads=config.threads,
        device=str(state.device),
        precision=config.precision,
        on_error=config.on_error,
        errors_path=errors,
    )
    width = encoder_features(encoder)
    write_embeddings(batches, width, mine)
    state.wait_for_everyone()
    if state.is_main_process:
        count = write_embeddings(_joined(parts), width, target)
        _join_errors(parts, target)
        for part in parts:
            part.unlink()
        by = f" by {state.num_processes} processes" if state.num_processes > 1 else ""
        state.print(f"{count} embeddings of {width} numbers{by}: {target}")
    state.wait_for_everyone()


def _joined(parts: Sequence[Path]) -> Iterator[tuple[list[str], Vectors]]:
    for part in parts:
        held = Embeddings.read(part)
        yield held.ids, held.vectors


def _join_errors(parts: Sequence[Path], target: Path) -> None:
    found = [p for part in parts if (p := Path(f"{part}.errors.jsonl")).exists()]
    listed = Path(f"{target}.errors.jsonl")
    listed.unlink(missing_ok=True)
    if found:
        write_text(listed, "".join(path.read_text(encoding="utf-8") for path in found))
    for path in found:
        path.unlink()


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the options and run."""
    extract(parse_config(ExtractConfig, "Embed every galaxy of a dataset.", argv))


if __name__ == "__main__":
    main()
