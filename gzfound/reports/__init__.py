"""Reports a person wants to look at: one HTML file that holds its images and opens offline.

``page`` builds the page and knows nothing of galaxies; ``sheets``, ``curves``, ``embedding_map``,
``predictions``, ``galaxy_panel``, ``reliability``, ``probe_results`` and ``summary`` make its
parts from arrays; ``sections`` puts the parts and the words of a run's report together. Plots
need matplotlib (``pip install 'gzfound[report]'``).
"""

from __future__ import annotations

from gzfound.reports.curves import Curve
from gzfound.reports.page import Code, Fact, Group, Html, Note, Part, Report
from gzfound.reports.predictions import QuestionPredictions, by_question
from gzfound.reports.probe_results import ProbeResult
from gzfound.reports.style import Plot, save_png
from gzfound.reports.tables import Table

__all__ = [
    "Code",
    "Curve",
    "Fact",
    "Group",
    "Html",
    "Note",
    "Part",
    "Plot",
    "ProbeResult",
    "QuestionPredictions",
    "Report",
    "Table",
    "by_question",
    "save_png",
]
