"""Values of all processes: alike by sockets and by gloo, and nobody waits for the dead."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch

from gzfound.errors import GzfoundError
from gzfound.training.exchange import Links, room_of

SCRIPT = Path(__file__).parents[1] / "two_links.py"


@pytest.fixture
def three() -> list[Links]:
    """The links of three processes, all of them in this one."""
    peers: list[dict[int, socket.socket]] = [{}, {}, {}]
    for low, high in ((0, 1), (0, 2), (1, 2)):
        peers[low][high], peers[high][low] = socket.socketpair()
    rooms = [room_of(peer) for of_one in peers for peer in of_one.values()]
    few = timedelta(seconds=1)  # a test that has to wait fails
    return [Links(rank, of_one, min(rooms), few) for rank, of_one in enumerate(peers)]


def test_two_processes_learn_the_same_bits_by_sockets_and_by_gloo_and_notice_a_death(
    tmp_path: Path,
) -> None:
    command = [sys.executable, str(SCRIPT), str(tmp_path)]
    ended = [
        subprocess.Popen(
            [*command, rank], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for rank in "01"
    ]
    said = [process.communicate(timeout=100) for process in ended]
    assert [process.returncode for process in ended] == [2, -signal.SIGKILL], said
    assert said[0][1].splitlines()[-1].startswith("error: process 1: it no longer answers")
    first, second = (json.loads(out) for out, _ in said)
    assert first == second
    (by_sockets, room), (by_gloo, none) = first["sockets"], first["gloo"]
    assert by_sockets == by_gloo
    assert room > 0
    assert none == 0
    left = list(tmp_path.rglob("gzfound-*"))
    assert not left, "what the sockets were called is gone when they are joined"


@pytest.mark.parametrize("shape", [(1,), (2, 512)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_come_in_the_order_of_ranks(
    three: list[Links], shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    values = [torch.randn(shape, dtype=dtype) for _ in three]
    for _ in range(2):
        arrivals = [links.send(mine) for links, mine in zip(three, values, strict=True)]
        for arrived in arrivals:
            assert torch.equal(arrived(), torch.stack(values))


def test_values_need_not_be_contiguous(three: list[Links]) -> None:
    values = torch.arange(6.0).view(2, 3).t()
    arrivals = [links.send(values) for links in three]
    for arrived in arrivals:
        assert torch.equal(arrived(), torch.stack([values] * 3))


def test_a_process_can_be_two_messages_ahead_of_another(three: list[Links]) -> None:
    """As long as the longest allowed, or processes that send at once would wait for each other."""
    values = torch.arange(three[0].room // 8, dtype=torch.float64)
    early = [[links.send(values * turn) for turn in (1, 2)] for links in three[:2]]
    late = [three[2].send(values * turn) for turn in (1, 2)]
    for turn in (0, 1):
        for arrivals in (*early, late):
            expected = torch.stack([values * (turn + 1)] * 3)
            assert torch.equal(arrivals[turn](), expected)


def test_who_waits_too_long_for_a_process_hears_which(three: list[Links]) -> None:
    arrived = three[0].send(torch.ones(2))
    three[1].send(torch.ones(2))
    with pytest.raises(GzfoundError, match=r"^process 2: it no longer answers"):
        arrived()


def test_who_waits_for_a_process_that_ended_hears_which(three: list[Links]) -> None:
    arrived = three[0].send(torch.ones(2))
    three[1].send(torch.ones(2))
    del three[2]
    with pytest.raises(GzfoundError, match=r"^process 2: it no longer answers"):
        arrived()
    with pytest.raises(GzfoundError, match=r"^process 2: it no longer answers"):
        three[1].send(torch.ones(2))
