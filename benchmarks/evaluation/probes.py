# SPDX-License-Identifier: BSD-3-Clause
"""Linear heads on several sets of rows of the same labels, with people held out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from .questions import Question
from .scores import bootstrap_interval

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)
INNER_FOLDS = 4
THINNED = 3
FEW_ROWS = 2000
N_RESAMPLES = 1000
FEWEST_SUBJECTS = 5

Rows = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Labels:
    """What is asked of rows: a class each, of whom it is, and which folds hold whom out."""

    question: Question
    y: np.ndarray
    subjects: np.ndarray
    folds: Sequence[tuple[np.ndarray, np.ndarray]]
    inner: np.ndarray | None = None  # groups of the choice of a penalty, unless subjects

    def fit(self, X: np.ndarray) -> list[Callable]:
        """A head for each fold."""
        groups = self.subjects if self.inner is None else self.inner
        return [fit_head(X[i], self.y[i], groups[i], self.question) for i, _ in self.folds]

    def predict(self, heads: Sequence[Callable], X: np.ndarray) -> np.ndarray:
        """Mean probability of each class for each row by heads that saw nobody in it, else NaN."""
        total = np.zeros((len(X), self.question.n_classes))
        times = np.zeros((len(X), 1))
        for head, (_, test) in zip(heads, self.folds, strict=True):
            total[test] += head(X[test])
            times[test] += 1
        with np.errstate(invalid="ignore"):
            return total / times

    def score(self, probability: np.ndarray) -> Scores:
        """Scores of what was predicted."""
        return Scores.of(self, probability)


def fit_head(
    X: np.ndarray, y: np.ndarray, groups: np.ndarray, question: Question
) -> Callable[[np.ndarray], np.ndarray]:
    """Logistic regression, classes balanced: a function of rows that gives probabilities.

    The penalty is chosen by held-out groups, on every third of many rows, as neighbours are alike.
    """
    told = np.ptp(X, axis=0) > 0
    X = X[:, told]
    head = make_pipeline(
        StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=150, tol=1e-3)
    )

    def score(fitted, X, y) -> float:
        found = question.score(y, _all_classes(fitted, X, question.n_classes))
        return float(np.nansum(list(found.values())))

    step = THINNED if len(X) > FEW_ROWS else 1
    name = "logisticregression__C"
    folds = StratifiedGroupKFold(min(INNER_FOLDS, len(np.unique(groups))))
    grid = {name: [step * strength for strength in STRENGTHS]}
    with warnings.catch_warnings():
        # heads that settle in the fourth decimal, and folds without a rare class
        warnings.simplefilter("ignore")
        search = GridSearchCV(head, grid, scoring=score, cv=folds, refit=False)
        best = search.fit(X[::step], y[::step], groups=groups[::step]).best_params_[name] / step
        fitted = clone(head).set_params(**{name: best}).fit(X, y)
    return lambda rows: _all_classes(fitted, rows[:, told], question.n_classes)


def _all_classes(fitted, X: np.ndarray, n_classes: int) -> np.ndarray:
    probability = np.zeros((len(X), n_classes))
    probability[:, fitted.classes_] = fitted.predict_proba(X)
    return probability


@dataclass(frozen=True)
class Scores:
    """Predictions, and their metrics: of all rows together, and by subject."""

    labels: Labels
    probability: np.ndarray
    pooled: dict[str, float]
    subjects: pd.DataFrame  # NaN for who has one class alone

    @classmethod
    def of(cls, labels: Labels, probability: np.ndarray) -> Scores:
        """Those of what was predicted; rows of NaN were not."""
        found = np.isfinite(probability).all(axis=1)
        y, whose, score = labels.y[found], labels.subjects[found], labels.question.score
        told = probability[found]
        by_subject = {s: score(y[whose == s], told[whose == s]) for s in pd.unique(whose)}
        table = pd.DataFrame.from_dict(by_subject, orient="index")
        return cls(labels, probability, score(y, told), table)

    def lead(self, other: Scores, metric: str) -> tuple[float, float, float]:
        """Difference from others' scores, paired over subjects, and its 95 % interval.

        Of means over subjects; of pooled values where a subject has one row. The interval is NaN
        with fewer than five subjects.
        """
        difference = (self.subjects[metric] - other.subjects[metric]).dropna().to_numpy()
        if len(difference) or len(self.subjects) < len(self.labels.y):
            few = len(difference) < FEWEST_SUBJECTS
            interval = (np.nan, np.nan) if few else bootstrap_interval(difference)
            return float(difference.mean()), *interval
        y, score, rng = self.labels.y, self.labels.question.score, np.random.default_rng(0)
        draws = rng.integers(len(y), size=(N_RESAMPLES, len(y)))
        drawn = [
            score(y[i], self.probability[i])[metric] - score(y[i], other.probability[i])[metric]
            for i in draws
        ]
        low, high = np.nanpercentile(drawn, [2.5, 97.5])
        return self.pooled[metric] - other.pooled[metric], float(low), float(high)
