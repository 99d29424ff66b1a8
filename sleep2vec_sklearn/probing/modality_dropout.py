# SPDX-License-Identifier: BSD-3-Clause
"""What an estimator is worth when sensors fail during the night, or before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tqdm.auto import tqdm

from ..recordings.recording import Recording
from ._nights import EpochsOff, alter, choose_modalities
from .folds import PREFIT, SensorStudy

__all__ = [
    "ModalityDropout",
    "draw_loss",
    "modality_dropout_curve",
]

PATTERNS = ("night", "epoch", "block")


@dataclass(frozen=True, eq=False)
class ModalityDropout:
    """Result of :func:`modality_dropout_curve`.

    Attributes
    ----------
    summary : DataFrame
        One row per pattern, fraction and metric: ``lost``, the share of the sensors' epochs that
        was in fact lost; ``score``, the interval ``low`` to ``high`` over test subjects, and
        ``sd``, the spread over the draws of losses, NaN of one.
    modalities : tuple of str
        Sensors that fail.
    average : str
        "subject" or "pooled".
    level : float
        Of the intervals.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sleep2vec_sklearn import EpochSequence, Sleep2VecTransformer, make_sleep_cohort
    >>> from sleep2vec_sklearn.probing import modality_dropout_curve
    >>> names = ["ibi", "effort"]
    >>> nights = make_sleep_cohort(2, hours=1, modalities=names, missing=0, random_state=0)
    >>> X = EpochSequence(nights)
    >>> model = make_pipeline(Sleep2VecTransformer(), LogisticRegression()).fit(X, X.stages > 0)
    >>> found = modality_dropout_curve(model, X, X.stages > 0, fractions=[0, 0.5], n_repeats=1)
    >>> found.modalities, found.average
    (('effort', 'ibi'), 'subject')
    """

    summary: object
    modalities: tuple[str, ...]
    average: str
    level: float


def draw_loss(n_epochs: int, fraction: float, pattern: str, rng: np.random.Generator) -> np.ndarray:
    """Draw the epochs in which a sensor is off.

    From equal generators, what is lost at a fraction is lost at all higher ones.

    Parameters
    ----------
    n_epochs : int
    fraction : float
        From 0 to below 1.
    pattern : {"epoch", "block"}
        Each epoch by its own chance; or one stretch of them.
    rng : Generator

    Returns
    -------
    bool ndarray of shape (n_epochs,)
        At least one is False.

    Examples
    --------
    >>> import numpy as np
    >>> from sleep2vec_sklearn.probing import draw_loss
    >>> draw_loss(8, 0.5, "block", np.random.default_rng(0)).astype(int)
    array([0, 0, 0, 1, 1, 1, 1, 0])
    """
    if pattern == "epoch":
        chance = rng.random(n_epochs)
        lost = chance < fraction
        lost[chance.argmax()] = False
        return lost
    length = min(round(fraction * n_epochs), n_epochs - 1)
    start = round(rng.random() * (n_epochs - length))
    places = np.arange(n_epochs)
    return (places >= start) & (places < start + length)


def modality_dropout_curve(
    estimator,
    X,
    y,
    groups=None,
    *,
    fractions=(0.0, 0.1, 0.2, 0.4, 0.6, 0.8),
    patterns=PATTERNS,
    modalities=None,
    together=False,
    cv=PREFIT,
    scoring=None,
    average="auto",
    n_repeats=3,
    level=0.95,
    n_resamples=1000,
    random_state=0,
    verbose=0,
) -> ModalityDropout:
    """Score an estimator while sensors are lost at test time.

    Parameters
    ----------
    estimator, X, y, groups, cv, scoring, average, level, n_resamples
        See :func:`modality_subset_scores`.
    fractions : sequence of float
        Shares that are lost: chances from 0 to 1 that a sensor is missing from a night, or shares
        from 0 to below 1 of its epochs.
    patterns : sequence of {"night", "epoch", "block"}
        A sensor is missing from whole nights; for single epochs at random, as with a loose contact;
        or for one stretch of the night, as when it falls off. A night never loses its last sensor,
        nor a sensor all epochs.
    modalities : sequence of str, optional
        Sensors that fail; by default all that the nights have and the estimator reads.
    together : bool, default=False
        Whether the sensors of a night are lost at the same time. By default each has its own
        chance. Whole nights are always lost one by one.
    n_repeats : int, default=3
        Draws. Losses grow: what one draw loses at a fraction, it loses at higher ones too.
    random_state : int, RandomState or None, default=0
    verbose : int, default=0
        1 shows a progress bar.

    Returns
    -------
    ModalityDropout

    Raises
    ------
    ValueError
        If a parameter is not one of those accepted.
    InvalidRecordingError
        If no night has a modality, or the estimator does not read it.

    Notes
    -----
    Whole sensors that are lost cost no encoding. Signals with gaps are other signals: each is
    encoded, once per pattern, fraction and repeat.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sleep2vec_sklearn import EpochSequence, Sleep2VecTransformer, make_sleep_cohort
    >>> from sleep2vec_sklearn.probing import modality_dropout_curve
    >>> nights = make_sleep_cohort(
    ...     4, hours=1, modalities=["ibi", "spo2"], missing=0, random_state=0
    ... )
    >>> X = EpochSequence(nights)
    >>> model = make_pipeline(Sleep2VecTransformer(), StandardScaler(), LogisticRegression())
    >>> curve = modality_dropout_curve(
    ...     model, X, X.stages > 0, X.groups, cv=2, fractions=[0, 0.5], n_repeats=1
    ... )
    >>> curve.summary[["pattern", "fraction", "lost"]].round(1)
      pattern  fraction  lost
    0   night       0.0   0.0
    1   night       0.5   0.4
    2   epoch       0.0   0.0
    3   epoch       0.5   0.5
    4   block       0.0   0.0
    5   block       0.5   0.5
    """
    fractions, patterns = _check_plan(fractions, patterns, n_repeats)
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
    whole = study.score(study.nights.X, np.arange(len(study.y)))
    jobs = [
        (pattern, fraction, repeat)
        for pattern in patterns
        for fraction in fractions
        for repeat in range(n_repeats if fraction else 1)
    ]
    found: dict = {}
    for pattern, fraction, repeat in tqdm(
        jobs, desc="losing sensors", unit="draw", disable=not verbose
    ):
        losses = _Losses(pattern, fraction, chosen, together, [study.seed, repeat])
        scored = whole
        if fraction:
            scored = study.score(*study.nights.change(losses.lose))
        found.setdefault((pattern, fraction), []).append((scored, losses.share))
    return ModalityDropout(_summarise(found, study), chosen, study.scorer.average, level)


def _check_plan(fractions, patterns, n_repeats: int) -> tuple[list[float], list[str]]:
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    unknown = [pattern for pattern in patterns if pattern not in PATTERNS]
    if unknown or not patterns:
        raise ValueError(f"patterns must be some of {', '.join(PATTERNS)}; got {patterns!r}.")
    fractions = sorted({float(fraction) for fraction in np.atleast_1d(fractions)})
    highest_accepted = 1.0 if patterns == ["night"] else np.nextafter(1.0, 0.0)
    if not fractions or not all(0 <= fraction <= highest_accepted for fraction in fractions):
        raise ValueError(
            f"fractions must be from 0 to below 1 (1 too where the pattern is 'night' alone); got "
            f"{fractions}."
        )
    if n_repeats < 1:
        raise ValueError(f"n_repeats must be at least 1, got {n_repeats!r}.")
    return fractions, patterns


class _Losses:
    """Draws what each night loses, and counts it."""

    def __init__(self, pattern: str, fraction: float, modalities: Sequence[str], together, seed):
        self._pattern, self._fraction = pattern, fraction
        self._modalities, self._together, self._seed = modalities, together, seed
        self._n_lost = self._n_epochs = 0

    @property
    def share(self) -> float:
        """Epochs of sensors lost, among those that could have been."""
        return self._n_lost / self._n_epochs if self._n_epochs else 0.0

    def lose(self, night: Recording, place: int) -> Recording:
        failing = [name for name in self._modalities if name in night.modalities]
        self._n_epochs += night.n_epochs * len(failing)
        if self._pattern == "night":
            return self._lose_sensors(night, place, failing)
        changes = {}
        for number, name in enumerate(failing):
            stream = 0 if self._together else number
            rng = np.random.default_rng([*self._seed, place, stream])
            lost = draw_loss(night.n_epochs, self._fraction, self._pattern, rng)
            self._n_lost += int(lost.sum())
            changes[name] = EpochsOff(lost)
        return alter(night, changes)

    def _lose_sensors(self, night: Recording, place: int, failing: list[str]) -> Recording:
        chance = np.random.default_rng([*self._seed, place]).random(len(failing))
        lost = [name for name, c in zip(failing, chance, strict=True) if c < self._fraction]
        if len(lost) == len(night.modalities):
            lost.remove(failing[int(chance.argmax())])
        self._n_lost += night.n_epochs * len(lost)
        return night.without(*lost) if lost else night


def _summarise(found: dict, study: SensorStudy):
    import pandas as pd

    rows = []
    for (pattern, fraction), several in found.items():
        mean = study.scorer.average_of([scored for scored, _ in several])
        lost = float(np.mean([share for _, share in several]))
        low, high = study.draws.interval(mean.replicates)
        spread = study.scorer.spread_of([scored for scored, _ in several])
        for k, metric in enumerate(study.scorer.scorers):
            numbers = (mean.estimates[k], low[k], high[k], spread[k])
            rows.append((pattern, fraction, metric, lost, *map(float, numbers)))
    columns = ["pattern", "fraction", "metric", "lost", "score", "low", "high", "sd"]
    return pd.DataFrame(rows, columns=columns)
