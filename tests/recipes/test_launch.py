"""The files that launch recipes: what they start, on one machine and on several."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from accelerate.commands.launch import launch_command_parser
from torch.distributed.run import get_args_parser

from gzfound.training.config import parse_config

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "docs" / "launch").iterdir())
PAGE = (ROOT / "docs" / "distributed.md").read_text(encoding="utf-8")
RECIPE = ["recipes/pretrain_simclr.py", "--data", "a b", "--resume"]
CONFIGS = {
    "pretrain_simclr": "PretrainConfig",
    "finetune_tree": "TreeConfig",
    "extract_embeddings": "ExtractConfig",
}
SBATCH = {
    *("job-name", "nodes", "ntasks-per-node", "gpus-per-node", "cpus-per-task", "time"),
    *("requeue", "open-mode", "output"),
}
"""Options of sbatch (22.05) that the files use."""
STAND_IN = f"""#!{sys.executable}
import json, os, sys
print(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]))
"""
SRUN = """#!/bin/bash
while [[ "$1" == --* ]]; do shift; done
for SLURM_NODEID in 0 1; do SLURM_NODEID=$SLURM_NODEID "$@"; done
"""


@pytest.fixture
def started(tmp_path: Path) -> Callable[..., list[list[str]]]:
    """Run a file with stand-ins for what it calls; the commands that it started."""
    stand_ins = dict.fromkeys(("accelerate", "torchrun"), STAND_IN)
    stand_ins |= {"srun": SRUN, "scontrol": "#!/bin/bash\nprintf 'n7\\nn9\\n'\n"}
    for name, code in stand_ins.items():
        (tmp_path / name).write_text(code)
        (tmp_path / name).chmod(0o755)

    def run(name: str, **environment: str) -> list[list[str]]:
        path = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
        ended = subprocess.run(
            ["bash", str(ROOT / "docs" / "launch" / name), *RECIPE],
            env=path | environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return [json.loads(line) for line in ended.stdout.splitlines()]

    return run


def accelerate_options(command: list[str]) -> Any:
    """What accelerate makes of a command; an option that it does not have ends the test."""
    assert command[:2] == ["accelerate", "launch"]
    options = launch_command_parser().parse_args(command[2:])
    assert [options.training_script, *options.training_script_args] == RECIPE
    return options


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_bash_can_read_it_and_sbatch_knows_its_options(path: Path) -> None:
    assert subprocess.run(["bash", "-n", str(path)], check=False).returncode == 0
    lines = re.findall(r"^#SBATCH --([a-z-]+)", path.read_text(), flags=re.MULTILINE)
    assert bool(lines) == (path.suffix == ".sbatch")
    assert set(lines) <= SBATCH


@pytest.mark.parametrize("processes", [1, 4])
def test_one_node_starts_a_process_for_each_gpu(
    started: Callable[..., list[list[str]]], processes: int
) -> None:
    (command,) = started("slurm_one_node.sbatch", SLURM_GPUS_ON_NODE=str(processes))
    options = accelerate_options(command)
    assert (options.num_processes, options.num_machines) == (processes, 1)
    assert options.multi_gpu == (processes > 1)
    (command,) = started("slurm_one_node.sbatch", PROCESSES="3", SLURM_GPUS_ON_NODE="0")
    assert accelerate_options(command).num_processes == 3


def test_each_node_starts_its_share_and_all_meet_at_the_first(
    started: Callable[..., list[list[str]]],
) -> None:
    job = {"SLURM_JOB_NODELIST": "n[7,9]", "SLURM_JOB_ID": "20123", "SLURM_JOB_NUM_NODES": "2"}
    commands = started("slurm_nodes.sbatch", **job, SLURM_GPUS_ON_NODE="4")
    assert len(commands) == 2
    for rank, command in enumerate(commands):
        options = accelerate_options(command)
        assert options.multi_gpu
        assert (options.num_processes, options.num_machines) == (8, 2)
        assert options.machine_rank == rank
        assert (options.main_process_ip, options.main_process_port) == ("n7", 20123)


@pytest.mark.parametrize("machines", [1, 2])
def test_torchrun_on_one_machine_or_several(
    started: Callable[..., list[list[str]]], machines: int
) -> None:
    where = {"MACHINES": str(machines), "MACHINE": "1", "MAIN": "10.0.0.1"} if machines > 1 else {}
    (command,) = started("torchrun.sh", **where)
    options = get_args_parser().parse_args(command[1:])
    assert [options.training_script, *options.training_script_args] == RECIPE
    assert options.nproc_per_node == "gpu"
    assert options.standalone == (machines == 1)
    if machines > 1:
        assert (options.nnodes, options.node_rank) == ("2", 1)
        assert (options.master_addr, options.master_port) == ("10.0.0.1", 29500)


def test_the_commands_of_the_page_have_options_that_there_are(
    recipe: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    commands = [words for line in lines if len(words := shlex.split(line, comments=True)) > 2]
    assert len(commands) >= 6
    for words in commands:
        (place,) = (k for k, word in enumerate(words) if word.endswith(".py"))
        name = Path(words[place]).stem
        parse_config(getattr(recipe(name), CONFIGS[name]), "", words[place + 1 :])
        launcher = next(word for word in words if "=" not in word)
        if launcher == "accelerate":
            launch_command_parser().parse_args(words[2:])
        else:
            files = [Path(word).name for word in words[:place] if word.startswith("docs/launch/")]
            assert len(files) == 1
            assert (ROOT / "docs" / "launch" / files[0]) in FILES
