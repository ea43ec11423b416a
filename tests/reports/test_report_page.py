"""The page: self-contained, escaped, written whole; and every section on it."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from gzfound.errors import OutputError
from gzfound.reports import (
    Code,
    Curve,
    Fact,
    Group,
    Html,
    Note,
    ProbeResult,
    Report,
    Table,
    sections,
)

HOSTILE = '<script>alert("1")</script> & $x_1$ --'
VOID = {"meta", "img", "link", "br", "hr", "input"}


class Page(HTMLParser):
    """Collects tags, attributes and text, and checks that elements nest."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text.append(data)


@pytest.fixture
def report(images, ids, vectors, predictions):
    page = Report(HOSTILE, HOSTILE, [Fact(HOSTILE, HOSTILE)])
    sections.add_contact_sheet(page, images, ids, captions=[HOSTILE] * len(ids))
    sections.add_views(page, images[:2], [images[2:5], images[5:8]], ids[:2])
    sections.add_training(
        page,
        Curve(HOSTILE, range(100), np.linspace(5, 3, 100)),
        [Curve(HOSTILE, [0, 1], [0.3, 0.2]), Curve("kNN", [0, 1], [0.4, 0.3])],
        metric_label=HOSTILE,
        chance_loss=5.5,
        baselines={HOSTILE: 0.5},
    )
    sections.add_map(page, images, vectors, values={HOSTILE: vectors[:, 0]})
    sections.add_neighbours(page, images, ids, vectors, k=3)
    sections.add_predictions(page, predictions, images, ids)
    bins = [{"predicted": 0.2, "observed": 0.3, "galaxies": 20}]
    sections.add_calibration(
        page,
        {
            "levels": [0.5],
            "coverage": {"questions": {HOSTILE: [0.5]}, "overall": [0.5]},
            "reliability": {"questions": {HOSTILE: bins}, "overall": bins},
        },
    )
    results = [ProbeResult("bar", HOSTILE, 0.1, 0.09, 0.11, 412, 0.05, 0.8)]
    sections.add_probes(page, results, metric=HOSTILE, lower_is_better=True, caption=HOSTILE)
    sections.add_summary(page, [HOSTILE], {HOSTILE: 3.0}, data={HOSTILE: HOSTILE})
    page.section("The galaxies", HOSTILE, Note(HOSTILE), Code(HOSTILE), Group([Note(HOSTILE)]))
    return page


def test_page_needs_nothing_else(report):
    """No address outside the page, in any attribute, style or text; and no scripts."""
    html = report.html()
    page = Page(html)
    assert page.open == []
    sources = [
        value or ""
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name in {"src", "href", "srcset", "xlink:href", "data", "action", "poster"}
    ]
    assert len(sources) > 50
    assert all(source.startswith(("data:image/", "#")) for source in sources)
    assert not re.search(r"https?://|@import|url\((?!#)", html)
    assert "script" not in {tag for tag, _ in page.tags}
    assert "link" not in {tag for tag, _ in page.tags}


def test_text_is_escaped_everywhere(report):
    """The hostile text is never markup, and a reader still sees it as it was."""
    html = report.html()
    assert "<script" not in html
    assert HOSTILE in "".join(Page(html).text)


def test_images_and_plots_have_words(report):
    tags = Page(report.html()).tags
    pictures = [attributes for tag, attributes in tags if tag == "img"]
    plots = [attributes for tag, attributes in tags if tag == "svg"]
    assert len(pictures) > 40
    assert len(plots) == 2 + 1 + 2 + 1 + 1
    assert all(picture["alt"] for picture in pictures)
    assert all(plot["aria-label"] and plot["role"] == "img" for plot in plots)


def test_links_lead_to_sections(report):
    """Two sections have the same heading: their anchors differ all the same."""
    tags = Page(report.html()).tags
    links = [attributes["href"] for tag, attributes in tags if tag == "a"]
    anchors = [f"#{attributes['id']}" for tag, attributes in tags if tag == "section"]
    assert len(set(links)) == 10
    assert links == anchors


def test_colours_follow_the_theme(report):
    """A plot keeps none of the light colours: all are variables of the page."""
    for plot in re.findall(r"<svg.*?</svg>", report.html(), flags=re.DOTALL):
        assert "var(--ink)" in plot or "var(--muted)" in plot
        assert not re.search("#1d2430|#5c6573|#0072b2|DejaVu", plot)


def test_page_is_the_same_each_time(images, ids):
    pages = []
    for _ in range(2):
        page = Report("title", "lead")
        sections.add_training(page, Curve("loss", [0, 1], [2, 1]), [], metric_label="")
        sections.add_contact_sheet(page, images, ids)
        pages.append(page.html())
    assert pages[0] == pages[1]


def test_write_is_whole_or_not_at_all(tmp_path, monkeypatch):
    """A failed rename leaves the old page and no litter."""
    path = tmp_path / "new" / "report.html"
    assert Report("first", "").write(path) == path
    assert "<h1>first</h1>" in path.read_text(encoding="utf-8")

    def fail(self, target):
        assert self.parent == path.parent
        assert self.read_bytes().endswith(b"</html>")
        raise OSError("disk full")

    monkeypatch.setattr(type(path), "replace", fail)
    with pytest.raises(OutputError, match="disk full"):
        Report("second", "").write(path)
    assert "<h1>first</h1>" in path.read_text(encoding="utf-8")
    assert list(path.parent.iterdir()) == [path]


def test_real_galaxies_make_a_small_page(real_data, tmp_path):
    """The sections that hold images, from real galaxies, stay under 2 MB."""
    from PIL import Image

    paths = sorted((real_data / "hst_goods" / "images").glob("*.jpg"))[:60]
    assert len(paths) == 60
    images = np.stack([np.asarray(Image.open(path).resize((128, 128))) for path in paths])
    vectors = images[:, ::8, ::8].reshape(60, -1).astype(np.float32)
    page = Report("Hubble", "real galaxies")
    names = [path.stem for path in paths]
    sections.add_contact_sheet(page, images, names)
    sections.add_map(page, images, vectors)
    sections.add_neighbours(page, images, names, vectors)
    assert 100_000 < page.write(tmp_path / "page.html").stat().st_size < 2_000_000


def test_html_part_is_put_in_as_it_stands():
    assert "<em>x</em>" in Report("", "").section("a", "b", Html("<em>x</em>")).html()


def test_table_lines_up_in_the_terminal():
    table = Table(["name", "n"], [["a", "1"], ["long", "10"]], numeric=[1], starts=[0, 1])
    assert table.text() == "name   n\n────  ──\na      1\n\nlong  10"
