# SPDX-License-Identifier: BSD-3-Clause
"""Scores of an estimator against the share of sensors lost at test time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import check_scalar

from .._progress import progress_bar
from ..recordings.modality import EPOCH_SECONDS
from ..recordings.recording import Recording
from ..recordings.sources import Signal
from ._sensor_study import PREFIT, Alteration, SensorStudy, StudyResult, alter, digest, summarise

PATTERNS = ("night", "epoch", "block")


@dataclass(frozen=True, eq=False, repr=False)
class ModalityDropout(StudyResult):
    """Result of :func:`modality_dropout_curve`.

    Attributes
    ----------
    summary : DataFrame
        One row per pattern, fraction and metric: ``lost``, the share of the sensors' epochs that
        was in fact lost; ``score``, its confidence interval over test subjects, ``low`` to
        ``high``, and ``sd``, the standard deviation over the draws of losses, NaN for one draw.
    modalities : tuple of str
        Sensors that fail.
    average : {"subject", "pooled"}
    level : float
        Confidence level of the intervals.

    Examples
    --------
    >>> import pandas as pd
    >>> from sleep2vec_sklearn.probing import ModalityDropout
    >>> summary = pd.DataFrame({"pattern": "night", "fraction": [0, 0.5], "score": [0.8, 0.6]})
    >>> ModalityDropout(summary, ("effort", "ibi"), "subject", 0.95).summary["score"].tolist()
    [0.8, 0.6]
    """

    summary: pd.DataFrame
    modalities: tuple[str, ...]
    average: str
    level: float


def draw_loss(n_epochs: int, fraction: float, pattern: str, rng: np.random.Generator) -> np.ndarray:
    """Draw the epochs in which a sensor is off.

    With equal generators, what is lost at a fraction is lost at all higher ones.

    Parameters
    ----------
    n_epochs : int
    fraction : float
        From 0 to below 1.
    pattern : {"epoch", "block"}
        Each epoch independently, or one run of epochs.
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
    epochs = np.arange(n_epochs)
    return (epochs >= start) & (epochs < start + length)


def modality_dropout_curve(
    estimator: Any, X: Any, y: Any, groups: Any = None, *,
    fractions: float | Sequence[float] = (0.0, 0.1, 0.2, 0.4, 0.6, 0.8),
    patterns: str | Sequence[str] = PATTERNS, modalities: Sequence[str] | None = None,
    together: bool = False, cv: Any = PREFIT, scoring: Any = None, average: str = "auto",
    n_repeats: int = 3, level: float = 0.95, n_resamples: int = 1000, random_state: Any = 0,
    verbose: int = 0,
) -> ModalityDropout:  # fmt: skip
    """Score an estimator while sensors are lost at test time.

    Parameters
    ----------
    estimator, X, y, groups, cv, scoring, average, level, n_resamples, random_state, verbose
        As for :func:`modality_subset_scores`.
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
    Losing whole sensors costs no encoding. Signals with gaps are other signals: each is encoded,
    once per pattern, fraction and repeat.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sleep2vec_sklearn import EpochSequence, Sleep2VecTransformer, make_sleep_cohort
    >>> from sleep2vec_sklearn.probing import modality_dropout_curve
    >>> names = ["ibi", "spo2"]
    >>> nights = make_sleep_cohort(4, hours=1, modalities=names, missing=0, random_state=0)
    >>> X = EpochSequence(nights)
    >>> model = make_pipeline(Sleep2VecTransformer(), LogisticRegression(max_iter=500))
    >>> curve = modality_dropout_curve(
    ...     model, X, X.stages > 0, X.groups, cv=2, fractions=[0, 0.5], n_repeats=1
    ... )
    >>> curve.summary.pivot(index="pattern", columns="fraction", values="lost").round(1)
    fraction  0.0  0.5
    pattern
    block     0.0  0.5
    epoch     0.0  0.5
    night     0.0  0.4
    """
    patterns, fractions = _check_plan(patterns, fractions)
    check_scalar(n_repeats, "n_repeats", Integral, min_val=1)
    study = SensorStudy(
        estimator, X, y, groups, cv, scoring, average, level, n_resamples, random_state
    )
    chosen = study.choose_modalities(modalities)
    intact = study.score_intact()
    rows = []
    plan = [(pattern, fraction) for pattern in patterns for fraction in fractions]
    n_draws = sum(n_repeats if fraction else 1 for _, fraction in plan)
    with progress_bar(verbose, total=n_draws, desc="losing sensors", unit="draw") as bar:
        for pattern, fraction in plan:
            scores, shares = [], []
            for repeat in range(n_repeats if fraction else 1):
                losses = _Losses(pattern, fraction, chosen, together, (study.seed, repeat))
                altered = study.nights.replace(losses.apply) if fraction else None
                scores.append(study.score(*altered) if altered else intact)
                shares.append(losses.share)
                bar.update()
            lost = float(np.mean(shares))
            for metric, values, _ in summarise(study.scorer, scores):
                rows.append((pattern, fraction, metric, lost, *values))
    columns = ["pattern", "fraction", "metric", "lost", "score", "low", "high", "sd"]
    table = pd.DataFrame(rows, columns=columns)
    return ModalityDropout(table, chosen, study.scorer.average, level)


