from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from gzfound.errors import DataError
from gzfound.evaluation import (
    constant_fractions,
    fit_class_probe,
    fit_linear_probe,
    fit_number_probe,
    per_answer_errors,
)
from gzfound.evaluation.probes import Standardiser, validation_splits
from gzfound.evaluation.softmax_regression import SoftmaxRegression
from gzfound.trees import DecisionTree, Question


def test_solver_agrees_with_scikit_learn(world: Any) -> None:
    """Every answer a row weighted by its votes, C = 1 / (lambda V), gives the same fractions.

    Of two answers scikit-learn fits one difference u, where the softmax has u / 2 and -u / 2:
    half the squared weights, so C is twice that. Both stop where the objective is flat: 1e-3 in a
    fraction is 1e-6 nats a vote.
    """
    features = Standardiser.fit(world.embeddings)(world.embeddings)
    penalty = np.geomspace(1e-3, 1e-1, len(world.tree.questions))
    weights, offsets = SoftmaxRegression(features, world.votes, world.tree).solve(penalty)
    compared = 0
    for number, (name, part) in enumerate(world.tree.slices.items()):
        counts, answers = world.votes[:, part], part.stop - part.start
        strength = (2 if answers == 2 else 1) / (penalty[number] * counts.sum())
        peer = LogisticRegression(C=strength, tol=1e-8, max_iter=5000)
        labels = np.repeat(np.arange(answers), len(features))
        peer.fit(np.tile(features, (answers, 1)), labels, counts.T.ravel())
        logits = features @ weights[:, part] + offsets[part]
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        expected = peer.predict_proba(features)
        found = powers / powers.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(found, expected, atol=1e-3, err_msg=name)
        compared += 1
    assert compared == 13


def test_probe_finds_the_truth_on_galaxies_it_never_saw(world: Any) -> None:
    """The logits are linear: the error against the truth is a tenth of the constant's."""
    probe = fit_linear_probe(world.embeddings[:700], world.votes[:700], world.tree)
    predicted, truth = probe.predict(world.embeddings[700:]), world.truth[700:]
    constant = constant_fractions(world.votes[:700], world.tree)
    for part in world.tree.slices.values():
        np.testing.assert_allclose(predicted[:, part].sum(axis=1), 1)
    roots = world.tree.slices["smooth-or-featured-hubble"]
    error = np.abs(predicted - truth)[:, roots].mean()
    assert error < 0.1 * np.abs(constant - truth)[:, roots].mean()
    errors = per_answer_errors(predicted, world.votes[700:], world.tree)
    flat = np.broadcast_to(constant, truth.shape)
    seen = errors.galaxies > 20
    assert seen.sum() > 20
    assert (errors.rmse < per_answer_errors(flat, world.votes[700:], world.tree).rmse)[seen].all()


def test_penalty_is_strong_for_noise_and_weak_for_signal(world: Any) -> None:
    """Features without information get the strongest penalty, informative ones a weaker one."""
    noise = np.random.default_rng(0).normal(size=world.embeddings.shape)
    root = "smooth-or-featured-hubble"
    of_noise = fit_linear_probe(noise, world.votes, world.tree).penalties[root]
    of_signal = fit_linear_probe(world.embeddings, world.votes, world.tree).penalties[root]
    assert of_noise >= 100 * of_signal


def test_galaxies_that_were_not_asked_change_nothing(world: Any) -> None:
    """Their votes are zero: moving their features moves only the standardisation, so fix that."""
    features = Standardiser.fit(world.embeddings)(world.embeddings)
    tree = world.tree.without(*[q.name for q in world.tree.questions[1:]])
    part = world.tree.slices["smooth-or-featured-hubble"]
    votes = world.votes[:, part].copy()
    votes[::3] = 0
    kept = np.arange(len(votes)) % 3 != 0
    weights, offsets = SoftmaxRegression(features, votes, tree).solve(0.01, tolerance=1e-13)
    alone = SoftmaxRegression(features[kept], votes[kept], tree).solve(0.01, tolerance=1e-13)
    np.testing.assert_allclose(weights, alone[0], atol=1e-4)
    np.testing.assert_allclose(offsets, alone[1], atol=1e-4)


