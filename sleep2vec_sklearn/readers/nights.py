# SPDX-License-Identifier: BSD-3-Clause
"""Nights cut from records of days, such as a week of a watch."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, time, timedelta
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .._arguments import check_number, check_option, shown
from .._files import sha256
from .._warnings import listed, warn
from ..errors import InvalidRecordingError, ReadError, RecordingWarning
from ..recordings.cohort import Cohort
from ..recordings.modality import EPOCH_SECONDS
from ..recordings.recording import Recording
from ..recordings.sources import Signal, SignalLayout
from ._boundary import DAY, LONGEST_DAYS
from ._delimited import TimeFormat, check_timezone, seconds_of, utc_offset
from ._labels import cut_events
from ._tables import plain_names, read_table, same_key, with_subjects
from ._wearable_series import find_runs, join_spans

_DIARY_COLUMNS = (
    ("lights_off", "in_bed", "bed_time", "bedtime", "start", "onset"),
    ("lights_on", "out_of_bed", "get_up_time", "out_bed", "end", "offset"),
)
# Roenneberg et al. 2015: rest is below 15 % of the activity of the 24 hours around
_BIN_SECONDS, _REST_SHARE, _LONGEST_BREAK = 600, 0.15, 3600.0


def split_nights(
    recording: Recording, *, by: str = "clock", diary: Any = None,
    window: tuple[str, str] = ("18:00", "12:00"), min_hours: float = 3.0,
    timezone: str | None = None,
) -> Cohort:  # fmt: skip
    """Cut a record of several days into its nights.

    Nights begin on a whole epoch of the record. A night with less than ``min_hours`` of signal in
    every modality, because the device was not worn or recorded nothing, is listed in ``failures``:
    non-wear is a gap, not sleep.

    Parameters
    ----------
    recording : Recording
        With a ``start``, unless ``by="inactivity"``.
    by : {"clock", "diary", "inactivity"}, default="clock"
        The same hours of every day; the times of a diary; or the longest rest of each day, from
        noon to noon: 10-minute means of activity counts below 15 % of the mean of the 24 hours
        around (Roenneberg et al. 2015), breaks of up to an hour included. Rest is not sleep:
        reading in bed counts, and a night of much movement is cut short.
    diary : DataFrame, path-like or sequence of (datetime, datetime), optional
        Local lights off and lights on of each night, in columns ``lights_off`` and ``lights_on``
        (or ``in_bed`` and ``out_of_bed``), and of several subjects a column ``subject``. By default
        the recording's own events of type in_bed, else asleep.
        Nights have them as ``lights``.
    window : (str, str), default=("18:00", "12:00")
        Local begin and end of a night for ``by="clock"``.
    min_hours : float, default=3.0
        Least signal of a night, in the modality that has most.
    timezone : str, optional
        Place of the local clock, for records over the start or end of daylight saving time; that
        of :func:`read_recording` by default.

    Returns
    -------
    Cohort
        A recording per night, with the subject, its part of the stages and events, and ``night``
        (1, 2, ...) in the metadata; ids are the record's with ``-night1`` and so on.

    Raises
    ------
    InvalidRecordingError
        If ``recording`` is a path, a cohort or anything else.
    ReadError
        If there is no start, no actigraphy for ``by="inactivity"``, no diary, or no night.

    Warns
    -----
    RecordingWarning
        If nights are left out.

    Examples
    --------
    >>> from datetime import datetime
    >>> import numpy as np
    >>> from sleep2vec_sklearn import Recording
    >>> from sleep2vec_sklearn.readers import split_nights
    >>> week = Recording(
    ...     {"actigraphy": np.arange(2 * 86_400) % 7}, start=datetime(2024, 5, 1, 12), id="w"
    ... )
    >>> nights = split_nights(week, window=("22:00", "07:00"))
    >>> [(night.id, night.start.isoformat(), night.duration / 3600) for night in nights]
    [('w-night1', '2024-05-01T22:00:00', 9.0), ('w-night2', '2024-05-02T22:00:00', 9.0)]
    """
    check_option("by", by, ("clock", "diary", "inactivity"))
    min_hours = check_number("min_hours", min_hours, 0, 24 * LONGEST_DAYS)
    if not isinstance(recording, Recording):
        raise InvalidRecordingError(
            f"recording is a {type(recording).__name__}; accepted is one Recording of several "
            "days. Pass split_nights(read_recording(path)) for a file, split_nights(cohort[0]) for "
            "a record of a cohort."
        )
    timezone = recording.metadata.get("timezone") if timezone is None else timezone
    check_timezone(timezone)
    local = _LocalClock(recording, timezone)
    if by == "clock":
        spans = local.find_windows(window, max(min_hours * 3600, EPOCH_SECONDS))
    elif by == "diary":
        spans = _read_diary(recording, diary, local)
    else:
        spans = _find_rest(recording, local)
    nights, failures = [], []
    for number, (begin, end) in enumerate(spans, 1):
        first = max(np.floor(begin / EPOCH_SECONDS) * EPOCH_SECONDS, 0.0)
        duration = min(end, recording.duration) - first
        name = f"{recording.id or 'record'}-night{number}"
        if duration < EPOCH_SECONDS:
            failures.append((name, "outside of the record"))
            continue
        night = _cut(recording, first, duration, id=name, start=local.at(first), night=number)
        if by == "diary":
            night.lights = (max(float(begin - first), 0.0), float(min(end - first, duration)))
        hours = max(night.coverage().values()) / 3600
        if hours < min_hours:
            failures.append((name, f"{hours:.1f} h of signal, {min_hours:g} are needed"))
            continue
        nights.append(night)
    if not nights:
        raise ReadError(
            f"recording {recording.id!r} has no night: none of {len(spans)} has {min_hours:g} h of "
            "signal. Check the window or diary and that the device was worn, or lower min_hours."
        )
    if failures:
        warn(
            f"recording {recording.id!r}: {len(failures)} of {len(spans)} nights were left out; "
            f"see cohort.failures. The first, {failures[0][0]}: {failures[0][1]}.",
            RecordingWarning,
        )
    rows = [{"subject": night.subject, **night.metadata} for night in nights]
    index = pd.Index([night.id for night in nights], name="recording")
    return Cohort(nights, pd.DataFrame(rows, index=index), failures)


class _LocalClock:
    """Seconds of a record to the local clock and back, over daylight saving time if known."""

    def __init__(self, recording: Recording, timezone: str | None):
        self.recording, self.timezone = recording, timezone

    @property
    def start(self) -> datetime:
        if self.recording.start is None:
            raise ReadError(
                f"recording {self.recording.id!r} has no start; accepted are recordings with a "
                "local clock. Pass timezone= to read_recording if its times are in UTC, or use "
                "by='inactivity'."
            )
        return self.recording.start

    def elapsed(self, moment: datetime) -> float:
        """Seconds from the start of the record to a local time."""
        return seconds_of(moment, self.timezone) - seconds_of(self.start, self.timezone)

    def at(self, seconds: float) -> datetime | None:
        """Local time of a moment of the record."""
        if self.recording.start is None:
            return None
        moment = seconds_of(self.start, self.timezone) + seconds
        offset = 0.0 if self.timezone is None else utc_offset(moment, self.timezone)
        return datetime(1970, 1, 1) + timedelta(seconds=moment + offset)

    def find_windows(
        self, window: tuple[str, str], min_seconds: float
    ) -> list[tuple[float, float]]:
        """The same hours of each day, of which the record covers at least so much."""
        try:
            begin, end = map(time.fromisoformat, window)
        except (TypeError, ValueError):
            raise ReadError(
                f"window is {window!r}; accepted are two times such as ('22:30', '07:00')."
            ) from None
        spans = []
        for n in range(-1, int(self.recording.duration // DAY) + 2):
            day = self.start.date() + timedelta(days=n)
            until = day + timedelta(days=1) if end <= begin else day
            first = self.elapsed(datetime.combine(day, begin))
            last = self.elapsed(datetime.combine(until, end))
            if min(last, self.recording.duration) - max(first, 0.0) >= min_seconds:
                spans.append((first, last))
        return spans


def _read_diary(recording: Recording, diary: Any, local: _LocalClock) -> list[tuple[float, float]]:
    if diary is None:
        return _read_events(recording)
    if isinstance(diary, str | PathLike):
        diary = read_table(diary)
    if isinstance(diary, pd.DataFrame):
        diary = _own_rows(diary, recording)
        columns = [next((n for n in names if n in diary), None) for names in _DIARY_COLUMNS]
        if None in columns:
            raise ReadError(
                f"the diary has the columns {', '.join(map(str, diary.columns))}; needed are "
                "lights_off and lights_on, with dates. Rename them."
            )
        diary = diary[columns].itertuples(index=False)
    try:
        rows = [tuple(row) for row in diary]
    except TypeError:
        raise ReadError(
            f"diary is {shown(diary)}; accepted are a table, a path of one, and a list of pairs of "
            "lights off and lights on, with dates. Pass [('2024-05-01 23:00', '2024-05-02 07:00')]."
        ) from None
    texts = [moment for row in rows for moment in row if isinstance(moment, str)]
    day_first = bool(texts) and TimeFormat.of(texts, recording.start).day_first
    spans: list[tuple[float, float]] = []
    for row in rows:
        pair = [pd.to_datetime(time, errors="coerce", dayfirst=day_first) for time in row]
        naive = all(not pd.isna(moment) and moment.tzinfo is None for moment in pair)
        off, on = row[0], ", ".join(map(str, row[1:]))
        if not (naive and len(pair) == 2) or not pd.Timedelta(0) < pair[1] - pair[
            0
        ] <= pd.Timedelta(hours=24):
            raise ReadError(
                f"the diary has lights off at {off} and lights on at {on}; accepted are a local "
                "date and time each, the second up to 24 hours later. Correct or drop the row."
            )
        span = local.elapsed(pair[0]), local.elapsed(pair[1])
        if any(span[0] < other[1] and other[0] < span[1] for other in spans):
            raise ReadError(
                f"the diary has two nights at one time, the second from {off} to {on}; accepted "
                "are nights that do not overlap. Correct or drop one."
            )
        spans.append(span)
    return spans


def _own_rows(diary: pd.DataFrame, recording: Recording) -> pd.DataFrame:
    """The rows of the recording's subject in a diary of several."""
    subjects = with_subjects(plain_names(diary)).get("subject")
    if subjects is None:
        return diary
    own = {same_key(name) for name in (recording.subject, recording.id) if name is not None}
    rows = diary[subjects.map(same_key).isin(own).to_numpy()]
    if rows.empty:
        raise ReadError(
            f"the diary has no row of {recording.subject or recording.id!r}; its subjects are "
            f"{listed([*map(repr, subjects.unique())], 3)}. Name them alike, or drop the column."
        )
    return rows


