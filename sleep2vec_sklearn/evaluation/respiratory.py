# SPDX-License-Identifier: BSD-3-Clause
"""Apneas and hypopneas of a night per hour of sleep, by a stated rule."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from ..errors import InvalidRecordingError
from ..recordings import Recording, Signal
from ..recordings.recording import describe_recording
from .agreement import divide
from .events import checked_events, intervals_of, is_type, touching, with_arousal
from .sleep_statistics import rows_of_nights, seconds_asleep

__all__ = [
    "desaturations",
    "hypoxic_burden",
    "oximetry_statistics",
    "respiratory_statistics",
    "saturation_per_second",
]

_DEPTH = {"3%": 3.0, "4%": 4.0, "scored": None}
_FALL_AFTER = 30
_AROUSAL_AFTER = 5
_KINDS = ("obstructive", "central", "mixed")


def respiratory_statistics(
    recordings, *, hypopnea_rule: str = "3%", stages=None, min_duration: float = 10
) -> pd.Series | pd.DataFrame:
    """Apnea-hypopnea index of scored events.

    Apneas and hypopneas that touch sleep and last long enough count. With a rule, a hypopnea also
    needs a desaturation, or an arousal: a desaturation belongs to the last respiratory event that
    began before it, if it begins at most 30 s after that event's end; an arousal belongs to an
    event within which, or at most 5 s after which, it begins.

    Parameters
    ----------
    recordings : Recording or list of Recording
        With ``events``, an empty table if there were none.
    hypopnea_rule : {"3%", "4%", "scored"}, default="3%"
        - "3%": desaturation of at least 3 points or an arousal (AASM rule 1A).
        - "4%": desaturation of at least 4 points (AASM rule 1B, used by Medicare).
        - "scored": every event scored as a hypopnea.

        Desaturations are found in ``spo2``; a recording without it may have them among its events
        (type "desaturation"), whose depth counts as 3 points, or more if a column ``drop`` says so.
        A hypopnea whose type ends with ``_with_arousal`` has an arousal.
    stages : array-like of shape (n_epochs,), or list of these, optional
        Instead of the recordings' own. Where there are none, the whole recording is sleep.
    min_duration : float, default=10
        Seconds.

    Returns
    -------
    Series, or a DataFrame with a row per night for a list
        ``ahi``, ``apnea_index``, ``hypopnea_index``, ``arousal_index`` (of all arousals) per hour
        of sleep; ``apneas``, the ``obstructive_``, ``central_`` and ``mixed_apneas`` of them,
        ``hypopneas``, ``hypopneas_left_out`` by the rule; ``mean_event_s``; ``sleep_hours``.
        Indices of a night without sleep are NaN.

    Raises
    ------
    InvalidRecordingError
        If a recording has no events, or hypopneas but neither ``spo2`` nor desaturations to judge
        them by.

    References
    ----------
    Berry RB, Budhiraja R, Gottlieb DJ, et al. (2012). Rules for scoring respiratory events in
    sleep. Journal of Clinical Sleep Medicine 8, 597-619.

    Examples
    --------
    >>> from sleep2vec_sklearn import make_sleep_cohort
    >>> from sleep2vec_sklearn.evaluation import respiratory_statistics
    >>> nights = make_sleep_cohort(2, hours=2, modalities=["spo2"], random_state=0)
    >>> rules = ("4%", "3%", "scored")
    >>> ahi = [respiratory_statistics(nights[0], hypopnea_rule=rule)["ahi"] for rule in rules]
    >>> ahi == sorted(ahi)
    True
    """
    if hypopnea_rule not in _DEPTH:
        listed = ", ".join(map(repr, _DEPTH))
        raise ValueError(f"hypopnea_rule must be one of {listed}; got {hypopnea_rule!r}.")

    def describe(recording, given, place):
        return _respiratory_of_night(recording, given, place, hypopnea_rule, min_duration)

    return rows_of_nights(describe, recordings, stages)


def _respiratory_of_night(
    recording: Recording, stages, place: str, rule: str, min_duration: float
) -> dict:
    if recording.events is None:
        raise InvalidRecordingError(
            f"{place} has no events; accepted is a table of onset, duration and type, an empty one "
            "if nothing was found. Leave nights that nobody scored out."
        )
    events = checked_events(recording.events, place).sort_values("onset", kind="stable")
    asleep = seconds_asleep(recording, stages, int(recording.duration))
    hours = float(asleep.sum() / 3600)
    spans = np.clip(intervals_of(events), 0, len(asleep))
    counted = touching(spans, asleep) & (events["duration"].to_numpy() >= min_duration)
    apnea, hypopnea = (counted & is_type(events["type"], name) for name in ("apnea", "hypopnea"))
    kept = hypopnea
    if hypopnea.any() and rule != "scored":
        kept = hypopnea & _confirmed(recording, events, apnea | hypopnea, rule, place)
    arousals = is_type(events["type"], "arousal") & touching(spans, asleep)
    row = {
        "ahi": divide((apnea | kept).sum(), hours),
        "apnea_index": divide(apnea.sum(), hours),
        "hypopnea_index": divide(kept.sum(), hours),
        "arousal_index": divide(arousals.sum(), hours),
        "apneas": float(apnea.sum()),
    }
    for kind in _KINDS:
        row[f"{kind}_apneas"] = float((apnea & is_type(events["type"], kind)).sum())
    row["hypopneas"] = float(kept.sum())
    row["hypopneas_left_out"] = float((hypopnea & ~kept).sum())
    row["mean_event_s"] = divide(events["duration"][apnea | kept].sum(), (apnea | kept).sum())
    row["sleep_hours"] = hours
    return row


def _confirmed(recording, events: pd.DataFrame, breathing, rule: str, place: str) -> np.ndarray:
    """Which respiratory events have the desaturation, or the arousal, that a rule asks for."""
    falls = _fall_onsets(recording, events, _DEPTH[rule], place)
    onset = events["onset"].to_numpy(dtype=float)
    end = onset + events["duration"].to_numpy(dtype=float)
    places = np.flatnonzero(breathing)
    confirmed = np.zeros(len(events), dtype=bool)
    last = np.searchsorted(onset[places], falls, side="right") - 1
    owners = places[last[last >= 0]]
    near = falls[last >= 0] <= end[owners] + _FALL_AFTER
    confirmed[owners[near]] = True
    if rule == "3%":
        confirmed |= with_arousal(events["type"])
        woke = onset[is_type(events["type"], "arousal")]
        first = np.searchsorted(woke, onset)
        confirmed |= first < np.searchsorted(woke, end + _AROUSAL_AFTER, side="right")
    return confirmed


def _fall_onsets(recording, events: pd.DataFrame, depth: float, place: str) -> np.ndarray:
    """Begins of the desaturations that are deep enough, in time order."""
    if "spo2" in recording:
        return desaturations(recording, threshold=depth)["onset"].to_numpy()
    scored = events[is_type(events["type"], "desaturation")]
    if len(scored) == 0 or (depth > 3 and "drop" not in scored):
        raise InvalidRecordingError(
            f"{place} has hypopneas but neither 'spo2' nor scored desaturations of "
            f"{depth:g} points to judge them by. Pass hypopnea_rule='scored' to count all of them."
        )
    if "drop" in scored:
        scored = scored[scored["drop"] >= depth]
    return scored["onset"].to_numpy(dtype=float)


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
    return rows_of_nights(_oximetry_of_night, recordings, stages)


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
    place = describe_recording(recording)
    if not isinstance(recording, Recording) or recording.events is None:
        raise InvalidRecordingError(
            f"{place} has no events; accepted is a Recording with apneas and hypopneas in "
            "events, an empty table if there were none."
        )
    values = saturation_per_second(recording)
    asleep = seconds_asleep(recording, stages, len(values))
    return _burden(values, _ends(recording, asleep), asleep.sum() / 3600)


def _oximetry_of_night(recording: Recording, stages, place: str) -> dict[str, float]:
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
    events = checked_events(recording.events, describe_recording(recording))
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


_LOWEST, _HIGHEST = 50.0, 100.0
_FASTEST_FALL = 10.0
_RECOVERED = 1.0
_SHORTEST, _LONGEST_GAP = 10, 10
_COLUMNS = ("onset", "duration", "nadir_time", "baseline", "nadir", "drop", "area")


def saturation_per_second(recording) -> np.ndarray:
    """Oxygen saturation at 1 Hz without artefacts.

    Parameters
    ----------
    recording : Recording, Signal or array-like of shape (n_seconds,)
        A recording with ``spo2``; a signal; or values at 1 Hz. In %.

    Returns
    -------
    ndarray of shape (n_seconds,)
        Median of each second; NaN in gaps, and where a sensor is off or slips: below 50 %, above
        100 %, or more than 10 points below what it was within 3 s before and after.

    Raises
    ------
    InvalidRecordingError
        If a recording has no ``spo2``, or the values are shares instead of %.

    Examples
    --------
    >>> import numpy as np
    >>> from sleep2vec_sklearn import Recording
    >>> from sleep2vec_sklearn.evaluation import saturation_per_second
    >>> spo2 = np.repeat([96.0, 95.0, 0.0, 96.0], 4)  # four samples a second; the third is off
    >>> saturation_per_second(Recording({"spo2": (np.tile(spo2, 10), 4.0)}))[:4]
    array([96., 95., nan, 96.])
    """
    values = _values_at_one_hertz(recording)
    with np.errstate(invalid="ignore"):
        good = (values >= _LOWEST) & (values <= _HIGHEST)
    values = np.where(good, values, np.nan)
    return np.where(_slipped(values), np.nan, values)


def desaturations(recording, *, threshold: float = 3.0, max_seconds: int = 120) -> pd.DataFrame:
    """Falls of oxygen saturation.

    The baseline is the highest saturation since the last desaturation ended, and of the last
    ``max_seconds`` at most, so that it follows a slow drift. A desaturation is a fall of at least
    ``threshold`` points from it, and lasts while the saturation is more than one point below it.
    It also ends where the saturation has risen by ``threshold`` points from its lowest value, so
    that a fall before full recovery counts as the next one. Those that last less than 10 s, or
    longer than ``max_seconds``, are no desaturations; nor is one whose signal has a gap of more
    than 10 s.

    Parameters
    ----------
    recording : Recording, Signal or array-like of shape (n_seconds,)
        See :func:`saturation_per_second`.
    threshold : float, default=3
        Percentage points.
    max_seconds : int, default=120
        Longest desaturation, and how far back the baseline reaches.

    Returns
    -------
    DataFrame
        Columns ``onset``, ``duration``, ``nadir_time`` in seconds; ``baseline``, ``nadir`` and
        ``drop`` in %; ``area`` below the baseline in % x min.

    Examples
    --------
    >>> import numpy as np
    >>> from sleep2vec_sklearn.evaluation import desaturations
    >>> spo2 = np.full(300, 96.0)
    >>> spo2[100:110] -= np.arange(10) / 2
    >>> spo2[110:140] = 91
    >>> desaturations(spo2)[["onset", "duration", "baseline", "nadir", "drop"]]
       onset  duration  baseline  nadir  drop
    0  103.0      37.0      96.0   91.0   5.0
    """
    if not threshold > _RECOVERED:
        raise ValueError(f"threshold must be above {_RECOVERED:g} point, got {threshold!r}.")
    values = saturation_per_second(recording)
    found = _find_falls(values, float(threshold), int(max_seconds))
    rows = [_describe(values, *bounds) for bounds in found]
    return pd.DataFrame(rows, columns=list(_COLUMNS), dtype=float)


def _values_at_one_hertz(given) -> np.ndarray:
    place = "the signal"
    if isinstance(given, Recording):
        place = describe_recording(given)
        if "spo2" not in given:
            raise InvalidRecordingError(
                f"{place} has no 'spo2', but {', '.join(given.modalities)}; oxygen saturation is "
                "needed. Leave it out, or give the saturation as an array at 1 Hz."
            )
        given = given.signal("spo2")
    rate = given.rate if isinstance(given, Signal) else 1.0
    values = np.asarray(given.values if isinstance(given, Signal) else given, dtype=float)
    if values.ndim != 1:
        raise InvalidRecordingError(f"{place}: saturation must be 1-D, got shape {values.shape}.")
    with np.errstate(invalid="ignore"):
        top = np.nanmax(values, initial=0.0)
    if 0 < top <= 1.5:
        raise InvalidRecordingError(
            f"{place}: saturation is at most {top:g}, as if it were a share; accepted is %. "
            "Multiply it by 100."
        )
    if rate == 1:
        return values
    n_seconds = int(len(values) / rate + 1e-6)
    if rate < 1:
        return values[np.minimum((np.arange(n_seconds) * rate).astype(int), len(values) - 1)]
    seconds = (np.arange(len(values)) / rate + 1e-9).astype(int)
    return pd.Series(values).groupby(seconds).median().to_numpy()[:n_seconds]


def _slipped(values: np.ndarray) -> np.ndarray:
    """Seconds far below both sides: blood does not lose and regain oxygen that fast."""
    around = pd.Series(values)
    before = around.rolling(3, min_periods=1).max().shift(1)
    after = around[::-1].rolling(3, min_periods=1).max().shift(1)[::-1]
    with np.errstate(invalid="ignore"):
        return (np.minimum(before, after) - values > _FASTEST_FALL).to_numpy()


def _find_falls(values: np.ndarray, threshold: float, max_seconds: int) -> list[tuple]:
    """First and one after the last second of each fall, and its baseline."""
    found = []
    top, top_at, near, low, seen_at = np.nan, 0, 0, np.inf, 0
    falling = False
    for t, value in enumerate(values.tolist()):
        if value != value:  # a gap
            continue
        if t - seen_at > _LONGEST_GAP:
            falling, top = False, np.nan
        seen_at = t
        if falling:
            low = min(low, value)
            ends = value >= top - _RECOVERED or value >= low + threshold
            if ends and _SHORTEST <= t - near - 1 <= max_seconds:
                found.append((near + 1, t, top))
            if ends or t - near > max_seconds:
                falling, top, top_at, near = False, value, t, t
            continue
        if not value < top:
            top, top_at = value, t
        elif t - top_at > max_seconds:
            first = t - max_seconds
            recent = values[first : t + 1]
            top_at = t - int(np.nanargmax(recent[::-1]))
            top = values[top_at]
            near = first + int(np.flatnonzero(recent >= top - _RECOVERED)[-1])
        if value >= top - _RECOVERED:
            near = t
        if top - value >= threshold:
            falling, low = True, value
    return found


def _describe(values: np.ndarray, begin: int, end: int, baseline: float) -> tuple[float, ...]:
    part = values[begin:end]
    place = int(np.nanargmin(part))
    seen = part[np.isfinite(part)]
    area = np.clip(baseline - seen, 0, None).sum() / 60
    nadir = part[place]
    return (begin, end - begin, begin + place, baseline, nadir, baseline - nadir, area)
