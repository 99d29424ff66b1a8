# SPDX-License-Identifier: BSD-3-Clause
"""One row of numbers for a night, a table of them for many."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from ..errors import InvalidRecordingError
from ..signals import EPOCH_SECONDS, Recording, as_stages
from ..signals.naming import describe_place

__all__ = ["in_bed", "is_many", "rows_of_nights", "seconds_asleep"]


def rows_of_nights(describe: Callable, nights, stages=None) -> pd.Series | pd.DataFrame:
    """Apply a function of (night, stages or None, place) to one night or to each of many.

    Returns
    -------
    Series, or a DataFrame whose index holds the recordings' ids, else their positions

    Raises
    ------
    InvalidRecordingError
        If there are stages for another number of nights.
    """
    if not is_many(nights):
        return pd.Series(describe(nights, stages, describe_place(_recording(nights))))
    nights = list(nights)
    given = [None] * len(nights) if stages is None else list(stages)
    if len(given) != len(nights):
        raise InvalidRecordingError(
            f"there are {len(given)} nights of stages for {len(nights)} recordings; accepted is "
            "one array of stages per recording, in their order."
        )
    rows, names = [], []
    for i, (night, scored) in enumerate(zip(nights, given, strict=True)):
        rows.append(describe(night, scored, describe_place(_recording(night), i)))
        name = getattr(night, "id", None)
        names.append(i if name is None else name)
    return pd.DataFrame(rows, index=pd.Index(names, name="recording"))


def is_many(nights) -> bool:
    """Whether it is a list of nights; else it is one, a recording or an array of stages."""
    if isinstance(nights, Recording):
        return False
    if isinstance(nights, np.ndarray) and nights.ndim == 1 and nights.dtype != object:
        return False
    first = next(iter(nights), None)
    return isinstance(first, Recording) or np.ndim(first) == 1


def seconds_asleep(recording: Recording, stages, n_seconds: int) -> np.ndarray:
    """Which seconds are scored as sleep between lights off and on; all where nothing is scored.

    Returns
    -------
    bool ndarray of shape (n_seconds,)

    Raises
    ------
    InvalidRecordingError
        If the stages are not one per epoch.
    """
    given = recording.stages if stages is None else stages
    if given is None:
        return np.ones(n_seconds, dtype=bool)
    scored = as_stages(given)
    if len(scored) != recording.n_epochs:
        raise InvalidRecordingError(
            f"there are stages for {len(scored)} epochs of a night of {recording.n_epochs}; "
            "accepted is one for each epoch of 30 s, -1 where it is not known."
        )
    if (scored < 0).all():
        return np.ones(n_seconds, dtype=bool)
    epochs = scored > 0
    first, last = in_bed(len(epochs), recording.lights)
    epochs[:first] = epochs[last:] = False
    asleep = np.repeat(epochs, EPOCH_SECONDS)[:n_seconds]
    return np.pad(asleep, (0, n_seconds - len(asleep)))


def in_bed(n_epochs: int, lights) -> tuple[int, int]:
    """First epoch in bed, and the one after the last."""
    off, on = lights or (None, None)
    off = 0.0 if off is None else float(off)
    on = n_epochs * EPOCH_SECONDS if on is None else float(on)
    if not off < on:
        raise InvalidRecordingError(
            f"lights-off is at {off:g} s and lights-on at {on:g} s; accepted is an end after the "
            "begin, both in seconds from the start of the recording."
        )
    # the first epoch whose middle is in bed, and the first whose middle no longer is
    first, last = (int(np.ceil(t / EPOCH_SECONDS - 0.5)) for t in (off, on))
    return min(max(first, 0), n_epochs), min(max(last, 0), n_epochs)


def _recording(night) -> Recording | None:
    return night if isinstance(night, Recording) else None
