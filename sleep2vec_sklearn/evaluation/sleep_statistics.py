# SPDX-License-Identifier: BSD-3-Clause
"""Sleep statistics of a night, in a window, and the sleep periods of a recording."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.ndimage import uniform_filter1d

from .._arguments import check_number, shown
from ..errors import InvalidRecordingError
from ..recordings.modality import EPOCH_SECONDS
from ..recordings.recording import Recording, prefix_errors
from ..recordings.sources import check_start
from ..recordings.stages import SleepStage, as_stages
from ._lights import (
    clock_times,
    epochs_in_bed,
    name_of_night,
    place_lights,
    usable_lights,
    warn_of_passed,
    warn_of_windows,
)

_MINUTES = EPOCH_SECONDS / 60
_ASLEEP = (SleepStage.N1, SleepStage.N2, SleepStage.N3, SleepStage.R)
# the ten minutes around an epoch, with it in the middle
_SURROUNDINGS = 21
_NEED_LIGHTS = ("tib_min", "sleep_efficiency_pct", "sol_min", "terminal_wake_min")


def sleep_statistics(
    recordings: Any, *, stages: Any = None, lights: Sequence[Any] | str | None = None
) -> pd.Series | pd.DataFrame:
    """Sleep statistics of a night, in the terms of the AASM manual.

    An epoch counts if its middle lies between lights off and lights on; all times are whole
    epochs of 30 s, so that ``tib_min == sol_min + tst_min + waso_min + unscored_min`` where every
    unscored epoch follows sleep onset. Sleep onset is the first epoch scored as any sleep stage; if
    that lies before lights off, the latency is 0.

    Parameters
    ----------
    recordings : Recording, array-like of shape (n_epochs,), or list of these
        A night with its stages, or stages alone (see :class:`~sleep2vec_sklearn.SleepStage`).
    stages : array-like of shape (n_epochs,), or list of these, optional
        Stages to use instead of the recordings' own, such as predicted ones.
    lights : (off, on), "main" or "recording", optional
        The window of all nights that the statistics refer to.

        - (off, on): lights-off and lights-on in seconds from the start; or clock times, such as
          ``("23:05", "06:30")``, datetimes or ISO 8601, where the start of the recording is
          known. None is its start or end. A time of day is laid on the day on which it falls within
          the recording. Seconds are those that pass, also where a clock with a time zone is set
          forward or back.
        - "main": the main sleep period, as :func:`sleep_periods` finds it. What needs the lights
          is NaN: ``tib_min``, ``sleep_efficiency_pct``, ``sol_min`` and ``terminal_wake_min``.
        - "recording": all of it, whatever its lights.

        By default those of the recording; an unknown one is its start or end. A recording's own
        that contradict each other, such as lights on before lights off, are left out, with a
        warning. If that window is longer than 12 h and one of its ends unknown, as in a recording
        of a day and a night, the statistics still refer to all of it, naps and the day's wake too,
        with a warning.

    Returns
    -------
    Series, or a DataFrame with a row per night for a list
        The index of the DataFrame holds the recordings' ids, else their positions.

        - ``lights_off_min``, ``lights_on_min``: in minutes from the start of the recording, NaN
          where they are not known; ``window_start_min``, ``window_end_min``: begin and end of the
          window.
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
        - ``awakenings``: changes from sleep to W within the window; ``stage_shifts``: changes of
          stage between neighbouring scored epochs of the sleep period. Both also ``_per_hour`` of
          sleep.
        - ``sleep_bouts``: runs of epochs of any sleep stage, and their ``mean_`` and
          ``longest_sleep_bout_min``. An unscored epoch ends a bout.
        - ``unscored_epochs``, ``unscored_min`` and ``scored_pct``: of the time in bed.

        Undefined values are NaN: without sleep, latencies and all that depends on sleep onset;
        without R, REM latency; without a scored epoch, everything but the window and the lights;
        with ``lights="main"`` and no sleep period, everything.

    Raises
    ------
    InvalidRecordingError
        If a night has no stages; if in ``lights`` lights-on does not follow lights-off, or no epoch
        lies between them; if they are clock times and the start of a recording is unknown.

    Warns
    -----
    RecordingWarning
        Once for all nights whose own lights are left out, once for all whose lights as passed
        reach a minute or more out of the recording, and once for all windows of more than 12 h of
        which an end is not known.

    See Also
    --------
    sleep_periods : The main sleep period and naps of a recording.

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
    windows: dict[str, tuple[Any, datetime | None, int]] = {}
    describe = partial(_statistics_of_night, lights=lights, windows=windows)
    rows = rows_of_nights(describe, recordings, stages, own_lights=lights is None, of_stages=True)
    warn_of_passed(windows)
    return rows


