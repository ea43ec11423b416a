"""The README keeps its word: its commands run as written, its links lead somewhere, and its file
tree is the repository's."""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from gzfound import Embeddings, embed, load_dataset

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = {"bash": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-c"]}
ASTRONOMER = "I have a folder of cutouts"
RESEARCHER = "I do machine learning, and have GPUs"
ENGINEER = "I have a survey"


def sections(text: str) -> dict[str, list[tuple[str, str]]]:
    """The bash and python blocks, as (language, code), under each heading that has any."""
    found: dict[str, list[tuple[str, str]]] = {}
    fenced = r"^```(\w+)\n(.*?)^```$"
    for part in re.split(r"^(?=#+ )", text, flags=re.MULTILINE):
        blocks = re.findall(fenced, part, flags=re.MULTILINE | re.DOTALL)
        if runs := [(language, code) for language, code in blocks if language in COMMANDS]:
            found[part.splitlines()[0].strip("# ")] = runs
    return found


@pytest.fixture
def home(
    tmp_path: Path, simulated_galaxies: Path, encoder_weights: Path, head_weights: Path
) -> Path:
    """The root of the repository after ``make demo``, in small, with twelve cutouts beside it."""
    for name in ("recipes", "benchmarks"):
        (tmp_path / name).symlink_to(ROOT / name)
    activate = tmp_path / ".venv" / "bin" / "activate"
    activate.parent.mkdir(parents=True)
    activate.write_text(f"export PATH={Path(sys.executable).parent}:$PATH\n")
    shutil.copytree(simulated_galaxies, tmp_path / "demo" / "galaxies")
    shutil.copytree(encoder_weights, tmp_path / "demo" / "simclr" / "weights")
    shutil.copytree(head_weights, tmp_path / "demo" / "tree" / "weights")
    (tmp_path / "cutouts").mkdir()
    draw = np.random.default_rng(0)
    for number in range(12):
        image = Image.fromarray(draw.integers(0, 255, (40, 40, 3), dtype=np.uint8))
        image.save(tmp_path / "cutouts" / f"g{number:02d}.jpg")
    return tmp_path


def run_section(heading: str, home: Path, text: str = README) -> list[str]:
    """Run the blocks of a section as written, in order; returns what each printed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    quiet = {"CUDA_VISIBLE_DEVICES": "", "HF_HOME": str(home / "hf")}
    environment = {**os.environ, **quiet, "PATH": path}
    printed = []
    for language, code in sections(text)[heading]:
        ended = subprocess.run(
            [*COMMANDS[language], code],
            cwd=home,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert ended.returncode == 0, f"{heading}:\n{code}\n{ended.stdout}\n{ended.stderr}"
        printed.append(ended.stdout)
    return printed


def test_each_of_the_three_users_has_blocks_and_no_block_is_left_untested() -> None:
    languages = {name: [kind for kind, _ in blocks] for name, blocks in sections(README).items()}
    assert languages == {
        "First steps": ["bash"],
        ASTRONOMER: ["bash", "python"],
        RESEARCHER: ["bash"],
        ENGINEER: ["bash", "python"],
    }


def test_the_environment_is_activated(home: Path) -> None:
    assert run_section("First steps", home) == [""]


def test_the_steps_of_an_astronomer(home: Path) -> None:
    printed, found = run_section(ASTRONOMER, home)
    similar = [line.split("\t") for line in printed.splitlines() if "\t" in line]
    assert [line[0] for line in similar] == ["cutouts/g00.jpg"] * 5
    assert similar[0][1] == "g00"
    lines = found.splitlines()
    assert lines[0] == "g00  1.00", "the nearest galaxy is the galaxy itself"
    assert len(lines) == 5
    ids = [f"g{number:02d}" for number in range(12)]
    assert Embeddings.read(home / "runs" / "embeddings.parquet").ids == ids
    table = pq.read_table(home / "runs" / "predictions.parquet")
    assert table["id_str"].to_pylist() == ids
    shown = re.findall(r"^\| `(\S+-hubble_\S+)` \| [\d.]+ \|$", README, flags=re.MULTILINE)
    assert len(shown) == 5
    assert set(shown) <= set(table.column_names)


def test_the_steps_of_a_researcher(home: Path) -> None:
    run_section(RESEARCHER, home)
    assert (home / "runs" / "probe.json").is_file()
    answered = pq.read_schema(home / "runs" / "tree" / "predictions.parquet").names
    assert "smooth-or-featured-hubble_smooth" in answered
    assert not any(name.startswith("how-rounded") for name in answered), "held out"


def test_the_steps_of_a_survey_engineer(home: Path) -> None:
    _, found = run_section(ENGINEER, home)
    assert found.splitlines()[-1] == "60 rows, 60 galaxies"
    splits = load_dataset(str(home / "demo" / "galaxies"))
    order = [name for split in splits.values() for name in split["id_str"]]
    assert Embeddings.read(home / "runs" / "survey.parquet").ids == order


def test_the_first_steps_of_search(home: Path) -> None:
    ids = embed(home / "cutouts", output=home / "runs" / "embeddings.parquet").ids
    page = (ROOT / "docs" / "search.md").read_text(encoding="utf-8")
    printed, found = run_section("First steps", home, page)
    lines = [line.split("\t") for line in printed.splitlines()]
    assert [line[0] for line in lines[:5]] == ["cutouts/g00.jpg"] * 5
    assert (lines[0][1], float(lines[0][2])) == ("g00", pytest.approx(1, abs=1e-3))
    assert lines[5:] == [["10 galaxies: runs/anomalies.parquet"]]
    assert re.fullmatch(r"g00 is most like g\d\d 0\.\d\d\n", found)
    assert len(set(pq.read_table(home / "runs" / "anomalies.parquet")["id_str"].to_pylist())) == 10
    assert set(ids) == {f"g{number:02d}" for number in range(12)}
    for name in ("neighbours", "anomalies", "strangest"):
        with Image.open(home / "runs" / f"{name}.png") as sheet:
            assert sheet.width > 500


def test_make_has_every_target_that_the_readme_names() -> None:
    named = set(re.findall(r"(?:^ {4}|`)make ([a-z]+)", README, flags=re.MULTILINE))
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert {"demo", "test", "venv"} <= named
    assert named <= set(targets)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link]
    assert local or page.name != "README.md"
    missing = [link for link in local if not (page.parent / link).exists()]
    assert not missing


def tree_lines() -> list[str]:
    """The paths in the README's file tree; a name may be a pattern, a folder ends in a slash."""
    (block,) = re.findall(r"^```text\n(gzfound/.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
    paths: list[str] = []
    folders: list[str] = []
    for line in block.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        name, *words = line.split()
        path = "".join(folders[:depth]) + name
        if name.endswith("/") and not words:
            folders[depth:] = [name]
        else:
            assert words, f"{path} has no words beside it"
            paths.append(path)
    return paths


def files_of(folder: str) -> set[str]:
    """The files of a folder that git knows, or all of them where there is no git."""
    listed = subprocess.run(
        ["git", "ls-files", "--", folder], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode == 0 and listed.stdout:
        return {name for name in listed.stdout.splitlines() if (ROOT / name).exists()}
    found = (path for path in (ROOT / folder).rglob("*") if path.is_file())
    return {str(p.relative_to(ROOT)) for p in found if "__pycache__" not in p.parts}


@pytest.mark.parametrize("folder", ["gzfound", "recipes", "benchmarks"])
def test_the_file_tree_names_every_file_once(folder: str) -> None:
    lines = tree_lines()
    files = files_of(folder)
    assert len(files) > 2
    times = {name: sum(fnmatch.fnmatch(name, line) for line in lines) for name in files}
    assert {name: count for name, count in times.items() if count != 1} == {}


def test_the_file_tree_names_no_file_that_is_not_there() -> None:
    lines = tree_lines()
    assert len(lines) > 100
    missing = [line for line in lines if not any(ROOT.glob(line.rstrip("/")))]
    assert missing == []
    assert len(set(lines)) == len(lines)
