"""Maps, curves, predictions, probes, sheets and the summary, each by what it must show."""

from __future__ import annotations

import builtins

import numpy as np
import pytest
from PIL import Image

import gzfound
from gzfound.errors import DataError, GzfoundError
from gzfound.evaluation import Interval
from gzfound.evaluation.label_efficiency import SharePoint
from gzfound.reports import Curve, ProbeResult, QuestionPredictions, Table, by_question, save_png
from gzfound.reports.curves import _running_mean, curve_plot
from gzfound.reports.embedding_map import assign_cells, map_picture, positions, value_panel
from gzfound.reports.galaxy_panel import GalaxyPanel
from gzfound.reports.label_efficiency import efficiency_plot
from gzfound.reports.pictures import thumbnail
from gzfound.reports.predictions import coverage, question_plot, typical_galaxies
from gzfound.reports.probe_results import probe_plots, probe_table
from gzfound.reports.reliability import coverage_table, reliability_plot
from gzfound.reports.sheets import Rows, Tile, neighbour_rows, shorten_middle
from gzfound.reports.summary import Stages, duration


@pytest.mark.parametrize("kind", ["spread", "one place", "a line"])
def test_map_cells_do_not_overlap(kind):
    points = np.random.default_rng(0).normal(size=(150, 2))
    points = {"spread": points, "one place": 0 * points, "a line": points * [1, 0]}[kind]
    cells = assign_cells(points)
    assert len({tuple(cell) for cell in cells.cells.tolist()}) == 150
    assert cells.cells.min() >= 0
    assert (cells.cells < [cells.columns, cells.rows]).all()


def test_map_keeps_what_is_already_on_the_grid():
    """Points on every cell of a 4 x 3 grid, in any order, stay where they are."""
    grid = np.array([(column, row) for row in range(3) for column in range(4)])
    mixed = grid[np.random.default_rng(1).permutation(12)]
    cells = assign_cells(mixed * 10.0 + 5, fill=1, aspect=4 / 3)
    assert (cells.columns, cells.rows) == (4, 3)
    np.testing.assert_array_equal(cells.cells, mixed)


