"""The licence of the data follows the weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from gzfound.data.card import licence_of


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("---\nlicense: cc0-1.0\n---\n# Data\n", "cc0-1.0"),
        ("---\ntags: [a]\n---\n", "unknown"),
        ("# no front matter\n", "unknown"),
        ("---\n: [\n---\n", "unknown"),
    ],
)
def test_the_licence_is_read_from_the_card(tmp_path: Path, text: str, licence: str) -> None:
    (tmp_path / "README.md").write_text(text)
    assert licence_of(tmp_path) == licence


def test_a_source_without_a_card_has_an_unknown_licence(tmp_path: Path) -> None:
    assert licence_of(tmp_path) == "unknown"
    assert licence_of("owner/name") == "unknown"
