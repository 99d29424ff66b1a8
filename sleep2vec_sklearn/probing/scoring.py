# SPDX-License-Identifier: BSD-3-Clause
"""Scores of held-out rows, and what they would have been with other people."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.base import is_classifier, is_regressor
from sklearn.metrics import get_scorer

__all__ = ["PeopleScorer", "Scored", "name_scorers"]

_AVERAGES = ("auto", "subject", "pool")
_ROWS_OF_A_SUBJECT = 20


def name_scorers(scoring, estimator) -> dict:
    """Scorers by name.

    Parameters
    ----------
    scoring : str, callable, sequence of str, mapping of str to either, or None
        None is accuracy for classifiers, R² for regressors.
    estimator : estimator

    Raises
    ------
    ValueError
        If there is nothing to score with.
    """
    if scoring is None:
        if not (is_classifier(estimator) or is_regressor(estimator)):
            raise ValueError(
                f"scoring is None, and {type(estimator).__name__} is neither a classifier nor a "
                "regressor. Pass a scorer's name, or a callable of (estimator, X, y)."
            )
        scoring = "accuracy" if is_classifier(estimator) else "r2"
    if isinstance(scoring, str):
        return {scoring: get_scorer(scoring)}
    if callable(scoring):
        return {getattr(scoring, "__name__", "score"): scoring}
    named = scoring if isinstance(scoring, Mapping) else {name: name for name in scoring}
    if not named:
        raise ValueError("scoring is empty; pass a scorer's name, or None.")
    return {name: get_scorer(one) for name, one in named.items()}


@dataclass(frozen=True, eq=False)
class Scored:
    """Scores of one set of answers.

    Attributes
    ----------
    values : ndarray of shape (n_metrics, n_people), or None
        Of each subject alone, NaN where it is not defined; None where rows were pooled.
    estimates : ndarray of shape (n_metrics,)
    replicates : ndarray of shape (n_metrics, n_resamples)
        The estimate for other people, drawn with replacement.
    """

    values: np.ndarray | None
    estimates: np.ndarray
    replicates: np.ndarray


class PeopleScorer:
    """Score held-out rows by subject, or all together, and resample the subjects.

    The people drawn are the same for all answers, so differences are paired.

    Parameters
    ----------
    scorers : mapping of str to callable
    y, groups : ndarray of shape (n_rows,)
        Of all rows of X.
    average : {"auto", "subject", "pool"}
        The mean of each subject's score, or the score of all rows; "auto" takes the former where
        subjects have 20 rows or more in the median, which is to say where rows are epochs.
    n_resamples : int
    random_state : int
    """

    def __init__(self, scorers, y, groups, average="auto", n_resamples=1000, random_state=0):
        if average not in _AVERAGES:
            listed = ", ".join(map(repr, _AVERAGES))
            raise ValueError(f"average must be one of {listed}; got {average!r}.")
        self.scorers = dict(scorers)
        self.y, self.groups = y, groups
        self.people, self._person = np.unique(groups, return_inverse=True)
        if average == "auto":
            many = np.median(np.bincount(self._person)) >= _ROWS_OF_A_SUBJECT
            average = "subject" if many else "pool"
        self.average = average
        rng = np.random.default_rng(random_state)
        n_people = len(self.people)
        self.n_resamples = n_resamples
        self._draws = rng.integers(n_people, size=(n_resamples, n_people))

    def score(self, answers, rows: np.ndarray) -> Scored:
        """Score answers.

        Parameters
        ----------
        answers : HeldOutAnswers
        rows : int ndarray
            Row of X behind each of them; one may come several times.

        Raises
        ------
        ValueError
            If a metric is defined for no subject, or not for all of them together.
        """
        places = self._places_by_person(rows)
        if self.average == "pool":
            return self._score_pool(answers, rows, places)
        values = np.full((len(self.scorers), len(self.people)), np.nan)
        complaint = None
        for person, mine in enumerate(places):
            if not len(mine):
                continue
            for metric, scorer in enumerate(self.scorers.values()):
                try:
                    values[metric, person] = self._one(scorer, answers, mine, rows)
                except ValueError as error:
                    complaint = error
        for name, row in zip(self.scorers, values, strict=True):
            if np.isnan(row).all():
                raise ValueError(
                    f"{name} is defined for none of the {len(row)} subjects alone"
                    f"{f' ({complaint})' if complaint else ''}. Pass average='pool' to score all "
                    "rows together."
                ) from complaint
        return self.of_values(values)

    def average_of(self, repeats: Sequence[Scored]) -> Scored:
        """Mean over repeats, subject by subject where there are such scores."""
        if self.average == "subject":
            return self.of_values(_mean(np.stack([r.values for r in repeats]), axis=0))
        return Scored(
            None,
            np.mean([r.estimates for r in repeats], axis=0),
            np.mean([r.replicates for r in repeats], axis=0),
        )

    def of_values(self, values: np.ndarray) -> Scored:
        """Means over subjects and over those drawn, of shape (n_metrics, n_people)."""
        return Scored(values, _mean(values, axis=1), _mean(values[:, self._draws], axis=2))

    def _score_pool(self, answers, rows, places) -> Scored:
        everything = np.concatenate(places)
        scorers = list(self.scorers.values())
        estimates = np.array([self._one(s, answers, everything, rows) for s in scorers])
        replicates = np.full((len(scorers), len(self._draws)), np.nan)
        for number, people in enumerate(self._draws):
            mine = np.concatenate([places[person] for person in people])
            for metric, scorer in enumerate(scorers):
                try:
                    replicates[metric, number] = self._one(scorer, answers, mine, rows)
                except ValueError:
                    # people drawn may all be of one class
                    continue
        return Scored(None, estimates, replicates)

    def _one(self, scorer, answers, mine: np.ndarray, rows: np.ndarray) -> float:
        if not len(mine):
            return np.nan
        with warnings.catch_warnings():
            # a class that some people lack would be told about a thousand times
            warnings.simplefilter("ignore", UserWarning)
            return float(scorer(answers, mine, self.y[rows[mine]]))

    def _places_by_person(self, rows: np.ndarray) -> list[np.ndarray]:
        person = self._person[rows]
        order = np.argsort(person, kind="stable")
        ends = np.searchsorted(person[order], np.arange(len(self.people) + 1))
        return [order[a:b] for a, b in itertools.pairwise(ends)]


def interval_of(replicates: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Percentiles of replicates over the last axis, those that are not defined left out."""
    tail = 100 * (1 - level) / 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        low, high = np.nanpercentile(replicates, [tail, 100 - tail], axis=-1)
    return low, high


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    with warnings.catch_warnings():
        # nobody of those drawn may have a score
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nanmean(values, axis=axis)
