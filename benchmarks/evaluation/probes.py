# SPDX-License-Identifier: BSD-3-Clause
"""Heads on the rows of a feature set, with people held out.

Every feature set gets the same folds, the same scaling and the same heads. Heads are weighted by
inverse class frequency: half of the epochs are N2, and kappa would otherwise measure how often a
head dares to say anything else.

Neighbouring epochs are alike, so blocks are contiguous; still, training and test are one person and
one night. Intervals are by bootstrap over stretches of five minutes and say nothing of people.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Memory, Parallel, delayed
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, cohen_kappa_score
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import StandardScaler

from sleep2vec_sklearn import EpochSequence, config_context, read_recording
from sleep2vec_sklearn.datasets import load_dreams
from sleep2vec_sklearn.recordings import Recording

from . import questions
from .questions import FIVE_STAGES, THREE_STAGES, Question
from .studies import SEPARATOR

__all__ = [
    "C_GRID",
    "NIGHTS",
    "OneNight",
    "as_rows",
    "choose_strengths",
    "compare_answers",
    "evaluate_features",
    "folds_by_subject",
    "kappa_interval",
    "logistic_path",
    "memory_in",
    "predict_held_out",
    "score_subjects",
    "summarise_answers",
]

C = 0.01
C_GRID = (1e-3, 1e-2, 1e-1)
MOST_LEFT_OUT = 25
FOLDS = 10
N_BLOCKS = 5
THINNED = 3
BOOSTING = {
    "max_iter": 100,
    "learning_rate": 0.08,
    "max_leaf_nodes": 15,
    "min_samples_leaf": 20,
    "l2_regularization": 1.0,
    "max_features": 0.3,
    "max_bins": 64,
    "class_weight": "balanced",
    "early_stopping": False,
    "random_state": 0,
}


def evaluate_features(
    features: Sequence[np.ndarray],
    cohort: Sequence[Recording],
    question: Question = THREE_STAGES,
    *,
    n_splits: int | None = None,
    C: float | Sequence[float] = C,
    head: str = "logistic",
    test_features: Sequence[np.ndarray] | None = None,
    n_jobs: int = 1,
    memory: Memory | None = None,
) -> pd.DataFrame:
    """Probe one feature set, subjects held out.

    Parameters
    ----------
    features : sequence of ndarray of shape (n_epochs, n_features)
        One array per recording of the cohort; NaN counts as the training mean.
    cohort : sequence of Recording
        With the labels of the question.
    question : Question, default=THREE_STAGES
    n_splits : int, optional
        Folds by subject. By default one subject is left out where there are at most 25, else
        there are ten folds.
    C : float or sequence of float, default=0.01
        Inverse strength of the penalty; of several, :func:`choose_strengths` chooses.
    head : {"logistic", "boosting"}, default="logistic"
    test_features : sequence of ndarray, optional
        Of the same width, for the subjects held out: what a head of one sensor makes of another's
        rows. ``features`` by default.
    n_jobs : int, default=1
        Processes.
    memory : Memory, optional
        Where predictions are kept, as of :func:`memory_in`.

    Returns
    -------
    DataFrame
        One row per subject: the question's metrics and ``n_epochs``, the number of labels.
        ``.attrs["pooled"]`` holds the metrics over all labels together.
    """
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


EPOCHS_AROUND_SLEEP = 60
N_BLOCKS_OF_A_NIGHT = 5
STRETCH = 10
N_RESAMPLES = 2000


@dataclass(frozen=True)
class OneNight:
    """One person's night, and which of its epochs are used."""

    recording: Recording
    used: np.ndarray

    @property
    def y(self) -> np.ndarray:
        """Stage of each used epoch."""
        return self.recording.stages[self.used].astype(int)

    def answers(self, rows: np.ndarray, head: str = "logistic") -> np.ndarray:
        """Stage of each used epoch by heads that were trained on the other four blocks.

        Parameters
        ----------
        rows : ndarray of shape (n_epochs, n_features)
            Of the whole night.
        head : {"logistic", "boosting"}
        """
        X = np.asarray(rows, dtype=np.float64)[self.used]
        probability = predict_held_out(
            X, self.y, self.block, FIVE_STAGES, n_splits=N_BLOCKS_OF_A_NIGHT, C=C_GRID, head=head
        )
        return probability.argmax(axis=1)

    def answers_of(self, estimator) -> np.ndarray:
        """Stage of each used epoch by clones of an estimator of epochs, trained likewise."""
        X = EpochSequence([self.recording])[np.flatnonzero(self.used)]
        answers = np.empty_like(self.y)
        # the same person is in training: that is what is asked here
        with config_context(leakage="ignore"):
            for number in range(N_BLOCKS_OF_A_NIGHT):
                held = self.block == number
                fitted = clone(estimator).fit(X[~held], self.y[~held])
                answers[held] = fitted.predict(X[held])
        return answers

    @property
    def block(self) -> np.ndarray:
        """Number of the contiguous block of each used epoch."""
        n = int(self.used.sum())
        return np.arange(n) * N_BLOCKS_OF_A_NIGHT // n