def sleep_periods(
    night: Any, *, stages: ArrayLike | None = None, start: datetime | None = None,
    min_gap: float = 60.0,
) -> pd.DataFrame:  # fmt: skip
    """The sleep periods of a recording: the main one, and naps.

    Consolidated sleep that is less than ``min_gap`` minutes apart is one period; the one with the
    longest total sleep time is the main one. More than half of the ten minutes around an epoch
    have to be sleep, so that single epochs of N1 in the course of a day join no naps. The period
    then reaches to the first and to the last epoch of any sleep within ten minutes of it, as sleep
    onset of the AASM needs no consolidated sleep. The hour is that of van Hees et
    al. (2018), who join blocks of sleep less than 60 min apart and take the longest; so does the
    analysis window of the encoder.

    Parameters
    ----------
    night : Recording, StagedNight or array-like of shape (n_epochs,)
        A night with its stages, or stages alone. Lights do not count: the whole recording is
        searched.
    stages : array-like of shape (n_epochs,), optional
        Stages to use instead of the recording's own, such as predicted ones.
    start : datetime, optional
        Clock time of the first epoch; by default that of the recording.
    min_gap : float, default=60
        Minutes of wake or unscored epochs from which on two periods are apart.

    Returns
    -------
    DataFrame
        A row per period, in the order of time; none without consolidated sleep.

        - ``onset_s``, ``end_s``: first epoch of sleep, and end of the last one, in seconds from the
          start; ``onset_clock``, ``end_clock``: the same as clock times, NaT without ``start``.
        - ``spt_min``, ``tst_min``, ``waso_min``, ``unscored_min``: length of the period, and sleep,
          W and unscored epochs in it.
        - ``is_main``: whether it is the main period of the recording; the others are naps, or
          other nights of a recording of days.

    Raises
    ------
    InvalidRecordingError
        If there are no stages.
    ValueError
        If ``min_gap`` is no positive number.

    References
    ----------
    van Hees VT, Sabia S, Jones SE, et al. (2018). Estimating sleep parameters using an
    accelerometer without sleep diary. Scientific Reports 8, 12975.

    Examples
    --------
    A nap of 40 minutes, and a night from 23:00.

    >>> from datetime import datetime
    >>> from sleep2vec_sklearn.evaluation import sleep_periods
    >>> day = ["W"] * 240 + ["N2"] * 80 + ["W"] * 880 + ["N2"] * 900 + ["W"] * 60
    >>> periods = sleep_periods(day, start=datetime(2024, 3, 1, 13))
    >>> periods[["onset_clock", "tst_min", "is_main"]]
              onset_clock  tst_min  is_main
    0 2024-03-01 15:00:00     40.0    False
    1 2024-03-01 23:00:00    450.0     True
    """
    min_gap = check_number("min_gap", min_gap, 0, above=True)
    if hasattr(night, "start") and hasattr(night, "stages"):
        start = night.start if start is None else start
        stages = night.stages if stages is None else stages
    start = check_start(start)
    scored = _stages_of(night, stages, name_of_night(night))
    bounds = _find_periods(scored, min_gap)
    spans = [scored[first:last] for first, last in bounds]
    onset, end = (EPOCH_SECONDS * np.array([b[i] for b in bounds], dtype=float) for i in (0, 1))
    asleep = np.array([np.isin(span, _ASLEEP).sum() for span in spans], dtype=int)
    table = {
        "onset_s": onset, "end_s": end,
        "onset_clock": clock_times(start, onset), "end_clock": clock_times(start, end),
        "spt_min": (end - onset) / 60, "tst_min": asleep * _MINUTES,
        "waso_min": np.array([(span == SleepStage.W).sum() * _MINUTES for span in spans], float),
        "unscored_min": np.array([(span < 0).sum() * _MINUTES for span in spans], float),
        "is_main": np.arange(len(spans)) == (asleep.argmax() if len(spans) else -1),
    }  # fmt: skip
    return pd.DataFrame(table)


