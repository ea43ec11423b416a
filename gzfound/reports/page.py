"""One page in one file: sections of parts, with its style and images inside it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Protocol

from gzfound.files import write_text
from gzfound.reports.style import css_variables

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


class Part(Protocol):
    """Anything that a section can hold."""

    def html(self) -> str:
        """The part as HTML, all text escaped."""


@dataclass(frozen=True)
class Html:
    """Markup that is put in as it stands: never pass it text from a user or a data set."""

    markup: str

    def html(self) -> str:
        """The markup."""
        return self.markup


@dataclass(frozen=True)
class Note:
    """A paragraph of plain text between other parts."""

    text: str

    def html(self) -> str:
        """The escaped paragraph."""
        return f'<p class="note">{escape(self.text)}</p>'


@dataclass(frozen=True)
class Code:
    """Commands or other text in a fixed-width block; long lines fold with a hanging indent."""

    text: str

    def html(self) -> str:
        """The escaped block."""
        lines = "\n".join(f"<code>{escape(line)}</code>" for line in self.text.splitlines())
        return f"<pre>{lines}</pre>"


@dataclass(frozen=True)
class Group:
    """Parts side by side, as many as fit when each has at least ``width`` CSS pixels."""

    parts: Sequence[Part]
    width: int = 420

    def html(self) -> str:
        """The parts in a grid that folds on a narrow screen."""
        inner = "".join(part.html() for part in self.parts)
        return f'<div class="group" style="--least:{self.width}px">{inner}</div>'


@dataclass(frozen=True)
class Fact:
    """One number that the top of the page shows large, and what it is."""

    value: str
    label: str


@dataclass
class Report:
    """A page under construction: add sections, then write it."""

    title: str
    lead: str
    facts: Sequence[Fact] = ()
    _sections: list[tuple[str, str, tuple[Part, ...]]] = field(default_factory=list, init=False)

    def section(self, heading: str, text: str, *parts: Part) -> Report:
        """Add a section: ``text`` tells a newcomer, in a sentence or two, what to look at."""
        self._sections.append((heading, text, parts))
        return self

    def html(self) -> str:
        """The whole page."""
        names = _anchors([heading for heading, _, _ in self._sections])
        links = "".join(
            f'<li><a href="#{name}">{escape(heading)}</a></li>'
            for name, (heading, _, _) in zip(names, self._sections, strict=True)
        )
        sections = "".join(
            f'<section id="{name}"><h2>{escape(heading)}</h2><p class="look">{escape(text)}</p>'
            f"{''.join(part.html() for part in parts)}</section>"
            for name, (heading, text, parts) in zip(names, self._sections, strict=True)
        )
        sheet = files("gzfound.reports").joinpath("page.css").read_text(encoding="utf-8")
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
            '<meta name="viewport" content="width=device-width,initial-scale=1">'
            '<meta name="color-scheme" content="light dark">'
            f"<title>{escape(self.title)}</title><style>{css_variables()}{sheet}</style></head>"
            f"<body><header><h1>{escape(self.title)}</h1>"
            f'<p class="lead">{escape(self.lead)}</p>{self._facts()}</header>'
            f'<nav aria-label="Sections"><ol>{links}</ol></nav>'
            f"<main>{sections}</main></body></html>"
        )

    def write(self, path: str | Path) -> Path:
        """Write the page to ``path``, whole or not at all; returns the path."""
        write_text(path, self.html())
        return Path(path)

    def _facts(self) -> str:
        if not self.facts:
            return ""
        items = "".join(
            f"<div><dt>{escape(fact.label)}</dt><dd>{escape(fact.value)}</dd></div>"
            for fact in self.facts
        )
        return f'<dl class="facts">{items}</dl>'


def _anchors(headings: Sequence[str]) -> list[str]:
    names: list[str] = []
    for number, heading in enumerate(headings, start=1):
        name = re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")
        names.append(name if name and name not in names else f"{name or 'section'}-{number}")
    return names
