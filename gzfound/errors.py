"""Errors that a user can mend: one line that names what is wrong and what is allowed."""

from __future__ import annotations

import contextlib
import functools
import io
import re
import sys
from collections.abc import Callable, Iterator
from typing import ParamSpec

P = ParamSpec("P")


LONGEST = 4_000
"""Characters of an error, at most: a message may quote what a file holds."""


class GzfoundError(ValueError):
    """A problem with the user's input; the message is one complete line.

    Names and values of the user's files may hold line breaks and other characters that cannot be
    printed: the message shows them as Python writes them.
    """

    def __init__(self, message: str) -> None:
        shown = message if len(message) <= LONGEST else f"{message[:LONGEST]}..."
        super().__init__("".join(c if c.isprintable() else repr(c)[1:-1] for c in shown))


class ConfigError(GzfoundError):
    """An option or a configuration key that is unknown or out of range."""


class DataError(GzfoundError):
    """A dataset, table or column that breaks the data contract."""


class ImageError(DataError):
    """An image that cannot be read; the message names the file or the galaxy."""


class OutputError(GzfoundError):
    """Something that cannot be written: the disk is full, or refuses, or another run writes it."""


class WeightsError(GzfoundError):
    """A weights directory or a checkpoint that cannot be used."""


def one_line_errors(main: Callable[P, None]) -> Callable[P, None]:
    """Wrap a command so that a :class:`GzfoundError` prints its line and exits with status 2."""

    @functools.wraps(main)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            main(*args, **kwargs)
        except GzfoundError as error:
            sys.stderr.write(f"error: {error}\n")
            raise SystemExit(2) from None

    return wrapped


@contextlib.contextmanager
def one_line_usage() -> Iterator[None]:
    """Turn the box that tyro draws around a mistake in the options into a :class:`ConfigError`.

    Only parse the options inside: what is written to stderr meanwhile is held back.
    """
    try:
        with contextlib.redirect_stderr(io.StringIO()) as box:
            yield
    except SystemExit as stop:
        if not stop.code:
            raise
        raise ConfigError(_unboxed(box.getvalue())) from None


def _unboxed(text: str) -> str:
    """The sentences inside a box, without its title; ruled lines end a sentence."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip("│ ") for line in text.splitlines()]
    words = " ".join(";" if line.strip("─") == "" else line for line in lines if line[:1] != "╭")
    return re.sub(r" *; *", "; ", words.split("╰")[0]).strip("; ")
