# SPDX-License-Identifier: BSD-3-Clause
"""Heads on the rows of a feature set, with people held out.

Every feature set gets the same folds, the same scaling and the same heads. Heads are weighted by
inverse class frequency: half of the epochs are N2, and kappa would otherwise measure how often a
head dares to say anything else.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Memory, Parallel, delayed
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import StandardScaler

from sleep2vec_sklearn.recordings import Recording

from . import questions
from .questions import THREE_STAGES, Question

C = 0.01
C_GRID = (1e-3, 1e-2, 1e-1)
MOST_LEFT_OUT = 25
FOLDS = 10
N_BLOCKS = 5
THINNED = 3
BOOSTING = {
    "max_iter": 100, "learning_rate": 0.08, "max_leaf_nodes": 15, "min_samples_leaf": 20,
    "l2_regularization": 1.0, "max_features": 0.3, "max_bins": 64, "class_weight": "balanced",
    "early_stopping": False, "random_state": 0,
}  # fmt: skip


def evaluate_features(
    features: Sequence[np.ndarray], cohort: Sequence[Recording], question: Question = THREE_STAGES,
    *, n_splits: int | None = None, C: float | Sequence[float] = C, head: str = "logistic",
    test_features: Sequence[np.ndarray] | None = None, n_jobs: int = 1,
    memory: Memory | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Probe one feature set, subjects held out."""
    X, y, groups = as_rows(features, cohort, question)
    seen = None if test_features is None else as_rows(test_features, cohort, question)[0]
    memory = memory or Memory(None)
    probability = memory.cache(predict_held_out, ignore=["n_jobs"])(
        X, y, groups, question, n_splits=n_splits, C=C, head=head, seen=seen, n_jobs=n_jobs
    )
    return score_subjects(y, probability, groups, question)


def memory_in(folder: Path) -> Memory:
    """Predictions kept in a folder, anew where the text of this module or the questions differ."""
    text = b"".join(Path(file).read_bytes() for file in (__file__, questions.__file__))
    return Memory(folder / hashlib.sha256(text).hexdigest()[:12], verbose=0)


