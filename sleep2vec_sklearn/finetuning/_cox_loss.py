# SPDX-License-Identifier: BSD-3-Clause
"""The Cox partial likelihood: whose event came first, among all who could have had it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "BreslowBaseline",
    "cox_loss",
    "cox_terms",
    "log_risk_set_sums",
    "mean_by_subject",
]


def cox_loss(
    log_risk: Tensor,
    event: Tensor,
    time: Tensor,
    entry: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Negative log partial likelihood per event, with Breslow's treatment of ties.

    Parameters
    ----------
    log_risk : Tensor of shape [n, k] or [n]
        Log hazard ratios of n subjects for k outcomes.
    event : bool Tensor of the same shape
        True where the event was seen, False where follow-up ended before.
    time : Tensor of the same shape
        Time of the event or of the end of follow-up; NaN where the outcome is not known, which
        takes the subject out of the risk sets of this outcome.
    entry : Tensor of the same shape, optional
        When a subject came under observation (left truncation): it belongs to the risk sets of
        later times only. NaN means from the start.
    weights : Tensor of shape [n], optional
        Of each subject, in the events and in the risk sets; zero leaves it out.

    Returns
    -------
    Tensor of shape []
        Mean over the outcomes with at least one event; 0 if there is none.

    Notes
    -----
    Breslow, Biometrics 30 (1974): tied events share the risk set of all who were there at that
    time. Takes O(n log n) steps and one pass over the whole cohort, so the risk sets are those of
    the cohort and not of a batch. Sums are made of logarithms, in double precision.

    Examples
    --------
    >>> import torch
    >>> from sleep2vec_sklearn.finetuning._cox_loss import cox_loss
    >>> event = torch.tensor([True, True, False])
    >>> time = torch.tensor([1.0, 2.0, 3.0])
    >>> cox_loss(torch.tensor([2.0, 1.0, 0.0]), event, time).round(decimals=3)
    tensor(0.3600)
    >>> cox_loss(torch.tensor([0.0, 1.0, 2.0]), event, time).round(decimals=3)
    tensor(1.8600)
    """
    sums, n_events = cox_terms(log_risk, event, time, entry, weights)
    has_events = n_events > 0
    losses = sums / torch.where(has_events, n_events, 1.0)
    return (losses.sum() / has_events.sum().clamp_min(1)).to(log_risk.dtype)


