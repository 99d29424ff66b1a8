# SPDX-License-Identifier: BSD-3-Clause
"""Named random streams: each part of a night has its own, so parts can be drawn alone."""

from __future__ import annotations

import zlib

import numpy as np

__all__ = ["seed_from", "stream"]


def seed_from(random_state) -> int:
    """Turn a ``random_state`` into one integer seed.

    Parameters
    ----------
    random_state : int, numpy.random.Generator, numpy.random.RandomState or None
        A generator is advanced by one draw; None takes fresh entropy.

    Raises
    ------
    TypeError
        If it is none of these.
    ValueError
        If it is a negative integer.
    """
    if random_state is None:
        return int(np.random.default_rng().integers(2**62))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**62))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    if isinstance(random_state, (int, np.integer)) and not isinstance(random_state, bool):
        if random_state < 0:
            raise ValueError(f"random_state must not be negative, got {random_state}.")
        return int(random_state)
    raise TypeError(
        "random_state must be an int, a numpy Generator or RandomState, or None, "
        f"got {type(random_state).__name__}."
    )


def stream(seed: tuple[int, ...], name: str) -> np.random.Generator:
    """Return the random stream called ``name`` below ``seed``; always the same one."""
    key = zlib.crc32(name.encode())
    sequence = np.random.SeedSequence(entropy=list(seed), spawn_key=(key,))
    return np.random.Generator(np.random.SFC64(sequence))
