"""Fixtures that the whole suite shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real galaxies and votes, where the machine has it."""
    folder = os.environ.get("GZFOUND_REAL_DATA")
    if not folder:
        pytest.skip("GZFOUND_REAL_DATA is not set")
    return Path(folder)
