"""One of two processes that learn with shared batch norm: by sockets, then by gloo, then one dies.

python two_links.py FOLDER RANK; both print a line of JSON, and rank 0 ends because of the other.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import tempfile
from pathlib import Path

import torch
import torch.distributed as dist
from two_processes import learn

from gzfound.errors import one_line_errors
from gzfound.training import exchange


def meet(folder: Path, name: str, rank: int) -> None:
    """A new group of both processes."""
    where = f"file://{folder / name}"
    dist.init_process_group("gloo", init_method=where, rank=rank, world_size=2)


def learned(rank: int) -> str:
    """A digest of all that twenty steps make."""
    found = learn("batch_norm", rank, 2)
    return hashlib.sha256(b"".join(v.numpy().tobytes() for v in found.values())).hexdigest()


@one_line_errors
def main(folder: Path, rank: int) -> None:
    """Learn the same twice, and meet again for the end."""
    torch.set_num_threads(1)
    own = folder / f"own{rank}"
    far = own / ("far" * 40)  # too long for the address of a socket
    far.mkdir(parents=True)
    told = {}
    for name in ("sockets", "gloo"):
        tempfile.tempdir = str(far if name == "gloo" and rank else own)
        meet(folder, name, rank)
        told[name] = learned(rank), exchange.links().room
        dist.destroy_process_group()
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()
    tempfile.tempdir = str(own)
    meet(folder, "death", rank)
    exchange.send(torch.ones(3))()
    if rank:
        os.kill(os.getpid(), signal.SIGKILL)
    for _ in range(3):
        exchange.send(torch.ones(3))()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
