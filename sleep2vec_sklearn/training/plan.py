# SPDX-License-Identifier: BSD-3-Clause
"""What a net is fitted on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["TrainingPlan"]


@dataclass(frozen=True, eq=False)
class TrainingPlan:
    """Batches by their number, and what to do between them.

    Attributes
    ----------
    draw : callable
        Of a batch's number and the progress, to a batch.
    describe : callable
        Of a batch, to the words an error names it by.
    steps_per_epoch, n_epochs : int
    validate : callable or None
        Of the net, to what is recorded after an epoch.
    keep : callable or None
        Of the net, called when a state should be written.
    """

    draw: Callable
    describe: Callable
    steps_per_epoch: int
    n_epochs: int
    validate: Callable | None = None
    keep: Callable | None = None
