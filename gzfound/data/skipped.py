"""What becomes of bad input: an error, or a line in a file for what was left out."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from gzfound.errors import ConfigError, DataError
from gzfound.files import write_text

_LOGGER = logging.getLogger("gzfound.data")


@dataclass(frozen=True)
class BadInput:
    """What to do with rows and images that cannot be used.

    Args:
        on_error: ``raise``, or ``skip`` to leave them out.
        errors_path: with ``skip``, a JSON-lines file that gains one object per item left out,
            with keys ``id_str`` and ``reason``; without it each becomes a logged warning.

    Raises:
        ConfigError: ``on_error`` is something else.
    """

    on_error: str = "raise"
    errors_path: str | Path | None = None

    def __post_init__(self) -> None:
        if self.on_error not in ("raise", "skip"):
            raise ConfigError(f"on_error '{self.on_error}': not one of raise, skip")

    @property
    def skip(self) -> bool:
        """Whether bad items are left out."""
        return self.on_error == "skip"

    def meet(self, id_str: str, error: DataError) -> None:
        """Raise ``error``, or record that ``id_str`` is left out because of it."""
        if not self.skip:
            raise error
        if self.errors_path is None:
            _LOGGER.warning("left out %s: %s", id_str, error)
            return
        path = Path(self.errors_path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"id_str": id_str, "reason": str(error)}) + "\n")

    def meet_all(self, failures: Iterable[tuple[str, DataError]]) -> None:
        """:meth:`meet` each of ``(id_str, error)``."""
        for id_str, error in failures:
            self.meet(id_str, error)


def left_out(path: Path) -> set[str]:
    """The ``id_str`` of each line of a file of what was left out; it loses half a last line.

    A run that is killed may leave one.

    Raises:
        DataError: another line is damaged.
    """
    whole, end, half = path.read_bytes().rpartition(b"\n")
    found = set()
    for number, line in enumerate((whole + end).splitlines(), 1):
        try:
            found.add(str(json.loads(line)["id_str"]))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            said = line[:40].decode("utf-8", "replace")
            raise DataError(
                f"{path}: line {number} is damaged: {said!r} is no object with an id_str; mend it, "
                "or remove the line"
            ) from error
    if half:
        write_text(path, (whole + end).decode("utf-8"))
    return found