def test_map_picture_shows_each_galaxy_in_its_cell():
    """Galaxy i is a flat image of grey 10 + 20 i: so is the middle of its cell."""
    images = np.stack([np.full((8, 8, 3), 10 + 20 * i, dtype=np.uint8) for i in range(8)])
    cells = assign_cells(np.random.default_rng(2).normal(size=(8, 2)), fill=0.5)
    picture = map_picture(images, cells, width=400).pixels
    size = picture.shape[0] // cells.rows
    for i, (column, row) in enumerate(cells.cells):
        middle = picture[row * size + size // 2, column * size + size // 2]
        np.testing.assert_array_equal(middle, 10 + 20 * i)


@pytest.mark.parametrize("method", ["tsne", "pca"])
def test_positions_separate_groups_and_repeat(method):
    """Two tight groups of directions lie further apart than either is wide."""
    groups = np.repeat([[5.0, 0, 0, 0], [0, 5, 0, 0]], 20, axis=0)
    vectors = groups + 0.1 * np.random.default_rng(3).normal(size=groups.shape)
    points = positions(vectors, method=method)
    np.testing.assert_array_equal(points, positions(vectors, method=method))
    first, second = points[:20], points[20:]
    apart = np.linalg.norm(first.mean(axis=0) - second.mean(axis=0))
    assert apart > max(first.std(), second.std())


def test_positions_name_what_is_allowed():
    with pytest.raises(DataError, match="map of 1501 galaxies: allowed is 4 to 1500"):
        positions(np.ones((1501, 2)))
    with pytest.raises(DataError, match="method is 'umap': allowed is 'tsne' or 'pca'"):
        positions(np.ones((5, 2)), method="umap")


def test_value_panel_survives_missing_values():
    cells = assign_cells(np.random.default_rng(4).normal(size=(10, 2)))
    assert "from 1 to 9" in value_panel(cells, np.array([np.nan, *range(1, 10)]), "size").alt
    assert "none known" in value_panel(cells, np.full(10, np.nan), "size").alt
    with pytest.raises(DataError, match="map coloured by size: 3 values for 10 galaxies"):
        value_panel(cells, np.ones(3), "size")


def test_running_mean():
    """Width 1: means of up to three neighbours, the NaN left out."""
    mean = _running_mean(np.array([1.0, 2.0, 6.0, np.nan, 3.0]), 1)
    np.testing.assert_allclose(mean, [1.5, 3.0, 4.0, 4.5, 3.0])


def test_curves_are_checked_and_described():
    plot = curve_plot([Curve("loss", [0, 1], [4.0, 2.0])], xlabel="step", ylabel="NT-Xent")
    assert plot.alt == "NT-Xent against step: loss from 4 to 2 (lowest 2, highest 4)"
    with pytest.raises(DataError, match="curve loss: 2 x and 1 y values"):
        Curve("loss", [0, 1], [1.0])


def test_question_plot_counts_what_it_says(predictions):
    """A quarter against 0.3 and three quarters against 0.7: RMSE 0.05, inside 0.1 all the time."""
    plot = question_plot(predictions[0], at_most=5)
    assert plot is not None
    assert "RMSE 0.050 over 20 galaxies, 5 drawn; 100\N{NO-BREAK SPACE}% of the" in plot.caption
    assert question_plot(predictions[1]) is None


def test_coverage_is_over_galaxies_with_votes():
    """Galaxy 0 is inside for one answer of two, galaxy 1 has too few votes: 50 %."""
    half = np.full((2, 2), 0.5)
    votes = np.array([[30, 10], [1, 0]])
    question = QuestionPredictions(
        "q", ("a", "b"), votes, half, half - [0.1, 0.3], half + 0.2, np.ones(2)
    )
    assert coverage(question) == 0.5
    np.testing.assert_array_equal(question.fractions[0], [0.75, 0.25])


def test_question_shapes_are_checked():
    with pytest.raises(DataError, match=r"question q: low has shape \(3, 1\); allowed is \(3, 2\)"):
        QuestionPredictions(
            "q", ("a", "b"), *([np.ones((3, 2))] * 2), np.ones((3, 1)), np.ones((3, 2)), np.ones(3)
        )


def test_by_question_takes_the_right_columns():
    """Column j of every array holds j: each question gets the numbers of its own columns."""
    tree = gzfound.load_tree("gz_hubble")
    numbers = np.tile(np.arange(len(tree.columns)), (2, 1))
    asked = np.tile(np.arange(len(tree.questions)), (2, 1)).astype(float)
    split = by_question(tree, numbers, numbers / 1.0, numbers / 1.0, numbers / 1.0, asked)
    assert [q.question for q in split] == [q.name for q in tree.questions]
    np.testing.assert_array_equal(np.concatenate([q.votes[0] for q in split]), numbers[0])
    np.testing.assert_array_equal([q.asked[1] for q in split], asked[1])


def test_typical_galaxies_spread_over_the_root():
    """Expected fractions 0.00 to 0.99: four galaxies stand in the middles of the quarters."""
    expected = np.stack([np.arange(100) / 100, 1 - np.arange(100) / 100], axis=1)[::-1]
    question = QuestionPredictions(
        "q", ("a", "b"), np.ones((100, 2), int), expected, expected, expected, np.ones(100)
    )
    assert typical_galaxies([question], 4) == [87, 62, 37, 12]


def test_galaxy_panel_names_what_it_leaves_out(images, predictions):
    """``rare``: asked 0.1 by prediction and votes 4 of 40; at 0.2 it is named, not drawn."""
    html = GalaxyPanel(images[0], "NGC 1", predictions, 0, min_asked=0.2).html()
    assert "Hardly asked here: rare." in html
    assert html.count('class="bar"') == 4
    assert "0.25 of the votes, predicted 0.30, interval 0.20 to 0.40" in html
    assert html.count('class="faint"') == 1


RESULTS = [
    ProbeResult("bar", "SimCLR", 0.10, 0.09, 0.11, 412, 0.05, 0.8),
    ProbeResult("bar", "constant", 0.20, 0.19, 0.21, 412, 0.05),
    ProbeResult("spiral", "SimCLR", 0.12, 0.11, 0.13, 1_212, 0.05, 0.7),
]


def test_probe_table_marks_the_best():
    table = probe_table(RESULTS, "RMSE", lower_is_better=True)
    assert table.rows[0] == ["bar", "SimCLR", "0.100", "0.090 to 0.110", "0.050", "0.800", "412"]
    assert table.rows[1] == ["", "constant", "0.200", "0.190 to 0.210", "0.050", "–", "412"]
    assert (table.strong, table.starts) == ([0, 2], [0, 2])
    assert probe_table(RESULTS, "rho", lower_is_better=False).strong == [1, 2]
    bare = probe_table([ProbeResult("p", "PCA", 0.6, 0.5, 0.7, 139)], "rho", lower_is_better=False)
    assert list(bare.columns) == ["Target", "Embedding", "rho", "95 % interval", "Galaxies"]


def test_probe_plots_share_their_scale():
    plots = probe_plots(RESULTS, "RMSE", lower_is_better=True)
    assert [plot.title for plot in plots] == ["bar", "spiral"]
    limits = {plot.figure.axes[0].get_xlim() for plot in plots}
    assert len(limits) == 1
    low, high = limits.pop()
    assert low < 0.05 < 0.21 < high


def test_reliability_draws_bins_of_enough_galaxies():
    """Of two bins of all answers, the one of 9 galaxies is left out; a question has its own."""
    bins = [
        {"predicted": 0.25, "observed": 0.5, "galaxies": 30},
        {"predicted": 0.75, "observed": 0.8, "galaxies": 9},
    ]
    plot = reliability_plot(bins, {"bar": bins[:1], "rare": []})
    assert plot.alt == "Mean predicted and observed fractions of all answers: 0.25 and 0.50"
    with pytest.raises(DataError, match="reliability: no bin has 10 galaxies"):
        reliability_plot(bins[1:], {})
    coverage = {"questions": {"bar": [0.52, None]}, "overall": [0.5, 0.951]}
    table = coverage_table([0.5, 0.95], coverage)
    assert table.rows == [["bar", "52 %", "–"], ["all answers", "50 %", "95 %"]]
    assert list(table.columns) == ["Votes in the interval of", "50 %", "95 %"]


def test_efficiency_has_a_line_a_method():
    """Two methods at 14 galaxies, one of them at 700 too; the other target is not drawn."""
    found = [("SimCLR", 14, 0.2), ("PCA", 14, 0.1), ("SimCLR", 700, 0.8)]
    points = [
        SharePoint("bar", name, n / 700, n, 200, 3, {"skill": Interval(v, v - 0.1, v + 0.1)})
        for name, n, v in found
    ]
    plot = efficiency_plot(points, "bar", "skill")
    axes = plot.figure.axes[0]
    assert plot.alt.endswith("SimCLR 0.200 with 14, 0.800 with 700; PCA 0.100 with 14")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["SimCLR", "PCA"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["14", "700"]
    with pytest.raises(DataError, match="nothing to plot of 'ring'"):
        efficiency_plot(points, "ring", "skill")


def test_neighbours_as_a_picture(images, ids, vectors, tmp_path):
    """Rows of a query and three others, none of them the query itself; a PNG of that shape."""
    sheet = neighbour_rows(images, ids, vectors, queries=[4, 7], k=3)
    assert [row[0].caption for row in sheet.rows] == [ids[4], ids[7]]
    assert all(len(row) == 4 for row in sheet.rows)
    assert not any(ids[4] in tile.alt.split(",")[0] for tile in sheet.rows[0][1:])
    path = save_png(sheet.figure(tile=40), tmp_path / "neighbours.png", dpi=96)
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert picture.width > picture.height > 80
    assert list(tmp_path.iterdir()) == [path]


def test_images_are_checked():
    with pytest.raises(DataError, match=r"galaxy 7: image has shape \(4, 4, 3\) and type float64"):
        thumbnail(np.ones((4, 4, 3)), 2, "galaxy 7")
    with pytest.raises(DataError, match=r"rows of \[1\] tiles"):
        Rows([[Tile(np.zeros((2, 2), np.uint8), "a")]], ("a", "b"))
    with pytest.raises(DataError, match="table row 0 has 1 cells; allowed is 2"):
        Table(["a", "b"], [["1"]])


def test_thumbnail_is_the_central_square():
    """A bright 4 x 4 middle in an 8 x 12 image fills a thumbnail that crops to half."""
    image = np.zeros((8, 12), np.uint8)
    image[2:6, 4:8] = 200
    np.testing.assert_array_equal(thumbnail(image, 4, crop=0.5), np.full((4, 4, 3), 200))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(8.44, "8.4 s"), (59.97, "1 min 00 s"), (185, "3 min 05 s"), (7_440, "2 h 04 min")],
)
def test_durations(seconds, words):
    assert duration(seconds) == words


def test_summary_of_this_machine():
    """Bars: the longest is full, the other a quarter of it; the total is their sum."""
    html = Stages({"pretrain": 80.0, "embed": 20.0}).html()
    assert "width:100.0%" in html
    assert "width:25.0%" in html
    assert "1 min 40 s" in html


def test_missing_matplotlib_is_one_clear_line(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(GzfoundError, match=r"pip install 'gzfound\[report\]'") as caught:
        curve_plot([Curve("loss", [0], [1.0])], xlabel="step", ylabel="loss")
    assert "\n" not in str(caught.value)


def test_a_long_name_keeps_both_ends() -> None:
    assert shorten_middle("sloan_singleband-10_a-1_1", 20) == "sloan_sin…d-10_a-1_1"
    assert shorten_middle("decals-2_a-0_4", 20) == "decals-2_a-0_4"
