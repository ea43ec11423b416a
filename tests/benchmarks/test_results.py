"""What the documentation claims stands in the committed results."""

from __future__ import annotations

import json
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
HELD_OUT = ("how-rounded-hubble", "disk-edge-on-hubble")


def results(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return found


def test_every_result_names_its_machine_and_versions() -> None:
    names = sorted(path.stem for path in RESULTS.glob("*.json"))
    assert len(names) >= 4
    for name in names:
        assert results(name)["machine"]["processor"], name
        assert results(name)["versions"]["torch"], name


@pytest.mark.parametrize("question", HELD_OUT)
def test_simclr_beats_the_baselines_of_the_demo_with_intervals_apart(question: str) -> None:
    rows = {
        r["method"]: r["RMSE"] for r in results("demo_probe")["rows"] if r["target"] == question
    }
    for baseline in ("untrained encoder", "pixel PCA", "constant"):
        assert rows["embedding"]["high"] < rows[baseline]["low"]


def test_real_hubble_galaxies_reach_what_was_asked() -> None:
    rows = {r["method"]: r for r in results("real_simulated")["hst_goods"]["rows"]}
    assert rows["embedding"]["Spearman"]["value"] >= 0.72
    assert rows["embedding"]["Spearman"]["value"] > rows["pixel PCA"]["Spearman"]["high"]


def test_the_weights_that_ship_beat_the_baselines_with_intervals_apart() -> None:
    """On the mean of five held-out questions, and on real images of surveys not trained on."""
    probed = results("probe_default")["rows"]
    rows = {r["method"]: r for r in probed if r["target"] == "mean of answers"}
    real = {r["method"]: r["agreement"] for r in results("real_default")["gz_examples"]["rows"]}
    for baseline in ("untrained encoder", "pixel PCA"):
        assert rows["embedding"]["RMSE"]["high"] < rows[baseline]["RMSE"]["low"]
        assert real["embedding"]["low"] > real[baseline]["high"]


def test_the_page_of_results_quotes_them() -> None:
    page = (RESULTS.parents[1] / "docs" / "results.md").read_text()
    kinds = ("default", "simulated", "hst_from_simulated", "hst_from_scratch")
    for name in (f"real_{kind}" for kind in kinds):
        row = next(r for r in results(name)["hst_goods"]["rows"] if r["method"] == "embedding")
        assert f"{row['Spearman']['value']:.3f}" in page
        assert f"{row['MAE']['value']:.3f}" in page
    for name in ("demo_probe", "probe_default"):
        for row in results(name)["rows"]:
            assert f"{row['RMSE']['value']:.3f}" in page
            assert f"{row['skill']['value']:.3f}" in page or row["method"] == "constant"


def test_the_page_of_campaigns_quotes_the_run_with_one_held_out() -> None:
    page = (RESULTS.parents[1] / "docs" / "campaigns.md").read_text()
    found = results("held_out_campaign")
    means = {r["method"]: r for r in found["rows"] if r["target"] == "mean of answers"}
    assert means["embedding"]["RMSE"] == means["simclr/weights"]["RMSE"]
    shown = {"pretrained and fine-tuned on the three others": means["embedding"]}
    shown |= {name: means[name] for name in ("untrained encoder", "pixel PCA", "constant")}
    for name, row in shown.items():
        rmse, skill = (
            f"{row[kind]['value']:.3f} ({row[kind]['low']:.3f} to {row[kind]['high']:.3f})"
            for kind in ("RMSE", "skill")
        )
        assert f"| {name} | {rmse} | {skill if name != 'constant' else '0'} |" in page
    assert f"The noise floor is {means['embedding']['RMSE floor']['value']:.3f}." in page
    (fitted, scored) = re.findall(r"of (\d+) galaxies, scored on (\d+)", found["notes"][0])[0]
    assert f"fitted to {fitted} of its galaxies and scored on {scored}," in page


def test_the_page_of_performance_holds_the_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(RESULTS.parent)
    page = (RESULTS.parents[1] / "docs" / "performance.md").read_text(encoding="utf-8")
    for name, least in (
        ("throughput", 20),
        ("throughput_float32", 8),
        ("throughput_raw_forward", 2),
        ("throughput_two_processes", 1),
    ):
        rows = import_module("peers.results").markdown(results(name)["groups"])
        assert rows.count("\n") > least
        assert rows in page
    stages = import_module("profile_stages").markdown(results("profile_stages")["rows"])
    assert stages.count("\n") > 10
    assert stages in page


def test_what_is_measured_names_both_sides_and_took_turns() -> None:
    files = [results(name)["groups"] for name in ("throughput", "throughput_float32")]
    assert len(files[0]) >= 9
    for name, group in (pair for groups in files for pair in groups.items()):
        assert not group["quick"], name
        assert group["repeats"] >= 5, name
        assert group["versions"]["torch"], name
        counts = {len(told["measurements"]) for told in group["contenders"].values()}
        assert counts == {group["repeats"]}, name
        peers = {"zoobot", "lightly", "timm"} & {key.split(",")[0] for key in group["contenders"]}
        assert not peers or set(group["peer_versions"]) >= {"torch"}, name


def test_what_was_killed_came_out_the_same() -> None:
    """As many kills as docs/reliability.md says, and nothing lost."""
    found = results("kill_campaign")
    page = (RESULTS.parents[1] / "docs" / "reliability.md").read_text(encoding="utf-8")
    kills = sum(sum(case["kills"].values()) for case in found["training"].values())
    assert found["kills"] == kills == 50
    assert len(found["training"]) == 5
    assert all(case["identical"] == case["chains"] for case in found["training"].values())
    extraction = found["extraction"]
    assert sum(extraction["kills"].values()) == 20
    stopped = sum(sum(case["statuses"].values()) for case in found["terminated"].values())
    parts = [*found["training"].values(), *found["terminated"].values(), extraction]
    assert [line for part in parts for line in part["wrong"]] == []
    chains = sum(case["chains"] for case in found["training"].values())
    assert f"{kills} kills in {chains} chains" in page
    assert f"{stopped} signals" in page
    two = found["terminated"]["finetune, 2 processes"]["statuses"]
    assert two == {"75": 3}, "all ended with a checkpoint, as the page says"
    assert "all 3 to fine-tuning by two processes" in " ".join(page.split())
    assert found["revision"][:7] in page
    assert f"--seed {found['options']['seed']} " in page
    assert f"20 kills in {extraction['chains']} chains" in page


def test_nothing_grew_in_the_soak() -> None:
    found = results("soak")
    page = (RESULTS.parents[1] / "docs" / "reliability.md").read_text(encoding="utf-8")
    assert found["grew"] == []
    assert found["minutes"] >= 20
    said = f"{found['minutes']:.0f} minutes, {len(found['rounds'])} rounds, {found['kills']} kills"
    assert said in page


def test_the_page_of_reliability_quotes_them() -> None:
    page = (RESULTS.parents[1] / "docs" / "reliability.md").read_text(encoding="utf-8")
    found = results("many_processes")
    assert sum(len(runs) for runs in found["training"].values()) == 12
    for runs in found["training"].values():
        shared = [run for run in runs if run["sync_batch_norm"]]
        apart = [run for run in runs if not run["sync_batch_norm"]]
        assert max(run["first_loss"] for run in shared) < 1e-6
        assert min(run["first_loss"] for run in apart) > 1e-3
        for run in runs:
            values = (f"{run[name]:.1e}" for name in ("first_loss", "largest_loss", "weights"))
            assert f"| {' | '.join(values)} |" in page
    assert all(run["same_names"] and run["difference"] == 0 for run in found["extraction"])
    cost = results("shared_batch_norm")["times"]
    assert f"{cost:.2f} times" in (RESULTS.parents[1] / "docs" / "distributed.md").read_text()


def test_the_page_of_reliability_quotes_the_fuzzing_and_the_guard() -> None:
    page = (RESULTS.parents[1] / "docs" / "reliability.md").read_text(encoding="utf-8")
    for target in ("decode", "tables", "weights"):
        found = results(f"fuzz_{target}")
        assert (found["seconds"], found["findings"]) == (600, {})
        (row,) = (line for line in page.splitlines() if line.startswith(f"| `{target}` |"))
        assert row.endswith(
            f"| {found['executions']:,} | {found['refused_in_one_line']:,} | none |"
        )
    costs = results("guard_cost")["costs"]
    clipped = max(costs[f"{what}, clip 1"]["guard_ms"] for what in ("stop", "skip"))
    low, high = sorted(costs[f"{what}, clip 0"]["guard_ms"] for what in ("stop", "skip"))
    share = max(case["guard_share"] for case in costs.values())
    whole = costs["stop, clip 1"]["step_ms"] / 1000
    assert f"{clipped:.1f} ms of a step of {whole:.1f} s with clipping, the default; " in page
    assert f"{low:.1f} to {high:.1f} ms, {100 * share:.1f} %, without" in page