def cox_terms(
    log_risk: Tensor,
    event: Tensor,
    time: Tensor,
    entry: Tensor | None = None,
    weights: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """What :func:`cox_loss` is made of.

    Parameters
    ----------
    log_risk, event, time, entry, weights
        As there.

    Returns
    -------
    sums : Tensor of shape [k]
        Negative log partial likelihood of each outcome.
    n_events : Tensor of shape [k]
        Its events, as their weights count.
    """
    kind = torch.float32 if log_risk.device.type == "mps" else torch.float64
    columns = [
        v if v is None or v.ndim == 2 else v[:, None] for v in (log_risk, event, time, entry)
    ]
    risk, event, time, entry = (None if v is None else v.T.contiguous() for v in columns)
    risk = risk.to(kind)
    weight = torch.ones_like(risk) if weights is None else weights.to(kind).expand_as(risk)
    known = ~torch.isnan(time) & (weight > 0)
    event = event.bool() & known
    risk, time = risk.masked_fill(~known, 0.0), time.masked_fill(~known, -torch.inf)
    exposed = risk + weight.masked_fill(~known, 1.0).log()
    sums = _sums_by_order if entry is None else _sums_by_intervals
    risk_sets = sums(exposed, known, event, time, entry)
    terms = torch.where(event, weight * (risk_sets - risk), 0.0)
    return terms.sum(dim=1), torch.where(event, weight, 0.0).sum(dim=1)


def mean_by_subject(values: Tensor, subjects: Tensor, n_subjects: int) -> Tensor:
    """Mean over the rows of each subject, so that a person with many nights counts once.

    Parameters
    ----------
    values : Tensor of shape [n, k]
    subjects : int64 Tensor of shape [n]
        Whose each row is, from 0 to ``n_subjects - 1``.
    n_subjects : int

    Returns
    -------
    Tensor of shape [n_subjects, k]
    """
    sums = values.new_zeros(n_subjects, values.shape[1]).index_add(0, subjects, values)
    counts = torch.bincount(subjects, minlength=n_subjects).clamp_min(1)
    return sums / counts[:, None]


def log_risk_set_sums(log_values: Tensor, time: Tensor, entry: Tensor, at: Tensor) -> Tensor:
    """Log of the sum of values over those at risk: entered before, and not gone before, each time.

    Parameters
    ----------
    log_values : Tensor of shape [n]
    time, entry : Tensor of shape [n]
        Each takes part at times t with ``entry < t <= time``.
    at : Tensor of shape [m]
        Times, sorted and distinct, at least one.

    Returns
    -------
    Tensor of shape [m]
        -inf where nobody is at risk.

    Notes
    -----
    A subject covers a run of times. Runs are cut into the O(log m) nodes of a binary tree that
    make them up, and a time adds up its leaf and the nodes above it. Nothing is subtracted, as a
    difference of two cumulated sums would, so no digits are lost where few are at risk.
    """
    n_leaves = 1 << (len(at) - 1).bit_length()
    left = torch.searchsorted(at, entry, right=True) + n_leaves
    right = torch.searchsorted(at, time, right=True) + n_leaves
    nodes, members = _cut_runs(left, right)
    values = log_values[members]
    peak = values.new_full((2 * n_leaves,), -torch.inf)
    peak = peak.scatter_reduce(0, nodes, values.detach(), "amax")
    total = values.new_zeros(2 * n_leaves).index_add(0, nodes, (values - peak[nodes]).exp())
    log_total = torch.where(total > 0, total, 1.0).log() + peak
    levels = torch.arange(n_leaves.bit_length(), device=at.device)
    leaves = torch.arange(len(at), device=at.device) + n_leaves
    return log_total[leaves[:, None] >> levels].logsumexp(dim=1)


def _cut_runs(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes that make up the runs [left, right) of leaves, and whose run each belongs to."""
    everyone = torch.arange(len(left), device=left.device)
    nodes, members = [], []
    while (open_ := left < right).any():
        starts = open_ & (left % 2 == 1)
        stops = open_ & (right % 2 == 1)
        nodes += [left[starts], right[stops] - 1]
        members += [everyone[starts], everyone[stops]]
        left, right = (left + starts.long()) // 2, right // 2
    if not nodes:
        return left[:0], everyone[:0]
    return torch.cat(nodes), torch.cat(members)


def _sums_by_order(exposed, known, event, time, entry) -> Tensor:
    """Without entries, the risk set is all who come later: one cumulated sum, [k, n]."""
    descending, order = time.sort(dim=1, descending=True, stable=True)
    cumulated = exposed.gather(1, order).logcumsumexp(dim=1)
    ascending = -descending
    last_of_tie = torch.searchsorted(ascending, ascending, right=True) - 1
    return torch.empty_like(exposed).scatter(1, order, cumulated.gather(1, last_of_tie))


def _sums_by_intervals(exposed, known, event, time, entry) -> Tensor:
    columns = []
    for values, there, seen, end, start in zip(exposed, known, event, time, entry, strict=True):
        if not seen.any():
            columns.append(values * 0.0)
            continue
        at = end[seen].unique(sorted=True)
        start = start.to(end.dtype).nan_to_num(nan=-torch.inf, neginf=-torch.inf)
        sums = log_risk_set_sums(values[there], end[there], start[there], at)
        places = torch.searchsorted(at, end).clamp_max(len(at) - 1)
        columns.append(sums[places])
    return torch.stack(columns)


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
    >>> from sleep2vec_sklearn.finetuning._cox_loss import BreslowBaseline
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
            Left truncation; see :func:`~sleep2vec_sklearn.finetuning._cox_loss.cox_loss`.
        weights : array-like of shape (n,), optional
            Zero leaves a subject out.
        """
        import torch

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
