# SPDX-License-Identifier: BSD-3-Clause
"""Delimited text: encodings, cells, titles with units, numbers, times and time zones.

Tables of labels, of metadata and of wearables are all read by these.
"""

from __future__ import annotations

import codecs
import csv
import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.tseries.api import guess_datetime_format

from .._arguments import check_text, shown
from ..errors import ReadError
from ._boundary import DAY, LONGEST_LABEL, check_file

TEXT_SUFFIXES = (".csv", ".tsv", ".txt")
SINCE_1970 = 1e8  # seconds beyond count from there; they have been more from 1973 on
SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
_SPELLINGS = {
    "ns": "ns", "us": "us μs", "ms": "ms msec msecs millis millisecond milliseconds",
    "s": "s sec secs second seconds sek sekunden secondes segundos",
    "min": "min mins minute minutes minuten minutos",
    "h": "h hr hrs hour hours stunden heures horas", "samples": "sample samples smp pts",
    "bpm": "bpm beats/min 1/min", "g": "g", "mg": "mg", "m/s^2": "m/s^2 m/s2 m/s/s m/s²",
    "%": "% percent", "fraction": "fraction", "counts": "counts",
}  # fmt: skip
UNITS = {word: unit for unit, words in _SPELLINGS.items() for word in words.split()}
# "hr" after other words is a heart rate, and after the name of a time an hour
_TIMES = "|".join(word for word, unit in UNITS.items() if unit in SECONDS and len(word) > 1)
_OTHERS = "|".join(re.escape(word) for word in UNITS if word != "hr")
_UNIT_AT_END = re.compile(
    rf"(?P<name>.+?)[\s_.\-]+(?:in[\s_.\-]+)?(?P<unit>{_OTHERS})"
    rf"|(?P<time>.*(?:onset|start|time|begin|end|stop|dur|duration))_?(?:in_?)?(?P<glued>{_TIMES})"
)
_OFFSET = re.compile(r"(Z|[+-]\d\d:?\d\d)$")
_TIME_OF_DAY = re.compile(r"(\d+ days? +)?\d{1,3}:\d\d(:\d\d(\.\d+)?)?( ?[AaPp]M)?")
# words at the end or the beginning of a name that tell the files of one night apart
_QUANTITY = (
    r"(?:hr|heart|rates?|heart-?rate|pulse|bpm|rri?|ibi|intervals?|motion|movement|acc|accel|"
    r"acceleration|accelerometer|acti(?:graphy|graph|vity)?|counts?|spo2|sao2|oxygen|saturation|"
    r"oximet(?:er|ry))"
)
_QUANTITIES = re.compile(rf"([-_. ]+{_QUANTITY})+$|^({_QUANTITY}[-_. ]+)+", re.IGNORECASE)
_ONLY_QUANTITIES = re.compile(rf"{_QUANTITY}([-_. ]+{_QUANTITY})*", re.IGNORECASE)


def find_encoding(raw: bytes) -> str:
    """UTF-8 or UTF-16, with or without a byte-order mark, else Windows' Latin-1."""
    head = raw[:4096]
    even, odd = head[::2].count(0), head[1::2].count(0)
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    if len(head) > 8 and 8 * max(even, odd) > 3 * len(head) and min(even, odd) < len(head) / 50:
        return "utf-16-le" if odd > even else "utf-16-be"
    try:
        # the last letter may be cut
        codecs.getincrementaldecoder("utf-8")().decode(raw)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8-sig"


def decode_text(raw: bytes) -> str:
    """Text of bytes in any encoding of :func:`find_encoding`."""
    return raw.decode(find_encoding(raw), errors="replace")


def read_text(path: Path, size: int = -1) -> str:
    """Text of a file, or of its first bytes; a ReadError if it is a folder, missing or binary."""
    check_file(path)
    try:
        with path.open("rb") as file:
            text = decode_text(file.read(size))
    except OSError as error:
        raise ReadError(f"{path}: cannot be opened ({error.strerror}).") from error
    if "\0" in text:
        raise ReadError(
            f"{path}: not a text file. Accepted are CSV, TSV and plain text; check the suffix, or "
            "save the sheet as CSV."
        )
    return text


