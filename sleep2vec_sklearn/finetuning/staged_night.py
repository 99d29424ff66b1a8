# SPDX-License-Identifier: BSD-3-Clause
"""The stages of one night, their statistics, and the files and pictures they leave as."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._files import write_atomic
from .._html import as_html
from ..evaluation._lights import (
    clock_times,
    hours_of_open_window,
    warn_of_hours,
    warn_of_passed,
)
from ..evaluation.review import review_order
from ..evaluation.sleep_statistics import statistics_of_stages
from ..recordings.modality import EPOCH_SECONDS
from ..recordings.stages import SleepStage
from ._stage_head import STAGES

if TYPE_CHECKING:
    import yasa

# the years that the two digits of an EDF header stand for
_EDF_YEARS = range(1985, 2085)
_YASA_STAGES = {"unscored": "UNS", "W": "WAKE", "R": "REM"}
_SHOWN = {
    "Time in bed (TIB)": "tib_min",
    "Total sleep time (TST)": "tst_min",
    "Sleep efficiency": "sleep_efficiency_pct",
    "Sleep onset latency": "sol_min",
    "REM latency": "rem_latency_min",
    "Wake after sleep onset (WASO)": "waso_min",
    **{stage: f"{stage.lower()}_min" for stage in ("N1", "N2", "N3", "R")},
}
_UNITS = {"min": "min", "pct": "%"}
# left, right, first level and step of the picture of a night, in its own pixels
_LEFT, _RIGHT, _TOP, _STEP = 34, 632, 12, 19
_LEVELS = (SleepStage.W, SleepStage.R, SleepStage.N1, SleepStage.N2, SleepStage.N3)


@dataclass(frozen=True, eq=False)
class StagedNight:
    """Stages of a night, from :func:`stage_night`.

    Attributes
    ----------
    id : str or None
        Of the recording.
    stages : int8 ndarray of shape (n_epochs,)
        The most probable stage; -1 where no sensor has a signal.
    probabilities : DataFrame of shape (n_epochs, 5)
        The hypnodensity: columns W, N1, N2, N3, R; NaN where no sensor has a signal.
    measured : bool DataFrame of shape (n_epochs, n_modalities)
        Which sensors each epoch was staged from.
    agreement : float64 ndarray of shape (n_epochs,)
        Share of the voters whose own most probable stage is the one chosen, 1 if there is one
        voter; sensors count by the weight of their vote. NaN where no sensor has a signal.
    voters : tuple of str
        Who voted: the sensors for the bundled stager, the programs for "vote", else one.
    derivations : dict of str to str
        Channel that a sensor was read from, such as "C4-A1", where the recording knows it.
    left_out : tuple of str
        Sensors that are flat or without samples.
    lights : (float or None, float or None) or None
        Lights-off and lights-on of the recording, in seconds from its start.
    start : datetime or None
        Clock time at which the recording, and its first epoch, starts.
    embedding : float32 ndarray of shape (n_epochs, width)
        The encoder's states, fused by their mean; None if the stager has none.
    card : dict
        The stager's training data, and its scores on other subjects.

    Examples
    --------
    >>> from sleep2vec_sklearn import make_sleep_cohort, stage_night
    >>> night = make_sleep_cohort(1, hours=2, modalities=["eeg"], missing=0, random_state=0)[0]
    >>> stage_night(night).to_frame().columns.tolist()
    ['onset', 'clock', 'stage', 'W', 'N1', 'N2', 'N3', 'R', 'n_modalities', 'agreement']
    """

    id: str | None
    stages: np.ndarray
    probabilities: pd.DataFrame = field(repr=False)
    measured: pd.DataFrame = field(repr=False)
    agreement: np.ndarray = field(repr=False)
    voters: tuple[str, ...] = ()
    derivations: dict[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    lights: tuple | None = None
    start: datetime | None = None
    embedding: np.ndarray | None = field(repr=False, default=None)
    card: dict = field(repr=False, default_factory=dict)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Sensors that were used."""
        return tuple(self.measured.columns)

    @property
    def rests_on(self) -> str:
        """How much of the night each sensor covers, its channel, and which programs voted."""
        shares = [
            f"{name} ({self.derivations[name]})" if name in self.derivations else name
            for name in self.modalities
        ]
        values = zip(shares, self.measured.mean(), strict=True)
        listed = ", ".join(f"{name} {100 * share:.0f} %" for name, share in values)
        absent = f"; without a signal: {', '.join(self.left_out)}" if self.left_out else ""
        others = tuple(voter for voter in self.voters if voter not in self.modalities)
        by = f"; staged by: {', '.join(others)}" if others else ""
        return f"share of the night with a signal: {listed}{absent}{by}"

    def statistics(self, *, lights: Sequence[Any] | str | None = None) -> pd.Series:
        """Sleep statistics of the staged night.

        Parameters
        ----------
        lights : (off, on), "main" or "recording", optional
            What they refer to, in seconds from the start or as clock times, as of
            :func:`~sleep2vec_sklearn.evaluation.sleep_statistics`; by default :attr:`lights`.

        Returns
        -------
        Series
            As of :func:`~sleep2vec_sklearn.evaluation.sleep_statistics`.

        Raises
        ------
        InvalidRecordingError
            If ``lights`` are none of these, leave no epoch between them, or are clock times and
            :attr:`start` is not known.

        Warns
        -----
        RecordingWarning
            If the night is longer than 12 h and no lights are known, so that the statistics refer
            to all hours, or ``lights`` reach a minute or more out of the night.

        Examples
        --------
        >>> from sleep2vec_sklearn import make_sleep_cohort, stage_night
        >>> night = make_sleep_cohort(1, hours=2, modalities=["ibi"], missing=0, random_state=0)[0]
        >>> staged = stage_night(night)
        >>> staged.statistics(lights=(600, 6600))["tib_min"]
        100.0
        """
        hours = hours_of_open_window(len(self.stages), self.lights)
        if lights is None and hours:
            warn_of_hours({self._name: hours})
        statistics = self._statistics_in(self.lights if lights is None else lights)
        if lights is not None and not isinstance(lights, str):
            warn_of_passed({self._name: (lights, self.start, len(self.stages))})
        return statistics

    def _statistics_in(self, lights: Sequence[Any] | str | None) -> pd.Series:
        return pd.Series(statistics_of_stages(self.stages, self._name, lights, self.start))

    @property
    def _name(self) -> str:
        return "staged night" if self.id is None else f"staged night ({self.id})"

    def to_frame(self) -> pd.DataFrame:
        """One row per epoch: when, its stage, how probable, and what that rests on.

        Returns
        -------
        DataFrame of shape (n_epochs, 10)
            ``onset`` in seconds from the start; ``clock``, the same as a clock time, NaT where
            :attr:`start` is not known; ``stage``, "unscored" where no sensor has a signal; ``W``,
            ``N1``, ``N2``, ``N3``, ``R``, its probabilities; ``n_modalities``, sensors with a
            signal; ``agreement``.
        """
        table = self.probabilities.copy()
        onset = np.arange(len(table)) * float(EPOCH_SECONDS)
        table.insert(0, "onset", onset)
        table.insert(1, "clock", clock_times(self.start, onset))
        table.insert(2, "stage", self._names)
        table["n_modalities"] = self.measured.sum(axis=1)
        table["agreement"] = self.agreement
        return table

    def review(self, share: float = 0.1) -> pd.DataFrame:
        """The epochs that a person should look at first: least certain ones, in that order.

        Parameters
        ----------
        share : float, default=0.1
            Of the staged epochs.

        Returns
        -------
        DataFrame
            Rows of :meth:`to_frame`; the index is the epoch. What agreement to expect after the
            review, :func:`~sleep2vec_sklearn.evaluation.review_curve` says of scored nights.

        Raises
        ------
        ValueError
            If ``share`` is not from 0 to 1.

        Examples
        --------
        >>> from sleep2vec_sklearn import make_sleep_cohort, stage_night
        >>> night = make_sleep_cohort(1, hours=2, modalities=["ibi"], missing=0, random_state=0)[0]
        >>> first = stage_night(night).review(0.05)
        >>> first.shape, bool(first.loc[:, "W":"R"].max(axis=1).is_monotonic_increasing)
        ((12, 10), True)
        """
        if not 0 <= share <= 1:
            raise ValueError(f"share must be from 0 to 1, got {share!r}.")
        order = review_order(self.probabilities)
        return self.to_frame().iloc[order[: round(share * len(order))]]

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write :meth:`to_frame` as a table that R, Stata and spreadsheets read.

        It is in UTF-8, with commas between columns and a dot in decimals, whatever the locale;
        clock times are in ISO 8601, missing values empty. The file is written whole or not at all.

        Parameters
        ----------
        path : path-like
            Of the file, which is replaced if it exists.

        Raises
        ------
        OSError
            If it cannot be written; its folder has to exist.

        Examples
        --------
        >>> from sleep2vec_sklearn import make_sleep_cohort, stage_night
        >>> night = make_sleep_cohort(1, hours=1, modalities=["ibi"], missing=0, random_state=0)[0]
        >>> stage_night(night).to_csv("stages.csv")
        >>> open("stages.csv").readline()
        'epoch,onset,clock,stage,W,N1,N2,N3,R,n_modalities,agreement\\n'
        """
        table = self.to_frame()
        clocks = ["" if clock is pd.NaT else clock.isoformat() for clock in table["clock"]]
        text = table.assign(clock=clocks).to_csv(index_label="epoch", lineterminator="\n")
        write_atomic(Path(path), text.encode())

    def to_edf(self, path: str | os.PathLike[str]) -> None:
        """Write the stages as an EDF+ file of annotations, without signals.

        Each epoch is an annotation of 30 s, "Sleep stage W", "N1", "N2", "N3", "R", or "?" where no
        sensor has a signal, in the words of the EDF+ standard. It is read by
        :func:`~sleep2vec_sklearn.read_recording`, as ``hypnogram=``, by ``mne.read_annotations``,
        edfio and viewers of EDF. The file states the start of the recording where it is known, and
        neither a name nor the id; without it, stages are read from the start of the signals. It is
        written whole or not at all.

        Parameters
        ----------
        path : path-like
            Of the file, which is replaced if it exists. Another folder than that of the
            recordings: as ``night-Hypnogram.edf`` beside ``night.edf``, the reader of cohorts takes
            it for scored stages.

        Raises
        ------
        OSError
            If it cannot be written; its folder has to exist.

        Examples
        --------
        >>> from sleep2vec_sklearn import make_sleep_cohort, stage_night
        >>> from sleep2vec_sklearn.readers import read_scoring
        >>> night = make_sleep_cohort(1, hours=1, modalities=["ibi"], missing=0, random_state=0)[0]
        >>> staged = stage_night(night)
        >>> staged.to_edf("stages.edf")
        >>> (read_scoring("stages.edf").stages == staged.stages).all()
        True
        """
        import edfio

        start = None if self.start is None else self.start.replace(tzinfo=None)
        has_date = start is not None and start.year in _EDF_YEARS
        names = ("?" if name == "unscored" else name for name in self._names)
        edf = edfio.Edf(
            [],
            recording=edfio.Recording(
                startdate=start.date() if start is not None and has_date else None,
                equipment_code="sleep2vec_sklearn",
            ),
            starttime=None if start is None else start.time(),
            annotations=[
                edfio.EdfAnnotation(i * EPOCH_SECONDS, EPOCH_SECONDS, f"Sleep stage {name}")
                for i, name in enumerate(names)
            ],
        )
        buffer = io.BytesIO()
        edf.write(buffer)
        write_atomic(Path(path), buffer.getvalue())

    def to_yasa(self) -> yasa.Hypnogram:
        """The stages as a ``yasa.Hypnogram``, with their probabilities and the start.

        Epochs without a signal are unscored ("UNS"), with probability 1.

        Returns
        -------
        yasa.Hypnogram

        Raises
        ------
        ImportError
            If YASA is not installed.

        Examples
        --------
        >>> from sleep2vec_sklearn import make_sleep_cohort, stage_night
        >>> night = make_sleep_cohort(1, hours=1, modalities=["ibi"], missing=0, random_state=0)[0]
        >>> stage_night(night).to_yasa().sleep_statistics()  # doctest: +SKIP
        """
        try:
            import yasa
        except ImportError as error:
            raise ImportError(
                f"to_yasa() needs YASA, which is not installed ({error}). Install it with: "
                "pip install yasa"
            ) from error
        names = [_YASA_STAGES.get(name, name) for name in self._names]
        probabilities = self.probabilities.rename(columns=_YASA_STAGES)
        is_unscored = self.stages < 0
        if is_unscored.any():
            # rows have to sum to 1
            probabilities = probabilities.assign(UNS=np.where(is_unscored, 1.0, 0.0)).fillna(0.0)
        return yasa.Hypnogram(
            names, n_stages=len(STAGES), freq=f"{EPOCH_SECONDS}s", start=self.start,
            proba=probabilities,
        )  # fmt: skip

    @property
    def _names(self) -> list[str]:
        return [SleepStage(int(stage)).name for stage in self.stages]

    def __repr__(self) -> str:
        counts = [f"{name} {(self.stages == SleepStage[name]).sum()}" for name in STAGES]
        if (self.stages < 0).any():
            counts.append(f"{(self.stages < 0).sum()} without a signal")
        name = f"{self.id}: " if self.id is not None else ""
        return f"StagedNight({name}{', '.join(counts)}; from {', '.join(self.modalities)})"

    def _repr_html_(self) -> str:
        # a day and a night has no time in bed, and a picture cannot warn of that
        is_open = hours_of_open_window(len(self.stages), self.lights) > 0
        statistics = self._statistics_in("main" if is_open else self.lights)
        table = pd.DataFrame(
            [(statistics[key], _UNITS[key.rpartition("_")[2]]) for key in _SHOWN.values()],
            index=list(_SHOWN),
            columns=["value", "unit"],
        )
        off, on = (
            "unknown" if np.isnan(minutes) else self._label(60 * minutes)
            for minutes in statistics[["window_start_min", "window_end_min"]]
        )
        if is_open:
            window = f"main sleep period ({off} to {on}), as lights off and on are not known"
        elif self.lights is None:
            window = f"whole recording ({off} to {on}), as lights off and on are not known"
        else:
            window = f"time between lights off ({off}) and lights on ({on})"
        title, form = f"Statistics of the {window}", "{:.1f}".format
        shown = as_html(title, table, float_format=form, na_rep="not defined")
        return as_html(repr(self)) + self._draw() + shown + as_html(f"S{self.rests_on[1:]}")

    def _label(self, seconds: float) -> str:
        """A time for readers: of the day, or hours and minutes from the start."""
        if self.start is not None:
            return f"{clock_times(self.start, np.array([seconds]))[0]:%H:%M}"
        return f"{int(seconds // 3600)}:{int(seconds % 3600 // 60):02d} h"

    def _draw(self) -> str:
        """The hypnogram as an SVG picture of some kB; R is drawn thick, gaps are unscored."""
        duration = len(self.stages) * EPOCH_SECONDS
        scale = (_RIGHT - _LEFT) / duration
        heights = {int(stage): _TOP + _STEP * i for i, stage in enumerate(_LEVELS)}
        bottom = _TOP + _STEP * len(_LEVELS)
        line, rem, last = [], [], -1
        edges = np.flatnonzero(np.diff(self.stages, prepend=-9, append=-9))
        for first, end in pairwise(edges.tolist()):
            stage = int(self.stages[first])
            left, right = (f"{_LEFT + scale * EPOCH_SECONDS * i:.1f}" for i in (first, end))
            if stage >= 0:
                begin = f"M{left} {heights[stage]}" if last < 0 else f"V{heights[stage]}"
                line.append(f"{begin}H{right}")
            if stage == SleepStage.R:
                rem.append(f"M{left} {heights[stage]}H{right}")
            last = stage
        texts = [(float(_LEFT - 6), heights[int(s)] + 4, "end", s.name) for s in _LEVELS]
        # hours of the clock, or from the start
        start = self.start
        passed = 0 if start is None else start.minute * 60 + start.second
        every = 3600 * (1 + duration // (13 * 3600))
        times = range(-passed % 3600, duration + 1, every)
        texts += [(_LEFT + scale * t, bottom + 10, "middle", self._label(float(t))) for t in times]
        ticks = "".join(f"M{_LEFT + scale * t:.1f} {_TOP}V{bottom - 4}" for t in times)
        labels = "".join(
            f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}">{text}</text>'
            for x, y, anchor, text in texts
        )
        title = escape(f"Hypnogram of {self!r}")
        return (
            f'<svg role="img" viewBox="0 0 {_RIGHT + 20} {bottom + 14}" '
            'style="width: 100%; max-width: 720px" font-size="10" font-family="sans-serif" '
            f'fill="currentColor"><title>{title}</title>{labels}'
            f'<g fill="none" stroke="currentColor"><path d="{ticks}" stroke-opacity="0.15"/>'
            f'<path d="{"".join(line)}"/><path d="{"".join(rem)}" stroke-width="4"/></g></svg>'
        )
