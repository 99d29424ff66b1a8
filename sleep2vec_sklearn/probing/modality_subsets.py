# SPDX-License-Identifier: BSD-3-Clause
"""What an estimator is worth with some of the sensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from tqdm.auto import tqdm

from .._warnings import warn
from ..errors import InvalidRecordingError, RecordingWarning
from ..evaluation._subjects import SubjectBootstrap
from ..recordings.modality import MODALITIES, list_modalities
from ..recordings.recording import Recording
from ._nights import choose_modalities
from .folds import PREFIT, SensorStudy

__all__ = [
    "ModalitySubsets",
    "modality_subset_scores",
    "non_empty_subsets",
]

SEPARATOR = " + "
_SHOWN = 4


def non_empty_subsets(modalities: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Single modalities first, all of them last.

    Examples
    --------
    >>> from sleep2vec_sklearn.probing import non_empty_subsets
    >>> [*non_empty_subsets(["eeg", "eog"])]
    [('eeg',), ('eog',), ('eeg', 'eog')]
    """
    for size in range(1, len(modalities) + 1):
        yield from combinations(modalities, size)


@dataclass(frozen=True, eq=False)
class ModalitySubsets:
    """Result of :func:`modality_subset_scores`.

    Attributes
    ----------
    summary : DataFrame
        One row per subset and metric: ``subset`` (as "eeg + ecg"), ``n_modalities``, ``score``, the
        interval ``low`` to ``high`` over test subjects, and how many ``rows`` and ``subjects`` had
        one of its sensors. NaN where nobody had.
    modalities : tuple of str
        All that are in a subset.
    average : str
        "subject" or "pooled".
    level : float
        Of the intervals.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sleep2vec_sklearn import EpochSequence, Sleep2VecTransformer, make_sleep_cohort
    >>> from sleep2vec_sklearn import modality_subset_scores
    >>> names = ["ibi", "effort"]
    >>> nights = make_sleep_cohort(4, hours=1, modalities=names, missing=0, random_state=0)
    >>> X = EpochSequence(nights)
    >>> model = make_pipeline(Sleep2VecTransformer(), LogisticRegression())
    >>> found = modality_subset_scores(model, X, X.stages > 0, cv=2, n_resamples=50)
    >>> found.by_number()[["n_modalities", "subsets"]]
       n_modalities  subsets
    0             1        2
    1             2        1
    """

    summary: object
    modalities: tuple[str, ...]
    average: str
    level: float
    _draws: SubjectBootstrap = field(repr=False)
    _replicates: dict = field(repr=False)

    def by_number(self):
        """Mean over the subsets of each size, its interval over test subjects.

        Returns
        -------
        DataFrame
            Columns n_modalities, metric, score, low, high, subsets.
        """
        import pandas as pd

        groups: dict = {}
        for (subset, metric), found in self._replicates.items():
            if np.isfinite(found[0]):
                groups.setdefault((len(subset), metric), []).append(found)
        rows = []
        for (size, metric), several in groups.items():
            low, high = self._draws.interval(np.mean([r for _, r in several], axis=0))
            mean = float(np.mean([estimate for estimate, _ in several]))
            rows.append((size, metric, mean, float(low), float(high), len(several)))
        columns = ["n_modalities", "metric", "score", "low", "high", "subsets"]
        return pd.DataFrame(rows, columns=columns)

    def differences(self, reference: str | Sequence[str]):
        """Each subset minus one of them, paired over test subjects.

        Parameters
        ----------
        reference : str or sequence of str
            "eeg + ecg", or the modalities.

        Returns
        -------
        DataFrame
            Columns subset, metric, difference, low, high.
        """
        import pandas as pd

        if isinstance(reference, str):
            reference = [name.strip() for name in reference.split("+")]
        goal = _in_order(list_modalities(reference))
        if goal not in {subset for subset, _ in self._replicates}:
            raise ValueError(f"reference={SEPARATOR.join(goal)!r} is not among the subsets scored.")
        rows = []
        for (subset, metric), (estimate, replicates) in self._replicates.items():
            base, bases = self._replicates[goal, metric]
            low, high = self._draws.interval(replicates - bases)
            name = SEPARATOR.join(subset)
            rows.append((name, metric, estimate - base, float(low), float(high)))
        return pd.DataFrame(rows, columns=["subset", "metric", "difference", "low", "high"])


