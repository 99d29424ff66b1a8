# SPDX-License-Identifier: BSD-3-Clause
"""What a night's oxygen saturation says: its level, the falls of it, and the hypoxic burden."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from ..errors import InvalidRecordingError
from ..signals import Recording
from ..signals.naming import describe_place
from .event_types import checked_events, is_type
from .indices import divide
from .intervals import intervals_of, touching
from .nights import rows_of_nights, seconds_asleep
from .oxygen import desaturations, saturation_per_second

__all__ = ["hypoxic_burden", "oximetry_statistics"]

_BEFORE, _AFTER = 120, 120
_BASELINE_SECONDS = 100


def oximetry_statistics(recordings, *, stages=None) -> pd.Series | pd.DataFrame:
    """Oxygen saturation of a night, during sleep.

    Seconds without a usable saturation (gaps, values below 50 %, slips of the sensor) count
    neither as high nor as low, and all rates are per hour with a usable one. Without stages the
    whole recording is taken for sleep.

    Parameters
    ----------
    recordings : Recording or list of Recording
        With ``spo2`` in %.
    stages : array-like of shape (n_epochs,), or list of these, optional
        Instead of the recordings' own.

    Returns
    -------
    Series, or a DataFrame with a row per night for a list
        - ``valid_hours``: of sleep with a usable saturation; ``valid_pct`` of all sleep.
        - ``mean_spo2``, ``median_spo2``, ``nadir_spo2`` in %.
        - ``t90_min``, ``t90_pct``, ``t88_min``, ``t88_pct``: time below 90 and 88 %, and its share
          of the valid time.
        - ``odi3``, ``odi4``: desaturations of at least 3 and 4 points that touch sleep, per valid
          hour of it; see :func:`desaturations`. ``odi3_recording`` and ``odi4_recording``: all of
          the recording, per valid hour of it.
        - ``hypoxic_burden`` in % min / h, see :func:`hypoxic_burden`; NaN where the recording has
          no respiratory events.

        Everything is NaN, and ``valid_hours`` 0, where no second is usable.

    Raises
    ------
    InvalidRecordingError
        If a recording has no ``spo2``.

    Examples
    --------
    >>> from sleep2vec_sklearn import make_sleep_cohort
    >>> from sleep2vec_sklearn.evaluation import oximetry_statistics
    >>> nights = make_sleep_cohort(2, hours=1, modalities=["spo2"], random_state=1)
    >>> oximetry_statistics(nights).columns[:5].tolist()
    ['valid_hours', 'valid_pct', 'mean_spo2', 'median_spo2', 'nadir_spo2']
    """
    return rows_of_nights(_statistics, recordings, stages)


def hypoxic_burden(recording, *, stages=None) -> float:
    """Area of the falls of saturation that belong to apneas and hypopneas, per hour of sleep.

    The saturation around the ends of all respiratory events of the night is averaged; the window
    of an event reaches from the highest point of that average before its lowest to the highest
    after it. An event's baseline is the highest saturation in the 100 s before its end; its area
    is what lies between baseline and saturation within the window. Where windows overlap, a
    second belongs to the earlier event, so that nothing is counted twice.

    Parameters
    ----------
    recording : Recording
        With ``spo2`` in % and ``events``, of which apneas and hypopneas that touch sleep count.
    stages : array-like of shape (n_epochs,), optional
        Instead of the recording's own; the whole recording is sleep where there are none.

    Returns
    -------
    float
        In % min / h. 0 without respiratory events; NaN where no event has a usable saturation, or
        there is no sleep.

    Raises
    ------
    InvalidRecordingError
        If the recording has no ``spo2`` or no ``events``.

    References
    ----------
    Azarbarzin A, Sands SA, Stone KL, et al. (2019). The hypoxic burden of sleep apnoea predicts
    cardiovascular disease-related mortality. European Heart Journal 40, 1149-1157.

    Examples
    --------
    One fall of 6 points for 30 s in half an hour of sleep: 3 % min, or 6 % min / h.

    >>> import numpy as np
    >>> import pandas as pd
    >>> from sleep2vec_sklearn import Recording
    >>> from sleep2vec_sklearn.evaluation import hypoxic_burden
    >>> spo2 = np.full(1800, 96.0)
    >>> spo2[920:950] = 90
    >>> events = pd.DataFrame({"onset": [900], "duration": [25], "type": ["obstructive_apnea"]})
    >>> night = Recording({"spo2": (spo2, 1)}, events=events, stages=[2] * 60)
    >>> round(hypoxic_burden(night), 2)
    6.0
    """
    place = describe_place(recording)
    if not isinstance(recording, Recording) or recording.events is None:
        raise InvalidRecordingError(
            f"{place} has no events; accepted is a Recording with apneas and hypopneas in "
            "events, an empty table if there were none."
        )
    values = saturation_per_second(recording)
    asleep = seconds_asleep(recording, stages, len(values))
    return _burden(values, _ends(recording, asleep), asleep.sum() / 3600)


def _statistics(recording: Recording, stages, place: str) -> dict[str, float]:
    values = saturation_per_second(recording)
    asleep = seconds_asleep(recording, stages, len(values))
    seen = np.isfinite(values)
    slept = values[asleep & seen]
    hours = len(slept) / 3600
    row = {"valid_hours": hours, "valid_pct": 100 * divide(len(slept), asleep.sum())}
    level = {"mean": np.mean, "median": np.median, "nadir": np.min}
    row |= {f"{k}_spo2": float(of(slept)) if len(slept) else np.nan for k, of in level.items()}
    for limit in (90, 88):
        below = (slept < limit).sum()
        row[f"t{limit}_min"] = below / 60 if len(slept) else np.nan
        row[f"t{limit}_pct"] = 100 * divide(below, len(slept))
    for drop in (3, 4):
        spans = intervals_of(desaturations(values, threshold=drop))
        row[f"odi{drop}"] = divide(touching(spans, asleep).sum(), hours)
        row[f"odi{drop}_recording"] = divide(len(spans), seen.sum() / 3600)
    row["hypoxic_burden"] = np.nan
    if recording.events is not None:
        row["hypoxic_burden"] = _burden(values, _ends(recording, asleep), asleep.sum() / 3600)
    return row


def _ends(recording: Recording, asleep: np.ndarray) -> np.ndarray:
    """Seconds at which apneas and hypopneas that touch sleep end."""
    events = checked_events(recording.events, describe_place(recording))
    spans = intervals_of(events[is_type(events["type"], "apnea", "hypopnea")])
    spans = np.clip(spans, 0, len(asleep))
    return np.sort(spans[touching(spans, asleep), 1])


def _burden(values: np.ndarray, ends: np.ndarray, hours: float) -> float:
    if not hours:
        return np.nan
    if len(ends) == 0:
        return 0.0 if np.isfinite(values).any() else np.nan
    begin, stop = _search_window(values, ends)
    areas, free_from = [], 0
    for end in ends:
        before = values[max(end - _BASELINE_SECONDS, 0) : end]
        window = slice(max(end + begin, free_from, 0), max(end + stop, 0))
        part = values[window]
        if not np.isfinite(before).any() or not np.isfinite(part).any():
            continue
        free_from = window.stop
        areas.append(np.nansum(np.clip(np.nanmax(before) - part, 0, None)) / 60)
    return float(sum(areas) / hours) if areas else np.nan


def _search_window(values: np.ndarray, ends: np.ndarray) -> tuple[int, int]:
    """Seconds from an event's end between which its fall lies, the same for all of a night."""
    padded = np.pad(values, (_BEFORE, _AFTER), constant_values=np.nan)
    around = padded[ends[:, None] + np.arange(_BEFORE + _AFTER)]
    counts = np.isfinite(around).sum(axis=0)
    if not counts.all():
        return 0, _AFTER
    mean = gaussian_filter1d(np.nansum(around, axis=0) / counts, 3, mode="nearest")
    low = _BEFORE + int(np.argmin(mean[_BEFORE : _BEFORE + 60]))
    peaks, _ = find_peaks(mean)
    left, right = peaks[peaks < low], peaks[peaks > low]
    # a plateau, or a rise to the edge, has no peak: its highest point stands for one
    begin = left[-1] if len(left) else low - int(np.argmax(mean[low::-1]))
    stop = right[0] if len(right) else low + int(np.argmax(mean[low:]))
    return int(begin) - _BEFORE, int(stop) + 1 - _BEFORE
