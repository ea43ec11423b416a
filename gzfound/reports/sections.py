"""The sections of a run's report, each with the words that tell a newcomer what to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gzfound.reports.curves import Curve, curve_plot
from gzfound.reports.embedding_map import assign_cells, map_picture, positions, value_panel
from gzfound.reports.galaxy_panel import GalaxyPanel
from gzfound.reports.page import Code, Group, Html, Note, Part, Report
from gzfound.reports.predictions import QuestionPredictions, question_plot, typical_galaxies
from gzfound.reports.probe_results import ProbeResult, probe_plots, probe_table
from gzfound.reports.reliability import coverage_table, reliability_plot
from gzfound.reports.sheets import Images, contact_sheet, neighbour_rows, view_rows
from gzfound.reports.summary import Pairs, Stages
from gzfound.training.provenance import machine, versions

_KEY = Html(
    '<p class="key"><span><i class="votes"></i>fraction of the votes</span>'
    '<span><i class="range"></i>90 % interval</span>'
    '<span><i class="dot"></i>predicted fraction</span></p>'
)


def add_contact_sheet(
    report: Report, images: Images, ids: Sequence[str], *, captions: Sequence[str] = ()
) -> None:
    """The galaxies themselves: N uint8 images with their names."""
    report.section(
        "The galaxies",
        "What the model sees. Look for the range of shapes, and for how much of it drowns in "
        "noise: no model can answer what the image does not show.",
        contact_sheet(images, ids, captions=captions),
    )


def add_views(
    report: Report, originals: Images, views: Sequence[Images], ids: Sequence[str]
) -> None:
    """Each original beside its views ``(V, H, W, 3)`` uint8."""
    report.section(
        "Augmented views",
        "Training pulls the views of one galaxy together and pushes different galaxies apart. "
        "Every view should still be recognisable as its original: what differs between views is "
        "what the embedding learns to ignore.",
        view_rows(originals, views, ids),
    )


def add_training(
    report: Report,
    loss: Curve,
    metrics: Sequence[Curve],
    *,
    metric_label: str,
    chance_loss: float | None = None,
    baselines: Mapping[str, float] | None = None,
    xlabel: str = "step",
) -> None:
    """The loss and the online metrics; ``baselines`` are heights to compare a metric with."""
    references = {} if chance_loss is None else {"chance": chance_loss}
    plots: list[Part] = [curve_plot([loss], xlabel=xlabel, ylabel=loss.name, references=references)]
    if metrics:
        plots.append(curve_plot(metrics, xlabel=xlabel, ylabel=metric_label, references=baselines))
    report.section(
        "Training",
        "The loss should fall well below chance and flatten. The online metric should move away "
        "from its starting point: if the loss falls but the metric does not, the embedding has "
        "collapsed, or has learnt a shortcut.",
        Group(plots),
    )


def add_map(
    report: Report,
    images: Images,
    vectors: npt.NDArray[np.floating],
    *,
    values: Mapping[str, npt.NDArray[np.floating]] | None = None,
    seed: int = 0,
) -> None:
    """The t-SNE map of at most 1,500 galaxies, then coloured by each of ``values`` ``(N,)``."""
    cells = assign_cells(positions(vectors, seed=seed))
    panels = [value_panel(cells, numbers, label) for label, numbers in (values or {}).items()]
    report.section(
        "Map of the embedding",
        "Galaxies with similar embeddings are placed side by side (t-SNE, then moved to the "
        "nearest free cell). Look for regions of one kind, such as edge-on disks or smooth "
        "ellipticals, though nobody told the model these kinds."
        + " In the small maps, what the embedding knows changes smoothly from cell to cell."
        * bool(panels),
        map_picture(images, cells),
        *([Group(panels, 280)] if panels else []),
    )


def add_neighbours(
    report: Report,
    images: Images,
    ids: Sequence[str],
    vectors: npt.NDArray[np.floating],
    *,
    queries: Sequence[int] | None = None,
    k: int = 7,
) -> None:
    """The nearest neighbours of six galaxies, or of ``queries`` (rows)."""
    report.section(
        "Nearest neighbours",
        "Each row starts with a galaxy and continues with those the embedding finds most "
        "similar. Neighbours should share its shape, not merely its brightness, size or "
        "orientation.",
        neighbour_rows(images, ids, vectors, queries=queries, k=k),
    )


def add_predictions(
    report: Report,
    predictions: Sequence[QuestionPredictions],
    images: Images,
    ids: Sequence[str],
    *,
    galaxies: Sequence[int] | None = None,
    min_votes: int = 20,
) -> None:
    """Scatter plots a question, then single galaxies (by default four that differ)."""
    plots = {p.question: question_plot(p, min_votes=min_votes) for p in predictions}
    empty = [name for name, plot in plots.items() if plot is None]
    known = int((predictions[0].totals > 0).sum())
    rows = typical_galaxies(predictions, min(4, known)) if galaxies is None else galaxies
    parts: list[Part] = [Group([plot for plot in plots.values() if plot is not None], 280)]
    if empty:
        parts.append(Note(f"No galaxy has {min_votes} votes on: {', '.join(empty)}."))
    parts.append(_KEY)
    parts += [GalaxyPanel(images[row], str(ids[row]), predictions, row) for row in rows]
    report.section(
        "Predictions against votes",
        "Points near the dashed line are right, and nine bars in ten should cross it: those hold "
        f"the votes. Plots show galaxies with at least {min_votes} votes on the question. Below, "
        "single galaxies: questions grow faint where volunteers are unlikely to be asked them.",
        *parts,
    )


def add_calibration(report: Report, calibration: Mapping[str, Any]) -> None:
    """Reliability and coverage, as ``gzfound.evaluation.calibration`` gives them."""
    curves = calibration["reliability"]
    report.section(
        "Calibration",
        "Of the votes that were predicted to be a third, a third should be: dots on the dashed "
        "line are right. And of the votes, as many should lie in an interval as its name says: "
        "fewer, and the model is too sure of itself; more, and it is too modest.",
        Group(
            [
                reliability_plot(curves["overall"], curves["questions"]),
                coverage_table(calibration["levels"], calibration["coverage"]),
            ],
            340,
        ),
    )


def add_probes(
    report: Report,
    results: Sequence[ProbeResult],
    *,
    metric: str,
    lower_is_better: bool,
    heading: str = "Linear probes on held-out questions",
    caption: str = "",
) -> None:
    """The probe table and its dots."""
    best = "left" if lower_is_better else "right"
    floors = any(result.floor is not None for result in results)
    report.section(
        heading,
        "One linear layer, fitted on frozen embeddings to answers that the encoder was never "
        f"taught. Further {best} is better, and intervals that do not overlap are a clear "
        "difference."
        + " The noise floor is what a perfect model would still get wrong, as volunteers are few."
        * floors,
        Group(probe_plots(results, metric, lower_is_better=lower_is_better)),
        probe_table(results, metric, lower_is_better=lower_is_better, caption=caption),
    )


def add_summary(
    report: Report,
    commands: Sequence[str],
    seconds: Mapping[str, float],
    *,
    data: Mapping[str, str] | None = None,
) -> None:
    """Commands, seconds a stage, and the machine and versions that ran them (as they are now)."""
    here = {name: str(value) for name, value in machine().items()}
    report.section(
        "How this was made",
        "The commands below, run in this order on the same data, give this page again.",
        Code("\n".join(commands)),
        Stages(seconds),
        Group([Pairs({**(data or {}), **here}), Pairs(versions())], 320),
    )
