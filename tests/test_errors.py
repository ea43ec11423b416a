"""Errors of the user: one line on stderr, exit status 2; anything else keeps its traceback."""

from __future__ import annotations

import sys

import pytest

import gzfound
from gzfound import errors
from gzfound.errors import ConfigError, GzfoundError, one_line_errors, one_line_usage

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, GzfoundError)
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_ends_in_one_line_and_status_2(
    kind: type[GzfoundError], capsys: pytest.CaptureFixture[str]
) -> None:
    @one_line_errors
    def command(name: str) -> None:
        raise kind(f"column {name!r} is missing")

    with pytest.raises(SystemExit) as caught:
        command("votes")
    assert caught.value.code == 2
    assert capsys.readouterr() == ("", "error: column 'votes' is missing\n")


def test_every_kind_is_public_and_a_value_error() -> None:
    assert len(KINDS) >= 5
    for kind in KINDS:
        assert issubclass(kind, ValueError)
        assert getattr(gzfound, kind.__name__) is kind
        assert kind.__doc__


def test_a_fault_of_the_program_keeps_its_traceback() -> None:
    @one_line_errors
    def command() -> None:
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError, match="a bug"):
        command()


def test_a_box_becomes_its_sentences() -> None:
    """The title goes; a wrapped sentence is joined; a ruled line ends a sentence."""
    box = (
        "╭─ Value error ───────╮\n"
        "│ \x1b[31mno such thing\x1b[0m as │\n"
        "│ --rat               │\n"
        "│ ─────────────────── │\n"
        "│ run gzfound --help  │\n"
        "╰─────────────────────╯\n"
    )
    with (
        pytest.raises(ConfigError, match=r"^no such thing as --rat; run gzfound --help$"),
        one_line_usage(),
    ):
        sys.stderr.write(box)
        raise SystemExit(2)


@pytest.mark.parametrize("status", [0, None])
def test_help_still_exits_cleanly(status: int | None) -> None:
    with pytest.raises(SystemExit) as caught, one_line_usage():
        raise SystemExit(status)
    assert caught.value.code == status