def _read_events(recording: Recording) -> list[tuple[float, float]]:
    """Times in bed, else of sleep as a watch lists it, joined over breaks of up to an hour."""
    events = pd.DataFrame({"type": ()}) if recording.events is None else recording.events
    listed = (events[events["type"].astype(str).str.startswith(k)] for k in ("in_bed", "asleep"))
    rows = next((rows for rows in listed if len(rows)), None)
    if rows is None:
        raise ReadError(
            f"recording {recording.id!r} has no events of type in_bed or asleep; needed for "
            "by='diary' is a diary, e.g. diary=DataFrame({'lights_off': [...], 'lights_on': "
            "[...]})."
        )
    spans = rows.sort_values("onset")[["onset", "duration"]].to_numpy(float).cumsum(axis=1)
    return join_spans(spans, _LONGEST_BREAK)


def _cut(
    recording: Recording, offset: float, duration: float, *, id: str, start: datetime | None,
    night: int,
) -> Recording:  # fmt: skip
    """One stretch of a recording, with its stages, events and lights."""
    source = recording._source
    # a wearable's source reads a part of itself
    cut = getattr(source, "cut", None) if recording.modalities == tuple(source.layout) else None
    part = cut(offset, duration) if cut else _NightSource(recording, offset, duration)
    stages = recording.stages
    if stages is not None:
        first = int(offset / EPOCH_SECONDS + 1e-6)
        stages = stages[first : first + int(duration / EPOCH_SECONDS + 1e-6)]
    events, _ = cut_events(recording.events, -offset, duration)
    lights = [None if time is None else time - offset for time in recording.lights or ()]
    if any(time is not None and not 0 <= time <= duration for time in lights):
        lights = []
    return Recording.from_source(
        part, subject=recording.id if recording.subject is None else recording.subject,
        metadata={**recording.metadata, "night": night}, stages=stages, events=events, start=start,
        lights=lights or None, duration=duration, id=id, align="trim",
        notes=[str(note) for note in recording.notes],
    )  # fmt: skip


