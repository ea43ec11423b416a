"""The galaxies of the test split: checked before training, predicted and scored after it."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from gzfound.data import load_dataset
from gzfound.data.stream import Stream, open_stream
from gzfound.embedding import embed_arrays
from gzfound.errors import DataError
from gzfound.files import write_text
from gzfound.finetuning.config import FinetuneConfig
from gzfound.finetuning.task import Task
from gzfound.models import load_encoder, transform_of
from gzfound.models.checkpoint import load_head
from gzfound.prediction import head_table, outputs_of, write_table
from gzfound.training.galaxies import check_columns, load_galaxies


def tested_ids(config: FinetuneConfig) -> list[str]:
    """Names of the galaxies to test: a split or a column that is missing fails now, not later."""
    opened = open_stream if config.streaming else load_dataset
    splits = [opened(name, config.data_config, config.test_split) for name in config.data]
    names = [name for split in splits for name in split.column_names]
    check_columns(names, config.columns, config.test_split)
    labels = [split.labels(["id_str"]) if isinstance(split, Stream) else split for split in splits]
    return [name for each in labels for name in each["id_str"]]


def write_report(config: FinetuneConfig, task: Task, folder: Path, device: torch.device) -> None:
    """Predict the test split with the best weights; write predictions and metrics."""
    encoder = load_encoder(folder / "weights")
    head = load_head(folder / "weights", encoder)
    transform = transform_of(encoder)
    test = load_galaxies(
        config.data,
        config=config.data_config,
        split=config.test_split,
        size=transform.size,
        crop=transform.crop,
        on_error=config.on_error,
        columns=config.columns,
        bands=transform.bands,
        held_out_campaign=config.held_out_campaign,
        window=config.stream_window if config.streaming else 0,
    )
    outputs = outputs_of(head, embed_arrays(encoder, test.images, device))
    write_table(head_table(head, test.ids, outputs), folder / "predictions.parquet")
    try:
        metrics = task.score(outputs, test)
    except DataError as error:  # too little to score; the predictions stand
        metrics = {"rows": [], "notes": [str(error)]}
    write_text(folder / "metrics.json", json.dumps(metrics, indent=2) + "\n")
