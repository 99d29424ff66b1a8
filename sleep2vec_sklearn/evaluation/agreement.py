# SPDX-License-Identifier: BSD-3-Clause
"""Agreement of two sources about the same nights: limits, indices and confusion matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from .._arguments import as_labels, as_numbers, check_number, check_squares, is_nan
from ._subjects import SubjectBootstrap

_SEVERITY = (5, 15, 30)
_Z = 1.959963984540054


def bland_altman(
    reference: ArrayLike, measured: ArrayLike, *, groups: ArrayLike | None = None,
    n_resamples: int = 2000, level: float = 0.95,
    random_state: int | np.random.RandomState | None = 0,
) -> pd.Series:  # fmt: skip
    """Bias and 95 % limits of agreement of two measurements of the same nights.

    Parameters
    ----------
    reference, measured : array-like of shape (n_nights,)
        A night in which either is NaN is left out.
    groups : array-like of shape (n_nights,), optional
        Subject of each night; by default each night is of another one.
    n_resamples : int, default=2000
    level : float, default=0.95
        Of the confidence intervals.
    random_state : int, RandomState or None, default=0

    Returns
    -------
    Series
        ``nights``; ``reference`` and ``measured``, the means; ``bias``, the mean of measured -
        reference; ``sd`` of the differences; ``lower`` and ``upper``, bias -/+ 1.96 sd; ``mae``,
        the mean absolute difference. Bias and limits have a confidence interval,
        ``bias_low``, ``bias_high`` and so on, by bootstrap over subjects.

    Notes
    -----
    Nights of one subject count as nights, so with several of each the limits are those of a night
    drawn from all nights.

    References
    ----------
    Bland JM, Altman DG (1986). Statistical methods for assessing agreement between two methods of
    clinical measurement. Lancet 327, 307-310.

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation import bland_altman
    >>> agreement = bland_altman([400, 420, 380, 410], [405, 430, 385, 420])
    >>> agreement[["bias", "lower", "upper"]].round(1).tolist()
    [7.5, 1.8, 13.2]
    """
    true, other = check_pair(finite=False, reference=reference, measured=measured)
    known = np.isfinite(true) & np.isfinite(other)
    rows = np.arange(len(true))
    subjects = (rows if groups is None else as_labels("groups", groups, len(true)))[known]
    true, other = true[known], other[known]
    names = ("bias", "lower", "upper")
    row = {"nights": float(len(true)), "reference": np.nan, "measured": np.nan}
    if len(true) == 0:
        undefined = ["sd", "mae", *names, *(f"{n}_{e}" for n in names for e in ("low", "high"))]
        return pd.Series(row | dict.fromkeys(undefined, np.nan))
    difference = other - true
    row |= {"reference": true.mean(), "measured": other.mean()}
    row |= {"bias": difference.mean(), "mae": np.abs(difference).mean()}
    row["sd"] = difference.std(ddof=1) if len(difference) > 1 else np.nan
    row["lower"], row["upper"] = row["bias"] - _Z * row["sd"], row["bias"] + _Z * row["sd"]
    draws = SubjectBootstrap(subjects, n_resamples, level, random_state)
    lows, highs = draws.interval(_resample_limits(difference, draws))
    for name, low, high in zip(names, lows, highs, strict=True):
        row[f"{name}_low"], row[f"{name}_high"] = float(low), float(high)
    return pd.Series(row)


def check_pair(finite: bool = True, **pair: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Two arrays by name as float arrays of one length, finite unless told otherwise."""
    first, second = (as_numbers(name, values) for name, values in pair.items())
    names = " and ".join(pair)
    if first.shape != second.shape:
        raise ValueError(
            f"{names} need one common shape, got {first.shape} and {second.shape}. Pass a value of "
            "each for every night."
        )
    if finite and not np.isfinite([first, second]).all():
        raise ValueError(
            f"{names} need finite numbers. Leave out rows that have none, such as nights without "
            "sleep."
        )
    for name, numbers in zip(pair, (first, second), strict=True):
        check_squares(name, numbers[np.isfinite(numbers)])
    return first, second


def _resample_limits(difference: np.ndarray, draws: SubjectBootstrap) -> np.ndarray:
    """Bias and limits in each resample, of shape (n_resamples, 3)."""
    centred = difference - difference.mean()
    powers = np.stack([np.ones_like(centred), centred, centred**2], axis=1)
    n, total, squares = draws.sums(powers).T
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / n
        sd = np.sqrt(np.maximum(squares - n * mean**2, 0) / (n - 1))
    bias = mean + difference.mean()
    return np.stack([bias, bias - _Z * sd, bias + _Z * sd], axis=1)


def intraclass_correlation(y_true: ArrayLike, y_pred: ArrayLike) -> float:
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
    ratings = np.stack(check_pair(finite=False, y_true=y_true, y_pred=y_pred), axis=1)
    n, k = ratings.shape
    if n < 2:
        return np.nan
    by_night, by_rater = ratings.mean(axis=1, keepdims=True), ratings.mean(axis=0)
    mean = ratings.mean()
    between_nights = k * ((by_night - mean) ** 2).sum() / (n - 1)
    between_raters = n * ((by_rater - mean) ** 2).sum() / (k - 1)
    residual = ((ratings - by_night - by_rater + mean) ** 2).sum() / ((n - 1) * (k - 1))
    total = between_nights + (k - 1) * residual + k * (between_raters - residual) / n
    return float((between_nights - residual) / total) if total else np.nan


def severity_classes(index: ArrayLike, thresholds: Sequence[float] = _SEVERITY) -> np.ndarray:
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
    limits = _check_thresholds(thresholds)
    return np.digitize(as_numbers("index", index, ndim=(0, 1, 2)), limits)


