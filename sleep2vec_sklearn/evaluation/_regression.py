# SPDX-License-Identifier: BSD-3-Clause
"""Linear and logistic regression with errors that are robust to clusters, such as subjects.

statsmodels gives the same numbers, which are frozen in the tests; it would be needed for these two
models alone, and refuses neither separated classes nor collinear columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

_MOST_STEPS = 30
# of a change in the log-odds of any row; Newton's steps stay near 1 where columns separate
_TOLERANCE = 1e-8
# below that share of a column's own size it is a combination of those before it
_DEPENDENT = 1e-8


@dataclass(frozen=True, eq=False)
class RegressionFit:
    """Coefficients of the intercept and of each column of X, and their covariances."""

    coefficients: np.ndarray  # (1 + p,), the intercept first
    covariance: np.ndarray  # (1 + p, 1 + p), of the model
    robust_covariance: np.ndarray  # (1 + p, 1 + p), by clusters
    log_likelihood: float  # of a normal or a binomial distribution
    n_clusters: int


def fit_linear(X: ArrayLike, y: ArrayLike, clusters: ArrayLike | None = None) -> RegressionFit:
    """Ordinary least squares; without ``clusters`` each row is one.

    The robust covariance is the sandwich of scores summed over clusters (Liang & Zeger 1986,
    Biometrika 73:13) times G / (G - 1) (n - 1) / (n - p), as in Stata and statsmodels.
    """
    X, y = _design(X, y)
    bread = np.linalg.inv(X.T @ X)
    coefficients = bread @ (X.T @ y)
    residuals = y - X @ coefficients
    n, p = X.shape
    squares = float(residuals @ residuals)
    if squares <= 1e-20 * float(y @ y):
        raise ValueError(
            "y is a linear combination of the columns: nothing is left to be explained. Leave the "
            "column out that is the outcome in other words."
        )
    log_likelihood = -n / 2 * (np.log(2 * np.pi * squares / n) + 1)
    robust, n_clusters = _sandwich(bread, X * residuals[:, None], clusters)
    return RegressionFit(
        coefficients, bread * squares / (n - p), robust, log_likelihood, n_clusters
    )


def fit_logistic(X: ArrayLike, y: ArrayLike, clusters: ArrayLike | None = None) -> RegressionFit:
    """Logistic regression by maximum likelihood (Newton's method) of y of 0 and 1.

    Covariances as of :func:`fit_linear`. Raises a ValueError where columns separate the two
    classes, as no finite coefficient is the best one then (Albert & Anderson 1984, Biometrika
    71:1).
    """
    X, y = _design(X, y)
    positive = float(y.mean())
    if not np.isin(y, (0, 1)).all() or positive in (0, 1):
        raise ValueError(f"y has the mean {positive:g}; accepted are rows of 0 and of 1, both.")
    coefficients = np.zeros(X.shape[1])
    coefficients[0] = np.log(positive / (1 - positive))
    for _ in range(_MOST_STEPS):
        fitted = expit(X @ coefficients)
        weights = fitted * (1 - fitted)
        try:
            bread = np.linalg.inv((X * weights[:, None]).T @ X)
        except np.linalg.LinAlgError:
            break
        step = bread @ (X.T @ (y - fitted))
        coefficients = coefficients + step
        if np.abs(X @ step).max() < _TOLERANCE:
            robust, n_clusters = _sandwich(bread, X * (y - fitted)[:, None], clusters)
            likelihood = np.where(y == 1, fitted, 1 - fitted)
            return RegressionFit(
                coefficients, bread, robust, float(np.log(likelihood).sum()), n_clusters
            )
    raise ValueError(
        f"the columns separate the {int(y.sum())} rows of 1 from the {int((1 - y).sum())} of 0, or "
        "nearly so: the odds ratio of a column has no finite estimate. Use fewer columns, merge "
        "rare categories, or choose an outcome with more events."
    )


def _design(X: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Columns after one of ones, and y, as float64; refuses what has no one solution."""
    y = np.asarray(y, dtype=np.float64)
    columns = np.asarray(X, dtype=np.float64).reshape(len(y), -1)
    design = np.column_stack([np.ones(len(y)), columns])
    if not (np.isfinite(design).all() and np.isfinite(y).all()):
        raise ValueError("X or y holds NaN or infinite values; leave out these rows.")
    if len(y) <= design.shape[1]:
        raise ValueError(
            f"{len(y)} rows for {design.shape[1]} coefficients; accepted are more rows. Use fewer "
            "columns."
        )
    dependent = ~independent_columns(columns)
    if dependent.any():
        raise ValueError(
            f"column {int(np.flatnonzero(dependent)[0])} of X is constant, or a linear combination "
            "of those before it. Leave it out."
        )
    return design, y


def independent_columns(X: np.ndarray) -> np.ndarray:
    """Which columns are no linear combination of a constant and of the columns before them."""
    centered = X - X.mean(axis=0)
    scale = np.linalg.norm(centered, axis=0)
    varies = scale > _DEPENDENT * (np.linalg.norm(X, axis=0) + np.finfo(float).tiny)
    kept = np.zeros(X.shape[1], dtype=bool)
    basis = np.zeros((len(X), 0))
    for j in np.flatnonzero(varies):
        unit = centered[:, j] / scale[j]
        # twice, as once leaves what rounding lost
        for _ in range(2):
            unit = unit - basis @ (basis.T @ unit)
        length = np.linalg.norm(unit)
        if length > _DEPENDENT:
            kept[j] = True
            basis = np.column_stack([basis, unit / length])
    return kept


def _sandwich(
    bread: np.ndarray, scores: np.ndarray, clusters: ArrayLike | None
) -> tuple[np.ndarray, int]:
    n, p = scores.shape
    if clusters is not None:
        codes = np.unique(np.asarray(clusters), return_inverse=True)[1]
        scores = np.stack([np.bincount(codes, column) for column in scores.T], axis=1)
    n_clusters = len(scores)
    if n_clusters < 2:
        raise ValueError("all rows are of one cluster; accepted are at least two subjects.")
    half = scores @ bread
    factor = n_clusters / (n_clusters - 1) * (n - 1) / (n - p)
    return half.T @ half * factor, n_clusters
