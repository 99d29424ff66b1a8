# SPDX-License-Identifier: BSD-3-Clause
"""Which predicted epochs a person should review first, and how agreement grows with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from .._html import ShownAsTable
from ..errors import InvalidRecordingError
from ._subjects import SubjectBootstrap
from .agreement import agreement, confusion_tables
from .tables import TableExportMixin

_METRICS = ("accuracy", "kappa", "macro_f1")
_SHARES = tuple(np.arange(0, 11) / 10)


def review_order(probabilities: ArrayLike, groups: ArrayLike | None = None) -> np.ndarray:
    """Rows in the order in which a person should review them: least certain ones first.

    Parameters
    ----------
    probabilities : array-like of shape (n, n_classes)
        Of each class, as ``predict_proba`` gives them; or sets of ``predict_set``, bool: larger and
        empty ones come first.
    groups : array-like of shape (n,), optional
        Night or subject of each row. The same share of each is then reviewed: any beginning of the
        order holds about as large a part of one as of another. By default all rows are in one line.

    Returns
    -------
    int ndarray of shape (n_predicted,)
        Row numbers. Rows of NaN have no predicted class and are left out.

    Raises
    ------
    InvalidRecordingError
        If the probabilities are not a table, or a row's do not add up to one.

    Notes
    -----
    The order is that of the largest probability, upwards: one minus it is the probability that the
    prediction is wrong, so that each reviewed epoch corrects as many errors as can be expected, if
    the probabilities are calibrated. Epochs are taken one by one; neighbours are not read together.

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation import review_order
    >>> review_order([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.05, 0.95]])
    array([1, 2, 0, 3])
    >>> review_order([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.05, 0.95]], ["a", "a", "b", "b"])
    array([1, 2, 0, 3])
    """
    doubt = _doubt_of(probabilities)
    rows = np.flatnonzero(~np.isnan(doubt))
    if groups is None:
        return rows[np.argsort(-doubt[rows], kind="stable")]
    whose = np.asarray(groups)
    if len(whose) != len(doubt):
        raise InvalidRecordingError(f"groups has {len(whose)} elements for {len(doubt)} rows.")
    share = _ranks_in(whose[rows], doubt[rows])
    return rows[np.lexsort((-doubt[rows], share))]


def _doubt_of(probabilities: ArrayLike) -> np.ndarray:
    """How uncertain each row is, NaN where nothing is predicted."""
    table = np.asarray(probabilities)
    if table.ndim != 2 or table.shape[1] < 2:
        raise InvalidRecordingError(
            f"probabilities has shape {table.shape}; accepted is a row per epoch and a column per "
            "class. Pass what predict_proba or predict_set gives."
        )
    if table.dtype == bool:
        size = table.sum(axis=1)
        return np.where(size == 0, table.shape[1] + 1, size).astype(float)
    table = table.astype(float)
    total = table.sum(axis=1)
    known = ~np.isnan(total)
    if (table[known] < 0).any() or (np.abs(total[known] - 1) > 1e-3).any():
        raise InvalidRecordingError(
            f"probabilities of a row add up to between {np.min(total[known]):g} and "
            f"{np.max(total[known]):g}; accepted are probabilities, which add up to 1. Pass "
            "predict_proba(X), not scores or logits."
        )
    return 1 - table.max(axis=1)


def _ranks_in(groups: np.ndarray, doubt: np.ndarray) -> np.ndarray:
    """Share of the rows of its group that are reviewed before each row."""
    _, codes, counts = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.lexsort((-doubt, codes))
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    ranks = np.empty(len(doubt))
    ranks[order] = np.arange(len(doubt)) - np.repeat(starts, counts)
    return ranks / counts[codes]


def review_curve(
    y_true: ArrayLike, probabilities: ArrayLike, groups: ArrayLike | None = None, *,
    classes: ArrayLike | None = None, shares: Sequence[float] = _SHARES, n_resamples: int = 1000,
    level: float = 0.95, random_state: int | np.random.RandomState | None = 0,
) -> ReviewCurve:  # fmt: skip
    """Agreement with the scorer as a function of the share of epochs that is reviewed.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        Scored stages or other classes; rows that are NaN, None or -1 are left out.
    probabilities : array-like of shape (n, n_classes)
        Predicted for subjects that the model was not fitted to; rows of NaN are left out.
    groups : array-like of shape (n,), optional
        Subject of each row; the same share of each is reviewed. By default each row is of another
        subject, and all are reviewed in one line.
    classes : array-like of shape (n_classes,), optional
        Of the columns, ``model.classes_``; by default 0, 1, ...
    shares : sequence of float
        Of the epochs of each subject that are reviewed, ascending from 0 to 1; tenths by default.
    n_resamples, level, random_state
        Of the confidence intervals, by bootstrap over subjects; see :func:`bland_altman`.

    Returns
    -------
    ReviewCurve

    Raises
    ------
    InvalidRecordingError
        If lengths differ, a label is no class, no row has a label and a prediction, or as
        :func:`review_order`.
    ValueError
        If shares are not ascending numbers from 0 to 1.

    Notes
    -----
    The reviewer is assumed to give the label in ``y_true``: no second scorer agrees with the first
    completely, so real curves end below 1 (kappa of two scorers of stages is about .76, Lee et al.,
    J Clin Sleep Med 18, 2022). ``random`` is what reviewing as many epochs at random gives: its
    expected confusion matrix. Differences are paired, in the same resamples of subjects.

    Examples
    --------
    >>> import numpy as np
    >>> from sleep2vec_sklearn.evaluation import review_curve
    >>> rng = np.random.default_rng(0)
    >>> p = rng.dirichlet([0.5] * 3, 600)
    >>> y = np.array([rng.choice(3, p=row) for row in p])
    >>> curve = review_curve(y, p, np.repeat(np.arange(6), 100), n_resamples=100)
    >>> curve.at("accuracy", 0.2)[["value", "random", "gain_low"]].round(2).tolist()
    [0.8, 0.76, 0.02]
    >>> curve.share_for("kappa", 0.9)
    0.6
    """
    y, p = np.asarray(y_true), np.asarray(probabilities, dtype=float)
    whose = np.arange(len(y)) if groups is None else np.asarray(groups)
    doubt = _doubt_of(p)
    if not len(y) == len(p) == len(whose):
        raise InvalidRecordingError(
            f"y_true has {len(y)} rows, probabilities {len(p)} and groups {len(whose)}; accepted "
            "is one of each for each epoch."
        )
    steps = np.asarray(shares, dtype=float)
    inside = steps.ndim == 1 and len(steps) and ((steps >= 0) & (steps <= 1)).all()
    if not inside or (np.diff(steps) <= 0).any():
        raise ValueError(f"shares must be ascending numbers from 0 to 1, got {shares!r}.")
    labels = _columns_of(y, p, classes)
    used = (labels >= 0) & ~np.isnan(doubt)
    if not used.any():
        raise InvalidRecordingError(
            f"none of the {len(y)} epochs has both a label and a prediction; agreement needs one "
            "at least. Pass scored epochs."
        )
    labels, p, doubt, whose = labels[used], p[used], doubt[used], whose[used]
    draws = SubjectBootstrap(whose, n_resamples, level, random_state)
    line = np.zeros(len(doubt)) if groups is None else whose
    table = _curve(labels, p.argmax(axis=1), _ranks_in(line, doubt), steps, draws, p.shape[1])
    return ReviewCurve(table, len(labels), len(draws.subjects))


def _columns_of(y: np.ndarray, p: np.ndarray, classes: ArrayLike | None) -> np.ndarray:
    """Column of each label, -1 where there is none."""
    names = np.arange(p.shape[1]) if classes is None else np.asarray(classes)
    is_class = y[:, None] == names
    other = ~is_class.any(axis=1) & ~np.asarray(pd.isna(y), dtype=bool) & (y != -1)
    if is_class.shape[1] != p.shape[1] or other.any():
        found = f"holds {y[other][0]!r}" if other.any() else f"has {p.shape[1]} columns"
        raise InvalidRecordingError(
            f"{'y_true' if other.any() else 'probabilities'} {found}, but the classes are "
            f"{', '.join(map(repr, names.tolist()))}. Pass classes=model.classes_."
        )
    return np.where(is_class.any(axis=1), is_class.argmax(axis=1), -1)


def _curve(
    y: np.ndarray, predicted: np.ndarray, ranks: np.ndarray, shares: np.ndarray,
    draws: SubjectBootstrap, n_classes: int,
) -> pd.DataFrame:  # fmt: skip
    """Scores at each share, a row per share and metric."""

    def tables_of(stages: np.ndarray) -> np.ndarray:
        return confusion_tables(y, stages, draws.codes, len(draws.subjects), n_classes)

    unreviewed, corrected = tables_of(predicted), tables_of(y)
    rows = []
    for share in shares:
        # a rounding error above a rank would review one epoch more
        reviewed = ranks < share - 1e-12
        tables = tables_of(np.where(reviewed, y, predicted))
        # of few epochs a subject the part reviewed is larger than the share
        part = reviewed.mean()
        at_random = (1 - part) * unreviewed + part * corrected
        value, random = agreement(tables.sum(axis=0)), agreement(at_random.sum(axis=0))
        drawn, drawn_random = (
            agreement(np.tensordot(draws.counts, part, axes=1)) for part in (tables, at_random)
        )
        for name in _METRICS:
            gains = draws.interval(drawn[name] - drawn_random[name])
            rows.append(
                (share, int(reviewed.sum()), name, value[name], *draws.interval(drawn[name]),
                 random[name], value[name] - random[name], *gains)
            )  # fmt: skip
    columns = ["share", "epochs", "metric", "value", "low", "high", "random", "gain"]
    table = pd.DataFrame(rows, columns=[*columns, "gain_low", "gain_high"])
    return table.astype(dict.fromkeys(table.columns[3:], float))


@dataclass(frozen=True, repr=False)
class ReviewCurve(TableExportMixin, ShownAsTable):
    """Result of :func:`review_curve`.

    Attributes
    ----------
    table : DataFrame
        A row per share and metric (accuracy, kappa, macro_f1), of all epochs together: share,
        epochs (reviewed), metric, value, low, high; ``random``, the value after as many epochs at
        random; gain, gain_low, gain_high, the difference of both.
    n_epochs, n_subjects : int

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation import review_curve
    >>> review_curve([0, 1], [[0.8, 0.2], [0.6, 0.4]], shares=[0, 0.5], n_resamples=20).at(
    ...     "accuracy", 0.5
    ... )["value"]
    np.float64(1.0)
    """

    table: pd.DataFrame
    n_epochs: int
    n_subjects: int

    def to_frame(self) -> pd.DataFrame:
        """The table, a copy."""
        return self.table.copy()

    def at(self, metric: str, share: float) -> pd.Series:
        """Value, interval, random value and gain of a metric at one of the shares.

        Parameters
        ----------
        metric : {"accuracy", "kappa", "macro_f1"}
        share : float
            One of those in ``table``.

        Returns
        -------
        Series

        Raises
        ------
        ValueError
            If the curve has no such metric or share.
        """
        rows = self._of(metric)
        found = rows[np.isclose(rows["share"], share)]
        if found.empty:
            raise ValueError(
                f"share={share!r}; the curve has {', '.join(f'{s:g}' for s in rows['share'])}. "
                "Pass others as shares= of review_curve."
            )
        return found.iloc[0]["value":].astype(float).rename(None)

    def share_for(self, metric: str, value: float) -> float:
        """The smallest share after whose review a metric is at least a value; NaN if none is.

        Parameters
        ----------
        metric : {"accuracy", "kappa", "macro_f1"}
        value : float

        Returns
        -------
        float
            One of the shares in ``table``; an estimate without an interval.
        """
        rows = self._of(metric)
        reached = rows.loc[rows["value"] >= value, "share"]
        return float(reached.min())

    def _of(self, metric: str) -> pd.DataFrame:
        if metric not in _METRICS:
            listed = ", ".join(map(repr, _METRICS))
            raise ValueError(f"metric={metric!r}; accepted are {listed}.")
        return self.table[self.table["metric"] == metric]

    def _headline(self) -> str:
        return f"ReviewCurve({self.n_epochs} epochs of {self.n_subjects} subjects)"
