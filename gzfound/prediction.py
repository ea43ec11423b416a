"""Images in, answers out: vote fractions with their uncertainty, classes or numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from gzfound.data import FitsConfig
from gzfound.embedding import embed
from gzfound.files import atomic_file, check_file
from gzfound.losses import credible_interval, expected_fractions, total_concentration
from gzfound.models import load_encoder
from gzfound.models.checkpoint import load_head
from gzfound.models.heads import ClassHead, Head, NumberHead, TreeHead
from gzfound.models.precision import Precision
from gzfound.trees import DecisionTree
from gzfound.weights import find_head

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
    fits: FitsConfig | None = None,
) -> pa.Table:
    """Predict what the weights were fine-tuned on.

    Args:
        source: a folder of images, a dataset directory, a hub name, an address of a dataset such as
            ``https://...``, which is streamed, or a loaded dataset.
        weights: a weights directory with a head, such as those of ``recipes/finetune_tree.py``, or
            a name of ``gzfound.list_weights(head=True)``; by default the weights with a head that
            ship with the package.
        output: also write a Parquet file here.

    The other arguments are those of :func:`gzfound.embed`.

    Returns:
        The table of :func:`head_table`.

    Raises:
        DataError: the dataset or one of its images cannot be read.
        WeightsError: the weights cannot be loaded, or have no head.
    """
    if output is not None:
        check_file(output)
    found = find_head(weights)
    encoder = load_encoder(found, crop=crop, fits=fits)
    head = load_head(found, encoder)
    embeddings = embed(
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
    table = head_table(head, embeddings.ids, outputs_of(head, embeddings.vectors))
    if output is not None:
        write_table(table, output)
    return table


def outputs_of(head: Head, embeddings: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """What a head gives for embeddings ``(N, features)``: concentrations, logits or numbers."""
    with torch.inference_mode():
        result: npt.NDArray[np.float32] = head.cpu().eval()(torch.from_numpy(embeddings)).numpy()
    return result


def head_table(head: Head, ids: Sequence[str], outputs: npt.NDArray[np.float32]) -> pa.Table:
    """One row a galaxy, from what a head gave for it.

    Columns of a tree head: those of :func:`prediction_table`. Of a class head: ``id_str``, the most
    probable class, named as the target, and the probability of each, ``<target>_<class>``. Of a
    number head: ``id_str`` and the number, named as the target.
    """
    if isinstance(head, TreeHead):
        return prediction_table(ids, outputs, head.tree)
    names = pa.array(ids, pa.string())
    if isinstance(head, NumberHead):
        return pa.table({"id_str": names, head.target: pa.array(head.in_units(outputs))})
    probabilities = torch.from_numpy(outputs).softmax(dim=1).numpy()
    each = {
        f"{head.target}_{name}": p for name, p in zip(head.classes, probabilities.T, strict=True)
    }
    return pa.table({"id_str": names, head.target: pa.array(most_probable(head, outputs)), **each})


def most_probable(head: ClassHead, outputs: npt.NDArray[np.float32]) -> npt.NDArray[np.str_]:
    """The class with the largest logit, by name, ``(N,)``."""
    names: npt.NDArray[np.str_] = np.array(head.classes)[outputs.argmax(axis=1)]
    return names


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
