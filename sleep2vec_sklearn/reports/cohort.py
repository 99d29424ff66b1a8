# SPDX-License-Identifier: BSD-3-Clause
"""Report of a cohort: quality, coverage, stages, outliers in units and clocks, failures."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._progress import progress_bar
from ..errors import InvalidRecordingError
from ..evaluation.tables import table_one
from ..recordings._resampling import find_quantile
from ..recordings._usable import SAMPLES_FOR_QUANTILES
from ..recordings.cohort import Cohort
from ..recordings.modality import MODALITIES, get_modality
from ..recordings.recording import Recording, describe_recording, keep_signals
from ..recordings.sources import MICROVOLTS, Signal, to_canonical_unit
from ..recordings.stages import SleepStage
from ._page import (
    NO_VALUE,
    ReportPage,
    Section,
    clock_text,
    describe_error,
    list_versions,
    number,
    shorten,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROWS_LISTED = 300
_ROWS_DRAWN = 200
_ROWS_NAMED = 40
_NAMES = re.compile(r"(.*[_ ])?((sur|fore|last|first|family|given|full)?[_ ]?name|initials)")
_STAGES = [stage for stage in SleepStage if stage >= 0]

# rules by which a night is listed among the outliers
_SHORTEST, _LONGEST = 4.0, 12.0  # hours
_DAY = 9, 17  # o'clock
_EARLIEST_YEAR = 1990
_LOWEST_SPO2 = 50.0
_LONGEST_IBI = 3.0  # s
_LARGEST_Z = 3.5
_FEWEST_FOR_Z = 10
# the standard deviation of a normal distribution in units of its median absolute deviation
_MAD_OF_NORMAL = 0.6745
# a scale that is off by less is no outlier, however alike all other nights are
_SMALLEST_FACTOR = 3.0
_RULES = (
    f"Clocks: no start; a start in the day, from {_DAY[0]:02d}:00 to {_DAY[1]:02d}:00; a date "
    f"before {_EARLIEST_YEAR} (anonymised files are moved to 1985) or in the future; a duration "
    f"below {_SHORTEST:g} h or above {_LONGEST:g} h; lights outside of the recording or reversed; "
    "two nights of one subject that overlap.",
    f"Units: a median of spo2 below {_LOWEST_SPO2:g} %, of ibi above {_LONGEST_IBI:g} s (ms or "
    "beats per minute taken as s), or a voltage whose interquartile range no such sensor gives "
    "(V taken as uV, or the like).",
    "Amplitudes, by sensor over nights: the logarithm of the interquartile range, and for spo2 "
    f"and ibi the median, has a robust z above {_LARGEST_Z:g} (0.6745 times the distance to the "
    "median, divided by the median absolute deviation; Iglewicz and Hoaglin 1993), and for "
    f"interquartile ranges a factor of at least {_SMALLEST_FACTOR:g}; with {_FEWEST_FOR_Z} nights "
    "or more.",
)


@dataclass
class _Night:
    """What is kept of a night once its signals are no longer in memory."""

    name: str
    hours: dict[str, float] = field(default_factory=dict)
    amplitudes: dict[str, float] = field(default_factory=dict)
    medians: dict[str, float] = field(default_factory=dict)
    shares: np.ndarray | None = None


def cohort_report(
    cohort: Any, path: str | os.PathLike | None = None, *, coverage: bool = True,
    by: str | None = None, title: str | None = None, verbose: int | None = None,
) -> str:  # fmt: skip
    """Describe a cohort in an HTML file that needs no other.

    What was read of each night, coverage by sensor, scored stages, outliers in units and clocks,
    and what could not be read. Signals are read once, one night after the other; a night whose
    signals cannot be read is listed among the failures.

    Parameters
    ----------
    cohort : Cohort, folder or list of Recording
    path : path, optional
        File to write, in one step.
    coverage : bool, default=True
        Read the signals, for their coverage and amplitudes. Without, only what the headers and
        labels say is reported.
    by : str, optional
        Column of the metadata that the table of subjects is split by.
    title : str, optional
    verbose : int, optional
        1 shows a progress bar over nights, 0 none; by default one is shown in an interactive
        session, after a few seconds.

    Returns
    -------
    str
        The page, with its pictures, as HTML. It holds no script and loads nothing.

    Raises
    ------
    ImportError
        Without matplotlib.
    OSError
        If ``path`` cannot be written.
    InvalidRecordingError
        If the cohort is empty and nothing failed to be read, or has no column ``by``.

    Notes
    -----
    The library's warnings are listed in the report and not given again.

    Examples
    --------
    >>> from sleep2vec_sklearn import make_sleep_cohort
    >>> from sleep2vec_sklearn.reports import cohort_report
    >>> html = cohort_report(make_sleep_cohort(2, hours=1, modalities=["ibi"], random_state=0))
    >>> html.count("2 nights of 2 subjects")
    1
    """
    page = ReportPage(title or "Report of a cohort", path)
    with page.collecting():
        cohort = _as_cohort(cohort, verbose)
    if not len(cohort) and not len(cohort.failures):
        raise InvalidRecordingError(
            "the cohort is empty, and nothing failed to be read; accepted is one with a night or "
            "a failure. Check the folder or the selection."
        )
    if by is not None and len(cohort) and by not in cohort.metadata.columns:
        raise InvalidRecordingError(
            f"metadata has no column {by!r} to split by; its columns are "
            f"{', '.join(map(str, cohort.metadata.columns))}."
        )
    failures = [(str(name), str(why)) for name, why in cohort.failures.itertuples(index=False)]
    with page.collecting():
        nights = _measure(cohort, coverage, failures, verbose)
    _summarise(page, cohort, nights, failures)
    if len(cohort):
        _describe_failures(page, failures)
        _describe_subjects(page, cohort, by)
        _describe_coverage(page, cohort, nights, coverage)
        _describe_stages(page, nights)
        _describe_outliers(page, cohort, nights, coverage)
        _describe_quality(page, cohort)
    else:
        _describe_failures(page, failures)
    with page.section("Warnings and versions") as section:
        if page.warnings:
            section.list(page.warnings)
        section.table("Versions", ["Package", "Version"], list_versions(), first_number=2)
    return page.finish()


def _as_cohort(cohort: Any, verbose: int | None) -> Cohort:
    if isinstance(cohort, Cohort):
        return cohort
    if isinstance(cohort, str | os.PathLike):
        from .. import read_cohort

        return read_cohort(cohort, on_error="warn", verbose=verbose or 0)
    if not isinstance(cohort, Iterable) or isinstance(cohort, Mapping):
        raise InvalidRecordingError(
            f"cohort is a {type(cohort).__name__}; accepted are a Cohort, a folder or a list of "
            "recordings. For one night use night_report(night)."
        )
    nights = list(cohort)
    stated = [dict(getattr(night, "metadata", {})) for night in nights]
    return Cohort(nights, pd.DataFrame(stated, index=range(len(nights))))


def _measure(
    cohort: Cohort, coverage: bool, failures: list[tuple[str, str]], verbose: int | None
) -> list[_Night]:
    """One pass over the signals; a night that cannot be read is added to the failures."""
    nights = []
    shown = verbose if coverage else 0
    bar = progress_bar(shown, iterable=cohort, desc="signals of nights", unit="night")
    for i, recording in enumerate(bar):
        night = _Night(_name_of(recording, i))
        if recording.stages is not None and (recording.stages >= 0).any():
            scored = recording.stages[recording.stages >= 0]
            night.shares = np.bincount(scored, minlength=len(_STAGES)) / len(scored)
        if coverage:
            try:
                _measure_signals(night, recording)
            except Exception as error:
                failures.append((night.name, describe_error(error)))
        nights.append(night)
    return nights


def _name_of(recording: Recording, i: int) -> str:
    return describe_recording(None, i) if recording.id is None else str(recording.id)


def _measure_signals(night: _Night, recording: Recording) -> None:
    # coverage may read them a second time
    recording = keep_signals(recording)
    night.hours = {name: s / 3600 for name, s in recording.coverage().items()}
    for name, signal in recording.read().items():
        middle, spread = _median_and_spread(signal, name)
        night.medians[name], night.amplitudes[name] = middle, spread


def _median_and_spread(signal: Signal, name: str) -> tuple[float, float]:
    """Median and interquartile range in the catalogue's unit, of some samples of a signal."""
    modality = get_modality(name)
    step = max(1, len(signal.values) // SAMPLES_FOR_QUANTILES)
    values = signal.values[::step]
    if not (name == "actigraphy" and signal.unit == "g"):
        values, _ = to_canonical_unit(values, signal.rate, signal.unit, modality)
    values = values[np.isfinite(values)]
    if not len(values):
        return np.nan, np.nan
    low, middle, high = (float(find_quantile(values, q)) for q in (0.25, 0.5, 0.75))
    return middle, high - low


def _summarise(
    page: ReportPage, cohort: Cohort, nights: Sequence[_Night],
    failures: Sequence[tuple[str, str]],
) -> None:  # fmt: skip
    n_subjects = len(set(map(str, cohort.groups))) if len(cohort) else 0
    hours = sum(night.duration for night in cohort) / 3600
    page.lead.append(
        f"{len(cohort)} nights of {n_subjects} subjects, {hours:.0f} hours; "
        f"{sum(night.shares is not None for night in nights)} nights are scored; "
        f"{len(failures)} could not be read."
    )


def _describe_failures(page: ReportPage, failures: Sequence[tuple[str, str]]) -> None:
    with page.section("Failures") as section:
        if not failures:
            section.text("None: every night was read.")
            return
        section.table(
            "What could not be read", ["File or night", "Reason"], failures[:_ROWS_LISTED],
            first_number=2, note=_rest(len(failures), "failures"),
        )  # fmt: skip


def _rest(n: int, what: str) -> str:
    return f"The first {_ROWS_LISTED} of {n} {what}." if n > _ROWS_LISTED else ""


def _describe_subjects(page: ReportPage, cohort: Cohort, by: str | None) -> None:
    with page.section("Subjects") as section:
        # a user's table may name people
        names = [c for c in cohort.metadata.columns if _NAMES.fullmatch(str(c).lower())]
        described = cohort
        if names:
            described = Cohort(cohort, cohort.metadata.drop(columns=names))
        table = table_one(described, by=by)
        frame = table.to_frame()
        heading = f"{table.n} {table.unit}" + (f" by {by}" if by else "")
        section.table(heading, ["", "", *map(str, frame.columns[2:])], frame.to_numpy(), 2)
        if table.left_out:
            reasons = "; ".join(f"{name}: {why}" for name, why in table.left_out.items())
            section.text(f"Columns left out: {reasons}.")


def _describe_quality(page: ReportPage, cohort: Cohort) -> None:
    with page.section("What was read of each night") as section:
        table = cohort.report()
        columns = {
            "subject": "Subject", "start": "Start", "hours": "Hours", "epochs": "Epochs",
            "epochs_scored": "Scored", "modalities": "Sensors", "channels": "Channels",
            "derived": "Derived", "left_out": "Left out", "labels": "Labels", "notes": "Notes",
        }  # fmt: skip
        optional = ("channels", "derived", "left_out", "notes")
        shown = [name for name in columns if name not in optional or table[name].any()]
        rows = []
        head = table.head(_ROWS_LISTED)
        for name, row in zip(map(str, head.index), head.to_dict("records"), strict=True):
            cells = {**row, "hours": number(row["hours"], 2), "start": _start_text(row["start"])}
            rows.append([name, *(cells[column] for column in shown)])
        section.table(
            "Quality by night", ["Night", *(columns[name] for name in shown)], rows,
            first_number=len(shown) + 1, note=_rest(len(table), "nights"),
        )  # fmt: skip


def _start_text(start: Any) -> str:
    return NO_VALUE if start is None or pd.isna(start) else f"{start:%Y-%m-%d %H:%M}"


def _describe_coverage(
    page: ReportPage, cohort: Cohort, nights: Sequence[_Night], coverage: bool
) -> None:
    with page.section("Coverage by sensor") as section:
        counts = pd.Series([name for night in cohort for name in night.modalities]).value_counts()
        section.table(
            "Nights by sensor", ["Sensor", "Nights", "%"],
            [
                [name, str(counts[name]), number(100 * counts[name] / len(cohort), 0)]
                for name in MODALITIES if name in counts.index
            ],
        )  # fmt: skip
        names = [name for name in MODALITIES if any(name in night.hours for night in nights)]
        if not names:
            section.text("No signals could be read." if coverage else "Signals were not read.")
            return
        table = np.array([[night.hours.get(name, np.nan) for name in names] for night in nights])
        rows = []
        for name, hours in zip(names, table.T, strict=True):
            known = hours[np.isfinite(hours)]
            low, middle, high = np.percentile(known, [25, 50, 75])
            empty = str(int((known == 0).sum()))
            cells = [f"{number(middle, 2)} ({number(low, 2)} to {number(high, 2)})", empty]
            rows.append([name, str(len(known)), *cells])
        section.table(
            "Hours of usable signal",
            ["Sensor", "Nights", "Median (quartiles), h", "Nights without any"],
            rows,
        )
        longest = np.nanmax(table)
        binned, per_row = _bin_rows(table / longest if longest else table)
        named = [night.name for night in nights] if len(nights) <= _ROWS_NAMED else []
        each = "a row is a night" if per_row == 1 else f"a row is the mean of {per_row} nights"
        section.picture(
            f"Coverage of {len(names)} sensors in {len(nights)} nights; the table above has the "
            "hours.",
            (6.8, 1.0 + max(2.0, min(0.22 * len(binned), 6.0))),
            lambda figure: _draw_coverage(figure, binned, names, named, float(longest)),
            f"Hours of usable signal by night and sensor; {each}, white is no such sensor",
        )


def _bin_rows(table: np.ndarray) -> tuple[np.ndarray, int]:
    """Means over neighbouring nights, where there are more than can be drawn; NaN is left out."""
    per_row = -(-len(table) // _ROWS_DRAWN)
    if per_row == 1:
        return table, 1
    groups = np.arange(len(table)) // per_row
    return pd.DataFrame(table).groupby(groups).mean().to_numpy(), per_row


def _draw_coverage(
    figure: Figure, shares: np.ndarray, names: Sequence[str], nights: Sequence[str],
    longest: float,
) -> None:  # fmt: skip
    ax = figure.subplots()
    image = ax.imshow(
        shares * longest, aspect="auto", interpolation="nearest", cmap="cividis", vmin=0,
        vmax=longest or 1,
    )  # fmt: skip
    ax.set_xticks(range(len(names)), names, rotation=45, ha="right")
    if nights:
        ax.set_yticks(range(len(nights)), [_plain(name) for name in nights])
    else:
        ax.set(yticks=[], ylabel="nights, in the order of the cohort")
    figure.colorbar(image, ax=ax, label="hours")


def _plain(text: str) -> str:
    """A name of a tick; a dollar sign would begin a formula."""
    return shorten(text)[:24].replace("$", r"\$")


def _describe_stages(page: ReportPage, nights: Sequence[_Night]) -> None:
    with page.section("Scored stages") as section:
        scored = [night for night in nights if night.shares is not None]
        if not scored:
            section.text("No night is scored.")
            return
        shares = np.array([night.shares for night in scored])
        low, middle, high = np.percentile(100 * shares, [25, 50, 75], axis=0)
        section.text(f"{len(scored)} of {len(nights)} nights are scored.")
        section.table(
            "Share of the scored epochs", ["Stage", "Median (quartiles), %", "Nights without it"],
            [
                [stage.name,
                 f"{number(middle[i])} ({number(low[i])} to {number(high[i])})",
                 str(int((shares[:, i] == 0).sum()))]
                for i, stage in enumerate(_STAGES)
            ],
        )  # fmt: skip
        binned, per_row = _bin_rows(shares)
        each = "a bar is a night" if per_row == 1 else f"a bar is the mean of {per_row} nights"
        section.picture(
            f"Share of each stage in the {len(scored)} scored nights, stacked.",
            (9.5, 2.8),
            lambda figure: _draw_stages(figure, binned),
            f"Share of each scored stage; {each}, in the order of the cohort",
        )


def _draw_stages(figure: Figure, shares: np.ndarray) -> None:
    from ..plotting.night import STAGE_COLORS

    ax = figure.subplots()
    bottom, x = np.zeros(len(shares)), np.arange(len(shares))
    for stage in reversed(STAGE_COLORS):
        heights = shares[:, stage]
        ax.bar(x, heights, 1.0, bottom, color=STAGE_COLORS[stage], label=stage.name, linewidth=0)
        bottom = bottom + heights
    ax.set(xlim=(-0.5, len(shares) - 0.5), ylim=(0, 1), xticks=[], xlabel="nights")
    ax.set_ylabel("share of scored epochs")
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(handles[::-1], labels[::-1], loc="center left", bbox_to_anchor=(1, 0.5),
              frameon=False)  # fmt: skip
    ax.spines[["top", "right"]].set_visible(False)


def _describe_outliers(
    page: ReportPage, cohort: Cohort, nights: Sequence[_Night], coverage: bool
) -> None:
    with page.section("Outliers in units and clocks") as section:
        found = [
            (night.name, *row)
            for night, recording in zip(nights, cohort, strict=True)
            for row in [*_odd_clocks(recording), *_odd_units(night)]
        ]
        found += _overlapping(cohort, nights)
        found += _odd_amplitudes(nights)
        if found:
            counts = pd.Series([what for _, what, *_ in found]).value_counts()
            section.table(
                "Outliers by kind", ["What", "Number"], [[w, str(n)] for w, n in counts.items()]
            )
            section.table(
                "Nights to look at", ["Night", "What", "Found", "Rule or likely cause"],
                found[:_ROWS_LISTED], first_number=4, note=_rest(len(found), "outliers"),
            )  # fmt: skip
        else:
            section.text("No night is an outlier by the rules below.")
        if not coverage:
            section.text("Signals were not read, so units and amplitudes were not looked at.")
        section.text("The rules; a night that is listed may be right nevertheless.")
        section.list(_RULES)
        _picture_starts(section, cohort)


# what, found, rule; with the night's name before them in a row of the table
_Odd = tuple[str, str, str]
_OddRow = tuple[str, str, str, str]


def _odd_clocks(night: Recording) -> Iterable[_Odd]:
    hours, start = night.duration / 3600, night.start
    if hours < _SHORTEST:
        yield "duration", f"{hours:.2f} h", f"below {_SHORTEST:g} h"
    if hours > _LONGEST:
        yield "duration", f"{hours:.2f} h", f"above {_LONGEST:g} h: a day, or several nights"
    if start is None:
        yield "start", "not known", "no start in the file"
    else:
        if _DAY[0] <= start.hour < _DAY[1]:
            rule = "begins in the day: another time zone, or 12 h for 24 h"
            yield "start", f"{start:%H:%M}", rule
        if start.year < _EARLIEST_YEAR:
            yield "date", f"{start:%Y-%m-%d}", "moved when the file was anonymised, or missing"
        elif start.replace(tzinfo=None) > datetime.now():
            yield "date", f"{start:%Y-%m-%d}", "in the future"
    off, on = night.lights or (None, None)
    known = [at for at in (off, on) if at is not None]
    outside = any(at < 0 or at > night.duration for at in known)
    if outside or (len(known) == 2 and known[0] >= known[1]):
        yield "lights", f"off {off}, on {on} s", "outside of the recording, or reversed"


def _odd_units(night: _Night) -> Iterable[_Odd]:
    spo2, ibi = night.medians.get("spo2", np.nan), night.medians.get("ibi", np.nan)
    if spo2 < _LOWEST_SPO2:
        cause = "a fraction taken as %" if 0 < spo2 <= 1 else f"median below {_LOWEST_SPO2:g} %"
        yield "spo2", f"median {spo2:.3g} %", cause
    if ibi > _LONGEST_IBI:
        cause = "ms taken as s" if ibi > 200 else "beats per minute taken as s"
        yield "ibi", f"median {ibi:.3g} s", cause
    for name, spread in night.amplitudes.items():
        plausible = get_modality(name).plausible
        if plausible is None or not spread > 0:
            continue
        low, high = plausible
        if not low <= spread <= high:
            units = [u for u, factor in MICROVOLTS.items() if low <= spread * factor <= high]
            cause = f"{' or '.join(units)} taken as uV" if units else "gain or unit"
            yield name, f"interquartile range {spread:.3g} uV", cause


def _overlapping(cohort: Cohort, nights: Sequence[_Night]) -> list[_OddRow]:
    """Nights of one subject that begin before the one before has ended."""
    starts = [r.start for r in cohort]
    # by the clock where only some have a time zone
    if any(start is not None and start.tzinfo is None for start in starts):
        starts = [None if start is None else start.replace(tzinfo=None) for start in starts]
    known = [
        (str(r.subject), pd.Timestamp(start), r.duration, night.name)
        for r, start, night in zip(cohort, starts, nights, strict=True)
        if start is not None and r.subject is not None
    ]
    known.sort(key=lambda item: item[:2])
    found = []
    for (subject, start, duration, name), (later, begin, _, other) in pairwise(known):
        if subject == later and (begin - start).total_seconds() < duration:
            found.append((other, "start", f"{begin:%Y-%m-%d %H:%M}", f"overlaps with {name}"))
    return found


def _odd_amplitudes(nights: Sequence[_Night]) -> list[_OddRow]:
    """Nights whose sensor reads in another size than in the other nights."""
    found: list[_OddRow] = []
    for name, modality in MODALITIES.items():
        absolute = modality.conditioning.scaling == "absolute"
        values = np.array(
            [(night.medians if absolute else night.amplitudes).get(name, np.nan)
             for night in nights]
        )  # fmt: skip
        known = np.isfinite(values) & ((values > 0) | absolute)
        if known.sum() < _FEWEST_FOR_Z:
            continue
        scale = values if absolute else np.log(np.where(known, values, 1))
        middle = np.median(scale[known])
        distance = np.abs(scale - middle)
        deviation = np.median(distance[known])
        if not deviation:
            continue
        z = _MAD_OF_NORMAL * distance / deviation
        odd = known & (z > _LARGEST_Z)
        if not absolute:
            odd &= distance >= np.log(_SMALLEST_FACTOR)
        what = "median" if absolute else "interquartile range"
        usual = middle if absolute else np.exp(middle)
        found += [
            (nights[i].name, name, f"{what} {values[i]:.3g} {modality.unit}",
             f"usual are {usual:.3g}; robust z {z[i]:.1f}")
            for i in np.flatnonzero(odd).tolist()
        ]  # fmt: skip
    return found


def _picture_starts(section: Section, cohort: Cohort) -> None:
    starts = [r.start.hour + r.start.minute / 60 for r in cohort if r.start is not None]
    if not starts:
        return
    hours = [night.duration / 3600 for night in cohort]
    # noon to noon, so that nights do not part at midnight
    clock = (np.array(starts) - 12) % 24
    middle = clock_text(float(np.median(clock)) + 12)
    section.picture(
        f"Clock times of {len(starts)} starts, median {middle}, and durations of {len(hours)} "
        f"nights, median {np.median(hours):.1f} h.",
        (9.5, 2.3),
        lambda figure: _draw_starts(figure, clock, hours),
        "Clock time of the start, and duration",
    )


def _draw_starts(figure: Figure, clock: np.ndarray, hours: Sequence[float]) -> None:
    left, right = figure.subplots(1, 2)
    left.hist(clock, bins=np.arange(0, 24.5, 0.5), color="#0072b2")
    left.set_xticks(range(0, 25, 4), [clock_text(h + 12) for h in range(0, 25, 4)])
    left.set(xlabel="Start, clock time", ylabel="nights")
    right.hist(hours, bins=min(40, max(5, len(hours))), color="#0072b2")
    right.set(xlabel="Duration, hours")
    for ax in (left, right):
        ax.spines[["top", "right"]].set_visible(False)
