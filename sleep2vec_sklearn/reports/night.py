# SPDX-License-Identifier: BSD-3-Clause
"""Report of one night: sensors, stages, sleep statistics, breathing, events, what was left out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..errors import InvalidRecordingError
from ..evaluation._lights import clock_times, hours_of_open_window, place_lights
from ..evaluation.respiratory import (
    oximetry_statistics,
    respiratory_statistics,
    saturation_per_second,
)
from ..evaluation.sleep_statistics import sleep_periods, sleep_statistics
from ..recordings._usable import find_good_epochs
from ..recordings.modality import EPOCH_SECONDS, get_modality
from ..recordings.recording import (
    Recording,
    as_recording,
    describe_recording,
    keep_signals,
    prefix_errors,
)
from ..recordings.sources import usable_seconds
from ._page import (
    NO_VALUE,
    ReportPage,
    Section,
    align_night,
    describe_error,
    label_clock,
    list_versions,
    number,
    shorten,
)
from ._stages import STATISTICS, describe_card, describe_stages, scored_stages

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..finetuning.staged_night import StagedNight

_HOURS_PER_EPOCH = EPOCH_SECONDS / 3600
_EVENTS_LISTED = 40
_LONG_NIGHT, _SHORT_NIGHT = 12, 1
_BLUE, _GREY = "#0072b2", "#777777"
# what is shown of a subject; a header may hold a name in any other field
_SUBJECT_FIELDS = {
    "Age": (("age", "nsrr_age"), "years"),
    "Sex": (("sex", "nsrr_sex"), ""),
    "BMI": (("bmi", "nsrr_bmi"), "kg/m²"),
    "Site": (("site",), ""),
}
_SEXES = {"0": "female", "1": "male", "f": "female", "m": "male"}
_RESPIRATION = {
    "ahi": ("Apnea-hypopnea index", "per hour of sleep", 1),
    "apnea_index": ("Apnea index", "per hour of sleep", 1),
    "hypopnea_index": ("Hypopnea index", "per hour of sleep", 1),
    "arousal_index": ("Arousal index", "per hour of sleep", 1),
    "obstructive_apneas": ("Obstructive apneas", "", 0),
    "central_apneas": ("Central apneas", "", 0),
    "mixed_apneas": ("Mixed apneas", "", 0),
    "apneas": ("Apneas, all", "", 0),
    "hypopneas": ("Hypopneas that count", "", 0),
    "hypopneas_left_out": ("Hypopneas left out by the rule", "", 0),
    "hypopneas_unjudged": ("Hypopneas unjudged", "", 0),
    "mean_event_s": ("Mean duration of events", "s", 1),
    "sleep_hours": ("Sleep", "h", 2),
}
_RULES = {"3%": "Rule 3 % (AASM 1A)", "4%": "Rule 4 % (AASM 1B)"}
_OXYGEN = {
    "mean_spo2": ("Mean saturation", "%", 1),
    "nadir_spo2": ("Lowest saturation", "%", 0),
    "t90_min": ("Time below 90 %", "min", 1),
    "t90_pct": ("Time below 90 %", "% of valid time", 1),
    "t88_min": ("Time below 88 %", "min", 1),
    "odi3": ("Desaturations of 3 points or more", "per hour of sleep", 1),
    "odi4": ("Desaturations of 4 points or more", "per hour of sleep", 1),
    "hypoxic_burden": ("Hypoxic burden", "% min / h", 1),
    "valid_hours": ("Sleep with a usable saturation", "h", 2),
    "valid_pct": ("Sleep with a usable saturation", "%", 0),
}


def night_report(
    night: Any, path: str | os.PathLike | None = None, *, stager: Any = "bundled",
    staged: StagedNight | None = None, lights: Any = None, title: str | None = None,
) -> str:  # fmt: skip
    """Describe one night in an HTML file that needs no other.

    Who and when, sensors with their coverage, scored and predicted stages with their confidence,
    sleep statistics, respiratory indices and oxygen saturation, events, what was left out, and the
    versions and scores of what staged it. A part that cannot be made says why in the report.

    Parameters
    ----------
    night : Recording, dict or path
        Of any length, with or without labels, events and lights.
    path : path, optional
        File to write, in one step.
    stager : optional
        As of :func:`~sleep2vec_sklearn.stage_night`; None predicts no stages.
    staged : StagedNight, optional
        Stages predicted before, which saves to predict them again.
    lights : (off, on), "main" or "recording", optional
        As of :func:`~sleep2vec_sklearn.evaluation.sleep_statistics`; by default those of the
        recording, and "main" where these are not known and it is longer than 12 h. Indices of
        breathing refer to the recording's own.
    title : str, optional
        By default "Night" and the recording's id.

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
        If it is no recording, or ``lights`` or ``staged`` do not fit it.
    ReadError
        If the night cannot be read.

    Notes
    -----
    The library's warnings are listed in the report and not given again. Of the metadata it shows
    age, sex, BMI and site, as other fields of a file may hold a name.

    Examples
    --------
    >>> from sleep2vec_sklearn import make_sleep_cohort
    >>> from sleep2vec_sklearn.reports import night_report
    >>> night = make_sleep_cohort(1, hours=1, modalities=["ibi"], random_state=0)[0]
    >>> html = night_report(night)
    >>> html.count("<h1>Night sim-0001-n1</h1>")
    1
    """
    page = ReportPage("", path)
    with page.collecting():
        # each signal is read once, for all that follows
        recording = keep_signals(_as_night(night))
    window = _check_window(recording, lights)
    if staged is not None and len(staged.stages) != recording.n_epochs:
        raise InvalidRecordingError(
            f"staged has {len(staged.stages)} epochs, {describe_recording(recording)} has "
            f"{recording.n_epochs}; accepted are stages of this night. Pass stage_night(night)."
        )
    name = recording.subject if recording.id is None else recording.id
    page.title = title or ("One night" if name is None else f"Night {name}")
    _describe_recording(page, recording)
    good = _describe_sensors(page, recording)
    if staged is None and stager is not None:
        staged = _stage(page, recording, stager)
    describe_stages(page, recording, staged, window)
    _describe_sleep(page, recording, staged, window, passed=lights is not None)
    _describe_breathing(page, recording, staged)
    _describe_events(page, recording)
    _describe_left_out(page, recording, staged, good)
    _describe_origin(page, staged)
    return page.finish()


def _as_night(night: Any) -> Recording:
    if isinstance(night, str | os.PathLike):
        from .. import read_recording

        return read_recording(night)
    return as_recording(night)


def _check_window(night: Recording, lights: Any) -> Any:
    """What sleep statistics refer to: what was passed, else the main period of a long recording."""
    if lights is None:
        return "main" if hours_of_open_window(night.n_epochs, night.lights) else None
    if isinstance(lights, str):
        return lights
    with prefix_errors(describe_recording(night)):
        return place_lights(lights, night.start, night.duration)


def _describe_recording(page: ReportPage, night: Recording) -> None:
    hours = night.duration / 3600
    begin = "at an unknown time" if night.start is None else f"{night.start:%Y-%m-%d %H:%M:%S}"
    page.lead.append(
        f"{hours:.1f} hours, begun {begin}; {len(night.modalities)} sensors: "
        f"{', '.join(night.modalities)}."
    )
    with page.section("Subject and recording") as section:
        rows = [["Recording", shorten(night.id)], ["Subject", shorten(night.subject)]]
        rows += [[label, _subject_field(night, *how)] for label, how in _SUBJECT_FIELDS.items()]
        rows.append(["Start", NO_VALUE if night.start is None else str(night.start)])
        if night.start is not None:
            rows.append(
                ["End", str(clock_times(night.start, np.array([round(night.duration)]))[0])]
            )
        n_scored = 0 if night.stages is None else int((night.stages >= 0).sum())
        rows += [
            ["Duration", f"{hours:.2f} h, {night.n_epochs} epochs of {EPOCH_SECONDS} s"],
            ["Lights", _describe_lights(night)],
            ["Scored epochs", f"{n_scored} of {night.n_epochs}"],
            ["Scored events", "none known" if night.events is None else str(len(night.events))],
        ]
        section.table("Who and when", ["", ""], rows, first_number=2)
        if hours < _SHORT_NIGHT:
            section.note(f"The recording is shorter than {_SHORT_NIGHT} hour.")
        if hours > _LONG_NIGHT and night.lights is None:
            section.note(
                f"The recording is longer than {_LONG_NIGHT} h, and its lights are not known."
            )


def _subject_field(night: Recording, keys: Sequence[str], unit: str) -> str:
    value = next((night.metadata[key] for key in keys if key in night.metadata), None)
    if value is None or bool(pd.api.types.is_scalar(value) and pd.isna(value)):
        return NO_VALUE
    if "sex" in keys:
        text = str(value).strip().lower().removesuffix(".0")
        return _SEXES.get(text, shorten(value))
    text = f"{value:g}" if isinstance(value, float) else shorten(value)
    return f"{text} {unit}".strip()


def _describe_lights(night: Recording) -> str:
    if night.lights is None:
        return "not known"
    return "; ".join(
        f"{name} {NO_VALUE if at is None else _time_of(at, night.start)}"
        for name, at in zip(("off", "on"), night.lights, strict=False)
    )


def _time_of(seconds: float, start: datetime | None) -> str:
    """Clock time of an offset, where the start is known, and the offset."""
    minutes = seconds / 60
    offset = f"{minutes:.1f} min after the start"
    if start is None or not np.isfinite(seconds):
        return offset
    return f"{_clock_of(seconds, start)} ({offset})"


def _describe_sensors(page: ReportPage, night: Recording) -> dict[str, np.ndarray]:
    """The table and picture of sensors; returns in which epochs each is on."""
    good: dict[str, np.ndarray] = {}
    with page.section("Sensors") as section:
        rows = []
        for name in night.modalities:
            rate = unit = channel = NO_VALUE
            hours = None
            try:
                signal = night.signal(name)
                rate, unit = f"{signal.rate:g}", signal.unit
                good[name] = find_good_epochs(signal, name, night.n_epochs, coarse=True)
                hours = usable_seconds(signal, get_modality(name), night.duration) / 3600
                # which channel is read may be settled by reading
                channel = " + ".join(night.derivations.get(name, ())) or NO_VALUE
            except Exception as error:
                section.note(f"{name} cannot be read: {describe_error(error)}")
            share = None if hours is None else 100 * hours * 3600 / night.duration
            origin = "derived" if name in night.derived else "recorded"
            cells = [name, channel, origin, unit, rate, number(hours, 2), number(share, 0)]
            rows.append(cells)
        section.table(
            "Sensors and their coverage",
            ["Sensor", "Channel", "Origin", "Unit", "Rate, Hz", "Usable, h", "Usable, %"],
            rows, first_number=4,
            note="Usable: not a gap, not flat, and within what such a sensor reads. Derived "
            "signals are computed from another sensor of the night.",
        )  # fmt: skip
        if good:
            shares = ", ".join(f"{name} {100 * on.mean():.0f} %" for name, on in good.items())
            section.picture(
                f"Epochs with a usable signal, by sensor: {shares}.",
                (9.5, 0.8 + 0.24 * len(good)),
                lambda figure: _draw_coverage(figure, good, night.start),
                "Epochs with a usable signal, by sensor",
            )
    return good


def _draw_coverage(figure: Figure, good: Mapping[str, np.ndarray], start: datetime | None) -> None:
    ax = figure.subplots()
    align_night(figure)
    n_epochs = len(next(iter(good.values())))
    for row, on in enumerate(good.values()):
        ax.broken_barh([(0, n_epochs * _HOURS_PER_EPOCH)], (row - 0.35, 0.7), color="#ececec")
        ax.broken_barh(_spans(on), (row - 0.35, 0.7), color=_BLUE, linewidth=0)
    ax.set_yticks(range(len(good)), list(good))
    ax.set_ylim(len(good) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.spines[["top", "right", "left"]].set_visible(False)
    label_clock(ax, start, n_epochs * _HOURS_PER_EPOCH)


def _spans(on: np.ndarray) -> list[tuple[float, float]]:
    """Begin and length in hours of runs of epochs."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], on.astype(np.int8), [0]])))
    begins, ends = edges[::2] * _HOURS_PER_EPOCH, edges[1::2] * _HOURS_PER_EPOCH
    return list(zip(begins, ends - begins, strict=True))


