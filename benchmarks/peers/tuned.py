"""The search for the fastest way to run a raw model, with either allocator."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from serve import Line, timed

from gzfound.allocator import keep_freed_memory

Config = dict[str, Any]


def choose(
    line: Line, choices: list[Config], work: Callable[[Config, int], None], images: int
) -> tuple[Config, list[Config]]:
    """The fastest of all choices, and the rate of each, in images a second.

    What the allocator keeps it never gives back, so the default is searched first; where it wins,
    the process starts anew with that choice.

    Args:
        line: its settings may already hold the choice.
        choices: layouts, batches, threads.
        work: runs so many images.
        images: of each trial.
    """
    if "chosen" in line.settings:
        return line.settings["chosen"], line.settings["tried"]
    if line.settings["quick"]:
        choices, images = choices[-1:], 0
    tried = []
    for kept in (False, True):
        if kept and not keep_freed_memory():
            break
        for choice in choices:
            count = max(images // choice["batch"], 2) * choice["batch"]
            work(choice, choice["batch"])
            seconds = timed(partial(work, choice, count), count)["seconds"]
            tried.append({**choice, "keeps_memory": kept, "rate": count / seconds})
    best = max(tried, key=lambda config: config["rate"])
    if best["keeps_memory"] != tried[-1]["keeps_memory"]:
        fixed = json.dumps({**line.settings, "chosen": best, "tried": tried})
        line.restore_output()
        os.execv(sys.executable, [sys.executable, sys.argv[0], fixed])
    return best, tried
