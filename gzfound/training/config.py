"""A recipe's configuration: one frozen dataclass, filled from YAML, then from the command line."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import functools
import os
import reprlib
import sys
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import yaml

from gzfound.errors import ConfigError, one_line_usage
from gzfound.files import write_text

if TYPE_CHECKING:
    from pydantic import TypeAdapter

C = TypeVar("C")

MOST_VALUES = 10_000
"""Values that a file may hold, counted as often as aliases repeat them."""


def parse_config(kind: type[C], description: str, argv: Sequence[str] | None = None) -> C:
    """Build the configuration of a recipe from ``--config FILE`` and the options after it.

    Args:
        kind: a frozen dataclass with a default for every field.
        description: what the recipe does, shown by ``--help``.
        argv: command-line arguments, ``sys.argv[1:]`` by default.

    Raises:
        ConfigError: an unknown option or key, or a value of the wrong type or range.
    """
    import tyro

    arguments = list(sys.argv[1:] if argv is None else argv)
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--config")
    chosen, rest = first.parse_known_args(arguments)
    default = kind() if chosen.config is None else read_config_file(kind, chosen.config)
    about = f"{description}\n\n--config FILE reads a YAML file first; options here override it."
    with one_line_usage():
        return tyro.cli(kind, args=rest, default=default, description=about)


def read_config_file(kind: type[C], path: str | Path) -> C:
    """Read a YAML file into a configuration; ``$NAME`` in its values is taken from the environment.

    Raises:
        ConfigError: as :func:`parse_config`.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        _refuse_repeats(yaml.compose(text, Loader=yaml.SafeLoader), path)
        loaded = yaml.safe_load(text)
    except ConfigError:
        raise
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"config: cannot read {path}: {reason}") from error
    if not isinstance(loaded, Mapping):
        given = reprlib.repr(loaded)
        raise ConfigError(f"config: {path} must hold 'key: value' lines, not {given}")
    _refuse_unknown_keys(kind, loaded, path, "")
    return _validated(kind, _expanded(loaded, path), path)


def _refuse_repeats(root: yaml.Node | None, path: str | Path) -> None:
    """Raise ``ConfigError`` for a key that is there twice, and for aliases that multiply."""
    waiting, seen = [root], 0
    while waiting:
        node, seen = waiting.pop(), seen + 1
        if seen > MOST_VALUES:
            raise ConfigError(f"config: {path} holds more than {MOST_VALUES} values")
        if isinstance(node, yaml.MappingNode):
            keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            if repeated := [key for key in keys if keys.count(key) > 1]:
                raise ConfigError(f"config: {path} has the key {repeated[0]!r} more than once")
            waiting += [value for _, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value


def save_config(config: Any, path: str | Path) -> None:
    """Write the resolved configuration as YAML."""
    write_text(path, yaml.safe_dump(_plain(dataclasses.asdict(config)), sort_keys=False))


def _validated(kind: type[C], values: Mapping[str, Any], path: str | Path) -> C:
    from pydantic import ValidationError

    try:
        return cast(C, _adapter(cast(Any, kind)).validate_python(values))
    except ValidationError as failure:
        first = failure.errors()[0]
        if isinstance(cause := first.get("ctx", {}).get("error"), ConfigError):
            raise ConfigError(f"{path}: {cause}") from failure
        key = ".".join(str(part) for part in first["loc"])
        given = reprlib.repr(first["input"])
        raise ConfigError(f"{path}: {key}: {first['msg']}, not {given}") from failure


@functools.cache
def _adapter(kind: type) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _refuse_unknown_keys(kind: Any, values: Mapping[Any, Any], path: str | Path, at: str) -> None:
    hints = typing.get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    for key, value in values.items():
        if key not in names:
            close = difflib.get_close_matches(str(key), names, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"allowed: {', '.join(names)}"
            raise ConfigError(f"{path}: unknown key {at + str(key)!r}; {hint}")
        if isinstance(value, bool) and bool not in (hints[key], *typing.get_args(hints[key])):
            raise ConfigError(f"{path}: {at}{key}: must not be {value}")
        if dataclasses.is_dataclass(hints[key]) and isinstance(value, Mapping):
            _refuse_unknown_keys(hints[key], value, path, f"{at}{key}.")


def _expanded(value: Any, path: str | Path) -> Any:
    if isinstance(value, Mapping):
        return {key: _expanded(item, path) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(_expanded(item, path) for item in value)
    if not isinstance(value, str):
        return value
    text = os.path.expandvars(value)
    if "$" in text:
        raise ConfigError(f"{path}: {value!r} names an environment variable that is not set")
    return text


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