def _stage(page: ReportPage, night: Recording, stager: Any) -> StagedNight | None:
    from .. import stage_night

    staged = None
    with page.section("Staging") as section:
        try:
            staged = stage_night(night, stager=stager)
        except Exception as error:
            section.note(f"The night could not be staged: {describe_error(error)}")
    return staged


def _describe_sleep(
    page: ReportPage, night: Recording, staged: StagedNight | None, window: Any, passed: bool
) -> None:
    with page.section("Sleep statistics") as section:
        sides = {"Scored": scored_stages(night),
                 "Predicted": None if staged is None else staged.stages}  # fmt: skip
        known = {name: y for name, y in sides.items() if y is not None and (y >= 0).any()}
        if not known:
            section.text("There are no stages to compute them from.")
            return
        columns = {
            name: sleep_statistics(night, stages=stages, lights=window)
            for name, stages in known.items()
        }
        section.text(_describe_window(columns, night, window, passed))
        _add_statistics(section, "Sleep statistics", STATISTICS, columns)
        name, stages = next(iter(known.items()))
        periods = sleep_periods(night, stages=stages)
        if len(periods) > 1 or (len(periods) and window == "main"):
            _add_periods(section, periods, night, name.lower())


def _describe_window(
    columns: Mapping[str, pd.Series], night: Recording, window: Any, passed: bool
) -> str:
    row = next(iter(columns.values()))
    off, on = (60 * float(row[name]) for name in ("window_start_min", "window_end_min"))
    ends = f"{_time_of(off, night.start)} to {_time_of(on, night.start)}"
    if window == "main":
        why = "" if passed else "Lights off and on are not known. "
        sides = "".join(
            f", {name.lower()} {_time_of(60 * values['window_start_min'], night.start)} to "
            f"{_time_of(60 * values['window_end_min'], night.start)}"
            for name, values in columns.items()
        )
        return (
            f"{why}The values refer to the main sleep period{sides}; those that need the lights "
            "are a dash."
        )
    if window == "recording":
        return f"They refer to the whole recording, {ends}, whatever its lights."
    if window is not None:
        return f"They refer to lights off and on as passed for this report, {ends}."
    if night.lights is None:
        return (
            "Lights off and on are not known: latencies, efficiency and time in bed refer to all "
            f"{(on - off) / 3600:.1f} h, {ends}."
        )
    return f"They refer to lights off and on of the recording, {ends}."


