# SPDX-License-Identifier: BSD-3-Clause
"""How many labelled people an estimator needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from joblib import Parallel, delayed
from tqdm.auto import tqdm

from ..evaluation._cross_validation import (
    ResampledScores,
    SubjectScorer,
    fit_aligning_classes,
    named_scorers,
)
from ..evaluation._subjects import SubjectBootstrap, folds_by_subject, subjects_of
from .folds import check_target, choose_sizes, draw_seed, held_out, nested_subsets, take_rows

__all__ = [
    "LabelEfficiency",
    "label_efficiency_curve",
]


@dataclass(frozen=True, eq=False)
class LabelEfficiency:
    """Result of :func:`label_efficiency_curve`.

    Attributes
    ----------
    summary : DataFrame
        One row per estimator, number of training subjects and metric: ``score``, the interval
        ``low`` to ``high`` over test subjects, and ``sd``, the spread over the draws of training
        subjects, NaN of one draw.
    scores : DataFrame
        One row per estimator, number of training subjects, repeat and metric, and per test
        subject where subjects are scored one by one.
    subsets : DataFrame
        One row per fold, repeat and number of subjects: which ``subjects`` trained, with how many
        ``rows``, and ``classes_missing`` among their labels. The same for all estimators.
    average : str
        "subject" or "pooled".
    level : float
        Of the intervals.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sleep2vec_sklearn import label_efficiency_curve
    >>> rng = np.random.default_rng(0)
    >>> people, y = np.repeat(np.arange(8), 30), rng.integers(0, 2, 240)
    >>> X = rng.normal(size=(240, 3)) + y[:, None]
    >>> found = label_efficiency_curve(LogisticRegression(), X, y, people, sizes=[1, 4], cv=2)
    >>> found.subsets[["fold", "repeat", "n_subjects", "rows"]].head(3)
       fold  repeat  n_subjects  rows
    0     0       0           1    30
    1     0       0           4   120
    2     0       1           1    30
    """

    summary: object
    scores: object
    subsets: object
    average: str
    level: float
    _draws: SubjectBootstrap = field(repr=False)
    _replicates: dict = field(repr=False)

    def differences(self, reference: str, n_subjects: int | None = None):
        """Each estimator and size minus one reference, paired over test subjects.

        Parameters
        ----------
        reference : str
            An estimator's name.
        n_subjects : int, optional
            Training subjects of the reference, all of them by default.

        Returns
        -------
        DataFrame
            Columns estimator, n_subjects, metric, difference, low, high. An interval that holds
            zero says that so few subjects may do as well.
        """
        import pandas as pd

        names = {name for name, _, _ in self._replicates}
        if reference not in names:
            raise ValueError(f"reference={reference!r}; accepted are {', '.join(sorted(names))}.")
        sizes = sorted({size for _, size, _ in self._replicates})
        size = sizes[-1] if n_subjects is None else n_subjects
        if size not in sizes:
            raise ValueError(f"n_subjects={size!r}; accepted are {', '.join(map(str, sizes))}.")
        rows = []
        for (name, n, metric), (estimate, replicates) in self._replicates.items():
            goal, goals = self._replicates[reference, size, metric]
            low, high = self._draws.interval(replicates - goals)
            rows.append((name, n, metric, estimate - goal, float(low), float(high)))
        columns = ["estimator", "n_subjects", "metric", "difference", "low", "high"]
        return pd.DataFrame(rows, columns=columns)


def label_efficiency_curve(
    estimator,
    X,
    y,
    groups=None,
    *,
    sizes=None,
    n_repeats=5,
    cv=5,
    scoring=None,
    average="auto",
    level=0.95,
    n_resamples=1000,
    n_jobs=None,
    random_state=0,
    verbose=0,
) -> LabelEfficiency:
    """Score estimators trained on few people, then on more of them.

    Folds of subjects are held out in turn. Of the others, people are drawn in an order that depends
    on fold, repeat and ``random_state`` alone, and every estimator is trained on all rows of the
    first few of them: subsets are nested, and the same for all estimators.

    An encoder in the estimator is not trained, and its tokens come from its cache
    (``cache="memory"`` or a folder): each night is encoded once, and only heads are fitted again.

    Parameters
    ----------
    estimator : estimator, or mapping of str to estimator
        Those to compare.
    X : list of Recording, list of lists of them, EpochSequence, or array
    y : array-like of shape (n_rows, ...)
    groups : array-like of shape (n_rows,), optional
        Subjects; by default those that the recordings name.
    sizes : sequence of int or float, optional
        Numbers of training subjects, or shares of those in the smallest training fold. 1, 2, 4,
        ... and that fold's number by default.
    n_repeats : int, default=5
        Draws of people per fold.
    cv : int, splitter or iterable, default=5
        Folds by subject, or a splitter that holds each row out once.
    scoring : str, callable, sequence of str, or mapping, optional
        Names of scikit-learn, "kappa", or scorers. By default "roc_auc" for two classes, "kappa"
        for more, "neg_mean_absolute_error" for numbers.
    average : {"auto", "subject", "pooled"}, default="auto"
        Mean of each test subject's score, or the score of all held-out rows together. "auto"
        takes the former where subjects have 20 rows or more in the median.
    level : float, default=0.95
        Of the intervals.
    n_resamples : int, default=1000
        Draws of test subjects behind an interval.
    n_jobs : int, optional
        Processes of joblib; give the encoder a cache folder then.
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
        If groups are missing where nights of a subject repeat, or a fold has a subject on both
        sides.

    Notes
    -----
    Where the people drawn lack a class, its probability is 0 in the test; where they have one class
    alone, that is the answer and nothing is fitted. ``subsets`` tells where.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sleep2vec_sklearn import label_efficiency_curve
    >>> rng = np.random.default_rng(0)
    >>> people = np.repeat(np.arange(12), 30)
    >>> y = rng.integers(0, 2, 360)
    >>> X = rng.normal(size=(360, 3)) + y[:, None] + 0.5 * rng.normal(size=(12, 3))[people]
    >>> curve = label_efficiency_curve(
    ...     LogisticRegression(), X, y, people, sizes=[1, 8], cv=3, n_repeats=2
    ... )
    >>> curve.summary[["n_subjects", "score"]].round(2)
       n_subjects  score
    0           1   0.87
    1           8   0.89
    """
    estimators = dict(estimator) if isinstance(estimator, Mapping) else {"estimator": estimator}
    if not estimators:
        raise ValueError("estimator is an empty mapping; at least one is needed.")
    if n_repeats < 1:
        raise ValueError(f"n_repeats must be at least 1, got {n_repeats!r}.")
    first = next(iter(estimators.values()))
    people = subjects_of(X, groups)
    y, classes = check_target(y, X, first)
    folds = folds_by_subject(cv, y, people, classify=classes is not None)
    n_fewest = min(len(set(people[train])) for train, _ in folds)
    sizes = choose_sizes(sizes, n_fewest)
    seed = draw_seed(random_state)
    resampled = SubjectBootstrap(people, n_resamples, level, seed)
    scorer = SubjectScorer(named_scorers(scoring, y, first), y, resampled, average)
    draws = {
        (fold, repeat): nested_subsets(people[train], sizes, [seed, fold, repeat])
        for fold, (train, _) in enumerate(folds)
        for repeat in range(n_repeats)
    }
    study = _Study(X, y, people, classes, folds, draws, scorer)
    # with everybody there is one draw
    jobs = [
        (name, size, repeat)
        for name in estimators
        for size in sizes
        for repeat in range(n_repeats)
        if repeat == 0 or study.draws_differ(size)
    ]
    work = (delayed(study.score)(estimators[name], size, repeat) for name, size, repeat in jobs)
    results = Parallel(n_jobs=n_jobs, return_as="generator")(work)
    bar = {"total": len(jobs), "desc": "label efficiency", "unit": "fit", "disable": not verbose}
    found = dict(zip(jobs, tqdm(results, **bar), strict=True))
    return _gather(found, study, level)


@dataclass(frozen=True, eq=False)
class _Study:
    X: object
    y: np.ndarray
    people: np.ndarray
    classes: np.ndarray | None
    folds: list
    draws: dict
    scorer: SubjectScorer

    def draws_differ(self, size: int) -> bool:
        """Whether another draw of so many people could give others."""
        return any(len(set(self.people[train])) > size for train, _ in self.folds)

    def rows_of(self, fold: int, size: int, repeat: int) -> np.ndarray:
        train = self.folds[fold][0]
        chosen = set(self.draws[fold, repeat][size])
        return train[[person in chosen for person in self.people[train]]]

    def score(self, estimator, size: int, repeat: int) -> ResampledScores:
        parts = []
        for fold, (_, test) in enumerate(self.folds):
            rows = self.rows_of(fold, size, repeat)
            fitted = fit_aligning_classes(
                estimator, take_rows(self.X, rows), self.y[rows], self.classes
            )
            parts.append((fitted, take_rows(self.X, test)))
        tested = np.concatenate([test for _, test in self.folds])
        answers = held_out(parts, tested, len(self.y), self.classes)
        return self.scorer.score(answers, tested)

    def describe_subsets(self):
        """Who trained."""
        import pandas as pd

        rows = []
        for (fold, repeat), subsets in self.draws.items():
            for size, chosen in subsets.items():
                mine = self.rows_of(fold, size, repeat)
                missing = ()
                if self.classes is not None:
                    missing = tuple(np.setdiff1d(self.classes, self.y[mine]).tolist())
                rows.append((fold, repeat, size, tuple(chosen), len(mine), missing))
        columns = ["fold", "repeat", "n_subjects", "subjects", "rows", "classes_missing"]
        return pd.DataFrame(rows, columns=columns)


def _gather(found: dict, study: _Study, level: float) -> LabelEfficiency:
    import pandas as pd

    scorer = study.scorer
    repeats: dict = {}
    for (name, size, _), scored in found.items():
        repeats.setdefault((name, size), []).append(scored)
    summary, replicates = [], {}
    for (name, size), several in repeats.items():
        mean = scorer.average_of(several)
        lows, highs = scorer.draws.interval(mean.replicates)
        spread = scorer.spread_of(several)
        for place, metric in enumerate(scorer.scorers):
            replicates[name, size, metric] = mean.estimates[place], mean.replicates[:, place]
            row = (mean.estimates[place], lows[place], highs[place], spread[place], len(several))
            summary.append((name, size, metric, *map(float, row[:4]), row[4]))
    columns = ["estimator", "n_subjects", "metric", "score", "low", "high", "sd", "repeats"]
    return LabelEfficiency(
        pd.DataFrame(summary, columns=columns),
        _tidy(found, scorer),
        study.describe_subsets(),
        scorer.average,
        level,
        scorer.draws,
        replicates,
    )


def _tidy(found: dict, scorer: SubjectScorer):
    import pandas as pd

    rows = []
    for job, scored in found.items():
        for place, metric in enumerate(scorer.scorers):
            if scored.values is None:
                rows.append((*job, metric, None, scored.estimates[place]))
                continue
            known = zip(scorer.draws.subjects, scored.values[:, place], strict=True)
            rows += [(*job, metric, person, value) for person, value in known]
    columns = ["estimator", "n_subjects", "repeat", "metric", "subject", "score"]
    return pd.DataFrame(rows, columns=columns)
