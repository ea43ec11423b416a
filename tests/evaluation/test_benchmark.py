from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from scipy import stats

from gzfound.errors import ConfigError, DataError
from gzfound.evaluation import (
    cross_validation,
    evaluate_predictions,
    per_answer_errors,
    probe_table,
    target_table,
)
from gzfound.evaluation.benchmark import only_questions
from gzfound.evaluation.table import MEAN
from gzfound.evaluation.target_benchmark import mean_recall, spearman, target_kind

QUESTIONS = ("bar-hubble", "how-rounded-hubble")


@pytest.fixture(scope="module")
def results(world: Any) -> Any:
    noise = np.random.default_rng(5).normal(size=world.embeddings.shape)
    embeddings = {"good": world.embeddings, "noise": lambda rows: noise}
    rows = np.arange(900)
    return probe_table(
        embeddings, world.votes, world.tree, rows[:700], rows[700:], QUESTIONS, resamples=300
    )


def test_table_agrees_with_the_metrics(results: Any, world: Any) -> None:
    columns = [world.tree.columns.index(column) for column in results.tree.columns]
    errors = per_answer_errors(
        results.predictions["good"], world.votes[700:][:, columns], results.tree
    )
    for question, (rmse, mad) in errors.by_question().items():
        row = results.table.find(question, "good")
        assert row.metrics["RMSE"].value == pytest.approx(rmse)
        assert row.metrics["MAD"].value == pytest.approx(mad)
    mean = results.table.find(MEAN, "good").metrics
    assert (mean["RMSE"].value, mean["MAD"].value) == pytest.approx(errors.mean())


def test_good_beats_noise_beyond_the_intervals(results: Any) -> None:
    """The embedding that knows the logits comes near the floor, noise stays at the constant."""
    for question in QUESTIONS:
        good, noise, constant = (
            results.table.find(question, method).metrics for method in ("good", "noise", "constant")
        )
        assert not good["RMSE"].overlaps(noise["RMSE"])
        assert good["RMSE"].low < 1.3 * good["RMSE floor"].high
        assert good["skill"].value > 0.9
        assert constant["skill"].value == 0
        assert abs(noise["skill"].value) < 0.15
        assert good["log likelihood per vote"].low > constant["log likelihood per vote"].high
        assert results.scores.difference(question, "RMSE", "good", "noise").high < 0


def test_paired_differences_are_narrower_than_the_two_intervals(results: Any) -> None:
    difference = results.scores.difference(MEAN, "RMSE", "noise", "constant")
    alone = results.table.find(MEAN, "constant").metrics["RMSE"]
    assert difference.high - difference.low < alone.high - alone.low


def test_forms_of_the_table(results: Any) -> None:
    import rich.console

    table = results.table
    assert len(table.rows) == 3 * 3
    lines = table.to_markdown().splitlines()
    head = next(line for line in lines if line.startswith("| target"))
    assert head.count("|") == 3 + len(table.metrics) + 1
    assert sum(line.startswith("| bar-hubble | good | ") for line in lines) == 1
    plain = json.loads(json.dumps(table.to_dict(), allow_nan=False))
    assert type(table).from_dict(plain).to_markdown() == table.to_markdown()
    value = table.find("bar-hubble", "good").metrics["RMSE"]
    row = next(r for r in plain["rows"] if (r["target"], r["method"]) == ("bar-hubble", "good"))
    assert row["RMSE"] == {"value": value.value, "low": value.low, "high": value.high}
    console = rich.console.Console(file=io.StringIO(), width=120)
    console.print(table.to_rich())
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert f"{value.value:.3f} ({value.low:.3f} to {value.high:.3f})" in shown
    assert "log likelihood" not in shown


def test_held_out_questions_are_named_and_flat(world: Any) -> None:
    kept = only_questions(world.tree, QUESTIONS)
    assert [q.name for q in kept.questions] == ["how-rounded-hubble", "bar-hubble"]
    with pytest.raises(ConfigError, match="questions: 'bar' is not a question of gz_hubble"):
        only_questions(world.tree, ["bar"])


def test_train_and_test_must_not_share_galaxies(world: Any) -> None:
    with pytest.raises(DataError, match="5 galaxies are in train and in test, such as row 10"):
        probe_table(
            {"good": world.embeddings}, world.votes, world.tree, np.arange(15), np.arange(10, 20)
        )