def _add_periods(section: Section, periods: pd.DataFrame, night: Recording, which: str) -> None:
    rows = [
        ["main" if period.is_main else "other", _time_of(period.onset_s, night.start),
         _time_of(period.end_s, night.start), number(period.tst_min), number(period.waso_min)]
        for period in periods.itertuples()
    ]  # fmt: skip
    section.table(
        f"Sleep periods, from the {which} stages",
        ["Period", "Sleep onset", "End of sleep", "Sleep, min", "Wake in it, min"], rows, 3,
        note="Sleep that is an hour or more apart is of two periods; the main one has most sleep.",
    )  # fmt: skip


def _add_statistics(
    section: Section, caption: str, labels: Mapping[str, tuple[str, str, int]],
    columns: Mapping[str, pd.Series], note: str = "",
) -> None:  # fmt: skip
    rows = [
        [label, unit, *(number(values.get(name), digits) for values in columns.values())]
        for name, (label, unit, digits) in labels.items()
        if any(name in values for values in columns.values())
    ]
    headings = ["", "Unit", *columns]
    section.table(caption, headings, rows, first_number=2, note=note)


def _describe_breathing(page: ReportPage, night: Recording, staged: StagedNight | None) -> None:
    if night.events is None and "spo2" not in night:
        return
    scored = scored_stages(night)
    stages = scored if scored is not None else None if staged is None else staged.stages
    kind = "scored" if scored is not None else "predicted"
    refers = (
        f"Hours of sleep are those of the {kind} stages."
        if stages is not None
        else "No stages are known: the whole recording counts as sleep."
    )
    if night.events is not None:
        with page.section("Respiratory indices") as section:
            section.text(refers)
            columns = {
                text: respiratory_statistics(night, hypopnea_rule=rule, stages=stages)
                for rule, text in _RULES.items()
            }
            _add_statistics(
                section, "Respiratory indices, by the rule for hypopneas", _RESPIRATION, columns,
                note="Rule 3 %: a hypopnea needs a desaturation of 3 points or an arousal; rule "
                "4 %: a desaturation of 4 points. A dash: not known, as there is no sleep, or as "
                "names or durations of events do not tell; see what was left out.",
            )  # fmt: skip
    if "spo2" in night:
        with page.section("Oxygen saturation") as section:
            section.text(refers)
            _add_statistics(
                section, "Oxygen saturation in sleep", _OXYGEN,
                {"Value": oximetry_statistics(night, stages=stages)},
            )  # fmt: skip
            saturation = saturation_per_second(night)
            if np.isfinite(saturation).any():
                section.picture(
                    f"Oxygen saturation through the night; median {np.nanmedian(saturation):.0f} "
                    f"%, lowest {np.nanmin(saturation):.0f} %.",
                    (9.5, 2.4),
                    lambda figure: _draw_saturation(figure, saturation, night),
                    "Oxygen saturation: median and range of each minute",
                )


