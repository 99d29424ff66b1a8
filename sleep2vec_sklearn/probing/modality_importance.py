# SPDX-License-Identifier: BSD-3-Clause
"""Decrease in a score without the information of one sensor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import Bunch, _safe_indexing, check_scalar

from .._html import ShownAsTable
from .._progress import progress_bar
from .._warnings import warn
from ..errors import InvalidRecordingError, RecordingWarning
from ..evaluation._cross_validation import ResampledScores
from ..recordings.recording import Recording
from ..recordings.sources import Signal, SignalLayout
from ._sensor_study import PREFIT, Alteration, SensorStudy, alter, digest

_METHODS = ("drop", "swap", "noise")
# before a modality is altered, and in each repeat after it
_Scores = tuple[ResampledScores, list[ResampledScores]]


class ModalityImportance(ShownAsTable, Bunch):
    """Result of :func:`modality_importance`, a Bunch as scikit-learn's inspection returns it.

    Examples
    --------
    >>> import numpy as np
    >>> from sleep2vec_sklearn.probing import ModalityImportance
    >>> values = {"importances_mean": np.array([0.2]), "importances_std": np.array([0.0])}
    >>> interval = {"low": np.array([0.1]), "high": np.array([0.3])}
    >>> about = {"modalities": ("ibi",), "metric": "accuracy", "method": "drop", "baseline": 0.9}
    >>> ModalityImportance(**about, **values, **interval)
    ModalityImportance(decrease in accuracy from 0.900, method 'drop')
    modality   metric  value    sd   low  high
         ibi accuracy  0.200 0.000 0.100 0.300
    """

    def to_frame(self) -> pd.DataFrame:
        """A row per modality: modality, metric, value (decrease in it), sd, low, high."""
        columns = {"modality": list(self.modalities), "metric": self.metric}
        columns |= {"value": self.importances_mean, "sd": self.importances_std}
        return pd.DataFrame({**columns, "low": self.low, "high": self.high})

    def _headline(self) -> str:
        return (
            f"ModalityImportance(decrease in {self.metric} from {self.baseline:.3f}, "
            f"method {self.method!r})"
        )


def modality_importance(
    estimator: Any, X: Any, y: Any, groups: Any = None, *, method: str = "drop",
    modalities: Sequence[str] | None = None, noise: float = 1.0, cv: Any = PREFIT,
    scoring: Any = None, average: str = "auto", n_repeats: int = 5, level: float = 0.95,
    n_resamples: int = 1000, random_state: Any = 0, verbose: int = 0,
) -> Bunch:  # fmt: skip
    """Decrease in the score when one sensor carries no information.

    Like :func:`sklearn.inspection.permutation_importance`, with modalities for features and
    subjects for rows: the score with all sensors minus that with one of them dropped, replaced by
    another subject's, or with noise added.

    Parameters
    ----------
    estimator, X, y, groups, modalities, cv, scoring, average, level, n_resamples, verbose
        As for :func:`modality_subset_scores`.
    method : {"drop", "swap", "noise"}, default="drop"
        Dropped: left out, as if it had not been worn. Swapped: the signal of another subject's
        night, which is realistic but unrelated. Noise: white noise is added.
    noise : float, default=1.0
        Standard deviation of the noise, in those of the night's signal.
    n_repeats : int, default=5
        Draws of nights or noise; one for "drop", which is not random.
    random_state : int, RandomState or None, default=0

    Returns
    -------
    ModalityImportance, or dict of str to them if there are several metrics
        ``modalities`` : tuple of str.
        ``importances`` : ndarray of shape (n_modalities, n_repeats).
        ``importances_mean``, ``importances_std`` : ndarray of shape (n_modalities,).
        ``low``, ``high`` : confidence interval of the mean over test subjects, paired.
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
        If nights have one sensor alone, which cannot be dropped; their rows are left out of its
        scores with and without.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sleep2vec_sklearn import EpochSequence, Sleep2VecTransformer, make_sleep_cohort
    >>> from sleep2vec_sklearn import modality_importance
    >>> names = ["ibi", "spo2"]
    >>> nights = make_sleep_cohort(4, hours=1, modalities=names, missing=0, random_state=0)
    >>> X = EpochSequence(nights)
    >>> model = make_pipeline(Sleep2VecTransformer(), LogisticRegression(max_iter=500))
    >>> result = modality_importance(model, X, X.stages > 0, X.groups, cv=2, method="swap")
    >>> result.modalities, result.importances.shape
    (('spo2', 'ibi'), (2, 5))
    """
    if method not in _METHODS:
        raise ValueError(f"method must be 'drop', 'swap' or 'noise'; got {method!r}.")
    check_scalar(n_repeats, "n_repeats", Integral, min_val=1)
    check_scalar(noise, "noise", Real, min_val=0, include_boundaries="neither")
    study = SensorStudy(
        estimator, X, y, groups, cv, scoring, average, level, n_resamples, random_state
    )
    chosen = study.choose_modalities(modalities)
    intact = study.score_intact()
    names = progress_bar(verbose, chosen, desc="importance of sensors", unit="sensor")
    if method == "drop":
        scores = _drop_each(study, names, intact)
    else:
        scores = []
        for index, name in enumerate(names):
            rng = np.random.default_rng([study.seed, index])
            altered = [_alter_nights(study, name, method, noise, rng) for _ in range(n_repeats)]
            scores.append((intact, [study.score(*nights) for nights in altered]))
    results = {}
    for column, metric in enumerate(study.scorer.scorers):
        baseline, decreases = float(intact.estimates[column]), _decreases(scores, column, study)
        settings = {"baseline": baseline, "method": method, "metric": metric}
        results[metric] = ModalityImportance(modalities=chosen, **decreases, **settings)
    return results if len(results) > 1 else next(iter(results.values()))


def _decreases(scores: list[_Scores], column: int, study: SensorStudy) -> dict:
    """Importances in one metric, from the scores before and after each modality is altered."""
    decreases, replicates = [], []
    for before, after in scores:
        decreases.append([before.estimates[column] - s.estimates[column] for s in after])
        mean = np.mean([s.replicates[:, column] for s in after], axis=0)
        replicates.append(before.replicates[:, column] - mean)
    importances = np.array(decreases)
    mean, std = importances.mean(axis=1), importances.std(axis=1)
    low, high = study.draws.interval(np.transpose(replicates))
    values = {"importances": importances, "importances_mean": mean, "importances_std": std}
    return values | {"low": low, "high": high}


def _without(night: Recording, name: str) -> Recording | None:
    if name not in night.modalities:
        return night
    return night.without(name) if len(night.modalities) > 1 else None


def _drop_each(study: SensorStudy, names: Iterable[str], intact: ResampledScores) -> list[_Scores]:
    """Scores with and without each modality, on the rows that have another."""
    scores, n_alone = [], {}
    for name in names:
        X, rows = study.nights.replace(lambda night, _, n=name: _without(night, n))
        if not len(rows):
            raise InvalidRecordingError(
                f"{name!r} is the only modality of every night, so nothing is left without it. "
                "Try method='swap'."
            )
        before = intact
        if len(rows) < len(study.y):
            n_alone[name] = len(study.y) - len(rows)
            before = study.score(_safe_indexing(study.nights.X, rows), rows)
        scores.append((before, [study.score(X, rows)]))
    if n_alone:
        listed = ", ".join(f"{name} ({n})" for name, n in n_alone.items())
        warn(
            f"rows of nights with one sensor alone, which cannot be dropped: {listed}. They are "
            "left out of the scores with and without it.",
            RecordingWarning,
        )
    return scores


def _alter_nights(
    study: SensorStudy, name: str, method: str, noise: float, rng: np.random.Generator
) -> tuple:
    nights = study.nights.recordings
    if method == "noise":
        seeds = rng.integers(2**31, size=len(nights))
        return study.nights.replace(
            lambda night, index: alter(night, {name: AdditiveNoise(noise, int(seeds[index]))})
        )
    donors = _draw_donors(nights, name, rng)
    return study.nights.replace(
        lambda night, index: alter(night, {name: donors[index]} if index in donors else {})
    )


def _draw_donors(
    nights: Sequence[Recording], name: str, rng: np.random.Generator
) -> dict[int, SwappedSignal]:
    """For each night with the modality, the signal of another subject's."""
    wearing = [index for index, night in enumerate(nights) if name in night.modalities]
    subjects = {
        index: index if nights[index].subject is None else nights[index].subject
        for index in wearing
    }
    if len({str(subject) for subject in subjects.values()}) < 2:
        raise InvalidRecordingError(
            f"{name!r} is in the nights of one subject alone, so there is no other to swap it "
            "with. Add subjects, or try method='drop'."
        )
    donors = {}
    for index in wearing:
        others = [other for other in wearing if subjects[other] != subjects[index]]
        donors[index] = SwappedSignal(nights[int(rng.choice(others))])
    return donors


