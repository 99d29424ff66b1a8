# SPDX-License-Identifier: BSD-3-Clause
"""Is one estimator better than another? The same folds, people held out, differences paired."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.base import is_classifier

from .bootstrap import SubjectBootstrap
from .held_out import held_out_answers
from .known_labels import known_labels
from .people import PeopleScorer, Scored, scorers_of
from .subjects import folds_by_subject, subjects_of

__all__ = ["EstimatorComparison", "compare_estimators"]


def compare_estimators(
    estimators: Mapping, X, y, groups=None, *, cv=5, scoring=None, reference: str | None = None,
    average: str = "auto", n_resamples: int = 1000, level: float = 0.95, random_state=0,
    n_jobs: int | None = None,
) -> EstimatorComparison:  # fmt: skip
    """Compare estimators on people that none of them was fitted on.

    Every estimator is fitted on the training people of the same folds and answers for those held
    out. Intervals, of scores and of differences, are by bootstrap over subjects, with the same
    draws for all.

    Parameters
    ----------
    estimators : mapping of str to estimator
        At least two, classifiers or not alike.
    X : list of recordings, EpochSequence, or array of shape (n, n_features)
    y : array-like of shape (n, ...)
    groups : array-like of shape (n,), optional
        Subjects; by default those of the recordings.
    cv : int, splitter or iterable, default=5
        Folds by subject, stratified for classes; or a splitter that holds each row out once.
    scoring : str, callable, list or dict, optional
        Names of scikit-learn's scorers, "kappa", or scorers. By default "roc_auc" for two classes,
        "kappa" for more, "neg_mean_absolute_error" for numbers.
    reference : str, optional
        Whom the others are compared with; the first by default.
    average : {"auto", "subject", "pooled"}, default="auto"
        Mean of each test subject's score, over those in whom it is defined, or the score of all
        held-out rows together. "auto" takes the former where subjects have 20 rows or more in the
        median, as they have where rows are epochs.
    n_resamples : int, default=1000
    level : float, default=0.95
    random_state : int, RandomState or None, default=0
        Of the bootstrap.
    n_jobs : int, optional
        Processes that fit.

    Returns
    -------
    EstimatorComparison

    Warns
    -----
    LeakageWarning
        If groups are missing where subjects repeat, or a subject is in training and test.

    Raises
    ------
    ValueError
        For fewer than two estimators or subjects, folds that do not hold each row out once, or a
        fold whose training people are of one class.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.dummy import DummyClassifier
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sleep2vec_sklearn.evaluation import compare_estimators
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((60, 3))
    >>> y = (X[:, 0] + rng.standard_normal(60) > 0).astype(int)
    >>> models = {"prior": DummyClassifier(), "linear": LogisticRegression()}
    >>> compare_estimators(models, X, y, n_resamples=200)
    EstimatorComparison(60 subjects, 5 folds, all rows together; differences to 'prior')
            metric                score              difference
     prior roc_auc 0.452 [0.333, 0.606]
    linear roc_auc 0.813 [0.683, 0.940] +0.361 [+0.174, +0.516]
    """
    estimators = dict(estimators)
    reference = _check(estimators, reference)
    first = estimators[reference]
    classify = is_classifier(first)
    y = known_labels(y, X, classify=classify)
    groups = subjects_of(X, groups, stacklevel=2)
    folds = folds_by_subject(cv, y, groups, classify=classify, stacklevel=2)
    draws = SubjectBootstrap(groups, n_resamples, level, random_state)
    scorer = PeopleScorer(scorers_of(scoring, y, first), y, draws, average)
    answers = held_out_answers(estimators, X, y, folds, n_jobs)
    rows = np.arange(len(y))
    scored = {name: scorer.score(found, rows, strict=False) for name, found in answers.items()}
    fold = np.empty(len(y), dtype=int)
    for number, (_, test) in enumerate(folds):
        fold[test] = number
    return EstimatorComparison(
        reference=reference,
        average=scorer.average,
        scores=_scores(scored, scorer),
        differences=_differences(scored, reference, scorer),
        answers={name: found.answers for name, found in answers.items()},
        fold=fold,
        groups=groups,
    )


@dataclass(frozen=True, repr=False)
class EstimatorComparison:
    """What :func:`compare_estimators` finds.

    Attributes
    ----------
    reference : str
    average : {"subject", "pooled"}
    scores : DataFrame
        Index estimator, metric; columns value, low, high, subjects.
    differences : DataFrame
        Estimator minus reference: difference, low, high, ``share_above`` (of the resamples in
        which it is above zero) and subjects. Higher scores are better.
    answers : dict of str to dict of str to ndarray
        By estimator and method, what was answered for every row by a clone that did not see it.
    fold : int ndarray of shape (n,)
        Which fold held each row out.
    groups : ndarray of shape (n,)

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.dummy import DummyClassifier
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sleep2vec_sklearn.evaluation import compare_estimators
    >>> X = np.linspace(-1, 1, 60)[:, None]
    >>> models = {"prior": DummyClassifier(), "linear": LogisticRegression()}
    >>> found = compare_estimators(models, X, (X[:, 0] > 0).astype(int), cv=3, n_resamples=50)
    >>> found.reference, sorted(found.answers)
    ('prior', ['linear', 'prior'])
    """

    reference: str
    average: str
    scores: pd.DataFrame
    differences: pd.DataFrame
    answers: dict[str, dict[str, np.ndarray]]
    fold: np.ndarray
    groups: np.ndarray

    def to_frame(self) -> pd.DataFrame:
        """Scores and differences in one table: columns estimator, metric, value, ..., high."""
        columns = {"low": "difference_low", "high": "difference_high"}
        columns |= {"share_above": "share_above", "difference": "difference"}
        beside = self.differences.drop(columns="subjects").rename(columns=columns)
        return self.scores.join(beside).reset_index()

    def __repr__(self) -> str:
        n_subjects = len(set(self.groups.tolist()))
        how = "all rows together" if self.average == "pooled" else "mean over subjects"
        head = (
            f"EstimatorComparison({n_subjects} subjects, {self.fold.max() + 1} folds, {how}; "
            f"differences to {self.reference!r})"
        )
        rows = []
        for key, row in self.scores.iterrows():
            cells = [f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]", ""]
            if key in self.differences.index:
                d = self.differences.loc[key]
                cells[1] = f"{d['difference']:+.3f} [{d['low']:+.3f}, {d['high']:+.3f}]"
            rows.append([*key, *cells])
        table = pd.DataFrame(rows, columns=["", "metric", "score", "difference"])
        lines = table.to_string(index=False).splitlines()
        return "\n".join([head, *(line.rstrip() for line in lines)])


def _check(estimators: dict, reference: str | None) -> str:
    if len(estimators) < 2:
        raise ValueError(
            f"estimators has {len(estimators)} element(s); accepted is a dict of at least two."
        )
    kinds = {name: is_classifier(estimator) for name, estimator in estimators.items()}
    if len(set(kinds.values())) > 1:
        raise ValueError(f"estimators mixes classifiers with others (classifier: {kinds}).")
    reference = next(iter(estimators)) if reference is None else reference
    if reference not in estimators:
        raise ValueError(f"reference={reference!r} is none of {', '.join(map(str, estimators))}.")
    return reference


def _scores(scored: Mapping[str, Scored], scorer: PeopleScorer) -> pd.DataFrame:
    rows = {}
    for name, of in scored.items():
        low, high = scorer.draws.interval(of.replicates)
        numbers = zip(of.estimates, low, high, _subjects(of, scorer), strict=True)
        for metric, row in zip(scorer.scorers, numbers, strict=True):
            rows[name, metric] = row
    return _as_table(rows, ["value", "low", "high", "subjects"])


def _differences(
    scored: Mapping[str, Scored], reference: str, scorer: PeopleScorer
) -> pd.DataFrame:
    rows = {}
    for name in [name for name in scored if name != reference]:
        of = _minus(scored[name], scored[reference], scorer)
        low, high = scorer.draws.interval(of.replicates)
        above = [_share_above(column) for column in of.replicates.T]
        numbers = zip(of.estimates, low, high, above, _subjects(of, scorer), strict=True)
        for metric, row in zip(scorer.scorers, numbers, strict=True):
            rows[name, metric] = row
    return _as_table(rows, ["difference", "low", "high", "share_above", "subjects"])


def _minus(of: Scored, to: Scored, scorer: PeopleScorer) -> Scored:
    if of.values is not None:
        # only people in whom both are defined are compared
        return scorer.of_values(of.values - to.values)
    return Scored(None, of.estimates - to.estimates, of.replicates - to.replicates)


def _subjects(of: Scored, scorer: PeopleScorer) -> list[int]:
    if of.values is None:
        return [len(scorer.draws.subjects)] * len(scorer.scorers)
    return np.isfinite(of.values).sum(axis=0).tolist()


def _share_above(resampled: np.ndarray) -> float:
    known = resampled[np.isfinite(resampled)]
    return float((known > 0).mean()) if len(known) else np.nan


def _as_table(rows: dict, columns: list[str]) -> pd.DataFrame:
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    table.index = pd.MultiIndex.from_tuples(rows, names=["estimator", "metric"])
    return table
