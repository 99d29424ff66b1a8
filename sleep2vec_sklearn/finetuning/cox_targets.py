# SPDX-License-Identifier: BSD-3-Clause
"""Survival outcomes as targets: the order of times, once for each subject."""

from __future__ import annotations

import warnings

import numpy as np

from ..encoding.inputs import EncoderInput
from ..errors import InvalidRecordingError, TrainingWarning
from ..evaluation.survival_outcome import SurvivalOutcome, read_outcome
from ..signals.naming import name_subjects
from .targets import Targets

__all__ = ["encode_outcome", "subject_of_rows", "terms_of_rows"]


def encode_outcome(given: EncoderInput, y, stacklevel: int) -> tuple[Targets, SurvivalOutcome]:
    """Check y and make it the targets of the rows of X.

    The likelihood needs the order of times only, which single precision holds exactly.

    Returns
    -------
    Targets
        Values of shape (n_rows, 1 + 2 k) or (n_rows, 1 + 3 k): the subject's number, times,
        events and, if there are any, entries. All NaN where no outcome is known.
    SurvivalOutcome
        Of the rows, where every night of a subject knows what one of them does.

    Raises
    ------
    InvalidRecordingError
        If X holds epochs.
    ValueError
        If y does not fit X, nights of a subject differ in it, or there is nothing to learn.
    """
    if given.unit != "night":
        raise InvalidRecordingError(
            "X holds epochs, but survival is a person's; accepted is a list of nights, or of lists "
            "of nights. Pass the recordings: EpochSequence(X).recordings."
        )
    outcome = read_outcome(y)
    if len(outcome) != given.n_rows:
        raise ValueError(
            f"y has {len(outcome)} outcomes and X {given.n_rows} elements; accepted is one outcome "
            "for each element of X."
        )
    subjects, names = subject_of_rows(given)
    outcome = _share_between_nights(outcome, subjects, names)
    _check_something_to_learn(outcome, stacklevel + 1)
    columns = [subjects[:, None], *_as_ranks(outcome)]
    values = np.concatenate(columns, axis=1).astype(np.float32)
    values[np.isnan(outcome.time).all(axis=1)] = np.nan
    return Targets.of(values, outcome.event), outcome


def subject_of_rows(given: EncoderInput) -> tuple[np.ndarray, np.ndarray]:
    """Number of each row's subject, and the subjects' names."""
    names, codes = np.unique(
        [str(name) for name in name_subjects(given.recordings)], return_inverse=True
    )
    of_row = np.empty(given.n_rows, dtype=np.int64)
    for rows, code in zip(given.rows, codes, strict=True):
        of_row[rows] = code
    return of_row, names


def terms_of_rows(outputs, targets, weights):
    """Likelihoods and events of each outcome, from outputs, targets and weights of rows.

    A subject's log risk is the mean over its rows.
    """
    import torch

    from .cox_loss import cox_terms, mean_by_subject

    k = outputs.shape[1]
    subjects, place = targets[:, 0].unique(return_inverse=True)
    n_subjects = len(subjects)
    facts = torch.empty_like(targets[:n_subjects]).index_copy_(0, place, targets)
    risk = mean_by_subject(outputs, place, n_subjects)
    weight = mean_by_subject(weights[:, None], place, n_subjects)[:, 0]
    time, event, entry = facts[:, 1 : 1 + k], facts[:, 1 + k : 1 + 2 * k], facts[:, 1 + 2 * k :]
    return cox_terms(risk, event == 1, time, entry if entry.shape[1] else None, weight)


def _share_between_nights(outcome, subjects, names) -> SurvivalOutcome:
    """The same with gaps filled from other nights of the subject."""
    n_subjects, k = len(names), outcome.n_outcomes
    shared = {}
    unknown = np.isnan(outcome.time)
    fields = {"time": outcome.time, "event": outcome.event.astype(float)}
    if outcome.entry is not None:
        fields["entry"] = outcome.entry
    for name, values in fields.items():
        low, high = np.full((n_subjects, k), np.inf), np.full((n_subjects, k), -np.inf)
        np.minimum.at(low, subjects, np.where(unknown, np.inf, values))
        np.maximum.at(high, subjects, np.where(unknown, -np.inf, values))
        differs = np.argwhere((high > low) & np.isfinite(high))
        if len(differs):
            subject, column = differs[0]
            raise ValueError(
                f"nights of the subject {str(names[subject])!r} have different outcomes: '{name}' "
                f"is {low[subject, column]:g} and {high[subject, column]:g}. Several nights count "
                "as one observation of a person: count time from the same day for all of them, or "
                "leave all but one out."
            )
        shared[name] = high[subjects]
    nobody = np.isinf(shared["time"])
    time = np.where(nobody, np.nan, shared["time"])
    entry = None
    if outcome.entry is not None:
        entry = np.where(nobody, -np.inf, shared["entry"])
    event = (shared["event"] == 1) & ~nobody
    return SurvivalOutcome(event, time, entry, outcome.one_dimensional)


def _check_something_to_learn(outcome: SurvivalOutcome, stacklevel: int) -> None:
    empty = np.flatnonzero(np.isnan(outcome.time).all(axis=0))
    if len(empty):
        which = "y" if outcome.n_outcomes == 1 else f"outcome {empty[0]} of y"
        raise ValueError(
            f"{which} holds nothing but NaN in {len(outcome)} rows: nothing is known of it. Leave "
            "it out, or look at how the table was joined."
        )
    n_events = outcome.event.sum(axis=0)
    if not n_events.any():
        raise ValueError(
            f"y holds no event in {len(outcome)} rows: all are censored, and nobody's risk can be "
            "told from another's. Look at how events are coded, or follow up for longer."
        )
    without = np.flatnonzero(n_events == 0)
    if len(without):
        warnings.warn(
            f"no event of the outcomes {', '.join(map(str, without))}: nothing is learned of them, "
            "and their risks mean nothing.",
            TrainingWarning,
            stacklevel=stacklevel + 1,
        )


def _as_ranks(outcome: SurvivalOutcome) -> list[np.ndarray]:
    times = np.full(outcome.time.shape, np.nan)
    entries = np.full(outcome.time.shape, np.nan)
    for column in range(outcome.n_outcomes):
        known, _, time, entry = outcome.column(column)
        late = np.isfinite(entry)
        moments = np.unique(np.concatenate([time, entry[late]]))
        times[known, column] = np.searchsorted(moments, time)
        ranks = np.where(late, np.searchsorted(moments, entry), np.nan)
        entries[known, column] = ranks
    parts = [times, outcome.event.astype(float)]
    return parts if outcome.entry is None else [*parts, entries]
