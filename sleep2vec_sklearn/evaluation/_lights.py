# SPDX-License-Identifier: BSD-3-Clause
"""Lights off and on: seconds or clock times, the epochs between them, and warnings without them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, time, timedelta
from itertools import pairwise
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from .._warnings import listed, warn
from ..errors import InvalidRecordingError, RecordingWarning
from ..recordings._night_window import LONGEST_EPOCHS
from ..recordings.modality import EPOCH_SECONDS
from ..recordings.recording import Recording, describe_recording, prefix_errors
from ..recordings.stages import as_stages

_DAY = 86400.0
_LONGEST_CUT = 60.0  # seconds; lights are written down by the minute
_TIME_OF_DAY = re.compile(r"(\d|[01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?")

Lights = tuple[float | None, ...]  # off and on, in seconds from the start


def place_lights(lights: Sequence[Any], start: datetime | None, duration: float) -> Lights:
    """Lights off and on in seconds from the start; times of day on the day that fits.

    Seconds pass as on a clock that is not set forward or back in the night.
    """
    try:
        off, on = lights
    except (TypeError, ValueError):
        raise InvalidRecordingError(
            f"lights={lights!r}; accepted are two times, lights-off and lights-on, of which one "
            "may be None. Pass for example lights=('23:05', '06:30')."
        ) from None
    off, on = _read_light(off, start), _read_light(on, start)
    daily = [isinstance(light, time) for light in (off, on)]
    times = [_on_days(light, (off, on), start, duration) for light in (off, on)]
    if not times[0] or not times[1]:
        return tuple(
            None if not t else _nearest(t, duration) if is_daily else t[0]
            for t, is_daily in zip(times, daily, strict=True)
        )
    # from each time to the next of the other
    pairs = [(a, min(b for b in times[1] if b >= a)) for a in times[0] if times[1][-1] >= a]
    if not any(daily):
        return times[0][0], times[1][0]
    if not all(daily):
        return pairs[-1] if daily[0] else pairs[0]
    # of all days that of which the recording holds most
    return max(pairs, key=lambda pair: min(pair[1], duration) - max(pair[0], 0))


def _on_days(
    light: float | time | None, both: Sequence[Any], start: datetime | None, duration: float
) -> list[float]:
    """Seconds to a light; to a time of day on each day of the recording and of the other light."""
    if not isinstance(light, time) or start is None:
        return [] if light is None or isinstance(light, time) else [light]
    edges = [0.0, duration, *(other for other in both if isinstance(other, float))]
    days = range(int(min(edges) // _DAY) - 1, int(max(edges) // _DAY) + 3)
    dates = [start.date() + timedelta(days=day) for day in days]
    return [seconds_after(start, datetime.combine(date, light)) for date in dates]


def _nearest(times: Sequence[float], duration: float) -> float:
    """One time alone: on the day before the start, where that is nearer to the recording."""
    before, after = next(pair for pair in pairwise(times) if pair[1] >= 0)
    return before if after - duration > -before else after


def _read_light(value: Any, start: datetime | None) -> float | time | None:
    """Seconds from the start, or a time of day."""
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return None
    if isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    read = _read_clock(value)
    if read is None:
        raise InvalidRecordingError(
            f"lights has {value!r}; accepted are seconds from the start, times of day such as "
            "'23:05', datetimes, or None. Pass for example lights=('23:05', '06:30')."
        )
    if start is None:
        raise InvalidRecordingError(
            f"lights has the clock time {str(value)!r}, but the start of the recording is not "
            "known; accepted are then seconds from the start. Give its start, as in "
            "Recording(..., start=datetime(2024, 3, 1, 22, 30)), or pass seconds."
        )
    if isinstance(read, time):
        return read.replace(tzinfo=None)
    if read.tzinfo is not None and start.tzinfo is None:
        raise InvalidRecordingError(
            f"lights has {str(value)!r} with a time zone, which the start of the recording, "
            f"{start}, lacks; accepted are both with one, or the lights without. Remove it."
        )
    return seconds_after(start, read)


def seconds_after(start: datetime, moment: datetime) -> float:
    """Seconds that pass from the start to a moment, which has its zone if it has none.

    Python subtracts times of one zone as the clock shows them, also where it was set in between.
    """
    begin, end = pd.Timestamp(start), pd.Timestamp(moment)
    if begin.tzinfo is not None and end.tzinfo is None:
        # a time that is shown twice is the first of them
        end = end.tz_localize(begin.tzinfo, ambiguous=True, nonexistent="shift_forward")
    return float((end - begin).total_seconds())


def _read_clock(value: Any) -> datetime | time | None:
    if isinstance(value, str):
        match = _TIME_OF_DAY.fullmatch(value.strip())
        if match is not None:
            hour, minute, second = (int(part or 0) for part in match.groups())
            return time(hour, minute, second)
        try:
            return datetime.fromisoformat(value.strip())
        except ValueError:
            return None
    if isinstance(value, np.datetime64):
        value = pd.Timestamp(value).to_pydatetime()
    return value if isinstance(value, datetime | time) else None


def clock_times(start: datetime | None, seconds: np.ndarray) -> pd.DatetimeIndex:
    """Clock times so many seconds after the start; NaT if that is unknown."""
    if start is None:
        return pd.DatetimeIndex(np.full(len(seconds), "NaT", dtype="datetime64[us]"))
    return pd.Timestamp(start) + pd.to_timedelta(seconds, unit="s")


def epochs_in_bed(n_epochs: int, lights: Lights | None) -> tuple[int, int]:
    """First epoch in bed, and the one after the last; not later than the first in contradiction."""
    times = [np.nan if time is None else float(time) for time in lights or (None, None)]
    # the first epoch whose middle is in bed, and the first whose middle no longer is
    edges = [np.clip(np.ceil(time / EPOCH_SECONDS - 0.5), 0, n_epochs) for time in times]
    first, last = (end if np.isnan(e) else e for e, end in zip(edges, (0, n_epochs), strict=True))
    return int(first), int(last)


def usable_lights(lights: Lights | None, n_epochs: int) -> Lights | None:
    """A recording's own lights, None if they leave no epoch between them."""
    first, last = epochs_in_bed(n_epochs, lights)
    return lights if first < last else None


