"""One look for every plot: colours with a light and a dark value, quiet axes, SVG that follows.

The categorical colours are those of Okabe & Ito (2008, jfly.uni-koeln.de/color), which people with
any common colour blindness can tell apart, darkened or lightened until they read on the page.
"""

from __future__ import annotations

import functools
import hashlib
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from gzfound.errors import GzfoundError
from gzfound.files import atomic_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P = ParamSpec("P")
R = TypeVar("R")

COLOURS: dict[str, tuple[str, str]] = {
    "surface": ("#ffffff", "#12151a"),
    "panel": ("#f4f5f7", "#1b2027"),
    "ink": ("#1d2430", "#e7eaef"),
    "muted": ("#5c6573", "#a3acb9"),
    "line": ("#d8dce2", "#353d48"),
    "bar": ("#c3c9d2", "#4a5462"),
    "blue": ("#0072b2", "#5ab4ee"),
    "orange": ("#c85a00", "#f5924f"),
    "green": ("#008763", "#38c89c"),
    "purple": ("#a8487f", "#dd92c2"),
    "gold": ("#a87b00", "#e3b73d"),
    "grey": ("#7b838f", "#9ba4b0"),
}
SERIES = ("blue", "orange", "green", "purple", "gold", "grey")
MARKERS = ("o", "s", "^", "D", "v", "P")
PIXELS_PER_INCH = 96
FONT = "DejaVu Sans"


def colour(role: str) -> str:
    """The light value of a colour; :func:`svg` turns it into one that follows the theme."""
    return COLOURS[role][0]


def css_variables() -> str:
    """The colours as CSS custom properties, ``--ink`` and so on, for both themes."""
    light = "".join(f"--{name}:{values[0]};" for name, values in COLOURS.items())
    dark = "".join(f"--{name}:{values[1]};" for name, values in COLOURS.items())
    return f":root{{{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}"


def _settings() -> dict[Any, Any]:
    return {
        "font.family": [FONT],
        "font.size": 9,
        "text.color": colour("ink"),
        "axes.edgecolor": colour("line"),
        "axes.facecolor": "none",
        "axes.labelcolor": colour("muted"),
        "axes.labelsize": 9,
        "axes.titlesize": 10,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.unicode_minus": True,
        "grid.color": colour("line"),
        "grid.linewidth": 0.6,
        "xtick.color": colour("line"),
        "ytick.color": colour("line"),
        "xtick.labelcolor": colour("muted"),
        "ytick.labelcolor": colour("muted"),
        "legend.frameon": False,
        "legend.fontsize": 8.5,
        "lines.linewidth": 1.8,
        "svg.fonttype": "none",
        "text.parse_math": False,
    }


def needs_matplotlib(draw: Callable[P, R]) -> Callable[P, R]:
    """Run ``draw`` in the house style; a missing matplotlib is one clear line."""

    @functools.wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            import matplotlib
        except ImportError as error:
            raise GzfoundError(
                "plots need matplotlib, which is not installed: pip install 'gzfound[report]'"
            ) from error
        with matplotlib.rc_context(_settings()):
            return draw(*args, **kwargs)

    return styled


@needs_matplotlib
def new_figure(width: int, height: int, *, constrained: bool = True) -> Figure:
    """An empty figure of ``width`` x ``height`` CSS pixels, outside pyplot's global state."""
    from matplotlib.figure import Figure

    size = (width / PIXELS_PER_INCH, height / PIXELS_PER_INCH)
    return Figure(figsize=size, layout="constrained" if constrained else None)


def new_axes(figure: Figure, xlabel: str, ylabel: str) -> Axes:
    """One set of axes that fills ``figure``, with its labels."""
    axes = figure.add_subplot()
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.tick_params(length=0)
    return axes


@needs_matplotlib
def svg(figure: Figure, alt: str) -> str:
    """``figure`` as an ``<svg>`` element that takes its colours and font from the page."""
    import matplotlib

    buffer = io.StringIO()
    salt = hashlib.blake2b(alt.encode(), digest_size=8).hexdigest()
    with matplotlib.rc_context({"svg.hashsalt": salt}):
        figure.savefig(
            buffer,
            format="svg",
            transparent=True,
            dpi=2 * PIXELS_PER_INCH,
            metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")),
        )
    width, height = figure.get_size_inches() * 72
    body = buffer.getvalue()
    body = body[body.index(">", body.index("<svg")) + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*"', "<g", body).replace("xlink:href", "href")
    body = body.replace(f"'{FONT}'", "var(--font)")
    for name, (light, _) in COLOURS.items():
        body = body.replace(light, f"var(--{name})")
    return (
        f'<svg role="img" aria-label="{escape(alt)}" viewBox="0 0 {width:g} {height:g}" '
        f'style="max-width:{width * PIXELS_PER_INCH / 72:.0f}px">{body}'
    )


@dataclass(frozen=True)
class Plot:
    """A matplotlib figure in the page: ``alt`` says in words what it shows.

    ``title`` and ``caption`` stand above it.
    """

    figure: Figure
    alt: str
    title: str = ""
    caption: str = ""

    def html(self) -> str:
        """The plot as inline SVG under its title and caption."""
        title = f"<b>{escape(self.title)}</b>" if self.title else ""
        words = f"<figcaption>{title}{escape(self.caption)}</figcaption>"
        above = words if self.title or self.caption else ""
        return f'<figure class="plot">{above}{svg(self.figure, self.alt)}</figure>'


@needs_matplotlib
def save_png(figure: Figure, path: str | Path, *, dpi: int = 160) -> Path:
    """Write ``figure`` as a PNG on white, for documents; returns the path."""
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=dpi, facecolor=colour("surface"))
    return Path(path)
