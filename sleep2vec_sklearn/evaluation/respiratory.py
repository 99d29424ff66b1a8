# SPDX-License-Identifier: BSD-3-Clause
"""Respiratory indices, oxygen saturation and hypoxic burden of a night."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from .._arguments import as_numbers, check_number
from ..errors import InvalidRecordingError
from ..recordings._event_names import EventNames
from ..recordings.modality import get_modality
from ..recordings.recording import Recording, describe_recording
from ..recordings.sources import Signal, to_canonical_unit
from ._lights import warn_of_windows
from .agreement import divide
from .events import LeftOut, events_within, intervals_of, touching
from .sleep_statistics import rows_of_nights, seconds_asleep

_DEPTHS = {"3%": 3.0, "4%": 4.0, "scored": 0.0}
_DESATURATION_AFTER = 30
_AROUSAL_AFTER = 5
_SHORTEST_AROUSAL, _SHORTEST_EVENT = 3, 10
_MOST_UNJUDGED = 0.1

_WINDOW_SECONDS = 120
_BASELINE_SECONDS = 100

_LOWEST, _HIGHEST = 50.0, 100.0
_LARGEST_DROP = 10.0
_RECOVERED = 1.0
_SHORTEST, _LONGEST_GAP = 10, 10
_COLUMNS = ("onset", "duration", "nadir_time", "baseline", "nadir", "drop", "area")


def respiratory_statistics(
    recordings: Any, *, hypopnea_rule: str = "3%", stages: Any = None,
    min_duration: float = _SHORTEST_EVENT, event_names: Mapping[str, str | None] | None = None,
) -> pd.Series | pd.DataFrame:  # fmt: skip
    """Apnea-hypopnea index of scored events.

    Apneas and hypopneas that touch sleep and last long enough count. With a rule, a hypopnea also
    needs a desaturation, or an arousal: a desaturation belongs to the last respiratory event that
    began before it, if it begins at most 30 s after that event's end; an arousal belongs to an
    event within which, or at most 5 s after which, it begins.

    Parameters
    ----------
    recordings : Recording or list of Recording
        With ``events``, an empty table if there were none. Names are those of English, German,
        French, Italian, Spanish, Dutch or Portuguese, or usual abbreviations ("OA", "Hyp").
    hypopnea_rule : {"3%", "4%", "scored"}, default="3%"
        - "3%": desaturation of at least 3 points or an arousal (AASM rule 1A).
        - "4%": desaturation of at least 4 points (AASM rule 1B, used by Medicare).
        - "scored": every event scored as a hypopnea.

        Desaturations are detected in ``spo2``; a recording without it may have them among its
        events (type "desaturation"), whose depth counts as 3 points, or as a column ``drop`` says.
        A hypopnea whose type ends with ``_with_arousal`` has an arousal, one whose type ends with
        ``_with_desaturation`` a desaturation of 3 points where none can be detected.
    stages : array-like of shape (n_epochs,), or list of these, optional
        Instead of the recordings' own. Where there are none, the whole recording is sleep. Sleep
        between lights off and on counts; without lights all of it, naps too.
    min_duration : float, default=10
        Seconds.
    event_names : mapping of str to str or None, optional
        Scored names that are not understood, and what they are: "apnea" or "hypopnea", also with
        ``obstructive_``, ``central_`` or ``mixed_`` before it and ``_with_arousal`` after it,
        "arousal", "desaturation", "rera", "limb_movement", "snore", or None for something else.

    Returns
    -------
    Series, or a DataFrame with a row per night for a list
        ``ahi``, ``apnea_index``, ``hypopnea_index``, ``arousal_index`` (of all arousals) per hour
        of sleep; ``apneas``, the ``obstructive_``, ``central_`` and ``mixed_apneas`` of them,
        ``hypopneas``, ``hypopneas_left_out`` by the rule and ``hypopneas_unjudged``;
        ``mean_event_s``; ``sleep_hours``.

        NaN are the indices of a night without sleep; everything that needs events where a name
        that is not understood may stand for one, as it lasts long enough, or where no event within
        the night was scored but marks are there; and ``ahi``, ``hypopnea_index`` and
        ``mean_event_s`` where more than a tenth of apneas and hypopneas are unjudged: hypopneas
        without a usable saturation in half of the time from their begin to 30 s after their end,
        and without an arousal. Up to a tenth, the index is a lower bound. Where more than a tenth
        last 0 s, everything but ``arousal_index`` and ``sleep_hours`` is NaN.

    Raises
    ------
    InvalidRecordingError
        If a recording has no events.

    Warns
    -----
    RecordingWarning
        Once for all nights for each of: names that are not understood, with counts; events outside
        of their night, which do not count; nights with marks only; unjudged hypopneas;
        apneas and hypopneas that last 0 s, or of which more than a tenth lie within another;
        recordings of more than 12 h that are all sleep, as they have neither stages nor lights.

    References
    ----------
    Berry RB, Budhiraja R, Gottlieb DJ, et al. (2012). Rules for scoring respiratory events in
    sleep. Journal of Clinical Sleep Medicine 8, 597-619.

    Examples
    --------
    >>> from sleep2vec_sklearn import make_sleep_cohort
    >>> from sleep2vec_sklearn.evaluation import respiratory_statistics
    >>> nights = make_sleep_cohort(2, hours=2, modalities=["spo2"], random_state=0)
    >>> respiratory_statistics(nights, hypopnea_rule="scored").columns[:3].tolist()
    ['ahi', 'apnea_index', 'hypopnea_index']
    """
    min_duration = check_number("min_duration", min_duration)
    if not isinstance(hypopnea_rule, str) or hypopnea_rule not in _DEPTHS:
        listed = ", ".join(map(repr, _DEPTHS))
        raise ValueError(f"hypopnea_rule must be one of {listed}; got {hypopnea_rule!r}.")
    names, left_out = EventNames(event_names), LeftOut()
    describe = partial(
        _respiration_of_night, rule=hypopnea_rule, min_duration=min_duration, names=names,
        left_out=left_out,
    )  # fmt: skip
    rows = rows_of_nights(describe, recordings, stages)
    left_out.warn()
    return rows


def _respiration_of_night(
    recording: Recording, stages: ArrayLike | None, name: str, rule: str, min_duration: float,
    names: EventNames, left_out: LeftOut,
) -> dict[str, float]:  # fmt: skip
    if recording.events is None:
        raise InvalidRecordingError(
            f"{name} has no events; accepted is a table of onset, duration and type, an empty one "
            "if nothing was scored. Leave nights that nobody scored out."
        )
    events, is_scored = events_within(recording, names, left_out, name)
    asleep = seconds_asleep(recording, stages, int(recording.duration))
    hours = float(asleep.sum() / 3600)
    touches_sleep = _touch_sleep(events, asleep)
    types, duration = events["type"], events["duration"].to_numpy()
    counted = touches_sleep & (duration >= min_duration)
    respiratory = touches_sleep & names.are(types, "apnea", "hypopnea")
    unmeasured = min_duration > 0 and _find_unmeasured(events[respiratory], name, left_out)
    apnea, scored = (counted & names.are(types, t) for t in ("apnea", "hypopnea"))
    scored &= ~apnea  # "apnea/hypopnea"
    hypopnea, unjudged = scored, np.zeros_like(scored)
    if scored.any() and rule != "scored":
        confirmed, judged = _confirm(recording, events, apnea | scored, rule, names)
        hypopnea, unjudged = scored & confirmed, scored & ~confirmed & ~judged
    left_out.add("unjudged", name, unjudged.sum())
    left_out.add("twice", name, _count_repeated(events[apnea | scored]))
    arousals = names.are(types, "arousal") & touches_sleep
    row = _count(events, apnea, hypopnea, names, hours)
    row["hypopneas_left_out"] = float((scored & ~hypopnea & ~unjudged).sum())
    row["hypopneas_unjudged"] = float(unjudged.sum())
    if unjudged.sum() > _MOST_UNJUDGED * (apnea | hypopnea | unjudged).sum():
        row |= dict.fromkeys(("ahi", "hypopnea_index", "mean_event_s"), np.nan)
    unknown = names.unknown(types) & touches_sleep & (duration > 0)
    if not is_scored or unmeasured or (unknown & (duration >= min_duration)).any():
        row = dict.fromkeys(row, np.nan)
    long_enough = duration >= (_SHORTEST_AROUSAL if arousals.any() else 0)
    known = is_scored and not (unknown & long_enough).any()
    row["arousal_index"] = divide(arousals.sum(), hours) if known else np.nan
    return row | {"sleep_hours": hours}


def _touch_sleep(events: pd.DataFrame, asleep: np.ndarray) -> np.ndarray:
    """Which events touch sleep; one that lasts 0 s is in the second of its onset."""
    spans = intervals_of(events)
    spans[:, 1] = np.maximum(spans[:, 1], spans[:, 0] + 1)
    return touching(np.clip(spans, 0, len(asleep)), asleep)


def _find_unmeasured(respiratory: pd.DataFrame, name: str, left_out: LeftOut) -> bool:
    """Whether more than a tenth of apneas and hypopneas have no length; they are counted."""
    n_instant = int((respiratory["duration"] == 0).sum())
    left_out.add("instant", name, n_instant)
    return n_instant > _MOST_UNJUDGED * len(respiratory)


def _count_repeated(respiratory: pd.DataFrame) -> int:
    """Events of which most lies within one before, if they are more than a tenth of all."""
    onset, length = respiratory["onset"].to_numpy(), respiratory["duration"].to_numpy()
    reached = np.maximum.accumulate(onset + length)[:-1]
    n_repeated = int((2 * (reached - onset[1:]) > length[1:]).sum())
    return n_repeated if n_repeated > _MOST_UNJUDGED * len(onset) else 0


def _count(
    events: pd.DataFrame, apnea: np.ndarray, hypopnea: np.ndarray, names: EventNames, hours: float
) -> dict[str, float]:
    """Indices, counts and the mean duration of the apneas and hypopneas of a night."""
    either, types = apnea | hypopnea, events["type"]
    counts = {"ahi": either, "apnea_index": apnea, "hypopnea_index": hypopnea}
    row = {name: divide(mask.sum(), hours) for name, mask in counts.items()}
    row |= {"arousal_index": np.nan, "apneas": float(apnea.sum())}
    for kind in ("obstructive", "central", "mixed"):
        row[f"{kind}_apneas"] = float((apnea & names.are(types, f"{kind}_apnea")).sum())
    row["hypopneas"] = float(hypopnea.sum())
    row["mean_event_s"] = divide(events["duration"][either].sum(), either.sum())
    return row


def _confirm(
    recording: Recording, events: pd.DataFrame, respiratory: np.ndarray, rule: str,
    names: EventNames,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Whether events have the desaturation or arousal of a rule, and whether one could be seen."""
    types, onset = events["type"], events["onset"].to_numpy()
    drops, judged = _desaturation_onsets(recording, events, _DEPTHS[rule], names)
    end = onset + events["duration"].to_numpy()
    rows = np.flatnonzero(respiratory)
    confirmed = np.zeros(len(events), dtype=bool)
    last = np.searchsorted(onset[rows], drops, side="right") - 1
    before = rows[last[last >= 0]]
    near = drops[last >= 0] <= end[before] + _DESATURATION_AFTER
    confirmed[before[near]] = True
    if rule == "3%":
        confirmed |= names.come_with(types, "arousal")
        confirmed |= names.come_with(types, "desaturation") & ~judged
        arousals = onset[names.are(types, "arousal")]
        first = np.searchsorted(arousals, onset)
        confirmed |= first < np.searchsorted(arousals, end + _AROUSAL_AFTER, side="right")
    return confirmed, judged


