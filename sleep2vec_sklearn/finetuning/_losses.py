# SPDX-License-Identifier: BSD-3-Clause
"""Losses of rows, and Breslow's baseline hazard.

The Cox likelihoods of other libraries lack late entries and weights (torchsurv), ties (pycox), or
the gradient (statsmodels, lifelines, scikit-survival).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..recordings.modality import EPOCH_SECONDS


class ClassCrossEntropy(nn.Module):
    """Weighted mean of the cross-entropy over rows."""

    class_weight: Tensor

    def __init__(self, class_weight: np.ndarray):
        super().__init__()
        self.register_buffer("class_weight", torch.from_numpy(class_weight))

    def forward(self, outputs: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        weights = weights * self.class_weight[targets]
        losses = F.cross_entropy(outputs, targets, reduction="none")
        return (losses * weights).sum() / weights.sum().clamp_min(1e-12)


class OutcomeCrossEntropy(ClassCrossEntropy):
    """Weighted mean of the binary cross-entropy over the cells that are known."""

    def forward(self, outputs: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        known, truth = ~targets.isnan(), torch.nan_to_num(targets)
        by_class = torch.where(truth > 0, self.class_weight[:, 1], self.class_weight[:, 0])
        by_cell = by_class * known * weights[:, None]
        losses = F.binary_cross_entropy_with_logits(outputs, truth, reduction="none")
        return (losses * by_cell).sum() / by_cell.sum().clamp_min(1e-12)


class KnownValuesLoss(nn.Module):
    """Weighted mean of a loss over the values that are known."""

    def __init__(self, loss: str):
        super().__init__()
        self.loss = F.smooth_l1_loss if loss == "huber" else F.mse_loss

    def forward(self, outputs: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        known = ~targets.isnan() * weights[:, None]
        losses = self.loss(outputs, torch.nan_to_num(targets), reduction="none")
        return (losses * known).sum() / known.sum().clamp_min(1e-12)


class SecondsCrossEntropy(nn.Module):
    """Weighted mean of the binary cross-entropy over the seconds that have a label."""

    positive_weight: Tensor
    log_odds: Tensor

    def __init__(self, positive_weight: np.ndarray, log_odds: np.ndarray):
        super().__init__()
        for name, by_type in (("positive_weight", positive_weight), ("log_odds", log_odds)):
            self.register_buffer(name, torch.from_numpy(np.tile(by_type, EPOCH_SECONDS)))

    def forward(self, outputs: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        losses = F.binary_cross_entropy_with_logits(
            outputs + self.log_odds,
            targets.clamp(min=0).to(outputs.dtype),
            pos_weight=self.positive_weight,
            reduction="none",
        )
        counted = (targets >= 0) * weights[:, None]
        return (losses * counted).sum() / counted.sum()


def mean_per_event(sums: Tensor, n_events: Tensor) -> Tensor:
    """Loss from :func:`cox_terms`, the mean over the outcomes with an event."""
    has_events = n_events > 0
    losses = sums / torch.where(has_events, n_events, 1.0)
    return losses.sum() / has_events.sum().clamp_min(1)


def cox_terms(
    log_risk: Tensor, event: Tensor, time: Tensor, entry: Tensor | None = None,
    weights: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Negative log partial likelihoods and weighted events of each outcome, both of shape [k].

    Columns are [n, k] or [n], of times and entries NaN where not known, ``weights`` [n]. Ties are
    Breslow's, Biometrics 30 (1974). Takes O(n log n) steps, in logarithms of double precision.
    """
    # MPS has no double precision
    dtype = torch.float32 if log_risk.device.type == "mps" else torch.float64
    risk, event, time = (_by_outcome(v) for v in (log_risk, event, time))
    entry = None if entry is None else _by_outcome(entry)
    risk = risk.to(dtype)
    weight = torch.ones_like(risk) if weights is None else weights.to(dtype).expand_as(risk)
    known = ~torch.isnan(time) & (weight > 0)
    event = event.bool() & known
    risk, time = risk.masked_fill(~known, 0.0), time.masked_fill(~known, -torch.inf)
    exposed = risk + weight.masked_fill(~known, 1.0).log()
    if entry is None:
        risk_sets = _sums_by_order(exposed, time)
    else:
        risk_sets = _sums_by_intervals(exposed, known, event, time, entry)
    terms = torch.where(event, weight * (risk_sets - risk), 0.0)
    return terms.sum(dim=1), torch.where(event, weight, 0.0).sum(dim=1)


def _by_outcome(values: Tensor) -> Tensor:
    """[n, k] or [n] as [k, n]."""
    return (values if values.ndim == 2 else values[:, None]).T.contiguous()


def _sums_by_order(exposed: Tensor, time: Tensor) -> Tensor:
    """Without entries, a risk set is all who come later: one cumulated sum, [k, n]."""
    descending, order = time.sort(dim=1, descending=True, stable=True)
    cumulated = exposed.gather(1, order).logcumsumexp(dim=1)
    ascending = -descending
    last_of_tie = torch.searchsorted(ascending, ascending, right=True) - 1
    return torch.empty_like(exposed).scatter(1, order, cumulated.gather(1, last_of_tie))


