# SPDX-License-Identifier: BSD-3-Clause
"""Apneas, hypopneas, arousals and desaturations second by second, by fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.special import expit
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_is_fitted

from ..encoding.inputs import EncoderInput, read_input
from ..errors import InvalidRecordingError
from ..evaluation.agreement import divide
from ..evaluation.events import ScoredEvents, find_events
from ..evaluation.sleep_statistics import seconds_asleep
from ..recordings import EPOCH_SECONDS, EpochSequence
from ._base import FineTuningEstimator
from ._event_labels import (
    THRESHOLDS,
    check_event_parameters,
    event_targets,
    per_type,
    pooled_f1,
    read_event_types,
    tune_threshold,
)
from ._labels import Targets, check_sample_weight

__all__ = [
    "Sleep2VecEventDetector",
    "events_table",
    "found_in",
    "probabilities_of",
    "read_nights",
    "scored_in",
]


class Sleep2VecEventDetector(FineTuningEstimator):
    """Detect events of a night, such as apneas, by fine-tuning a pretrained encoder.

    For each 30-s epoch the head gives the probability of every one of its seconds to lie within
    an event of each type. Seconds above a threshold that are close become one event; the number
    of events per hour of sleep is what :meth:`predict` returns, for apneas and hypopneas the AHI.

    Parameters
    ----------
    checkpoint : str, path or Checkpoint, default="sleep2vec-mini"
    modalities, finetune, head, head_size, aggregation, layer_mix, dropout
        See :class:`Sleep2VecClassifier`. The head is "mlp" by default, as the temporal ones do no
        better with few nights.
    lora_rank, lora_alpha, modality_dropout, covariates
        See :class:`Sleep2VecClassifier`.
    event_types : sequence of str, dict of str to sequence of str, or None, default=None
        Types to detect, each with a probability of its own. An event is of a type if the type's
        words are among those of its name: "apnea" is obstructive, central and mixed apnea, but no
        hypopnea. A dict puts several under one name. None is apneas and hypopneas as one type,
        ``{"apnea_hypopnea": ("apnea", "hypopnea")}``.
    threshold : {"f1", "index"}, float or dict of type to one of these, default="f1"
        Above which probability a second is of an event. "f1" finds the highest F1 of events; and
        "index" the highest correlation of the rates with the scored ones, as the authors do. Both
        look at the training's held-out subjects; where there are none, at those trained on.
    gap : int, default=3
        Seconds from the last of one run to the first of the next within which two become one.
    min_duration : float or dict of type to float, optional
        Shortest event in seconds. By default 3 for types named "arousal", 10 for all others.
    positive_weight : float or "balanced", default=1.0
        How much a second of an event counts in training; "balanced" makes both kinds count alike.
    max_epochs, batch_size, lr, encoder_lr, weight_decay
        See :class:`Sleep2VecClassifier`.
    validation_fraction : float, default=0.2
        Share of the *subjects* whose loss tells when to stop and whose events tell the threshold.
    patience, precision, device, cache, random_state, verbose
        See :class:`Sleep2VecClassifier`.

    Attributes
    ----------
    event_types_ : dict of str to tuple of str
        Scored types of each type.
    thresholds_ : dict of str to float
        By type.
    tuned_on_ : {"held_out", "training"} or None
        Whose events told the thresholds; None if all were given.
    n_tuned_on_ : int
        Nights of them.
    positive_weights_, log_odds_ : float32 ndarray of shape (n_types,)
        Weight of a second of an event, and what the head's outputs are relative to.
    modalities_ : tuple of str
    net_ : FineTuningNet
    history_ : skorch.history.History
    device_, precision_, checkpoint_sha256_ : str

    Notes
    -----
    Labels come from ``Recording.events`` or from y. Seconds of epochs without a sleep stage are
    not learned from where the night has stages, as nobody scored events there either.

    Examples
    --------
    >>> from sleep2vec_sklearn import Sleep2VecEventDetector, make_sleep_cohort
    >>> nights = make_sleep_cohort(3, hours=1, modalities=["spo2"], random_state=0)
    >>> detector = Sleep2VecEventDetector(event_types="desaturation", max_epochs=5, random_state=0)
    >>> detector.fit(nights).predict(nights).shape
    (3,)
    >>> detector.predict_events(nights[:1]).columns.tolist()
    ['recording', 'onset', 'duration', 'type', 'probability']
    """

    def __init__(
        self,
        checkpoint="sleep2vec-mini",
        *,
        modalities=None,
        finetune="head",
        head="mlp",
        head_size=None,
        aggregation="concat",
        layer_mix=False,
        dropout=0.1,
        lora_rank=8,
        lora_alpha=16.0,
        modality_dropout=0.1,
        covariates=None,
        event_types=None,
        threshold="f1",
        gap=3,
        min_duration=None,
        positive_weight=1.0,
        max_epochs=40,
        batch_size=None,
        lr=1e-3,
        encoder_lr=1e-4,
        weight_decay=1e-2,
        validation_fraction=0.2,
        patience=10,
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
        self.event_types = event_types
        self.threshold = threshold
        self.gap = gap
        self.min_duration = min_duration
        self.positive_weight = positive_weight

    def fit(self, X, y=None, sample_weight=None):
        """Train on the nights of X that have scored events, and tune the thresholds.

        Parameters
        ----------
        X : list of Recording or dict
            Nights.
        y : list of DataFrame, optional
            Events of each night, with the columns onset and duration in seconds from its start,
            and type; None for a night that nobody scored. By default ``Recording.events``.
        sample_weight : array of shape (len(X),), optional
            How much each night counts; one with 0 is left out.

        Returns
        -------
        self

        Warns
        -----
        RecordingWarning
            For nights without scored events, which are left out, and for events that end after
            the night, which are cut.

        Raises
        ------
        ValueError
            If a parameter is not one of those accepted, or y is not one table per night.
        InvalidRecordingError, ReadError
            If X is not such a list, a recording cannot be encoded, a table is none, or no night
            has an event of a type.
        CheckpointError
            If the checkpoint cannot be loaded or lacks what the parameters ask for.
        TrainingError
            If a loss is not finite.
        """
        given = self._read(X)
        self.event_types_ = read_event_types(self.event_types)
        check_event_parameters(self, list(self.event_types_))
        weights = check_sample_weight(sample_weight, len(given.recordings))
        counted = np.flatnonzero(weights)
        if y is not None and not isinstance(y, pd.DataFrame) and len(y) == len(weights):
            y = _safe_indexing(y, counted)
        nights = EpochSequence([given.recordings[i] for i in counted])
        rows = [np.full(given.recordings[i].n_epochs, weights[i]) for i in counted]
        return self._fit(nights, y, np.concatenate(rows))

    def predict_proba(self, X) -> list[np.ndarray]:
        """Probability of each second to be within an event.

        Parameters
        ----------
        X : list of Recording or dict

        Returns
        -------
        list of float32 ndarray of shape (n_seconds, n_types)
            One for each night, 30 seconds for each of its epochs.
        """
        return self._probabilities(X)[1]

    def predict_events(self, X, *, stages=None) -> pd.DataFrame:
        """Events of each night.

        Parameters
        ----------
        X : list of Recording or dict
        stages : list of array-like of shape (n_epochs,), optional
            Of each night, such as predicted ones; by default those of the recordings. An event
            has to touch sleep. The whole night is sleep where there are none.

        Returns
        -------
        DataFrame
            Columns ``recording`` (its id, else its position), ``onset`` and ``duration`` in
            seconds, ``type``, and ``probability``, the mean over the event's seconds.
        """
        given, nights = self._probabilities(X)
        found, _ = self._found(given, nights, stages)
        ids = [recording.id for recording in given.recordings]
        names = [i if name is None else name for i, name in enumerate(ids)]
        return events_table(names, nights, found)

    def predict(self, X, *, stages=None) -> np.ndarray:
        """Events per hour of sleep of each night: with apneas and hypopneas as one type, the AHI.

        Parameters
        ----------
        X : list of Recording or dict
        stages : list of array-like of shape (n_epochs,), optional
            See :meth:`predict_events`. Without any, hours are those of the recording, which gives
            a lower rate than hours of sleep do.

        Returns
        -------
        ndarray of shape (len(X),), or (len(X), n_types) with several types
            NaN for a night without sleep.
        """
        given, nights = self._probabilities(X)
        found, hours = self._found(given, nights, stages)
        rates = np.array(
            [[divide(len(s), h) for s in f.values()] for f, h in zip(found, hours, strict=True)]
        )
        return rates[:, 0] if rates.shape[1] == 1 else rates

    def score(self, X, y=None, sample_weight=None) -> float:
        """F1 of events over all nights, the mean of the types.

        A scored and a detected event match if they share more than half of the seconds that
        either has; each is matched once.

        Parameters
        ----------
        X : list of Recording or dict
        y : list of DataFrame, optional
            By default ``Recording.events``. Nights without scored events are left out.
        sample_weight : array of shape (len(X),), optional
            Nights with 0 are left out; F1 over pooled events knows no other weights.

        Returns
        -------
        float
            NaN where no night has an event of a type, neither scored nor detected.
        """
        by_type = self._scored(X, y, sample_weight)
        shortest = self._min_durations()
        scores = [
            pooled_f1(nights, self.thresholds_[name], self.gap, shortest[name])
            for name, nights in by_type.items()
        ]
        return float(np.mean(scores))

    def scored_events(self, X, y=None, sample_weight=None) -> dict[str, list[ScoredEvents]]:
        """Labels and probabilities of each second, for the scores of ``evaluation``.

        Parameters
        ----------
        X : list of Recording or dict
        y : list of DataFrame, optional
        sample_weight : array of shape (len(X),), optional
            Nights with 0 are left out.

        Returns
        -------
        dict of str to list of ScoredEvents
            By type; see :func:`~sleep2vec_sklearn.evaluation.event_scores`.
        """
        return self._scored(X, y, sample_weight)

    def _scored(self, X, y, sample_weight) -> dict[str, list[ScoredEvents]]:
        given, nights = self._probabilities(X)
        targets = event_targets(given, y, self.event_types_, check_found=False)
        weights = check_sample_weight(sample_weight, len(nights))
        labelled = [(targets.values[rows] >= 0).any() for rows in given.rows]
        kept = {i: nights[i] for i in range(len(nights)) if weights[i] and labelled[i]}
        return scored_in(given, targets, kept, list(self.event_types_))

    def _probabilities(self, X) -> tuple[EncoderInput, list[np.ndarray]]:
        check_is_fitted(self, "net_")
        given = self._read(X)
        outputs = self._outputs(given.names)
        return given, probabilities_of(given, outputs, self.log_odds_)

    def _found(self, given, nights, stages):
        return found_in(given, nights, stages, self.thresholds_, self.gap, self._min_durations())

    def _min_durations(self) -> dict[str, float]:
        names = list(self.event_types_)
        return per_type(
            self.min_duration, names, "min_duration", lambda n: 3.0 if "arousal" in n else 10.0
        )

    def _read(self, X) -> EncoderInput:
        return read_nights(X, super()._read)

    def _encode_targets(self, given: EncoderInput, y) -> Targets:
        targets = event_targets(given, y, self.event_types_)
        seconds = targets.values.reshape(-1, len(self.event_types_))
        inside, outside = ((seconds == k).sum(axis=0) for k in (1, 0))
        odds = inside / np.maximum(outside, 1)
        balanced = isinstance(self.positive_weight, str)
        weights = 1 / odds if balanced else np.full(len(odds), self.positive_weight)
        self.positive_weights_ = weights.astype(np.float32)
        # outputs are relative to the rate of events, which the head need not learn first
        self.log_odds_ = np.log(odds * weights).astype(np.float32)
        return targets

    def _n_outputs(self) -> int:
        return EPOCH_SECONDS * len(self.event_types_)

    def _loss(self, outputs, targets, weights):
        import torch
        from torch.nn.functional import binary_cross_entropy_with_logits

        positive, offset = (
            torch.from_numpy(np.tile(of_types, EPOCH_SECONDS)).to(outputs.device)
            for of_types in (self.positive_weights_, self.log_odds_)
        )
        loss = binary_cross_entropy_with_logits(
            outputs + offset,
            targets.clamp(min=0).to(outputs.dtype),
            pos_weight=positive,
            reduction="none",
        )
        counted = (targets >= 0) * weights[:, None]
        return (loss * counted).sum() / counted.sum()

    def _train(self, given: EncoderInput, targets: Targets, checkpoint):
        fitted = super()._train(given, targets, checkpoint)
        self._tune(given, targets, fitted.held_out)
        return fitted

    def _tune(self, given: EncoderInput, targets: Targets, held_out: tuple[int, ...]) -> None:
        names = list(self.event_types_)
        asked = per_type(self.threshold, names, "threshold", lambda name: "f1")
        self.thresholds_ = {name: asked[name] for name in names}
        self.tuned_on_, self.n_tuned_on_ = None, 0
        if not set(asked.values()) & set(THRESHOLDS):
            return
        labelled = [i for i, rows in enumerate(given.rows) if targets.labelled[rows].any()]
        used = list(held_out) or labelled
        part = read_input(EpochSequence([given.recordings[i] for i in used]))
        found = probabilities_of(part, self._forward(part), self.log_odds_)
        self.tuned_on_ = "held_out" if held_out else "training"
        self.n_tuned_on_ = len(used)
        nights = scored_in(given, targets, dict(zip(used, found, strict=True)), names)
        shortest = self._min_durations()
        for name in names:
            if asked[name] in THRESHOLDS:
                self.thresholds_[name] = tune_threshold(
                    nights[name], asked[name], self.gap, shortest[name]
                )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = False
        return tags


# events of a night by type, as intervals of seconds
NightEvents = dict[str, np.ndarray]


def read_nights(X, read) -> EncoderInput:
    """All epochs of nights.

    Parameters
    ----------
    X : list of Recording or dict, or EpochSequence of all their epochs
    read : callable
        Brings a list of recordings to one form.

    Raises
    ------
    InvalidRecordingError
        If X holds some epochs of a night only, or several nights as one element.
    """
    given = read(X.recordings if isinstance(X, EpochSequence) else X)
    if len(given.recordings) != given.n_rows:
        raise InvalidRecordingError(
            "X has a list of several nights as one element; events belong to one night. Pass one "
            "flat list of recordings."
        )
    if not isinstance(X, EpochSequence):
        return read_input(EpochSequence(given.recordings))
    if len(X) != sum(recording.n_epochs for recording in given.recordings):
        raise InvalidRecordingError(
            "X is some of the epochs of its nights, but events are detected in whole ones. Pass "
            "the recordings: X.recordings."
        )
    return read_input(X)


def probabilities_of(given: EncoderInput, outputs: np.ndarray, log_odds: np.ndarray) -> list:
    """Outputs of the head as probabilities, [n_seconds, n_types] of each night."""
    shape = (-1, len(log_odds))
    return [expit(outputs[rows].reshape(shape) + log_odds) for rows in given.rows]


def scored_in(
    given: EncoderInput, targets: Targets, nights: Mapping[int, np.ndarray], names: Sequence[str]
) -> dict[str, list[ScoredEvents]]:
    """Labels and probabilities of some nights, by type.

    Parameters
    ----------
    given : EncoderInput
    targets : Targets
    nights : mapping of int to ndarray of shape (n_seconds, n_types)
        Probabilities by the recording's place in X.
    names : sequence of str
        Of the types.
    """
    by_type: dict[str, list[ScoredEvents]] = {name: [] for name in names}
    for i, probabilities in nights.items():
        truth = targets.values[given.rows[i]].reshape(probabilities.shape)
        recording = given.recordings[i]
        for column, name in enumerate(names):
            night = ScoredEvents(
                truth[:, column], probabilities[:, column], recording.stages, id=recording.id
            )
            by_type[name].append(night)
    return by_type


def found_in(
    given: EncoderInput,
    nights: Sequence[np.ndarray],
    stages,
    thresholds: Mapping[str, float],
    gap: int,
    min_durations: Mapping[str, float],
) -> tuple[list[NightEvents], np.ndarray]:
    """Events of each night, and its hours of sleep.

    Raises
    ------
    ValueError
        If there are stages for another number of nights.
    """
    if stages is not None and len(stages) != len(nights):
        raise ValueError(f"stages must be {len(nights)} arrays, one a night; got {len(stages)}.")
    found, hours = [], np.empty(len(nights))
    for i, (recording, probabilities) in enumerate(zip(given.recordings, nights, strict=True)):
        own = None if stages is None else stages[i]
        asleep = seconds_asleep(recording, own, recording.n_epochs * EPOCH_SECONDS)
        hours[i] = asleep.sum() / 3600
        events = {}
        for column, (name, threshold) in enumerate(thresholds.items()):
            above = probabilities[:, column] > threshold
            events[name] = find_events(above, asleep, gap=gap, min_duration=min_durations[name])
        found.append(events)
    return found, hours


def events_table(
    names: Sequence, nights: Sequence[np.ndarray], found: Sequence[NightEvents]
) -> pd.DataFrame:
    """One row per event, with its mean probability, in the order of nights and of time."""
    tables = []
    for name, probabilities, events in zip(names, nights, found, strict=True):
        for column, (kind, spans) in enumerate(events.items()):
            means = [float(probabilities[a:b, column].mean()) for a, b in spans]
            table = pd.DataFrame(
                {
                    "recording": name,
                    "onset": spans[:, 0].astype(float),
                    "duration": (spans[:, 1] - spans[:, 0]).astype(float),
                    "type": kind,
                    "probability": np.array(means, dtype=float),
                }
            )
            tables.append(table)
    # an empty table among full ones would change the kinds of columns
    full = [table for table in tables if len(table)] or tables[:1]
    order = {name: i for i, name in enumerate(names)}
    return pd.concat(full, ignore_index=True).sort_values(
        ["recording", "onset"],
        key=lambda column: column.map(order) if column.name == "recording" else column,
        kind="stable",
        ignore_index=True,
    )
