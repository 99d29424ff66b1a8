# SPDX-License-Identifier: BSD-3-Clause
"""Clocks of wearable files, their series, and acceleration counted in blocks of an hour."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.tseries.api import guess_datetime_format

from ..errors import InvalidSignalError, ReadError
from ..recordings._notes import Caution
from ..recordings.derivation import IBI_LIMITS, counts_from_acceleration

TIME_UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
DAY = 86_400.0
# later rows may be this much earlier; a longer step back is another clock
MARGIN_SECONDS = 60
_BLOCK_SECONDS = 3600
_MAX_DAYS = 100
_MAX_GAP_SECONDS = 1.0
# a device that lies on a table, van Hees et al. 2013, PLoS ONE 8, e61691
_STILL_G, _STILL_SECONDS, _STILL_STEP = 0.013, 3600, 900
# in the unit that is used; a rate of 0 means no contact, a saturation of 127 or 255 no reading
_PLAUSIBLE = {
    "heart_rate": (30.0, 200.0, "30 to 200 bpm"),
    "rr": (*IBI_LIMITS, "0.3 to 2 s"),
    "counts": (0.0, np.inf, "0 or more"),
    "spo2": (1.0, 101.0, "1 to 101 %"),
}
_MANY_IMPLAUSIBLE = 0.05
_OFFSET = re.compile(r"(Z|[+-]\d\d:?\d\d)$")
_OFFSET_OF_A_PLACE = re.compile(r":\d\d(?:\.\d+)?[+-](?!00:?00$)\d\d:?\d\d$")
_TIME_OF_DAY = re.compile(r"\d{1,2}:\d\d(:\d\d([.,]\d+)?)?(\s*[AaPp]\.?[Mm]\.?)?")


class Clock:
    """Turns the times of a file, chunk by chunk, into seconds that increase.

    ``kind`` is "utc" (seconds since 1970), "local" (a date and time without a zone), "clock" (a
    time of day, on 1 January 1970) or "elapsed"; ``offset`` is the local clock minus UTC in s, None
    if unknown. A local clock is converted to UTC if the time zone is known. Rows out of order by
    up to a minute are left to be sorted; a longer step back is an error.
    """

    def __init__(self, path: Path, timezone: str | None = None):
        self.path, self.timezone = path, timezone
        self.kind, self.n_back = "", 0
        self.offset: float | None = None
        self._has_zero_offset = False
        self.is_utc = False  # a table may say so of times without a zone
        self.keeps_time = False  # a device that never changes to daylight saving time and back
        self.notes: list[str] = []
        self._first, self._last = np.inf, -np.inf
        # of the local clock, whose hours repeat, and of the time of day, which starts again
        self._local, self._utc, self._winter = np.nan, np.nan, False
        self._time_of_day, self._midnights = np.nan, 0
        self._to_times: Callable[[pd.Series], pd.Series] | None = None

    @property
    def basis(self) -> str:
        """What seconds count from; a local clock whose zone is known counts as UTC."""
        return "utc" if self.kind == "local" and self.timezone is not None else self.kind

    def parse(self, values: pd.Series, unit: str | None = None) -> np.ndarray:
        """Seconds of numbers or texts in file order; NaN where one cannot be read."""
        numbers = pd.to_numeric(values, errors="coerce")
        if self._to_times is None and numbers.notna().mean() > 0.5:
            return self.check(self._from_numbers(numbers.to_numpy(float), unit))
        texts = values.astype(str).str.strip().str.replace(",", ".")
        # GENEActiv writes 22:00:00:500, others a space before the offset
        texts = texts.str.replace(r"(:\d\d):(\d{3})$", r"\1.\2", regex=True)
        texts = texts.str.replace(r"\s+(?=[+-]\d\d:?\d\d$)", "", regex=True)
        if self._to_times is None:
            self._choose_format([text for text in texts.iloc[:2000] if re.search(r"\d", text)])
        assert self._to_times is not None
        if self._has_zero_offset and texts.str.contains(_OFFSET_OF_A_PLACE).any():
            self.offset, self._has_zero_offset = 0.0, False
        seconds = as_seconds(self._to_times(texts))
        if self.kind in ("clock", "elapsed"):
            seconds = self._unwrap(seconds)
        return self.check(seconds)

    def check(self, seconds: np.ndarray) -> np.ndarray:
        """The times in UTC if they are local and the zone is known; an error if they step back."""
        known = np.isfinite(seconds)
        times = seconds[known]
        if not len(times):
            return seconds
        if self.timezone is not None and self.kind == "local":
            seconds[known] = times = self._localize(times)
        elif self.timezone is not None and self.kind == "utc" and self.offset is None:
            self.offset = utc_offset(times[0], self.timezone)
        self.check_span(float(times.min()), float(times.max()), _MAX_DAYS)
        steps = np.diff(times, prepend=self._last)
        if self._last == -np.inf and len(times) > 2 and (steps[1:] <= 0).all():
            # newest first, as some services export
            self._last = times[0]
            return seconds
        if steps.min() < -MARGIN_SECONDS:
            worst = int(steps.argmin())
            raise self._backwards(times[worst] - steps[worst], -steps[worst])
        self.n_back += int((steps < 0).sum())
        if self.kind == "local" and self.timezone is None:
            self._note_spring(times - steps, steps)
        self._last = max(self._last, float(times.max()))
        return seconds

    def check_span(self, first: float, last: float, max_days: int) -> None:
        """An error for times further apart than any record, before memory is taken for them."""
        self._first = min(self._first, first)
        days = (last - self._first) / DAY
        if days > max_days:
            raise ReadError(
                f"{self.path}: its times span {days:,.0f} days, from {self._show(self._first)} to "
                f"{self._show(last)}; accepted are {max_days}. If a clock was reset, drop the rows "
                "with a wrong date."
            )

    def _from_numbers(self, numbers: np.ndarray, unit: str | None) -> np.ndarray:
        size = float(np.nanmedian(np.abs(numbers)))
        if unit is None:
            # no recording lasts 100,000,000 s, and seconds since 1970 have been more from 1973 on
            limits = ((1e17, "ns"), (1e14, "us"), (1e11, "ms"))
            unit = next((name for limit, name in limits if size > limit), "s")
        if unit not in TIME_UNITS:
            raise ReadError(
                f"{self.path}: its times are in {unit!r}; accepted are {', '.join(TIME_UNITS)}. "
                "State another unit with columns={'time': (name, 's')}."
            )
        self.kind = self.kind or ("utc" if size * TIME_UNITS[unit] > 1e8 else "elapsed")
        return numbers * TIME_UNITS[unit]

    def _choose_format(self, texts: Sequence[str]) -> None:
        first = texts[0] if texts else ""
        day_first = _is_day_first(texts)
        if _TIME_OF_DAY.fullmatch(first):
            # a record that starts at the very second of midnight is rarer than elapsed times
            self.kind = "elapsed" if re.fullmatch(r"0?0:00(:00(\.0+)?)?", first) else "clock"
            if self.kind == "elapsed":
                self.notes.append("times begin at 00:00 and are taken as elapsed")
            self._to_times = lambda column: _parse("1970-01-01 " + column, f"1970-01-01 {first}")
            return
        zoned = ":" in first and _OFFSET.search(first) is not None
        self.kind = "utc" if zoned or self.is_utc else "local"
        if zoned and not first.endswith("Z") and self.timezone is None:
            offset = pd.to_datetime(first, dayfirst=day_first).utcoffset()
            # an export in UTC writes +00:00 as well; a place that has it in winter changes it
            self._has_zero_offset = not offset
            self.offset = float(offset.total_seconds()) or None
        in_utc = self.kind == "utc"
        self._to_times = lambda column: _parse(column, first, day_first, in_utc)

    def _unwrap(self, seconds: np.ndarray) -> np.ndarray:
        """Times of day that go on after midnight."""
        known = np.isfinite(seconds)
        times = seconds[known]
        if len(times):
            steps = np.diff(times, prepend=self._time_of_day)
            midnights = self._midnights + np.cumsum(steps < -DAY / 2)
            self._time_of_day, self._midnights = float(times[-1]), int(midnights[-1])
            seconds[known] = times + DAY * midnights
        return seconds

    def _localize(self, times: np.ndarray) -> np.ndarray:
        if self.keeps_time and self.offset is not None:
            return times - self.offset
        local_steps = np.diff(times, prepend=self._local)
        # the hour that repeats is summer time until the clock steps back
        winter = self._winter | np.logical_or.accumulate(local_steps < -1800)
        index = pd.to_datetime(pd.Series(times), unit="s").dt.tz_localize(
            self.timezone, ambiguous=~winter, nonexistent="NaT"
        )
        utc = as_seconds(index.dt.tz_convert("UTC").dt.tz_localize(None))
        if self.offset is None:
            existing = int(np.argmax(np.isfinite(utc)))
            self.offset = float(round(times[existing] - utc[existing]))
        steps = np.diff(utc, prepend=self._utc)
        # in spring times that no clock shows, in autumn no hour that repeats
        unchanged = (steps > 3000) & (np.abs(local_steps) < 1800)
        if self.keeps_time or np.isnan(utc).any() or unchanged.any():
            self.keeps_time = True
            return times - self.offset
        self._local, self._utc, self._winter = times[-1], utc[-1], bool(winter[-1])
        return utc

    def _note_spring(self, before: np.ndarray, steps: np.ndarray) -> None:
        usual = float(np.median(steps[np.isfinite(steps)])) if len(steps) > 1 else 0.0
        for time in before[(steps >= 3600) & (steps < min(3615 + 2 * usual, 5400))]:
            moment = pd.Timestamp(time, unit="s")
            if moment.day_of_week == 6 and moment.hour < 3:
                text = (
                    f"{self.path.name}: an hour is missing after {moment:%Y-%m-%d %H:%M:%S}, which "
                    "may be the start of daylight saving time. Pass timezone=, e.g. "
                    "timezone='Europe/Berlin', and it is no gap"
                )
                kind = "an hour is missing where daylight saving time may have started"
                self.notes.append(Caution(text, kind))

    def _show(self, seconds: float) -> str:
        if self.kind in ("utc", "local"):
            return f"{pd.Timestamp(seconds, unit='s'):%Y-%m-%d %H:%M:%S}"
        return f"{seconds:g} s"

    def _backwards(self, before: float, seconds: float) -> ReadError:
        fix = (
            "Sort the rows by time if they are only out of order; if the clock was set, cut the "
            "file there and read both parts."
        )
        if self.kind == "local" and self.timezone is None and abs(seconds - 3600) < 120:
            fix = (
                "If daylight saving time ended, pass timezone=, e.g. timezone='Europe/Berlin', and "
                "the two hours are told apart."
            )
        return ReadError(
            f"{self.path}: the clock runs backwards by {seconds:,.0f} s after "
            f"{self._show(before)}; accepted are times that increase. {fix}"
        )


def _parse(
    column: pd.Series, first: str, day_first: bool = False, in_utc: bool = False
) -> pd.Series:
    """Times by the format of the first text, which is 20 times as fast as a guess for each."""
    iso = re.match(r"\d{4}-\d\d-\d\d", first) is not None
    form = "ISO8601" if iso else guess_datetime_format(first, dayfirst=day_first) or "mixed"
    options: dict[str, Any] = {"dayfirst": day_first, "utc": in_utc, "errors": "coerce"}
    times = pd.to_datetime(column, format=form, **options)
    rest = times.isna()
    if rest.any():
        times[rest] = pd.to_datetime(column[rest], format="mixed", **options)
    return times.dt.tz_localize(None)


def as_seconds(times: pd.Series) -> np.ndarray:
    """Seconds since 1970 as float64; NaN for NaT."""
    values = times.to_numpy("datetime64[ns]")
    seconds = values.astype(np.int64) / 1e9
    seconds[np.isnat(values)] = np.nan
    return seconds


def utc_offset(seconds: float, timezone: str) -> float:
    """The local clock minus UTC in s, at a time in seconds since 1970."""
    moment = pd.Timestamp(seconds, unit="s", tz="UTC").tz_convert(timezone)
    return float(moment.utcoffset().total_seconds())


def _is_day_first(texts: Sequence[str]) -> bool:
    """Whether 04/05/2024 is the fourth of May: by numbers past 12, else by the shorter span."""
    matches = [re.match(r"(\d{1,2})([./-])(\d{1,2})[./-](\d\d+)", text) for text in texts]
    found = {(int(m[1]), int(m[3]), int(m[4]), m[2]) for m in matches if m}
    if not found or any(second > 12 for _, second, *_ in found):
        return False
    if any(first > 12 or sign == "." for first, _, _, sign in found):
        return True
    month_first = [date(year, a, b).toordinal() for a, b, year, _ in found]
    day_first = [date(year, b, a).toordinal() for a, b, year, _ in found]
    return max(day_first) - min(day_first) < max(month_first) - min(month_first)


class MotionCounter:
    """Acceleration in g, added in order, as activity counts per second, and where nothing moved.

    No more than an hour of samples is held. Blocks overlap by a minute on both sides, so that
    counts are those of :func:`counts_from_acceleration` for the whole night.
    """

    def __init__(self, path: Path):
        self.path = path
        self._times: list[np.ndarray] = []
        self._axes: list[np.ndarray] = []
        self._rate = 0.0
        self._done = -np.inf
        self._counts: list[tuple[int, np.ndarray]] = []
        self._moments: list[np.ndarray] = []

    def add(self, times: np.ndarray, axes: np.ndarray) -> None:
        """Add samples of shape (n,) and (n, 3), or (n, 1) for the magnitude; NaN are left out."""
        known = np.isfinite(times) & np.isfinite(axes).all(axis=1)
        times, axes = times[known], axes[known]
        for first in range(0, len(times), 1_000_000):
            part = slice(first, first + 1_000_000)
            self._times.append(times[part])
            self._axes.append(axes[part])
            if self._times[-1].max() - self._times[0][0] > _BLOCK_SECONDS:
                self._count()

    def finish(self) -> tuple[int, np.ndarray, list[tuple[float, float]]] | None:
        """First second, counts per second, and spans in which the device lay still."""
        if self._times:
            self._count(final=True)
        if not self._counts:
            return None
        first = self._counts[0][0]
        n_seconds = self._counts[-1][0] + len(self._counts[-1][1]) - first
        counts = np.full(n_seconds, np.nan, dtype=np.float32)
        moments = np.zeros((n_seconds, self._moments[0].shape[1]))
        for (second, part), sums in zip(self._counts, self._moments, strict=True):
            counts[second - first : second - first + len(part)] = part
            moments[second - first : second - first + len(part)] = sums
        if moments.shape[1] == 7:
            return first, counts, _find_still(first, moments)
        return first, counts, find_zeros(first + np.arange(n_seconds), counts)

    def _count(self, final: bool = False) -> None:
        times, rows = np.unique(np.concatenate(self._times), return_index=True)
        axes = np.concatenate(self._axes)
        if len(axes) > 20 and len(times) < len(axes) / 2:
            raise ReadError(
                f"{self.path}: {len(axes) - len(times):,} of {len(axes):,} samples of acceleration "
                "share their time with another; accepted is a time for each sample. Export the "
                "times with fractions of a second."
            )
        axes = axes[rows]
        edges = np.flatnonzero(np.diff(times) > MARGIN_SECONDS) + 1
        parts = list(zip(np.split(times, edges), np.split(axes, edges), strict=True))
        for part_times, part_axes in parts[:-1]:
            self._count_part(part_times, part_axes, int(part_times[-1]) + 1)
        times, axes = parts[-1]
        stop = int(np.floor(times[-1])) + 1 - (0 if final else MARGIN_SECONDS)
        self._count_part(times, axes, stop)
        kept = times >= stop - MARGIN_SECONDS
        self._times, self._axes = [times[kept]], [axes[kept]]

    def _count_part(self, times: np.ndarray, axes: np.ndarray, stop: int) -> None:
        """Count samples without a long gap, from where the last block ended to ``stop``."""
        first = int(np.floor(times[0]))
        begin = int(max(first, self._done))
        if len(times) < 2 or stop <= begin:
            return
        if not self._rate:
            rate = 1 / float(np.median(np.diff(times)))
            self._rate = float(round(rate)) if abs(rate - round(rate)) < 0.02 * rate else rate
        n_seconds = int(np.floor(times[-1])) + 1 - first
        elapsed = times - first
        grid = np.arange(int(np.ceil(n_seconds * self._rate))) / self._rate
        after = np.clip(np.searchsorted(elapsed, grid), 1, len(times) - 1)
        magnitude = np.linalg.norm(axes, axis=1)
        even = np.interp(grid, elapsed, magnitude, left=np.nan, right=np.nan)
        even[elapsed[after] - elapsed[after - 1] > _MAX_GAP_SECONDS] = np.nan
        try:
            counts, _ = counts_from_acceleration(even, self._rate)
        except InvalidSignalError as error:
            raise ReadError(
                f"{self.path}: {error} If its times are milliseconds, say so: columns={{'time': "
                "(name, 'ms')}}."
            ) from error
        second = np.floor(elapsed).astype(np.int64)
        columns = [np.ones(len(times)), *axes.T, *(axes.T**2)]
        sums = np.stack([np.bincount(second, column, n_seconds) for column in columns], axis=1)
        self._counts.append((begin, counts[begin - first : stop - first]))
        self._moments.append(sums[begin - first : stop - first])
        self._done = stop


def _find_still(first: int, moments: np.ndarray) -> list[tuple[float, float]]:
    """Spans of an hour or more in which no axis varied, from sums of each second."""
    total = np.vstack([np.zeros(7), np.cumsum(moments, axis=0)])
    starts = np.arange(0, max(len(moments) - _STILL_SECONDS, 0) + 1, _STILL_STEP)
    stops = np.minimum(starts + _STILL_SECONDS, len(moments))
    sums = total[stops] - total[starts]
    n = np.maximum(sums[:, :1], 1)
    variance = sums[:, 4:] / n - (sums[:, 1:4] / n) ** 2
    still = (variance < _STILL_G**2).all(axis=1) & (stops - starts == _STILL_SECONDS)
    still &= sums[:, 0] > 0
    return _merge(first + starts[still], first + stops[still])


def find_zeros(
    times: np.ndarray, counts: np.ndarray, epoch: float = 1.0, seconds: float = 5400.0
) -> list[tuple[float, float]]:
    """Spans of 90 minutes or more of zero counts, the rule of Choi et al. 2011 without spikes."""
    zero = np.concatenate([[False], counts == 0, [False]])
    edges = np.flatnonzero(zero[1:] != zero[:-1])
    starts, stops = times[edges[::2]], times[edges[1::2] - 1] + epoch
    long = stops - starts >= seconds
    return _merge(starts[long], stops[long])


def _merge(starts: np.ndarray, stops: np.ndarray) -> list[tuple[float, float]]:
    spans: list[tuple[float, float]] = []
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        if spans and start <= spans[-1][1]:
            spans[-1] = (spans[-1][0], stop)
        else:
            spans.append((start, stop))
    return spans


@dataclass
class FileSeries:
    """What one file holds: times in s on its clock, with values in bpm, s, counts or %.

    ``clock`` and ``offset`` are those of :class:`Clock`; ``motion`` are counts per second from a
    whole second on, ``still`` the spans in which nothing moved, on the same clock. ``rows`` are the
    first and last time of all rows, also of those without a valid reading.
    """

    clock: str
    offset: float | None = None
    series: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    motion: tuple[int, np.ndarray] | None = None
    still: list[tuple[float, float]] = field(default_factory=list)
    events: list[tuple[float, float, str]] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    rows: tuple[float, float] | None = None

    @property
    def span(self) -> tuple[float, float]:
        """First and last time of all rows; the last epoch of counts belongs to it."""
        spans = [(times[0], times[-1]) for times, _ in self.series.values()]
        if self.rows is not None:
            spans.append(self.rows)
        if "counts" in self.series:
            times, _ = self.series["counts"]
            spans.append((times[0], times[-1] + median_step(times)))
        if self.motion is not None:
            spans.append((self.motion[0], self.motion[0] + len(self.motion[1])))
        return float(min(first for first, _ in spans)), float(max(last for _, last in spans))

    def set_motion(self, counter: MotionCounter) -> None:
        """Take what was counted, if anything."""
        motion = counter.finish()
        if motion is not None:
            self.motion, self.still = motion[:2], motion[2]


def find_plausible(name: str, kind: str, values: np.ndarray, notes: list[str]) -> np.ndarray:
    """Which readings are plausible; a note with the number of others, a caution above 5 %."""
    low, high, shown = _PLAUSIBLE[kind]
    plausible = (values >= low) & (values <= high)
    n_wrong = len(values) - int(plausible.sum())
    if n_wrong:
        count = f"{n_wrong:,} of {len(values):,} readings of {kind}"
        text = f"{name}: {count} are implausible (not {shown}) and were left out"
        kinds = f"implausible readings of {kind} (not {shown}) were left out"
        many = n_wrong > _MANY_IMPLAUSIBLE * len(values)
        notes.append(Caution(text, kinds) if many else text)
    return plausible


def median_step(times: np.ndarray) -> float:
    """Median of the steps between times in s; a minute for a single one."""
    steps = np.diff(times)
    return float(np.median(steps[steps > 0])) if (steps > 0).any() else 60.0
