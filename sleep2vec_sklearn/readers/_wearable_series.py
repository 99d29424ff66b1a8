# SPDX-License-Identifier: BSD-3-Clause
"""Clocks of wearable files, their series, and acceleration counted in blocks of an hour."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import InvalidSignalError, ReadError
from ..recordings._notes import Caution
from ..recordings.derivation import IBI_LIMITS, counts_from_acceleration
from ._boundary import DAY, LARGEST_TIME, LONGEST_DAYS, BadFileError
from ._delimited import (
    SECONDS,
    SINCE_1970,
    TimeFormat,
    as_seconds,
    guess_unit,
    unroll,
    utc_offset,
)  # fmt: skip

# later rows may be this much earlier; a longer step back is another clock
MARGIN_SECONDS = 60
_BLOCK_SECONDS = 3600
_MAX_DAYS = 100
_MAX_GAP_SECONDS = 1.0
_HIGHEST_RATE = 2000
# a device that lies on a table, van Hees et al. 2013, PLoS ONE 8, e61691
_STILL_G, _STILL_SECONDS, _STILL_STEP = 0.013, 3600, 900
_ZERO_SECONDS = 5400.0
# in the unit that is used; a rate of 0 means no contact, a saturation of 127 or 255 no reading
_PLAUSIBLE = {
    "heart_rate": (30.0, 200.0, "30 to 200 bpm"),
    "rr": (*IBI_LIMITS, "0.3 to 2 s"),
    "counts": (0.0, np.inf, "0 or more"),
    "spo2": (1.0, 101.0, "1 to 101 %"),
}
_MANY_IMPLAUSIBLE = 0.05
_OFFSET_OF_A_PLACE = re.compile(r":\d\d(?:\.\d+)?\s*[+-](?!00:?00$)\d\d:?\d\d$")
_MIDNIGHT = re.compile(r"0?0:00(:00(\.0+)?)?")


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
        self.is_utc = False  # a table may say so of times without a zone
        self.keeps_time = False  # a device that never changes to daylight saving time and back
        self.notes: list[str] = []
        self._format: TimeFormat | None = None
        self._first, self._last = np.inf, -np.inf
        # of the local clock, whose hours repeat, and of the time of day, which starts again
        self._local, self._utc, self._winter = np.nan, np.nan, False
        self._shown, self._past = np.zeros(0), 0.0

    @property
    def basis(self) -> str:
        """What seconds count from; a local clock whose zone is known counts as UTC."""
        return "utc" if self.kind == "local" and self.timezone is not None else self.kind

    def parse(self, values: pd.Series, unit: str | None = None) -> np.ndarray:
        """Seconds of numbers or texts in file order; NaN where one cannot be read."""
        numbers = pd.to_numeric(values, errors="coerce")
        if self._format is None and numbers.notna().mean() > 0.5:
            return self.check(self._from_numbers(numbers.to_numpy(float), unit))
        if self._format is None:
            self._format = self._choose_format(values.astype(str).str.strip())
        # an export in UTC writes +00:00 as well; a place that has it in winter changes it
        unsure = self.offset is None and self._format.offset == 0.0 and self.timezone is None
        if unsure and values.astype(str).str.contains(_OFFSET_OF_A_PLACE).any():
            self.offset = 0.0
        seconds = self._format.read(values)
        known = np.isfinite(seconds)
        if self._format.kind == "clock" and known.any():
            # after midnight, times of day go on, also from one piece to the next
            shown, n = seconds[known], len(self._shown)
            seconds[known] = unroll(np.concatenate([self._shown, shown]))[n:] + self._past
            self._shown, self._past = shown[-1:], seconds[known][-1] - shown[-1]
        return self.check(seconds)

    def check(self, seconds: np.ndarray) -> np.ndarray:
        """The times in UTC if they are local and the zone is known; an error if they step back."""
        known = np.isfinite(seconds)
        seconds = np.where(known, seconds, np.nan)
        times = seconds[known]
        if not len(times):
            return seconds
        if np.abs(times).max() > LARGEST_TIME:
            raise BadFileError(f"one of its times is {np.abs(times).max():g} s, which is no date.")
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
        unit = guess_unit(size) if unit is None else unit
        if unit not in SECONDS:
            raise ReadError(
                f"{self.path}: its times are in {unit!r}; accepted are {', '.join(SECONDS)}. "
                "State another unit with columns={'time': (name, 's')}."
            )
        self.kind = self.kind or ("utc" if size * SECONDS[unit] > SINCE_1970 else "elapsed")
        return numbers * SECONDS[unit]

    def _choose_format(self, texts: pd.Series) -> TimeFormat:
        # over midnight, if the rows are, as a second date tells the day from the month
        sample = [t for t in texts[:: max(1, len(texts) // 2000)] if re.search(r"\d", t)]
        form = TimeFormat.of(sample)
        # 12 hours are of a country that writes the month first
        if form.is_open and not re.search(r"[ap]\.?m\.?$", sample[0], re.IGNORECASE):
            kind = "dates are taken as month/day, as nothing tells them from day/month"
            self.notes.append(Caution(f"{kind}, the first is {sample[0]}", kind))
        self.kind = "utc" if self.is_utc and form.kind == "local" else form.kind
        if self.timezone is None:
            # Z and +00:00 name no place
            self.offset = form.offset or None
        # a record that starts at the very second of midnight is rarer than elapsed times
        if form.kind == "clock" and _MIDNIGHT.fullmatch(sample[0]):
            self.kind = "elapsed"
            self.notes.append("times begin at 00:00 and are taken as elapsed")
        return form

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


class MotionCounter:
    """Acceleration in g, added in order, as activity counts per second, and where nothing moved.

    No more than an hour of samples is held. Blocks overlap by a minute on both sides, so that
    counts are those of :func:`counts_from_acceleration` for the whole night.
    """

    def __init__(self, path: Path):
        self.path = path
        self._samples: list[np.ndarray] = []  # time and axes in columns
        self._rate, self._done = 0.0, -np.inf
        # first second; counts, number of samples, sums of axes and of their squares, a second each
        self._blocks: list[tuple[int, np.ndarray]] = []

    def add(self, times: np.ndarray, axes: np.ndarray) -> None:
        """Add samples of shape (n,) and (n, 3), or (n, 1) for the magnitude; NaN are left out."""
        samples = np.column_stack([times, axes])
        samples = samples[np.isfinite(samples).all(axis=1)]
        if len(samples):
            self._samples.append(samples)
            if samples[:, 0].max() - self._samples[0][0, 0] > _BLOCK_SECONDS:
                self._count()

    def finish(self, found: FileSeries) -> None:
        """Set counts per second from a whole second on, and spans in which the device lay still."""
        if self._samples:
            self._count(final=True)
        if not self._blocks:
            return
        first, (last, block) = self._blocks[0][0], self._blocks[-1]
        if (days := (last - first) / DAY) > LONGEST_DAYS:
            raise BadFileError(
                f"its acceleration spans {days:,.0f} days; accepted are {LONGEST_DAYS}."
            )
        table = np.full((last + len(block) - first, block.shape[1]), np.nan)
        for second, block in self._blocks:
            table[second - first : second - first + len(block)] = block
        seconds, counts = first + np.arange(len(table), dtype=float), table[:, 0].astype(np.float32)
        found.series["acceleration"] = seconds, counts
        if table.shape[1] == 8:
            found.still = _find_still(first, np.nan_to_num(table[:, 1:]))
        else:
            found.still = _find_zeros(seconds, counts)

    def _count(self, final: bool = False) -> None:
        samples = np.concatenate(self._samples)
        times, rows = np.unique(samples[:, 0], return_index=True)
        if len(samples) > 20 and len(times) < len(samples) / 2:
            raise ReadError(
                f"{self.path}: {len(samples) - len(times):,} of {len(samples):,} samples of "
                "acceleration share their time with another; accepted is a time for each sample. "
                "Export the times with fractions of a second."
            )
        edges = np.flatnonzero(np.diff(times) > MARGIN_SECONDS) + 1
        *parts, last = np.split(samples[rows], edges)
        for part in parts:
            self._count_part(part, int(part[-1, 0]) + 1)
        stop = int(np.floor(times[-1])) + 1 - (0 if final else MARGIN_SECONDS)
        self._count_part(last, stop)
        self._samples = [last[last[:, 0] >= stop - MARGIN_SECONDS]]

    def _count_part(self, samples: np.ndarray, stop: int) -> None:
        """Count samples without a long gap, from where the last block ended to ``stop``."""
        times, axes = samples[:, 0], samples[:, 1:]
        first = int(np.floor(times[0]))
        begin = int(max(first, self._done))
        if len(times) < 2 or stop <= begin:
            return
        if not self._rate:
            rate = 1 / float(np.median(np.diff(times)))
            if not rate <= _HIGHEST_RATE:
                raise BadFileError(
                    f"its samples of acceleration are {1 / rate:g} s apart; accepted are up to "
                    f"{_HIGHEST_RATE:,} a second."
                )
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
                "(name, 'ms')}."
            ) from error
        second = np.floor(elapsed).astype(np.int64)
        columns = [np.ones(len(times)), *axes.T, *(axes.T**2)]
        sums = [np.bincount(second, column, n_seconds) for column in columns]
        block = np.column_stack([counts[:n_seconds], *sums])[begin - first : stop - first]
        self._blocks.append((begin, block))
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
    return join_spans(np.stack([starts, stops], axis=1)[still] + first)


def _find_zeros(
    times: np.ndarray, counts: np.ndarray, epoch: float = 1.0
) -> list[tuple[float, float]]:
    """Spans of 90 minutes or more of zero counts, the rule of Choi et al. 2011 without spikes."""
    runs = find_runs(counts == 0)
    spans = np.stack([times[runs[:, 0]], times[runs[:, 1] - 1] + epoch], axis=1)
    return join_spans(spans[spans[:, 1] - spans[:, 0] >= _ZERO_SECONDS])


def find_runs(mask: np.ndarray) -> np.ndarray:
    """First and stop of each run of True, of shape (n_runs, 2)."""
    padded = np.concatenate([[False], mask, [False]])
    return np.flatnonzero(padded[1:] != padded[:-1]).reshape(-1, 2)


def join_spans(spans: np.ndarray, gap: float = 0.0) -> list[tuple[float, float]]:
    """Spans in order of their start, those joined that are no more than a gap apart."""
    joined: list[tuple[float, float]] = []
    for start, stop in np.asarray(spans, dtype=float).tolist():
        if joined and start - joined[-1][1] <= gap:
            start, stop = joined[-1][0], max(stop, joined.pop()[1])
        joined.append((start, stop))
    return joined


@dataclass
class FileSeries:
    """What one file holds: times in s on its clock, with values in bpm, s, counts or %.

    ``clock`` and ``offset`` are those of :class:`Clock`; ``acceleration`` is in counts per second,
    one for each whole second; ``still`` are the spans in which nothing moved, on the same clock.
    ``rows`` are the first and last time of all rows, also of those without a valid reading.
    """

    clock: str
    offset: float | None = None
    series: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    still: list[tuple[float, float]] = field(default_factory=list)
    events: list[tuple[float, float, str]] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    rows: tuple[float, float] | None = None

    @property
    def span(self) -> tuple[float, float]:
        """First and last time of all rows; the last epoch of counts belongs to it."""
        spans = [(times[0], times[-1]) for times, _ in self.series.values()]
        spans += [] if self.rows is None else [self.rows]
        for kind in {"counts", "acceleration"} & set(self.series):
            times, _ = self.series[kind]
            step = 1.0 if kind == "acceleration" else median_step(times)
            spans.append((times[0], times[-1] + step))
        return float(min(first for first, _ in spans)), float(max(last for _, last in spans))

    def add(self, name: str, kind: str, times: np.ndarray, values: np.ndarray) -> None:
        """Add readings of a file: plausible ones in order of time, one for each time.

        A note tells of the number of others, a caution above 5 %.
        """
        low, high, shown = _PLAUSIBLE[kind]
        plausible = (values >= low) & (values <= high)
        n_wrong = len(values) - int(plausible.sum())
        if n_wrong:
            count = f"{n_wrong:,} of {len(values):,} readings of {kind}"
            text = f"{name}: {count} are implausible (not {shown}) and were left out"
            kinds = f"implausible readings of {kind} (not {shown}) were left out"
            many = n_wrong > _MANY_IMPLAUSIBLE * len(values)
            self.notes.append(Caution(text, kinds) if many else text)
        if kind == "rr":
            # intervals that are too long or short still fill the time between beats
            self.series[kind] = times, values
            return
        times, values = times[plausible], values[plausible]
        unique, first = np.unique(times, return_index=True)
        if len(unique) < len(times):
            n_repeated = len(times) - len(unique)
            text = f"{name}: {n_repeated:,} rows repeat a time; the first of each is used"
            many = n_repeated > _MANY_IMPLAUSIBLE * len(times)
            self.notes.append(
                Caution(text, "rows repeat a time and are left out") if many else text
            )
        self.series[kind] = unique, values[first]
        if kind == "counts":
            self.still = _find_zeros(unique, values[first], median_step(unique))


def median_step(times: np.ndarray) -> float:
    """Median of the steps between times in s; a minute for a single one."""
    steps = np.diff(times)
    return float(np.median(steps[steps > 0])) if (steps > 0).any() else 60.0