def test_number_probe_is_ridge_regression(world: Any) -> None:
    """The objective of scikit-learn with alpha = penalty * N, on standardised features."""
    draw = np.random.default_rng(0)
    target = world.embeddings[:200, :3].sum(axis=1) + draw.normal(size=200)
    probe = fit_number_probe(world.embeddings[:200], target)
    features = Standardiser.fit(world.embeddings[:200])(world.embeddings[:200])
    peer = Ridge(alpha=probe.penalty * 200).fit(features, target)
    np.testing.assert_allclose(probe.predict(world.embeddings[:200]), peer.predict(features))


def test_number_probe_chooses_by_leave_one_out(world: Any) -> None:
    """Refitting 40 times, once without each galaxy, finds the same penalty."""
    draw = np.random.default_rng(1)
    target = world.embeddings[:40, 0] + 2 * draw.normal(size=40)
    penalties = (10.0, 1.0, 0.1, 0.01)
    features = Standardiser.fit(world.embeddings[:40])(world.embeddings[:40])
    errors = []
    for penalty in penalties:
        total = 0.0
        for left in range(40):
            rest = np.arange(40) != left
            model = Ridge(alpha=penalty * 40).fit(features[rest], target[rest])
            total += float(model.predict(features[[left]])[0] - target[left]) ** 2
        errors.append(total)
    probe = fit_number_probe(world.embeddings[:40], target, penalties)
    assert probe.penalty == penalties[int(np.argmin(errors))]


def test_class_probe(world: Any) -> None:
    """The most common answer of the first question, from its own fractions: over 85 % right."""
    names = np.array(["smooth", "features", "artifact"])
    labels = names[world.truth[:, :3].argmax(axis=1)]
    probe = fit_class_probe(world.embeddings[:300], labels[:300])
    assert probe.classes == ("artifact", "features", "smooth")
    predicted = np.array(probe.classes)[probe.predict(world.embeddings[300:]).argmax(axis=1)]
    assert (predicted == labels[300:]).mean() > 0.85


def test_validation_rows_are_apart_from_those_fitted() -> None:
    for galaxies, number in ((100, 5), (3000, 1)):
        splits = validation_splits(galaxies, seed=0)
        assert len(splits) == number
        for fitted, held in splits:
            assert not np.intersect1d(fitted, held).size
            assert len(fitted) + len(held) == galaxies
            assert len(held) == galaxies // 5


def test_a_flat_feature_is_harmless(world: Any) -> None:
    flat = np.concatenate([world.embeddings, np.full((len(world.embeddings), 1), 3.7)], axis=1)
    with_flat = fit_linear_probe(flat, world.votes, world.tree).predict(flat)
    without = fit_linear_probe(world.embeddings, world.votes, world.tree)
    np.testing.assert_allclose(with_flat, without.predict(world.embeddings), atol=1e-3)


def test_size_of_the_demo_takes_seconds() -> None:
    """2,400 galaxies, 512 features, two questions: about 1 s on one core; 20 s is a fault."""
    draw = np.random.default_rng(0)
    tree = DecisionTree("two", (Question("bar", ("yes", "no")), Question("arms", ("yes", "no"))))
    embeddings = draw.normal(size=(2400, 512)).astype(np.float32)
    start = time.perf_counter()
    fit_linear_probe(embeddings, draw.integers(0, 20, (2400, 4)), tree)
    assert time.perf_counter() - start < 20


def test_bad_input_is_one_line(world: Any) -> None:
    with pytest.raises(DataError, match=r"votes have shape \(3, 40\); 4 embeddings"):
        fit_linear_probe(world.embeddings[:4], world.votes[:3], world.tree)
    broken = world.embeddings.copy()
    broken[7, 3] = np.nan
    with pytest.raises(DataError, match="embedding of row 7 is not finite"):
        fit_linear_probe(broken, world.votes, world.tree)
    silent = world.votes.copy()
    silent[:, world.tree.slices["bar-hubble"]] = 0
    with pytest.raises(DataError, match="question 'bar-hubble' has no votes"):
        fit_linear_probe(world.embeddings, silent, world.tree)
    with pytest.raises(DataError, match="at least two are needed"):
        fit_class_probe(world.embeddings, np.full(len(world.embeddings), "a"))
    with pytest.raises(DataError, match=r"target has shape \(3,\) for 900 embeddings"):
        fit_number_probe(world.embeddings, np.zeros(3))
