"""Linear probes with 0.1, 1, 10 and 100 % of the labels, for all methods of linear_probe.py.

python benchmarks/label_efficiency.py --weights W --data D --questions all --output R.json

Writes R.json, and beside it the tables as R.md and the plot as R.png.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import rich

from gzfound.errors import ConfigError, one_line_errors
from gzfound.evaluation.label_efficiency import METRICS, SHARES, label_efficiency
from gzfound.evaluation.methods import (
    EMBEDDING,
    MethodConfig,
    chosen_baselines,
    load_encoders,
    method_embeddings,
)
from gzfound.evaluation.results import write_results
from gzfound.evaluation.sample import load_sample, names_in, vote_task
from gzfound.evaluation.table import MEAN
from gzfound.files import write_text
from gzfound.models import transform_of
from gzfound.reports import save_png
from gzfound.reports.label_efficiency import efficiency_plot
from gzfound.training.config import parse_config


@dataclass(frozen=True)
class EfficiencyConfig(MethodConfig):
    """Options of the label-efficiency benchmark.

    Attributes:
        output: JSON file to write; the tables (.md) and the plot (.png) go beside it.
        questions: questions to probe, separated by commas; ``all`` for every one.
        shares: of the training galaxies.
        draws: of each share.
        min_votes: fewest votes on a question for a galaxy to count in the errors.
    """

    output: str = ""
    questions: str = "all"
    shares: tuple[float, ...] = SHARES
    draws: int = 5
    min_votes: int = 20


@one_line_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the options, run the benchmark, print the tables and write the files."""
    config = parse_config(EfficiencyConfig, "Linear probes on shares of the labels.", argv)
    missing = [name for name in ("weights", "data", "output") if not getattr(config, name)]
    if missing:
        raise ConfigError(f"--{missing[0]} is missing; --weights, --data and --output are needed")
    output = Path(config.output)
    if output.suffix != ".json":
        raise ConfigError(f"--output is {config.output!r}; allowed: a name that ends in .json")
    start = time.perf_counter()
    baselines, encoders = chosen_baselines(config.baselines), load_encoders(config)
    transform = transform_of(encoders[EMBEDDING])
    sample = load_sample(config, transform.size, transform.crop, bands=transform.bands)
    task = vote_task(sample, config.seed)
    chosen = names_in(config.questions)
    found = label_efficiency(
        method_embeddings(config, encoders, sample, baselines),
        task.votes,
        task.tree,
        task.train_rows,
        task.test_rows,
        None if chosen == ["all"] else chosen,
        shares=config.shares,
        draws=config.draws,
        constant="constant" in baselines,
        seed=config.seed,
        min_votes=config.min_votes,
    )
    tables = [found.to_table(metric) for metric in METRICS]
    rich.print(tables[0].to_rich())
    write_text(output.with_suffix(".md"), "\n".join(table.to_markdown() for table in tables))
    targets = [point.target for point in found.points]
    target = MEAN if MEAN in targets else targets[0]
    save_png(efficiency_plot(found.points, target, "skill").figure, output.with_suffix(".png"))
    result = {
        **found.to_dict(),
        "command": sys.argv if argv is None else ["benchmarks/label_efficiency.py", *argv],
        "configuration": dataclasses.asdict(config),
        "seconds": round(time.perf_counter() - start, 1),
    }
    write_results(output, result)
    print(f"written: {output.resolve()}, and .md and .png beside it")


if __name__ == "__main__":
    main()
