"""Linear probes on frozen embeddings, of one or several weights, beside what they have to beat.

python benchmarks/linear_probe.py --weights W --data D --questions Q1,Q2 --output R.json
python benchmarks/linear_probe.py --weights W --data D --target COLUMN --output R.json
python benchmarks/linear_probe.py --weights W --data D1,D2 --held-out-campaign C --questions all ...
python benchmarks/linear_probe.py --weights W --also W2,resnet18.a1_in1k --baselines morphology ...
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rich

from gzfound.errors import ConfigError, one_line_errors
from gzfound.evaluation import cross_validation, probe_table, target_table
from gzfound.evaluation.benchmark import EmbeddingOf
from gzfound.evaluation.methods import (
    EMBEDDING,
    MethodConfig,
    chosen_baselines,
    load_encoders,
    method_embeddings,
)
from gzfound.evaluation.results import write_results
from gzfound.evaluation.sample import Sample, load_sample, names_in, vote_task
from gzfound.models import transform_of
from gzfound.training.config import parse_config


@dataclass(frozen=True)
class ProbeConfig(MethodConfig):
    """Options of the linear-probe benchmark; give ``questions`` or ``target``.

    Attributes:
        output: JSON file to write.
        questions: questions to probe, separated by commas; ``all`` for every one.
        target: column to probe instead: a number or a class.
        kind: of the target: ``auto``, ``number`` or ``class``.
        folds: of the cross-validation of a target in data without a test split.
        min_votes: fewest votes on a question for a galaxy to count in the errors.
        resamples: of the bootstrap.
        held_out_campaign: probe the galaxies and questions of this campaign alone.
    """

    output: str = ""
    questions: str = ""
    target: str = ""
    kind: str = "auto"
    folds: int = 5
    min_votes: int = 20
    resamples: int = 1000
    held_out_campaign: str = ""


def probe_questions(
    config: ProbeConfig, sample: Sample, embeddings: dict[str, EmbeddingOf], constant: bool
) -> dict[str, Any]:
    """Probe vote counts, on the test split of the data or on one galaxy in five."""
    task = vote_task(sample, config.seed, config.held_out_campaign)
    chosen = names_in(config.questions)
    results = probe_table(
        embeddings,
        task.votes,
        task.tree,
        task.train_rows,
        task.test_rows,
        None if chosen == ["all"] else chosen,
        constant=constant,
        seed=config.seed,
        min_votes=config.min_votes,
        resamples=config.resamples,
    )
    rich.print(results.table.to_rich())
    differences = results.scores.differences(EMBEDDING)
    penalties = {method: dict(found) for method, found in results.penalties.items()}
    return {**results.table.to_dict(), "differences": differences, "penalties": penalties}


def probe_target(
    config: ProbeConfig, sample: Sample, embeddings: dict[str, EmbeddingOf], constant: bool
) -> dict[str, Any]:
    """Probe a column, on the test split of the data or by cross-validation."""
    galaxies, test = len(sample.ids), sample.test_rows
    splits = (
        cross_validation(galaxies, config.folds, config.seed)
        if test is None
        else [(np.setdiff1d(np.arange(galaxies), test), test)]
    )
    results = target_table(
        embeddings,
        sample.columns[config.target],
        splits,
        name=config.target,
        kind=config.kind,
        constant=constant,
        seed=config.seed,
        resamples=config.resamples,
    )
    rich.print(results.table.to_rich())
    return {**results.table.to_dict(), "folds": results.folds}


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the options, run the benchmark, print the table and write the JSON file."""
    about = "Linear probes on frozen embeddings, with baselines, noise floor and intervals."
    config = parse_config(ProbeConfig, about, argv)
    missing = [name for name in ("weights", "data", "output") if not getattr(config, name)]
    if missing:
        raise ConfigError(f"--{missing[0]} is missing; --weights, --data and --output are needed")
    if bool(config.questions) == bool(config.target):
        raise ConfigError("give either --questions Q1,Q2 (or all) or --target COLUMN")
    start = time.perf_counter()
    baselines, encoders = chosen_baselines(config.baselines), load_encoders(config)
    transform = transform_of(encoders[EMBEDDING])
    sample = load_sample(
        config,
        transform.size,
        transform.crop,
        target=config.target,
        campaign=config.held_out_campaign,
        bands=transform.bands,
    )
    embeddings = method_embeddings(config, encoders, sample, baselines)
    probe = probe_target if config.target else probe_questions
    result = {
        **probe(config, sample, embeddings, "constant" in baselines),
        "command": sys.argv if argv is None else ["benchmarks/linear_probe.py", *argv],
        "configuration": dataclasses.asdict(config),
        "seconds": round(time.perf_counter() - start, 1),
    }
    write_results(config.output, result)
    print(f"written: {Path(config.output).resolve()}")


if __name__ == "__main__":
    main()