def _desaturation_onsets(
    recording: Recording, events: pd.DataFrame, depth: float, names: EventNames
) -> tuple[np.ndarray, np.ndarray]:
    """Onsets of desaturations, and around which events one would have been seen."""
    spo2 = saturation_per_second(recording) if "spo2" in recording else np.zeros(0)
    if np.isfinite(spo2).any():
        seen = np.concatenate([[0], np.cumsum(np.isfinite(spo2))])
        spans = intervals_of(events) + np.array([0, _DESATURATION_AFTER])
        first, stop = np.clip(spans, 0, len(spo2)).T
        judged = seen[stop] - seen[first] >= (stop - first) / 2
        return desaturations(spo2, threshold=depth)["onset"].to_numpy(), judged & (stop > first)
    scored = events[names.are(events["type"], "desaturation")]
    judged = np.full(len(events), len(scored) > 0 and (depth <= 3 or "drop" in scored))
    if "drop" in scored:
        scored = scored[scored["drop"] >= depth]
    return scored["onset"].to_numpy() if judged.any() else np.zeros(0), judged


def oximetry_statistics(
    recordings: Any, *, stages: Any = None, event_names: Mapping[str, str | None] | None = None
) -> pd.Series | pd.DataFrame:
    """Oxygen saturation of a night, during sleep.

    Seconds without a usable saturation (gaps, values below 50 %, slips of the sensor) count
    neither as high nor as low, and all rates are per hour with a usable one.

    Parameters
    ----------
    recordings : Recording or list of Recording
        With ``spo2``.
    stages, event_names
        See :func:`respiratory_statistics`.

    Returns
    -------
    Series, or a DataFrame with a row per night for a list
        - ``valid_hours``: of sleep with a usable saturation; ``valid_pct`` of all sleep.
        - ``mean_spo2``, ``median_spo2``, ``nadir_spo2`` in %.
        - ``t90_min``, ``t90_pct``, ``t88_min``, ``t88_pct``: time below 90 and 88 %, in minutes
          and in % of the valid time.
        - ``odi3``, ``odi4``: desaturations of at least 3 and 4 points that touch sleep, per valid
          hour of it; see :func:`desaturations`. ``odi3_recording`` and ``odi4_recording``: all of
          the recording, per valid hour of it.
        - ``hypoxic_burden`` in % min / h, see :func:`hypoxic_burden`; NaN where the recording has
          no events.

        Everything is NaN, and ``valid_hours`` 0, where no second is usable.

    Raises
    ------
    InvalidRecordingError
        If a recording has no ``spo2``.

    Warns
    -----
    RecordingWarning
        As :func:`respiratory_statistics`.

    Examples
    --------
    >>> from sleep2vec_sklearn import make_sleep_cohort
    >>> from sleep2vec_sklearn.evaluation import oximetry_statistics
    >>> nights = make_sleep_cohort(2, hours=1, modalities=["spo2"], random_state=1)
    >>> oximetry_statistics(nights).columns[:4].tolist()
    ['valid_hours', 'valid_pct', 'mean_spo2', 'median_spo2']
    """
    names, left_out = EventNames(event_names), LeftOut()
    describe = partial(_oximetry_of_night, names=names, left_out=left_out)
    rows = rows_of_nights(describe, recordings, stages)
    # only the burden needs events, and it is NaN in nights that nobody scored
    left_out.nights.pop("marks", None)
    left_out.warn()
    return rows


