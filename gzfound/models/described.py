"""What weights say of their input: channels, size, crop, normalisation, bands of FITS files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gzfound.data import FitsConfig
from gzfound.errors import ConfigError, WeightsError
from gzfound.models.transform import EncoderTransform, channel_statistics
from gzfound.models.weights_files import in_one_line


def described_transform(
    named: Path | str,
    held: Mapping[str, Any],
    notes: Mapping[str, Any],
    crop: float | None,
    in_chans: int | None,
) -> EncoderTransform:
    """What an encoder expects of an image.

    Args:
        named: the weights, for messages.
        held: timm's ``pretrained_cfg``.
        notes: metadata of a weights directory, which may say what to read of FITS; empty for
            weights of timm.
        crop: in place of that of the weights.
        in_chans: channels of the encoder, where not those of the weights.

    Raises:
        WeightsError: it is not described, or not as it should be.
    """
    try:
        channels, size = int(held["input_size"][0]), int(held["input_size"][-1])
        mean, std = (tuple(float(n) for n in held[name]) for name in ("mean", "std"))
        whole = crop or float(held.get("crop_pct") or 1.0)
    except (IndexError, KeyError, TypeError, ValueError, OverflowError) as error:
        reason = f"the input of {str(named)!r} is not described: {in_one_line(error)}"
        raise WeightsError(f"weights: {reason}") from error
    if in_chans is None and channels != len(mean):
        raise WeightsError(
            f"weights: {str(named)!r} takes {channels} bands, but has the mean of {len(mean)}"
        )
    mean, std = channel_statistics(channels if in_chans is None else in_chans, mean, std)
    try:
        fits = FitsConfig.from_dict(notes.get("fits") or {})
        return EncoderTransform(size, whole, mean, std, fits)
    except (ConfigError, ValueError) as error:
        raise WeightsError(f"weights: the input of {str(named)!r}: {error}") from error


def check_channels(path: Path, config: Mapping[str, Any], in_chans: int | None) -> None:
    """Raise ``WeightsError`` unless a weights directory can be adapted to so many channels.

    Args:
        path: of the directory, for the message.
        config: its ``config.json``.
        in_chans: channels wanted; None is those that it has.
    """
    if in_chans is None:
        return
    try:
        held = int(config["pretrained_cfg"]["input_size"][0])
    except (IndexError, KeyError, TypeError, ValueError):  # what is wrong is said when it is loaded
        return
    if held not in (in_chans, 3):
        raise WeightsError(
            f"weights: {path} has {held} channels; only those of 3 are adapted to {in_chans}"
        )
