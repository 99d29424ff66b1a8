# SPDX-License-Identifier: BSD-3-Clause
"""Scores of held-out rows, and what they would have been with other people."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.base import is_classifier, is_regressor
from sklearn.metrics import cohen_kappa_score, get_scorer, make_scorer

from .bootstrap import SubjectBootstrap
from .held_out import HeldOut

__all__ = ["PeopleScorer", "Scored", "scorers_of"]

_AVERAGES = ("auto", "subject", "pooled")
_ROWS_OF_A_SUBJECT = 20


def scorers_of(scoring, y: np.ndarray, estimator) -> dict[str, Callable]:
    """Scorers by name.

    Parameters
    ----------
    scoring : str, callable, list of str, dict of str to either, or None
        Names of scikit-learn, and "kappa". None is "roc_auc" for two classes, "kappa" for more,
        and "neg_mean_absolute_error" for numbers.
    y : ndarray of shape (n, ...)
    estimator : estimator
        Whose kind tells what y holds.

    Raises
    ------
    ValueError
        If there is nothing to score with.
    """
    if scoring is None:
        if is_classifier(estimator):
            scoring = "roc_auc" if len(np.unique(y)) == 2 else "kappa"
        elif is_regressor(estimator):
            scoring = "neg_mean_absolute_error"
        else:
            raise ValueError(
                f"scoring is None, and {type(estimator).__name__} is neither a classifier nor a "
                "regressor. Pass a scorer's name, or a callable of (estimator, X, y)."
            )
    if isinstance(scoring, str):
        scoring = [scoring]
    if callable(scoring):
        scoring = {getattr(scoring, "__name__", "score"): scoring}
    if not isinstance(scoring, Mapping):
        scoring = {name: name for name in scoring}
    if not scoring:
        raise ValueError("scoring is empty; pass a scorer's name, or None.")
    return {name: _scorer(of) for name, of in scoring.items()}


def _scorer(of) -> Callable:
    if of == "kappa":
        return make_scorer(cohen_kappa_score)
    return get_scorer(of) if isinstance(of, str) else of


@dataclass(frozen=True, eq=False)
class Scored:
    """Scores of one set of answers.

    Attributes
    ----------
    values : ndarray of shape (n_subjects, n_metrics), or None
        Of each subject alone, NaN where it is not defined; None where rows were pooled.
    estimates : ndarray of shape (n_metrics,)
    replicates : ndarray of shape (n_resamples, n_metrics)
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
    y : ndarray of shape (n_rows, ...)
        Of all rows of X.
    draws : SubjectBootstrap
        Of the same rows.
    average : {"auto", "subject", "pooled"}
        The mean of each subject's score, or the score of all rows; "auto" takes the former where
        subjects have 20 rows or more in the median, as they have where rows are epochs.
    """

    def __init__(
        self,
        scorers: Mapping[str, Callable],
        y: np.ndarray,
        draws: SubjectBootstrap,
        average: str = "auto",
    ):
        if average not in _AVERAGES:
            listed = ", ".join(map(repr, _AVERAGES))
            raise ValueError(f"average must be one of {listed}; got {average!r}.")
        self.scorers = dict(scorers)
        self.y, self.draws = y, draws
        if average == "auto":
            many = np.median(np.bincount(draws.codes)) >= _ROWS_OF_A_SUBJECT
            average = "subject" if many else "pooled"
        self.average = average

    def score(self, answers: HeldOut, rows: np.ndarray, *, strict: bool = True) -> Scored:
        """Score answers.

        Parameters
        ----------
        answers : HeldOut
        rows : int ndarray
            Rows of X that are held out.
        strict : bool
            Whether a metric that has no value is an error, or NaN.

        Raises
        ------
        ValueError
            If a metric is defined for no subject, or not for all of them together.
        """
        with warnings.catch_warnings():
            # a class that some people lack would be told about a thousand times
            warnings.simplefilter("ignore", UserWarning)
            if self.average == "pooled":
                return self._score_pool(answers, rows, strict)
            return self._score_each(answers, rows, strict)

    def average_of(self, repeats: Sequence[Scored]) -> Scored:
        """Mean over repeats, subject by subject where there are such scores."""
        if self.average == "subject":
            return self.of_values(_mean([scored.values for scored in repeats]))
        return Scored(
            None,
            np.mean([scored.estimates for scored in repeats], axis=0),
            np.mean([scored.replicates for scored in repeats], axis=0),
        )

    @staticmethod
    def spread_of(repeats: Sequence[Scored]) -> np.ndarray:
        """Standard deviation over repeats, NaN of one alone."""
        if len(repeats) < 2:
            return np.full(repeats[0].estimates.shape, np.nan)
        return np.std([scored.estimates for scored in repeats], axis=0, ddof=1)

    def of_values(self, values: np.ndarray) -> Scored:
        """Means over subjects and over those drawn, of shape (n_subjects, n_metrics)."""
        known = np.isfinite(values)
        with np.errstate(invalid="ignore", divide="ignore"):
            # nobody of those drawn may have a score
            replicates = (
                self.draws.counts @ np.where(known, values, 0) / (self.draws.counts @ known)
            )
        return Scored(values, _mean(values), replicates)

    def _score_each(self, answers: HeldOut, rows: np.ndarray, strict: bool) -> Scored:
        values = np.full((len(self.draws.subjects), len(self.scorers)), np.nan)
        person = self.draws.codes[rows]
        for place in np.unique(person):
            mine = rows[person == place]
            values[place] = [answers.score_rows(s, self.y, mine) for s in self.scorers.values()]
        missing = [n for n, column in zip(self.scorers, values.T, strict=True) if _is_void(column)]
        if missing and strict:
            raise ValueError(
                f"{', '.join(missing)}: defined for none of the {len(values)} subjects alone. Pass "
                "average='pooled' to score all rows together."
            )
        return self.of_values(values)

    def _score_pool(self, answers: HeldOut, rows: np.ndarray, strict: bool) -> Scored:
        scorers = list(self.scorers.values())
        if strict:
            estimates = [float(scorer(answers, rows, self.y[rows])) for scorer in scorers]
        else:
            estimates = [answers.score_rows(scorer, self.y, rows) for scorer in scorers]
        held_out = np.zeros(len(self.y), dtype=bool)
        held_out[rows] = True
        replicates = np.full((len(self.draws.counts), len(scorers)), np.nan)
        for number, drawn in enumerate(self.draws.rows()):
            mine = drawn[held_out[drawn]]
            if len(mine):
                replicates[number] = [answers.score_rows(s, self.y, mine) for s in scorers]
        return Scored(None, np.array(estimates), replicates)


def _is_void(values: np.ndarray) -> bool:
    return not np.isfinite(values).any()


def _mean(values) -> np.ndarray:
    """Mean over the first axis of what is known."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nanmean(values, axis=0)
