"""Errors that a user can mend: one line that names what is wrong and what is allowed."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec

P = ParamSpec("P")


class GzfoundError(ValueError):
    """A problem with the user's input; the message is one complete line."""


class ConfigError(GzfoundError):
    """An option or a configuration key that is unknown or out of range."""


class DataError(GzfoundError):
    """A dataset, table or column that breaks the data contract."""


class ImageError(DataError):
    """An image that cannot be read; the message names the file or the galaxy."""


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
