"""What extraction imports before its first embedding: nothing that it does not use."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

NOT_NEEDED = (
    *("lightly", "accelerate", "sklearn", "matplotlib", "pydantic"),
    *("gzfound.simclr", "gzfound.evaluation", "gzfound.simulation", "gzfound.reports"),
)


def test_the_command_imports_what_it_uses(
    simulated_galaxies: Path, encoder_weights: Path, tmp_path: Path
) -> None:
    output = tmp_path / "e.parquet"
    told = ["embed", str(simulated_galaxies), "--weights", str(encoder_weights)]
    code = (
        "import json, sys\nfrom gzfound.cli import main\n"
        f"main({[*told, '--output', str(output)]!r})\n"
        f"print(json.dumps([name for name in {NOT_NEEDED!r} if name in sys.modules]))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    said, found = ended.stdout.splitlines()
    assert said == f"60 embeddings of 96 numbers: {output}"
    assert json.loads(found) == []