def hours_of_sleep(recording: Recording, stages: ArrayLike | None = None) -> float:
    """Hours scored as sleep between lights off and on; those of the night where none are scored.

    Parameters
    ----------
    recording : Recording
    stages : array-like of shape (n_epochs,), optional
        Instead of the recording's own.

    Warns
    -----
    RecordingWarning
        If its own lights contradict each other, or all of more than 12 h counts as sleep, because
        neither stages nor lights are known.

    Examples
    --------
    >>> from sleep2vec_sklearn import Recording
    >>> from sleep2vec_sklearn.evaluation import hours_of_sleep
    >>> hours_of_sleep(Recording({"spo2": ([95.0] * 3600, 1)}, stages=[0] * 60 + [2] * 60))
    0.5
    """
    if not isinstance(recording, Recording):
        raise InvalidRecordingError(
            f"recording is {shown(recording)}; accepted is one Recording. Of stages alone, count "
            "those of sleep: np.isin(stages, [1, 2, 3, 4]).sum() / 120."
        )
    warn_of_windows([recording], [stages])
    asleep = seconds_asleep(recording, stages, recording.n_epochs * EPOCH_SECONDS)
    return float(asleep.sum() / 3600)


def _statistics_of_night(
    night: Any, stages: ArrayLike | None, name: str, lights: Sequence[Any] | str | None,
    windows: dict[str, tuple[Any, datetime | None, int]],
) -> dict[str, float]:  # fmt: skip
    """Statistics of a night; lights that were passed are added to ``windows``."""
    scored = _stages_of(night, stages, name)
    start = night.start if isinstance(night, Recording) else None
    if lights is not None and not isinstance(lights, str):
        windows[name] = lights, start, len(scored)
    if lights is None and isinstance(night, Recording):
        lights = usable_lights(night.lights, len(scored))
    return statistics_of_stages(scored, name, lights, start)


def _stages_of(night: Any, stages: ArrayLike | None, name: str) -> np.ndarray:
    if stages is None:
        stages = night.stages if isinstance(night, Recording) else night
    if stages is None:
        raise InvalidRecordingError(
            f"{name} has no stages; accepted are scored nights. Pass stages=, for example those "
            "that a classifier predicted."
        )
    with prefix_errors(name):
        return as_stages(stages)


def statistics_of_stages(
    scored: np.ndarray, name: str, lights: Sequence[Any] | str | None, start: datetime | None
) -> dict[str, float]:
    """Statistics of one night in the window that ``lights`` of :func:`sleep_statistics` names."""
    with prefix_errors(name):
        first, last = _find_window(scored, lights, start)
    edges = first * _MINUTES, last * _MINUTES
    known = (None, None) if lights is None or isinstance(lights, str) else tuple(lights)
    row = {
        "lights_off_min": np.nan if pd.isna(known[0]) else edges[0],
        "lights_on_min": np.nan if pd.isna(known[1]) else edges[1],
        "window_start_min": edges[0],
        "window_end_min": edges[1],
    }
    row |= _statistics_in_bed(scored[first:last])
    if isinstance(lights, str) and lights == "main":
        row |= dict.fromkeys(row if first == last else _NEED_LIGHTS, np.nan)
    return row


def _find_window(
    scored: np.ndarray, lights: Sequence[Any] | str | None, start: datetime | None
) -> tuple[int, int]:
    """First epoch of the window, and the one after the last; both 0 without a main period."""
    n_epochs = len(scored)
    if isinstance(lights, str):
        if lights not in ("main", "recording"):
            raise InvalidRecordingError(
                f"lights={lights!r}; accepted are 'main', 'recording', or a pair of lights-off and "
                "lights-on. Pass for example lights=('23:05', '06:30')."
            )
        periods = _find_periods(scored) if lights == "main" else [(0, n_epochs)]
        n_asleep = [np.isin(scored[slice(*bounds)], _ASLEEP).sum() for bounds in periods]
        return periods[int(np.argmax(n_asleep))] if periods else (0, 0)
    if lights is None:
        return 0, n_epochs
    placed = place_lights(lights, start, float(n_epochs * EPOCH_SECONDS))
    first, last = epochs_in_bed(n_epochs, placed)
    if not first < last:
        off, on = placed
        raise InvalidRecordingError(
            f"lights-off is at {_seconds(off)} and lights-on at {_seconds(on)}; accepted is an "
            f"end after the beginning, in seconds from the start of the {n_epochs} epochs. Correct "
            "lights=, or pass lights='recording' for all of it."
        )
    return first, last


