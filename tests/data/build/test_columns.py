"""Which columns of released tables are taken for which answers."""

from __future__ import annotations

import pytest

from gzfound.data.build.columns import find_votes, other_columns
from gzfound.errors import ConfigError, DataError
from gzfound.trees import load_tree

CANDELS = """t00_smooth_or_featured: a0_smooth a1_features a2_artifact
t01_how_rounded: a0_completely a1_inbetween a2_cigarshaped
t02_clumpy_appearance: a0_yes a1_no
t03_how_many_clumps: a0_1 a1_2
t09_disk_edge_on: a0_yes a1_no
t10_edge_on_bulge: a0_yes a1_no
t11_bar_feature: a0_yes a1_no
t12_spiral_pattern: a0_yes a1_no
t13_spiral_arm_winding: a0_tight a1_medium a2_loose
t14_spiral_arm_count: a0_1 a1_2 a2_3 a3_4 a4_5_plus a5_cant_tell
t15_bulge_prominence: a0_no_bulge a1_obvious a2_dominant
t16_merging_tidal_debris: a0_merging a1_tidal_debris a2_both a3_neither"""


def candels_columns() -> list[str]:
    """The columns of the CANDELS release (Simmons et al. 2017): fractions and a count a task."""
    names = ["ID"]
    for line in CANDELS.splitlines():
        task, answers = line.split(": ")
        for answer in answers.split():
            names += [f"{task}_{answer}_frac", f"{task}_{answer}_weighted_frac"]
        names += [f"{task}_count", f"{task}_weight"]
    return names


def test_candels_by_task_and_answer() -> None:
    """Every answer of the tree has its own fraction, beside the count of its own task."""
    found = find_votes(candels_columns(), "gz_candels")
    assert found.tree == load_tree("gz_candels")
    assert found.absent == ()
    assert found.others == ("ID",)
    pairs = dict(zip(found.tree.columns, found.sources, strict=True))
    merger = pairs["merging-candels_merger"]
    assert merger.column == "t16_merging_tidal_debris_a0_merging_frac"
    assert merger.total == "t16_merging_tidal_debris_count"
    plus = pairs["spiral-arm-count-candels_5-plus"]
    assert plus.column == "t14_spiral_arm_count_a4_5_plus_frac"
    assert plus.total == "t14_spiral_arm_count_count"
    assert len({source.column for source in found.sources}) == len(found.tree.columns) == 32
    assert not any("weighted" in source.column for source in found.sources)


def test_hubble_numbers_its_answers_anew_in_each_task() -> None:
    """As the main Hubble release does: t12_clumpy_a01_yes, with totals named _total_count."""
    names = ["t12_clumpy_a01_yes_fraction", "t12_clumpy_a02_no_fraction", "t12_clumpy_total_count"]
    found = find_votes(names, "gz_hubble")
    assert found.tree.columns == ("clumpy-appearance-hubble_yes", "clumpy-appearance-hubble_no")
    assert [source.column for source in found.sources] == names[:2]
    assert {source.total for source in found.sources} == {names[2]}
    assert len(found.absent) == 12


def test_columns_by_question_with_and_without_the_campaign() -> None:
    tree = load_tree("gz_desi_dr5")
    bare = [name.replace("-dr5_", "_") for name in tree.columns]
    for names in (list(tree.columns), bare):
        found = find_votes(["iauname", "redshift", *names, "bar_strong_fraction"], "gz_desi_dr5")
        assert found.tree == tree
        assert [source.column for source in found.sources] == names
        assert found.others == ("iauname", "redshift")


def test_counts_win_over_fractions_of_total_votes() -> None:
    fractions = ["bar_strong_fraction", "bar_weak_fraction", "bar_no_fraction", "bar_total-votes"]
    found = find_votes(fractions, "gz_desi_dr5")
    assert {source.total for source in found.sources} == {"bar_total-votes"}
    found = find_votes([*fractions, "bar_strong", "bar_weak", "bar_no"], "gz_desi_dr5")
    assert [source.total for source in found.sources] == [None] * 3


def test_a_union_is_not_guessed_from_bare_questions() -> None:
    """``bar_strong`` may be of DR5 or of DR8."""
    with pytest.raises(DataError, match="no votes of gz_desi"):
        find_votes(["bar_strong", "bar_weak", "bar_no"], "gz_desi")


def test_what_cannot_be_found_is_said_in_one_line() -> None:
    with pytest.raises(DataError, match=r"no votes of gz2 in 2 columns \(file, p_features\)"):
        find_votes(["file", "p_features"], "gz2")
    with pytest.raises(DataError, match="no column for bar-dr5_no, although bar_strong is there"):
        find_votes(["bar_strong", "bar_weak"], "gz_desi_dr5")
    with pytest.raises(ConfigError, match="unknown tree"):
        find_votes(["bar_yes"], "gz3")


def test_debiased_weights_and_flags_are_not_kept() -> None:
    names = ["objid", "t01_smooth_or_features_a01_smooth_debiased", "bar_yes_debiased", "ra"]
    assert other_columns(names, "gz2") == ("objid", "ra")