def _oximetry_of_night(
    recording: Recording, stages: ArrayLike | None, name: str, names: EventNames, left_out: LeftOut
) -> dict[str, float]:
    values = saturation_per_second(recording)
    asleep = seconds_asleep(recording, stages, len(values))
    valid = np.isfinite(values)
    slept = values[asleep & valid]
    hours = len(slept) / 3600
    row = {"valid_hours": hours, "valid_pct": 100 * divide(len(slept), asleep.sum())}
    for kind, statistic in (("mean", np.mean), ("median", np.median), ("nadir", np.min)):
        row[f"{kind}_spo2"] = float(statistic(slept)) if len(slept) else np.nan
    for limit in (90, 88):
        n_below = (slept < limit).sum()
        row[f"t{limit}_min"] = n_below / 60 if len(slept) else np.nan
        row[f"t{limit}_pct"] = 100 * divide(n_below, len(slept))
    for drop in (3, 4):
        spans = intervals_of(desaturations(values, threshold=drop))
        row[f"odi{drop}"] = divide(touching(spans, asleep).sum(), hours)
        row[f"odi{drop}_recording"] = divide(len(spans), valid.sum() / 3600)
    row["hypoxic_burden"] = np.nan
    if recording.events is not None:
        row["hypoxic_burden"] = _burden(recording, values, asleep, name, names, left_out)
    return row


