# SPDX-License-Identifier: BSD-3-Clause
"""Numbers of a night that a sleep report has: times, efficiency, latencies, stages."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from ..errors import InvalidRecordingError
from ..recordings import EPOCH_SECONDS, Recording, SleepStage, as_stages
from ..recordings.recording import describe_recording, prefix_errors

__all__ = [
    "hours_of_sleep",
    "in_bed",
    "is_many",
    "rows_of_nights",
    "seconds_asleep",
    "sleep_statistics",
]

_MINUTES = EPOCH_SECONDS / 60
_ASLEEP = (SleepStage.N1, SleepStage.N2, SleepStage.N3, SleepStage.R)


def sleep_statistics(recordings, *, stages=None, lights=None) -> pd.Series | pd.DataFrame:
    """Sleep statistics of a night, in the terms of the AASM manual.

    An epoch counts if its middle lies between lights off and lights on; all times are whole
    epochs of 30 s, so that ``tib_min == sol_min + tst_min + waso_min + unscored_min`` where every
    unscored epoch follows sleep onset. Sleep onset is the first epoch scored as any sleep stage.

    Parameters
    ----------
    recordings : Recording, array-like of shape (n_epochs,), or list of these
        A night with its stages, or stages alone (see :class:`~sleep2vec_sklearn.SleepStage`).
    stages : array-like of shape (n_epochs,), or list of these, optional
        Stages to use instead of the recordings' own, such as predicted ones.
    lights : (float or None, float or None), optional
        Lights-off and lights-on in seconds from the start, of all nights. By default those of the
        recording; where one is not known, the recording's start or end.

    Returns
    -------
    Series, or a DataFrame with a row per night for a list
        The index of the DataFrame holds the recordings' ids, else their positions.

        - ``lights_off_min``, ``lights_on_min``: minutes from the start of the recording.
        - ``tib_min``: time in bed, from lights off to lights on (the AASM's total recording time).
        - ``tst_min``: total sleep time, N1 + N2 + N3 + R.
        - ``sleep_efficiency_pct``: TST / TIB.
        - ``sol_min``: sleep onset latency, from lights off to sleep onset.
        - ``rem_latency_min``: from sleep onset to the first epoch of R.
        - ``waso_min``: wake after sleep onset until lights on.
        - ``terminal_wake_min``: the part of it after the last epoch of sleep.
        - ``spt_min``: sleep period, from sleep onset to the end of the last epoch of sleep;
          ``sleep_maintenance_pct``: TST / sleep period.
        - ``n1_min`` ... ``r_min``, ``w_min`` (W between lights off and on), and ``n1_pct`` ...
          ``r_pct`` of TST.
        - ``awakenings``: changes from sleep to W; ``stage_shifts``: changes of stage between
          neighbouring scored epochs of the sleep period. Both also ``_per_hour`` of sleep.
        - ``sleep_bouts``: runs of epochs of any sleep stage, and their ``mean_`` and
          ``longest_sleep_bout_min``. An unscored epoch ends a bout.
        - ``unscored_epochs``, ``unscored_min`` and ``scored_pct``: of the time in bed.

        What is undefined is NaN: latencies and all that follows sleep onset without sleep, REM
        latency without R, everything but the times of the lights without a scored epoch.

    Raises
    ------
    InvalidRecordingError
        If a night has no stages, or lights-on does not follow lights-off.

    References
    ----------
    Troester M, Quan S, Berry R (2023). The AASM Manual for the Scoring of Sleep and Associated
    Events, version 3, chapter II.E.

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation import sleep_statistics
    >>> night = ["W"] * 20 + ["N1"] * 4 + ["N2"] * 100 + ["W"] * 6 + ["R"] * 40 + ["W"] * 10
    >>> sleep_statistics(night)[["tib_min", "tst_min", "sol_min", "waso_min", "rem_latency_min"]]
    tib_min            90.0
    tst_min            72.0
    sol_min            10.0
    waso_min            8.0
    rem_latency_min    55.0
    dtype: float64
    """

    def describe(night, given, place):
        return _of_night(night, given, lights, place)

    return rows_of_nights(describe, recordings, stages)


def hours_of_sleep(recording: Recording, stages=None) -> float:
    """Hours scored as sleep between lights off and on; those of the night where none are scored.

    Parameters
    ----------
    recording : Recording
    stages : array-like of shape (n_epochs,), optional
        Instead of the recording's own.

    Examples
    --------
    >>> from sleep2vec_sklearn import Recording
    >>> from sleep2vec_sklearn.evaluation import hours_of_sleep
    >>> hours_of_sleep(Recording({"spo2": ([95.0] * 3600, 1)}, stages=[0] * 60 + [2] * 60))
    0.5
    """
    asleep = seconds_asleep(recording, stages, recording.n_epochs * EPOCH_SECONDS)
    return float(asleep.sum() / 3600)


def _of_night(night, stages, lights, place: str) -> dict[str, float]:
    own = night if isinstance(night, Recording) else None
    if stages is None:
        stages = night if own is None else own.stages
    if stages is None:
        raise InvalidRecordingError(
            f"{place} has no stages; accepted are scored nights. Pass stages=, for example those "
            "that a classifier predicted."
        )
    if lights is None and own is not None:
        lights = own.lights
    with prefix_errors(place):
        scored = as_stages(stages)
        first, last = in_bed(len(scored), lights)
    row = {"lights_off_min": first * _MINUTES, "lights_on_min": last * _MINUTES}
    return row | _statistics(scored[first:last])


def _statistics(stages: np.ndarray) -> dict[str, float]:
    """Of the epochs in bed."""
    n_scored = int((stages >= 0).sum())
    asleep = np.isin(stages, _ASLEEP)
    n_asleep = int(asleep.sum()) if n_scored else np.nan
    places = np.flatnonzero(asleep)
    onset, end = (places[0], places[-1] + 1) if len(places) else (None, None)
    row = {
        "tib_min": len(stages) * _MINUTES,
        "tst_min": n_asleep * _MINUTES,
        "sleep_efficiency_pct": _percent(n_asleep, len(stages)),
    }
    row |= _after_onset(stages, onset, end)
    for stage in (*_ASLEEP, SleepStage.W):
        count = int((stages == stage).sum()) if n_scored else np.nan
        row[f"{stage.name.lower()}_min"] = count * _MINUTES
        if stage in _ASLEEP:
            row[f"{stage.name.lower()}_pct"] = _percent(count, n_asleep)
    row |= _continuity(stages, asleep, onset, end)
    n_unscored = len(stages) - n_scored
    row["unscored_epochs"] = float(n_unscored)
    row["unscored_min"] = n_unscored * _MINUTES
    row["scored_pct"] = _percent(n_scored, len(stages))
    return row


def _after_onset(stages: np.ndarray, onset, end) -> dict[str, float]:
    """Latencies, wake after onset and the sleep period; NaN without sleep."""
    names = ("sol", "rem_latency", "waso", "terminal_wake", "spt")
    row = dict.fromkeys((f"{name}_min" for name in names), np.nan)
    row["sleep_maintenance_pct"] = np.nan
    if onset is None:
        return row
    rem = np.flatnonzero(stages == SleepStage.R)
    wake = stages == SleepStage.W
    row["sol_min"] = onset * _MINUTES
    if len(rem):
        row["rem_latency_min"] = (rem[0] - onset) * _MINUTES
    row["waso_min"] = wake[onset:].sum() * _MINUTES
    row["terminal_wake_min"] = wake[end:].sum() * _MINUTES
    row["spt_min"] = (end - onset) * _MINUTES
    row["sleep_maintenance_pct"] = _percent(np.isin(stages[onset:end], _ASLEEP).sum(), end - onset)
    return {name: float(value) for name, value in row.items()}


def _continuity(stages: np.ndarray, asleep: np.ndarray, onset, end) -> dict[str, float]:
    """Shifts, awakenings and bouts of the sleep period; NaN without sleep."""
    names = ["awakenings", "awakenings_per_hour", "stage_shifts", "stage_shifts_per_hour"]
    names += ["sleep_bouts", "mean_sleep_bout_min", "longest_sleep_bout_min"]
    if onset is None:
        return dict.fromkeys(names, np.nan)
    # the epoch after the last of sleep tells whether the person then woke up
    before, after = stages[onset:end], stages[onset + 1 : end + 1]
    before = before[: len(after)]
    shifts = (before != after) & (before >= 0) & (after >= 0)
    woke = shifts & (after == SleepStage.W)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], asleep.astype(np.int8), [0]])))
    bouts = (edges[1::2] - edges[::2]) * _MINUTES
    hours = asleep.sum() * _MINUTES / 60
    within = shifts[: end - onset - 1].sum()
    values = [woke.sum(), woke.sum() / hours, within, within / hours]
    values += [len(bouts), bouts.mean(), bouts.max()]
    return {name: float(value) for name, value in zip(names, values, strict=True)}


def _percent(part: float, whole: float) -> float:
    return float(100 * part / whole) if whole else np.nan


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
        return pd.Series(describe(nights, stages, describe_recording(_recording(nights))))
    nights = list(nights)
    given = [None] * len(nights) if stages is None else list(stages)
    if len(given) != len(nights):
        raise InvalidRecordingError(
            f"there are {len(given)} nights of stages for {len(nights)} recordings; accepted is "
            "one array of stages per recording, in their order."
        )
    rows, names = [], []
    for i, (night, scored) in enumerate(zip(nights, given, strict=True)):
        rows.append(describe(night, scored, describe_recording(_recording(night), i)))
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