def _sleep_edf(data: Path) -> OneNight:
    folder = data / "sleep-edfx" / "sleep-cassette"
    night = read_recording(next(folder.glob("SC4001*-PSG.edf")), modalities=("eeg", "eog"))
    sleep = np.flatnonzero(night.stages > 0)
    first, last = sleep[0] - EPOCHS_AROUND_SLEEP, sleep[-1] + EPOCHS_AROUND_SLEEP
    epochs = np.arange(night.n_epochs)
    return OneNight(night, (epochs >= first) & (epochs <= last) & (night.stages >= 0))


def _dreams(excerpt: int, modalities: Sequence[str], data: Path) -> OneNight:
    night = load_dreams(data / "dreams")[excerpt]
    night = night.without(*(set(night) - set(modalities)))
    return OneNight(night, night.stages >= 0)


NIGHTS: Mapping[str, Callable[[Path], OneNight]] = {
    "SC4001": _sleep_edf,
    "DREAMS excerpt 1": partial(_dreams, 0, ("eeg",)),
    "DREAMS excerpt 3": partial(_dreams, 1, ("eeg", "eog", "emg")),
}


def kappa_interval(
    y: np.ndarray, answers: np.ndarray, other: np.ndarray | None = None
) -> tuple[float, float]:
    """95 % interval of kappa, or of its lead over another's, over stretches of five minutes."""
    kappas = _kappas(y, answers)
    if other is not None:
        kappas = kappas - _kappas(y, other)
    return _interval(kappas)


def _interval(resampled: np.ndarray) -> tuple[float, float]:
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return float(low), float(high)


def _kappas(y, answers) -> np.ndarray:
    """Kappa of every resample, from the confusion matrices of the stretches."""
    n, n_stretches = FIVE_STAGES.n_classes, -(-len(y) // STRETCH)
    stretch = np.arange(len(y)) // STRETCH
    drawn = np.random.default_rng(0).integers(n_stretches, size=(N_RESAMPLES, n_stretches))
    weights = np.zeros((N_RESAMPLES, n_stretches))
    np.add.at(weights, (np.arange(N_RESAMPLES)[:, None], drawn), 1)
    tables = np.zeros((weights.shape[1], n, n))
    np.add.at(tables, (stretch, y, answers), 1)
    counts = np.einsum("rs,sij->rij", weights, tables)
    total = counts.sum(axis=(1, 2))
    agreed = np.trace(counts, axis1=1, axis2=2) / total
    chance = (counts.sum(axis=1) * counts.sum(axis=2)).sum(axis=1) / total**2
    with np.errstate(invalid="ignore", divide="ignore"):
        return (agreed - chance) / (1 - chance)


def summarise_answers(y: np.ndarray, answers: Mapping[str, Sequence[np.ndarray]]) -> pd.DataFrame:
    """Kappa with its interval and accuracy per feature set, means where there are several draws."""
    rows = {}
    for name, several in answers.items():
        low, high = _interval(np.mean([_kappas(y, a) for a in several], axis=0))
        rows[name] = {
            "kappa": float(np.mean([cohen_kappa_score(y, a) for a in several])),
            "low": low,
            "high": high,
            "accuracy": float(np.mean([accuracy_score(y, a) for a in several])),
            "epochs": len(y),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("features")


def compare_answers(y: np.ndarray, answers: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Kappa of each subset of sensors, and its lead over the best single sensor in it."""
    rows = {}
    kappa = {name: float(cohen_kappa_score(y, found)) for name, found in answers.items()}
    for name, found in answers.items():
        best = max(name.split(SEPARATOR), key=kappa.__getitem__)
        low, high = kappa_interval(y, found, answers[best])
        rows[name] = {
            "kappa": kappa[name],
            "best_single": best,
            "difference": kappa[name] - kappa[best],
            "low": low,
            "high": high,
            "falls_below": bool(high < 0),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("subset")