def hypoxic_burden(
    recording: Recording, *, stages: ArrayLike | None = None,
    event_names: Mapping[str, str | None] | None = None,
) -> float:  # fmt: skip
    """Area of desaturations that belong to apneas and hypopneas, per hour of sleep.

    The saturation around the ends of all respiratory events of the night is averaged; the window
    of an event reaches from the highest point of that average before its lowest to the highest
    after it. An event's baseline is the highest saturation in the 100 s before its end; its area
    is what lies between baseline and saturation within the window. Where windows overlap, a
    second belongs to the earlier event, so that nothing is counted twice.

    Parameters
    ----------
    recording : Recording
        With ``spo2`` and ``events``, of which apneas and hypopneas that touch sleep count.
    stages : array-like of shape (n_epochs,), optional
    event_names : mapping of str to str or None, optional
        See :func:`respiratory_statistics`.

    Returns
    -------
    float
        In % min / h. 0 without respiratory events; NaN where more than a tenth of the events have
        no usable saturation, there is no sleep, or events of 10 s or more have names that are not
        understood.

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
    One desaturation of 6 points for 30 s in half an hour of sleep: 3 % min, or 6 % min / h.

    >>> import numpy as np
    >>> import pandas as pd
    >>> from sleep2vec_sklearn import Recording
    >>> from sleep2vec_sklearn.evaluation import hypoxic_burden
    >>> spo2 = np.repeat([96.0, 90.0, 96.0], [920, 30, 850])
    >>> events = pd.DataFrame({"onset": [900], "duration": [25], "type": ["obstructive_apnea"]})
    >>> night = Recording({"spo2": (spo2, 1)}, events=events, stages=[2] * 60)
    >>> round(hypoxic_burden(night), 2)
    6.0
    """
    if not isinstance(recording, Recording) or recording.events is None:
        raise InvalidRecordingError(
            f"{describe_recording(recording)} has no events; accepted is a Recording with apneas "
            "and hypopneas in events, an empty table if there were none."
        )
    warn_of_windows([recording], [stages])
    values, left_out = saturation_per_second(recording), LeftOut()
    asleep, location = seconds_asleep(recording, stages, len(values)), describe_recording(recording)
    burden = _burden(recording, values, asleep, location, EventNames(event_names), left_out)
    left_out.warn()
    return burden


