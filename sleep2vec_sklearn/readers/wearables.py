# SPDX-License-Identifier: BSD-3-Clause
"""Lazy sources of wearables' files: series of one or several files on one clock."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import NoUsableChannelError, ReadError
from ..recordings._notes import Caution
from ..recordings._resampling import interpolate
from ..recordings.derivation import counts_from_epochs, ibi_from_heart_rate, ibi_from_intervals
from ..recordings.modality import MODALITIES, get_modality, list_modalities
from ..recordings.sources import Signal, SignalLayout
from ._boundary import MOST_INTERPOLATED, check_added_samples, check_file, only_read_errors
from ._delimited import (
    TEXT_SUFFIXES,
    check_timezone,
    is_quantity,
    seconds_of,
    strip_quantity,
    utc_offset,
)  # fmt: skip
from ._edf_header import FileSource
from ._scoring import Scoring, ScoringBuilder
from ._wearable_formats import DEVICE_SUFFIXES, read_file
from ._wearable_series import FileSeries, median_step
from ._wearable_tables import SIGNALS, find_header, freeze_columns

WEARABLE_SUFFIXES = (*TEXT_SUFFIXES, *DEVICE_SUFFIXES)
_REVISION = 1
# recordings whose folder may hold tables of the same name
_PREFERRED = (".edf", ".bdf", ".rec", ".npz", ".vhdr", ".fif", ".set", *DEVICE_SUFFIXES)
# elapsed times that begin within a tenth of their end count from 0, later ones from their first
_LATE_SHARE = 0.1
_MAX_BREAK_SECONDS = 3600.0  # between two pieces of one record
_MAX_SPO2_STEP, _MAX_SPO2_GAP = 2.0, 10.0
# in order of preference
_MODALITY_OF = {
    "rr": "ibi", "heart_rate": "ibi", "acceleration": "actigraphy", "counts": "actigraphy",
    "spo2": "spo2",
}  # fmt: skip


class WearableSource(FileSource):
    r"""Series of one night or more from the files of one participant.

    Files are read once to check them and to learn what they span, and again when samples are used;
    a few of them are remembered. Heart rate becomes ``ibi`` at 1 Hz, without beat-to-beat
    variability, RR intervals ``ibi`` at 4 Hz, acceleration and counts ``actigraphy`` in counts per
    second, saturation ``spo2`` at 1 Hz. Non-wear is a gap of ``actigraphy`` and an event
    ``non_wear``: an hour in which no axis varies by 13 mg (van Hees et al. 2013), or 90 minutes of
    zero counts, unless a heart rate was measured.

    Parameters
    ----------
    paths : path-like or sequence of path-like
        Tables (.csv, .tsv, .txt), ``export.xml`` of Apple Health, .agd, and with actfast .gt3x,
        .cwa and .bin. Several files of one night are aligned by their clocks.
    modalities : sequence of str, optional
        Only these; by default all.
    channels : mapping, optional
        Modality to None, to leave it out.
    columns : mapping, optional
        What is in the columns of a table: "time", "heart_rate", "rr", "acceleration", "counts" or
        "spo2" to the name of a column, its position if there is no header, a list of three for
        the axes, or a pair (column, unit). By default the header's names are looked up.
    timezone : str, optional
        IANA name of the place, e.g. "Europe/Berlin". Needed for the local clock of times in UTC,
        and for nights in which daylight saving time starts or ends.

    Raises
    ------
    ReadError
        If a file is damaged, its clock runs backwards, or what its numbers mean is open.
    NoUsableChannelError
        If no wanted modality is there.
    ImportError
        If actfast is needed and not installed.

    Examples
    --------
    >>> from pathlib import Path
    >>> from sleep2vec_sklearn.readers import WearableSource
    >>> rows = "".join(f"2024-05-01 23:00:{second:02d},60\n" for second in range(0, 60, 5))
    >>> n_written = Path("hr.csv").write_text("time,HR (bpm)\n" + rows)
    >>> source = WearableSource("hr.csv")
    >>> source.layout, source.start
    ({'ibi': SignalLayout(rate=1.0, unit='s', n_samples=55)}, datetime.datetime(2024, 5, 1, 23, 0))
    """

    _format = "wearable"

    def __init__(
        self, paths: str | PathLike[str] | Sequence[str | PathLike[str]], *,
        modalities: str | Sequence[str] | None = None, channels: Mapping[str, Any] | None = None,
        columns: Mapping[str, Any] | None = None, timezone: str | None = None,
    ):  # fmt: skip
        self._configure(paths, columns, timezone)
        files = [self._read_file(path) for path in self.files]
        _check_files(self.files, files)
        _check_columns(self.files, dict(self._columns))
        clocks = {found.clock for found in files}
        spans = np.array([found.span for found in files])
        first, last = float(spans[:, 0].min()), float(spans[:, 1].max())
        from_zero = clocks == {"elapsed"} and 0 < first <= _LATE_SHARE * last
        self._zero = 0.0 if from_zero else float(np.floor(first))
        self.duration = float(np.ceil(last) - self._zero)
        self._offset = next((f.offset for f in files if f.offset is not None), None)
        self._has_clock = clocks != {"elapsed"} and (clocks != {"utc"} or self._offset is not None)
        self._paths: dict[str, list[Path]] = {}
        for path, found in zip(self.files, files, strict=True):
            for kind in found.series:
                self._paths.setdefault(kind, []).append(path)
        notes = [note for found in files for note in found.notes]
        if clocks == {"elapsed"} and self._zero > 0:
            notes.append(f"elapsed times begin at {self._zero:,.0f} s, where the recording starts")
        if clocks == {"utc"} and not self._has_clock:
            notes.append("times are in UTC; without timezone= the local clock is unknown")
        left_out = {get_modality(name).name for name in channels or {}}
        wanted = [name for name in list_modalities(modalities) if name not in left_out]
        self._kinds, more = self._choose_kinds(wanted)
        if not self._kinds:
            raise NoUsableChannelError(
                f"{', '.join(map(str, self.files))}: no wanted modality; found "
                f"{', '.join(self._paths)}{''.join(f' ({note})' for note in more)}. Name other "
                "columns with columns={'time': ..., 'heart_rate': ...}."
            )
        _check_pieces(self._kinds.values(), self.files, files)
        self.metadata: dict[str, Any] = {k: v for f in files for k, v in f.metadata.items()}
        if timezone is not None:
            self.metadata["timezone"] = timezone
        non_wear = sum(stop - start for start, stop in self._non_wear())
        if non_wear:
            notes.append(f"{non_wear / 3600:.1f} h of non-wear are gaps of actigraphy")
        self.notes = tuple(dict.fromkeys([*notes, *more]))

    @classmethod
    def of_window(
        cls, paths: Mapping[str, Path], *, start: datetime, duration: float,
        columns: Mapping[str, Any], timezone: str,
    ) -> WearableSource:  # fmt: skip
        """A window from a local time on, of a file for each kind, which is read on use only."""
        source = cls.__new__(cls)
        source._configure(list(paths.values()), columns, timezone)
        source._paths = {kind: [path] for kind, path in paths.items()}
        source._kinds = {_MODALITY_OF[kind]: kind for kind in paths}
        source._zero, source.duration = seconds_of(start, timezone), float(duration)
        source._offset, source._has_clock = utc_offset(source._zero, timezone), True
        source.metadata, source.notes = {}, ()
        return source

    def _configure(
        self, paths: str | PathLike[str] | Sequence[str | PathLike[str]],
        columns: Mapping[str, Any] | None, timezone: str | None,
    ) -> None:  # fmt: skip
        listed = [paths] if isinstance(paths, str | PathLike) else list(paths)
        self.files: tuple[Path, ...] = tuple(Path(path) for path in listed)
        self._columns, self._timezone = freeze_columns(columns, self.files[0]), timezone
        check_timezone(timezone)

    def _choose_kinds(self, wanted: Sequence[str]) -> tuple[dict[str, str], list[str]]:
        """Kind of series for each modality, and notes on what is not used."""
        chosen: dict[str, str] = {}
        notes: list[str] = []
        for kind, name in _MODALITY_OF.items():
            if kind not in self._paths or name not in wanted:
                continue
            if name in chosen:
                notes.append(f"{name} is from {chosen[name]}; {kind} is not used")
                continue
            if kind == "spo2":
                step = median_step(self._gather(kind)[0])
                if step > _MAX_SPO2_STEP:
                    text = f"spo2 left out: a reading every {step:g} s shows no desaturations"
                    caution = Caution(text, "spo2 left out, as its readings are too rare")
                    # spot checks are not mistaken for oximetry
                    notes.append(caution if step <= _MAX_SPO2_GAP else text)
                    continue
            chosen[name] = kind
            if kind == "heart_rate":
                notes.append("ibi is 60 / heart rate: without beat-to-beat variability")
        return {name: chosen[name] for name in MODALITIES if name in chosen}, notes

    def cut(self, offset: float, duration: float) -> WearableSource:
        """The same series from ``offset`` seconds after this source's start on."""
        part = WearableSource.__new__(WearableSource)
        part.__dict__.update(self.__dict__)
        part._zero, part.duration = self._zero + offset, float(duration)
        if self._timezone is not None and self._offset is not None:
            part._offset = utc_offset(part._zero, self._timezone)
        return part

    @property
    def start(self) -> datetime | None:
        """Local clock of the first sample."""
        if not self._has_clock:
            return None
        return datetime(1970, 1, 1) + timedelta(seconds=self._zero + (self._offset or 0.0))

    @property
    def layout(self) -> dict[str, SignalLayout]:
        """Layout of each modality."""
        rates = {name: 4.0 if kind == "rr" else 1.0 for name, kind in self._kinds.items()}
        return {
            name: SignalLayout(rate, get_modality(name).unit, int(self.duration * rate + 1e-6))
            for name, rate in rates.items()
        }

    def _read(self, names: Sequence[str]) -> dict[str, Signal]:
        signals = {}
        for name in names:
            rate = self.layout[name].rate
            check_added_samples(self.files[0], self.duration, rate, "the series", MOST_INTERPOLATED)
            values = self._series_of(self._kinds[name])
            values.flags.writeable = False
            layout = self.layout[name]
            signals[name] = Signal(values, layout.rate, layout.unit)
        return signals

    def describe(self) -> list[tuple[str, str, float, str, bool, str]]:
        """Label, modality, rate, unit, use and reason of each series, for a table of channels."""
        layout, why = self.layout, "a wearable's series"
        return [
            (kind, name, layout[name].rate, layout[name].unit, True, why)
            for name, kind in self._kinds.items()
        ]

    def own_scoring(self) -> Scoring:
        """Non-wear, and what Apple Health lists as sleep, as events; no stages."""
        build = ScoringBuilder()
        for start, stop in self._non_wear():
            build.add_event(start - self._zero, stop - start, "non_wear")
        for path in self.files:
            for start, stop, kind in self._read_file(path).events:
                build.add_event(start - self._zero, stop - start, kind)
        return build.build(self.start)

    def _settings(self) -> list[tuple[Any, ...]]:
        shared = (_REVISION, self._columns, self._timezone, self._zero, self.duration)
        return [(name, kind, *shared) for name, kind in self._kinds.items()]

    def _read_file(self, path: Path) -> FileSeries:
        state = check_file(path)
        known = (path.resolve(), state.st_size, state.st_mtime_ns)
        return read_file(path, known, self._columns, self._timezone)

    def _gather(self, kind: str) -> tuple[np.ndarray, np.ndarray]:
        """Times in s from the start, and values, of all files."""
        files = [self._read_file(path) for path in self._paths.get(kind, ())]
        found = [file.series[kind] for file in files if kind in file.series]
        if not found:
            return np.zeros(0), np.zeros(0)
        times, first = np.unique(np.concatenate([times for times, _ in found]), return_index=True)
        return times - self._zero, np.concatenate([values for _, values in found])[first]

    def _series_of(self, kind: str) -> np.ndarray:
        if kind == "acceleration":
            values = np.full(int(self.duration), np.nan, dtype=np.float32)
            times, counts = self._gather(kind)
            at = np.ceil(times).astype(int)
            inside = (at >= 0) & (at < len(values))
            values[at[inside]] = counts[inside]
        elif kind == "counts":
            times, counts = self._gather(kind)
            step = median_step(times)
            # the epochs of a device are even, its rounded times are not
            start = times[0] if len(times) else 0.0
            slots, first = np.unique(np.round((times - start) / step), return_index=True)
            even = start + slots * step
            values, _ = counts_from_epochs(even, counts[first], step, self.duration)
        else:
            times, numbers = self._gather(kind)
            if kind == "spo2":
                return interpolate(times, numbers, self.duration, 1.0, _MAX_SPO2_GAP)
            make = ibi_from_intervals if kind == "rr" else ibi_from_heart_rate
            return make(times, numbers, duration=self.duration)[0]
        for start, stop in self._non_wear():
            values[max(int(start - self._zero), 0) : max(int(stop - self._zero), 0)] = np.nan
        return values

    def _non_wear(self) -> list[tuple[float, float]]:
        kind = self._kinds.get("actigraphy", "")
        still = [span for path in self._paths.get(kind, ()) for span in self._read_file(path).still]
        pulses, _ = self._gather("heart_rate")
        minutes = np.unique((pulses + self._zero) // 60) * 60
        # a wrist may lie still, but a table has no pulse in half of the minutes
        return [
            (start, stop)
            for start, stop in still
            if np.diff(np.searchsorted(minutes, (start, stop)))[0] < (stop - start) / 120
        ]


def is_wearable(path: Any) -> bool:
    """Whether a file is read as a wearable's, by its suffix; a list of files always."""
    return not isinstance(path, str | PathLike) or Path(path).suffix.lower() in WEARABLE_SUFFIXES


def looks_wearable(path: Path) -> bool:
    """Whether the beginning of a file in a folder is that of a wearable's series.

    A hypnogram, a table of metadata or events, a text without a header, and a table with the name
    of a recording are not.
    """
    suffix = path.suffix.lower()
    if path.exists() and not path.is_file():
        return False
    preferred = {".agd": (".gt3x",), **dict.fromkeys(TEXT_SUFFIXES, _PREFERRED)}.get(suffix, ())
    if any(path.with_suffix(other).exists() for other in preferred):
        return False
    if suffix in TEXT_SUFFIXES:
        try:
            with only_read_errors(path, "the reader of wearables"):
                layout = find_header(path, {})
        except ReadError:
            return False
        # of tables without a header, those of an Empatica E4 are known by their first lines
        if layout is None or not (layout.names or layout.start):
            return False
        return "label" not in layout.columns
    mark = {".xml": b"<HealthData", ".bin": b"Device Identity"}.get(suffix, b"")
    try:
        with path.open("rb") as file:
            return mark in file.read(1 << 16)
    except OSError:
        return not mark


def joint_path(files: Sequence[Path]) -> Path:
    """The path that names a night: of several files, what their names share, or their folder."""
    if not files:
        raise ReadError("the list of files is empty; accepted are one file or more of one night.")
    if len(files) == 1:
        return files[0]
    stems = {strip_quantity(file.stem) for file in files}
    # letter by letter, not by folders
    shared = os.path.commonprefix([file.stem for file in files]).rstrip("_-. ")  # noqa: RUF071
    if len(stems) > 1:
        stems = {shared if len(shared) > 1 else files[0].resolve().parent.name}
    return files[0].with_name(stems.pop() + files[0].suffix)


def group_files(paths: Sequence[Path]) -> tuple[list[Any], list[list[Path]]]:
    """Nights, of which several files are a list, and files of one name that may be one night.

    Files of a wearable belong together if they share their folder and their stem without a word
    such as hr or motion at its beginning or end, which may be all of it, and no two hold the same
    quantity.
    """
    others = {path.with_suffix("") for path in paths if not is_wearable(path)}
    groups: dict[Path, list[Path]] = {}
    for path in paths:
        is_part = is_wearable(path) and looks_wearable(path)
        key = path
        if is_part:
            named = not is_quantity(path.stem)
            key = path.with_name(strip_quantity(path.stem)) if named else path.parent
        groups.setdefault(key, []).append(path)
    nights: list[Any] = []
    unsure: list[list[Path]] = []
    for key, files in groups.items():
        kinds = [kind for path in files for kind in _kinds_by_header(path)] if files[1:] else []
        if files[1:] and key not in others and 0 < len(kinds) == len(set(kinds)):
            nights.append([str(path) for path in files])
            continue
        nights += map(str, files)
        unsure += [files] if files[1:] else []
    return nights, unsure


def _kinds_by_header(path: Path) -> list[str]:
    if path.suffix.lower() in TEXT_SUFFIXES:
        layout = find_header(path, {})
        return [kind for kind in layout.columns if kind in SIGNALS] if layout else []
    return ["counts" if path.suffix.lower() == ".agd" else "acceleration"]


def _check_files(paths: Sequence[Path], files: Sequence[FileSeries]) -> None:
    """An error if files are listed twice, have clocks of two kinds, or begin hours apart."""
    resolved = [path.resolve() for path in paths]
    twice = next((path for i, path in enumerate(resolved) if path in resolved[:i]), None)
    if twice is not None:
        raise ReadError(
            f"{twice} is listed twice; accepted are different files of one night. Leave one out."
        )
    clocks = {found.clock for found in files}
    if len(clocks) > 1:
        raise ReadError(
            f"{paths[0]} and {paths[1]} have clocks that cannot be compared: "
            f"{', '.join(sorted(clocks))}; accepted are clocks of one kind. Pass timezone=, "
            "e.g. timezone='Europe/Berlin', to compare local times with UTC."
        )
    (_, end, last), *others = sorted(
        (*found.span, p) for p, found in zip(paths, files, strict=True)
    )
    for start, stop, path in others:
        if start - end > _MAX_BREAK_SECONDS:
            raise ReadError(
                f"{path} begins {(start - end) / 3600:.1f} h after the end of {last}; accepted "
                "are files of one night. Read them apart, or pass timezone= if one states local "
                "times and the other UTC."
            )
        end, last = max((end, last), (stop, path))


def _check_pieces(kinds: Iterable[str], paths: Sequence[Path], files: Sequence[FileSeries]) -> None:
    """An error if two files hold one quantity at the same time; one may follow the other."""
    for kind in kinds:
        found = [(f.series[kind][0], path) for path, f in zip(paths, files, strict=True)
                 if kind in f.series]  # fmt: skip
        # a second of acceleration may be shared, as it is counted whole
        spans = [(times[0], times[-1], path) for times, path in found]
        for (_, stop, one), (start, _, other) in pairwise(sorted(spans)):
            if start < stop:
                raise ReadError(
                    f"{one} and {other} both hold {kind} at the same times; accepted is one file "
                    "of a quantity, or pieces that follow one another. Leave one of them out, or "
                    "its column by columns=."
                )


def _check_columns(paths: Sequence[Path], stated: Mapping[str, Any]) -> None:
    """An error for a name that no table's header has."""
    tables = [path for path in paths if path.suffix.lower() in TEXT_SUFFIXES]
    layouts = [find_header(path, stated) for path in tables]
    known = {name.casefold() for layout in layouts if layout for name in layout.names}
    for meaning, (names, _) in stated.items():
        if any(isinstance(name, str) and name.casefold() not in known for name in names):
            raise ReadError(
                f"{', '.join(map(str, paths))}: no table has the column {names[0]!r}, named for "
                f"{meaning!r}. Check its spelling; without a header, count columns from 0."
            )
