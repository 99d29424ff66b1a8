# SPDX-License-Identifier: BSD-3-Clause
"""Scores of an estimator on subsets of the sensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from .._progress import progress_bar
from .._warnings import warn
from ..errors import InvalidRecordingError, RecordingWarning
from ..evaluation._subjects import SubjectBootstrap
from ..recordings.modality import list_modalities
from ..recordings.recording import Recording
from ._sensor_study import (
    PREFIT,
    SensorStudy,
    StudyResult,
    in_catalogue_order,
    paired_differences,
    summarise,
)

SEPARATOR = " + "
_SUBSETS_LISTED = 4


def non_empty_subsets(modalities: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Subsets of modalities: single ones first, all of them last.

    Examples
    --------
    >>> from sleep2vec_sklearn.probing import non_empty_subsets
    >>> [*non_empty_subsets(["eeg", "eog"])]
    [('eeg',), ('eog',), ('eeg', 'eog')]
    """
    for size in range(1, len(modalities) + 1):
        yield from combinations(modalities, size)


@dataclass(frozen=True, eq=False, repr=False)
class ModalitySubsets(StudyResult):
    """Result of :func:`modality_subset_scores`.

    Attributes
    ----------
    summary : DataFrame
        One row per subset and metric: ``subset`` (as "eeg + ecg"), ``n_modalities``, ``score``, its
        confidence interval over test subjects, ``low`` to ``high``, and the numbers of ``rows`` and
        ``subjects`` that have one of its sensors. NaN if there are none.
    modalities : tuple of str
        All that are in a subset.
    average : {"subject", "pooled"}
    level : float
        Confidence level of the intervals.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sleep2vec_sklearn import EpochSequence, Sleep2VecTransformer, make_sleep_cohort
    >>> from sleep2vec_sklearn import modality_subset_scores
    >>> cohort = {"modalities": ["ibi", "effort"], "missing": 0, "random_state": 0}
    >>> X = EpochSequence(make_sleep_cohort(4, hours=1, **cohort))
    >>> model = make_pipeline(Sleep2VecTransformer(), LogisticRegression())
    >>> result = modality_subset_scores(model, X, X.stages > 0, cv=2, n_resamples=50)
    >>> result.by_number()["subsets"].tolist()
    [2, 1]
    """

    summary: pd.DataFrame
    modalities: tuple[str, ...]
    average: str
    level: float
    _draws: SubjectBootstrap = field(repr=False)
    _replicates: dict[tuple[tuple[str, ...], str], tuple] = field(repr=False)

    def by_number(self) -> pd.DataFrame:
        """Mean over the subsets of each size, with its confidence interval over test subjects."""
        groups: dict[tuple[int, str], list[tuple]] = {}
        for (subset, metric), (estimate, resampled) in self._replicates.items():
            if np.isfinite(estimate):
                groups.setdefault((len(subset), metric), []).append((estimate, resampled))
        rows = []
        for key, scores in groups.items():
            estimates, resampled = zip(*scores, strict=True)
            low, high = self._draws.interval(np.mean(resampled, axis=0))
            rows.append((*key, float(np.mean(estimates)), float(low), float(high), len(scores)))
        columns = ["n_modalities", "metric", "score", "low", "high", "subsets"]
        return pd.DataFrame(rows, columns=columns)

    def differences(self, reference: str | Sequence[str]) -> pd.DataFrame:
        """Each subset minus one of them, paired over test subjects.

        Parameters
        ----------
        reference : str or sequence of str
            "eeg + ecg", or the modalities.
        """
        if isinstance(reference, str):
            reference = [name.strip() for name in reference.split("+")]
        base = in_catalogue_order(list_modalities(reference))
        if base not in {subset for subset, _ in self._replicates}:
            raise ValueError(f"reference={SEPARATOR.join(base)!r} is not among the subsets scored.")
        differences = paired_differences(self._draws, self._replicates, (base,))
        rows = [(SEPARATOR.join(subset), *values) for subset, *values in differences]
        return pd.DataFrame(rows, columns=["subset", "metric", "difference", "low", "high"])


