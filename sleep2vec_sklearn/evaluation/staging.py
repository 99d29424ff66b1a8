# SPDX-License-Identifier: BSD-3-Clause
"""Agreement of predicted sleep stages with scored ones, by epoch and in sleep statistics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from .._arguments import as_labels, check_option
from .._html import ShownAsTable, as_html
from ..errors import InvalidRecordingError
from ..recordings.epochs import EpochSequence, as_epoch_sequence
from ..recordings.recording import as_names
from ..recordings.stages import SleepStage, as_stages
from ._lights import Lights, usable_lights, warn_of_windows
from ._subjects import SubjectBootstrap
from .agreement import agreement, bland_altman, confusion_tables, per_class
from .sleep_statistics import sleep_statistics

# each class is written as one of its stages, so merged hypnograms are hypnograms still
_CLASSES: dict[int, dict[str, SleepStage]] = {
    5: {"W": SleepStage.W, "N1": SleepStage.N1, "N2": SleepStage.N2, "N3": SleepStage.N3,
        "R": SleepStage.R},
    4: {"W": SleepStage.W, "light": SleepStage.N2, "N3": SleepStage.N3, "R": SleepStage.R},
    3: {"W": SleepStage.W, "NREM": SleepStage.N2, "R": SleepStage.R},
}  # fmt: skip
_MERGED = {
    5: {},
    4: {SleepStage.N1: SleepStage.N2},
    3: {SleepStage.N1: SleepStage.N2, SleepStage.N3: SleepStage.N2},
}
_NAME_OF_N2 = {5: "n2_pct", 4: "light_pct", 3: "nrem_pct"}
_TIMES = ("tst_min", "sleep_efficiency_pct", "sol_min", "rem_latency_min", "waso_min")
_ONE_SUBJECT = "intervals need at least two subjects; pass groups"
_SHOWN_IN_REPR = ("accuracy", "kappa", "macro_f1")


def staging_report(
    y_true: Any, y_pred: Any, *, groups: Iterable | None = None, recordings: Iterable | None = None,
    n_classes: int = 5, n_resamples: int = 2000, level: float = 0.95,
    random_state: int | np.random.RandomState | None = 0,
) -> StagingReport:  # fmt: skip
    """Compare predicted sleep stages with scored ones.

    Parameters
    ----------
    y_true : EpochSequence, or array-like of shape (n,)
        The epochs that were predicted, which know their stages, subjects, nights and lights; or
        scored stages alone.
    y_pred : array-like of shape (n,)
        Predicted stages (see :class:`~sleep2vec_sklearn.SleepStage`), of subjects that the model
        was not fitted to.
    groups : array-like of shape (n,), optional
        Subject of each epoch; by default that of the sequence, else the recording.
    recordings : array-like of shape (n,), optional
        Name of each epoch's night where y_true is an array, epochs of a night in their order. By
        default all are of one night.
    n_classes : {5, 4, 3}, default=5
        Classes to compare; both sides are merged, see :func:`merge_stages`.
    n_resamples, level, random_state
        Of the confidence intervals, by bootstrap over subjects; see :func:`bland_altman`.

    Returns
    -------
    StagingReport

    Raises
    ------
    InvalidRecordingError
        If lengths differ, a label is no stage, or no epoch has both a scored and a predicted one.

    Notes
    -----
    Epochs without a scored stage are left out, in the statistics of a night too, on both sides.
    Agreement is that of all epochs together; ``subject_mean`` is the mean over subjects. Intervals
    are NaN with fewer than two subjects.

    Examples
    --------
    >>> import numpy as np
    >>> from sleep2vec_sklearn import EpochSequence, make_sleep_cohort, staging_report
    >>> X = EpochSequence(make_sleep_cohort(4, hours=2, modalities=["ibi"], random_state=0))
    >>> shifted = np.roll(X.stages, 2)  # a stager that lags by a minute
    >>> staging_report(X, shifted, n_resamples=200)
    StagingReport(960 epochs of 4 nights of 4 subjects, 5 classes)
              value   low  high  subject_mean
    accuracy  0.801 0.768 0.831         0.801
    kappa     0.717 0.573 0.775         0.669
    macro_f1  0.742 0.515 0.765         0.653
    """
    epochs = _read_epochs(y_true, y_pred, groups, recordings, n_classes)
    draws = SubjectBootstrap(epochs.groups, n_resamples, level, random_state)
    names = tuple(_CLASSES[n_classes])
    stages = list(_CLASSES[n_classes].values())
    y = [np.searchsorted(stages, side[epochs.both]) for side in (epochs.y_true, epochs.y_pred)]
    codes = draws.codes[epochs.both]
    tables = confusion_tables(y[0], y[1], codes, len(draws.subjects), len(names))
    nights = _compare_nights(epochs, n_classes)
    by_subject = pd.DataFrame(agreement(tables), index=pd.Index(draws.subjects, name="subject"))
    by_subject["epochs"] = tables.sum(axis=(1, 2)).astype(int)
    bootstrap: Any = {"n_resamples": n_resamples, "level": level, "random_state": random_state}
    limits = {
        name: bland_altman(t["reference"], t["predicted"], groups=t["subject"], **bootstrap)
        for name, t in nights.groupby("measure", sort=False)
    }
    return StagingReport(
        classes=names,
        scores=_score_all(tables, draws),
        by_class=_score_classes(tables, draws, names),
        confusion=pd.DataFrame(
            tables.sum(axis=0).astype(int),
            index=pd.Index(names, name="scored"),
            columns=pd.Index(names, name="predicted"),
        ),
        by_subject=by_subject,
        nights=nights,
        bland_altman=pd.DataFrame(limits).T.rename_axis("measure"),
        n_unpredicted=int(((epochs.y_pred < 0) & (epochs.y_true >= 0)).sum()),
    )


@dataclass(frozen=True, repr=False)
class StagingReport(ShownAsTable):
    """Result of :func:`staging_report`.

    Attributes
    ----------
    classes : tuple of str
        Names of the classes, in the order of their stages.
    scores : DataFrame
        A row per score (accuracy, kappa, macro_f1, weighted_f1, sensitivity and specificity, the
        last two averaged over classes): value, low, high; ``subject_mean``, ``subject_low``,
        ``subject_high`` and the number of subjects that have one.
    by_class : DataFrame
        A row per class: f1 with its interval, sensitivity, specificity, precision, and how many
        epochs are scored and predicted as it.
    confusion : DataFrame
        Counts; scored in rows, predicted in columns.
    by_subject : DataFrame
        The scores of each subject.
    nights : DataFrame
        A row per night and sleep statistic: recording, subject, measure (the statistic), reference,
        predicted, difference.
    bland_altman : DataFrame
        A row per sleep statistic; see :func:`bland_altman`.
    n_unpredicted : int
        Scored epochs whose prediction is -1; they are in no score.

    Examples
    --------
    >>> from sleep2vec_sklearn import staging_report
    >>> staging_report(["W", "N2", "N2", "R"], ["W", "N2", "R", "R"]).scores["value"].tolist()[:1]
    [0.75]
    """

    classes: tuple[str, ...]
    scores: pd.DataFrame
    by_class: pd.DataFrame
    confusion: pd.DataFrame
    by_subject: pd.DataFrame
    nights: pd.DataFrame
    bland_altman: pd.DataFrame
    n_unpredicted: int = 0

    def to_frame(self) -> pd.DataFrame:
        """All values with a confidence interval.

        Columns part (all, class, night), name, metric, value, low, high.
        """
        interval = ["value", "low", "high"]
        rows = [("all", "all", *row) for row in self.scores[interval].itertuples()]
        columns = ["f1", "f1_low", "f1_high"]
        rows += [("class", name, "f1", *row) for name, *row in self.by_class[columns].itertuples()]
        for part in ("bias", "lower", "upper"):
            table = self.bland_altman[[part, f"{part}_low", f"{part}_high"]]
            rows += [("night", name, part, *row) for name, *row in table.itertuples()]
        return pd.DataFrame(rows, columns=["part", "name", "metric", *interval])

    def _headline(self) -> str:
        n_epochs = int(self.confusion.to_numpy().sum())
        n_nights = self.nights["recording"].nunique()
        unpredicted = f", {self.n_unpredicted} not predicted" if self.n_unpredicted else ""
        return (
            f"StagingReport({n_epochs} epochs of {n_nights} nights of {len(self.by_subject)} "
            f"subjects, {len(self.classes)} classes{unpredicted})"
        )

    def __repr__(self) -> str:
        columns = ["value", "low", "high", "subject_mean"]
        table = self.scores.loc[list(_SHOWN_IN_REPR), columns].rename_axis(None)
        lines = table.to_string(float_format="{:.3f}".format).splitlines()
        if len(self.by_subject) < 2:
            lines.append(_ONE_SUBJECT)
        return "\n".join([self._headline(), *lines])

    def _repr_html_(self) -> str:
        return as_html(
            self._headline(),
            ("Agreement", self.scores),
            ("Stages", self.by_class),
            ("Confusion: scored in rows, predicted in columns", self.confusion),
            ("Sleep statistics, predicted minus scored", self.bland_altman),
            notes=[_ONE_SUBJECT] if len(self.by_subject) < 2 else [],
            float_format="{:.3f}".format,
        )


def _score_all(tables: np.ndarray, draws: SubjectBootstrap) -> pd.DataFrame:
    by_subject = agreement(tables)
    resampled = agreement(np.tensordot(draws.counts, tables, axes=1))
    rows = {}
    for name, value in agreement(tables.sum(axis=0)).items():
        values = by_subject[name][np.isfinite(by_subject[name])]
        mean = values.mean() if len(values) else np.nan
        mean_interval = draws.mean_interval(by_subject[name])
        rows[name] = value, *draws.interval(resampled[name]), mean, *mean_interval, len(values)
    columns = ["value", "low", "high", "subject_mean", "subject_low", "subject_high", "subjects"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns, dtype=float)
    return table.rename_axis("score").astype({"subjects": int})


def _score_classes(tables: np.ndarray, draws: SubjectBootstrap, names: tuple) -> pd.DataFrame:
    total = tables.sum(axis=0)
    low, high = draws.interval(per_class(np.tensordot(draws.counts, tables, axes=1))["f1"])
    table = pd.DataFrame(per_class(total), index=pd.Index(names, name="class"))
    table.insert(1, "f1_low", low)
    table.insert(2, "f1_high", high)
    counts = {"scored": total.sum(axis=1).astype(int), "predicted": total.sum(axis=0).astype(int)}
    return table.assign(**counts)


def _compare_nights(epochs: _StagedEpochs, n_classes: int) -> pd.DataFrame:
    """Sleep statistics of each night on both sides, a row per night and statistic."""
    asleep = [stage for stage in _CLASSES[n_classes].values() if stage != SleepStage.W]
    measures = [*_TIMES, *(f"{stage.name.lower()}_pct" for stage in asleep)]
    parts = []
    for night, *sides in epochs.hypnograms():
        subject = epochs.groups[(epochs.night == night) & epochs.both][0]
        columns = {"recording": epochs.names[night], "subject": subject, "measure": measures}
        part = pd.DataFrame(columns)
        for name, stages in zip(("reference", "predicted"), sides, strict=True):
            statistics = sleep_statistics(stages, lights=epochs.lights[night] or "recording")
            part[name] = statistics[measures].to_numpy(dtype=float)
        parts.append(part)
    table = pd.concat(parts, ignore_index=True)
    table["measure"] = table["measure"].replace({"n2_pct": _NAME_OF_N2[n_classes]})
    table["difference"] = table["predicted"] - table["reference"]
    return table


@dataclass(frozen=True, slots=True)
class _StagedEpochs:
    """Scored and predicted stages, subject and night of n epochs; -1 is no stage."""

    y_true: np.ndarray
    y_pred: np.ndarray
    groups: np.ndarray
    night: np.ndarray  # index into names, lengths and lights
    epoch: np.ndarray  # index into the night
    names: np.ndarray
    lengths: np.ndarray  # in epochs
    lights: tuple[Lights | None, ...]

    @property
    def both(self) -> np.ndarray:
        """Epochs with a scored and a predicted stage."""
        return (self.y_true >= 0) & (self.y_pred >= 0)

    def hypnograms(self) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Index and stages on both sides of each compared night, -1 where either is missing."""
        for night in np.unique(self.night[self.both]):
            rows = (self.night == night) & self.both
            scored, predicted = np.full((2, self.lengths[night]), -1, dtype=np.int8)
            scored[self.epoch[rows]] = self.y_true[rows]
            predicted[self.epoch[rows]] = self.y_pred[rows]
            yield night, scored, predicted


