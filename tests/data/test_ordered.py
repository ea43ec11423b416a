"""Work done by threads comes in order, one core a thread."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
import torch

from gzfound.data.ordered import ordered_map


@pytest.mark.parametrize("threads", [1, 3])
def test_in_order_though_the_first_takes_longest(threads: int) -> None:
    def slow_at_first(number: int) -> int:
        time.sleep(0.05 if number == 0 else 0)
        return number**2

    assert list(ordered_map(slow_at_first, range(20), threads)) == [n**2 for n in range(20)]


def test_the_first_error_in_order_is_raised_and_the_rest_dropped() -> None:
    started: list[int] = []

    def fails(number: int) -> int:
        started.append(number)
        if number in (2, 3):
            raise ValueError(f"item {number}")
        return number

    found = ordered_map(fails, range(1000), 2)
    assert [next(found), next(found)] == [0, 1]
    with pytest.raises(ValueError, match="item 2"):
        next(found)
    assert len(started) < 10


def test_one_torch_thread_each_and_the_caller_keeps_its_own() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        inside = list(ordered_map(lambda _: torch.get_num_threads(), range(4), 2))
        assert inside == [1, 1, 1, 1]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_a_caller_that_has_not_used_torch_yet_keeps_its_threads() -> None:
    """torch reads the number when a thread first needs it: by then the workers have set 1."""
    code = (
        "import torch; torch.set_num_threads(2)\n"
        "from gzfound.data.ordered import ordered_map\n"
        "list(ordered_map(abs, range(4), 2)); print(torch.get_num_threads())"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "2\n"
