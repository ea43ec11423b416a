"""A few values of every process for all processes, as soon as the last one has sent its own.

On one machine they pass through sockets between any two processes. Gloo, which takes over where
processes cannot reach one another so, wakes several threads for each message.
"""

from __future__ import annotations

import socket
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, distributed

from gzfound.errors import GzfoundError

WAIT = timedelta(hours=12)
"""How long processes wait for the main one, which decodes, validates or joins files on its own.

The ten minutes of NCCL would end a run that is well; launchers notice a process that died.
"""

Arrival = Callable[[], Tensor]
"""Waits for the values of all processes, ``(processes, ...)`` in the order of their ranks."""

_NUMBER = 4
"""Bytes of a rank."""


def send(values: Tensor) -> Arrival:
    """Send values on the CPU, of the same shape in all processes, to all of them.

    All processes send in the same order, and wait for an arrival before they send again.

    Raises:
        GzfoundError: another process of this machine has ended, now or at the arrival.
    """
    near = links()
    return near.send(values) if values.nbytes <= near.room else _send_by_gloo(values)


def links() -> Links:
    """Those of this process, for as long as its group lives; at first, all processes call it."""
    group = distributed.group.WORLD
    assert group is not None
    if group not in _LINKS:
        _LINKS[group] = _join()
    return _LINKS[group]


def _send_by_gloo(values: Tensor) -> Arrival:
    """Gather: gloo takes half the time that it takes to reduce."""
    gathered = [torch.empty_like(values) for _ in range(distributed.get_world_size())]
    work = distributed.all_gather(gathered, values, async_op=True)
    assert work is not None

    def arrived() -> Tensor:
        work.wait()
        return torch.stack(gathered)

    return arrived


class Links:
    """Sockets to all other processes.

    Args:
        rank: of this process.
        peers: a socket for each other rank.
        room: bytes, at most, that may be sent; 0 where there are no links.
        wait: for another process, at most.
    """

    def __init__(
        self, rank: int, peers: dict[int, socket.socket], room: int, wait: timedelta = WAIT
    ) -> None:
        self._rank, self._peers, self.room = rank, peers, room
        longest = struct.pack("ll", int(wait.total_seconds()), 0)
        for peer in peers.values():
            # Not settimeout(), which takes a socket for full when a quarter of it is.
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, longest)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, longest)

    def send(self, values: Tensor) -> Arrival:
        """Send values to all others, as the function of this name does."""
        mine = values.contiguous().numpy().data
        for rank, peer in self._peers.items():
            with _needed(rank):
                peer.sendall(mine)

        def arrived() -> Tensor:
            gathered = values.new_empty((1 + len(self._peers), *values.shape))
            gathered[self._rank] = values
            for rank, peer in self._peers.items():
                with _needed(rank):
                    _receive(peer, gathered[rank].numpy().data.cast("B"))
            return gathered

        return arrived

    def __del__(self) -> None:
        _close(self._peers)


_LINKS: WeakKeyDictionary[distributed.ProcessGroup, Links] = WeakKeyDictionary()


def _join() -> Links:
    """Links to all other processes, or none where any of them cannot reach another by a socket."""
    rank, processes = distributed.get_rank(), distributed.get_world_size()
    peers: dict[int, socket.socket] = {}
    with ExitStack() as stack:
        address, room = "", 0
        try:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="gzfound-"))
            door = stack.enter_context(socket.socket(socket.AF_UNIX))
            door.bind(f"{folder}/{rank}")
            door.listen(processes)
            address, room = f"{folder}/{rank}", room_of(door)
        except (OSError, AttributeError):
            pass  # a path too long for a socket, or a system without them
        addresses = [""] * processes
        distributed.all_gather_object(addresses, address)
        try:
            for other, there in enumerate(addresses[:rank]):
                peers[other] = _call(there, rank)
        except OSError:
            room = 0  # on another machine
        agreed = torch.tensor(room)
        distributed.all_reduce(agreed, distributed.ReduceOp.MIN)
        if not agreed:
            _close(peers)
            return Links(rank, {}, 0)
        while len(peers) < processes - 1:
            peer, _ = door.accept()
            number = bytearray(_NUMBER)
            _receive(peer, memoryview(number))
            peers[int.from_bytes(number, "big")] = peer
    return Links(rank, peers, int(agreed))


def room_of(link: socket.socket) -> int:
    """Bytes of a message of which two can be sent before anybody reads, with what the system adds.

    Two, because a process may send its next values before another has read these.
    """
    return link.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) // 4


def _call(address: str, rank: int) -> socket.socket:
    """A socket to the process with this address, which is told who calls."""
    link = socket.socket(socket.AF_UNIX)
    try:
        link.connect(address)
        link.sendall(rank.to_bytes(_NUMBER, "big"))
    except OSError:
        link.close()
        raise
    return link


def _receive(peer: socket.socket, into: memoryview) -> None:
    """Fill memory with what a process has sent."""
    while into:
        read = peer.recv_into(into)
        if not read:
            raise ConnectionError
        into = into[read:]


@contextmanager
def _needed(rank: int) -> Iterator[None]:
    """Say which process it is that has ended, or is silent for too long."""
    try:
        yield
    except OSError as error:
        reason = "it no longer answers, and the others cannot go on without it"
        raise GzfoundError(f"process {rank}: {reason}") from error


def _close(peers: dict[int, socket.socket]) -> None:
    for peer in peers.values():
        peer.close()