def as_rows(
    features: Sequence[np.ndarray], cohort: Sequence[Recording], question: Question
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, classes and subjects of all labels that are asked for; rows are float64."""
    if [len(block) for block in features] != [recording.n_epochs for recording in cohort]:
        raise ValueError("features need one array of n_epochs rows for each recording")
    blocks, labels, groups = [], [], []
    for block, recording in zip(features, cohort, strict=True):
        y = question.labels(recording)
        asked = y >= 0
        blocks.append(question.rows(np.asarray(block, dtype=np.float64))[asked])
        labels.append(y[asked])
        groups.append(np.full(asked.sum(), str(recording.subject)))
    return np.concatenate(blocks), np.concatenate(labels), np.concatenate(groups)


def folds_by_subject(groups: np.ndarray, n_splits: int | None) -> np.ndarray:
    """Number of the fold that holds each row out; no subject is in two."""
    n_subjects = len(np.unique(groups))
    if n_splits is None:
        n_splits = n_subjects if n_subjects <= MOST_LEFT_OUT else FOLDS
    fold = np.empty(len(groups), dtype=int)
    splits = GroupKFold(min(n_splits, n_subjects)).split(groups, groups=groups)
    for number, (_, test) in enumerate(splits):
        fold[test] = number
    return fold


def predict_held_out(
    X, y, groups, question: Question, *, n_splits=None, C=C, head="logistic", seen=None, n_jobs=1
) -> np.ndarray:
    """Probability of each class for each row, by a head that saw nothing of its subject."""
    seen = X if seen is None else seen
    fold = folds_by_subject(groups, n_splits)
    workers = Parallel(n_jobs=n_jobs)
    strength = dict.fromkeys(range(fold.max() + 1), C)
    if head == "logistic" and not np.isscalar(C):
        strength = choose_strengths(X, y, fold, question, C, workers)
    found = workers(
        delayed(_held_out)(X, y, seen, fold == number, question.n_classes, head, strength[number])
        for number in strength
    )
    probability = np.empty((len(y), question.n_classes))
    for number, rows in zip(strength, found, strict=True):
        probability[fold == number] = rows
    return probability


def _held_out(X, y, seen, test, n_classes: int, head: str, strength) -> np.ndarray:
    if head == "boosting":
        return boosting(X[~test], y[~test], seen[test], n_classes)
    (rows,) = logistic_path(X[~test], y[~test], seen[test], (strength,), n_classes)
    return rows


def choose_strengths(
    X, y, fold, question: Question, candidates: Sequence[float], workers: Parallel
) -> Mapping[int, float]:
    """Penalty for each fold, chosen without the subjects that the fold holds out.

    Folds are gathered in five blocks. For a fold of one block, heads are trained without that
    block and one of the others, and scored on the other, which is done with each of the four; the
    sum of the question's metrics decides. A head without two blocks serves for both of them, so
    all choices take ten heads per candidate. They train on every third row, as neighbours are much
    alike, and at thrice the strength, which is the same penalty per row. With fewer than three
    folds, the middle candidate is taken.
    """
    n_folds = int(fold.max()) + 1
    if n_folds < 3:
        return dict.fromkeys(range(n_folds), float(sorted(candidates)[len(candidates) // 2]))
    candidates = sorted(candidates)
    block = fold % min(N_BLOCKS, n_folds)
    pairs = list(combinations(range(block.max() + 1), 2))
    found = workers(delayed(_score_pair)(X, y, block, p, question, candidates) for p in pairs)
    totals = np.zeros((block.max() + 1, len(candidates)))
    for (first, second), (of_first, of_second) in zip(pairs, found, strict=True):
        totals[first] += of_second
        totals[second] += of_first
    best = totals.argmax(axis=1)
    return {number: float(candidates[best[number % len(best)]]) for number in range(n_folds)}


def _score_pair(X, y, block, pair, question: Question, candidates) -> np.ndarray:
    """Sum of the metrics on either block of a pair, by heads that saw neither."""
    train, test = ~np.isin(block, pair), np.isin(block, pair)
    sums = np.empty((2, len(candidates)))
    train = np.flatnonzero(train)[::THINNED]
    strengths = [THINNED * candidate for candidate in candidates]
    path = logistic_path(X[train], y[train], X[test], strengths, question.n_classes)
    for column, probability in enumerate(path):
        for row, number in enumerate(pair):
            mine = block[test] == number
            scores = question.score(y[test][mine], probability[mine])
            sums[row, column] = np.nansum(list(scores.values()))
    return sums


def logistic_path(X_train, y_train, X_test, strengths, n_classes: int) -> list[np.ndarray]:
    """Probabilities by logistic regression for each strength, from the weakest weights on."""
    classes = np.unique(y_train)
    if len(classes) == 1:
        certain = np.eye(n_classes)[np.full(len(X_test), classes[0])]
        return [certain for _ in strengths]
    scaler = StandardScaler()
    with warnings.catch_warnings():
        # a column without any value counts as constant
        warnings.simplefilter("ignore", RuntimeWarning)
        scaler.fit(X_train)
    told = scaler.var_ > 0
    X_train, X_test = (np.nan_to_num(scaler.transform(X)[:, told]) for X in (X_train, X_test))
    head = LogisticRegression(class_weight="balanced", max_iter=200, tol=1e-3, warm_start=True)
    path = []
    for strength in strengths:
        with warnings.catch_warnings():
            # A head that is still settling in the fourth decimal is not worth a page of warnings.
            warnings.simplefilter("ignore", ConvergenceWarning)
            head.set_params(C=strength).fit(X_train, y_train)
        path.append(_all_classes(head.predict_proba(X_test), classes, n_classes))
    return path


def boosting(X_train, y_train, X_test, n_classes: int) -> np.ndarray:
    """Probabilities by gradient-boosted trees, which need no scaling and take NaN as it is."""
    finite = np.isfinite(X_train)
    lowest = np.where(finite, X_train, np.inf).min(axis=0)
    # scikit-learn 1.9 finds no bins for a column without two values
    told = lowest < np.where(finite, X_train, -np.inf).max(axis=0)
    head = HistGradientBoostingClassifier(**BOOSTING).fit(X_train[:, told], y_train)
    return _all_classes(head.predict_proba(X_test[:, told]), head.classes_, n_classes)


def _all_classes(found: np.ndarray, classes: np.ndarray, n_classes: int) -> np.ndarray:
    probability = np.zeros((len(found), n_classes))
    probability[:, classes] = found
    return probability


def score_subjects(y, probability, groups, question: Question) -> pd.DataFrame:
    """One row of scores per subject; ``.attrs["pooled"]`` has those of all labels together."""
    rows = {
        subject: {**question.score(y[mine], probability[mine]), "n_epochs": int(mine.sum())}
        for subject in pd.unique(groups)
        for mine in [groups == subject]
    }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("subject")
    table.attrs["pooled"] = question.score(y, probability)
    return table
