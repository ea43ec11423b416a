"""The command line: one thin function a command; the work is imported when it is asked for."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

import gzfound
from gzfound.errors import one_line_errors, one_line_usage

Source = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]


def simulate(
    output: Annotated[Path, tyro.conf.Positional],
    galaxies: int = 3000,
    image_size: int = 128,
    seed: int = 0,
    campaign: str = "gz_hubble",
) -> None:
    """Write simulated galaxies with simulated volunteers, in the layout of the Hugging Face hub.

    Args:
        output: directory to write; it must not exist yet.
        galaxies: number of galaxies; a fifth of them are the test split.
        image_size: side of the images in pixels.
        seed: of every random draw.
        campaign: whose telescope and decision tree to imitate.
    """
    from rich.console import Console
    from rich.progress import Progress

    from gzfound.simulation import simulate_dataset

    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("simulating", total=galaxies)
        simulate_dataset(
            output,
            galaxies=galaxies,
            image_size=image_size,
            seed=seed,
            campaign=campaign,
            progress=lambda done: bar.advance(task, done),
        )
    _say(f"{galaxies} galaxies: {output}")


def embed(
    data: Source,
    weights: str,
    output: Path = Path("embeddings.parquet"),
    data_config: str | None = None,
    split: str | None = None,
    crop: float | None = None,
    batch_size: int = 32,
    threads: int = 2,
    device: str = "auto",
    precision: Literal["auto", "no", "bf16", "fp16"] = "auto",
    on_error: Literal["raise", "skip"] = "raise",
) -> None:
    """Turn images into embeddings: a Parquet file with one row a galaxy.

    Args:
        data: a folder of images, a dataset directory or a hub name.
        weights: weights directory, or hf-hub:owner/name.
        output: Parquet file to write.
        data_config: configuration of the dataset, such as tiny.
        split: split of the dataset; all of them, one after the other, by default.
        crop: linear fraction of each image to look at, if not that of the weights.
        batch_size: galaxies a forward pass.
        threads: threads that decode images.
        device: auto takes a GPU where there is one.
        precision: auto takes bf16 where the hardware is fast at it.
        on_error: raise, or skip images that cannot be read and list them beside the output.
    """
    found = gzfound.embed(
        data,
        weights,
        config=data_config,
        split=split,
        output=output,
        crop=crop,
        batch_size=batch_size,
        threads=threads,
        device=device,
        precision=precision,
        on_error=on_error,
    )
    _say(f"{len(found.ids)} embeddings of {found.vectors.shape[1]} numbers: {output}")


def predict(
    data: Source,
    weights: str,
    output: Path = Path("predictions.parquet"),
    data_config: str | None = None,
    split: str | None = None,
    crop: float | None = None,
    on_error: Literal["raise", "skip"] = "raise",
) -> None:
    """Predict how volunteers would answer, with 90 % intervals: a Parquet file.

    Args:
        data: a folder of images, a dataset directory or a hub name.
        weights: weights directory of recipes/finetune_tree.py.
        output: Parquet file to write.
        data_config: configuration of the dataset, such as tiny.
        split: split of the dataset; all of them, one after the other, by default.
        crop: linear fraction of each image to look at, if not that of the weights.
        on_error: raise, or skip images that cannot be read and list them beside the output.
    """
    table = gzfound.predict(
        data,
        weights,
        config=data_config,
        split=split,
        output=output,
        crop=crop,
        on_error=on_error,
    )
    _say(f"{table.num_rows} galaxies: {output}")


def trees(name: Annotated[str, tyro.conf.Positional] = "") -> None:
    """Print a decision tree, or the names of all of them.

    Args:
        name: of a campaign, such as gz_hubble.
    """
    _say(str(gzfound.load_tree(name)) if name else "\n".join(gzfound.list_trees()))


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


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
    commands: list[Callable[..., None]] = [simulate, embed, predict, trees]
    with one_line_usage():
        command = tyro.extras.subcommand_cli_from_dict(
            {command.__name__: _later(command) for command in commands},
            prog="gzfound",
            description=gzfound.__doc__.splitlines()[0],
            args=arguments,
        )
    command()