class _NightSource:
    """A stretch of another recording's samples."""

    def __init__(self, recording: Recording, offset: float, duration: float):
        self.recording, self.offset, self.duration = recording, offset, duration
        self.files: tuple[Path, ...] = recording.files
        self.derived = recording.derived
        units = recording.units
        self.layout = {
            name: SignalLayout(rate, units[name], int(duration * rate + 1e-6))
            for name, rate in recording.rates.items()
        }

    def read(self, names: Sequence[str]) -> dict[str, Signal]:
        """The stretch of each modality, NaN after its end."""
        signals = {}
        for name, signal in self.recording.read(names).items():
            first = round(self.offset * signal.rate)
            values = signal.values[first : first + self.layout[name].n_samples]
            missing = self.layout[name].n_samples - len(values)
            if missing:
                values = np.append(values, np.full(missing, np.nan, dtype=np.float32))
            values.flags.writeable = False
            signals[name] = Signal(values, signal.rate, signal.unit)
        return signals

    def fingerprint(self) -> str:
        """sha256 of the recording and of the stretch."""
        return sha256(self.recording.fingerprint, repr((self.offset, self.duration)))

    def signal_fingerprint(self, name: str) -> str:
        """sha256 of one modality and of the stretch."""
        whole = self.recording.signal_fingerprint(name)
        return sha256(whole, repr((self.offset, self.duration)))


