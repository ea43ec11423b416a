"""The option ``--resume``, which goes with a word or without one."""

from __future__ import annotations

from typing import Annotated, Literal

from tyro.constructors import PrimitiveConstructorSpec

_RESUME: dict[str, bool | Literal["auto"]] = {"": True, "auto": "auto", "no": False}


def _parse_resume(words: list[str]) -> bool | Literal["auto"]:
    if " ".join(words) not in _RESUME:
        raise ValueError("allowed: --resume, --resume auto, --resume no")
    return _RESUME[" ".join(words)]


def _show_resume(value: bool | Literal["auto"]) -> list[str]:
    return next(word.split() for word, meant in _RESUME.items() if meant == value)


Resume = Annotated[
    bool | Literal["auto"],
    PrimitiveConstructorSpec(
        nargs="*",
        metavar="[auto|no]",
        instance_from_str=_parse_resume,
        is_instance=lambda value: value in _RESUME.values(),
        str_from_instance=_show_resume,
    ),
]
"""``--resume`` and ``--resume auto``, or ``resume: true`` and ``resume: auto`` in YAML."""
