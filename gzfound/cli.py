"""The command line: one thin function a command; the work is imported when it is asked for."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

import gzfound
from gzfound.cli_data import build, cutouts, simulate
from gzfound.cli_search import anomalies, index, neighbours
from gzfound.data.fits_config import NO_FITS, FitsConfig
from gzfound.errors import WeightsError, one_line_errors, one_line_usage
from gzfound.terminal import progress as _progress
from gzfound.terminal import say as _say

Source = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]


def embed(
    data: Source,
    weights: str | None = None,
    output: Path = Path("embeddings.parquet"),
    data_config: str | None = None,
    split: str | None = None,
    crop: float | None = None,
    rows_per_file: int | None = None,
    batch_size: int | None = None,
    threads: int | None = None,
    device: str = "auto",
    precision: Literal["auto", "no", "bf16", "fp16"] = "auto",
    decode: Literal["cpu", "device"] = "cpu",
    on_error: Literal["raise", "skip"] = "raise",
    fits: FitsConfig = NO_FITS,
    resume: bool = False,
    streaming: bool = False,
) -> None:
    """Turn images into embeddings: Parquet with one row a galaxy.

    Args:
        data: a folder of images, a dataset directory, a hub name, or an address such as https:// or
            s3://, which is streamed.
        weights: weights directory, name of gzfound weights, or hf-hub:owner/name; by default the
            weights that ship with the package.
        output: Parquet file to write, or directory of files with --rows-per-file.
        data_config: configuration of the dataset, such as tiny.
        split: split of the dataset; all of them, one after the other, by default.
        crop: linear fraction of each image to look at, if not that of the weights.
        rows_per_file: write a directory of files of this many rows each.
        batch_size: galaxies a forward pass; by default what suits the device and the images.
        threads: threads that decode and, on a CPU, run the encoder; by default one a core.
        device: auto takes a GPU where there is one.
        precision: auto takes bf16 where the hardware is fast at it.
        decode: device has JPEG decoded by the GPU too.
        on_error: raise, or skip images that cannot be read and list them beside the output.
        fits: what to read of FITS files, and their stretch, where not those of the weights.
        resume: with --rows-per-file, go on with what a killed run left, if anything.
        streaming: read a dataset directory or a hub name from where it is, without a copy of it.
    """
    with _progress("embedding") as (bar, task):
        done = gzfound.extract(
            data,
            weights,
            output,
            rows_per_file=rows_per_file,
            config=data_config,
            split=split,
            crop=crop,
            batch_size=batch_size,
            threads=threads,
            device=device,
            precision=precision,
            decode=decode,
            on_error=on_error,
            fits=fits,
            resume=resume,
            streaming=streaming,
            progress=lambda galaxies, total: bar.update(task, completed=galaxies, total=total),
        )
    sys.stderr.write(f"{done.rates}\n")
    _say(f"{done}: {output}")


def predict(
    data: Source,
    weights: str | None = None,
    output: Path = Path("predictions.parquet"),
    data_config: str | None = None,
    split: str | None = None,
    crop: float | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    fits: FitsConfig = NO_FITS,
) -> None:
    """Predict what weights were fine-tuned on, such as votes with 90 % intervals: a Parquet file.

    Args:
        data: a folder of images, a dataset directory, a hub name, or an address, which is streamed.
        weights: weights directory of a fine-tuning recipe, or name of gzfound weights that have a
            head; by default those that ship with the package, if any have one.
        output: Parquet file to write.
        data_config: configuration of the dataset, such as tiny.
        split: split of the dataset; all of them, one after the other, by default.
        crop: linear fraction of each image to look at, if not that of the weights.
        on_error: raise, or skip images that cannot be read and list them beside the output.
        fits: what to read of FITS files, and their stretch, where not those of the weights.
    """
    table = gzfound.predict(
        data,
        weights,
        config=data_config,
        split=split,
        output=output,
        crop=crop,
        on_error=on_error,
        fits=fits,
    )
    _say(f"{table.num_rows} galaxies: {output}")


def trees(name: Annotated[str, tyro.conf.Positional] = "") -> None:
    """Print a decision tree, or the names of all of them.

    Args:
        name: of a campaign, such as gz2.
    """
    _say(str(gzfound.load_tree(name)) if name else "\n".join(gzfound.list_trees()))


def weights() -> None:
    """List the weights that ship with the package: name, architecture, head, size and data."""
    from gzfound.weights import DEFAULT, describe_weights, find_head, list_weights

    if not list_weights():
        raise WeightsError("weights: this package holds none")
    notes = {DEFAULT: "  (default)"}
    if list_weights(head=True):
        notes = {Path(find_head(None) or DEFAULT).name: "  (default of predict)", **notes}
    for name in list_weights():
        _say(f"{describe_weights(name)}{notes.get(name, '')}")


def push(
    weights: Annotated[str, tyro.conf.Positional],
    repo: Annotated[str, tyro.conf.Positional],
    dry_run: Path | None = None,
) -> None:
    """Upload weights and their card to the Hugging Face hub.

    Args:
        weights: weights directory, or name of gzfound weights; its card has to name a licence.
        repo: owner/name.
        dry_run: a new folder that gets the files instead; nothing is uploaded.
    """
    from gzfound.models.push import push_weights

    done = push_weights(weights, repo, dry_run=dry_run)
    _say(f"would be uploaded to {repo}: {done}" if dry_run else f"uploaded: {done}")


def _later(command: Callable[..., None]) -> Callable[..., Callable[[], None]]:
    """The command with its arguments filled in, to be run once all of them are understood."""

    @functools.wraps(command)
    def filled(*args: Any, **kwargs: Any) -> Callable[[], None]:
        return functools.partial(command, *args, **kwargs)

    return filled


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command that the arguments name."""
    arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    if arguments == ["--version"]:
        _say(f"gzfound {gzfound.__version__}")
        return
    commands: list[Callable[..., None]] = [
        simulate,
        build,
        cutouts,
        embed,
        predict,
        neighbours,
        index,
        anomalies,
        trees,
        weights,
        push,
    ]
    with one_line_usage():
        command = tyro.extras.subcommand_cli_from_dict(
            {command.__name__: _later(command) for command in commands},
            prog="gzfound",
            description=gzfound.__doc__.splitlines()[0],
            args=arguments,
        )
    command()
