# SPDX-License-Identifier: BSD-3-Clause
"""Cross-fitted scores of one outcome: how well they predict, and what they add to covariates."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
from scipy.stats import t as student
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ._cross_validation import as_columns, fit_aligning_classes
from ._regression import fit_linear, fit_logistic, independent_columns
from .cox_regression import CoxRegression, fit_cox

# The variance of the sum over subjects of score times residual is at most this multiple of the one
# that takes the scores as given. A subject's residual enters the scores of the other folds, so two
# subjects' terms share their product: for scores W e that are linear in the residuals e, with W
# zero within folds, var(e' W e) = s^4 (|W|^2 + tr(W W)) <= 2 s^4 |W|^2 by Cauchy and Schwarz.
CROSS_FITTING_VARIANCE = 2.0
_MOST_QUANTILE_GROUPS = 5
_FEWEST_MOVABLE = 0.9


@dataclass(frozen=True, eq=False)
class ScanTask:
    """The rows in which an outcome is known, in folds by subject."""

    kind: str  # binary, numeric or survival
    X: np.ndarray  # (n, n_features)
    y: np.ndarray  # 0 and 1, numbers, or a structured array
    covariates: np.ndarray  # (n, n_covariates), perhaps none
    codes: np.ndarray  # subject of each row, from 0 on
    fold: np.ndarray  # in which each row is held out

    @cached_property
    def n_folds(self) -> int:
        return int(self.fold.max()) + 1

    def fit(self, head: Any, X: np.ndarray, rows: np.ndarray) -> Any:
        """Fit a clone of the head to some rows."""
        y = self.y[rows]
        if self.kind == "binary" and len(np.unique(y)) < 2:
            raise ValueError(
                f"the {len(y)} training rows of a fold hold one class alone; accepted are both. "
                "Use fewer folds, or cv=5, which spreads the classes."
            )
        return fit_aligning_classes(head, X[rows], y, None, self.codes[rows])

    def predict(self, fitted: Any, X: np.ndarray) -> np.ndarray:
        """Log-odds, numbers, or log risks of rows."""
        predicted = as_columns(fitted, X, self.kind == "binary")
        if predicted.shape[1] != 1 or not np.isfinite(predicted).all():
            raise ValueError(
                f"the head predicts {predicted.shape[1]} values a row, or some that are not "
                "finite; accepted is one finite number. Did its training diverge?"
            )
        return predicted[:, 0]


def cross_fit(task: ScanTask, head: Any, X: np.ndarray | None = None) -> np.ndarray:
    """Predictions of each row by a head that was fitted to the other folds."""
    X = task.X if X is None else X
    scores = np.empty(len(task.y))
    for k in range(task.n_folds):
        test = task.fold == k
        scores[test] = task.predict(task.fit(head, X, np.flatnonzero(~test)), X[test])
    return scores


def cross_fit_within(task: ScanTask, head: Any) -> np.ndarray:
    """Predictions of shape (n_folds, n): by heads that saw neither the fold nor the row's own.

    Heads fitted without two folds serve both, so these are n_folds (n_folds - 1) / 2 fits.
    """
    within = np.full((task.n_folds, len(task.y)), np.nan)
    for k, other in combinations(range(task.n_folds), 2):
        first, second = task.fold == k, task.fold == other
        fitted = task.fit(head, task.X, np.flatnonzero(~(first | second)))
        within[k, second] = task.predict(fitted, task.X[second])
        within[other, first] = task.predict(fitted, task.X[first])
    return within


def baseline_predictions(
    task: ScanTask, head: Any, scores: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Held-out predictions of the covariates, and of covariates and cross-fitted score together.

    The weight of the score is learned from rows whose scores know nothing of the fold predicted.
    """
    model, within = _COVARIATE_MODELS[task.kind](), cross_fit_within(task, head)
    alone, both = np.empty((2, len(task.y)))
    for k in range(task.n_folds):
        test = task.fold == k
        training = np.flatnonzero(~test)
        columns = np.column_stack([task.covariates, np.where(test, scores, within[k])])
        both[test] = task.predict(task.fit(model, columns, training), columns[test])
        columns = task.covariates
        alone[test] = task.predict(task.fit(model, columns, training), columns[test])
    return alone, both


