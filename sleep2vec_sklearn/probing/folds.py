# SPDX-License-Identifier: BSD-3-Clause
"""Estimators fitted once on intact nights, and asked again about nights that were changed."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ..errors import ModalityWarning
from ..evaluation.bootstrap import SubjectBootstrap
from ..evaluation.known_classes import fit_known_classes
from ..evaluation.people import PeopleScorer, Scored, scorers_of
from ..evaluation.subjects import folds_by_subject, subjects_of
from .answers import held_out, take_rows
from .nights import Nights, check_reads_signals, supported_modalities
from .splits import check_target, draw_seed

__all__ = ["SensorStudy"]

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
    stacklevel : int
        Of warnings.
    """

    def __init__(
        self,
        estimator,
        X,
        y,
        groups,
        *,
        cv,
        scoring,
        average,
        level,
        n_resamples,
        random_state,
        stacklevel,
    ):
        check_reads_signals(estimator)
        self.estimator = estimator
        self.nights = Nights(X)
        people = subjects_of(self.nights.X, groups, stacklevel=stacklevel + 1)
        self.y, self.classes = check_target(y, self.nights.X, estimator)
        self.prefit = isinstance(cv, str) and cv == PREFIT
        if self.prefit:
            check_is_fitted(estimator)
            self.folds = [(None, np.arange(len(self.y)))]
        else:
            classify = self.classes is not None
            self.folds = folds_by_subject(
                cv, self.y, people, classify=classify, stacklevel=stacklevel + 1
            )
        self.seed = draw_seed(random_state)
        self.draws = SubjectBootstrap(people, n_resamples, level, self.seed)
        scorers = scorers_of(scoring, self.y, estimator)
        self.scorer = PeopleScorer(scorers, self.y, self.draws, average)
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

    def score(self, X, kept: np.ndarray, *, refit: bool = False) -> Scored | None:
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
        Scored or None
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
        return fit_known_classes(self.estimator, rows, self.y[mine], self.classes)

    def warn_of_unseen(self, modalities: Sequence[str], stacklevel: int) -> None:
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
            warnings.warn(
                f"{', '.join(told)}: in no night that trains. What is trained after the encoder "
                "has never seen such tokens, and its scores on them show the encoder's alignment "
                "alone. Leave the modality out, or choose folds that have it on both sides.",
                ModalityWarning,
                stacklevel=stacklevel + 1,
            )


def _used(nights: Nights) -> set[str]:
    # a view of epochs keeps recordings that none of its rows is of
    places = getattr(nights.X, "recording_index", None)
    recordings = nights.recordings
    if places is not None:
        recordings = [recordings[place] for place in np.unique(places)]
    return {name for night in recordings for name in night.modalities}
