# SPDX-License-Identifier: BSD-3-Clause
"""How far two ways to measure the same nights are apart.

scikit-learn has all of them for one pair of label arrays. A bootstrap asks for thousands, over
tens of thousands of epochs each, and every one is a function of the confusion matrix alone.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from ._subjects import SubjectBootstrap

__all__ = [
    "agreement",
    "bland_altman",
    "confusion_tables",
    "index_scores",
    "intraclass_correlation",
    "per_class",
    "severity_classes",
]

_Z = 1.959963984540054


def bland_altman(
    reference, measured, *, groups=None, n_resamples: int = 2000, level: float = 0.95,
    random_state=0,
) -> pd.Series:  # fmt: skip
    """Bias and 95 % limits of agreement of two measures of the same nights.

    Parameters
    ----------
    reference, measured : array-like of shape (n_nights,)
        Nights in which either is NaN are left out.
    groups : array-like of shape (n_nights,), optional
        Subject of each night; by default each night is of another one.
    n_resamples : int, default=2000
    level : float, default=0.95
        Of the intervals.
    random_state : int, RandomState or None, default=0

    Returns
    -------
    Series
        ``nights``; ``reference`` and ``measured``, the means; ``bias``, the mean of measured -
        reference; ``sd`` of the differences; ``lower`` and ``upper``, bias -+ 1.96 sd; ``mae``,
        the mean absolute difference. Bias and limits have an interval, ``bias_low``,
        ``bias_high`` and so on, by bootstrap over subjects.

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
    >>> found = bland_altman([400, 420, 380, 410], [405, 430, 385, 420])
    >>> found[["bias", "lower", "upper"]].round(1)
    bias      7.5
    lower     1.8
    upper    13.2
    dtype: float64
    """
    reference, measured = (np.asarray(v, dtype=float) for v in (reference, measured))
    if reference.ndim != 1 or reference.shape != measured.shape:
        raise ValueError(
            f"reference and measured need one common length, got shapes {reference.shape} and "
            f"{measured.shape}."
        )
    groups = np.arange(len(reference)) if groups is None else np.asarray(groups)
    known = np.isfinite(reference) & np.isfinite(measured)
    reference, measured, groups = reference[known], measured[known], groups[known]
    names = ("bias", "lower", "upper")
    row = {"nights": float(len(reference)), "reference": np.nan, "measured": np.nan}
    if len(reference) == 0:
        lost = ["sd", "mae", *names, *(f"{n}_{e}" for n in names for e in ("low", "high"))]
        return pd.Series(row | dict.fromkeys(lost, np.nan))
    difference = measured - reference
    row |= {"reference": reference.mean(), "measured": measured.mean()}
    row |= {"bias": difference.mean(), "mae": np.abs(difference).mean()}
    row["sd"] = difference.std(ddof=1) if len(difference) > 1 else np.nan
    row["lower"], row["upper"] = row["bias"] - _Z * row["sd"], row["bias"] + _Z * row["sd"]
    draws = SubjectBootstrap(groups, n_resamples, level, random_state)
    low, high = draws.interval(_resampled(difference, draws))
    for place, name in enumerate(names):
        row[f"{name}_low"], row[f"{name}_high"] = float(low[place]), float(high[place])
    return pd.Series(row)


def _resampled(difference: np.ndarray, draws: SubjectBootstrap) -> np.ndarray:
    """Bias and limits in each resample, of shape (n_resamples, 3)."""
    centred = difference - difference.mean()
    powers = np.stack([np.ones_like(centred), centred, centred**2], axis=1)
    n, total, squares = draws.sums(powers).T
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / n
        sd = np.sqrt(np.maximum(squares - n * mean**2, 0) / (n - 1))
    bias = mean + difference.mean()
    return np.stack([bias, bias - _Z * sd, bias + _Z * sd], axis=1)


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


def confusion_tables(
    y_true: np.ndarray, y_pred: np.ndarray, codes: np.ndarray, n_codes: int, n_classes: int
) -> np.ndarray:
    """Confusion matrix of each subject, of shape (n_codes, n_classes, n_classes).

    Parameters
    ----------
    y_true, y_pred : int ndarray of shape (n,)
        Numbers of the classes.
    codes : int ndarray of shape (n,)
        Number of the subject.
    n_codes, n_classes : int
    """
    cell = (codes * n_classes + y_true) * n_classes + y_pred
    counts = np.bincount(cell, minlength=n_codes * n_classes**2)
    return counts.reshape(n_codes, n_classes, n_classes).astype(float)


def per_class(tables: np.ndarray) -> dict[str, np.ndarray]:
    """F1, sensitivity, specificity and precision of each class.

    Parameters
    ----------
    tables : ndarray of shape (..., k, k)
        Counts, the truth in rows.

    Returns
    -------
    dict of str to ndarray of shape (..., k)
        NaN where a class occurs in neither, or has no epoch to divide by.
    """
    tables = np.asarray(tables, dtype=float)
    hits = np.diagonal(tables, axis1=-2, axis2=-1)
    true, found = tables.sum(axis=-1), tables.sum(axis=-2)
    total = true.sum(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "f1": 2 * hits / (true + found),
            "sensitivity": hits / true,
            "specificity": (total - true - found + hits) / (total - true),
            "precision": hits / found,
        }


def agreement(tables: np.ndarray) -> dict[str, np.ndarray]:
    """Accuracy, Cohen's kappa and averages over the classes.

    Parameters
    ----------
    tables : ndarray of shape (..., k, k)
        Counts, the truth in rows.

    Returns
    -------
    dict of str to ndarray of shape (...)
        Averages are over the classes that occur, as scikit-learn's are. Kappa is NaN where one
        class is all there is, as agreement by chance is then complete.
    """
    tables = np.asarray(tables, dtype=float)
    true, found = tables.sum(axis=-1), tables.sum(axis=-2)
    total = true.sum(axis=-1)
    classes = per_class(tables)
    with np.errstate(invalid="ignore", divide="ignore"):
        observed = np.trace(tables, axis1=-2, axis2=-1) / total
        chance = (true * found).sum(axis=-1) / total**2
        # a rounding error away from complete is complete
        kappa = np.where(chance > 1 - 1e-12, np.nan, (observed - chance) / (1 - chance))
        return {
            "accuracy": observed,
            "kappa": kappa,
            "macro_f1": _mean(classes["f1"]),
            "weighted_f1": np.nansum(classes["f1"] * true, axis=-1) / total,
            "sensitivity": _mean(classes["sensitivity"]),
            "specificity": _mean(classes["specificity"]),
        }


def _mean(values: np.ndarray) -> np.ndarray:
    known = np.isfinite(values)
    return np.where(known, values, 0).sum(axis=-1) / known.sum(axis=-1)
