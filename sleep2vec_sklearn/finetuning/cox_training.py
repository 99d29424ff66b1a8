# SPDX-License-Identifier: BSD-3-Clause
"""Training on a likelihood of the whole cohort, a part of it in memory at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from ..training.randomness import step_randomness
from .cox_targets import terms_of_rows
from .data import Batch, Piece, TrainingSet
from .run import Run
from .training_net import _STEP_STREAM, FineTuningNet, FineTuningPlan

__all__ = ["CohortRun", "CohortSet", "CoxNet"]

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
