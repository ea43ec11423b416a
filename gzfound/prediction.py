"""Images in, answers out: expected vote fractions with the uncertainty that belongs to them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from gzfound.embedding import embed
from gzfound.files import atomic_file, check_file
from gzfound.losses import credible_interval, expected_fractions, total_concentration
from gzfound.models import load_encoder
from gzfound.models.checkpoint import load_head
from gzfound.models.heads import TreeHead
from gzfound.models.precision import Precision
from gzfound.trees import DecisionTree

if TYPE_CHECKING:
    from datasets import Dataset

LEVEL = 0.9


def predict(
    source: str | Path | Dataset,
    weights: str | Path | None = None,
    *,
    config: str | None = None,
    split: str | None = None,
    output: str | Path | None = None,
    crop: float | None = None,
    batch_size: int | None = None,
    threads: int | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    on_error: str = "raise",
) -> pa.Table:
    """Predict the answers to every question that the weights were fine-tuned on.

    Args:
        source: a folder of images, a dataset directory, a hub name, or a loaded dataset.
        weights: a weights directory of ``recipes/finetune_tree.py``, or a name of
            :func:`gzfound.list_weights`; by default the weights that ship with the package.
        output: also write a Parquet file here.

    The other arguments are those of :func:`gzfound.embed`.

    Returns:
        The table of :func:`prediction_table`.

    Raises:
        DataError: the dataset or one of its images cannot be read.
        WeightsError: the weights cannot be loaded, or have no head.
    """
    if output is not None:
        check_file(output)
    encoder = load_encoder(weights, crop=crop)
    head = load_head(weights, encoder)
    found = embed(
        source,
        encoder,
        config=config,
        split=split,
        batch_size=batch_size,
        threads=threads,
        device=device,
        precision=precision,
        on_error=on_error,
        errors_path=None if output is None else f"{output}.errors.jsonl",
    )
    concentrations = concentrations_of(head, found.vectors)
    table = prediction_table(found.ids, concentrations, head.tree)
    if output is not None:
        write_table(table, output)
    return table


def concentrations_of(
    head: TreeHead, embeddings: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Concentrations ``(N, answers)`` that a head gives embeddings ``(N, features)``."""
    with torch.inference_mode():
        result: npt.NDArray[np.float32] = head.cpu().eval()(torch.from_numpy(embeddings)).numpy()
    return result


def prediction_table(
    ids: Sequence[str], concentrations: npt.NDArray[np.float32], tree: DecisionTree
) -> pa.Table:
    """One row a galaxy, from Dirichlet concentrations ``(N, answers)``.

    Columns: ``id_str``; for each answer its expected vote fraction, named as the vote column, and
    ``<answer>_low`` and ``<answer>_high``, the bounds of the central 90 % credible interval of the
    fraction; for each question ``<question>_asked``, the probability that a volunteer is asked it,
    and ``<question>_concentration``, the total concentration.
    """
    values = torch.from_numpy(concentrations).double()
    fractions = expected_fractions(values, tree)
    low, high = credible_interval(values, tree, level=LEVEL)
    asked = np.asarray(tree.probability_asked(fractions.numpy()))
    totals = total_concentration(values, tree)
    columns: dict[str, pa.Array] = {"id_str": pa.array(ids, pa.string())}
    for number, question in enumerate(tree.questions):
        columns[f"{question.name}_asked"] = pa.array(asked[:, number].astype(np.float32))
        columns[f"{question.name}_concentration"] = pa.array(totals[:, number].float().numpy())
        where = tree.slices[question.name]
        for index, column in zip(range(where.start, where.stop), question.columns, strict=True):
            columns[column] = pa.array(fractions[:, index].float().numpy())
            columns[f"{column}_low"] = pa.array(np.asarray(low[:, index], dtype=np.float32))
            columns[f"{column}_high"] = pa.array(np.asarray(high[:, index], dtype=np.float32))
    return pa.table(columns)


def write_table(table: pa.Table, path: str | Path) -> None:
    """Write a table as a Parquet file, whole or absent."""
    with atomic_file(path) as temporary:
        pq.write_table(table, temporary)
