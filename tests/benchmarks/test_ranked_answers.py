"""Where a tree ranks the answers that images illustrate."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

import gzfound

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        return import_module("ranked_answers")


def test_scores_of_three_images(script: ModuleType) -> None:
    """By hand: ranks within each row, and against the images of other answers."""
    fractions = np.array([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4], [0.6, 0.1, 0.3]])
    among_answers, among_images = script.scores(fractions, np.array([0, 0, 2]))
    np.testing.assert_allclose(among_answers, [1, 0.25, 0.5])
    # 0.7 and 0.3 against 0.6 of the third; 0.3 of the third against 0.1 and 0.4.
    np.testing.assert_allclose(among_images, [1, 0, 0.5])


def test_an_answer_alone_has_no_score_among_images(script: ModuleType) -> None:
    _, among_images = script.scores(np.array([[0.7, 0.3], [0.6, 0.4]]), np.array([0, 0]))
    assert np.isnan(among_images).all()


def test_words_of_the_table_become_questions_and_answers(
    script: ModuleType, tmp_path: Path
) -> None:
    table = tmp_path / "labels.csv"
    table.write_text(
        "file,question,answer\n"
        "a.jpg,Is there any sign of a spiral arm pattern?,No spiral\n"
        "b.jpg,How many spiral arms are there?,More than 4\n"
        "c.jpg,How many spiral arms are there?,2\n"
        "d.jpg,Is there anything odd?,Yes\n"
        "e.jpg,Is it simply smooth and rounded?,Star or artifact\n"
    )
    assert dict(script.illustrated(table, gzfound.load_tree("gz_hubble"))) == {
        "has-spiral-arms-hubble": [("a", 1)],
        "spiral-arm-count-hubble": [("b", 4), ("c", 1)],
        "smooth-or-featured-hubble": [("e", 2)],
    }


def test_every_question_that_the_real_table_shares_with_hubble_is_known(
    script: ModuleType, real_data: Path
) -> None:
    found = script.illustrated(real_data / "gz_examples/labels.csv", gzfound.load_tree("gz_hubble"))
    assert sorted(found) == sorted(f"{name}-hubble" for name in script.QUESTIONS)
    assert sum(map(len, found.values())) > 300


def test_the_command_writes_a_table(
    script: ModuleType, head_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "images").mkdir()
    draw = np.random.default_rng(0)
    lines = ["file,question,answer"]
    for number, answer in enumerate(["Yes", "No", "Yes", "No"]):
        pixels = draw.integers(0, 256, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number}.png")
        lines.append(f"{number}.png,Could this be a disk viewed edge-on?,{answer}")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    output = tmp_path / "ranked.json"
    options = ["--weights", str(head_weights), "--data", str(tmp_path), "--output", str(output)]
    script.main(options)
    rows = json.loads(output.read_text())["rows"]
    assert [row["target"] for row in rows] == ["disk-edge-on-hubble", "all images"]
    for score in ("among answers", "among images"):
        assert 0 <= rows[0][score]["value"] <= 1
        assert rows[0][score] == rows[1][score]
    assert "0.5 is chance" in capsys.readouterr().out
    (tmp_path / "labels.csv").write_text("file,question,answer\n0.png,Is there anything odd?,Yes\n")
    with pytest.raises(SystemExit) as stopped:
        script.main(options)
    assert "illustrates no question of the tree" in str(stopped.value) + capsys.readouterr().err
