# SPDX-License-Identifier: BSD-3-Clause
"""How well an index of events per hour of sleep, such as the AHI, is told."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

__all__ = ["index_scores", "intraclass_correlation", "severity_classes"]

_SEVERITY = (5, 15, 30)


def intraclass_correlation(y_true, y_pred) -> float:
    """ICC(2,1): two-way random effects, absolute agreement, single measures.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_nights,)

    Returns
    -------
    float
        NaN with fewer than two nights, or where nothing varies.

    References
    ----------
    Shrout PE, Fleiss JL (1979). Intraclass correlations: uses in assessing rater reliability.
    Psychological Bulletin 86, 420-428.

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation import intraclass_correlation
    >>> round(intraclass_correlation([3, 12, 20, 41], [5, 11, 26, 40]), 3)
    0.979
    """
    ratings = np.stack([np.asarray(y_true, float), np.asarray(y_pred, float)], axis=1)
    n, k = ratings.shape
    if n < 2:
        return np.nan
    by_night, by_rater = ratings.mean(axis=1, keepdims=True), ratings.mean(axis=0)
    mean = ratings.mean()
    between_nights = k * ((by_night - mean) ** 2).sum() / (n - 1)
    between_raters = n * ((by_rater - mean) ** 2).sum() / (k - 1)
    rest = ((ratings - by_night - by_rater + mean) ** 2).sum() / ((n - 1) * (k - 1))
    whole = between_nights + (k - 1) * rest + k * (between_raters - rest) / n
    return float((between_nights - rest) / whole) if whole else np.nan


def severity_classes(index, thresholds=_SEVERITY) -> np.ndarray:
    """Class of each night: the number of thresholds its index reaches.

    Parameters
    ----------
    index : array-like of shape (n_nights,)
        Events per hour.
    thresholds : tuple of float, default=(5, 15, 30)
        With these, 0 is none, 1 mild, 2 moderate, 3 severe.

    Returns
    -------
    int ndarray of shape (n_nights,)

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation import severity_classes
    >>> severity_classes([4.9, 5, 29.9, 30])
    array([0, 1, 2, 3])
    """
    return np.digitize(np.asarray(index, dtype=float), thresholds)


def index_scores(y_true, y_pred, *, thresholds=_SEVERITY, undefined=np.nan) -> pd.Series:
    """Compare a predicted index of events per hour with the scored one.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_nights,)
    thresholds : tuple of float, default=(5, 15, 30)
        A night whose index reaches one is positive at it.
    undefined : float, default=nan
        What a score is that has nothing to be computed of, such as a specificity without a
        negative night.

    Returns
    -------
    Series
        ``mae``, ``pearson``, ``icc`` (see :func:`intraclass_correlation`); per threshold t
        ``threshold_t_precision``, ``_recall``, ``_f1``, ``_specificity``, ``_accuracy``,
        ``_auroc``, ``_auprc``, the last two with the predicted index as the score; ``acc``,
        ``macro_f1`` and ``weighted_f1`` of the classes between the thresholds.

    Raises
    ------
    ValueError
        If the two differ in length or hold a value that is not finite.

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation import index_scores
    >>> scores = index_scores([3, 12, 20, 41], [5, 11, 26, 40])
    >>> scores[["mae", "threshold_15_recall", "acc"]].round(2)
    mae                    2.50
    threshold_15_recall    1.00
    acc                    0.75
    dtype: float64
    """
    true, told = _checked(y_true, y_pred)
    row = {
        "mae": np.abs(told - true).mean() if len(true) else np.nan,
        "pearson": pearson(true, told),
        "icc": intraclass_correlation(true, told),
    }
    for threshold in thresholds:
        for name, value in _binary_scores(true, told, threshold).items():
            row[f"threshold_{threshold:g}_{name}"] = value
    classes = severity_classes(true, thresholds), severity_classes(told, thresholds)
    row["acc"] = (classes[0] == classes[1]).mean() if len(true) else np.nan
    for average in ("macro", "weighted"):
        score = f1_score(*classes, average=average, zero_division=0) if len(true) else np.nan
        row[f"{average}_f1"] = score
    scores = pd.Series(row, dtype=float)
    return scores.fillna(undefined)


def pearson(first: np.ndarray, second: np.ndarray) -> float:
    """Correlation; NaN where one of the two does not vary."""
    if len(first) < 2 or not np.ptp(first) or not np.ptp(second):
        return np.nan
    return float(np.corrcoef(first, second)[0, 1])


def _checked(y_true, y_pred) -> tuple[np.ndarray, np.ndarray]:
    true, told = (np.asarray(y, dtype=float) for y in (y_true, y_pred))
    if true.ndim != 1 or true.shape != told.shape:
        raise ValueError(
            f"y_true and y_pred must be one index per night, got shapes {true.shape} and "
            f"{told.shape}."
        )
    if not (np.isfinite(true).all() and np.isfinite(told).all()):
        raise ValueError("y_true and y_pred must be finite: leave nights without sleep out.")
    return true, told


def _binary_scores(true: np.ndarray, told: np.ndarray, threshold: float) -> dict[str, float]:
    y, guess = true >= threshold, told >= threshold
    hits = int((y & guess).sum())
    precision, recall = divide(hits, guess.sum()), divide(hits, y.sum())
    both = len(set(y.tolist())) == 2
    return {
        "precision": precision,
        "recall": recall,
        "f1": divide(2 * hits, guess.sum() + y.sum()),
        "specificity": divide((~y & ~guess).sum(), (~y).sum()),
        "accuracy": divide((y == guess).sum(), len(y)),
        "auroc": roc_auc_score(y, told) if both else np.nan,
        "auprc": average_precision_score(y, told) if both else np.nan,
    }


def divide(part: float, whole: float) -> float:
    """NaN where there is nothing to divide by."""
    return float(part / whole) if whole else np.nan
