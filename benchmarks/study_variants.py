"""The runs of the pretraining study: what they share, what each does otherwise. Data, no code."""

from __future__ import annotations

from typing import Any

BASE: dict[str, Any] = {
    "encoder": "resnet10t",
    "crop": 0.5,
    "image_size": 64,
    "views": {"size": 48, "zoom": [0.55, 1.0]},
    "epochs": 6,
    "batch_size": 128,
    "seed": 0,
}
"""Options of the recipe ``pretrain_simclr``."""

HELD_OUT = "clumpy-appearance-hubble"

VARIANTS: dict[str, dict[str, Any]] = {
    "base": {},
    "colour 2": {"views": {"colour": 2.0}},
    "temperature 0.1": {"simclr": {"temperature": 0.1}},
    "views of 64 px": {"image_size": 96, "views": {"size": 64}},
    "batch 256": {"batch_size": 256},
    "brightness and contrast 2": {"views": {"brightness": 2.0, "contrast": 2.0}},
    "colour and brightness and contrast 2": {
        "views": {"colour": 2.0, "brightness": 2.0, "contrast": 2.0}
    },
    "zoom from 0.3": {"views": {"zoom": [0.3, 1.0]}},
    "zoom from 0.8": {"views": {"zoom": [0.8, 1.0]}},
    "votes at 0.1": {"supervised_weight": 0.1, "held_out": HELD_OUT},
    "votes at 1": {"supervised_weight": 1.0, "held_out": HELD_OUT},
    "seed 1": {"seed": 1},
    "seed 2": {"seed": 2},
    "no noise": {"views": {"noise": 0.0}},
    "no blur": {"views": {"blur": 0.0}},
    "temperature 0.07": {"simclr": {"temperature": 0.07}},
    "temperature 0.5": {"simclr": {"temperature": 0.5}},
    "learning rate 0.003": {"optim": {"learning_rate": 0.003}},
    "learning rate 0.0003": {"optim": {"learning_rate": 0.0003}},
    "no rotation": {"views": {"rotation": 0.0}},
    "no shift": {"views": {"shift": 0.0}},
    "shift 0.2": {"views": {"shift": 0.2}},
    "aspect 1.3": {"views": {"aspect": 1.3}},
    "head of three layers": {"simclr": {"layers": 3}},
    "head of 2048": {"simclr": {"hidden": 2048}},
    "head without batch norm": {"simclr": {"batch_norm": False}},
    "batch 64": {"batch_size": 64},
    "resnet18": {"encoder": "resnet18"},
    "convnext_atto": {"encoder": "convnext_atto"},
    "twice as long": {"epochs": 12},
}
"""Held out are "clumpy" and all below it: every question that is probed."""
