# SPDX-License-Identifier: BSD-3-Clause
"""The baseline hazard, which turns log risks into probabilities over time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["BreslowBaseline"]


@dataclass(frozen=True, eq=False)
class BreslowBaseline:
    """Breslow's estimate of the cumulative hazard of one outcome.

    Attributes
    ----------
    times : float64 ndarray of shape (n_times,)
        Distinct times of events, ascending; empty where none was seen.
    log_hazard : float64 ndarray of shape (n_times,)
        Log of the cumulative hazard from each time on, at the log risk ``center``.
    center : float
        Mean log risk of those it was estimated on; far from it nothing overflows.

    Notes
    -----
    Breslow, discussion of Cox, JRSS B 34 (1972): at each time, events over the summed risks of
    all who could have had one.

    Examples
    --------
    >>> import numpy as np
    >>> from sleep2vec_sklearn.finetuning.breslow import BreslowBaseline
    >>> event, time = np.array([True, True, False]), np.array([1.0, 2.0, 3.0])
    >>> baseline = BreslowBaseline.fit(np.zeros(3), event, time)
    >>> baseline.cumulative_hazard(np.zeros(1), [0.5, 1, 5]).round(3)
    array([[0.   , 0.333, 0.833]])
    >>> baseline.survival(np.log([1.0, 2.0]), [5]).round(3)
    array([[0.435],
           [0.189]])
    """

    times: np.ndarray
    log_hazard: np.ndarray
    center: float

    @classmethod
    def fit(cls, log_risk, event, time, entry=None, weights=None) -> BreslowBaseline:
        """Estimate it.

        Parameters
        ----------
        log_risk, time : array-like of shape (n,)
            Of subjects whose outcome is known.
        event : bool array-like of shape (n,)
        entry : array-like of shape (n,), optional
            Left truncation; see :func:`~sleep2vec_sklearn.finetuning.cox_loss.cox_loss`.
        weights : array-like of shape (n,), optional
            Zero leaves a subject out.
        """
        import torch

        from .cox_loss import log_risk_set_sums

        log_risk, time = (np.asarray(v, dtype=np.float64) for v in (log_risk, time))
        event = np.asarray(event, dtype=bool)
        weights = np.ones(len(time)) if weights is None else np.asarray(weights, dtype=np.float64)
        entry = np.full(len(time), -np.inf) if entry is None else np.asarray(entry, np.float64)
        counted = weights > 0
        log_risk, event, time, entry, weights = (
            v[counted] for v in (log_risk, event, time, entry, weights)
        )
        center = float(np.average(log_risk, weights=weights)) if len(time) else 0.0
        times, place = np.unique(time[event], return_inverse=True)
        if not len(times):
            return cls(times, np.empty(0), center)
        exposed = log_risk - center + np.log(weights)
        arrays = (torch.from_numpy(v) for v in (exposed, time, entry, times))
        risk_sets = log_risk_set_sums(*arrays).numpy()
        steps = np.log(np.bincount(place, weights=weights[event])) - risk_sets
        return cls(times, np.logaddexp.accumulate(steps), center)

    def cumulative_hazard(self, log_risk, times) -> np.ndarray:
        """Cumulative hazard of subjects at times, of shape (n, n_times).

        After the last event it stays what it was.
        """
        log_hazard = np.append(-np.inf, self.log_hazard)
        reached = log_hazard[np.searchsorted(self.times, times, side="right")]
        relative = np.asarray(log_risk, dtype=np.float64) - self.center
        with np.errstate(over="ignore"):
            return np.exp(relative[:, None] + reached)

    def survival(self, log_risk, times) -> np.ndarray:
        """Probability to be without the event after each time, of shape (n, n_times)."""
        return np.exp(-self.cumulative_hazard(log_risk, times))
