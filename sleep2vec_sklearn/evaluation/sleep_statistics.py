# SPDX-License-Identifier: BSD-3-Clause
"""Sleep statistics of a night: times, efficiency, latencies, stages and continuity."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from .._warnings import listed, warn
from ..errors import InvalidRecordingError, RecordingWarning
from ..recordings.modality import EPOCH_SECONDS
from ..recordings.recording import Recording, describe_recording, prefix_errors
from ..recordings.stages import SleepStage, as_stages

_MINUTES = EPOCH_SECONDS / 60
_ASLEEP = (SleepStage.N1, SleepStage.N2, SleepStage.N3, SleepStage.R)

Lights = tuple[float | None, ...]  # off and on


def sleep_statistics(
    recordings: Any, *, stages: Any = None, lights: Lights | None = None
) -> pd.Series | pd.DataFrame:
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
        recording; an unknown one is the recording's start or end. A recording's own that contradict
        each other, such as lights on before lights off, are left out, with a warning.

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

        Undefined values are NaN: without sleep, latencies and all that depends on sleep onset;
        without R, REM latency; without a scored epoch, everything but the times of the lights.

    Raises
    ------
    InvalidRecordingError
        If a night has no stages, or in ``lights`` lights-on does not follow lights-off.

    Warns
    -----
    RecordingWarning
        Once for all nights whose own lights are left out.

    References
    ----------
    Troester M, Quan S, Berry R (2023). The AASM Manual for the Scoring of Sleep and Associated
    Events, version 3, chapter II.E.

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation import sleep_statistics
    >>> night = ["W"] * 20 + ["N1"] * 4 + ["N2"] * 100 + ["W"] * 6 + ["R"] * 40 + ["W"] * 10
    >>> sleep_statistics(night)[["tib_min", "tst_min", "sol_min", "waso_min"]].tolist()
    [90.0, 72.0, 10.0, 8.0]
    """
    describe = partial(_statistics_of_night, lights=lights)
    return rows_of_nights(describe, recordings, stages, own_lights=lights is None)


def hours_of_sleep(recording: Recording, stages: ArrayLike | None = None) -> float:
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
    warn_of_lights([recording])
    asleep = seconds_asleep(recording, stages, recording.n_epochs * EPOCH_SECONDS)
    return float(asleep.sum() / 3600)


def _statistics_of_night(
    night: Any, stages: ArrayLike | None, name: str, lights: Lights | None
) -> dict[str, float]:
    recording = night if isinstance(night, Recording) else None
    if stages is None:
        stages = night if recording is None else recording.stages
    if stages is None:
        raise InvalidRecordingError(
            f"{name} has no stages; accepted are scored nights. Pass stages=, for example those "
            "that a classifier predicted."
        )
    with prefix_errors(name):
        scored = as_stages(stages)
    if lights is None and recording is not None:
        lights = usable_lights(recording.lights, len(scored))
    first, last = _epochs_in_bed(len(scored), lights)
    if lights is not None and not first < last:
        raise InvalidRecordingError(
            f"{name}: lights-off is at {lights[0]} s and lights-on at {lights[1]} s; accepted is "
            f"an end after the beginning, in seconds from the start of the {len(scored)} epochs."
        )
    row = {"lights_off_min": first * _MINUTES, "lights_on_min": last * _MINUTES}
    return row | _statistics_in_bed(scored[first:last])


def _statistics_in_bed(stages: np.ndarray) -> dict[str, float]:
    n_scored = int((stages >= 0).sum())
    asleep = np.isin(stages, _ASLEEP)
    n_asleep = int(asleep.sum()) if n_scored else np.nan
    sleep = np.flatnonzero(asleep)
    onset, end = (sleep[0], sleep[-1] + 1) if len(sleep) else (None, None)
    row = {"tib_min": len(stages) * _MINUTES, "tst_min": n_asleep * _MINUTES}
    row["sleep_efficiency_pct"] = _percent(n_asleep, len(stages))
    row |= _after_onset(stages, onset, end)
    for stage in (*_ASLEEP, SleepStage.W):
        count = int((stages == stage).sum()) if n_scored else np.nan
        row[f"{stage.name.lower()}_min"] = count * _MINUTES
        if stage in _ASLEEP:
            row[f"{stage.name.lower()}_pct"] = _percent(count, n_asleep)
    row |= _continuity(stages, asleep, onset, end)
    n_unscored = len(stages) - n_scored
    row |= {"unscored_epochs": float(n_unscored), "unscored_min": n_unscored * _MINUTES}
    return row | {"scored_pct": _percent(n_scored, len(stages))}


def _after_onset(stages: np.ndarray, onset: int | None, end: int | None) -> dict[str, float]:
    """Latencies, wake after onset and the sleep period; NaN without sleep."""
    names = [f"{n}_min" for n in ("sol", "rem_latency", "waso", "terminal_wake", "spt")]
    names.append("sleep_maintenance_pct")
    if onset is None or end is None:
        return dict.fromkeys(names, np.nan)
    rem, wake = np.flatnonzero(stages == SleepStage.R), stages == SleepStage.W
    rem_latency = rem[0] - onset if len(rem) else np.nan
    n_epochs = [onset, rem_latency, wake[onset:].sum(), wake[end:].sum(), end - onset]
    n_asleep = np.isin(stages[onset:end], _ASLEEP).sum()
    values = [*(n * _MINUTES for n in n_epochs), _percent(n_asleep, end - onset)]
    return {name: float(value) for name, value in zip(names, values, strict=True)}