def _seconds(light: float | None) -> str:
    return "an unknown time" if light is None else f"{light:g} s"


def _find_periods(scored: np.ndarray, min_gap: float = 60.0) -> list[tuple[int, int]]:
    """First epoch of each sleep period, and the one after its last; gaps are in minutes."""
    asleep = np.isin(scored, _ASLEEP)
    share = uniform_filter1d(asleep.astype(float), _SURROUNDINGS, mode="constant")
    # a share of exactly a half does not exist, as the number of epochs is odd
    sleep = np.flatnonzero(asleep & (share > 0.5))
    parts = np.split(sleep, np.flatnonzero(np.diff(sleep) - 1 >= min_gap / _MINUTES) + 1)
    if not len(sleep):
        return []
    # brief sleep at the edges belongs to the nearest period
    every = np.flatnonzero(asleep)
    steps = np.array([np.maximum(part[0] - every, every - part[-1]) for part in parts])
    nearest = np.where(steps.min(axis=0) < _SURROUNDINGS, steps.argmin(axis=0), -1)
    own = [every[nearest == i] for i in range(len(parts))]
    return [(int(epochs[0]), int(epochs[-1]) + 1) for epochs in own]


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
    own_lights: bool = True, of_stages: bool = False,
) -> pd.Series | pd.DataFrame:  # fmt: skip
    """``describe(night, stages, name)`` as a Series, or as a DataFrame of a list of nights.

    ``of_stages``: what is described are stages, alone or of a recording, and their time in bed.
    """
    is_list = _is_list_of_nights(nights)
    nights = list(nights) if is_list else [nights]
    odd = next((night for night in nights if not isinstance(night, Recording)), None)
    if odd is not None and not of_stages:
        raise InvalidRecordingError(
            f"recordings hold {shown(odd)}; accepted are one Recording and a list of them. Make "
            "one of signals: Recording({'spo2': values}, events=events, stages=stages)."
        )
    if not is_list or stages is None:
        stages = [stages] * len(nights)
    if not isinstance(stages, Sequence | np.ndarray) or isinstance(stages, str):
        raise InvalidRecordingError(
            f"stages is {shown(stages)}; accepted is a list of one array of stages for each night. "
            "Pass stages=[predicted[night.id] for night in nights]."
        )
    stages = list(stages)
    if len(stages) != len(nights):
        raise InvalidRecordingError(
            f"there are {len(stages)} nights of stages for {len(nights)} recordings; accepted is "
            "one array of stages per recording, in their order."
        )
    if own_lights:
        warn_of_windows(nights, stages, needs_time_in_bed=of_stages)
    names = [name_of_night(night, i if is_list else None) for i, night in enumerate(nights)]
    rows = [describe(*columns) for columns in zip(nights, stages, names, strict=True)]
    if not is_list:
        return pd.Series(rows[0])
    ids = [getattr(night, "id", None) for night in nights]
    ids = [i if night_id is None else night_id for i, night_id in enumerate(ids)]
    return pd.DataFrame(rows, index=pd.Index(ids, name="recording"))


def _is_list_of_nights(nights: Any) -> bool:
    """One night is a recording or an array of stages."""
    if isinstance(nights, Recording):
        return False
    if isinstance(nights, np.ndarray) and nights.ndim <= (nights.dtype != object):
        return False
    first: Any = next(iter(nights), None) if isinstance(nights, Iterable) else None
    return isinstance(first, Recording) or np.ndim(first) == 1


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
    first, last = epochs_in_bed(len(epochs), usable_lights(recording.lights, len(epochs)))
    epochs[:first] = epochs[last:] = False
    asleep = np.repeat(epochs, EPOCH_SECONDS)[:n_seconds]
    return np.pad(asleep, (0, n_seconds - len(asleep)))