def _find_rest(recording: Recording, local: _LocalClock) -> list[tuple[float, float]]:
    """The longest rest of each day from noon to noon, in s."""
    if "actigraphy" not in recording:
        raise ReadError(
            f"recording {recording.id!r} has no actigraphy, needed for by='inactivity'; it has "
            f"{', '.join(recording.modalities)}. Use by='clock' or a diary."
        )
    signal = recording.signal("actigraphy")
    step = round(_BIN_SECONDS * signal.rate)
    n_bins = len(signal.values) // step
    bins = pd.DataFrame(signal.values[: n_bins * step].reshape(n_bins, step)).mean(axis=1)
    level = bins.rolling(round(DAY / _BIN_SECONDS), center=True, min_periods=36).mean()
    rest = (bins < _REST_SHARE * level).to_numpy(copy=True)
    # over short breaks, never over non-wear
    for first, stop in find_runs(~rest):
        is_break = 0 < first < stop < len(rest) and (stop - first) * _BIN_SECONDS <= _LONGEST_BREAK
        rest[first:stop] = is_break and bins[first:stop].notna().all()
    spans = (find_runs(rest) * float(_BIN_SECONDS)).tolist()
    noon = 0.0
    if recording.start is not None:
        noon = local.elapsed(datetime.combine(recording.start.date(), time(12)))
    longest: dict[int, tuple[float, float]] = {}
    # the last that is written is the longest of the day
    for begin, end in sorted(spans, key=lambda span: (span[1] - span[0], -span[0])):
        longest[int(((begin + end) / 2 - noon) // DAY)] = (begin, end)
    return [longest[day] for day in sorted(longest)]