def _burden(
    recording: Recording, values: np.ndarray, asleep: np.ndarray, location: str,
    names: EventNames, left_out: LeftOut,
) -> float:  # fmt: skip
    events, is_scored = events_within(recording, names, left_out, location)
    spans = np.clip(intervals_of(events), 0, len(asleep))
    slept, types = _touch_sleep(events, asleep), events["type"]
    unknown = names.unknown(types) & slept & (events["duration"] >= _SHORTEST_EVENT)
    respiratory = names.are(types, "apnea", "hypopnea") & slept
    unmeasured = _find_unmeasured(events[respiratory], location, left_out)
    ends = np.sort(spans[respiratory, 1])
    if not (asleep.any() and is_scored) or unmeasured or unknown.any():
        return np.nan
    if len(ends) == 0:
        return 0.0 if np.isfinite(values).any() else np.nan
    begin, stop = _search_window(values, ends)
    areas, counted_until = [], 0
    for end in ends:
        before = values[max(end - _BASELINE_SECONDS, 0) : end]
        window = slice(max(end + begin, counted_until, 0), max(end + stop, 0))
        during = values[window]
        if not np.isfinite(before).any() or not np.isfinite(during).any():
            continue
        counted_until = window.stop
        areas.append(np.nansum(np.clip(np.nanmax(before) - during, 0, None)) / 60)
    if len(ends) - len(areas) > _MOST_UNJUDGED * len(ends):
        return np.nan
    return float(sum(areas) / (asleep.sum() / 3600))


