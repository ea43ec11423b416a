"""Encoders, heads, and the weights directories they are kept in."""

from gzfound.models.checkpoint import load_encoder, save_weights
from gzfound.models.encoder import create_encoder, encoder_features
from gzfound.models.heads import TreeHead
from gzfound.models.transform import (
    EncoderTransform,
    attach_transform,
    channel_statistics,
    transform_of,
)

__all__ = [
    "EncoderTransform",
    "TreeHead",
    "attach_transform",
    "channel_statistics",
    "create_encoder",
    "encoder_features",
    "load_encoder",
    "save_weights",
    "transform_of",
]
