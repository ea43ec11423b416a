"""Configuration from YAML, then from the command line."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
import yaml

from gzfound.errors import ConfigError
from gzfound.training.config import parse_config, read_config_file, save_config


@dataclass(frozen=True)
class Inner:
    size: int = 8
    zoom: tuple[float, float] = (0.5, 1.0)

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ConfigError(f"inner.size: {self.size} must be at least 1")


@dataclass(frozen=True)
class Outer:
    data: tuple[str, ...] = ()
    rate: float = 0.1
    kind: Literal["a", "b"] = "a"
    weights: str | None = None
    inner: Inner = field(default_factory=Inner)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    return path


def test_the_command_line_overrides_the_file_and_the_file_the_defaults(tmp_path: Path) -> None:
    path = written(tmp_path, "data: [one]\nrate: 3\ninner: {size: 5, zoom: [0.1, 0.2]}\n")
    argv = ["--config", str(path), "--inner.size", "6", "--weights", "w", "--data", "x", "y"]
    config = parse_config(Outer, "test", argv)
    assert config == Outer(("x", "y"), 3.0, "a", "w", Inner(6, (0.1, 0.2)))


def test_what_is_saved_reads_back_the_same(tmp_path: Path) -> None:
    config = Outer(("a", "b"), 0.5, "b", None, Inner(3, (0.2, 0.9)))
    save_config(config, tmp_path / "config.yaml")
    assert read_config_file(Outer, tmp_path / "config.yaml") == config
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["inner"]["size"] == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rat: 1", r"run.yaml: unknown key 'rat'; did you mean 'rate'\?"),
        ("inner: {sise: 1}", r"unknown key 'inner.sise'; did you mean 'size'\?"),
        ("zzz: 1", "unknown key 'zzz'; allowed: data, rate, kind, weights, inner"),
        ("rate: fast", "rate: .*number.*not 'fast'"),
        ("kind: c", "kind: .*'a' or 'b', not 'c'"),
        ("data: one", "data: .*tuple, not 'one'"),
        ("inner: {size: 0}", "inner.size: 0 must be at least 1"),
        ("inner: 3", "inner: .*not 3"),
        ("- 1", "must hold 'key: value' lines"),
        ("rate: [", "cannot read"),
        ("weights: $GZFOUND_NOT_SET/w", "environment variable that is not set"),
    ],
)
def test_a_mistake_is_one_line_with_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read_config_file(Outer, written(tmp_path, text))
    assert "run.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_environment_variables_are_filled_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GALAXIES", "here")
    config = read_config_file(Outer, written(tmp_path, "data: [$GALAXIES/a]"))
    assert config.data == ("here/a",)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--rat", "1"], "Unrecognized options: --rat.*--rate"),
        (["--rate", "fast"], "--rate.*'fast'"),
        (["--kind", "c"], "--kind.*'?a'?, *'?b'?"),
        (["--inner.size", "0"], "inner.size: 0 must be at least 1"),
    ],
)
def test_a_mistake_in_the_options_is_one_line(option: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse_config(Outer, "test", option)
    assert "\n" not in str(caught.value)
    assert not set("│╭╰─") & set(str(caught.value))