def _check_plan(patterns: Any, fractions: Any) -> tuple[list[str], list[float]]:
    patterns = [patterns] if isinstance(patterns, str) else list(dict.fromkeys(patterns))
    if not patterns or not set(patterns) <= set(PATTERNS):
        raise ValueError(f"patterns must be some of {', '.join(PATTERNS)}; got {patterns!r}.")
    fractions = sorted({float(fraction) for fraction in np.atleast_1d(fractions)})
    highest = 1.0 if patterns == ["night"] else np.nextafter(1.0, 0.0)
    if not fractions or not all(0 <= fraction <= highest for fraction in fractions):
        raise ValueError(
            "fractions must be from 0 to below 1 (1 too if 'night' is the only pattern); got "
            f"{fractions}."
        )
    return patterns, fractions


@dataclass
class _Losses:
    """Draws what each night loses, and counts it."""

    pattern: str
    fraction: float
    modalities: Sequence[str]
    together: bool
    seed: Sequence[int]
    n_lost: int = 0
    n_epochs: int = 0

    @property
    def share(self) -> float:
        """Share of epochs lost, among those of sensors that may fail."""
        return self.n_lost / self.n_epochs if self.n_epochs else 0.0

    def apply(self, night: Recording, index: int) -> Recording:
        failing = [name for name in self.modalities if name in night.modalities]
        self.n_epochs += night.n_epochs * len(failing)
        if self.pattern == "night":
            return self._drop_sensors(night, index, failing)
        changes = {}
        for number, name in enumerate(failing):
            # equal generators lose the same epochs
            rng = np.random.default_rng([*self.seed, index, 0 if self.together else number])
            lost = draw_loss(night.n_epochs, self.fraction, self.pattern, rng)
            self.n_lost += int(lost.sum())
            changes[name] = SensorOff(lost)
        return alter(night, changes)

    def _drop_sensors(self, night: Recording, index: int, failing: list[str]) -> Recording:
        chance = np.random.default_rng([*self.seed, index]).random(len(failing))
        lost = [name for name, c in zip(failing, chance, strict=True) if c < self.fraction]
        if len(lost) == len(night.modalities):
            lost.remove(failing[int(chance.argmax())])
        self.n_lost += night.n_epochs * len(lost)
        return night.without(*lost) if lost else night


@dataclass(frozen=True, eq=False)
class SensorOff(Alteration):
    """NaN in the epochs where ``lost``, of shape (n_epochs,), is True."""

    lost: np.ndarray

    def apply(self, night: Recording, name: str) -> Signal:
        signal = night.signal(name)
        values = signal.values.astype(np.result_type(signal.values, np.float32))
        edges = np.round(np.arange(len(self.lost) + 1) * EPOCH_SECONDS * signal.rate).astype(int)
        for epoch in np.flatnonzero(self.lost):
            values[edges[epoch] : edges[epoch + 1]] = np.nan
        return Signal(values, signal.rate, signal.unit)

    def fingerprint(self, night: Recording, name: str) -> str:
        epochs = np.flatnonzero(self.lost).tolist()
        return digest("off", night.signal_fingerprint(name), epochs)