def _read_epochs(
    y_true: Any, y_pred: Any, groups: Any, recordings: Any, n_classes: int
) -> _StagedEpochs:
    X = as_epoch_sequence(y_true)
    n = len(as_labels("y_true", y_true) if X is None else X)
    inputs = {"y_pred": y_pred, "groups": groups, "recordings": recordings}
    known = {name: as_labels(name, v) for name, v in inputs.items() if v is not None}
    groups, recordings = known.get("groups"), known.get("recordings")
    lengths = {name: len(values) for name, values in known.items()}
    unequal = ", ".join(f"{name} has {length}" for name, length in lengths.items() if length != n)
    if unequal:
        raise InvalidRecordingError(
            f"y_true has {n} epochs, but {unequal}; accepted is one element per epoch. Predict the "
            "epochs that y_true holds."
        )
    if X is not None and recordings is not None:
        raise InvalidRecordingError(
            "recordings is given with an EpochSequence, which knows its own. Leave it out, or pass "
            "X.stages as y_true."
        )
    nights = _nights_of_names(recordings, n) if X is None else _nights_of_sequence(X)
    if groups is None:
        groups = nights["names"][nights["night"]] if X is None else X.groups
    epochs = _StagedEpochs(
        y_true=merge_stages(y_true if X is None else X.stages, n_classes),
        y_pred=merge_stages(y_pred, n_classes),
        groups=as_names(list(groups)),
        **nights,
    )
    if not epochs.both.any():
        raise InvalidRecordingError(
            f"none of the {n} epochs has both a scored and a predicted stage: "
            f"{(epochs.y_true >= 0).sum()} are scored, {(epochs.y_pred >= 0).sum()} predicted. "
            "Read the recordings with their hypnograms, or pass the scored stages as y_true."
        )
    _check_one_subject_per_night(epochs)
    return epochs