def _search_window(values: np.ndarray, ends: np.ndarray) -> tuple[int, int]:
    """Begin and stop of the night's desaturations, in seconds from an event's end."""
    padded = np.pad(values, _WINDOW_SECONDS, constant_values=np.nan)
    around = padded[ends[:, None] + np.arange(2 * _WINDOW_SECONDS)]
    counts = np.isfinite(around).sum(axis=0)
    if not counts.all():
        return 0, _WINDOW_SECONDS
    mean = gaussian_filter1d(np.nansum(around, axis=0) / counts, 3, mode="nearest")
    low = _WINDOW_SECONDS + int(np.argmin(mean[_WINDOW_SECONDS : _WINDOW_SECONDS + 60]))
    peaks, _ = find_peaks(mean)
    left, right = peaks[peaks < low], peaks[peaks > low]
    # a plateau, or a rise to the edge, has no peak: its highest point stands for one
    begin = left[-1] if len(left) else low - int(np.argmax(mean[low::-1]))
    stop = right[0] if len(right) else low + int(np.argmax(mean[low:]))
    return int(begin) - _WINDOW_SECONDS, int(stop) + 1 - _WINDOW_SECONDS


def saturation_per_second(recording: Recording | Signal | ArrayLike) -> np.ndarray:
    """Oxygen saturation at 1 Hz without artefacts.

    Parameters
    ----------
    recording : Recording, Signal or array-like of shape (n_seconds,)
        A recording with ``spo2``; a signal in % or, as its unit says, as a fraction; or values in
        % at 1 Hz.

    Returns
    -------
    ndarray of shape (n_seconds,)
        Median of each second; NaN in gaps, and where a sensor is off or slips: below 50 %, above
        100 %, or more than 10 points below what it was within 3 s before and after.

    Raises
    ------
    InvalidRecordingError
        If a recording has no ``spo2``, or the values are not in the unit that is stated.

    Examples
    --------
    >>> import numpy as np
    >>> from sleep2vec_sklearn import Recording
    >>> from sleep2vec_sklearn.evaluation import saturation_per_second
    >>> spo2 = np.tile([96.0, 95.0, 0.0, 96.0], 10)  # the sensor is off in the third second
    >>> saturation_per_second(Recording({"spo2": (spo2, 1.0)}))[:4]
    array([96., 95., nan, 96.])
    """
    values = _values_at_one_hertz(recording)
    with np.errstate(invalid="ignore"):
        values = np.where((values >= _LOWEST) & (values <= _HIGHEST), values, np.nan)
    return np.where(_has_slipped(values), np.nan, values)


def _values_at_one_hertz(recording: Any) -> np.ndarray:
    name, signal = "the signal", recording
    if isinstance(recording, Recording):
        name = describe_recording(recording)
        if "spo2" not in recording:
            raise InvalidRecordingError(
                f"{name} has no 'spo2', but {', '.join(recording.modalities)}; oxygen saturation "
                "is needed. Leave it out, or give the saturation as an array at 1 Hz."
            )
        signal = recording.signal("spo2")
    rate, unit = (signal.rate, signal.unit) if isinstance(signal, Signal) else (1.0, "%")
    values = signal.values if isinstance(signal, Signal) else signal
    values = as_numbers("saturation", values, error=InvalidRecordingError)
    known = values[np.isfinite(values)]
    as_fraction = len(known) > 0 and 0 < (known.max() if unit == "%" else np.median(known)) <= 1.5
    if len(known) and as_fraction == (unit == "%") and known.any():
        factor, other = ("100", "fraction") if as_fraction else ("0.01", "%")
        raise InvalidRecordingError(
            f"{name}: saturation is at most {known.max():g}, as if it were in {other}, and stated "
            f"in {unit}. Multiply it by {factor}, or state units={{'spo2': {other!r}}}."
        )
    if unit != "%":
        # in single precision, which rounds 0.57 to 57 and not to 56.99999999999999
        values = to_canonical_unit(values, rate, unit, get_modality("spo2"))[0].astype(float)
    if rate == 1:
        return values
    n_seconds = int(len(values) / rate + 1e-6)
    if rate < 1:
        return values[np.minimum((np.arange(n_seconds) * rate).astype(int), len(values) - 1)]
    seconds = (np.arange(len(values)) / rate + 1e-9).astype(int)
    return pd.Series(values).groupby(seconds).median().to_numpy()[:n_seconds]


