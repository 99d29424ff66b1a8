# SPDX-License-Identifier: BSD-3-Clause
"""Estimators fitted once on intact nights, and asked again about nights that were changed."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from sklearn.base import is_classifier, is_regressor
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils.validation import check_is_fitted

from .._warnings import warn
from ..errors import ModalityWarning
from ..evaluation._cross_validation import (
    HeldOutPredictions,
    ResampledScores,
    SubjectScorer,
    check_labels,
    fit_aligning_classes,
    named_scorers,
)
from ..evaluation._subjects import SubjectBootstrap, folds_by_subject, subjects_of
from ._nights import Nights, check_reads_signals, supported_modalities

__all__ = [
    "SensorStudy",
    "check_target",
    "choose_sizes",
    "draw_seed",
    "held_out",
    "nested_subsets",
    "take_rows",
]

PREFIT = "prefit"


class SensorStudy:
    """An estimator, the nights it is tested on, and how it is scored.

    Parameters
    ----------
    estimator : estimator
        Fitted, where ``cv="prefit"``.
    X, y, groups
        Rows that are tested.
    cv : "prefit", int, splitter or iterable
        Whether the estimator is taken as it is, or fitted on all sensors of each fold's training
        subjects.
    scoring, average, level, n_resamples, random_state
        See :func:`modality_subset_scores`.
    """

    def __init__(
        self, estimator, X, y, groups, *, cv, scoring, average, level, n_resamples, random_state
    ):
        check_reads_signals(estimator)
        self.estimator = estimator
        self.nights = Nights(X)
        people = subjects_of(self.nights.X, groups)
        self.y, self.classes = check_target(y, self.nights.X, estimator)
        self.prefit = isinstance(cv, str) and cv == PREFIT
        if self.prefit:
            check_is_fitted(estimator)
            self.folds = [(None, np.arange(len(self.y)))]
        else:
            classify = self.classes is not None
            self.folds = folds_by_subject(cv, self.y, people, classify=classify)
        self.seed = draw_seed(random_state)
        self.draws = SubjectBootstrap(people, n_resamples, level, self.seed)
        scorers = named_scorers(scoring, self.y, estimator)
        self.scorer = SubjectScorer(scorers, self.y, self.draws, average)
        self._fitted: list | None = [estimator] if self.prefit else None

    @property
    def supported(self) -> tuple[str, ...] | None:
        """Modalities that the estimator reads, where it is fitted and tells."""
        return supported_modalities(self.estimator)

    def fit(self) -> Sequence:
        """The estimators, one per fold, fitted on intact nights at the first call."""
        if self._fitted is None:
            rows = np.arange(len(self.y))
            self._fitted = [self._fit_fold(self.nights.X, rows, train) for train, _ in self.folds]
        return self._fitted

    def score(self, X, kept: np.ndarray, *, refit: bool = False) -> ResampledScores | None:
        """Score changed nights.

        Parameters
        ----------
        X : list or EpochSequence
            Of :meth:`Nights.change`.
        kept : int ndarray
            Rows of the intact X that it has.
        refit : bool
            Whether estimators are fitted on the changed nights as well.

        Returns
        -------
        ResampledScores or None
            None if no row is left.
        """
        parts, rows = [], []
        for number, (train, test) in enumerate(self.folds):
            mine = np.intersect1d(test, kept)
            known = len(np.intersect1d(train, kept)) if refit else 1
            if not len(mine) or not known:
                continue
            fitted = self._fit_fold(X, kept, train) if refit else self.fit()[number]
            parts.append((fitted, take_rows(X, np.searchsorted(kept, mine))))
            rows.append(mine)
        if not parts:
            return None
        rows = np.concatenate(rows)
        answers = held_out(parts, rows, len(self.y), self.classes)
        # with some of the rows, it may be for lack of people that a metric has no value
        return self.scorer.score(answers, rows, strict=len(kept) == len(self.y))

    def _fit_fold(self, X, kept: np.ndarray, train: np.ndarray):
        mine = np.intersect1d(train, kept)
        rows = take_rows(X, np.searchsorted(kept, mine))
        return fit_aligning_classes(self.estimator, rows, self.y[mine], self.classes)

    def warn_of_unseen(self, modalities: Sequence[str]) -> None:
        """Tell of modalities that are tested and in no training night of a fold."""
        if self.prefit:
            return
        unseen: dict[str, int] = {}
        for train, _ in self.folds:
            seen = Nights(take_rows(self.nights.X, train))
            there = set(_used(seen))
            for name in modalities:
                unseen[name] = unseen.get(name, 0) + (name not in there)
        told = [f"{name} ({n} of {len(self.folds)} folds)" for name, n in unseen.items() if n]
        if told:
            warn(
                f"{', '.join(told)}: in no night that trains. What is trained after the encoder "
                "has never seen such tokens, and its scores on them show the encoder's alignment "
                "alone. Leave the modality out, or choose folds that have it on both sides.",
                ModalityWarning,
            )


def _used(nights: Nights) -> set[str]:
    # a view of epochs keeps recordings that none of its rows is of
    places = getattr(nights.X, "recording_index", None)
    recordings = nights.recordings
    if places is not None:
        recordings = [recordings[place] for place in np.unique(places)]
    return {name for night in recordings for name in night.modalities}


_RESPONSES = ("predict", "predict_proba", "decision_function")


def take_rows(X, rows):
    """Rows of X, whatever kind of container it is."""
    return _safe_indexing(X, np.asarray(rows))


class _Answers(Mapping):
    """Responses of one estimator per fold for the rows it did not see, each asked for once.

    Where all of them give probabilities there is no decision function: values of different fits
    have no common scale.
    """

    def __init__(self, parts: Sequence[tuple], rows: np.ndarray, n_rows: int):
        self._parts, self._rows, self._n_rows = list(parts), rows, n_rows
        self._found: dict[str, np.ndarray] = {}

    def __contains__(self, method: object) -> bool:
        offered = all(hasattr(fitted, method) for fitted, _ in self._parts)
        return offered and not (method == "decision_function" and "predict_proba" in self)

    def __iter__(self) -> Iterator[str]:
        return (method for method in _RESPONSES if method in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, method: str) -> np.ndarray:
        if method not in self._found:
            found = [np.asarray(getattr(fitted, method)(X)) for fitted, X in self._parts]
            found = np.concatenate(found)
            # of rows that are not held out nothing is asked
            whole = np.zeros((self._n_rows, *found.shape[1:]), dtype=found.dtype)
            whole[self._rows] = found
            self._found[method] = whole
        return self._found[method]


def held_out(parts: Sequence[tuple], rows: np.ndarray, n_rows: int, classes) -> HeldOutPredictions:
    """What estimators fitted on one fold each answer, asked when a scorer wants it.

    Parameters
    ----------
    parts : sequence of (fitted estimator, X of its test rows)
    rows : int ndarray
        Number of each of these rows in the whole X.
    n_rows : int
        Of the whole X.
    classes : ndarray or None
        All classes there are.
    """
    first = parts[0][0]
    kind = "classifier" if is_classifier(first) else None
    kind = "regressor" if is_regressor(first) else kind
    return HeldOutPredictions(_Answers(parts, rows, n_rows), kind, classes)


def draw_seed(random_state) -> int:
    """A number to seed generators with, from whatever scikit-learn takes for one."""
    return int(check_random_state(random_state).randint(2**31 - 1))


def check_target(y, X, estimator) -> tuple[np.ndarray, np.ndarray | None]:
    """Labels as an array, and the classes they are of where the estimator is a classifier.

    Raises
    ------
    ValueError
        If their number is not that of the rows, one is missing, or there is one class alone.
    """
    classify = is_classifier(estimator)
    y = check_labels(y, X, classify=classify)
    if not classify or y.ndim > 1:
        return y, None
    classes = np.unique(y)
    if len(classes) < 2:
        raise ValueError(
            f"y has one class ({classes[0]}); a classifier needs two. Check the labels, or "
            "which rows were chosen."
        )
    return y, classes


def choose_sizes(sizes: Sequence | None, n_people: int) -> list[int]:
    """Numbers of training subjects in rising order, of numbers and shares.

    Parameters
    ----------
    sizes : sequence of int or float, or None
        Numbers, or shares from above 0 to 1.0 of ``n_people``; by default 1, 2, 4, ... and all.
    n_people : int
        Subjects that the smallest training fold has.

    Raises
    ------
    ValueError
        If one is neither, or larger than ``n_people``.
    """
    if sizes is None:
        sizes = [2**k for k in range(math.ceil(math.log2(n_people)))] + [n_people]
    found = set()
    for size in np.atleast_1d(np.asarray(sizes, dtype=object)):
        number = isinstance(size, numbers.Real) and not isinstance(size, bool)
        if number and isinstance(size, numbers.Integral):
            count = int(size)
        elif number and 0 < size <= 1:
            count = max(round(size * n_people), 1)
        else:
            raise ValueError(
                f"sizes has {size!r}; accepted are numbers of subjects, or shares of them above 0 "
                "and up to 1.0."
            )
        if not 1 <= count <= n_people:
            raise ValueError(
                f"sizes has {count} subjects, and the smallest training fold has {n_people}; "
                f"accepted are 1 to {n_people}. Leave it out, or take more folds."
            )
        found.add(count)
    if not found:
        raise ValueError("sizes is empty; at least one number of subjects is needed.")
    return sorted(found)


def nested_subsets(people: Sequence, sizes: Sequence[int], random_state) -> dict[int, np.ndarray]:
    """Draw subsets of people by size, each within the next.

    Parameters
    ----------
    people : sequence
        Names, each counted once.
    sizes : sequence of int
    random_state : int, sequence of int, or Generator

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
