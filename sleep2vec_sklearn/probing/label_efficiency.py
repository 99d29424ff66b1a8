# SPDX-License-Identifier: BSD-3-Clause
"""Scores against the number of labelled training subjects."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.utils import _safe_indexing, check_scalar

from .._progress import progress_bar
from ..evaluation._cross_validation import (
    ResampledScores,
    SubjectScorer,
    fit_aligning_classes,
    named_scorers,
)
from ..evaluation._subjects import SubjectBootstrap, folds_by_subject, subjects_of
from ._sensor_study import (
    StudyResult,
    check_target,
    draw_seed,
    held_out,
    paired_differences,
    summarise,
)


@dataclass(frozen=True, eq=False, repr=False)
class LabelEfficiency(StudyResult):
    """Result of :func:`label_efficiency_curve`.

    Attributes
    ----------
    summary : DataFrame
        One row per estimator, number of training subjects and metric: ``score``, its confidence
        interval over test subjects, ``low`` to ``high``, and ``sd``, the standard deviation over
        the draws of training subjects, NaN for one draw.
    scores : DataFrame
        One row per estimator, number of training subjects, repeat and metric, and per test
        subject if subjects are scored one by one.
    subsets : DataFrame
        One row per fold, repeat and number of subjects: the training ``subjects``, their number of
        ``rows``, and the ``classes_missing`` from their labels. The same for all estimators.
    average : {"subject", "pooled"}
    level : float
        Confidence level of the intervals.

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sleep2vec_sklearn import label_efficiency_curve
    >>> X, y = make_classification(240, random_state=0)
    >>> subjects = [row // 30 for row in range(240)]
    >>> result = label_efficiency_curve(LogisticRegression(), X, y, subjects, sizes=[1, 4], cv=2)
    >>> result.subsets[["fold", "repeat", "n_subjects", "rows"]].head(2)
       fold  repeat  n_subjects  rows
    0     0       0           1    30
    1     0       0           4   120
    """

    summary: pd.DataFrame
    scores: pd.DataFrame
    subsets: pd.DataFrame
    average: str
    level: float
    _draws: SubjectBootstrap = field(repr=False)
    _replicates: dict[tuple, tuple] = field(repr=False)

    def differences(self, reference: str, n_subjects: int | None = None) -> pd.DataFrame:
        """Each estimator and size minus one reference, paired over test subjects.

        Parameters
        ----------
        reference : str
            Name of an estimator.
        n_subjects : int, optional
            Training subjects of the reference; all of them by default.

        Returns
        -------
        DataFrame
            Columns estimator, n_subjects, metric, difference, low, high. A confidence interval
            that holds zero means that so few subjects may do as well.
        """
        names = {name for name, _, _ in self._replicates}
        if reference not in names:
            raise ValueError(f"reference={reference!r}; accepted are {', '.join(sorted(names))}.")
        sizes = sorted({size for _, size, _ in self._replicates})
        size = sizes[-1] if n_subjects is None else n_subjects
        if size not in sizes:
            raise ValueError(f"n_subjects={size!r}; accepted are {', '.join(map(str, sizes))}.")
        rows = paired_differences(self._draws, self._replicates, (reference, size))
        columns = ["estimator", "n_subjects", "metric", "difference", "low", "high"]
        return pd.DataFrame(rows, columns=columns)


def label_efficiency_curve(
    estimator: Any, X: Any, y: Any, groups: Any = None, *, sizes: Sequence[float] | None = None,
    n_repeats: int = 5, cv: Any = 5, scoring: Any = None, average: str = "auto",
    level: float = 0.95, n_resamples: int = 1000, n_jobs: int | None = None,
    random_state: Any = 0, verbose: int = 0,
) -> LabelEfficiency:  # fmt: skip
    """Score estimators trained on few subjects, then on more of them.

    Folds of subjects are held out in turn. The others are drawn in an order that depends on fold,
    repeat and ``random_state`` alone, and every estimator is trained on all rows of the first few
    of them: subsets are nested, and the same for all estimators.

    An encoder in the estimator is not trained, and its tokens come from its cache
    (``cache="memory"`` or a folder): each night is encoded once, and only heads are fitted again.

    Parameters
    ----------
    estimator : estimator, or mapping of str to estimator
        Those to compare.
    X : list of Recording, list of lists of them, EpochSequence, or array
    y : array-like of shape (n_rows, ...)
    groups : array-like of shape (n_rows,), optional
        Subjects; by default those of the recordings.
    sizes : sequence of int or float, optional
        Numbers of training subjects, or shares of those in the smallest training fold. By default
        1, 2, 4, ... and all subjects of that fold.
    n_repeats : int, default=5
        Draws of training subjects per fold.
    cv : int, splitter or iterable, default=5
        Folds by subject, or a splitter that holds each row out once.
    scoring : str, callable, sequence of str, or mapping, optional
        Names of scikit-learn, "kappa", or scorers. By default "roc_auc" for two classes, "kappa"
        for more, "neg_mean_absolute_error" for regressors.
    average : {"auto", "subject", "pooled"}, default="auto"
        Mean of each test subject's score, or the score of all held-out rows together. "auto"
        is the former if the median subject has 20 rows or more.
    level : float, default=0.95
        Confidence level of the intervals.
    n_resamples : int, default=1000
        Bootstrap samples of test subjects behind an interval.
    n_jobs : int, optional
        Processes of joblib; with more than one, give the encoder a cache folder.
    random_state : int, RandomState or None, default=0
    verbose : int, default=0
        1 shows a progress bar.

    Returns
    -------
    LabelEfficiency

    Raises
    ------
    ValueError
        If a size is larger than a training fold, folds do not hold each row out once, y has one
        class, or a metric is not defined.

    Warns
    -----
    LeakageWarning
        If groups are missing where subjects have several nights, or a fold has a subject on both
        sides.

    Notes
    -----
    If the subjects drawn lack a class, its probability is 0 in the test; if they have one class
    alone, that is the prediction and nothing is fitted. ``subsets`` lists both cases.

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sleep2vec_sklearn import label_efficiency_curve
    >>> X, y = make_classification(360, random_state=0)
    >>> subjects = [row // 30 for row in range(360)]
    >>> curve = label_efficiency_curve(LogisticRegression(), X, y, subjects, sizes=[1, 8], cv=3)
    >>> curve.summary[["n_subjects", "score"]].round(2)
       n_subjects  score
    0           1   0.92
    1           8   0.96
    """
    estimators = dict(estimator) if isinstance(estimator, Mapping) else {"estimator": estimator}
    if not estimators:
        raise ValueError("estimator is an empty mapping; at least one is needed.")
    check_scalar(n_repeats, "n_repeats", Integral, min_val=1)
    first = next(iter(estimators.values()))
    subjects = subjects_of(X, groups)
    y, classes = check_target(y, X, first)
    folds = folds_by_subject(cv, y, subjects, classify=classes is not None)
    sizes = choose_sizes(sizes, min(len(set(subjects[train])) for train, _ in folds))
    seed = draw_seed(random_state)
    draws = SubjectBootstrap(subjects, n_resamples, level, seed)
    scorer = SubjectScorer(named_scorers(scoring, y, first), y, draws, average)
    subsets = {
        (fold, repeat): nested_subsets(subjects[train], sizes, [seed, fold, repeat])
        for fold, (train, _) in enumerate(folds)
        for repeat in range(n_repeats)
    }
    study = _LabelStudy(X, y, subjects, classes, folds, subsets, scorer)
    jobs = [
        (name, size, repeat)
        for name in estimators
        for size in sizes
        for repeat in range(n_repeats if study.draws_differ(size) else 1)
    ]
    work = (delayed(study.score)(estimators[name], size, repeat) for name, size, repeat in jobs)
    results = Parallel(n_jobs=n_jobs, return_as="generator")(work)
    bar = progress_bar(verbose, results, total=len(jobs), desc="label efficiency", unit="fit")
    return study.collect(dict(zip(jobs, bar, strict=True)), level)


def nested_subsets(
    people: Sequence, sizes: Sequence[int], random_state: Any
) -> dict[int, np.ndarray]:
    """Draw subsets of subjects by size, each within the next.

    Parameters
    ----------
    people : sequence
        Names of the subjects; repeated ones count once.
    sizes : sequence of int
    random_state : int, sequence of int, or Generator

    Returns
    -------
    dict of int to object ndarray
        By size, the names drawn.

    Examples
    --------
    >>> from sleep2vec_sklearn.probing import nested_subsets
    >>> subsets = nested_subsets([*"abcd"], [1, 2, 4], 0)
    >>> set(subsets[1]) < set(subsets[2]) < set(subsets[4])
    True
    """
    unique = np.fromiter(sorted(set(people), key=str), dtype=object)
    order = np.random.default_rng(random_state).permutation(len(unique))
    return {size: unique[order[:size]] for size in sizes}


def choose_sizes(sizes: Sequence | None, n_subjects: int) -> list[int]:
    """Numbers of training subjects in rising order, from numbers or shares of ``n_subjects``."""
    if sizes is None:
        sizes = [2**k for k in range(math.ceil(math.log2(n_subjects)))] + [n_subjects]
    counts = set()
    for size in np.atleast_1d(np.asarray(sizes, dtype=object)):
        is_number = isinstance(size, Real) and not isinstance(size, bool)
        if is_number and isinstance(size, Integral) and 1 <= int(size) <= n_subjects:
            counts.add(int(size))
        elif is_number and not isinstance(size, Integral) and 0 < size <= 1:
            counts.add(max(round(size * n_subjects), 1))
        else:
            raise ValueError(
                f"sizes has {size!r}, and the smallest training fold has {n_subjects} subjects; "
                f"accepted are 1 to {n_subjects}, or shares of them above 0 and up to 1.0."
            )
    if not counts:
        raise ValueError("sizes is empty; at least one number of subjects is needed.")
    return sorted(counts)


@dataclass(frozen=True, eq=False)
class _LabelStudy:
    X: Any
    y: np.ndarray
    subjects: np.ndarray
    classes: np.ndarray | None
    folds: list[tuple[np.ndarray, np.ndarray]]
    subsets: dict[tuple[int, int], dict[int, np.ndarray]]
    scorer: SubjectScorer

    def draws_differ(self, size: int) -> bool:
        """Whether another draw of so many subjects could give others."""
        return any(len(set(self.subjects[train])) > size for train, _ in self.folds)

    def training_rows(self, fold: int, size: int, repeat: int) -> np.ndarray:
        train = self.folds[fold][0]
        chosen = set(self.subsets[fold, repeat][size])
        return train[[subject in chosen for subject in self.subjects[train]]]

    def score(self, estimator: Any, size: int, repeat: int) -> ResampledScores:
        parts = []
        for fold, (_, test) in enumerate(self.folds):
            rows = self.training_rows(fold, size, repeat)
            X = _safe_indexing(self.X, rows)
            fitted = fit_aligning_classes(
                estimator, X, self.y[rows], self.classes, self.subjects[rows]
            )
            parts.append((fitted, _safe_indexing(self.X, test)))
        tested = np.concatenate([test for _, test in self.folds])
        return self.scorer.score(held_out(parts, tested, len(self.y), self.classes), tested)

    def collect(self, scores: Mapping[tuple, ResampledScores], level: float) -> LabelEfficiency:
        repeats: dict[tuple, list[ResampledScores]] = {}
        for (name, size, _), scored in scores.items():
            repeats.setdefault((name, size), []).append(scored)
        rows, replicates = [], {}
        for key, several in repeats.items():
            for metric, values, resampled in summarise(self.scorer, several):
                rows.append((*key, metric, *values, len(several)))
                replicates[*key, metric] = resampled
        columns = ["estimator", "n_subjects", "metric", "score", "low", "high", "sd", "repeats"]
        tables = pd.DataFrame(rows, columns=columns), self._by_subject(scores), self._list_subsets()
        average, draws = self.scorer.average, self.scorer.draws
        return LabelEfficiency(*tables, average, level, draws, replicates)

    def _by_subject(self, scores: Mapping[tuple, ResampledScores]) -> pd.DataFrame:
        rows = []
        for job, scored in scores.items():
            for column, metric in enumerate(self.scorer.scorers):
                subjects: Any = [None]
                values = scored.estimates[[column]]
                if scored.values is not None:
                    subjects, values = self.scorer.draws.subjects, scored.values[:, column]
                rows += [(*job, metric, *row) for row in zip(subjects, values, strict=True)]
        columns = ["estimator", "n_subjects", "repeat", "metric", "subject", "score"]
        return pd.DataFrame(rows, columns=columns)

    def _list_subsets(self) -> pd.DataFrame:
        rows = []
        for (fold, repeat), subsets in self.subsets.items():
            for size, chosen in subsets.items():
                trained = self.training_rows(fold, size, repeat)
                missing = ()
                if self.classes is not None:
                    missing = tuple(np.setdiff1d(self.classes, self.y[trained]).tolist())
                rows.append((fold, repeat, size, tuple(chosen), len(trained), missing))
        columns = ["fold", "repeat", "n_subjects", "subjects", "rows", "classes_missing"]
        return pd.DataFrame(rows, columns=columns)