def _draw_saturation(figure: Figure, saturation: np.ndarray, night: Recording) -> None:
    ax = figure.subplots()
    align_night(figure)
    by_minute = pd.Series(saturation).groupby(np.arange(len(saturation)) // 60)
    middle = by_minute.median()
    hours = (middle.index.to_numpy() + 0.5) / 60
    ax.fill_between(hours, by_minute.min(), by_minute.max(), color=_BLUE, alpha=0.3, linewidth=0)
    ax.plot(hours, middle, color=_BLUE, linewidth=0.9)
    ax.axhline(90, color=_GREY, linewidth=0.7, linestyle=":")
    ax.set(ylabel="SpO2, %", ylim=(min(80.0, float(by_minute.min().min()) - 1), 100.5))
    ax.spines[["top", "right"]].set_visible(False)
    label_clock(ax, night.start, night.n_epochs * _HOURS_PER_EPOCH)


def _describe_events(page: ReportPage, night: Recording) -> None:
    with page.section("Events") as section:
        events = night.events
        if events is None:
            section.text("No events are known; nobody scored them, or they were not read.")
            return
        if not len(events):
            section.text("The table of events is empty: nothing was scored.")
            return
        duration = pd.to_numeric(events["duration"], errors="coerce")
        groups = duration.groupby(events["type"].astype(str))
        table = groups.agg(["size", "median", "sum"]).sort_values("size", ascending=False)
        section.table(
            "Events by type, as named in the file",
            ["Type", "Number", "Median duration, s", "Sum, min"],
            [
                [name, str(int(n)), number(median, 1), number(total / 60, 1)]
                for name, n, median, total in table.head(_EVENTS_LISTED).itertuples()
            ],
            note=_rest(len(table), "types"),
        )
        kinds = [str(name) for name in table.index[:8]]
        section.picture(
            f"When events of the most frequent types happened: {', '.join(kinds)}.",
            (9.5, 0.8 + 0.26 * len(kinds)),
            lambda figure: _draw_events(figure, events, kinds, night),
            "Events of the most frequent types",
        )
        first = events.sort_values("onset", kind="stable").head(_EVENTS_LISTED)
        section.table(
            "Events in the order of time",
            ["Type", "Clock time", "Onset, s", "Duration, s"],
            [
                [str(e.type), _clock_of(e.onset, night.start), number(e.onset), number(e.duration)]
                for e in first.itertuples()
            ],
            note=_rest(len(events), "events"),
        )


def _rest(n: int, what: str) -> str:
    return f"The first {_EVENTS_LISTED} of {n} {what}." if n > _EVENTS_LISTED else ""


def _clock_of(seconds: float, start: datetime | None) -> str:
    if start is None or not np.isfinite(seconds):
        return NO_VALUE
    return f"{clock_times(start, np.array([float(seconds)]))[0]:%H:%M:%S}"


def _draw_events(
    figure: Figure, events: pd.DataFrame, kinds: Sequence[str], night: Recording
) -> None:
    ax: Axes = figure.subplots()
    # a dollar sign would begin a formula
    names = [shorten(kind).replace("$", r"\$")[:40] for kind in kinds]
    align_night(figure, left=max(0.1, 0.02 + 0.0075 * max(map(len, names))))
    types = events["type"].astype(str)
    for row, kind in enumerate(kinds):
        spans = events.loc[types == kind, ["onset", "duration"]].to_numpy(dtype=float) / 3600
        spans[:, 1] = np.maximum(spans[:, 1], 1 / 240)  # visible
        ax.broken_barh(spans.tolist(), (row - 0.35, 0.7), color=_BLUE, linewidth=0)
    ax.set_yticks(range(len(kinds)), names)
    ax.set_ylim(len(kinds) - 0.5, -0.5)
    ax.spines[["top", "right"]].set_visible(False)
    label_clock(ax, night.start, night.n_epochs * _HOURS_PER_EPOCH)


def _describe_left_out(
    page: ReportPage, night: Recording, staged: StagedNight | None, good: Mapping[str, np.ndarray]
) -> None:
    with page.section("What was left out, and why") as section:
        texts = [str(note) for note in night.notes]
        texts += [f"{name}: no epoch with a usable signal" for name, on in good.items()
                  if not on.any()]  # fmt: skip
        if staged is not None and staged.left_out:
            texts.append(f"not used to predict stages: {', '.join(staged.left_out)}")
        texts += page.warnings
        if texts:
            section.list(list(dict.fromkeys(texts)))
        else:
            section.text("Nothing that the library knows of.")


def _describe_origin(page: ReportPage, staged: StagedNight | None) -> None:
    with page.section("How the stages were predicted, and versions") as section:
        if staged is None:
            section.text("No stages were predicted.")
        else:
            describe_card(section, staged.card)
        section.table("Versions", ["Package", "Version"], list_versions(), first_number=2)
