# SPDX-License-Identifier: BSD-3-Clause
"""Oxygen saturation second by second, and the falls of it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..errors import InvalidRecordingError
from ..signals import Recording, Signal
from ..signals.naming import describe_place

__all__ = ["desaturations", "saturation_per_second"]

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
        place = describe_place(given)
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