@dataclass(frozen=True, eq=False)
class AdditiveNoise(Alteration):
    """White Gaussian noise; ``scale`` is in standard deviations of the night's signal."""

    scale: float
    seed: int

    def apply(self, night: Recording, name: str) -> Signal:
        signal = night.signal(name)
        finite = signal.values[np.isfinite(signal.values)]
        sd = self.scale * float(finite.std(dtype=float)) if len(finite) else 0.0
        noise = np.random.default_rng(self.seed).standard_normal(len(signal.values), np.float32)
        return Signal(signal.values + np.float32(sd) * noise, signal.rate, signal.unit)

    def fingerprint(self, night: Recording, name: str) -> str:
        return digest("noise", night.signal_fingerprint(name), self.scale, self.seed)


@dataclass(frozen=True, eq=False)
class SwappedSignal(Alteration):
    """The same sensor in another night, which ends where that one ends."""

    donor: Recording

    def apply(self, night: Recording, name: str) -> Signal:
        return self.donor.signal(name)

    def fingerprint(self, night: Recording, name: str) -> str:
        # the donor's own, so that its cached tokens are used where both nights are as long
        return self.donor.signal_fingerprint(name)

    def layout(self, night: Recording, name: str) -> SignalLayout:
        return super().layout(self.donor, name)
