"""The forward pass of an encoder on uint8 images, without gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from gzfound.data.decode import Pixels, square_resize
from gzfound.embedding.writing import Vectors
from gzfound.models import EncoderTransform, transform_of
from gzfound.models.folding import fold_batch_norm
from gzfound.models.fused import fuse_convolutions
from gzfound.models.precision import Precision, pick_precision
from gzfound.training.streamed import StreamedImages


class Forward:
    """The forward pass of an encoder on uint8 images, without gradients.

    Args:
        encoder: has a ``transform``.
        device: where to run it; the encoder is moved there.
        precision: see :func:`gzfound.embed`.
    """

    def __init__(self, encoder: nn.Module, device: torch.device, precision: Precision) -> None:
        self.encoder: nn.Module = encoder.to(
            device=device, memory_format=torch.channels_last
        ).eval()  # type: ignore[call-overload]  # torch's overloads lack memory_format alone
        self.transform = transform_of(encoder)
        self.device = device
        chosen = pick_precision(precision, device)
        self.dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(chosen)
        self.table = grey_levels(self.transform)
        self.network = self._faster()

    def __call__(self, pixels: Pixels | Tensor) -> Vectors:
        """Embeddings ``(B, num_features)`` of images ``(B, size, size, C)``."""
        return self.start(pixels)()

    def start(self, pixels: Pixels | Tensor) -> Callable[[], Vectors]:
        """Begin a forward pass; what it returns waits for the embeddings and gives them.

        On a GPU the work is only queued, the copies to and from the GPU included.
        """
        autocast = torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None)
        with torch.inference_mode(), autocast:
            vectors: Tensor = self.network(self._input(pixels)).float()
            if self.device.type != "cuda":
                return lambda: _array(vectors.cpu())
            held = torch.empty(vectors.shape, dtype=vectors.dtype, pin_memory=True)
            held.copy_(vectors, non_blocking=True)
            copied = torch.cuda.Event()  # type: ignore[no-untyped-call]  # of torch
            copied.record()

        def finish() -> Vectors:
            copied.synchronize()
            return _array(held)

        return finish

    def _faster(self) -> nn.Module:
        """The encoder with fewer passes over memory.

        In float32 that gains nothing, and the embeddings stay the encoder's, bit by bit.
        """
        if self.dtype is None:
            return self.encoder
        folded = fold_batch_norm(self.encoder)
        if folded is self.encoder or self.device.type != "cpu" or self.dtype != torch.bfloat16:
            return folded
        size = self.transform.size
        example = torch.zeros(1, len(self.transform.mean), size, size)
        return fuse_convolutions(folded, example)

    def _input(self, pixels: Pixels | Tensor) -> Tensor:
        if self.device.type == "cpu" and isinstance(pixels, np.ndarray):
            return standardised(pixels, self.table)
        images = torch.as_tensor(pixels)
        if self.device.type == "cuda" and images.device.type == "cpu":
            images = images.pin_memory()
        return self.transform.normalise(images.to(self.device, non_blocking=True))


def grey_levels(transform: EncoderTransform) -> npt.NDArray[np.float32]:
    """What ``transform.normalise`` makes of each grey level of each channel, ``(1, 256, C)``."""
    ramp = torch.arange(256, dtype=torch.uint8)[:, None, None, None]
    levels = transform.normalise(ramp.expand(256, 1, 1, len(transform.mean)))
    result: npt.NDArray[np.float32] = levels[None, :, :, 0, 0].contiguous().numpy()
    return result


def standardised(images: Pixels, table: npt.NDArray[np.float32]) -> Tensor:
    """``transform.normalise`` by looking up, in one pass over the pixels instead of four.

    Args:
        images: uint8 ``(B, H, W, C)``.
        table: of :func:`grey_levels`.

    Returns:
        float32 ``(B, C, H, W)``, channels last.
    """
    import cv2

    levels: Any = np.empty(images.shape, dtype=np.float32)
    for image, target in zip(images, levels, strict=True):
        cv2.LUT(image, table, dst=target)
    return torch.from_numpy(levels).permute(0, 3, 1, 2)


def embed_arrays(
    encoder: nn.Module, images: Pixels | StreamedImages, device: torch.device | str = "cpu"
) -> Vectors:
    """Embed decoded images ``(N, S, S, C)``, already cropped, in float32 whatever their size S.

    Streamed images are read and decoded on the way.
    """
    forward = Forward(encoder, torch.device(device), "no")
    size = forward.transform.size
    parts = []
    for part in _in_parts(images, 64):
        if part.shape[1] != size:
            part = np.stack([square_resize(image, size) for image in part])
        parts.append(forward(part))
    return np.concatenate(parts)


def _in_parts(images: Pixels | StreamedImages, count: int) -> Iterator[Pixels]:
    if isinstance(images, StreamedImages):
        return images.in_parts(count)
    return (images[start : start + count] for start in range(0, len(images), count))


def _array(vectors: Tensor) -> Vectors:
    result: Vectors = vectors.numpy()
    return result
