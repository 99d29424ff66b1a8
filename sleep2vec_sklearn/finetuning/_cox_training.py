# SPDX-License-Identifier: BSD-3-Clause
"""Training on a likelihood of the whole cohort, a part of it in memory at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from .._torch import step_randomness
from .._warnings import warn
from ..encoding.inputs import EncoderInput
from ..errors import InvalidRecordingError, TrainingWarning
from ..evaluation.survival import SurvivalOutcome, read_outcome
from ..recordings.recording import name_subjects
from ._data import Batch, Piece, TrainingSet
from ._labels import Targets
from ._net import _STEP_STREAM, FineTuningNet, FineTuningPlan
from ._run import Run

__all__ = [
    "CohortRun",
    "CohortSet",
    "CoxNet",
    "encode_outcome",
    "subject_of_rows",
    "terms_of_rows",
]

_BYTES_OF_TOKENS = 2**28
_NIGHTS_THROUGH_ENCODER = 4


@dataclass(frozen=True, slots=True, eq=False)
class Cohort:
    """Subjects whose risks are compared in one step, in chunks that fit in memory."""

    source: CohortSet
    chunks: tuple[list[Piece], ...]

    @property
    def n_rows(self) -> int:
        """Rows of X in it."""
        return len({int(self.source.rows[p.night][0]) for chunk in self.chunks for p in chunk})

    def batches(self) -> Iterator[Batch]:
        """Read one chunk after the other."""
        for pieces in self.chunks:
            yield TrainingSet.batch(self.source, pieces)


@dataclass(frozen=True, slots=True, eq=False)
class CohortSet(TrainingSet):
    """Nights, drawn by subject.

    Attributes
    ----------
    chunk : int
        Nights in memory at a time, as tokens of all modalities.
    """

    chunk: int = 16

    def draw(self, rng: np.random.Generator, batch_size: int) -> list[list[Piece]]:
        """All subjects in random order, about ``batch_size`` in a step; nights stay together."""
        subjects: dict[float, list[Piece]] = {}
        for group in self._nights_by_row():
            subject = float(self.targets.values[self.rows[group[0].night][0], 0])
            subjects.setdefault(subject, []).extend(group)
        people = list(subjects.values())
        order = rng.permutation(len(people))
        parts = np.array_split(order, -(-len(people) // batch_size))
        return [[piece for place in part for piece in people[place]] for part in parts]

    def batch(self, pieces: Sequence[Piece]) -> Cohort:
        """Pieces as chunks, in each of which rows are whole."""
        rows: dict[int, list[Piece]] = {}
        for piece in pieces:
            rows.setdefault(int(self.rows[piece.night][0]), []).append(piece)
        chunks: list[list[Piece]] = [[]]
        for group in rows.values():
            if chunks[-1] and len(chunks[-1]) + len(group) > self.chunk:
                chunks.append([])
            chunks[-1].extend(group)
        return Cohort(self, tuple(chunks))

    def everything(self) -> Cohort:
        """All subjects."""
        return self.batch([piece for group in self._nights_by_row() for piece in group])


class CoxNet(FineTuningNet):
    """A net whose steps see whole cohorts.

    The outputs of a cohort are computed chunk by chunk, the gradient of the likelihood with
    respect to them once, and the chunks are gone through again with that gradient. So memory is
    that of a chunk and the gradient that of the whole.
    """

    def train_step(self, batch: Cohort, plan=None, step=0, **fit_params) -> float:
        """One step of the optimizer, which is not made where the loss is not finite."""
        self.optimizer_.zero_grad(set_to_none=True)
        alone = len(batch.chunks) == 1
        parts, targets, weights = [], [], []
        for place, chunk in enumerate(batch.batches()):
            with torch.set_grad_enabled(alone):
                parts.append(self._random_outputs(chunk, plan, step, place))
            targets.append(chunk.targets)
            weights.append(chunk.weights)
        outputs = torch.cat(parts)
        if not alone:
            outputs.requires_grad_()
        loss = plan.loss(outputs, *(torch.cat(v).to(outputs.device) for v in (targets, weights)))
        loss.backward()
        if not alone:
            gradients = outputs.grad.split([len(part) for part in parts])
            for place, (chunk, gradient) in enumerate(zip(batch.batches(), gradients, strict=True)):
                self._random_outputs(chunk, plan, step, place).backward(gradient)
        return loss.item() if self.make_step() else math.nan

    def validate(self, plan: FineTuningPlan) -> float:
        """Cross-validated partial likelihood: of all subjects, less that of those trained on.

        Held-out subjects alone have few events, and nobody to compare them with; here they are
        compared with all (Verweij & van Houwelingen, Statistics in Medicine 12, 1993).
        """
        ours, theirs = (self._known(part.everything()) for part in (plan.training, plan.held_out))
        together = [torch.cat(pair) for pair in zip(ours, theirs, strict=True)]
        with torch.inference_mode():
            sums, n_events = terms_of_rows(*together)
            trained, _ = terms_of_rows(*ours)
            has_events = n_events > 0
            losses = ((sums - trained) / n_events.clamp_min(1e-12))[has_events]
            return float(losses.mean() * len(together[0]) / len(theirs[0]))

    def _known(self, cohort: Cohort) -> tuple[Tensor, Tensor, Tensor]:
        parts = [(self.outputs(b), b.targets, b.weights) for b in cohort.batches()]
        outputs, targets, weights = (torch.cat(v) for v in zip(*parts, strict=True))
        return outputs, targets.to(outputs.device), weights.to(outputs.device)

    def _random_outputs(self, chunk: Batch, plan, step: int, place: int) -> Tensor:
        """Outputs in training; the same call has the same dropout."""
        with step_randomness([plan.seed, _STEP_STREAM, step, place], self.device):
            return self._outputs(chunk.to(self.device))


class CohortRun(Run):
    """One fit to a likelihood of the whole cohort."""

    def _part(self, reader, modalities, columns, mask: np.ndarray) -> CohortSet:
        part = super()._part(reader, modalities, columns, mask)
        chunk = _NIGHTS_THROUGH_ENCODER
        if self.estimator.finetune == "head":
            config = self.checkpoint.config
            n_layers = config.n_layers if self.estimator.layer_mix else 1
            per_epoch = 4 * len(modalities) * n_layers * config.hidden_size
            chunk = max(1, _BYTES_OF_TOKENS // (per_epoch * max(part.lengths)))
        return CohortSet(**{f.name: getattr(part, f.name) for f in fields(part)}, chunk=chunk)


def encode_outcome(given: EncoderInput, y) -> tuple[Targets, SurvivalOutcome]:
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
    _check_something_to_learn(outcome)
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

    from ._cox_loss import cox_terms, mean_by_subject

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


def _check_something_to_learn(outcome: SurvivalOutcome) -> None:
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
        warn(
            f"no event of the outcomes {', '.join(map(str, without))}: nothing is learned of them, "
            "and their risks mean nothing.",
            TrainingWarning,
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
