# SPDX-License-Identifier: BSD-3-Clause
"""How well an outcome of a night or a person is predicted, with intervals over people."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from scipy.stats import pearsonr
from sklearn.metrics import (
    average_precision_score,
    mean_absolute_error,
    mean_squared_error,
    r2_score,
    roc_auc_score,
)

from ._subjects import SubjectBootstrap
from .agreement import agreement, confusion_tables, per_class
from .calibration import check_binary, expected_calibration_error

__all__ = [
    "binary_report",
    "regression_report",
]

REGRESSION: Mapping[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "mae": mean_absolute_error,
    "mse": mean_squared_error,
    "r2": r2_score,
    "pearson": lambda y, found: pearsonr(y, found).statistic,
}


def binary_report(
    y_true, probability, *, groups=None, pos_label=1, n_resamples: int = 500, level: float = 0.95,
    random_state=0,
) -> pd.DataFrame:  # fmt: skip
    """Scores of a binary outcome.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        Two classes.
    probability : array-like of shape (n,) or (n, 2)
        Of ``pos_label``; of two columns the second is taken. 0.5 and above is a positive answer.
    groups : array-like of shape (n,), optional
        Subject of each row; by default each row is of another one.
    pos_label : object, default=1
    n_resamples : int, default=500
    level : float, default=0.95
    random_state : int, RandomState or None, default=0

    Returns
    -------
    DataFrame
        Rows roc_auc, auprc, accuracy, kappa, macro_f1, weighted_f1, sensitivity, specificity,
        brier, ece (ten bins); columns value, low, high, by bootstrap over subjects.

    Raises
    ------
    ValueError
        If there are not two classes, or the probabilities are none.

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation import binary_report
    >>> report = binary_report([0, 0, 1, 1, 0, 1], [0.1, 0.4, 0.35, 0.8, 0.3, 0.9])
    >>> report.loc[["roc_auc", "brier"], "value"].round(3)
    score
    roc_auc    0.889
    brier      0.122
    Name: value, dtype: float64
    """
    y, p = check_binary(y_true, probability, pos_label)
    return _report(y, p, _score_binary, groups, n_resamples, level, random_state)


def regression_report(
    y_true, y_pred, *, groups=None, n_resamples: int = 500, level: float = 0.95, random_state=0
) -> pd.DataFrame:
    """Scores of a predicted number, such as age or AHI.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n,)
    groups : array-like of shape (n,), optional
        Subject of each row; by default each row is of another one.
    n_resamples : int, default=500
    level : float, default=0.95
    random_state : int, RandomState or None, default=0

    Returns
    -------
    DataFrame
        Rows mae, mse, r2, pearson; columns value, low, high, by bootstrap over subjects.

    Raises
    ------
    ValueError
        If the two differ in shape, or hold what is no finite number.

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation import regression_report
    >>> regression_report([30, 40, 50, 60], [32, 45, 49, 55])["value"].round(2)
    score
    mae         3.25
    mse        13.75
    r2          0.89
    pearson     0.97
    Name: value, dtype: float64
    """
    y, found = (np.asarray(values, dtype=float) for values in (y_true, y_pred))
    if y.ndim != 1 or y.shape != found.shape or not np.isfinite([y, found]).all():
        raise ValueError(
            f"y_true and y_pred need finite numbers of one common shape (n,), got {y.shape} and "
            f"{found.shape}. Leave out rows whose outcome is not known."
        )
    return _report(y, found, _score_regression, groups, n_resamples, level, random_state)


def _report(y, found, score, groups, n_resamples, level, random_state) -> pd.DataFrame:
    groups = np.arange(len(y)) if groups is None else groups
    draws = SubjectBootstrap(groups, n_resamples, level, random_state)
    values = score(y, found)
    resampled = [[*score(y[rows], found[rows]).values()] for rows in draws.rows()]
    low, high = draws.interval(resampled)
    table = {"value": [*values.values()], "low": low, "high": high}
    return pd.DataFrame(table, index=pd.Index(list(values), name="score"))


def _score_binary(y: np.ndarray, p: np.ndarray) -> dict[str, float]:
    """NaN for all where there is one class, as in some resamples: nothing is told apart."""
    one = np.zeros(len(y), dtype=int)
    table = confusion_tables(y, (p >= 0.5).astype(int), one, 1, 2)[0]
    found, classes = agreement(table), per_class(table)
    scores = {
        "roc_auc": np.nan,
        "auprc": np.nan,
        **{name: found[name] for name in ("accuracy", "kappa", "macro_f1", "weighted_f1")},
        "sensitivity": classes["sensitivity"][1],
        "specificity": classes["specificity"][1],
        "brier": np.mean((y - p) ** 2),
        "ece": expected_calibration_error(y, p),
    }
    if y.min() == y.max():
        return dict.fromkeys(scores, np.nan)
    scores["roc_auc"], scores["auprc"] = roc_auc_score(y, p), average_precision_score(y, p)
    return {name: float(value) for name, value in scores.items()}


def _score_regression(y: np.ndarray, found: np.ndarray) -> dict[str, float]:
    if np.ptp(y) == 0 or np.ptp(found) == 0:
        return dict.fromkeys(REGRESSION, np.nan)
    return {name: float(score(y, found)) for name, score in REGRESSION.items()}
