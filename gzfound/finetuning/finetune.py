"""Fine-tuning, whatever is learned: first the head on the frozen encoder, then the rest with it."""

from __future__ import annotations

from collections.abc import Callable

import torch

from gzfound.data import split_by_id
from gzfound.data.splits import check_no_overlap
from gzfound.errors import ConfigError, DataError
from gzfound.finetuning.config import FinetuneConfig
from gzfound.finetuning.report import tested_ids, write_report
from gzfound.finetuning.stages import Tuning, start_from_probe, tune_head, tune_together
from gzfound.finetuning.task import Task
from gzfound.models import (
    EncoderTransform,
    attach_transform,
    channel_statistics,
    encoder_features,
    load_encoder,
    transform_of,
)
from gzfound.models.checkpoint import start_encoder
from gzfound.models.tuning import HeadModel, freeze
from gzfound.training.galaxies import (
    Galaxies,
    Rows,
    campaign_numbers,
    labelled_rows,
    load_galaxies,
)
from gzfound.training.resume import checkpoints
from gzfound.training.run import PROBE, close_run, errors_file, open_run, provenance


def finetune(recipe: str, config: FinetuneConfig, task_of: Callable[[Galaxies], Task]) -> None:
    """Run a recipe and write ``weights``, ``predictions.parquet`` and ``metrics.json``.

    Args:
        recipe: its name, for the metadata.
        config: its options.
        task_of: what to learn of the training galaxies, with ``config.columns`` as their labels.
    """
    columns = config.columns
    accelerator, folder, config = open_run(config)
    transform = first_transform(config)
    with accelerator.main_process_first():
        tested = tested_ids(config)
        galaxies = load_galaxies(
            config.data,
            config=config.data_config,
            split=config.split,
            size=transform.size if config.weights and config.tune == "head" else config.kept_side,
            crop=transform.crop,
            on_error=config.on_error,
            errors_path=errors_file(accelerator, folder, config.streaming),
            columns=columns,
            bands=transform.bands,
            held_out_campaign=config.held_out_campaign,
            window=config.stream_window if config.streaming else 0,
        )
    if config.labelled < 1:
        galaxies = galaxies.only(labelled_rows(galaxies.ids, config.labelled, config.seed))
    task = task_of(galaxies)
    check_no_overlap(galaxies.ids, tested, config.split, config.test_split)
    parts = divide(galaxies, task, config.seed)
    if left := len(galaxies) - len(task.rows):
        accelerator.print(f"{left} of {len(galaxies)} galaxies have no {columns[0]}: left out")
    model = build_model(config, task, transform)
    record = provenance(recipe, config, galaxies.licences)
    groups = campaign_numbers(galaxies)[parts["train"]] if config.balance else None
    tuning = Tuning(
        config,
        accelerator,
        folder,
        task,
        galaxies.images,
        parts,
        model,
        record,
        galaxies.ids,
        groups,
    )
    if config.tune == "head":
        tune_head(tuning, folder, config.epochs)
    else:
        if config.probes and not (config.resume and checkpoints(folder / "checkpoints")):
            accelerator.print("the head alone, on the frozen encoder")
            tune_head(tuning, folder / PROBE, config.head_epochs)
            start_from_probe(tuning)
            accelerator.print("the head and the encoder")
        tune_together(tuning)
    if accelerator.is_main_process:
        write_report(config, task, folder, accelerator.device)
    close_run(accelerator, folder, config)


def divide(galaxies: Galaxies, task: Task, seed: int) -> dict[str, Rows]:
    """Rows to train on, nine tenths of those with a target, and rows to validate with."""
    ids = [galaxies.ids[row] for row in task.rows]
    shares = {"train": 0.9, "validation": 0.1}
    parts = split_by_id(ids, shares, seed, purpose="validation")
    if not len(parts["validation"]):
        raise DataError(f"data: {len(ids)} galaxies are too few to hold a tenth back")
    return {name: task.rows[part] for name, part in parts.items()}


def first_transform(config: FinetuneConfig) -> EncoderTransform:
    """What the encoder to start from expects of an image."""
    if config.weights:
        found = load_encoder(
            config.weights, crop=config.crop, in_chans=config.in_chans, fits=config.fits
        )
        return transform_of(found)
    mean, std = channel_statistics(config.in_chans or 3)
    return EncoderTransform(config.views.side, config.crop or 1.0, mean, std, config.fits)


def build_model(config: FinetuneConfig, task: Task, transform: EncoderTransform) -> HeadModel:
    """The encoder to start from, frozen as far as asked, with a new head."""
    encoder = start_encoder(
        config.encoder,
        config.weights,
        config.views.side,
        in_chans=config.in_chans,
        fits=config.fits,
    )
    attach_transform(encoder, transform)
    if config.tune != "head" and transform.size != config.views.size:
        raise ConfigError(
            f"views.size: {config.views.size} must be {transform.size}, that of the weights"
        )
    freeze(encoder, config.tune, config.blocks)
    model = HeadModel(encoder, task.head(encoder_features(encoder)))
    return model.to(memory_format=torch.channels_last)
