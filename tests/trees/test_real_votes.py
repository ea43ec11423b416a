"""The trees against real votes: do child totals equal the votes of their parent answers?"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from gzfound import DecisionTree, load_tree
from gzfound.votes import check_votes, total_votes, vote_fractions, votes_from_columns

Votes = npt.NDArray[np.int32]
HUBBLE = load_tree("gz_hubble")
GZ2 = load_tree("gz2")

FERENGI = {
    "smooth-or-featured": ("t01", "a01 a02 a03"),
    "how-rounded": ("t07", "a16 a17 a18"),
    "clumpy-appearance": ("t14", "a39 a40"),
    "clump-count": ("t19", "a50 a51 a52 a53 a54 a60"),
    "disk-edge-on": ("t02", "a04 a05"),
    "bulge-shape": ("t09", "a25 a26 a27"),
    "bar": ("t03", "a06 a07"),
    "has-spiral-arms": ("t04", "a08 a09"),
    "spiral-winding": ("t10", "a28 a29 a30"),
    "spiral-arm-count": ("t11", "a31 a32 a33 a34 a36 a37"),
    "bulge-size": ("t05", "a10 a11 a12 a13"),
    "galaxy-symmetrical": ("t20", "a55 a56"),
    "clumps-embedded-larger-object": ("t21", "a57 a58"),
}
"""Task and answers of the FERENGI table, in the order of the tree's answers."""

STRIPE82 = {
    "smooth-or-featured": "a01 a02 a03",
    "how-rounded": "a16 a17 a18",
    "disk-edge-on": "a04 a05",
    "bulge-shape": "a25 a26 a27",
    "bar": "a06 a07",
    "has-spiral-arms": "a08 a09",
    "spiral-winding": "a28 a29 a30",
    "spiral-arm-count": "a31 a32 a33 a34 a36 a37",
    "bulge-size": "a13 a12 a11 a10",
    "something-odd": "a14 a15",
}


def answer_code(column: str) -> str:
    """``t01_smooth_or_features_a02_features_frac`` -> ``a02``."""
    found = re.search(r"_(a\d\d)_", column)
    assert found, column
    return found[1]


@pytest.fixture(scope="module")
def ferengi(real_data: Path) -> pd.DataFrame:
    """Counts a task (``t01``) and an answer (``a01``); the table has answers as fractions."""
    table = pd.read_csv(real_data / "votes" / "gz_hubble_ferengi.csv.gz")
    counts = {name[:3]: table[name] for name in table if name.endswith("_count")}
    for name in table:
        if name.endswith("_frac"):
            exact = table[name] * counts[name[:3]]
            counts[answer_code(name)] = exact.round().astype(np.int64)
            assert (exact - exact.round()).abs().max() < 1e-9
    return pd.DataFrame(counts)


@pytest.fixture(scope="module")
def hubble_votes(ferengi: pd.DataFrame) -> Votes:
    answers = [answer for _, each in FERENGI.values() for answer in each.split()]
    columns = zip(HUBBLE.columns, answers, strict=True)
    return votes_from_columns({c: ferengi[a].to_numpy() for c, a in columns}, HUBBLE)


@pytest.fixture(scope="module")
def gz2_votes(real_data: Path) -> Votes:
    table = pd.read_csv(real_data / "votes" / "gz2_stripe82_coadd.csv.gz")
    by_answer = {answer_code(name): name for name in table if name.endswith("_count")}
    answers = [answer for question in STRIPE82.values() for answer in question.split()]
    columns = zip(GZ2.columns, answers, strict=True)
    return votes_from_columns({c: table[by_answer[a]].to_numpy() for c, a in columns}, GZ2)


def excess(votes: Votes, name: str, tree: DecisionTree) -> npt.NDArray[np.int64]:
    """Votes of a question less the votes of the answers that lead to it, a galaxy."""
    frame = pd.DataFrame(votes, columns=list(tree.columns))
    where = list(tree.slices).index(name)
    return total_votes(votes, tree)[:, where] - frame[list(tree.asked_after[name])].sum(axis=1)


def test_hubble_totals_equal_their_parent_answers(hubble_votes: Votes) -> None:
    """All 8,306 FERENGI galaxies, exactly, in 10 of the 12 questions that follow another.

    The clumpy question has one vote fewer than 'features' in one galaxy: a vote that the table
    counts without an answer. The real exception is symmetry: 1,393 galaxies (17 %; 23 % of the
    6,036 with a clump count) have fewer votes than their clump counts, 2,932 of 27,888 together
    (10.5 %), by 17 at most in a galaxy. None has more. So P(asked) of the last two questions is
    an upper bound.
    """
    assert len(hubble_votes) == 8306
    assert check_votes(hubble_votes, HUBBLE) == []
    followers = [question.name for question in HUBBLE.questions if question.asked_after]
    assert len(followers) == 12
    for name in followers:
        surplus = excess(hubble_votes, name, HUBBLE)
        if name == "galaxy-symmetrical-hubble":
            short = surplus[surplus < 0]
            assert (len(short), short.sum(), short.min()) == (1393, -2932, -17)
            assert surplus.max() == 0
        elif name == "clumpy-appearance-hubble":
            assert surplus[surplus != 0].tolist() == [-1]
        else:
            assert (surplus == 0).all(), name