def hours_of_open_window(n_epochs: int, lights: Lights | None) -> float:
    """Hours between lights off and on if they are more than 12 and an end is unknown; else 0."""
    first, last = epochs_in_bed(n_epochs, lights)
    is_open = lights is None or any(pd.isna(light) for light in lights)
    return (last - first) * EPOCH_SECONDS / 3600 if is_open and last - first > LONGEST_EPOCHS else 0


def warn_of_passed(windows: Mapping[str, tuple[Any, datetime | None, int]]) -> None:
    """Warn once of nights, by name, whose passed lights reach out of the recording or are open.

    Each is given with its start and number of epochs; contradictory lights are errors before.
    """
    outside, hours = [], {}
    for name, (lights, start, n_epochs) in windows.items():
        duration = float(n_epochs * EPOCH_SECONDS)
        placed = place_lights(lights, start, duration)
        off, on = (end if t is None else t for t, end in zip(placed, (0.0, duration), strict=True))
        cut = max(-off, 0.0) + max(on - duration, 0.0)
        if cut >= _LONGEST_CUT:
            outside.append(f"{name} {cut / 60:.0f} min")
        length = hours_of_open_window(n_epochs, placed)
        if length:
            hours[name] = length
    if outside:
        warn(
            f"lights off or on of {len(outside)} nights lie outside of the recording: "
            f"{listed(outside)}. These minutes are missing from time in bed and latency; check "
            "that lights= are (off, on), and the start of the recording.",
            RecordingWarning,
        )
    if hours:
        warn_of_hours(hours)


def warn_of_lights(nights: Iterable[Any]) -> None:
    """Warn once of all nights whose own lights contradict each other."""
    nights = list(nights)
    left_out = [
        f"{name_of_night(night, i if len(nights) > 1 else None)} {night.lights}"
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


def warn_of_windows(
    nights: Sequence[Any], stages: Sequence[Any], needs_time_in_bed: bool = False
) -> None:
    """:func:`warn_of_lights`, and once of all nights past 12 h whose window is not known.

    An index per hour of sleep needs none where sleep is scored.
    """
    warn_of_lights(nights)
    hours = {}
    for index, (night, own) in enumerate(zip(nights, stages, strict=True)):
        recording = night if isinstance(night, Recording) else None
        n_epochs = np.size(night) if recording is None else recording.n_epochs
        lights = None if recording is None else usable_lights(recording.lights, n_epochs)
        length = hours_of_open_window(n_epochs, lights)
        name = name_of_night(night, index if len(nights) > 1 else None)
        if length and (needs_time_in_bed or not _has_stages(night if own is None else own, name)):
            hours[name] = length
    if hours and needs_time_in_bed:
        warn_of_hours(hours)
    elif hours:
        warn(
            f"{len(hours)} nights of more than 12 h have neither sleep stages nor lights off and "
            f"on, so all of their hours count as sleep: {_list_hours(hours)}. Pass stages=, or set "
            "lights= of the Recording.",
            RecordingWarning,
        )


def _has_stages(night: Any, name: str) -> bool:
    stages = night.stages if isinstance(night, Recording) else night
    with prefix_errors(name):
        return stages is not None and bool((as_stages(stages) >= 0).any())


def warn_of_hours(hours: Mapping[str, float]) -> None:
    """Warn of nights, by name, whose statistics refer to so many hours, as lights are unknown."""
    warn(
        f"lights off and on of {len(hours)} nights of more than 12 h are not known, so their sleep "
        f"statistics are those of all hours: {_list_hours(hours)}. Pass lights=(off, on), "
        "lights='main' for the main sleep period, or lights='recording' if all hours are meant.",
        RecordingWarning,
    )


def _list_hours(hours: Mapping[str, float]) -> str:
    return listed([f"{name} {length:.1f} h" for name, length in hours.items()])


def name_of_night(night: Any, position: int | None = None) -> str:
    return describe_recording(night if isinstance(night, Recording) else None, position)