def _sums_by_intervals(
    exposed: Tensor, known: Tensor, event: Tensor, time: Tensor, entry: Tensor
) -> Tensor:
    columns = []
    for values, used, seen, end, start in zip(exposed, known, event, time, entry, strict=True):
        if not seen.any():
            columns.append(values * 0.0)
            continue
        at = end[seen].unique(sorted=True)
        start = start.to(end.dtype).nan_to_num(nan=-torch.inf, neginf=-torch.inf)
        sums = log_risk_set_sums(values[used], end[used], start[used], at)
        columns.append(sums[torch.searchsorted(at, end).clamp_max(len(at) - 1)])
    return torch.stack(columns)


def log_risk_set_sums(log_values: Tensor, time: Tensor, entry: Tensor, at: Tensor) -> Tensor:
    """Log of the summed values of those at risk, ``entry < t <= time``, at the sorted times ``at``.

    Each subject is added to O(log m) nodes of a binary tree over ``at``; nothing is subtracted, so
    that no digits are lost. -inf where nobody is at risk.
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
    """Nodes that make up the runs [left, right) of leaves, and the subject of each."""
    subjects = torch.arange(len(left), device=left.device)
    nodes, members = [], []
    while (open_ := left < right).any():
        starts, stops = open_ & (left % 2 == 1), open_ & (right % 2 == 1)
        nodes += [left[starts], right[stops] - 1]
        members += [subjects[starts], subjects[stops]]
        left, right = (left + starts.long()) // 2, right // 2
    if not nodes:
        return left[:0], subjects[:0]
    return torch.cat(nodes), torch.cat(members)


@dataclass(frozen=True, eq=False)
class BreslowBaseline:
    """Breslow's cumulative hazard of one outcome (discussion of Cox, JRSS B 34, 1972)."""

    times: np.ndarray  # of events, distinct, ascending
    log_hazard: np.ndarray  # log of the cumulative hazard from each time on, at the risk `center`
    center: float  # mean log risk of the subjects, far from which nothing overflows

    @classmethod
    def fit(
        cls, log_risk: Any, event: Any, time: Any, entry: Any = None, weights: Any = None
    ) -> BreslowBaseline:
        """Estimate it from subjects whose outcome is known; see :func:`cox_terms`."""
        log_risk, time = (np.asarray(v, dtype=np.float64) for v in (log_risk, time))
        event = np.asarray(event, dtype=bool)
        weights = np.ones(len(time)) if weights is None else np.asarray(weights, dtype=np.float64)
        entry = np.full(len(time), -np.inf) if entry is None else np.asarray(entry, np.float64)
        counted = weights > 0
        log_risk, event, time, entry, weights = (
            v[counted] for v in (log_risk, event, time, entry, weights)
        )
        center = float(np.average(log_risk, weights=weights)) if len(time) else 0.0
        times, index = np.unique(time[event], return_inverse=True)
        if not len(times):
            return cls(times, np.empty(0), center)
        exposed = log_risk - center + np.log(weights)
        arrays = (torch.from_numpy(v) for v in (exposed, time, entry, times))
        risk_sets = log_risk_set_sums(*arrays).numpy()
        steps = np.log(np.bincount(index, weights=weights[event])) - risk_sets
        return cls(times, np.logaddexp.accumulate(steps), center)

    def cumulative_hazard(self, log_risk: Any, times: Any) -> np.ndarray:
        """Cumulative hazard of subjects at times, of shape (n, n_times); flat after the last."""
        log_hazard = np.append(-np.inf, self.log_hazard)
        reached = log_hazard[np.searchsorted(self.times, times, side="right")]
        relative = np.asarray(log_risk, dtype=np.float64) - self.center
        with np.errstate(over="ignore"):
            return np.exp(relative[:, None] + reached)

    def survival(self, log_risk: Any, times: Any) -> np.ndarray:
        """Probability to be without the event after each time, of shape (n, n_times)."""
        return np.exp(-self.cumulative_hazard(log_risk, times))


def terms_of_rows(outputs: Tensor, targets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """:func:`cox_terms` from rows; the log risk of a subject is the mean over its rows."""
    k = outputs.shape[1]
    subjects, index = targets[:, 0].unique(return_inverse=True)
    n_subjects = len(subjects)
    columns = torch.empty_like(targets[:n_subjects]).index_copy_(0, index, targets)
    risk = mean_of_groups(outputs, index, n_subjects)
    weight = mean_of_groups(weights[:, None], index, n_subjects)[:, 0]
    time, event, entry = columns[:, 1:].tensor_split((k, 2 * k), dim=1)
    return cox_terms(risk, event == 1, time, entry if entry.shape[1] else None, weight)


def mean_of_groups(values: Tensor, groups: Tensor, n_groups: int) -> Tensor:
    """Mean [n_groups, k] over the rows of each group, such as a subject."""
    sums = values.new_zeros(n_groups, values.shape[1]).index_add(0, groups, values)
    counts = torch.bincount(groups, minlength=n_groups).clamp_min(1)
    return sums / counts[:, None]


class CoxLoss(nn.Module):
    """Negative log partial likelihood per event, of rows, in double precision."""

    def forward(self, outputs: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        return mean_per_event(*terms_of_rows(outputs, targets, weights))
