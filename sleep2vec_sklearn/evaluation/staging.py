# SPDX-License-Identifier: BSD-3-Clause
"""How good predicted sleep stages are: epoch by epoch, and in the numbers of a sleep report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..errors import InvalidRecordingError
from ..recordings import SleepStage, as_stages
from ..recordings.epochs import EpochSequence, as_epoch_sequence
from ..recordings.recording import as_names
from ._subjects import SubjectBootstrap
from .agreement import agreement, bland_altman, confusion_tables, per_class
from .sleep_statistics import sleep_statistics

__all__ = [
    "STAGE_CLASSES",
    "StagedEpochs",
    "StagedPair",
    "StagingReport",
    "merge_stages",
    "read_epochs",
    "staging_report",
]

_TIMES = ("tst_min", "sleep_efficiency_pct", "sol_min", "rem_latency_min", "waso_min")
_SHOWN_IN_REPR = ("accuracy", "kappa", "macro_f1")


def staging_report(
    y_true,
    y_pred,
    *,
    groups=None,
    recordings=None,
    n_classes: int = 5,
    n_resamples: int = 2000,
    level: float = 0.95,
    random_state=0,
) -> StagingReport:
    """Compare predicted sleep stages with scored ones.

    Parameters
    ----------
    y_true : EpochSequence, or array-like of shape (n,)
        The epochs that were predicted, which know their stages, subjects, nights and lights; or
        scored stages alone.
    y_pred : array-like of shape (n,)
        Predicted stages (see :class:`~sleep2vec_sklearn.SleepStage`), held out by subject.
    groups : array-like of shape (n,), optional
        Subject of each epoch; by default that of the sequence, else the recording.
    recordings : array-like of shape (n,), optional
        Name of each epoch's night where y_true is an array, epochs of a night in their order. By
        default all are of one night.
    n_classes : {5, 4, 3}, default=5
        Classes to compare; both sides are merged, see :func:`merge_stages`.
    n_resamples : int, default=2000
        Bootstrap resamples of subjects.
    level : float, default=0.95
        Of the intervals.
    random_state : int, RandomState or None, default=0

    Returns
    -------
    StagingReport

    Raises
    ------
    InvalidRecordingError
        If lengths differ, a label is no stage, or no epoch has both a scored and a predicted one.

    Notes
    -----
    Epochs without a scored stage are left out, in the numbers of a night too, on both sides.
    Agreement is that of all epochs together; ``subject_mean`` is the mean over subjects, each of
    which counts the same. Intervals are by bootstrap over subjects, and NaN with fewer than two.

    Examples
    --------
    >>> import numpy as np
    >>> from sleep2vec_sklearn import EpochSequence, make_sleep_cohort, staging_report
    >>> X = EpochSequence(make_sleep_cohort(4, hours=2, modalities=["ibi"], random_state=0))
    >>> shifted = np.roll(X.stages, 2)  # what a stager that lags by a minute would say
    >>> report = staging_report(X, shifted, n_resamples=200)
    >>> report
    StagingReport(960 epochs of 4 nights of 4 subjects, 5 classes)
              value   low  high  subject_mean
    accuracy  0.801 0.768 0.831         0.801
    kappa     0.717 0.573 0.775         0.669
    macro_f1  0.742 0.515 0.765         0.653
    >>> report.bland_altman[["bias", "lower", "upper"]].round(1).loc["tst_min"].tolist()
    [-0.2, -1.2, 0.7]
    """
    epochs = read_epochs(y_true, y_pred, groups, recordings, n_classes)
    draws = SubjectBootstrap(epochs.groups, n_resamples, level, random_state)
    names = tuple(STAGE_CLASSES[n_classes])
    classes = np.array(list(STAGE_CLASSES[n_classes].values()))
    numbers = {int(stage): number for number, stage in enumerate(classes)}
    y = [np.array([numbers[s] for s in stages.tolist()]) for stages in epochs.compared()]
    codes = draws.codes[epochs.both]
    tables = confusion_tables(*y, codes, len(draws.subjects), len(names))
    nights = _measure_nights(epochs, n_classes)
    bootstrap = {"n_resamples": n_resamples, "level": level, "random_state": random_state}
    return StagingReport(
        classes=names,
        scores=_scores(tables, draws),
        by_class=_by_class(tables, draws, names),
        confusion=_as_confusion(tables.sum(axis=0), names),
        by_subject=_by_subject(tables, draws),
        nights=nights,
        bland_altman=_compare_nights(nights, bootstrap),
        n_unpredicted=int((~epochs.predicted & epochs.scored).sum()),
    )


@dataclass(frozen=True, repr=False)
class StagingReport:
    """What :func:`staging_report` finds.

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
        One row per night and measure: recording, subject, measure, reference, predicted,
        difference.
    bland_altman : DataFrame
        A row per measure of a night; see :func:`bland_altman`.
    n_unpredicted : int
        Scored epochs whose prediction is -1; they are in no score.

    Examples
    --------
    >>> from sleep2vec_sklearn import staging_report
    >>> scored = ["W", "N1", "N2", "N3", "R"] * 12
    >>> report = staging_report(scored, ["W", "W", "N2", "N3", "R"] * 12, n_resamples=20)
    >>> report.confusion
    predicted   W  N1  N2  N3   R
    scored
    W          12   0   0   0   0
    N1         12   0   0   0   0
    N2          0   0  12   0   0
    N3          0   0   0  12   0
    R           0   0   0   0  12
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
        """All that has one value and an interval, as one tidy table.

        Returns
        -------
        DataFrame
            Columns part ("all", "class", "night"), name, score, value, low, high.
        """
        interval = ["value", "low", "high"]
        rows = [("all", "all", score, *row) for score, *row in
                self.scores[interval].itertuples()]  # fmt: skip
        columns = ["f1", "f1_low", "f1_high"]
        rows += [("class", name, "f1", *row) for name, *row in self.by_class[columns].itertuples()]
        for part in ("bias", "lower", "upper"):
            columns = [part, f"{part}_low", f"{part}_high"]
            found = self.bland_altman[columns].itertuples()
            rows += [("night", measure, part, *row) for measure, *row in found]
        return pd.DataFrame(rows, columns=["part", "name", "score", *interval])

    def __repr__(self) -> str:
        epochs, nights = int(self.confusion.to_numpy().sum()), self.nights["recording"].nunique()
        lost = f", {self.n_unpredicted} not predicted" if self.n_unpredicted else ""
        head = (
            f"StagingReport({epochs} epochs of {nights} nights of {len(self.by_subject)} subjects, "
            f"{len(self.classes)} classes{lost})"
        )
        columns = ["value", "low", "high", "subject_mean"]
        table = self.scores.loc[list(_SHOWN_IN_REPR), columns].rename_axis(None)
        lines = table.to_string(float_format="{:.3f}".format).splitlines()
        if len(self.by_subject) < 2:
            lines.append("intervals need at least two subjects; pass groups")
        return "\n".join([head, *lines])


