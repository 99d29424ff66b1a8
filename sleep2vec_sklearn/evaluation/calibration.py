# SPDX-License-Identifier: BSD-3-Clause
"""Whether predicted probabilities are what happens: of those told 20 %, do 20 % have it?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import expit, logit
from sklearn.calibration import calibration_curve

from ._subjects import SubjectBootstrap

__all__ = [
    "CalibrationReport",
    "calibration_report",
    "expected_calibration_error",
]

_CLOSEST = 1e-6
_STEPS = 50


def calibration_report(
    y_true, probability, *, groups=None, pos_label=1, n_bins: int = 10,
    strategy: str = "quantile", n_resamples: int = 500, level: float = 0.95, random_state=0,
) -> CalibrationReport:  # fmt: skip
    """Compare predicted probabilities with what happened.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        Two classes.
    probability : array-like of shape (n,) or (n, 2)
        Of ``pos_label``, predicted for people held out; of two columns the second is taken.
    groups : array-like of shape (n,), optional
        Subject of each row; by default each row is of another one.
    pos_label : object, default=1
    n_bins : int, default=10
        Of the curve; the calibration error always has ten of equal width.
    strategy : {"quantile", "uniform"}, default="quantile"
        Bins of the curve with equally many rows, or of equal width.
    n_resamples : int, default=500
    level : float, default=0.95
    random_state : int, RandomState or None, default=0

    Returns
    -------
    CalibrationReport

    Raises
    ------
    ValueError
        If there are not two classes, or the probabilities are none.

    Notes
    -----
    ``slope`` is that of a logistic regression of the outcome on the logit of the probability; 1 is
    right, and below 1 probabilities are too extreme. ``intercept`` is calibration in the large:
    what has to be added to the logits so that their mean is the rate; 0 is right, and below 0
    probabilities are too high (Van Calster et al. 2019, Calibration: the Achilles heel of
    predictive analytics, BMC Med 17, 230). Both are NaN where the probabilities separate the
    classes, or are all the same.

    Examples
    --------
    >>> import numpy as np
    >>> from sleep2vec_sklearn.evaluation import calibration_report
    >>> rng = np.random.default_rng(0)
    >>> risk = rng.uniform(0.05, 0.95, 400)
    >>> report = calibration_report(rng.random(400) < risk, risk, pos_label=True, n_resamples=100)
    >>> report
    CalibrationReport(400 rows of 400 subjects, 51.0 % positive)
               value    low  high
    brier      0.167  0.152 0.183
    ece        0.052  0.046 0.108
    slope      1.171  0.980 1.443
    intercept -0.098 -0.314 0.123
    """
    y, p = check_binary(y_true, probability, pos_label)
    groups = np.arange(len(y)) if groups is None else groups
    draws = SubjectBootstrap(groups, n_resamples, level, random_state)
    values = _calibration(y, p)
    low, high = draws.interval([_calibration(y[rows], p[rows]) for rows in draws.rows()])
    names = pd.Index(["brier", "ece", "slope", "intercept"], name="score")
    scores = pd.DataFrame({"value": values, "low": low, "high": high}, index=names)
    rate, mean = calibration_curve(y, p, n_bins=n_bins, strategy=strategy)
    curve = pd.DataFrame({"predicted": mean, "observed": rate})
    return CalibrationReport(scores, curve, y, p, len(draws.subjects))


@dataclass(frozen=True, repr=False)
class CalibrationReport:
    """What :func:`calibration_report` finds.

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
    >>> risk = [0.1, 0.2, 0.3, 0.7, 0.8, 0.9] * 10
    >>> report = calibration_report([0, 0, 1, 0, 1, 1] * 10, risk, n_bins=2, n_resamples=50)
    >>> report.curve
       predicted  observed
    0        0.2  0.333333
    1        0.8  0.666667
    """

    scores: pd.DataFrame
    curve: pd.DataFrame
    y_true: np.ndarray
    probability: np.ndarray
    n_subjects: int

    def to_frame(self) -> pd.DataFrame:
        """The scores, with columns score, value, low, high."""
        return self.scores.reset_index()

    def __repr__(self) -> str:
        head = (
            f"CalibrationReport({len(self.y_true)} rows of {self.n_subjects} subjects, "
            f"{100 * self.y_true.mean():.1f} % positive)"
        )
        table = self.scores.rename_axis(None).to_string(float_format="{:.3f}".format)
        return f"{head}\n{table}"


def expected_calibration_error(y_true, probability, n_bins: int = 10) -> float:
    """Mean distance between predicted and observed rate over bins of equal width.

    Parameters
    ----------
    y_true : int array-like of shape (n,)
        0 and 1.
    probability : array-like of shape (n,)
    n_bins : int, default=10

    Returns
    -------
    float
        Each bin counts as often as it has rows.

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation import expected_calibration_error
    >>> round(expected_calibration_error([0, 1, 1, 1], [0.3, 0.3, 0.9, 0.9]), 3)
    0.15
    """
    y, p = np.asarray(y_true, dtype=float), np.asarray(probability, dtype=float)
    places = np.clip((p * n_bins).astype(int), 0, n_bins - 1)
    gaps = np.bincount(places, weights=y - p, minlength=n_bins)
    return float(np.abs(gaps).sum() / len(y))


def check_binary(y_true, probability, pos_label) -> tuple[np.ndarray, np.ndarray]:
    """0 and 1, and one probability each.

    Raises
    ------
    ValueError
        If there are not two classes, or the probabilities are none.
    """
    y, p = np.asarray(y_true), np.asarray(probability, dtype=float)
    p = p[:, 1] if p.ndim == 2 and p.shape[1] == 2 else p
    classes = np.unique(y)
    if len(classes) != 2 or pos_label not in classes.tolist():
        raise ValueError(
            f"y_true has the classes {classes.tolist()[:5]} with pos_label={pos_label!r}; accepted "
            "are two, pos_label one of them. Give it as pos_label, or compare one class with the "
            "rest."
        )
    if p.shape != y.shape or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(
            f"probability has shape {p.shape} for {len(y)} rows and values from {np.min(p):g} to "
            f"{np.max(p):g}; accepted is one probability per row, as predict_proba(X)[:, 1] gives."
        )
    return (y == pos_label).astype(int), p


def _calibration(y: np.ndarray, p: np.ndarray) -> list[float]:
    if y.min() == y.max():
        return [np.nan] * 4
    logits = logit(np.clip(p, _CLOSEST, 1 - _CLOSEST))
    return [
        float(np.mean((y - p) ** 2)),
        expected_calibration_error(y, p),
        _slope(y, logits),
        float(brentq(lambda a: np.sum(y - expit(a + logits)), -40, 40)),
    ]


def _slope(y: np.ndarray, logits: np.ndarray) -> float:
    """By Newton's method; scikit-learn's solvers stop anywhere where classes are separated."""
    if np.ptp(logits) == 0:
        return np.nan
    overlap = logits[y == 1].min() < logits[y == 0].max()
    if not overlap:
        return np.nan
    design = np.stack([np.ones_like(logits), logits], axis=1)

    def likelihood(weights):
        return np.sum(y * (design @ weights) - np.logaddexp(0, design @ weights))

    weights = np.zeros(2)
    for _ in range(_STEPS):
        found = expit(design @ weights)
        curvature = design.T * (found * (1 - found)) @ design
        step = np.linalg.lstsq(curvature, design.T @ (y - found), rcond=None)[0]
        # a whole step may overshoot to where nothing is curved any more
        while np.abs(step).max() >= 1e-9 and likelihood(weights + step) < likelihood(weights):
            step = step / 2
        weights = weights + step
        if np.abs(step).max() < 1e-9:
            return float(weights[1])
    return np.nan
