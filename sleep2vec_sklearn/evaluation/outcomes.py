# SPDX-License-Identifier: BSD-3-Clause
"""Scores of predicted outcomes of a night or subject, and calibration of probabilities."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import pearsonr
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    average_precision_score,
    mean_absolute_error,
    mean_squared_error,
    r2_score,
    roc_auc_score,
)

from .._arguments import as_labels, as_numbers, check_number, check_option
from .._html import ShownAsTable
from ._subjects import SubjectBootstrap
from .agreement import agreement, check_pair, confusion_tables, per_class
from .tables import TableExportMixin

_REGRESSION: Mapping[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "mae": mean_absolute_error,
    "mse": mean_squared_error,
    "r2": r2_score,
    "pearson": lambda y, predicted: pearsonr(y, predicted).statistic,
}
_SMALLEST = 1e-6  # of probabilities whose logit is taken
_MAX_STEPS = 50
_MOST_BINS = 10_000


def binary_report(
    y_true: ArrayLike, probability: ArrayLike, *, groups: ArrayLike | None = None,
    pos_label: object = 1, n_resamples: int = 500, level: float = 0.95,
    random_state: int | np.random.RandomState | None = 0,
) -> pd.DataFrame:  # fmt: skip
    """Scores of a binary outcome.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        Two classes.
    probability : array-like of shape (n,) or (n, 2)
        Of ``pos_label``; of two columns the second is taken. 0.5 and above predicts ``pos_label``.
    groups : array-like of shape (n,), optional
        Subject of each row; by default each row is of another one.
    pos_label : object, default=1
    n_resamples, level, random_state
        Of the confidence intervals, see :func:`bland_altman`.

    Returns
    -------
    DataFrame
        Rows roc_auc, auprc, accuracy, kappa, macro_f1, weighted_f1, sensitivity, specificity,
        brier, ece (ten bins); columns value, low, high, by bootstrap over subjects.

    Raises
    ------
    ValueError
        If there are not two classes, or a probability is not one.

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation import binary_report
    >>> y, probability = [0, 0, 1, 1, 0, 1], [0.1, 0.4, 0.35, 0.8, 0.3, 0.9]
    >>> report = binary_report(y, probability, n_resamples=100)
    >>> report.loc[["roc_auc", "brier"], "value"].round(3).tolist()
    [0.889, 0.122]
    """
    y, p = _check_binary(y_true, probability, pos_label)
    return _score_table(_score_binary, y, p, groups, n_resamples, level, random_state)


def regression_report(
    y_true: ArrayLike, y_pred: ArrayLike, *, groups: ArrayLike | None = None,
    n_resamples: int = 500, level: float = 0.95,
    random_state: int | np.random.RandomState | None = 0,
) -> pd.DataFrame:  # fmt: skip
    """Scores of a predicted number, such as age or AHI.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n,)
    groups, n_resamples, level, random_state
        As of :func:`binary_report`.

    Returns
    -------
    DataFrame
        Rows mae, mse, r2, pearson; columns value, low, high, by bootstrap over subjects.

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation import regression_report
    >>> report = regression_report([30, 40, 50, 60], [32, 45, 49, 55], n_resamples=100)
    >>> report["value"].round(2).to_dict()
    {'mae': 3.25, 'mse': 13.75, 'r2': 0.89, 'pearson': 0.97}
    """
    y, predicted = check_pair(y_true=y_true, y_pred=y_pred)
    return _score_table(_score_regression, y, predicted, groups, n_resamples, level, random_state)


def _score_table(
    score: Callable, y: np.ndarray, predicted: np.ndarray, groups: ArrayLike | None, *bootstrap: Any
) -> pd.DataFrame:
    """Scores with confidence intervals; ``bootstrap`` is n_resamples, level and random_state."""
    rows = np.arange(len(y)) if groups is None else as_labels("groups", groups, len(y))
    draws = SubjectBootstrap(rows, *bootstrap)
    values = score(y, predicted)
    replicates = [[*score(y[rows], predicted[rows]).values()] for rows in draws.rows()]
    low, high = draws.interval(replicates)
    table = {"value": [*values.values()], "low": low, "high": high}
    return pd.DataFrame(table, index=pd.Index(list(values), name="score"))


def _score_binary(y: np.ndarray, p: np.ndarray) -> dict[str, float]:
    """NaN for all where there is one class, as in some resamples."""
    table = confusion_tables(y, (p >= 0.5).astype(int), np.zeros_like(y), 1, 2)[0]
    overall, classes = agreement(table), per_class(table)
    two_classes = y.min() != y.max()
    scores = {
        "roc_auc": roc_auc_score(y, p) if two_classes else np.nan,
        "auprc": average_precision_score(y, p) if two_classes else np.nan,
        **{name: overall[name] for name in ("accuracy", "kappa", "macro_f1", "weighted_f1")},
        "sensitivity": classes["sensitivity"][1],
        "specificity": classes["specificity"][1],
        "brier": np.mean((y - p) ** 2),
        "ece": expected_calibration_error(y, p),
    }
    return {name: float(value) if two_classes else np.nan for name, value in scores.items()}


def _score_regression(y: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    if np.ptp(y) == 0 or np.ptp(predicted) == 0:
        return dict.fromkeys(_REGRESSION, np.nan)
    return {name: float(score(y, predicted)) for name, score in _REGRESSION.items()}


def calibration_report(
    y_true: ArrayLike, probability: ArrayLike, *, groups: ArrayLike | None = None,
    pos_label: object = 1, n_bins: int = 10, strategy: str = "quantile", n_resamples: int = 500,
    level: float = 0.95, random_state: int | np.random.RandomState | None = 0,
) -> CalibrationReport:  # fmt: skip
    """Compare predicted probabilities with observed rates.

    Parameters
    ----------
    y_true, probability, groups, pos_label
        As of :func:`binary_report`; predicted for subjects that the model was not fitted to.
    n_bins : int, default=10
        Of the curve; the calibration error always has ten of equal width.
    strategy : {"quantile", "uniform"}, default="quantile"
        Bins of the curve with equally many rows, or of equal width.
    n_resamples, level, random_state
        As of :func:`binary_report`.

    Returns
    -------
    CalibrationReport

    Notes
    -----
    ``slope`` is that of a logistic regression of the outcome on the logit of the probability; below
    1 probabilities are too extreme. It is NaN where they separate the classes or are all the same.
    ``intercept`` is calibration in the large: what has to be added to the logits so that their mean
    is the rate; below 0 probabilities are too high (Van Calster et al. 2019, Calibration: the
    Achilles heel of predictive analytics, BMC Med 17, 230).

    Examples
    --------
    >>> import numpy as np
    >>> from sleep2vec_sklearn.evaluation import calibration_report
    >>> rng = np.random.default_rng(0)
    >>> risk = rng.uniform(0.05, 0.95, 400)
    >>> report = calibration_report(rng.random(400) < risk, risk, pos_label=True, n_resamples=100)
    >>> report.scores.loc["slope"].round(2).to_dict()
    {'value': 1.17, 'low': 0.98, 'high': 1.44}
    """
    y, p = _check_binary(y_true, probability, pos_label)
    n_bins = check_number("n_bins", n_bins, 1, _MOST_BINS, whole=True)
    check_option("strategy", strategy, ("quantile", "uniform"))
    scores = _score_table(_score_calibration, y, p, groups, n_resamples, level, random_state)
    rate, mean = calibration_curve(y, p, n_bins=n_bins, strategy=strategy)
    curve = pd.DataFrame({"predicted": mean, "observed": rate})
    n_subjects = len(y) if groups is None else len(set(as_labels("groups", groups).tolist()))
    return CalibrationReport(scores, curve, y, p, n_subjects)


@dataclass(frozen=True, repr=False)
class CalibrationReport(TableExportMixin, ShownAsTable):
    """Result of :func:`calibration_report`.

    Attributes
    ----------
    scores : DataFrame
        Rows brier, ece, slope, intercept; columns value, low, high.
    curve : DataFrame
        Mean predicted probability and observed rate of each bin.
    y_true : int ndarray of shape (n,)
    probability : ndarray of shape (n,)
    n_subjects : int

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation import calibration_report
    >>> calibration_report([0, 1, 0, 1], [0.1, 0.8, 0.6, 0.4], n_resamples=20).scores.index.tolist()
    ['brier', 'ece', 'slope', 'intercept']
    """

    scores: pd.DataFrame
    curve: pd.DataFrame
    y_true: np.ndarray
    probability: np.ndarray
    n_subjects: int

    def to_frame(self) -> pd.DataFrame:
        """The scores, with columns metric, value, low, high."""
        return self.scores.rename_axis("metric").reset_index()

    def _headline(self) -> str:
        return (
            f"CalibrationReport({len(self.y_true)} rows of {self.n_subjects} subjects, "
            f"{100 * self.y_true.mean():.1f} % positive)"
        )


def expected_calibration_error(
    y_true: ArrayLike, probability: ArrayLike, n_bins: int = 10
) -> float:
    """Mean distance between predicted and observed rate over bins of equal width.

    Parameters
    ----------
    y_true, probability : array-like of shape (n,)
        Outcomes as 0 and 1, and the probability of 1.
    n_bins : int, default=10

    Returns
    -------
    float
        Bins are weighted by their number of rows.

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation import expected_calibration_error
    >>> round(expected_calibration_error([0, 1, 1, 1], [0.3, 0.3, 0.9, 0.9]), 3)
    0.15
    """
    n_bins = check_number("n_bins", n_bins, 1, _MOST_BINS, whole=True)
    y, p = check_pair(y_true=y_true, probability=probability)
    if not len(y) or not np.isin(y, (0, 1)).all() or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(
            f"y_true has {len(y)} values and probability reaches from {p.min(initial=np.inf):g} to "
            f"{p.max(initial=-np.inf):g}; accepted are one row or more of 0 or 1, and of "
            "probabilities. Compare a class: y == label."
        )
    bins = np.clip((p * n_bins).astype(int), 0, n_bins - 1)
    gaps = np.bincount(bins, weights=y - p, minlength=n_bins)
    return float(np.abs(gaps).sum() / len(y))


def _check_binary(
    y_true: ArrayLike, probability: ArrayLike, pos_label: Any
) -> tuple[np.ndarray, np.ndarray]:
    y = as_labels("y_true", y_true)
    p = as_numbers("probability", probability, ndim=(1, 2))
    p = p[:, 1] if p.ndim == 2 and p.shape[1] == 2 else p
    # by their texts, as a gap among texts has no order
    classes = list({str(label): label for label in y.tolist()}.values())
    is_label = isinstance(pos_label, str | bytes | Real | np.generic)
    if len(classes) != 2 or not is_label or pos_label not in classes:
        raise ValueError(
            f"y_true has the classes {classes[:5]} with pos_label={pos_label!r}; accepted are two, "
            "pos_label one of them. Pass pos_label, or compare one class with the rest."
        )
    if p.shape != y.shape or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(
            f"probability has shape {p.shape} for {len(y)} rows and values from "
            f"{p.min(initial=np.inf):g} to {p.max(initial=-np.inf):g}; accepted is one probability "
            "per row, as predict_proba(X)[:, 1] gives."
        )
    return (y == pos_label).astype(int), p


def _score_calibration(y: np.ndarray, p: np.ndarray) -> dict[str, float]:
    if y.min() == y.max():
        return dict.fromkeys(("brier", "ece", "slope", "intercept"), np.nan)
    logits = logit(np.clip(p, _SMALLEST, 1 - _SMALLEST))
    return {
        "brier": float(np.mean((y - p) ** 2)),
        "ece": expected_calibration_error(y, p),
        "slope": _slope(y, logits),
        "intercept": float(brentq(lambda a: np.sum(y - expit(a + logits)), -40, 40)),
    }


def _slope(y: np.ndarray, logits: np.ndarray) -> float:
    """Of a logistic regression by Newton's method, NaN where the classes are separated.

    scikit-learn's solvers return some slope there, and take three times as long (8 ms for 1500
    rows, in each of 500 resamples).
    """
    if np.ptp(logits) == 0 or logits[y == 1].min() >= logits[y == 0].max():
        return np.nan
    design = np.stack([np.ones_like(logits), logits], axis=1)

    def log_likelihood(weights: np.ndarray) -> float:
        return np.sum(y * (design @ weights) - np.logaddexp(0, design @ weights))

    weights = np.zeros(2)
    for _ in range(_MAX_STEPS):
        p = expit(design @ weights)
        curvature = design.T * (p * (1 - p)) @ design
        step = np.linalg.lstsq(curvature, design.T @ (y - p), rcond=None)[0]
        before = log_likelihood(weights)
        # a whole step may overshoot to where the likelihood is flat
        while np.abs(step).max() >= 1e-9 and log_likelihood(weights + step) < before:
            step = step / 2
        weights = weights + step
        if np.abs(step).max() < 1e-9:
            return float(weights[1])
    return np.nan
