# SPDX-License-Identifier: BSD-3-Clause
"""What the checks run on: nights of noise as every kind of X, and what estimators make of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.utils.estimator_checks import set_random_state

from ..errors import ModalityWarning
from ..recordings import EPOCH_SECONDS, MODALITIES, Recording
from ..recordings.epochs import EpochSequence

__all__ = [
    "KINDS",
    "METHODS",
    "apply",
    "assert_same",
    "fit",
    "fit_and_apply",
    "fit_clone",
    "make_X",
    "names_of",
    "select_rows",
    "unsupported_ignored",
]

KINDS = ("night", "subject", "epoch")
METHODS = ("transform", "predict", "predict_proba", "decision_function")


@cache
def _nights(n_nights: int = 5, n_epochs: int = 4) -> tuple[Recording, ...]:
    """Nights of plausible noise in all modalities; labels and metadata differ between them."""
    rng = np.random.default_rng(0)
    nights = []
    for number in range(n_nights):
        signals = {}
        for name, modality in MODALITIES.items():
            rate = modality.conditioning.rate
            noise = rng.standard_normal(round(n_epochs * EPOCH_SECONDS * rate)).clip(-3, 3)
            level, spread = {"spo2": (95, 1), "ibi": (0.9, 0.05)}.get(name, (0, 30 + number))
            noise = np.abs(noise) if name == "actigraphy" else noise
            signals[name] = ((level + spread * noise).astype(np.float32), rate)
        nights.append(_make_night(signals, number, n_epochs))
    return tuple(nights)


def _make_night(signals: Mapping, number: int, n_epochs: int) -> Recording:
    return Recording(
        signals,
        subject=f"s{number // 2}",
        metadata={"age": 30.0 + number, "sex": "FM"[number // 2 % 2], "site": "abc"[number % 3]},
        stages=(np.arange(n_epochs) + number) % 5,
        duration=n_epochs * EPOCH_SECONDS,
        id=f"night-{number}",
    )


def make_X(kind: str, change: Callable[[dict], dict] | None = None, plain: bool = False):
    """X of a kind, after a change to the signals of every night, given as name: (samples, rate)."""
    nights = list(_nights())
    if change is not None:
        for number, night in enumerate(nights):
            signals = change({name: (s.values, s.rate) for name, s in night.read().items()})
            nights[number] = signals if plain else _make_night(signals, number, night.n_epochs)
    if kind == "subject":
        return [nights[:2], nights[2:4], nights[4]]
    return EpochSequence(nights) if kind == "epoch" else nights


def names_of(X) -> list:
    """What a table's index holds: ids of nights, subjects, or (recording, epoch)."""
    if isinstance(X, EpochSequence):
        return X.index.tolist()
    return [x[0].subject if isinstance(x, list) else x.id for x in X]


@contextmanager
def unsupported_ignored() -> Iterator[None]:
    """A checkpoint may lack some of the modalities that the nights of the checks have."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ModalityWarning)
        yield


def fit(estimator: BaseEstimator, X) -> BaseEstimator:
    """Fit with labels that any estimator takes; returns what ``fit`` returned."""
    with unsupported_ignored():
        return estimator.fit(X, np.arange(len(X)) % 2)


def fit_clone(estimator: BaseEstimator, X) -> BaseEstimator:
    """A fitted clone, its random state fixed."""
    estimator = clone(estimator)
    set_random_state(estimator)
    fit(estimator, X)
    return estimator


def apply(estimator: BaseEstimator, X) -> dict[str, np.ndarray]:
    """What each method that the estimator has gives for X."""
    return {m: np.asarray(getattr(estimator, m)(X)) for m in METHODS if hasattr(estimator, m)}


def fit_and_apply(estimator: BaseEstimator, X) -> dict[str, np.ndarray]:
    """The same of a fitted clone."""
    return apply(fit_clone(estimator, X), X)


def assert_same(found: dict, expected: dict, message: str) -> None:
    """Compare what two calls of :func:`apply` gave."""
    for method, values in expected.items():
        np.testing.assert_allclose(
            found[method], values, rtol=1e-5, atol=1e-6, err_msg=f"{method}: {message}"
        )


def select_rows(outputs: dict, rows) -> dict:
    """Some rows of each method's output."""
    return {method: values[rows] for method, values in outputs.items()}
