"""The demo's report, from the files that its stages left in a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import torch

from gzfound.data import decoded_images, load_dataset
from gzfound.embedding import Embeddings
from gzfound.evaluation.table import MEAN
from gzfound.losses import credible_interval
from gzfound.reports import Curve, Fact, ProbeResult, QuestionPredictions, Report, by_question
from gzfound.reports import sections as add
from gzfound.training.telemetry import read_metrics
from gzfound.trees import DecisionTree
from gzfound.views import ViewConfig, make_views
from gzfound.votes import total_votes, vote_fractions, votes_from_columns

THUMBNAIL = 96
METHODS = {
    "embedding": "SimCLR",
    "untrained encoder": "untrained encoder",
    "pixel PCA": "pixel PCA",
    "constant": "constant",
}


def write_report(folder: Path) -> Path:
    """Write ``report.html`` from the demo's folder; returns its path."""
    stages = json.loads((folder / "stages.json").read_text(encoding="utf-8"))
    probe = json.loads((folder / "probe.json").read_text(encoding="utf-8"))
    run = yaml_of(folder / "simclr/config.yaml")
    test = load_dataset(str(folder / "galaxies"), split="test")
    kept = decoded_images(test, THUMBNAIL, crop=run["crop"])
    embeddings = Embeddings.read(folder / "embeddings.parquet")
    where = {name: row for row, name in enumerate(embeddings.ids)}
    vectors = embeddings.vectors[[where[name] for name in kept.ids]]
    columns = test.with_format(None).remove_columns("image").to_dict()
    results = probe_results(probe)
    report = Report(
        "Galaxies sorted by a network that saw no labels",
        f"{len(embeddings.ids):,} simulated Hubble galaxies. A network learnt to tell them apart "
        "without labels; a few votes then taught it what volunteers call what it sees. Two "
        "questions were held out, and probed.",
        facts(results, stages["seconds"], len(embeddings.ids)),
    )
    add.add_contact_sheet(report, kept.images[:72], kept.ids[:72])
    add_views(report, kept.images, kept.ids, run)
    add_training(report, folder / "simclr", run["batch_size"])
    add.add_map(report, kept.images, vectors, values=map_values(columns))
    add.add_neighbours(report, kept.images, kept.ids, vectors)
    add.add_predictions(
        report,
        predictions(folder, columns, kept.ids),
        kept.images,
        kept.ids,
        min_votes=probe["configuration"]["min_votes"],
    )
    metrics = json.loads((folder / "tree/metrics.json").read_text(encoding="utf-8"))
    if "calibration" in metrics:  # there are votes enough to score
        add.add_calibration(report, metrics["calibration"])
    add.add_probes(
        report, results, metric="RMSE", lower_is_better=True, caption=" ".join(probe["notes"])
    )
    add.add_summary(
        report,
        stages["commands"],
        stages["seconds"],
        data={"galaxies": f"{len(embeddings.ids):,}", "seed": str(run["seed"])},
    )
    return report.write(folder / "report.html")


def yaml_of(path: Path) -> dict[str, Any]:
    """A resolved configuration."""
    import yaml

    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


def probe_results(probe: dict[str, Any]) -> list[ProbeResult]:
    """The rows of the probe's table."""
    return [
        ProbeResult(
            row["target"],
            METHODS[row["method"]],
            row["RMSE"]["value"],
            row["RMSE"]["low"],
            row["RMSE"]["high"],
            row["galaxies"],
            row["RMSE floor"]["value"],
            row["skill"]["value"],
        )
        for row in probe["rows"]
    ]


def facts(results: list[ProbeResult], seconds: dict[str, float], galaxies: int) -> list[Fact]:
    """The numbers at the top of the page."""
    mean = {row.method: row for row in results if row.target == MEAN}
    minutes, rest = divmod(round(sum(seconds.values())), 60)
    return [
        Fact(f"{galaxies:,}", "galaxies"),
        Fact(f"{mean['SimCLR'].skill:.2f}", "skill of SimCLR on held-out questions"),
        Fact(f"{mean['untrained encoder'].skill:.2f}", "skill of the untrained encoder"),
        Fact(f"{minutes} min {rest} s", "all stages"),
    ]


def add_views(
    report: Report, images: npt.NDArray[np.uint8], ids: list[str], run: dict[str, Any]
) -> None:
    """Five galaxies and eight views of each, as training makes them."""
    rows = np.flatnonzero(images[:, 32:64, 32:64].mean(axis=(1, 2, 3)) > 40)[:5]
    config = ViewConfig(**{**run["views"], "zoom": tuple(run["views"]["zoom"])})
    batch = torch.from_numpy(np.array(images[rows]))
    several = [
        make_views(batch, rows, config, seed=run["seed"], epoch=epoch, view=0).permute(0, 2, 3, 1)
        for epoch in range(8)
    ]
    views = (torch.stack(several, dim=1) * 255).round().to(torch.uint8).numpy()
    add.add_views(report, images[rows], list(views), [ids[row] for row in rows])


def add_training(report: Report, run: Path, batch_size: int) -> None:
    """The loss of every step and the neighbours' score of every epoch."""
    steps, epochs = (read_metrics(run / "metrics.jsonl", kind) for kind in ("step", "epoch"))
    loss = Curve("NT-Xent loss", [s["step"] for s in steps], [s["loss"] for s in steps])
    score = Curve("neighbours", [e["step"] for e in epochs], [e["knn_r2"] for e in epochs])
    add.add_training(
        report,
        loss,
        [score],
        metric_label="votes explained by neighbours (R²)",
        chance_loss=float(np.log(2 * batch_size - 1)),
    )


def map_values(columns: dict[str, Any]) -> dict[str, npt.NDArray[np.float64]]:
    """Vote fractions to colour the map by."""
    tree = DecisionTree.from_columns(columns).tree
    fractions = vote_fractions(votes_from_columns(columns, tree), tree)
    shown = {
        "features": "smooth-or-featured-hubble_features",
        "cigar-shaped": "how-rounded-hubble_cigar-shaped",
        "clumpy": "clumpy-appearance-hubble_yes",
    }
    return {
        f"fraction of votes: {label}": np.nan_to_num(fractions[:, tree.columns.index(column)])
        for label, column in shown.items()
    }


def predictions(folder: Path, columns: dict[str, Any], ids: list[str]) -> list[QuestionPredictions]:
    """What the fine-tuned head predicts of the questions it knows, beside the votes.

    The intervals are those of the fraction that so many volunteers would give, so nine in ten
    should hold the votes.
    """
    table = pq.read_table(folder / "tree/predictions.parquet").to_pydict()
    whole = DecisionTree.from_columns(columns).tree
    known = [name for name in whole.slices if f"{name}_asked" in table]
    tree = whole.without(*(name for name in whole.slices if name not in known))
    votes = votes_from_columns(columns, tree)
    row = {name: number for number, name in enumerate(table["id_str"])}
    order = [row[name] for name in ids]

    def matrix(names: list[str]) -> npt.NDArray[np.float64]:
        return np.stack([np.asarray(table[name])[order] for name in names], axis=1)

    expected = matrix(list(tree.columns))
    totals = matrix([f"{name}_concentration" for name in tree.slices])
    concentrations = torch.from_numpy(expected * totals[:, tree.question_index])
    people = torch.from_numpy(np.maximum(total_votes(votes, tree), 1))
    low, high = credible_interval(concentrations, tree, 0.9, people)
    asked = matrix([f"{name}_asked" for name in tree.slices])
    return by_question(tree, votes, expected, low.numpy(), high.numpy(), asked)