def split_line(line: str, delimiter: str | None = None) -> tuple[list[str], str]:
    """Cells of a line without quotes, and the delimiter; without one, "" and its words."""
    delimiter = max("\t;,", key=line.count) if delimiter is None else delimiter
    if not delimiter or delimiter not in line:
        return line.split(), ""
    try:
        # line by line, as a stray quote would swallow the lines that follow
        cells = next(csv.reader([line], delimiter=delimiter))
    except csv.Error:
        cells = line.split(delimiter)
    return [cell.strip().strip("\"'").strip() for cell in cells], delimiter


def parse_title(title: str, known: Collection[str] = ()) -> tuple[str, str | None]:
    """A column's name in plain small letters and digits, and its unit: ``Début (ms)``.

    The unit is None if none is stated, and "" if what brackets hold is not understood. A name that
    is ``known`` as it is has none at its end.
    """
    plain = unicodedata.normalize("NFKD", title[:LONGEST_LABEL].strip())
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    lower = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", plain).lower()
    unit = None
    bracket = re.search(r"[\[(](.*?)[\])]", lower)
    if bracket:
        lower = lower[: bracket.start()] + lower[bracket.end() :]
        words = [bracket[1].strip(), *re.findall(r"(?<!/)\b[a-z]+\b(?!/)", bracket[1])]
        unit = next((UNITS[word] for word in words if word in UNITS), "")
    name = re.sub(r"[^a-z0-9]", "", lower)
    match = _UNIT_AT_END.fullmatch(lower.strip(" _.-"))
    if match and unit is None and name not in known:
        name = re.sub(r"[^a-z0-9]", "", match["name"] or match["time"])
        unit = UNITS[match["unit"] or match["glued"]]
    return name, unit


def as_number(text: str) -> float:
    """Number with a decimal point or comma; NaN for other text."""
    try:
        return float(text[:LONGEST_LABEL].replace(",", "."))
    except ValueError:
        return float("nan")


def guess_unit(size: float) -> str:
    """Unit of times that may count since 1970: no recording lasts 100,000,000 s."""
    limits = ((1e17, "ns"), (1e14, "us"), (1e11, "ms"))
    return next((unit for limit, unit in limits if size > limit), "s")


def strip_quantity(stem: str) -> str:
    """A file's name without words for what was measured: p01 of ``p01_hr`` and ``motion_p01``."""
    return _QUANTITIES.sub("", stem)


def is_quantity(stem: str) -> bool:
    """Whether a file's name says what was measured and nothing else: ``HR``, ``heart_rate``."""
    return _ONLY_QUANTITIES.fullmatch(stem) is not None


@dataclass(frozen=True)
class TimeFormat:
    """How texts state times, by the first of them; see :meth:`of`.

    ``kind`` is "clock" (a time of day), "local" (a date and time) or "utc" (one with an offset,
    which for the first is ``offset`` in s). ``is_open`` says that the day may be the month.
    """

    kind: str
    form: str
    day_first: bool = False
    offset: float | None = None
    is_open: bool = False

    @classmethod
    def of(cls, texts: Sequence[str], near: datetime | None = None) -> TimeFormat:
        """The format of texts, which may begin with the day or the month.

        Numbers past 12 decide, else the shorter span, else which is nearer to ``near``.
        """
        cleaned = _clean(pd.Series(texts, dtype=object)).tolist()
        first = cleaned[0] if cleaned else ""
        if _TIME_OF_DAY.fullmatch(first):
            return cls("clock", "ISO8601")
        decided = _is_day_first(cleaned, near)
        day_first, is_open = bool(decided), decided is None
        iso = re.match(r"\d{4}-\d\d-\d\d", first) is not None
        form = "ISO8601" if iso else guess_datetime_format(first, dayfirst=day_first) or "mixed"
        zone = _OFFSET.search(first) if ":" in first else None
        if zone is None:
            return cls("local", form, day_first, is_open=is_open)
        offset = pd.Timestamp(f"1970-01-01 00:00{zone[1]}").utcoffset()
        return cls("utc", form, day_first, offset.total_seconds(), is_open)

    def read(self, texts: pd.Series) -> np.ndarray:
        """Seconds since midnight or since 1970; NaN where a text is no such time."""
        texts = texts.astype(str)
        # one format is 20 times as fast as a guess for each text, and most need no cleaning
        seconds = self._parse(texts, self.form)
        rest = np.isnan(seconds)
        if rest.any():
            rest[rest] = texts[rest].str.contains(r"\d\D\d")
        if rest.any():
            others = _clean(texts[rest])
            parsed = self._parse(others, self.form)
            if self.kind == "clock":
                # from 24 hours on, as "25:00:00" or "1 days 01:00:00"
                elapsed = pd.to_timedelta(others, errors="coerce").dt.total_seconds().to_numpy()
                parsed = np.where(np.isnan(parsed), elapsed, parsed)
            if np.isnan(parsed).any():
                parsed = np.where(np.isnan(parsed), self._parse(others, "mixed"), parsed)
            seconds[rest] = parsed
        return seconds

    def _parse(self, texts: pd.Series, form: str) -> np.ndarray:
        dated = "1970-01-01 " + texts if self.kind == "clock" else texts
        in_utc = self.kind == "utc"
        return as_seconds(
            pd.to_datetime(dated, format=form, dayfirst=self.day_first, utc=in_utc, errors="coerce")
        )


