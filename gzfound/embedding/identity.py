"""Which encoder made a table of embeddings: a name to load it by, and a digest to know it by."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from gzfound.data.fits_config import NO_FITS, FitsConfig
from gzfound.errors import ConfigError, DataError

if TYPE_CHECKING:
    from torch import nn

    from gzfound.data.bands import Bands

KEY = b"gzfound"
"""The key of an identity in the metadata of a Parquet file."""


@dataclass(frozen=True)
class EncoderIdentity:
    """The encoder of some embeddings; two are equal if they embed alike, wherever they lie.

    Attributes:
        weights: what :func:`gzfound.load_encoder` took: a packaged name, the absolute path of a
            directory, or a name on the hub; empty for an encoder that it did not load.
        digest: of every parameter and buffer, and of the size, the normalisation and the FITS
            options of the input.
        crop: linear fraction of each image that was looked at.
        channels: that it takes.
        fits: what was read of FITS files, and their stretch.
    """

    weights: str = field(compare=False)
    digest: str
    crop: float
    channels: int = field(default=3, compare=False)
    fits: FitsConfig = field(default=NO_FITS, compare=False)

    @property
    def bands(self) -> Bands:
        """What became of the bands of an image."""
        from gzfound.data.bands import Bands

        return Bands(self.channels, self.fits)

    def metadata(self) -> dict[bytes, bytes]:
        """Metadata for the schema of a Parquet file."""
        return {KEY: json.dumps({"encoder": asdict(self)}).encode()}

    @classmethod
    def of(cls, encoder: nn.Module) -> EncoderIdentity:
        """The identity of an encoder that has a ``transform``."""
        import torch

        from gzfound.models import transform_of

        transform = transform_of(encoder)
        found = hashlib.sha256(
            repr((transform.size, transform.mean, transform.std, transform.fits)).encode()
        )
        for name, value in sorted(encoder.state_dict().items()):
            found.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
            flat = value.detach().cpu().contiguous().reshape(-1)
            found.update(flat.view(torch.uint8).numpy().data)
        name = str(getattr(encoder, "loaded_from", ""))
        channels = len(transform.mean)
        return cls(name, found.hexdigest(), float(transform.crop), channels, transform.fits)

    @classmethod
    def from_metadata(cls, metadata: dict[bytes, bytes] | None) -> EncoderIdentity | None:
        """The identity in the metadata of a Parquet file, if it holds one.

        Raises:
            DataError: it is damaged.
        """
        if KEY not in (metadata or {}):
            return None
        try:
            held = json.loads((metadata or {})[KEY])["encoder"]
            return cls(**{**held, "fits": FitsConfig.from_dict(held.get("fits", {}))})
        except (ValueError, TypeError, KeyError, AttributeError, ConfigError) as error:
            raise DataError(f"embeddings: the metadata 'gzfound' is damaged: {error}") from error