def _scores(tables: np.ndarray, draws: SubjectBootstrap) -> pd.DataFrame:
    found, of_subjects = agreement(tables.sum(axis=0)), agreement(tables)
    resampled = agreement(np.tensordot(draws.counts, tables, axes=1))
    rows = {}
    for name, value in found.items():
        low, high = draws.interval(resampled[name])
        values = of_subjects[name]
        known = np.isfinite(values)
        mean_low, mean_high = draws.mean_interval(values)
        rows[name] = {
            "value": float(value),
            "low": float(low),
            "high": float(high),
            "subject_mean": float(values[known].mean()) if known.any() else np.nan,
            "subject_low": mean_low,
            "subject_high": mean_high,
            "subjects": int(known.sum()),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("score")


def _by_class(tables: np.ndarray, draws: SubjectBootstrap, names: tuple[str, ...]) -> pd.DataFrame:
    total = tables.sum(axis=0)
    found = per_class(total)
    low, high = draws.interval(per_class(np.tensordot(draws.counts, tables, axes=1))["f1"])
    table = pd.DataFrame(found, index=pd.Index(names, name="class"))
    table.insert(1, "f1_low", low)
    table.insert(2, "f1_high", high)
    table["scored"] = total.sum(axis=1).astype(int)
    table["predicted"] = total.sum(axis=0).astype(int)
    return table


def _as_confusion(table: np.ndarray, names: tuple[str, ...]) -> pd.DataFrame:
    index, columns = pd.Index(names, name="scored"), pd.Index(names, name="predicted")
    return pd.DataFrame(table.astype(int), index=index, columns=columns)


def _by_subject(tables: np.ndarray, draws: SubjectBootstrap) -> pd.DataFrame:
    table = pd.DataFrame(agreement(tables), index=pd.Index(draws.subjects, name="subject"))
    table["epochs"] = tables.sum(axis=(1, 2)).astype(int)
    return table


def _measure_nights(epochs: StagedEpochs, n_classes: int) -> pd.DataFrame:
    """Numbers of each night on both sides, a row per night and measure."""
    merged = {"n2_pct": {5: "n2_pct", 4: "light_pct", 3: "nrem_pct"}[n_classes]}
    asleep = [stage for stage in STAGE_CLASSES[n_classes].values() if stage != SleepStage.W]
    measures = [*_TIMES, *(f"{stage.name.lower()}_pct" for stage in asleep)]
    parts = []
    for night in epochs.nights():
        of_night = {"recording": night.name, "subject": night.subject, "measure": measures}
        part = pd.DataFrame(of_night)
        for side, stages in (("reference", night.scored), ("predicted", night.predicted)):
            found = sleep_statistics(stages, lights=night.lights)
            part[side] = found[measures].to_numpy(dtype=float)
        parts.append(part)
    table = pd.concat(parts, ignore_index=True)
    table["measure"] = table["measure"].replace(merged)
    table["difference"] = table["predicted"] - table["reference"]
    return table


def _compare_nights(nights: pd.DataFrame, bootstrap: dict) -> pd.DataFrame:
    rows = {
        measure: bland_altman(of["reference"], of["predicted"], groups=of["subject"], **bootstrap)
        for measure, of in nights.groupby("measure", sort=False)
    }
    return pd.DataFrame(rows).T.rename_axis("measure")


@dataclass(frozen=True, slots=True)
class StagedPair:
    """One night, scored and predicted; -1 in both where either is missing."""

    name: object
    subject: object
    scored: np.ndarray
    predicted: np.ndarray
    lights: tuple | None


@dataclass(frozen=True, slots=True)
class StagedEpochs:
    """Two labels per epoch.

    Attributes
    ----------
    y_true, y_pred : int8 ndarray of shape (n,)
    groups : ndarray of shape (n,)
        Subjects.
    place : int ndarray of shape (n,)
        Night of each epoch.
    epoch : int ndarray of shape (n,)
        Its place in the night.
    names : ndarray of shape (n_nights,)
    lengths : int ndarray of shape (n_nights,)
        Epochs of each night.
    lights : tuple
        Of each night.
    """

    y_true: np.ndarray
    y_pred: np.ndarray
    groups: np.ndarray
    place: np.ndarray
    epoch: np.ndarray
    names: np.ndarray
    lengths: np.ndarray
    lights: tuple

    @property
    def scored(self) -> np.ndarray:
        """Where there is a scored stage."""
        return self.y_true >= 0

    @property
    def predicted(self) -> np.ndarray:
        """Where there is a predicted one."""
        return self.y_pred >= 0

    @property
    def both(self) -> np.ndarray:
        """Where there are two to compare."""
        return self.scored & self.predicted

    def compared(self) -> tuple[np.ndarray, np.ndarray]:
        """The stages there."""
        return self.y_true[self.both], self.y_pred[self.both]

    def nights(self) -> Iterator[StagedPair]:
        """Yield each night that has such an epoch, whole."""
        for place in np.unique(self.place[self.both]):
            mine = (self.place == place) & self.both
            sides = []
            for labels in (self.y_true, self.y_pred):
                side = np.full(self.lengths[place], int(SleepStage.unscored), dtype=np.int8)
                side[self.epoch[mine]] = labels[mine]
                sides.append(side)
            subject = self.groups[mine][0]
            yield StagedPair(self.names[place], subject, *sides, self.lights[place])


def read_epochs(y_true, y_pred, groups, recordings, n_classes: int) -> StagedEpochs:
    """Bring what :func:`staging_report` takes to one form.

    Raises
    ------
    InvalidRecordingError
        If lengths differ, nights are given twice, a label is no stage, or nothing can be compared.
    """
    X = as_epoch_sequence(y_true)
    given = {"y_pred": y_pred, "groups": groups, "recordings": recordings}
    n = len(y_true)
    lengths = {name: len(values) for name, values in given.items() if values is not None}
    unlike = {name: length for name, length in lengths.items() if length != n}
    if unlike:
        raise InvalidRecordingError(
            f"y_true has {n} epochs, but {', '.join(f'{k} has {v}' for k, v in unlike.items())}; "
            "accepted is one element per epoch. Predict the epochs that y_true holds."
        )
    if X is not None and recordings is not None:
        raise InvalidRecordingError(
            "recordings is given beside an EpochSequence, which knows its own. Leave it out, or "
            "pass X.stages as y_true."
        )
    night = _nights_of_names(recordings, n) if X is None else _nights_of_sequence(X)
    if groups is None:
        groups = night["names"][night["place"]] if X is None else X.groups
    found = StagedEpochs(
        y_true=merge_stages(y_true if X is None else X.stages, n_classes),
        y_pred=merge_stages(y_pred, n_classes),
        groups=as_names(list(groups)),
        **night,
    )
    if not found.both.any():
        raise InvalidRecordingError(
            f"none of the {n} epochs has both a scored and a predicted stage: {found.scored.sum()} "
            f"are scored, {found.predicted.sum()} predicted. Read the recordings with their "
            "hypnograms, or pass the scored stages as y_true."
        )
    _check_subjects(found)
    return found


def _nights_of_sequence(X: EpochSequence) -> dict:
    return {
        "place": X.recording_index,
        "epoch": X.epoch_index,
        "names": as_names([recording.id for recording in X.recordings]),
        "lengths": np.array([recording.n_epochs for recording in X.recordings]),
        "lights": tuple(recording.lights for recording in X.recordings),
    }


def _nights_of_names(recordings, n: int) -> dict:
    names = as_names(list(np.zeros(n, dtype=int) if recordings is None else recordings))
    names, place = np.unique(names, return_inverse=True)
    lengths = np.bincount(place, minlength=len(names))
    order = np.argsort(place, kind="stable")
    epoch = np.empty(n, dtype=int)
    epoch[order] = np.arange(n) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    lights = (None,) * len(names)
    return {"place": place, "epoch": epoch, "names": names, "lengths": lengths, "lights": lights}


def _check_subjects(epochs: StagedEpochs) -> None:
    pairs = {(int(p), g) for p, g in zip(epochs.place, epochs.groups, strict=True)}
    if len(pairs) > len({place for place, _ in pairs}):
        seen: dict[int, str] = {}
        for place, group in sorted(pairs):
            if seen.setdefault(place, group) != group:
                raise InvalidRecordingError(
                    f"groups gives epochs of recording {epochs.names[place]!r} to the subjects "
                    f"{seen[place]!r} and {group!r}; accepted is one subject per night."
                )


# each class is written as one of its stages, so that merged nights are nights still
STAGE_CLASSES: dict[int, dict[str, SleepStage]] = {
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


def merge_stages(stages, n_classes: int = 5) -> np.ndarray:
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
        Stages still, so everything that takes stages takes them.

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
    if n_classes not in _MERGED:
        raise ValueError(f"n_classes must be 5, 4 or 3, got {n_classes!r}.")
    merged = np.array(as_stages(stages))
    for stage, into in _MERGED[n_classes].items():
        merged[merged == stage] = into
    return merged