def _clean(texts: pd.Series) -> pd.Series:
    """Times in that of several spellings which pandas reads."""
    texts = texts.astype(str).str.strip().str.replace(",", ".")
    for pattern, spelled in (
        (r"(:\d\d):(\d{3})$", r"\1.\2"),  # GENEActiv writes 22:00:00:500
        (r"\s+(?=[+-]\d\d:?\d\d$)", ""),
        (r"\s*(?:UTC|GMT)$", "Z"),
        (r"([AaPp])\.?[Mm]\.?$", r"\1M"),
    ):
        texts = texts.str.replace(pattern, spelled, regex=True)
    return texts


def _is_day_first(texts: Sequence[str], near: datetime | None) -> bool | None:
    """Whether dates begin with the day; None if nothing decides."""
    # also after the time of day, as oximeters write it
    matches = [re.search(r"(?:^|\s)(\d{1,2})([./-])(\d{1,2})[./-](\d\d+)", t) for t in texts]
    found = {(int(m[1]), int(m[3]), int(m[4]), m[2]) for m in matches if m}
    if not found or any(second > 12 for _, second, *_ in found):
        return False
    if any(first > 12 or sign == "." for first, _, _, sign in found):
        return True
    pairs = [(a, b, year + 2000 * (year < 70) + 1900 * (70 <= year < 100))
             for a, b, year, _ in found]  # fmt: skip
    month_first = [date(year, a, b).toordinal() for a, b, year in pairs]
    day_first = [date(year, b, a).toordinal() for a, b, year in pairs]
    span = max(day_first) - min(day_first), max(month_first) - min(month_first)
    if span[0] == span[1] and near is not None:
        day = near.toordinal()
        return abs(min(day_first) - day) < abs(min(month_first) - day)
    return None if span[0] == span[1] and day_first != month_first else span[0] < span[1]


def as_seconds(times: pd.Series) -> np.ndarray:
    """Seconds since 1970 as float64; NaN for NaT."""
    values = times.dt.tz_localize(None).to_numpy("datetime64[ns]")
    seconds = values.astype(np.int64) / 1e9
    seconds[np.isnat(values)] = np.nan
    return seconds


def seconds_of(moment: datetime, timezone: str | None = None) -> float:
    """Seconds since 1970 of a local time, in UTC if its zone is known.

    Of the hour that repeats in autumn it is the first; an hour that is left out counts as its end.
    """
    local = pd.Timestamp(moment)
    if timezone is not None:
        local = local.tz_localize(timezone, ambiguous=True, nonexistent="shift_forward")
    return float(local.timestamp())


def utc_offset(seconds: float, timezone: str) -> float:
    """The local clock minus UTC in s, at a time in seconds since 1970."""
    moment = pd.Timestamp(seconds, unit="s", tz="UTC").tz_convert(timezone)
    return float(moment.utcoffset().total_seconds())


def check_timezone(timezone: str | None) -> None:
    """Raise a ReadError for the name of no time zone."""
    try:
        if timezone is not None:
            utc_offset(0.0, check_text("timezone", timezone))
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise ReadError(
            f"timezone is {shown(timezone)}; accepted are IANA names such as 'Europe/Berlin'. On "
            "Windows they need pip install tzdata."
        ) from error


def unroll(seconds: np.ndarray) -> np.ndarray:
    """Times of day as times that go on, row by row, past midnight."""
    return seconds + DAY * np.cumsum(np.diff(seconds, prepend=seconds[:1]) < -DAY / 2)