def _check_thresholds(thresholds: Any) -> np.ndarray:
    limits = as_numbers("thresholds", thresholds)
    if not np.isfinite(limits).all() or (np.diff(limits) <= 0).any():
        raise ValueError(
            f"thresholds are {limits.tolist()}; accepted are increasing, finite numbers of events "
            "per hour. Sort them, and leave out what is there twice."
        )
    return limits


def index_scores(
    y_true: ArrayLike, y_pred: ArrayLike, *, thresholds: Sequence[float] = _SEVERITY,
    undefined: float = np.nan,
) -> pd.Series:  # fmt: skip
    """Compare a predicted index of events per hour with the scored one.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_nights,)
    thresholds : tuple of float, default=(5, 15, 30)
        A night whose index reaches one is positive at it.
    undefined : float, default=nan
        Value of scores that are undefined, such as a specificity without a negative night.

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
    >>> scores[["mae", "threshold_15_recall", "acc"]].tolist()
    [2.5, 1.0, 0.75]
    """
    true, predicted = check_pair(y_true=y_true, y_pred=y_pred)
    thresholds = _check_thresholds(thresholds).tolist()
    undefined = np.nan if is_nan(undefined) else check_number("undefined", undefined)
    row = {
        "mae": np.abs(predicted - true).mean() if len(true) else np.nan,
        "pearson": pearson(true, predicted),
        "icc": intraclass_correlation(true, predicted),
    }
    for threshold in thresholds:
        for name, value in _threshold_scores(true, predicted, threshold).items():
            row[f"threshold_{threshold:g}_{name}"] = value
    classes = severity_classes(true, thresholds), severity_classes(predicted, thresholds)
    row["acc"] = (classes[0] == classes[1]).mean() if len(true) else np.nan
    for average in ("macro", "weighted"):
        score = f1_score(*classes, average=average, zero_division=0) if len(true) else np.nan
        row[f"{average}_f1"] = score
    return pd.Series(row, dtype=float).fillna(undefined)


def _threshold_scores(
    true: np.ndarray, predicted: np.ndarray, threshold: float
) -> dict[str, float]:
    y, positive = true >= threshold, predicted >= threshold
    n_hits = int((y & positive).sum())
    two_classes = len(set(y.tolist())) == 2
    return {
        "precision": divide(n_hits, positive.sum()),
        "recall": divide(n_hits, y.sum()),
        "f1": divide(2 * n_hits, positive.sum() + y.sum()),
        "specificity": divide((~y & ~positive).sum(), (~y).sum()),
        "accuracy": divide((y == positive).sum(), len(y)),
        "auroc": roc_auc_score(y, predicted) if two_classes else np.nan,
        "auprc": average_precision_score(y, predicted) if two_classes else np.nan,
    }


def pearson(first: np.ndarray, second: np.ndarray) -> float:
    """Correlation; NaN, without scipy's warning, where one of the two does not vary."""
    if len(first) < 2 or not np.ptp(first) or not np.ptp(second):
        return np.nan
    return float(np.corrcoef(first, second)[0, 1])


def divide(part: float, whole: float) -> float:
    """NaN where there is nothing to divide by."""
    return float(part / whole) if whole else np.nan


# scikit-learn has the scores below for one pair of label arrays. A bootstrap needs thousands, over
# tens of thousands of epochs each, and every one is a function of the confusion matrix alone.


def confusion_tables(
    y_true: np.ndarray, y_pred: np.ndarray, codes: np.ndarray, n_subjects: int, n_classes: int
) -> np.ndarray:
    """Confusion matrix of each subject, the truth in rows; labels and ``codes`` count from 0."""
    cell = (codes * n_classes + y_true) * n_classes + y_pred
    counts = np.bincount(cell, minlength=n_subjects * n_classes**2)
    return counts.reshape(n_subjects, n_classes, n_classes).astype(float)


def per_class(tables: np.ndarray) -> dict[str, np.ndarray]:
    """Scores of each class, of shape (..., n_classes); NaN where there is no epoch to divide by."""
    tables = np.asarray(tables, dtype=float)
    hits = np.diagonal(tables, axis1=-2, axis2=-1)
    true, predicted = tables.sum(axis=-1), tables.sum(axis=-2)
    total = true.sum(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "f1": 2 * hits / (true + predicted),
            "sensitivity": hits / true,
            "specificity": (total - true - predicted + hits) / (total - true),
            "precision": hits / predicted,
        }


def agreement(tables: np.ndarray) -> dict[str, np.ndarray]:
    """Accuracy, Cohen's kappa and averages over the classes that occur, of shape (...)."""
    tables = np.asarray(tables, dtype=float)
    true, predicted = tables.sum(axis=-1), tables.sum(axis=-2)
    total = true.sum(axis=-1)
    classes = per_class(tables)
    with np.errstate(invalid="ignore", divide="ignore"):
        observed = np.trace(tables, axis1=-2, axis2=-1) / total
        chance = (true * predicted).sum(axis=-1) / total**2
        # one class is all there is, but for a rounding error: agreement by chance is complete
        kappa = np.where(chance > 1 - 1e-12, np.nan, (observed - chance) / (1 - chance))
        return {
            "accuracy": observed,
            "kappa": kappa,
            "macro_f1": _mean_of_known(classes["f1"]),
            "weighted_f1": np.nansum(classes["f1"] * true, axis=-1) / total,
            "sensitivity": _mean_of_known(classes["sensitivity"]),
            "specificity": _mean_of_known(classes["specificity"]),
        }


def _mean_of_known(values: np.ndarray) -> np.ndarray:
    known = np.isfinite(values)
    return np.where(known, values, 0).sum(axis=-1) / known.sum(axis=-1)
