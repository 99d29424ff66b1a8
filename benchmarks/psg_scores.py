# SPDX-License-Identifier: BSD-3-Clause
"""Linear heads on rows of epochs and of nights, subjects held out, and intervals over subjects."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import cohen_kappa_score, f1_score, roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

__all__ = [
    "EPOCH_METRICS",
    "Epochs",
    "bootstrap_auroc",
    "fit_heads",
    "folds_by_site",
    "folds_by_subject",
    "outcome_chances",
    "predict_held_out",
    "score_subjects",
]

EPOCH_METRICS = ("kappa", "macro_f1")
EPOCH_STRENGTHS = (1e-3, 1e-2, 1e-1)
NIGHT_STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
TRAINING_STRIDE = 5
_RESAMPLES = 10_000

Folds = Sequence[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, slots=True)
class Epochs:
    """What is known of every epoch, whatever its row.

    Attributes
    ----------
    stages : ndarray of shape (n,)
        -1 where unscored.
    subjects, sites : ndarray of shape (n,)
        Whose it is, and where it was recorded.
    """

    stages: np.ndarray
    subjects: np.ndarray
    sites: np.ndarray

    @classmethod
    def of_cohort(cls, cohort) -> Epochs:
        """Those of all nights, in order."""
        lengths = [night.n_epochs for night in cohort]
        return cls(
            np.concatenate([night.stages for night in cohort]).astype(int),
            np.repeat(np.asarray(cohort.groups, dtype=str), lengths),
            np.repeat(cohort.metadata["site"].to_numpy(dtype=str), lengths),
        )


def folds_by_subject(epochs: Epochs, n_folds: int) -> Folds:
    """Each fold tests people of every site, all of whose others are trained on."""
    fold_of = {}
    for site in np.unique(epochs.sites):
        people = pd.unique(epochs.subjects[epochs.sites == site])
        fold_of.update({subject: k % n_folds for k, subject in enumerate(people)})
    fold = np.array([fold_of[subject] for subject in epochs.subjects])
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in np.unique(fold)]


def folds_by_site(epochs: Epochs) -> Folds:
    """Each fold tests a site that was not trained on."""
    return [
        (np.flatnonzero(epochs.sites != site), np.flatnonzero(epochs.sites == site))
        for site in np.unique(epochs.sites)
    ]


def fit_heads(X: np.ndarray, epochs: Epochs, folds: Folds) -> list:
    """One head per fold, fitted on every fifth scored epoch of the training subjects.

    Neighbouring epochs are alike, so the others would add time and little else. The penalty is
    chosen by kappa on a fourth of the training subjects.
    """
    heads = []
    for train, _ in folds:
        used = train[epochs.stages[train] >= 0][::TRAINING_STRIDE]
        heads.append(_fit_head(X[used], epochs.stages[used], epochs.subjects[used]))
    return heads


def predict_held_out(heads: Sequence, X: np.ndarray, folds: Folds) -> np.ndarray:
    """Stage of every epoch, by the head of the fold that tests it; -1 where none does."""
    predicted = np.full(len(X), -1)
    for head, (_, test) in zip(heads, folds, strict=True):
        predicted[test] = head.predict(X[test])
    return predicted


def _fit_head(X: np.ndarray, y: np.ndarray, subjects: np.ndarray):
    scale = _scaler().fit(X)
    X = scale.transform(X)
    tried = np.isin(subjects, np.unique(subjects)[::4])
    kappas, model = {}, None
    for C in EPOCH_STRENGTHS:
        model = _logistic(C, X[~tried], y[~tried], start=model)
        kappas[C] = cohen_kappa_score(y[tried], model.predict(X[tried]))
    best = max(kappas, key=kappas.get)
    return make_pipeline(scale, _logistic(best, X, y, start=model))


def _scaler():
    """Standard scores; what is missing counts as the training mean."""
    return make_pipeline(StandardScaler(), FunctionTransformer(np.nan_to_num))


def _logistic(C: float, X: np.ndarray, y: np.ndarray, start=None) -> LogisticRegression:
    model = LogisticRegression(C=C, max_iter=100, tol=1e-3, warm_start=True)
    if start is not None and np.array_equal(start.classes_, np.unique(y)):
        model.coef_, model.intercept_ = start.coef_.copy(), start.intercept_.copy()
    with warnings.catch_warnings():
        # A head that is still settling in the fourth decimal is not worth a page of warnings.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X, y)


def score_subjects(predicted: np.ndarray, epochs: Epochs) -> pd.DataFrame:
    """Kappa and macro F1 of five stages, one row per subject.

    Macro F1 of a subject is over the stages that the scorer gave this subject.
    ``.attrs["pooled"]`` holds both over all epochs together.
    """
    known = (epochs.stages >= 0) & (predicted >= 0)
    y, found, subjects = epochs.stages[known], predicted[known], epochs.subjects[known]
    rows = {
        subject: _score(y[mine], found[mine])
        for subject in pd.unique(subjects)
        for mine in [subjects == subject]
    }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("subject")
    table.attrs["pooled"] = _score(y, found)
    return table


def _score(y: np.ndarray, found: np.ndarray) -> dict[str, float]:
    f1 = f1_score(y, found, labels=np.unique(y), average="macro", zero_division=0)
    return {"kappa": float(cohen_kappa_score(y, found)), "macro_f1": float(f1)}


def outcome_chances(
    X: np.ndarray, y: np.ndarray, subjects: np.ndarray, *, n_repeats: int, n_folds: int = 5
) -> np.ndarray:
    """Probability of an outcome for every night, subjects held out, one row per repeat."""
    chances = np.empty((n_repeats, len(y)))
    for repeat in range(n_repeats):
        for train, test in _outcome_folds(y, subjects, n_folds, repeat):
            scale = _scaler().fit(X[train])
            rows = scale.transform(X[train])
            # within the span of the training rows the penalised fit is the same, and quick
            basis = np.linalg.svd(rows, full_matrices=False)[2].T
            inner = list(_outcome_folds(y[train], subjects[train], 3, repeat))
            head = _fit_night_head(rows @ basis, y[train], inner)
            chances[repeat, test] = head.predict_proba(scale.transform(X[test]) @ basis)[:, 1]
    return chances


def _fit_night_head(X: np.ndarray, y: np.ndarray, folds: Folds) -> LogisticRegression:
    aurocs = np.zeros(len(NIGHT_STRENGTHS))
    for train, test in folds:
        model = None
        for k, C in enumerate(NIGHT_STRENGTHS):
            model = _logistic(C, X[train], y[train], start=model)
            aurocs[k] += roc_auc_score(y[test], model.decision_function(X[test]))
    return _logistic(NIGHT_STRENGTHS[int(aurocs.argmax())], X, y)


def _outcome_folds(y, subjects, n_folds: int, seed: int) -> Iterator:
    n_folds = min(n_folds, *np.bincount(y, minlength=2))
    folds = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    return folds.split(np.zeros(len(y)), y, subjects)


def bootstrap_auroc(chances: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """AUROC, mean over repeats, and its values in resamples of the subjects.

    A row has to be a subject. The resamples are those of any other call with as many rows, so
    differences of two calls are paired. Those without either outcome are NaN.

    Parameters
    ----------
    chances : ndarray of shape (n_repeats, n)
    y : ndarray of shape (n,)
        0 or 1.
    """
    positive, negative = np.flatnonzero(y == 1), np.flatnonzero(y == 0)
    difference = chances[:, positive, None] - chances[:, None, negative]
    wins = ((difference > 0) + 0.5 * (difference == 0)).mean(axis=0)
    drawn = np.random.default_rng(0).multinomial(len(y), np.full(len(y), 1 / len(y)), _RESAMPLES)
    above = ((drawn[:, positive] @ wins) * drawn[:, negative]).sum(axis=1)
    pairs = drawn[:, positive].sum(axis=1) * drawn[:, negative].sum(axis=1)
    resampled = np.divide(above, pairs, out=np.full(_RESAMPLES, np.nan), where=pairs > 0)
    return float(wins.mean()), resampled
