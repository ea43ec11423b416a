"""Weights directories that are damaged, do not fit, or mean harm; and checkpoints to go on from."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from gzfound import load_encoder
from gzfound.errors import ConfigError
from gzfound.models import EncoderTransform
from gzfound.models.checkpoint import load_head
from gzfound.training.optim import OptimConfig, build_optimiser, parameter_groups
from gzfound.training.resume import checkpoints, load_checkpoint, save_checkpoint

Refused = Callable[..., str | None]
Damaged = Callable[[bytes, str, int], bytes]

WAYS = ("cut", "flip", "drop", "zero")


@pytest.fixture
def weights(head_weights: Path, tmp_path: Path) -> Path:
    """A copy of small weights with a head."""
    return Path(shutil.copytree(head_weights, tmp_path / "w"))


def load_all(weights: Path) -> None:
    """The encoder and the head; every number of them is finite."""
    encoder = load_encoder(weights)
    head = load_head(weights, encoder)
    for module in (encoder, head):
        assert all(bool(value.isfinite().all()) for value in module.state_dict().values())


def header_of(data: bytes) -> int:
    return 8 + int(struct.unpack("<Q", data[:8])[0])


@pytest.mark.parametrize("name", ["model.safetensors", "head.safetensors", "config.json"])
def test_damage_ends_in_a_line_or_in_finite_weights(
    refused: Refused, damaged: Damaged, weights: Path, name: str
) -> None:
    """Half of the damage is done to the header of the tensors, which a file may be without."""
    whole = (weights / name).read_bytes()
    end = len(whole) if name.endswith("json") else header_of(whole)
    ends = 0
    for way in WAYS:
        for seed in range(12):
            part = end if seed % 2 else len(whole)
            bad = damaged(whole[:part], way, seed) + whole[part:]
            (weights / name).write_bytes(bad)
            said = refused(f"{name}, {way} {seed}", partial(load_all, weights), str(weights))
            ends += said is not None
            assert said or way != "cut" or bad == whole
    assert ends > 12


NO_HEADERS = (b"", b"{", b"[]", b"null", b"{}", b'"x"', b"\xff", b"[" * 9000, b"{" * 9000)


def with_header(data: bytes, header: bytes, length: int | None = None) -> bytes:
    """A safetensors file with another header, and perhaps another length of it."""
    claimed = len(header) if length is None else length
    return struct.pack("<Q", claimed % 2**64) + header + data[header_of(data) :]


def test_hostile_headers_are_refused(refused: Refused, weights: Path) -> None:
    path = weights / "model.safetensors"
    whole = path.read_bytes()
    header = whole[8 : header_of(whole)]
    entries = json.loads(header)
    first = next(name for name in entries if name != "__metadata__")

    def changed(**values: Any) -> bytes:
        return json.dumps({**entries, first: {**entries[first], **values}}).encode()

    cases = {
        **{
            f"length {n}": with_header(whole, header, n)
            for n in (0, 1, len(header) - 1, len(header) + 1, len(whole), 2**31, 2**63, 2**64 - 1)
        },
        **{f"header {text[:20]!r}": with_header(whole, text) for text in NO_HEADERS},
        "offsets outside": with_header(whole, changed(data_offsets=[0, 2**62])),
        "offsets that are negative": with_header(whole, changed(data_offsets=[-4, 4])),
        "offsets the wrong way": with_header(whole, changed(data_offsets=[8, 0])),
        "offsets that overlap": with_header(
            whole, changed(data_offsets=entries[list(entries)[-1]]["data_offsets"])
        ),
        "a shape that overflows": with_header(whole, changed(shape=[2**40, 2**40])),
        "a shape that is negative": with_header(whole, changed(shape=[-1])),
        "an unknown type": with_header(whole, changed(dtype="PICKLE")),
        "nothing but a length": struct.pack("<Q", 10),
        "less than a length": b"\x01\x02",
        "empty": b"",
    }  # fmt: skip
    assert len(cases) == 27
    for case, data in cases.items():
        path.write_bytes(data)
        assert refused(case, partial(load_encoder, weights), str(weights)), case


def rewritten(path: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = {name: value.clone() for name, value in load_file(path).items()}
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def set_all(kind: torch.dtype) -> Callable[[dict[str, torch.Tensor]], None]:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        for name, value in tensors.items():
            if value.is_floating_point():
                tensors[name] = value.to(kind)

    return change


def edit(name: str, value: torch.Tensor | None) -> Callable[[dict[str, torch.Tensor]], None]:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        found = next(key for key in tensors if key.endswith(name))
        if value is None:
            del tensors[found]
        else:
            tensors[found] = (
                value.expand(tensors[found].shape).clone() if value.ndim == 0 else value
            )

    return change


WRONG_TENSORS: dict[str, tuple[Callable[[dict[str, torch.Tensor]], None], str]] = {
    "whole numbers": (set_all(torch.int32), "holds torch.int32; allowed: floating point"),
    "bytes": (set_all(torch.uint8), "holds torch.uint8; allowed: floating point"),
    "truths": (set_all(torch.bool), "holds torch.bool; allowed: floating point"),
    "complex": (set_all(torch.complex64), "holds torch.complex64; allowed: floating point"),
    "NaN": (edit("weight", torch.tensor(torch.nan)), "holds values that are not finite"),
    "infinity": (edit("bias", torch.tensor(torch.inf)), "holds values that are not finite"),
    "another shape": (edit("weight", torch.zeros(3, 5)), "cannot load"),
    "a tensor too few": (edit("weight", None), "cannot load"),
    "a tensor too many": (lambda tensors: tensors.update(zz=torch.zeros(3)), "cannot load"),
    "none at all": (lambda tensors: tensors.clear(), "cannot load"),
}


@pytest.mark.parametrize("name", ["model.safetensors", "head.safetensors"])
def test_tensors_that_do_not_fit_are_named_with_the_reason(
    refused: Refused, weights: Path, name: str
) -> None:
    whole = (weights / name).read_bytes()
    for case, (change, reason) in WRONG_TENSORS.items():
        (weights / name).write_bytes(whole)
        rewritten(weights / name, change)
        said = refused(case, partial(load_all, weights), str(weights))
        assert reason in str(said), case


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.bfloat16])
def test_other_floating_point_is_read(weights: Path, kind: torch.dtype) -> None:
    rewritten(weights / "model.safetensors", set_all(kind))
    encoder = load_encoder(weights)
    assert next(encoder.parameters()).dtype == torch.float32


HUGE = 10**9
CONFIGS: dict[str, tuple[dict[str, Any], str]] = {
    "no such architecture": ({"architecture": "resnet1_of_mine"}, "cannot load"),
    "another architecture": ({"architecture": "test_vit"}, "cannot load"),
    "an architecture that is a path": ({"architecture": "../../etc/passwd"}, "cannot load"),
    "an architecture elsewhere": ({"architecture": "hf-hub:owner/name"}, "cannot load"),
    "an architecture that is code": ({"architecture": "__import__('os').abort()"}, "cannot load"),
    "a number": ({"architecture": 3}, "names no 'architecture'"),
    "a list": ({"architecture": ["test_resnet"]}, "names no 'architecture'"),
    "no details": ({"pretrained_cfg": []}, "cannot load"),
    "details of the wrong kind": ({"pretrained_cfg": "x"}, "cannot load"),
    "arguments that are none": ({"model_args": "x"}, "model_args must be an object"),
    "arguments in a list": ({"model_args": [1]}, "model_args must be an object"),
    "a lax fit": ({"model_args": {"pretrained_strict": False}}, "pretrained_strict is not allowed"),
    "another source": ({"model_args": {"pretrained_cfg": {}}}, "pretrained_cfg is not allowed"),
    "another model": ({"model_args": {"features_only": True}}, "features_only is not allowed"),
    "another cache": ({"model_args": {"cache_dir": "/tmp"}}, "cache_dir is not allowed"),
    "a billion bands": ({"model_args": {"in_chans": HUGE}}, "at most 2048"),
    "a large image": ({"model_args": {"img_size": [HUGE, HUGE]}}, "at most 2048"),
    "many layers": ({"model_args": {"layers": [9] * 400}}, "one or two numbers"),
    "a mapping": ({"model_args": {"norm_layer": {"x": 1}}}, "one or two numbers"),
    "NaN": ({"model_args": {"drop_rate": float("nan")}}, "at most 2048"),
    "an argument it does not have": ({"model_args": {"zz": 1}}, "cannot load"),
    "a class by name": ({"model_args": {"block": "os.system"}}, "cannot load"),
    "metadata of the wrong kind": ({"gzfound": "x"}, "'gzfound' must be an object"),
    "metadata in a list": ({"gzfound": [1]}, "'gzfound' must be an object"),
    "a head of no kind": ({"gzfound": {"head": {"kind": "x"}}}, "allowed: tree, class, number"),
    "a head without kind": ({"gzfound": {"head": {"x": 1}}}, "no 'kind'"),
    "a head that is text": ({"gzfound": {"head": "tree"}}, "describes no head"),
    "a head that is a list": ({"gzfound": {"head": [1]}}, "describes no head"),
    "no columns": ({"gzfound": {"head": {"kind": "tree"}}}, "no 'columns'"),
    "columns of no tree": ({"gzfound": {"head": {"kind": "tree", "columns": ["x"]}}}, "describes"),
    "columns that are 3": ({"gzfound": {"head": {"kind": "tree", "columns": 3}}}, "describes no"),
    "columns of lists": ({"gzfound": {"head": {"kind": "tree", "columns": [[]]}}}, "describes no"),
    "classes that are a number": (
        {"gzfound": {"head": {"kind": "class", "target": "t", "classes": 3}}},
        "describes no head",
    ),
    "other classes": (
        {"gzfound": {"head": {"kind": "class", "target": "t", "classes": ["a"]}}},
        "cannot load",
    ),
    "a mean that is text": (
        {"gzfound": {"head": {"kind": "number", "target": "t", "mean": "x", "std": 1}}},
        "describes no head",
    ),
    "a mean that is NaN": (
        {"gzfound": {"head": {"kind": "number", "target": "t", "mean": float("nan"), "std": 1}}},
        "allowed: finite",
    ),
}  # fmt: skip

INPUTS: dict[str, dict[str, Any]] = {
    "no size": {"input_size": None},
    "size that is text": {"input_size": "large"},
    "size of nothing": {"input_size": []},
    "size 0": {"input_size": [3, 0, 0]},
    "negative size": {"input_size": [3, -24, -24]},
    "huge size": {"input_size": [3, HUGE, HUGE]},
    "infinite size": {"input_size": [3, float("inf"), float("inf")]},
    "no mean": {"mean": None},
    "two means": {"mean": [0.5, 0.5]},
    "mean that is text": {"mean": "abc"},
    "mean that is NaN": {"mean": [float("nan")] * 3},
    "std of 0": {"std": [0.0] * 3},
    "negative std": {"std": [-0.1] * 3},
    "infinite std": {"std": [float("inf")] * 3},
    "two stds": {"std": [0.5, 0.5]},
    "crop that is text": {"crop_pct": "x"},
    "negative crop": {"crop_pct": -0.5},
    "crop above 1": {"crop_pct": 3.0},
    "crop that is NaN": {"crop_pct": float("nan")},
}


def write_config(weights: Path, changes: dict[str, Any]) -> None:
    path = weights / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize("case", CONFIGS)
def test_hostile_configurations_are_named_with_the_reason(
    refused: Refused, weights: Path, case: str
) -> None:
    changes, reason = CONFIGS[case]
    write_config(weights, changes)
    said = refused(case, partial(load_all, weights), "weights: ")
    assert reason in str(said)


@pytest.mark.parametrize("case", INPUTS)
def test_inputs_that_make_no_sense_are_named(refused: Refused, weights: Path, case: str) -> None:
    details = json.loads((weights / "config.json").read_text())["pretrained_cfg"]
    write_config(weights, {"pretrained_cfg": {**details, **INPUTS[case]}})
    assert refused(case, partial(load_encoder, weights), str(weights))


@pytest.mark.parametrize(
    "text", ["", "{", "null", "3", '"x"', "[]", "{}", "[" * 100_000, '{"a":' * 50_000, "NaN", "\0"]
)
def test_json_that_is_none_is_refused(refused: Refused, weights: Path, text: str) -> None:
    (weights / "config.json").write_text(text)
    assert refused(text[:20], partial(load_encoder, weights), str(weights / "config.json"))


def test_bytes_that_are_no_json_are_refused(refused: Refused, weights: Path) -> None:
    path = weights / "config.json"
    for data in (b"\xff\xfe", b"\x80\x04\x95", bytes(range(256))):
        path.write_bytes(data)
        assert refused(repr(data[:9]), partial(load_encoder, weights), str(path))
    path.write_bytes(b"[" + b" " * 2**24)
    assert "more than" in str(refused("large", partial(load_encoder, weights), str(path)))


def test_names_that_are_none_are_refused(refused: Refused) -> None:
    for name in ("", "a" * 5000, "\0", "x/y", "hf-hub:", "hf-hub:../x", "local-dir:/x", "a:b"):
        assert refused(name[:20], partial(load_encoder, name), "weights: "), name


def test_a_transform_out_of_range_is_refused() -> None:
    for values in ({"size": 0}, {"size": 9000}, {"crop": 0.0}, {"std": (0.1, 0.1)}, {"mean": ()}):
        with pytest.raises(ConfigError):
            EncoderTransform(**{"size": 24, **values})  # type: ignore[arg-type]


def test_a_damaged_checkpoint_is_not_gone_on_from(
    refused: Refused, damaged: Damaged, tmp_path: Path
) -> None:
    """Cut short anywhere, in any of its files, it is refused by name, the model left as it was."""
    model = nn.Linear(4, 2)
    optimiser = build_optimiser(parameter_groups(model, 0.0), OptimConfig())
    model(torch.ones(1, 4)).sum().backward()
    optimiser.step()
    save_checkpoint(tmp_path, model, optimiser, {"step": 1, "steps_per_epoch": 1})
    (found,) = checkpoints(tmp_path)
    for name in ("model.safetensors", "optimiser.safetensors", "state.json"):
        whole = (found / name).read_bytes()
        for seed in range(8):
            (found / name).write_bytes(damaged(whole, "cut", seed))
            call = partial(load_checkpoint, found, model, optimiser)
            assert refused(f"{name}, cut {seed}", call, found.name), name
        (found / name).write_bytes(whole)