def _nights_of_sequence(X: EpochSequence) -> dict[str, Any]:
    warn_of_windows(X.recordings, [None] * len(X.recordings), needs_time_in_bed=True)
    return {
        "night": X.recording_index,
        "epoch": X.epoch_index,
        "names": as_names([recording.id for recording in X.recordings]),
        "lengths": np.array([recording.n_epochs for recording in X.recordings]),
        "lights": tuple(usable_lights(night.lights, night.n_epochs) for night in X.recordings),
    }


def _nights_of_names(recordings: Any, n: int) -> dict[str, Any]:
    names = as_names(list(np.zeros(n, dtype=int) if recordings is None else recordings))
    names, night = np.unique(names, return_inverse=True)
    return {
        "night": night,
        "epoch": pd.Series(night).groupby(night).cumcount().to_numpy(),
        "names": names,
        "lengths": np.bincount(night, minlength=len(names)),
        "lights": (None,) * len(names),
    }


def _check_one_subject_per_night(epochs: _StagedEpochs) -> None:
    subjects = pd.Series(epochs.groups).groupby(epochs.night).unique()
    for night, of_night in subjects.items():
        if len(of_night) > 1:
            first, second = sorted(of_night)[:2]
            raise InvalidRecordingError(
                f"groups gives epochs of recording {epochs.names[night]!r} to the subjects "
                f"{first!r} and {second!r}; accepted is one subject per night."
            )


def merge_stages(stages: Any, n_classes: int = 5) -> np.ndarray:
    """Stages in fewer classes, N2 standing for light sleep (4) or for NREM sleep (3).

    Parameters
    ----------
    stages : array-like of shape (n_epochs,)
        See :class:`~sleep2vec_sklearn.SleepStage`.
    n_classes : {5, 4, 3}, default=5
        W, N1, N2, N3, R; W, N1 + N2, N3, R; or W, NREM, R.

    Returns
    -------
    int8 ndarray of shape (n_epochs,)
        Stages still, accepted wherever stages are.

    Raises
    ------
    InvalidRecordingError
        If a label is no stage.
    ValueError
        For any other number of classes.

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation import merge_stages
    >>> merge_stages(["W", "N1", "N2", "N3", "R", None], 3)
    array([ 0,  2,  2,  2,  4, -1], dtype=int8)
    """
    check_option("n_classes", n_classes, tuple(_MERGED))
    merged = np.array(as_stages(stages))
    for stage, into in _MERGED[n_classes].items():
        merged[merged == stage] = into
    return merged
