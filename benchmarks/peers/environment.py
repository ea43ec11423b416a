"""The peers' own environment, installed on first use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from gzfound.errors import ConfigError

REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def peers_python(home: Path) -> str:
    """The interpreter of the environment that ``GZFOUND_PEERS`` names, or of one made in ``home``.

    Raises:
        ConfigError: there is no environment where ``GZFOUND_PEERS`` says so.
    """
    chosen = os.environ.get("GZFOUND_PEERS")
    folder = Path(chosen) if chosen else home
    python = folder / "bin" / "python"
    if chosen and not python.exists():
        raise ConfigError(f"GZFOUND_PEERS: {chosen} is no environment: it has no bin/python")
    done = folder / ".installed"
    wanted = REQUIREMENTS.read_text(encoding="utf-8")
    if not chosen and (not done.exists() or done.read_text(encoding="utf-8") != wanted):
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        install = ["-m", "pip", "install", "--quiet", "--requirement", str(REQUIREMENTS)]
        subprocess.run([str(python), *install], check=True)
        done.write_text(wanted, encoding="utf-8")
    return str(python)


def peer_versions(python: str) -> dict[str, str]:
    """The versions of the packages in ``requirements.txt``, as installed."""
    lines = REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    names = [line.split("==")[0].split("[")[0] for line in lines if "==" in line]
    program = (
        "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    )
    ran = subprocess.run(
        [python, "-c", program, *names], capture_output=True, text=True, check=True
    )
    return dict(zip(names, ran.stdout.split(), strict=True))
