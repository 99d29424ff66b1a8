# SPDX-License-Identifier: BSD-3-Clause
"""Time until an event, by fine-tuning: Cox's proportional hazards on recordings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Unpack

import numpy as np

from .._warnings import warn
from ..encoding.inputs import EncoderInput
from ..errors import InvalidRecordingError, TrainingWarning
from ..evaluation.survival import SurvivalOutcome, read_outcome, share_between_nights
from ..evaluation.survival_scores import concordance_index
from ..recordings.recording import name_subjects
from ._base import FineTuningEstimator, SharedParameters, with_shared_parameters
from ._labels import Targets

if TYPE_CHECKING:
    from torch import nn

    from ._net import FineTuningNet

__all__ = ["Sleep2VecCoxRegressor"]


@with_shared_parameters
class Sleep2VecCoxRegressor(FineTuningEstimator):
    """Predict the risk of events after the night by fine-tuning a pretrained encoder.

    Parameters
    ----------
    max_epochs : int, default=100
        Passes over the cohort; where it is compared as a whole, each is one step.
    batch_size : int, default=4096
        Subjects that are compared with each other in a step: all, if there are not more. Memory
        does not depend on it, as nights are gone through in chunks.
    validation_fraction : float, default=0.2
        Share of the subjects whose cross-validated partial likelihood tells when to stop.

    Attributes
    ----------
    n_outcomes_ : int
    event_times_ : float64 ndarray of shape (n_times,)
        Distinct times at which an event of any outcome was seen in training.
    baselines_ : tuple of BreslowBaseline
        Of each outcome.
    training_outcomes_ : structured ndarray of shape (n_subjects,) or (n_subjects, k)
        Outcomes of the subjects trained on, without names; :class:`UnoConcordance` and the like
        read the follow-up times from it.
    unit_, modalities_, net_, history_, device_, precision_, checkpoint_sha256_
        As of :class:`Sleep2VecClassifier`.

    See Also
    --------
    sleep2vec_sklearn.evaluation.survival : Makes y from columns of a table.

    Notes
    -----
    X are nights, or lists of the nights of a subject. ``y`` is a structured array of shape
    (len(X),) or (len(X), k) with the fields "event", "time" and optionally "entry", as made by
    :func:`~sleep2vec_sklearn.evaluation.survival_outcome`; times are NaN where an outcome is not
    known. Any other y is a TypeError; one without an event, or with different outcomes of one
    subject, a ValueError. :meth:`predict` gives log hazard ratios, relative to the mean subject.

    Minimises the negative log partial likelihood with Breslow's treatment of ties, for several
    outcomes the mean over them. Several nights of a subject are one observation, of their mean
    log risk. Recordings without a subject are taken for different ones. A linear head is the
    default, as events are few and it overfits least.

    Examples
    --------
    >>> from sleep2vec_sklearn import Sleep2VecCoxRegressor, make_sleep_cohort
    >>> from sleep2vec_sklearn.evaluation import survival_outcome
    >>> cohort = make_sleep_cohort(16, hours=0.5, modalities=["ibi"], random_state=0)
    >>> y = survival_outcome(cohort.metadata["event"], cohort.metadata["survival_time"])
    >>> model = Sleep2VecCoxRegressor(max_epochs=5, random_state=0).fit(cohort, y)
    >>> model.predict_survival_function(cohort, times=[1, 5, 10]).shape
    (16, 3)
    """

    def __init__(  # type: ignore[misc]  # some shared parameters have other defaults
        self,
        checkpoint: Any = "sleep2vec-mini",
        *,
        pooling: str = "mean",
        head: str = "linear",
        aggregation: str = "mean",
        max_epochs: int = 100,
        batch_size: int | None = 4096,
        lr: float = 1e-2,
        validation_fraction: float = 0.2,
        patience: int | None = 15,
        **shared: Unpack[SharedParameters],
    ):
        super().__init__(
            checkpoint, head=head, aggregation=aggregation, max_epochs=max_epochs,
            batch_size=batch_size, lr=lr, validation_fraction=validation_fraction,
            patience=patience, **shared,
        )  # fmt: skip
        self.pooling = pooling

    _fitted_kinds: ClassVar[dict[str, Any]] = {
        "n_outcomes_": int, "training_outcomes_": np.ndarray, "baselines_": tuple,
        "event_times_": np.ndarray,
    }  # fmt: skip

    def predict_survival_function(self, X: Any, times: Any = None) -> np.ndarray:
        """Predict the probability to be without the event after each time.

        Parameters
        ----------
        X : list of Recording or dict, or list of lists of them
        times : array-like of shape (n_times,), optional
            By default ``event_times_``. Beyond the last of them, curves stay flat.

        Returns
        -------
        float64 ndarray of shape (len(X), n_times) or (len(X), k, n_times)

        Raises
        ------
        ValueError
            If times are no list of numbers.
        NotFittedError, InvalidRecordingError, ReadError
            As of :meth:`predict`.
        """
        risks = self._outputs(X).astype(np.float64)
        times = np.asarray(self.event_times_ if times is None else times, dtype=np.float64)
        if times.ndim != 1 or np.isnan(times).any():
            raise ValueError(f"times must be a list of numbers, got {times}.")
        curves = [b.survival(r, times) for b, r in zip(self.baselines_, risks.T, strict=True)]
        return curves[0] if self.training_outcomes_.ndim == 1 else np.stack(curves, axis=1)

    def score(self, X: Any, y: Any) -> float:
        """Harrell's concordance index, the mean over outcomes with an event.

        Parameters
        ----------
        X : list of Recording or dict, or list of lists of them
        y : structured array of shape (len(X),) or (len(X), k)

        Returns
        -------
        float

        Raises
        ------
        ValueError
            If no pair of rows is comparable.
        """
        return concordance_index(y, self._predict(self._outputs(X)))

    def _criterion(self) -> nn.Module:
        from ._losses import CoxLoss

        return CoxLoss()

    @classmethod
    def _net_class(cls) -> type[FineTuningNet]:
        from ._net import CoxNet

        return CoxNet

    def _encode_targets(self, inputs: EncoderInput, y: Any) -> Targets:
        targets, outcome = encode_outcome(inputs, y)
        self.n_outcomes_ = outcome.n_outcomes
        self.training_outcomes_ = outcome.to_array()
        return targets

    def _n_outputs(self) -> int:
        return self.n_outcomes_

    def _try_outputs(self, outputs: np.ndarray) -> None:
        n_outcomes = read_outcome(self.training_outcomes_).n_outcomes
        if not n_outcomes == len(self.baselines_) == self.n_outcomes_:
            raise ValueError(f"{len(self.baselines_)} baselines_ for {n_outcomes} outcomes")
        for baseline in self.baselines_:
            baseline.survival(outputs[:, 0].astype(np.float64), self.event_times_)
        super()._try_outputs(outputs)

    def _predict(self, outputs: np.ndarray) -> np.ndarray:
        risks = outputs - np.array([baseline.center for baseline in self.baselines_])
        return risks[:, 0] if self.training_outcomes_.ndim == 1 else risks

    def _finish_fit(self, inputs: EncoderInput, targets: Targets, held_out: tuple) -> None:
        from ._losses import BreslowBaseline

        used = targets.labelled
        _, first, subject = np.unique(
            subject_of_rows(inputs)[0][used], return_index=True, return_inverse=True
        )
        counts = np.bincount(subject)[:, None]
        risks = np.zeros((len(first), self.n_outcomes_))
        np.add.at(risks, subject, self._forward(inputs)[used].astype(np.float64))
        weights = np.bincount(subject, weights=targets.weights[used]) / counts[:, 0]
        self.training_outcomes_ = self.training_outcomes_[used][first]
        outcome, baselines = read_outcome(self.training_outcomes_), []
        for column, risk in enumerate((risks / counts).T):
            known, event, time, entry = outcome.column(column)
            baseline = BreslowBaseline.fit(risk[known], event, time, entry, weights[known])
            baselines.append(baseline)
        self.baselines_ = tuple(baselines)
        self.event_times_ = np.unique(np.concatenate([b.times for b in self.baselines_]))


def encode_outcome(inputs: EncoderInput, y: Any) -> tuple[Targets, SurvivalOutcome]:
    """Targets (n_rows, 1 + 2 k or 3 k): subject, times, events, entries; and the outcomes."""
    if inputs.unit != "night":
        raise InvalidRecordingError(
            "X holds epochs, but survival is of subjects; accepted is a list of nights, or of "
            "lists of nights. Pass the recordings: EpochSequence(X).recordings."
        )
    outcome = read_outcome(y)
    if len(outcome) != inputs.n_rows:
        raise ValueError(
            f"y has {len(outcome)} outcomes and X {inputs.n_rows} elements; accepted is one "
            "outcome for each element of X."
        )
    subjects, names = subject_of_rows(inputs)
    outcome = share_between_nights(outcome, subjects, names)
    _check_something_to_learn(outcome)
    # the likelihood needs the order of times only, and ranks are exact in single precision
    columns = [subjects[:, None], *_as_ranks(outcome)]
    values = np.concatenate(columns, axis=1).astype(np.float32)
    values[np.isnan(outcome.time).all(axis=1)] = np.nan
    return Targets.of(values, outcome.event), outcome


def subject_of_rows(inputs: EncoderInput) -> tuple[np.ndarray, np.ndarray]:
    """Number of each row's subject, and the subjects' names."""
    names, codes = np.unique(
        [str(name) for name in name_subjects(inputs.recordings)], return_inverse=True
    )
    of_row = np.empty(inputs.n_rows, dtype=np.int64)
    for rows, code in zip(inputs.rows, codes, strict=True):
        of_row[rows] = code
    return of_row, names


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
            f"y holds no event in {len(outcome)} rows: all are censored, so that risks cannot be "
            "compared. Look at how events are coded, or follow up for longer."
        )
    without = np.flatnonzero(n_events == 0)
    if len(without):
        warn(
            f"no event of the outcomes {', '.join(map(str, without))}: nothing is learned of them, "
            "and their risks mean nothing.",
            TrainingWarning,
        )


def _as_ranks(outcome: SurvivalOutcome) -> list[np.ndarray]:
    times, entries = np.full((2, *outcome.time.shape), np.nan)
    for column in range(outcome.n_outcomes):
        known, _, time, entry = outcome.column(column)
        late = np.isfinite(entry)
        moments = np.unique(np.concatenate([time, entry[late]]))
        times[known, column] = np.searchsorted(moments, time)
        entries[known, column] = np.where(late, np.searchsorted(moments, entry), np.nan)
    parts = [times, outcome.event.astype(float)]
    return parts if outcome.entry is None else [*parts, entries]