def _continuity(
    stages: np.ndarray, asleep: np.ndarray, onset: int | None, end: int | None
) -> dict[str, float]:
    """Shifts, awakenings and bouts of the sleep period; NaN without sleep."""
    names = ["awakenings", "awakenings_per_hour", "stage_shifts", "stage_shifts_per_hour"]
    names += ["sleep_bouts", "mean_sleep_bout_min", "longest_sleep_bout_min"]
    if onset is None or end is None:
        return dict.fromkeys(names, np.nan)
    # the epoch after the last of sleep says whether the subject then woke up
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


def rows_of_nights(
    describe: Callable[[Any, Any, str], dict[str, float]], nights: Any, stages: Any = None,
    own_lights: bool = True,
) -> pd.Series | pd.DataFrame:  # fmt: skip
    """``describe(night, stages, name)`` as a Series, or as a DataFrame of a list of nights."""
    if own_lights:
        warn_of_lights(nights if _is_list_of_nights(nights) else [nights])
    if not _is_list_of_nights(nights):
        return pd.Series(describe(nights, stages, _name_of(nights)))
    nights = list(nights)
    stages = [None] * len(nights) if stages is None else list(stages)
    if len(stages) != len(nights):
        raise InvalidRecordingError(
            f"there are {len(stages)} nights of stages for {len(nights)} recordings; accepted is "
            "one array of stages per recording, in their order."
        )
    names = [_name_of(night, i) for i, night in enumerate(nights)]
    rows = [describe(*columns) for columns in zip(nights, stages, names, strict=True)]
    ids = [getattr(night, "id", None) for night in nights]
    ids = [i if night_id is None else night_id for i, night_id in enumerate(ids)]
    return pd.DataFrame(rows, index=pd.Index(ids, name="recording"))


def _is_list_of_nights(nights: Any) -> bool:
    """One night is a recording or an array of stages."""
    if isinstance(nights, Recording):
        return False
    if isinstance(nights, np.ndarray) and nights.ndim == 1 and nights.dtype != object:
        return False
    first: Any = next(iter(nights), None)
    return isinstance(first, Recording) or np.ndim(first) == 1


def _name_of(night: Any, position: int | None = None) -> str:
    return describe_recording(night if isinstance(night, Recording) else None, position)


def usable_lights(lights: Lights | None, n_epochs: int) -> Lights | None:
    """A recording's own lights, None if they leave no epoch between them."""
    first, last = _epochs_in_bed(n_epochs, lights)
    return lights if first < last else None


def warn_of_lights(nights: Iterable[Any]) -> None:
    """Warn once of all nights whose own lights contradict each other."""
    nights = list(nights)
    left_out = [
        f"{_name_of(night, i if len(nights) > 1 else None)} {night.lights}"
        for i, night in enumerate(nights)
        if isinstance(night, Recording)
        and night.lights is not None
        and usable_lights(night.lights, night.n_epochs) is None
    ]
    if left_out:
        warn(
            f"lights off and on of {len(left_out)} nights leave no time between them, so the whole "
            f"recording is taken: {listed(left_out)}. Correct recording.lights, or pass lights=.",
            RecordingWarning,
        )


def seconds_asleep(recording: Recording, stages: ArrayLike | None, n_seconds: int) -> np.ndarray:
    """Whether seconds are scored as sleep between lights off and on; all where none are scored."""
    stages = recording.stages if stages is None else stages
    if stages is None:
        return np.ones(n_seconds, dtype=bool)
    scored = as_stages(stages)
    if len(scored) != recording.n_epochs:
        raise InvalidRecordingError(
            f"there are stages for {len(scored)} epochs of a night of {recording.n_epochs}; "
            "accepted is one for each epoch of 30 s, -1 where it is not known."
        )
    if (scored < 0).all():
        return np.ones(n_seconds, dtype=bool)
    epochs = scored > 0
    first, last = _epochs_in_bed(len(epochs), usable_lights(recording.lights, len(epochs)))
    epochs[:first] = epochs[last:] = False
    asleep = np.repeat(epochs, EPOCH_SECONDS)[:n_seconds]
    return np.pad(asleep, (0, n_seconds - len(asleep)))


def _epochs_in_bed(n_epochs: int, lights: Lights | None) -> tuple[int, int]:
    """First epoch in bed, and the one after the last; not later than the first in contradiction."""
    times = [np.nan if time is None else float(time) for time in lights or (None, None)]
    # the first epoch whose middle is in bed, and the first whose middle no longer is
    edges = [np.clip(np.ceil(time / EPOCH_SECONDS - 0.5), 0, n_epochs) for time in times]
    first, last = (end if np.isnan(e) else e for e, end in zip(edges, (0, n_epochs), strict=True))
    return int(first), int(last)
