"""Which encoder made a table of embeddings: a name to load it by, and a digest to know it by."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from gzfound.errors import DataError

if TYPE_CHECKING:
    from torch import nn

KEY = b"gzfound"
"""The key of an identity in the metadata of a Parquet file."""


@dataclass(frozen=True)
class EncoderIdentity:
    """The encoder of some embeddings; two of one ``digest`` and ``crop`` embed alike.

    Attributes:
        weights: what :func:`gzfound.load_encoder` took: a packaged name, the absolute path of a
            directory, or a name on the hub; empty for an encoder that it did not load.
        digest: of every parameter and buffer, and of the size, the normalisation and the FITS
            options of the input.
        crop: linear fraction of each image that was looked at.
    """

    weights: str
    digest: str
    crop: float

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
        return cls(name, found.hexdigest(), float(transform.crop))

    @classmethod
    def from_metadata(cls, metadata: dict[bytes, bytes] | None) -> EncoderIdentity | None:
        """The identity in the metadata of a Parquet file, if it holds one.

        Raises:
            DataError: it is damaged.
        """
        if KEY not in (metadata or {}):
            return None
        try:
            return cls(**json.loads((metadata or {})[KEY])["encoder"])
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(f"embeddings: the metadata 'gzfound' is damaged: {error}") from error