def _has_slipped(values: np.ndarray) -> np.ndarray:
    """Seconds far below both sides: blood does not lose and regain oxygen that fast."""
    series = pd.Series(values)
    before = series.rolling(3, min_periods=1).max().shift(1)
    after = series[::-1].rolling(3, min_periods=1).max().shift(1)[::-1]
    with np.errstate(invalid="ignore"):
        return (np.minimum(before, after) - values > _LARGEST_DROP).to_numpy()


def desaturations(
    recording: Recording | Signal | ArrayLike, *, threshold: float = 3.0, max_seconds: int = 120
) -> pd.DataFrame:
    """Desaturations of a night.

    The baseline is the highest saturation since the last desaturation ended, and of the last
    ``max_seconds`` at most, so that it follows a slow drift. A desaturation is a drop of at least
    ``threshold`` points from it, and lasts while the saturation is more than one point below it.
    It also ends where the saturation has risen by ``threshold`` points from its nadir, so that a
    drop before full recovery counts as the next one. Those that last less than 10 s, or longer
    than ``max_seconds``, do not count; nor does one whose signal has a gap of more than 10 s.

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
    >>> spo2 = np.repeat([96.0, 94.5, 91.0, 96.0], [100, 3, 37, 160])
    >>> desaturations(spo2)[["onset", "duration", "baseline", "nadir", "drop"]]
       onset  duration  baseline  nadir  drop
    0  100.0      40.0      96.0   91.0   5.0
    """
    threshold = check_number("threshold", threshold)
    max_seconds = check_number("max_seconds", max_seconds, 1, 86_400)
    if not threshold > _RECOVERED:
        raise ValueError(f"threshold must be above {_RECOVERED:g} point, got {threshold!r}.")
    values = saturation_per_second(recording)
    spans = _find_desaturations(values, float(threshold), int(max_seconds))
    rows = [_describe_desaturation(values, *span) for span in spans]
    return pd.DataFrame(rows, columns=list(_COLUMNS), dtype=float)


def _find_desaturations(
    values: np.ndarray, threshold: float, max_seconds: int
) -> list[tuple[int, int, float]]:
    """First second, the one after the last, and the baseline of each."""
    spans = []
    # ``near``: last second at which the saturation was near the baseline
    baseline, baseline_at, near, nadir, seen_at = np.nan, 0, 0, np.inf, 0
    dropping = False
    for t, value in enumerate(values.tolist()):
        if value != value:  # a gap
            continue
        if t - seen_at > _LONGEST_GAP:
            dropping, baseline = False, np.nan
        seen_at = t
        if dropping:
            nadir = min(nadir, value)
            ends = value >= baseline - _RECOVERED or value >= nadir + threshold
            if ends and _SHORTEST <= t - near - 1 <= max_seconds:
                spans.append((near + 1, t, baseline))
            if ends or t - near > max_seconds:
                dropping, baseline, baseline_at, near = False, value, t, t
            continue
        if not value < baseline:
            baseline, baseline_at = value, t
        elif t - baseline_at > max_seconds:
            first = t - max_seconds
            recent = values[first : t + 1]
            baseline_at = t - int(np.nanargmax(recent[::-1]))
            baseline = values[baseline_at]
            near = first + int(np.flatnonzero(recent >= baseline - _RECOVERED)[-1])
        if value >= baseline - _RECOVERED:
            near = t
        if baseline - value >= threshold:
            dropping, nadir = True, value
    return spans


def _describe_desaturation(
    values: np.ndarray, begin: int, end: int, baseline: float
) -> tuple[float, ...]:
    part = values[begin:end]
    at_nadir = int(np.nanargmin(part))
    nadir = part[at_nadir]
    known = part[np.isfinite(part)]
    area = np.clip(baseline - known, 0, None).sum() / 60
    return (begin, end - begin, begin + at_nadir, baseline, nadir, baseline - nadir, area)
