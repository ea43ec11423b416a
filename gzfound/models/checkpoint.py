"""Weights directories: ``model.safetensors`` and a timm ``config.json``, nothing pickled.

``timm.create_model("local-dir:W", pretrained=True)`` loads the encoder without gzfound.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from gzfound.data import FitsConfig
from gzfound.errors import ConfigError, WeightsError
from gzfound.files import atomic_directory
from gzfound.models.card import weights_card
from gzfound.models.described import check_channels, described_transform
from gzfound.models.encoder import create_encoder, encoder_features, fixed_size
from gzfound.models.heads import Head, new_head
from gzfound.models.transform import (
    EncoderTransform,
    attach_transform,
    channel_statistics,
)
from gzfound.models.weights_files import (
    check_inside,
    check_model_args,
    check_tensors,
    in_one_line,
    read_json,
    read_tensors,
    refuse_pickle,
)
from gzfound.weights import FOLDER, HEAD, find_weights, list_weights


def save_weights(
    directory: str | Path,
    encoder: nn.Module,
    transform: EncoderTransform,
    metadata: Mapping[str, Any],
    *,
    head: Head | None = None,
) -> None:
    """Write an encoder, and the head that stands on it, to a directory.

    Args:
        directory: replaced as a whole once everything is written.
        encoder: a model of :func:`create_encoder`.
        transform: what the encoder was trained to see.
        metadata: where the weights come from: data, licence, recipe, configuration.
        head: a fine-tuned head, kept in ``head.safetensors``.
    """
    from safetensors.torch import save_file

    config = _timm_config(encoder, transform)
    config["gzfound"] = {**metadata, **({"head": head.describe()} if head else {})}
    if transform.fits != FitsConfig():
        config["gzfound"]["fits"] = asdict(transform.fits)
    with atomic_directory(directory) as folder:
        save_file(_plain(encoder), folder / "model.safetensors", metadata={"format": "pt"})
        if head is not None:
            save_file(_plain(head), folder / HEAD, metadata={"format": "pt"})
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        (folder / "README.md").write_text(weights_card(config), encoding="utf-8")


def load_encoder(
    weights: str | Path | None = None,
    *,
    device: str = "cpu",
    crop: float | None = None,
    in_chans: int | None = None,
    fits: FitsConfig | None = None,
) -> nn.Module:
    """Load an encoder in evaluation mode, with its ``transform`` attached.

    Args:
        weights: a weights directory, a name of :func:`gzfound.list_weights`,
            ``hf-hub:owner/name``, or the name of a pretrained timm model; by default the weights
            that ship with the package.
        device: where the encoder lives.
        crop: linear fraction of each image to look at, around its centre, for images whose field
            is wider or narrower than that of the images trained on; by default as in training.
        in_chans: channels of the encoder, where not those of the weights: timm repeats the filters
            of the first layer for more, and adds them up for one. To be trained on.
        fits: what to read of FITS files, and their stretch, in place of that of the weights.

    Returns:
        A timm model that maps ``(B, C, H, W)`` to embeddings ``(B, num_features)``; its
        ``transform`` attribute is an :class:`EncoderTransform`.

    Raises:
        WeightsError: the directory is not a weights directory, or the hub cannot be reached.
        ConfigError: ``crop`` or ``in_chans`` is out of range.
    """
    import timm

    if crop is not None and not 0 < crop <= 1:
        raise ConfigError(f"crop: {crop} must be above 0 and at most 1")
    if in_chans is not None and in_chans < 1:
        raise ConfigError(f"in_chans: {in_chans} must be at least 1")

    found = find_weights(weights)
    name = _name_to_load_again(found)
    if isinstance(found, str) and found.startswith("hf-hub:"):
        found = _downloaded(found)
    tensors: dict[str, Tensor] = {}
    config: dict[str, Any] = {"gzfound": {}}
    if isinstance(found, Path):
        config = read_config(found)
        check_channels(found, config, in_chans)
        tensors = read_tensors(found / "model.safetensors")
        source = f"local-dir:{found}"
    elif timm.is_model(found):
        source = found
    else:
        packaged = ", ".join(list_weights()) or "none"
        raise WeightsError(
            f"weights: {found!r} is no directory, no packaged name ({packaged}), "
            "no 'hf-hub:owner/name' and no timm model"
        )
    try:
        adapted: Any = {} if in_chans is None else {"in_chans": in_chans}
        encoder: nn.Module = timm.create_model(source, pretrained=True, num_classes=0, **adapted)
    except Exception as error:  # timm, safetensors and the hub each raise their own kinds
        raise WeightsError(f"weights: cannot load {str(found)!r}: {in_one_line(error)}") from error
    check_tensors(encoder, tensors, found)
    held: dict[str, Any] = encoder.pretrained_cfg  # type: ignore[assignment]  # timm's attribute
    transform = described_transform(found, held, config["gzfound"], crop, in_chans)
    attach_transform(encoder, transform if fits is None else transform.reading(fits))
    encoder.loaded_from = name  # type: ignore[assignment]  # torch: tensors and modules alone
    return encoder.to(device).eval()


def load_head(weights: str | Path | None, encoder: nn.Module) -> Head:
    """Load the head of fine-tuned weights, of whatever kind it is, in evaluation mode.

    Args:
        weights: a weights directory or a name of :func:`gzfound.list_weights`; None is the
            packaged default.
        encoder: of the same weights.

    Raises:
        WeightsError: the directory has no head, or one of another shape.
    """
    path = find_weights(weights)
    if isinstance(path, str):
        raise WeightsError(
            f"weights: a head is read from a directory, not from {path!r}; download "
            "one with `hf download owner/name --local-dir W`"
        )
    notes = read_config(path)["gzfound"]
    description = notes.get("head")
    if "columns" in notes:  # how weights before 0.1.0 described their only kind of head
        description = {"kind": "tree", "columns": notes["columns"]}
    if not description or not (path / HEAD).is_file():
        raise WeightsError(f"weights: {path} has no head; fine-tune it first")
    try:
        head = new_head(description, encoder_features(encoder))
    except WeightsError:
        raise
    except (AttributeError, RuntimeError, TypeError, ValueError) as error:
        reason = f"{path / 'config.json'} describes no head: {in_one_line(error)}"
        raise WeightsError(f"weights: {reason}") from error
    file = path / HEAD
    tensors = read_tensors(file)
    check_tensors(head, tensors, file)
    try:
        head.load_state_dict(tensors)
    except RuntimeError as error:
        raise WeightsError(f"weights: cannot load {file}: {in_one_line(error)}") from error
    return head.eval()


def read_config(path: Path) -> dict[str, Any]:
    """The parsed ``config.json`` of a weights directory, once the directory is found to be safe.

    Its ``gzfound`` part, metadata that weights of others lack, is there and may be empty.

    Raises:
        WeightsError: the path is pickled, a link leads out of the directory, or a file is missing
            or is not what it should be.
    """
    refuse_pickle(path)
    missing = [n for n in ("config.json", "model.safetensors") if not (path / n).is_file()]
    if missing:
        raise WeightsError(f"weights: {path} has no {' and no '.join(missing)}")
    check_inside(path)
    file = path / "config.json"
    config = read_json(file)
    if not isinstance(config.get("architecture"), str):
        raise WeightsError(f"weights: {file} names no 'architecture'")
    check_model_args(config.get("model_args") or {}, file)
    if not isinstance(config.setdefault("gzfound", {}), dict):
        raise WeightsError(f"weights: {file}: 'gzfound' must be an object")
    return config


def start_encoder(
    name: str,
    weights: str | None,
    image_size: int,
    *,
    in_chans: int | None = None,
    fits: FitsConfig | None = None,
) -> nn.Module:
    """The encoder that a recipe starts from: an untrained one, or that of weights.

    Args:
        name: timm architecture; with ``weights`` it may be empty.
        weights: what :func:`load_encoder` takes; None is an untrained encoder.
        image_size: side of the images, for untrained encoders.
        in_chans: see :func:`load_encoder`; of an untrained encoder, 3 by default.
        fits: see :func:`load_encoder`.

    Returns:
        The encoder, in training mode, with a transform.

    Raises:
        ConfigError: ``name`` and the architecture of the weights differ.
    """
    if weights is None:
        channels = 3 if in_chans is None else in_chans
        encoder = create_encoder(name, image_size=image_size, in_chans=channels)
        mean, std = channel_statistics(channels)
        attach_transform(
            encoder, EncoderTransform(image_size, 1.0, mean, std, fits or FitsConfig())
        )
        return encoder
    encoder = load_encoder(weights, in_chans=in_chans, fits=fits).train()
    found = encoder.pretrained_cfg["architecture"]  # type: ignore[index]  # timm's attribute
    if name and found != name:
        raise ConfigError(f"encoder: {name!r} was asked for, but {weights} holds {found!r}")
    return encoder


def _name_to_load_again(found: Path | str) -> str:
    """A packaged name, the absolute path of another directory, or a name that timm knows."""
    if isinstance(found, Path):
        return found.name if found.parent == FOLDER else str(found.absolute())
    return found


def _plain(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}


def _timm_config(encoder: nn.Module, transform: EncoderTransform) -> dict[str, Any]:
    base: Any = encoder.pretrained_cfg
    channels = len(transform.mean)
    # Told of the first layer, older timm adapts it from three channels, or fills it at random.
    first = ("first_conv",) if channels == 3 else ()
    kept = (*first, "classifier", "pool_size", "fixed_input_size")
    return {
        "architecture": base["architecture"],
        "num_classes": 0,
        "num_features": encoder_features(encoder),
        "pretrained_cfg": {
            **{name: base[name] for name in kept if name in base},
            "custom_load": False,
            "input_size": [channels, transform.size, transform.size],
            "interpolation": "bilinear",
            "crop_pct": transform.crop,
            "crop_mode": "center",
            "mean": list(transform.mean),
            "std": list(transform.std),
            "num_classes": 0,
        },
        "model_args": {"in_chans": channels, **fixed_size(base, transform.size)},
    }


def _downloaded(name: str) -> Path:
    """The directory of ``hf-hub:owner/name@revision``, without any pickled file that it has."""
    from huggingface_hub import snapshot_download

    repo, _, revision = name.removeprefix("hf-hub:").partition("@")
    wanted = ["config.json", "model.safetensors", HEAD]
    try:
        return Path(snapshot_download(repo, revision=revision or None, allow_patterns=wanted))
    except Exception as error:  # the hub and its network stack each raise their own kinds
        raise WeightsError(f"weights: cannot load {name!r}: {in_one_line(error)}") from error
