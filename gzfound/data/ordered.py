"""Work that threads do ahead of the consumer, handed over in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 3
"""Results in the making besides the one that the consumer holds, or one a thread if more."""


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int
) -> Generator[Result, None, None]:
    """``function`` of each item, in the order of the items, computed by threads.

    Each thread gives torch one core: two threads with a core each beat one operation on two.
    At most ``max(4, threads)`` results exist at a time. The first error, in order, is raised.

    Args:
        function: lets go of the interpreter lock for most of its work.
        items: taken one by one as there is room.
        threads: number of threads.
    """
    import torch

    # Asked before the pool starts, so that this thread keeps its own number: one that has not run
    # an operation yet takes the last that any thread has set.
    torch.get_num_threads()
    ahead = max(AHEAD, threads - 1)
    pending: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(
        threads, "gzfound-decode", initializer=torch.set_num_threads, initargs=(1,)
    )
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        # For threads to come. Another thread may close this than began it: each has its own number.
        torch.set_num_threads(torch.get_num_threads())
