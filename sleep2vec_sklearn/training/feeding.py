# SPDX-License-Identifier: BSD-3-Clause
"""Batches drawn ahead of the network, in threads.

A batch follows from the seed and its number alone, so how many are drawn ahead changes nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

__all__ = ["draw_ahead"]

_AHEAD_PER_WORKER = 2


def draw_ahead(draw: Callable[[int], object], numbers: range, n_workers: int) -> Iterator:
    """``draw(number)`` for every number, in order.

    Parameters
    ----------
    draw : callable
        Thread-safe if there are workers.
    numbers : range
    n_workers : int
        Threads; 0 draws when asked.
    """
    if n_workers == 0:
        yield from map(draw, numbers)
        return
    waiting: deque = deque()
    with ThreadPoolExecutor(n_workers, thread_name_prefix="sleep2vec-batches") as pool:
        try:
            for number in numbers:
                waiting.append(pool.submit(draw, number))
                if len(waiting) > _AHEAD_PER_WORKER * n_workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
