"""Where weights and figures come from: versions, revision, machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

import gzfound

_PACKAGES = ("torch", "torchvision", "timm", "lightly", "accelerate", "datasets", "numpy")


def revision() -> str:
    """The git revision of the code, ``+`` if files were changed; ``release`` outside git."""
    folder = Path(gzfound.__file__).parent
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--abbrev=12"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip() if described.returncode == 0 else "release"


def versions() -> dict[str, str]:
    """The versions of gzfound, Python and the packages that decide a result."""
    found = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {"gzfound": gzfound.__version__, "python": platform.python_version(), **found}


def machine() -> dict[str, str | int]:
    """Processor, cores and GPU of this machine."""
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "gpu": gpu,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
