"""Scripts import gzfound before torch, which reads ``OMP_WAIT_POLICY`` when it is loaded."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOADS_TORCH = {"accelerate", "lightly", "timm", "torch", "torchvision"}
SCRIPTS = [
    path
    for folder in ("recipes", "benchmarks")
    for path in sorted((ROOT / folder).glob("*.py"))
    if "__main__" in path.read_text(encoding="utf-8")
]


def imported(path: Path) -> list[str]:
    """The top-level packages that a script imports outside functions, in order."""
    names: list[str] = []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            names += [alias.name.split(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.append(node.module.split(".")[0])
    return names


def test_there_are_scripts_that_load_torch() -> None:
    loading = {path.stem for path in SCRIPTS if LOADS_TORCH & set(imported(path))}
    assert {"pretrain_simclr", "finetune_classifier", "extract_embeddings"} <= loading


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_gzfound_is_imported_before_torch(path: Path) -> None:
    names = imported(path)
    first = next(name for name in names if name in {"gzfound", *LOADS_TORCH})
    assert first == "gzfound", f"{path.name}: import gzfound before {first}"
