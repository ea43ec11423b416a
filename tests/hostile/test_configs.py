"""Configurations of the recipes: unknown keys, wrong types, values out of range, hostile YAML."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gzfound.errors import ConfigError
from gzfound.finetuning import FinetuneConfig
from gzfound.simclr import SimCLRConfig
from gzfound.training.config import read_config_file
from gzfound.training.run import RunConfig
from gzfound.views import ViewConfig

Refused = Callable[..., str | None]


@dataclasses.dataclass(frozen=True)
class Everything(FinetuneConfig):
    """All the options of all training recipes."""

    simclr: SimCLRConfig = dataclasses.field(default_factory=SimCLRConfig)


HOSTILE = [
    "-1", "-0.5", ".nan", ".inf", "-.inf", "1e400", "1" * 40, "x", "''", "'a\\nb'", "[]",
    "[1, 2, 3]", "[[1]]", "{}", "{a: 1}", "null", "true", "~", "2020-01-01", "2020-99-99",
    "!!binary aGk=", "!!set {a}", "!!python/name:os.system",
    "!!python/object/apply:os.system ['exit 1']", "!!python/object/new:type [x]", "*nowhere",
    "$GZFOUND_NOT_SET", "'\\0'", "'\\uD800'", "1:30",
]  # fmt: skip
PAIRS = ["ab", "bc", "cd", "de", "ef", "fg", "gh"]
TYPES = {int: int, float: (int, float), bool: bool, str: str}


def options(kind: type = Everything, at: str = "") -> dict[str, Any]:
    """The dotted name and the type of every option."""
    found: dict[str, Any] = {}
    for name, hint in typing.get_type_hints(kind).items():
        if dataclasses.is_dataclass(hint):
            found |= options(typing.cast(type, hint), f"{at}{name}.")
        else:
            found[at + name] = hint
    return found


def nested(name: str, value: str) -> str:
    """YAML that sets one option."""
    *above, last = name.split(".")
    text = f"{last}: {value}"
    for part in reversed(above):
        text = f"{part}: {{{text}}}"
    return text


def value_of(config: Any, name: str) -> Any:
    for part in name.split("."):
        config = getattr(config, part)
    return config


def test_every_option_refuses_what_it_cannot_hold(refused: Refused, tmp_path: Path) -> None:
    """Whatever is taken has the type of its option, and no number is infinite or NaN."""
    path = tmp_path / "run.yaml"
    cases = taken = 0
    for name, hint in options().items():
        for value in HOSTILE:
            path.write_text(nested(name, value))
            cases += 1
            case = f"{name}: {value}"
            if refused(case, partial(read_config_file, Everything, path), str(path)) is None:
                taken += 1
                found = value_of(read_config_file(Everything, path), name)
                if hint in TYPES:
                    assert isinstance(found, TYPES[hint]), case
                    assert hint is bool or not isinstance(found, bool), case
                if isinstance(found, float):
                    assert abs(found) < float("inf"), case
    assert cases == len(options()) * 30 > 1200
    assert taken < cases / 4


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "must hold 'key: value' lines"),
        ("- 1", "must hold 'key: value' lines"),
        ("3", "must hold 'key: value' lines"),
        ("epochs: 1\nepochs: 2", "has the key 'epochs' more than once"),
        ("optim: {clip: 1, clip: 2}", "has the key 'clip' more than once"),
        ("epoch: 1", "unknown key 'epoch'; did you mean 'epochs'"),
        ("optim: {rate: 1}", "unknown key 'optim.rate'"),
        ("1: 2", "unknown key '1'"),
        ("null: 2", "unknown key 'None'"),
        ("? [1, 2]\n: 3", "cannot read"),
        ("a: 1\n---\nb: 2", "cannot read"),
        ("%YAML 9.9\n---\na: 1", "cannot read"),
        ("[" * 500, "cannot read"),
        ("{a: " * 500, "cannot read"),
        ("data: &a [*a]", "more than 10000 values"),
        ("a: &a {b: *a}", "more than 10000 values"),
        (
            "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
            + "\n".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]" for a, b in PAIRS),
            "more than 10000 values",
        ),
        ("epochs: 1\0", "cannot read"),
        ("\tepochs: 1", "cannot read"),
    ],
)  # fmt: skip
def test_hostile_yaml_is_named_with_the_reason(
    refused: Refused, tmp_path: Path, text: str, reason: str
) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    said = refused(text[:40], partial(read_config_file, RunConfig, path), str(path))
    assert reason in str(said)


@pytest.mark.parametrize("data", [b"\xff\xfe\0", b"\x80", b"\0" * 100, bytes(range(256))])
def test_bytes_that_are_no_text_are_refused(refused: Refused, tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(data)
    assert refused(repr(data), partial(read_config_file, RunConfig, path), str(path))


def test_a_file_that_is_not_there_or_a_folder_is_refused(refused: Refused, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "no.yaml"):
        assert refused(str(path), partial(read_config_file, RunConfig, path), str(path))


def test_a_merge_of_two_mappings_is_still_read(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("optim: &o {clip: 0.5}\nviews: {size: 32}\nepochs: 3\n<<: {seed: 4}\n")
    config = read_config_file(Everything, path)
    assert (config.optim.clip, config.epochs, config.seed) == (0.5, 3, 4)


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.dates()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.dictionaries(st.sampled_from(["zz", *options(RunConfig)]), VALUES, max_size=4))
def test_any_yaml_is_read_or_refused_in_a_line(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(yaml.safe_dump(values, allow_unicode=False))
    try:
        config = read_config_file(RunConfig, path)
    except ConfigError as error:
        said = str(error)
    else:
        said = f"{path} was read"
        assert all(hasattr(config, name) for name in values)
    assert str(path) in said
    assert said.isprintable()


@pytest.mark.parametrize("kind", [ViewConfig, SimCLRConfig])
def test_no_number_of_a_part_may_be_infinite_or_nan(kind: type) -> None:
    numbers = [f.name for f in dataclasses.fields(kind) if isinstance(f.default, float)]
    assert numbers
    for name in numbers:
        for value in (float("nan"), float("inf"), -float("inf"), -1e-9):
            with pytest.raises(ConfigError, match=name):
                kind(**{name: value})