def modality_subset_scores(
    estimator: Any, X: Any, y: Any, groups: Any = None, *,
    subsets: Sequence[Sequence[str]] | None = None, modalities: Sequence[str] | None = None,
    cv: Any = PREFIT, refit: bool = False, scoring: Any = None, average: str = "auto",
    level: float = 0.95, n_resamples: int = 1000, random_state: Any = 0, verbose: int = 0,
) -> ModalitySubsets:  # fmt: skip
    """Score an estimator when only some sensors are there at test time.

    Sensors are taken away with :meth:`Recording.without`, which changes no token of the others:
    all 511 subsets of nine modalities cost nine encodes per night, kept in the estimator's cache.

    Parameters
    ----------
    estimator : estimator
        A fitted one, with ``cv="prefit"``; usually a pipeline with a Sleep2VecTransformer.
    X : list of Recording, list of lists of them, or EpochSequence
    y : array-like of shape (n_rows,)
    groups : array-like of shape (n_rows,), optional
        Subjects; by default those of the recordings.
    subsets : sequence of sequences of str, optional
        All non-empty ones of ``modalities`` by default.
    modalities : sequence of str, optional
        By default all that the nights have and the estimator reads.
    cv : "prefit", int, splitter or iterable, default="prefit"
        Use the estimator as it is; or fit it on all sensors of the training subjects of each fold,
        and test it on the others.
    refit : bool, default=False
        With folds, whether an estimator is fitted for each subset, on that subset: what a study
        without the other sensors would have got.
    scoring, average, level, n_resamples, random_state, verbose
        As for :func:`label_efficiency_curve`.

    Returns
    -------
    ModalitySubsets

    Raises
    ------
    UnknownModalityError
        If a name is not in the catalogue.
    InvalidRecordingError
        If no night has a modality, or the estimator does not read it.
    TypeError
        If the estimator looks rows up instead of reading signals.

    Warns
    -----
    RecordingWarning
        If a subset leaves nights without any sensor; their rows are not in its score.
    ModalityWarning
        If a modality is in no training night.
    LeakageWarning
        If groups are missing where subjects repeat.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sleep2vec_sklearn import EpochSequence, Sleep2VecTransformer, make_sleep_cohort
    >>> from sleep2vec_sklearn import modality_subset_scores
    >>> names = ["ibi", "spo2"]
    >>> nights = make_sleep_cohort(4, hours=1, modalities=names, missing=0, random_state=0)
    >>> X = EpochSequence(nights)
    >>> model = make_pipeline(Sleep2VecTransformer(), LogisticRegression(max_iter=500))
    >>> scores = modality_subset_scores(model, X, X.stages > 0, X.groups, cv=2)
    >>> scores.summary[["subset", "n_modalities", "subjects"]]
           subset  n_modalities  subjects
    0        spo2             1         4
    1         ibi             1         4
    2  spo2 + ibi             2         4
    """
    study = SensorStudy(
        estimator, X, y, groups, cv, scoring, average, level, n_resamples, random_state
    )
    if refit and study.prefit:
        raise ValueError("refit=True needs folds; pass cv, e.g. cv=5, or leave it False.")
    chosen = _choose_subsets(subsets, modalities, study)
    names = in_catalogue_order(name for subset in chosen for name in subset)
    study.warn_of_untrained(names)
    all_tested = np.concatenate([test for _, test in study.folds])
    summary, replicates, n_empty = [], {}, {}
    for subset in progress_bar(verbose, chosen, desc="subsets of sensors", unit="subset"):
        altered, rows = study.nights.replace(lambda night, _, s=subset: _keep_only(night, s))
        scores = [study.score(altered, rows, refit=refit)]
        tested = np.intersect1d(rows, all_tested)
        counts = len(tested), len(set(study.draws.codes[tested]))
        for metric, (*values, _), resampled in summarise(study.scorer, scores):
            summary.append((SEPARATOR.join(subset), len(subset), metric, *values, *counts))
            replicates[subset, metric] = resampled
        if len(rows) < len(study.y):
            n_empty[subset] = len(study.y) - len(rows)
    _warn_of_empty(n_empty, len(study.y))
    columns = ["subset", "n_modalities", "metric", "score", "low", "high", "rows", "subjects"]
    table = pd.DataFrame(summary, columns=columns)
    return ModalitySubsets(table, names, study.scorer.average, level, study.draws, replicates)


def _choose_subsets(
    subsets: Any, modalities: Sequence[str] | None, study: SensorStudy
) -> list[tuple[str, ...]]:
    if subsets is None:
        return list(non_empty_subsets(study.choose_modalities(modalities)))
    if isinstance(subsets, str):
        subsets = [[subsets]]
    chosen = [in_catalogue_order(list_modalities(subset)) for subset in subsets]
    if not chosen or not all(chosen):
        raise InvalidRecordingError(
            "subsets has an empty one, or none at all; each needs a modality, e.g. "
            "subsets=[['eeg'], ['eeg', 'ecg']]."
        )
    study.choose_modalities(in_catalogue_order(name for subset in chosen for name in subset))
    return list(dict.fromkeys(chosen))


def _keep_only(night: Recording, subset: Sequence[str]) -> Recording | None:
    others = [name for name in night.modalities if name not in subset]
    if len(others) == len(night.modalities):
        return None
    return night.without(*others) if others else night


def _warn_of_empty(n_empty: Mapping[tuple[str, ...], int], n_rows: int) -> None:
    if not n_empty:
        return
    worst = sorted(n_empty.items(), key=lambda item: -item[1])
    listed = ", ".join(f"{SEPARATOR.join(s)} ({n})" for s, n in worst[:_SUBSETS_LISTED])
    if len(worst) > _SUBSETS_LISTED:
        listed += f" and {len(worst) - _SUBSETS_LISTED} more"
    warn(
        f"{len(n_empty)} of the subsets leave rows without any sensor, out of {n_rows}: {listed}. "
        "These rows are not in their scores; to compare subsets on the same rows, leave out the "
        "nights that lack a sensor.",
        RecordingWarning,
    )