def _logistic() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression())


def _linear() -> Any:
    return make_pipeline(StandardScaler(), Ridge())


def _cox() -> Any:
    return make_pipeline(StandardScaler(), CoxRegression(penalty=1.0))


# a penalty keeps what is constant in a fold from being an error
_COVARIATE_MODELS = {"binary": _logistic, "numeric": _linear, "survival": _cox}


def standardise(scores: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Scores of mean 0 and standard deviation 1 in each fold; 0 where a fold's are all the same."""
    standardised = np.zeros(len(scores))
    for k in np.unique(fold):
        values = scores[fold == k]
        spread = values.std()
        if spread > 1e-10 * (np.abs(values).max() + 1e-300):
            standardised[fold == k] = (values - values.mean()) / spread
    return standardised


@dataclass(frozen=True)
class AddedScore:
    """One-sided test that the score adds to the covariates."""

    estimate: float  # change of the mean, log-odds or log hazard per standard deviation
    std_error: float  # robust to clusters, and for cross-fitting
    p_value: float

    @property
    def statistic(self) -> float:
        return self.estimate / self.std_error if self.std_error else 0.0


def fit_added_score(task: ScanTask, scores: np.ndarray) -> AddedScore:
    """Regress the outcome on the covariates and the score, standardised in each fold."""
    score = standardise(scores, task.fold)
    if not score.any():
        return AddedScore(0.0, 0.0, 1.0)
    covariates = task.covariates[:, independent_columns(task.covariates)]
    columns = np.column_stack([covariates, score])
    if task.kind == "survival":
        entry = task.y["entry"] if "entry" in (task.y.dtype.names or ()) else None
        fit: Any = fit_cox(columns, task.y["event"], task.y["time"], entry, clusters=task.codes)
    else:
        fit = (fit_logistic if task.kind == "binary" else fit_linear)(columns, task.y, task.codes)
    estimate = float(fit.coefficients[-1])
    error = float(np.sqrt(fit.robust_covariance[-1, -1] * CROSS_FITTING_VARIANCE))
    n_subjects = int(task.codes.max()) + 1
    return AddedScore(estimate, error, float(student.sf(estimate / error, n_subjects - 1)))


class FoldScorer:
    """Scores of held-out predictions in the data and in each resample of subjects.

    The AUC and Harrell's concordance compare rows of one fold, as different fits have no common
    scale; R2 is of all rows.
    """

    def __init__(self, task: ScanTask, counts: np.ndarray) -> None:
        self.task = task
        # the first row is the data itself
        self.weights = np.vstack([np.ones(len(task.y)), counts[:, task.codes]])

    def score(self, predictions: np.ndarray) -> np.ndarray:
        """The score, and its replicates; NaN where a resample has none."""
        if self.task.kind == "numeric":
            return self._r2(predictions)
        count = self._count_auc if self.task.kind == "binary" else self._count_harrell
        parts = [count(predictions, self.task.fold == k) for k in range(self.task.n_folds)]
        concordant, pairs = np.sum(parts, axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return concordant / pairs

    def _r2(self, predictions: np.ndarray) -> np.ndarray:
        y, weights = self.task.y - self.task.y.mean(), self.weights
        total = weights.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            spread = weights @ y**2 - (weights @ y) ** 2 / total
            return 1 - weights @ (self.task.y - predictions) ** 2 / spread

    def _count_auc(self, predictions: np.ndarray, rows: np.ndarray) -> np.ndarray:
        order = np.argsort(predictions[rows], kind="stable")
        values, positive = predictions[rows][order], self.task.y[rows][order] == 1
        weights = self.weights[:, rows][:, order]
        starts = np.flatnonzero(np.append(True, np.diff(values) > 0))
        cases = np.add.reduceat(weights * positive, starts, axis=1)
        controls = np.add.reduceat(weights * ~positive, starts, axis=1)
        below = np.cumsum(controls, axis=1) - controls / 2
        return np.stack([(cases * below).sum(axis=1), cases.sum(axis=1) * controls.sum(axis=1)])

    def _count_harrell(self, predictions: np.ndarray, rows: np.ndarray) -> np.ndarray:
        y, risk, weights = self.task.y[rows], predictions[rows], self.weights[:, rows]
        events = np.flatnonzero(y["event"])
        # those censored at the time of an event are without it
        leaves = np.unique(y["time"], return_inverse=True)[1] * 2 + ~y["event"]
        compared = leaves[None, :] > leaves[events, None]
        if "entry" in y.dtype.names:
            late = y["entry"][None, :] >= y["time"][events, None]
            compared &= ~late
        difference = risk[events, None] - risk[None, :]
        concordant = compared * ((difference > 0) + 0.5 * (difference == 0))
        cases = weights[:, events]
        return np.stack(
            [(cases * (weights @ part.T)).sum(axis=1) for part in (concordant, compared)]
        )


def strata_of(covariates: np.ndarray, n_rows: np.ndarray) -> tuple[np.ndarray, int]:
    """Strata of subjects within which embeddings are exchanged, and the quantile groups used.

    A column of two values is two groups, any other is cut at quantiles: into the most groups, up to
    five, with which nine in ten subjects share their stratum with another. Subjects in a stratum
    have the same number of rows.
    """
    for n_groups in range(_MOST_QUANTILE_GROUPS, 0, -1):
        keys = [n_rows]
        for column in covariates.T:
            values = np.unique(column)
            if len(values) > 2:
                cuts = np.quantile(column, np.arange(1, n_groups) / n_groups)
                keys.append(np.searchsorted(cuts, column, side="right"))
            else:
                keys.append(np.searchsorted(values, column))
        strata = np.unique(np.column_stack(keys), axis=0, return_inverse=True)[1].reshape(-1)
        movable = np.bincount(strata)[strata] > 1
        if movable.mean() >= _FEWEST_MOVABLE:
            return strata, n_groups
    raise ValueError(
        f"{np.sum(~movable)} of {len(strata)} subjects have covariates, or a number of rows, that "
        "nobody shares, so their embeddings cannot be exchanged; accepted is one in ten. Use fewer "
        "categories as covariates, or one row per subject (cohort.by_subject())."
    )


class SubjectPermutation:
    """Draws of rows in which each subject has those of another one of the same stratum."""

    def __init__(self, task: ScanTask) -> None:
        order = np.argsort(task.codes, kind="stable")
        n_rows = np.bincount(task.codes)
        self._blocks = np.split(order, np.cumsum(n_rows)[:-1])
        first = np.array([block[0] for block in self._blocks])
        self.strata, self.n_quantile_groups = strata_of(task.covariates[first], n_rows)

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Rows whose embeddings stand for each row."""
        rows = np.empty(sum(map(len, self._blocks)), dtype=np.intp)
        for stratum in range(self.strata.max() + 1):
            members = np.flatnonzero(self.strata == stratum)
            for receiver, giver in zip(members, rng.permutation(members), strict=True):
                rows[self._blocks[receiver]] = self._blocks[giver]
        return rows


def permuted_statistic(
    task: ScanTask, head: Any, permutation: SubjectPermutation, seed: tuple[int, int]
) -> float:
    """The statistic of the added score with embeddings exchanged; infinite where it has none."""
    rows = permutation.draw(np.random.default_rng(seed))
    try:
        return fit_added_score(task, cross_fit(task, head, task.X[rows])).statistic
    except (ValueError, np.linalg.LinAlgError):
        # counted as extreme, so that the p value is not too small
        return np.inf
