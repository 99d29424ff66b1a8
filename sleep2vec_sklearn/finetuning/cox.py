# SPDX-License-Identifier: BSD-3-Clause
"""How long until an event, by fine-tuning: Cox's proportional hazards on recordings."""

from __future__ import annotations

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ..encoding.inputs import EncoderInput
from ..evaluation.survival import read_outcome
from ..evaluation.survival_scores import concordance_index
from ._base import FineTuningEstimator
from ._cox_loss import BreslowBaseline
from ._cox_training import encode_outcome, subject_of_rows, terms_of_rows
from ._labels import Targets

__all__ = [
    "Sleep2VecCoxRegressor",
]


class Sleep2VecCoxRegressor(FineTuningEstimator):
    """Predict the risk of events after the night by fine-tuning a pretrained encoder.

    Parameters
    ----------
    checkpoint : str, path or Checkpoint, default="sleep2vec-mini"
        As for :class:`Sleep2VecClassifier`, like all that is not described here.
    modalities : sequence of str, optional
    finetune : {"head", "lora", "full"}, default="head"
    head : {"linear", "mlp", "regression"}, default="linear"
        Events are few, and a linear head has the fewest ways to learn them by heart.
    head_size : int, optional
    aggregation : {"mean", "concat", "gated"}, default="mean"
    pooling : {"mean", "attention", "cls"}, default="mean"
    layer_mix : bool, default=False
    dropout : float, default=0.1
    lora_rank : int, default=8
    lora_alpha : float, default=16.0
    modality_dropout : float or (float, float), default=0.1
    covariates : sequence of str, optional
        Keys of ``Recording.metadata``, such as ``("age", "sex")``, that are put beside the
        features.
    max_epochs : int, default=100
        Passes over the cohort; where it is compared as a whole, each is one step.
    batch_size : int, default=4096
        Subjects that are compared with each other in a step: all, if there are not more. Memory
        does not depend on it, as nights are gone through in chunks.
    lr, encoder_lr : float, default=1e-2, 1e-4
    weight_decay : float, default=1e-2
    validation_fraction : float, default=0.2
        Share of the subjects whose cross-validated partial likelihood tells when to stop.
    patience : int or None, default=15
    precision : {"float32", "bfloat16", "auto"}, default="float32"
    device : str, default="auto"
    cache : "memory", path or None, default="memory"
    random_state : int, RandomState or None, default=None
    verbose : int, default=0

    Attributes
    ----------
    n_outcomes_ : int
    event_times_ : float64 ndarray of shape (n_times,)
        Distinct times at which an event of any outcome was seen in training.
    baselines_ : tuple of BreslowBaseline
        Of each outcome.
    training_outcomes_ : structured ndarray of shape (n_subjects,) or (n_subjects, k)
        Outcomes of the subjects trained on, without names; :class:`UnoConcordance` and the like
        read from it how long people were followed up.
    unit_ : str
        "night".
    modalities_ : tuple of str
    net_ : CoxNet
    history_ : skorch.history.History
    device_, precision_, checkpoint_sha256_ : str

    See Also
    --------
    sleep2vec_sklearn.evaluation.survival : Makes y from columns of a table.

    Notes
    -----
    Minimises the negative log partial likelihood with Breslow's treatment of ties, for several
    outcomes the mean over them. Several nights of a subject are one observation, of their mean
    log risk. Recordings that name no subject are taken for different people.

    Examples
    --------
    >>> from sleep2vec_sklearn import Sleep2VecCoxRegressor, make_sleep_cohort
    >>> from sleep2vec_sklearn.evaluation import survival_outcome
    >>> cohort = make_sleep_cohort(16, hours=0.5, modalities=["ibi"], random_state=0)
    >>> y = survival_outcome(cohort.metadata["event"], cohort.metadata["survival_time"])
    >>> model = Sleep2VecCoxRegressor(max_epochs=5, random_state=0).fit(cohort, y)
    >>> model.predict(cohort).shape
    (16,)
    >>> model.predict_survival_function(cohort, times=[1, 5, 10]).shape
    (16, 3)
    """

    def __init__(
        self,
        checkpoint="sleep2vec-mini",
        *,
        modalities=None,
        finetune="head",
        head="linear",
        head_size=None,
        aggregation="mean",
        pooling="mean",
        layer_mix=False,
        dropout=0.1,
        lora_rank=8,
        lora_alpha=16.0,
        modality_dropout=0.1,
        covariates=None,
        max_epochs=100,
        batch_size=4096,
        lr=1e-2,
        encoder_lr=1e-4,
        weight_decay=1e-2,
        validation_fraction=0.2,
        patience=15,
        precision="float32",
        device="auto",
        cache="memory",
        random_state=None,
        verbose=0,
    ):
        super().__init__(
            checkpoint,
            modalities=modalities,
            finetune=finetune,
            head=head,
            head_size=head_size,
            aggregation=aggregation,
            pooling=pooling,
            layer_mix=layer_mix,
            dropout=dropout,
            lora_rank=lora_rank,
            lora_alpha=lora_alpha,
            modality_dropout=modality_dropout,
            covariates=covariates,
            max_epochs=max_epochs,
            batch_size=batch_size,
            lr=lr,
            encoder_lr=encoder_lr,
            weight_decay=weight_decay,
            validation_fraction=validation_fraction,
            patience=patience,
            precision=precision,
            device=device,
            cache=cache,
            random_state=random_state,
            verbose=verbose,
        )

    def fit(self, X, y, sample_weight=None):
        """Train on the nights whose outcome is known.

        Parameters
        ----------
        X : list of Recording or dict, or list of lists of them
            Nights, or subjects.
        y : structured array of shape (len(X),) or (len(X), k)
            Fields "event", "time" and optionally "entry", as
            :func:`~sleep2vec_sklearn.evaluation.survival` makes it. Times are NaN where
            an outcome is not known.
        sample_weight : array of shape (len(X),), optional
            How much each row counts; one with 0 is left out.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter is not one of those accepted, or y has no event, an outcome that is
            nowhere known, a time that is not above zero, an entry that is not before its time, or
            nights of one subject with different outcomes.
        TypeError
            If y is no structured array.
        InvalidRecordingError, ReadError
            If X is not such a list, or a recording cannot be encoded.
        CheckpointError
            If the checkpoint cannot be loaded or lacks what the parameters ask for.
        TrainingError
            If a loss is not finite.
        """
        return self._fit(X, y, sample_weight)

    def predict(self, X) -> np.ndarray:
        """Predict log hazard ratios: who is higher has the event sooner.

        Parameters
        ----------
        X : list of Recording or dict, or list of lists of them
            A night may lack modalities.

        Returns
        -------
        float64 ndarray of shape (len(X),) or (len(X), k)
            0 is the mean of the subjects trained on.

        Raises
        ------
        NotFittedError
            Before :meth:`fit`.
        InvalidRecordingError, ReadError
            If a recording cannot be encoded.
        """
        return self._predict(self._outputs(X))

    def predict_survival_function(self, X, times=None) -> np.ndarray:
        """Predict the probability to be without the event after each time.

        Parameters
        ----------
        X : list of Recording or dict, or list of lists of them
        times : array-like of shape (n_times,), optional
            By default ``event_times_``. Later than those, nothing falls any more.

        Returns
        -------
        float64 ndarray of shape (len(X), n_times) or (len(X), k, n_times)

        Raises
        ------
        NotFittedError
            Before :meth:`fit`.
        ValueError
            If times are no list of numbers.
        InvalidRecordingError, ReadError
            If a recording cannot be encoded.
        """
        risks = self._outputs(X).astype(np.float64)
        times = np.asarray(self.event_times_ if times is None else times, dtype=np.float64)
        if times.ndim != 1 or np.isnan(times).any():
            raise ValueError(f"times must be a list of numbers, got {times}.")
        curves = [b.survival(r, times) for b, r in zip(self.baselines_, risks.T, strict=True)]
        return curves[0] if self.training_outcomes_.ndim == 1 else np.stack(curves, axis=1)

    def score(self, X, y) -> float:
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
        check_is_fitted(self, "net_")
        return concordance_index(y, self._predict(self._outputs(X)))

    def _run_class(self):
        from ._cox_training import CohortRun

        return CohortRun

    def _net_class(self):
        from ._cox_training import CoxNet

        return CoxNet

    def _encode_targets(self, given: EncoderInput, y) -> Targets:
        targets, outcome = encode_outcome(given, y)
        self.n_outcomes_ = outcome.n_outcomes
        self.training_outcomes_ = outcome.to_array()
        return targets

    def _n_outputs(self) -> int:
        return self.n_outcomes_

    def _loss(self, outputs, targets, weights):
        sums, n_events = terms_of_rows(outputs, targets, weights)
        has_events = n_events > 0
        losses = sums / n_events.where(has_events, n_events.new_ones(()))
        return losses.sum() / has_events.sum().clamp_min(1)

    def _predict(self, outputs: np.ndarray) -> np.ndarray:
        risks = outputs - np.array([baseline.center for baseline in self.baselines_])
        return risks[:, 0] if self.training_outcomes_.ndim == 1 else risks

    def _finish_fit(self, given: EncoderInput, targets: Targets) -> None:
        used = targets.labelled
        names, first, place = np.unique(
            subject_of_rows(given)[0][used], return_index=True, return_inverse=True
        )
        counts = np.bincount(place)[:, None]
        risks = np.zeros((len(names), self.n_outcomes_))
        np.add.at(risks, place, self._forward(given)[used].astype(np.float64))
        weights = np.bincount(place, weights=targets.weights[used]) / counts[:, 0]
        self.training_outcomes_ = self.training_outcomes_[used][first]
        outcome = read_outcome(self.training_outcomes_)
        self.baselines_ = tuple(
            _baseline(outcome, column, (risks / counts)[:, column], weights)
            for column in range(self.n_outcomes_)
        )
        self.event_times_ = np.unique(np.concatenate([b.times for b in self.baselines_]))


def _baseline(outcome, column: int, risks: np.ndarray, weights: np.ndarray) -> BreslowBaseline:
    known, event, time, entry = outcome.column(column)
    return BreslowBaseline.fit(risks[known], event, time, entry, weights[known])