def modality_subset_scores(
    estimator,
    X,
    y,
    groups=None,
    *,
    subsets=None,
    modalities=None,
    cv=PREFIT,
    refit=False,
    scoring=None,
    average="auto",
    level=0.95,
    n_resamples=1000,
    random_state=0,
    verbose=0,
) -> ModalitySubsets:
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
        Subjects; by default those that the recordings name.
    subsets : sequence of sequences of str, optional
        All non-empty ones of ``modalities`` by default.
    modalities : sequence of str, optional
        By default all that the nights have and the estimator reads.
    cv : "prefit", int, splitter or iterable, default="prefit"
        Take the estimator as it is; or fit it on all sensors of the training subjects of each fold,
        and test it on the others.
    refit : bool, default=False
        With folds, whether an estimator is fitted for each subset, on that subset: what a study
        without the other sensors would have got.
    scoring, average, level, n_resamples, random_state
        As of :func:`label_efficiency_curve`.
    verbose : int, default=0
        1 shows a progress bar.

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
        If a modality is in no night that trains.
    LeakageWarning
        If groups are missing where subjects repeat.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sleep2vec_sklearn import EpochSequence, Sleep2VecTransformer, make_sleep_cohort
    >>> from sleep2vec_sklearn import modality_subset_scores
    >>> nights = make_sleep_cohort(
    ...     4, hours=1, modalities=["ibi", "spo2"], missing=0, random_state=0
    ... )
    >>> X = EpochSequence(nights)
    >>> model = make_pipeline(Sleep2VecTransformer(), StandardScaler(), LogisticRegression())
    >>> found = modality_subset_scores(model, X, X.stages > 0, X.groups, cv=2)
    >>> found.summary[["subset", "n_modalities", "subjects"]]
           subset  n_modalities  subjects
    0        spo2             1         4
    1         ibi             1         4
    2  spo2 + ibi             2         4
    """
    study = SensorStudy(
        estimator,
        X,
        y,
        groups,
        cv=cv,
        scoring=scoring,
        average=average,
        level=level,
        n_resamples=n_resamples,
        random_state=random_state,
    )
    if refit and study.prefit:
        raise ValueError("refit=True needs folds; pass cv, e.g. cv=5, or leave it False.")
    chosen = _choose_subsets(subsets, modalities, study)
    named = _in_order({name for subset in chosen for name in subset})
    study.warn_of_unseen(named)
    rows, replicates, empty = [], {}, {}
    for subset in tqdm(chosen, desc="subsets of sensors", unit="subset", disable=not verbose):
        new_X, kept = study.nights.change(lambda night, _, s=subset: _only(night, s))
        scored = study.score(new_X, kept, refit=refit)
        lost = len(study.y) - len(kept)
        if lost:
            empty[subset] = lost
        rows += _describe(subset, scored, study, kept, replicates)
    _warn_of_empty(empty, len(study.y))
    return ModalitySubsets(
        _as_frame(rows), named, study.scorer.average, level, study.draws, replicates
    )


def _choose_subsets(subsets, modalities, study: SensorStudy) -> list[tuple[str, ...]]:
    if subsets is None:
        return list(non_empty_subsets(choose_modalities(modalities, study.nights, study.supported)))
    if isinstance(subsets, str):
        subsets = [[subsets]]
    chosen = [_in_order(list_modalities(subset)) for subset in subsets]
    if not chosen or not all(chosen):
        raise InvalidRecordingError(
            "subsets has an empty one, or none at all; each needs a modality, e.g. "
            "subsets=[['eeg'], ['eeg', 'ecg']]."
        )
    allowed = {name for subset in chosen for name in subset}
    choose_modalities(_in_order(allowed), study.nights, study.supported)
    return list(dict.fromkeys(chosen))


def _in_order(names) -> tuple[str, ...]:
    return tuple(name for name in MODALITIES if name in set(names))


def _only(night: Recording, subset: Sequence[str]) -> Recording | None:
    others = [name for name in night.modalities if name not in subset]
    if len(others) == len(night.modalities):
        return None
    return night.without(*others) if others else night


def _describe(subset, scored, study: SensorStudy, kept, replicates: dict) -> list[tuple]:
    scorer = study.scorer
    tested = np.intersect1d(kept, np.concatenate([test for _, test in study.folds]))
    counts = len(tested), len(set(study.draws.codes[tested]))
    rows = []
    for place, metric in enumerate(scorer.scorers):
        if scored is None:
            estimate, again = np.nan, np.full(len(study.draws.counts), np.nan)
        else:
            estimate, again = float(scored.estimates[place]), scored.replicates[:, place]
        replicates[subset, metric] = estimate, again
        low, high = study.draws.interval(again)
        name = SEPARATOR.join(subset)
        rows.append((name, len(subset), metric, estimate, float(low), float(high), *counts))
    return rows


def _as_frame(rows: list[tuple]):
    import pandas as pd

    columns = ["subset", "n_modalities", "metric", "score", "low", "high", "rows", "subjects"]
    return pd.DataFrame(rows, columns=columns)


def _warn_of_empty(empty: dict, n_rows: int) -> None:
    if not empty:
        return
    worst = sorted(empty.items(), key=lambda item: -item[1])
    shown = ", ".join(f"{SEPARATOR.join(s)} ({n})" for s, n in worst[:_SHOWN])
    more = f" and {len(worst) - _SHOWN} more" if len(worst) > _SHOWN else ""
    warn(
        f"{len(empty)} of the subsets leave rows without any sensor, out of {n_rows}: {shown}"
        f"{more}. These rows are not in their scores; to compare subsets on the same rows, leave "
        "out the nights that lack a sensor.",
        RecordingWarning,
    )