def test_number_target(world: Any) -> None:
    """A target that the embedding holds but for noise as large as itself: correlation 0.7."""
    draw = np.random.default_rng(6)
    signal = world.embeddings[:400, 0] / world.embeddings[:400, 0].std()
    target = signal + draw.normal(size=400)
    noise = draw.normal(size=(400, 8))
    found = target_table(
        {"good": world.embeddings[:400], "noise": noise}, target, cross_validation(400)
    )
    good = found.table.find("target", "good").metrics
    assert good["Spearman"].value == pytest.approx(0.69, abs=0.08)
    assert good["Spearman"].low < good["Spearman"].value < good["Spearman"].high
    assert found.table.find("target", "noise").metrics["Spearman"].low < 0.1
    constant = found.table.find("target", "constant").metrics
    assert np.isnan(constant["Spearman"].value)
    assert good["MAE"].high < constant["MAE"].low
    assert sorted(found.rows) == list(range(400))
    assert len(found.folds["good"]["Spearman"]) == 5


def test_noise_is_not_punished_by_the_means_of_the_folds() -> None:
    """Predictions of almost a constant fall when the fold's truth rises; within folds they do not.

    40 noise targets: the mean correlation is 0 within 0.07 (4 sigma of 0.1 / sqrt(40)).
    """
    draw = np.random.default_rng(7)
    values = []
    for seed in range(40):
        target, noise = draw.normal(size=100), draw.normal(size=(100, 3))
        table = target_table(
            {"noise": noise}, target, cross_validation(100, seed=seed), resamples=2
        ).table
        values.append(table.find("target", "noise").metrics["Spearman"].value)
    assert np.mean(values) == pytest.approx(0, abs=0.07)


def test_class_target(world: Any) -> None:
    labels = np.array(["smooth", "features", "artifact"])[world.truth[:300, :3].argmax(axis=1)]
    found = target_table({"good": world.embeddings[:300]}, labels, cross_validation(300, 3))
    good = found.table.find("target", "good").metrics
    assert good["accuracy"].value > 0.85
    assert good["accuracy"].low > found.table.find("target", "constant").metrics["accuracy"].high


def test_kind_of_target() -> None:
    assert target_kind(np.array([0.5, 1.0])) == "number"
    assert target_kind(np.arange(30)) == "number"
    assert target_kind(np.arange(3)) == "class"
    assert target_kind(np.arange(3), "number") == "number"
    assert target_kind(np.array(["a", "b"])) == "class"
    with pytest.raises(ConfigError, match="kind is 'count'; allowed: auto, number, class"):
        target_kind(np.arange(3), "count")


def test_metrics_of_targets() -> None:
    x, y = np.random.default_rng(8).normal(size=(2, 3, 50))
    y[:, :10] = 0
    expected = [stats.spearmanr(a, b).statistic for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(spearman(x, y), expected)
    truth, predicted = np.array(list("aaab")), np.array(list("aaca"))
    assert mean_recall(predicted, truth) == pytest.approx((2 / 3 + 0) / 2)


def test_folds_test_every_galaxy_once() -> None:
    splits = cross_validation(23, 4)
    tested = np.concatenate([test for _, test in splits])
    assert sorted(tested) == list(range(23))
    for train, test in splits:
        assert not np.intersect1d(train, test).size
    with pytest.raises(ConfigError, match="folds is 1; allowed for 23 galaxies: 2 to 11"):
        cross_validation(23, 1)


def test_evaluation_of_a_perfect_model(world: Any) -> None:
    """Large concentrations at the true fractions: skill 1, and intervals of at least 90 %."""
    found = evaluate_predictions(1e6 * world.truth + 1e-3, world.votes, world.tree, resamples=100)
    json.dumps(found, allow_nan=False)
    rows = {(row["target"], row["method"]): row for row in found["rows"]}
    root = rows["smooth-or-featured-hubble", "model"]
    assert root["skill"]["value"] == pytest.approx(1, abs=0.01)
    assert root["RMSE"]["value"] == pytest.approx(root["RMSE floor"]["value"], rel=0.05)
    covered = found["coverage"]["smooth-or-featured-hubble_smooth"]
    assert covered > 0.87
    assert rows[MEAN, "constant"]["skill"]["value"] == 0


def test_evaluation_skips_questions_that_nobody_was_asked(world: Any) -> None:
    votes = world.votes.copy()
    votes[:, world.tree.slices["bar-hubble"]] = 0
    found = evaluate_predictions(world.truth + 0.1, votes, world.tree, resamples=10)
    targets = {row["target"] for row in found["rows"]}
    assert "bar-hubble" not in targets
    assert "smooth-or-featured-hubble" in targets
    with pytest.raises(DataError, match=r"no question .* has 20 votes on 10 of the 900"):
        evaluate_predictions(world.truth + 0.1, 0 * votes, world.tree)
