"""Errors that a user can mend: one line that names what is wrong and what is allowed."""

from __future__ import annotations


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