def test_who_skips_symmetry_in_ferengi(ferengi: pd.DataFrame) -> None:
    """Exactly those who found the brightest clump not central (a46), as in this campaign's own
    flow, gz4_f_tree.json; in the flow of gz_hubble, gz3_tree.json, it is those who saw the
    clumps in a spiral (a59), which here does not explain it."""
    skipped = ferengi["t19"] - ferengi["t20"]
    assert (skipped == ferengi["a46"]).all()
    assert (skipped != ferengi["a59"]).sum() == 2928


def test_clump_counts_of_the_table_are_named_one_too_high(ferengi: pd.DataFrame) -> None:
    """By the flow, 3, 4, more than 4 and can't tell lead to the arrangement (t18), and 2 to the
    brightest clump (t16). That holds for every galaxy if a50 "2" means 1, a51 "3" means 2, and
    so on up to a60 "1" meaning can't tell; with the names as they stand, for 3,817 of 8,306."""
    arranged = ferengi[["a52", "a53", "a54", "a60"]].sum(axis=1)
    assert (ferengi["t18"] == arranged).all()
    assert (ferengi["t16"] == ferengi["a51"] + ferengi["t18"]).all()
    as_named = ferengi[["a51", "a52", "a53", "a54"]].sum(axis=1)
    assert (ferengi["t18"] == as_named).sum() == 3817


def test_two_tasks_count_a_vote_without_an_answer(ferengi: pd.DataFrame) -> None:
    """40 votes but 39 answers to smooth-or-featured in one galaxy, and 1 but 0 to clumpy in
    another; gzfound adds up answers, so it reads 39 and 0."""
    for task, answers in (FERENGI["smooth-or-featured"], FERENGI["clumpy-appearance"]):
        lost = ferengi[task] - ferengi[answers.split()].sum(axis=1)
        assert sorted(lost[lost != 0]) == [1]


def test_expected_votes_of_real_fractions_are_the_real_votes(hubble_votes: Votes) -> None:
    """The walk down the tree, end to end: 36 of 40 columns within rounding; symmetry and
    embedding come out too high where volunteers skipped them, never too low."""
    total = total_votes(hubble_votes, HUBBLE)[:, 0]
    expected = HUBBLE.expected_votes(vote_fractions(hubble_votes, HUBBLE), total)
    skipping = HUBBLE.slices["galaxy-symmetrical-hubble"].start
    assert skipping == 36
    np.testing.assert_allclose(expected[:, :36], hubble_votes[:, :36], atol=1e-9)
    assert (expected[:, 36:] >= hubble_votes[:, 36:] - 1e-9).all()


GZ2_EXCEPTIONS = {
    # question: galaxies with more votes, with fewer, least and greatest difference
    "how-rounded-gz2": (351, 364, -5, 2),
    "disk-edge-on-gz2": (127, 136, -3, 1),
    "bulge-shape-gz2": (31, 26, -1, 1),
    "bar-gz2": (72, 77, -2, 2),
    "has-spiral-arms-gz2": (63, 86, -2, 2),
    "spiral-winding-gz2": (44, 32, -1, 1),
    "spiral-arm-count-gz2": (32, 33, -1, 1),
    "bulge-size-gz2": (70, 88, -1, 1),
    "something-odd-gz2": (460, 208, -3, 2),
}


def test_gz2_totals_equal_their_parent_answers_nearly(gz2_votes: Votes) -> None:
    """19,761 Stripe 82 galaxies: at most 3.6 % of them differ in any question, by one vote
    nearly always and by five at most; figures a question in GZ2_EXCEPTIONS."""
    assert len(gz2_votes) == 19761
    followers = [question.name for question in GZ2.questions if question.asked_after]
    assert followers == list(GZ2_EXCEPTIONS)
    for name in followers:
        surplus = excess(gz2_votes, name, GZ2)
        more, fewer = int((surplus > 0).sum()), int((surplus < 0).sum())
        assert (more, fewer, surplus.min(), surplus.max()) == GZ2_EXCEPTIONS[name], name
        assert (more + fewer) / len(gz2_votes) < 0.0363


def test_the_check_finds_the_same_exceptions(gz2_votes: Votes) -> None:
    problems = check_votes(gz2_votes, GZ2)
    assert len(problems) == sum(more for more, *_ in GZ2_EXCEPTIONS.values()) == 1250
