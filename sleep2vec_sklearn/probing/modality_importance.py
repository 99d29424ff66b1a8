# SPDX-License-Identifier: BSD-3-Clause
"""How much of a score hangs on each sensor."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from sklearn.utils import Bunch
from tqdm.auto import tqdm

from .._warnings import warn
from ..errors import InvalidRecordingError, RecordingWarning
from ..evaluation._cross_validation import ResampledScores
from ._nights import AddedNoise, OfAnotherNight, alter, choose_modalities
from .folds import PREFIT, SensorStudy, take_rows

__all__ = [
    "modality_importance",
]

_METHODS = ("drop", "swap", "noise")


def modality_importance(
    estimator,
    X,
    y,
    groups=None,
    *,
    method="drop",
    modalities=None,
    noise=1.0,
    cv=PREFIT,
    scoring=None,
    average="auto",
    n_repeats=5,
    level=0.95,
    n_resamples=1000,
    random_state=0,
    verbose=0,
) -> Bunch:
    """Fall of the score when one sensor tells nothing.

    Like :func:`sklearn.inspection.permutation_importance`, with modalities for features and people
    for rows: what is lost is the score with all sensors minus that with one of them dropped, taken
    from another person's night, or drowned in noise.

    Parameters
    ----------
    estimator, X, y, groups, modalities, cv, scoring, average, level, n_resamples
        See :func:`modality_subset_scores`.
    method : {"drop", "swap", "noise"}, default="drop"
        Dropped: left out, as if it had not been worn. Swapped: the signal of another subject's
        night, which looks as it should and means nothing. Noise: white noise is added.
    noise : float, default=1.0
        Standard deviation of the noise, in those of the night's signal.
    n_repeats : int, default=5
        Draws of nights or noise; one for "drop", in which there is no chance.
    random_state : int, RandomState or None, default=0
    verbose : int, default=0
        1 shows a progress bar.

    Returns
    -------
    Bunch, or dict of str to Bunch where there are several metrics
        ``modalities`` : tuple of str.
        ``importances`` : ndarray of shape (n_modalities, n_repeats).
        ``importances_mean``, ``importances_std`` : ndarray of shape (n_modalities,).
        ``low``, ``high`` : interval of the mean over test subjects, paired.
        ``baseline`` : score with all sensors. ``method``, ``metric`` : str.

    Raises
    ------
    ValueError
        If a parameter is not one of those accepted.
    InvalidRecordingError
        If a modality is in no night, is the only one of all of them, or, to be swapped, in the
        nights of one subject alone.

    Warns
    -----
    RecordingWarning
        If nights have one sensor alone, which cannot be dropped; their rows are left out for it,
        with and without.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sleep2vec_sklearn import EpochSequence, Sleep2VecTransformer, make_sleep_cohort
    >>> from sleep2vec_sklearn import modality_importance
    >>> nights = make_sleep_cohort(
    ...     4, hours=1, modalities=["ibi", "spo2"], missing=0, random_state=0
    ... )
    >>> X = EpochSequence(nights)
    >>> model = make_pipeline(Sleep2VecTransformer(), StandardScaler(), LogisticRegression())
    >>> found = modality_importance(model, X, X.stages > 0, X.groups, cv=2, method="swap")
    >>> found.modalities, found.importances.shape
    (('spo2', 'ibi'), (2, 5))
    """
    if method not in _METHODS:
        listed = ", ".join(map(repr, _METHODS))
        raise ValueError(f"method must be one of {listed}; got {method!r}.")
    if n_repeats < 1 or noise <= 0:
        raise ValueError(
            f"n_repeats must be at least 1 and noise above 0; got {n_repeats!r} and {noise!r}."
        )
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
    chosen = choose_modalities(modalities, study.nights, study.supported)
    everything = np.arange(len(study.y))
    whole = study.score(study.nights.X, everything)
    names = tqdm(chosen, desc="importance of sensors", unit="sensor", disable=not verbose)
    if method == "drop":
        falls = _drop_each(study, names, whole)
    else:
        falls = []
        for place, name in enumerate(names):
            rng = np.random.default_rng([study.seed, place])
            changed = [_alter_nights(study, name, method, noise, rng) for _ in range(n_repeats)]
            falls.append((whole, [study.score(*one) for one in changed]))
    found = {
        metric: _as_bunch(study, chosen, falls, number, metric, method, whole)
        for number, metric in enumerate(study.scorer.scorers)
    }
    return found if len(found) > 1 else next(iter(found.values()))


def _without(night, name: str):
    if name not in night.modalities:
        return night
    return night.without(name) if len(night.modalities) > 1 else None


def _drop_each(study: SensorStudy, names: Iterable[str], whole: ResampledScores) -> list[tuple]:
    """Scores with and without each modality, on the rows that have another."""
    falls, alone = [], {}
    for name in names:
        X_less, kept = study.nights.change(lambda night, _, n=name: _without(night, n))
        if not len(kept):
            raise InvalidRecordingError(
                f"{name!r} is the only modality of every night, so nothing is left without it. "
                "Try method='swap'."
            )
        base = whole
        if len(kept) < len(study.y):
            alone[name] = len(study.y) - len(kept)
            base = study.score(take_rows(study.nights.X, kept), kept)
        falls.append((base, [study.score(X_less, kept)]))
    if alone:
        told = ", ".join(f"{name} ({n})" for name, n in alone.items())
        warn(
            f"rows of nights with one sensor alone, which cannot be dropped: {told}. They are left "
            "out of the scores with and without it.",
            RecordingWarning,
        )
    return falls


def _alter_nights(study: SensorStudy, name: str, method: str, noise: float, rng):
    nights = study.nights.recordings
    if method == "noise":
        seeds = rng.integers(2**31, size=len(nights))
        return study.nights.change(
            lambda night, k: alter(night, {name: AddedNoise(noise, int(seeds[k]))})
        )
    donors = [k for k, night in enumerate(nights) if name in night.modalities]
    people = [nights[k].subject if nights[k].subject is not None else k for k in donors]
    if len({str(person) for person in people}) < 2:
        raise InvalidRecordingError(
            f"{name!r} is in the nights of one subject alone, so there is no other to swap it "
            "with. Add people, or try method='drop'."
        )
    donor_of = {}
    for k, person in zip(donors, people, strict=True):
        others = [d for d, other in zip(donors, people, strict=True) if other != person]
        donor_of[k] = nights[int(rng.choice(others))]

    def swap(night, k: int):
        return alter(night, {name: OfAnotherNight(donor_of[k])}) if k in donor_of else night

    return study.nights.change(swap)


def _as_bunch(study, chosen, falls, number: int, metric: str, method: str, whole) -> Bunch:
    importances = np.array(
        [[base.estimates[number] - s.estimates[number] for s in again] for base, again in falls]
    )
    replicates = np.array(
        [
            base.replicates[:, number] - np.mean([s.replicates[:, number] for s in again], axis=0)
            for base, again in falls
        ]
    )
    low, high = study.draws.interval(replicates.T)
    return Bunch(
        modalities=chosen,
        importances=importances,
        importances_mean=importances.mean(axis=1),
        importances_std=importances.std(axis=1),
        low=low,
        high=high,
        baseline=float(whole.estimates[number]),
        method=method,
        metric=metric,
    )
