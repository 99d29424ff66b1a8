# SPDX-License-Identifier: BSD-3-Clause
"""Apneas, hypopneas, arousals and desaturations second by second, by fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar, Unpack

import numpy as np
import pandas as pd
from scipy.special import expit
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_is_fitted

from .._arguments import shown
from .._validation import POSITIVE, SHARE, Number, StrOptions, validate_params
from ..encoding.inputs import EncoderInput, read_input
from ..errors import InvalidRecordingError
from ..evaluation._lights import warn_of_lights
from ..evaluation.agreement import divide
from ..evaluation.events import ScoredEvents, count_hits, find_events, fit_event_threshold
from ..evaluation.sleep_statistics import seconds_asleep
from ..recordings.epochs import EpochSequence
from ..recordings.modality import EPOCH_SECONDS
from ._base import FineTuningEstimator, SharedParameters, with_shared_parameters
from ._labels import Targets, check_sample_weight, event_targets
from .config import EventRules

if TYPE_CHECKING:
    from sklearn.utils import Tags
    from torch import nn

__all__ = ["Sleep2VecEventDetector"]

# events of a night by type, as intervals of seconds
NightEvents = dict[str, np.ndarray]

_DEFAULT_TYPES = {"apnea_hypopnea": ("apnea", "hypopnea")}
_TUNED = ("f1", "index")
_CANDIDATES = np.arange(1, 50) / 50
_BETWEEN_0_AND_1 = Number(Real, 0, 1, closed="neither")


@with_shared_parameters
class Sleep2VecEventDetector(FineTuningEstimator):
    """Detect events of a night, such as apneas, by fine-tuning a pretrained encoder.

    For each 30-s epoch the head gives the probability of every one of its seconds to lie within an
    event of each type. Seconds above a threshold that are close become one event; :meth:`predict`
    returns the events per hour of sleep, for apneas and hypopneas the AHI.

    Parameters
    ----------
    event_types : sequence of str, dict of str to sequence of str, or None
        Types to detect, each with a probability of its own. An event is of a type if its name says
        all that the type says, in the languages of
        :func:`~sleep2vec_sklearn.evaluation.respiratory_statistics`: "apnea" is obstructive,
        central and mixed apnea, also "Apnée centrale" and "OA", but no hypopnea. A dict puts
        several under one name. None is apneas and hypopneas as one type,
        ``{"apnea_hypopnea": ("apnea", "hypopnea")}``.
    threshold : {"f1", "index"}, float or dict of type to one of these
        Probability above which a second is of an event. "f1" finds the highest F1 of events, and
        "index" the highest correlation of the rates with the scored ones, as the authors do. Both
        use the held-out subjects of training; where there are none, those trained on.
    rules : EventRules, optional
        How seconds above the threshold become events; by default, and with ``rules__gap`` and
        ``rules__min_duration``, as of :class:`~sleep2vec_sklearn.finetuning.EventRules`. Its
        ``event_names`` says what scored names mean that are not understood.
    positive_weight : float or "balanced"
        How much a second of an event counts in training; "balanced" makes both kinds count alike.
    validation_fraction : float
        Share of the *subjects* whose loss tells when to stop, and whose events tune the threshold.

    Attributes
    ----------
    event_types_ : dict of str to tuple of str
        Scored types of each type.
    thresholds_ : dict of str to float
        By type.
    tuned_on_ : {"held_out", "training"} or None
        Subjects whose events tuned the thresholds; None if all were given.
    n_tuned_on_ : int
        Their nights.
    positive_weights_, log_odds_ : float32 ndarray of shape (n_types,)
        Weight of a second of an event, and what the head's outputs are relative to.
    modalities_, net_, history_, device_, precision_, checkpoint_sha256_
        As of :class:`Sleep2VecClassifier`.

    Notes
    -----
    Labels come from ``Recording.events`` or from y. Seconds of epochs without a sleep stage are
    not learned from where the night has stages, as events were not scored there either. The default
    head is "mlp", as the temporal ones do no better with few nights.

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

    _fitted_kinds: ClassVar[dict[str, Any]] = {
        "event_types_": dict, "thresholds_": dict, "tuned_on_": str | None, "n_tuned_on_": int,
        "positive_weights_": np.ndarray, "log_odds_": np.ndarray,
    }  # fmt: skip
    _nested_defaults = FineTuningEstimator._nested_defaults | {"rules": {None: EventRules}}
    _parameter_constraints = FineTuningEstimator._parameter_constraints | {
        "threshold": [StrOptions(set(_TUNED)), _BETWEEN_0_AND_1, dict],
        "rules": [EventRules, None],
        "positive_weight": [StrOptions({"balanced"}), POSITIVE],
    }

    def __init__(  # type: ignore[misc]  # some shared parameters have other defaults
        self,
        checkpoint: Any = "sleep2vec-mini",
        *,
        event_types: Any = None,
        threshold: Any = "f1",
        rules: EventRules | None = None,
        positive_weight: float | str = 1.0,
        head: str = "mlp",
        validation_fraction: float = 0.2,
        **shared: Unpack[SharedParameters],
    ):
        super().__init__(checkpoint, head=head, validation_fraction=validation_fraction, **shared)
        self.event_types = event_types
        self.threshold = threshold
        self.rules = rules
        self.positive_weight = positive_weight

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Sleep2VecEventDetector:
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
            For nights without scored events, or with names of events that are not understood,
            which are left out; and for events that reach out of the night, which are cut.

        Raises
        ------
        ValueError, InvalidRecordingError, ReadError, CheckpointError, TrainingError
            As of :class:`Sleep2VecClassifier`; an InvalidRecordingError also if no night has an
            event of a type.
        """
        self._check_parameters()
        inputs = self._read(X)
        self.event_types_ = read_event_types(self.event_types)
        self._rules_by_type()
        weights = check_sample_weight(sample_weight, len(inputs.recordings))
        counted = np.flatnonzero(weights)
        if y is not None and not hasattr(y, "__len__"):
            raise ValueError(
                f"y is {shown(y)}; accepted are a table of events, a list with an array of seconds "
                "for each night, and None for the events of the recordings. Leave it out for these."
            )
        if y is not None and not isinstance(y, pd.DataFrame) and len(y) == len(weights):
            y = _safe_indexing(y, counted)
        nights = read_input(EpochSequence([inputs.recordings[i] for i in counted]))
        rows = [np.full(inputs.recordings[i].n_epochs, weights[i]) for i in counted]
        return self._fit(nights, y, np.concatenate(rows))

    def predict_proba(self, X: Any) -> list[np.ndarray]:
        """Predict the probability of each second to be within an event.

        Parameters
        ----------
        X : list of Recording or dict

        Returns
        -------
        list of float32 ndarray of shape (n_seconds, n_types)
            One for each night, 30 seconds for each of its epochs.
        """
        return self._probabilities(X)[1]

    def predict_events(self, X: Any, *, stages: Any = None) -> pd.DataFrame:
        """Predict the events of each night.

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
        inputs, nights = self._probabilities(X)
        events, _ = self._detect(inputs, nights, stages)
        names = [i if night.id is None else night.id for i, night in enumerate(inputs.recordings)]
        return events_table(names, nights, events)

    def predict(self, X: Any, *, stages: Any = None) -> np.ndarray:
        """Predict events per hour of sleep; of apneas and hypopneas as one type this is the AHI.

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
        inputs, nights = self._probabilities(X)
        events, hours = self._detect(inputs, nights, stages)
        pairs = zip(events, hours, strict=True)
        rates = np.array([[divide(len(e), h) for e in night.values()] for night, h in pairs])
        return rates[:, 0] if rates.shape[1] == 1 else rates

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """F1 of events over all nights, the mean of the types.

        A scored and a detected event match if they share more than half of the seconds that
        either has; each is matched once.

        Parameters
        ----------
        X : list of Recording or dict
        y : list of DataFrame, optional
            By default ``Recording.events``. Nights without scored events are left out.
        sample_weight : array of shape (len(X),), optional
            Nights with 0 are left out; F1 over pooled events has no other weights.

        Returns
        -------
        float
            NaN where no night has an event of a type, neither scored nor detected.
        """
        scored, rules = self.scored_events(X, y, sample_weight), self._rules_by_type()
        f1 = [pooled_f1(scored[name], self.thresholds_[name], rules[name]) for name in scored]
        return float(np.mean(f1))

    def scored_events(
        self, X: Any, y: Any = None, sample_weight: Any = None
    ) -> dict[str, list[ScoredEvents]]:
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
        inputs, nights = self._probabilities(X)
        targets = event_targets(inputs, y, self.event_types_, False, self._event_names())
        weights = check_sample_weight(sample_weight, len(nights))
        labelled = [(targets.values[rows] >= 0).any() for rows in inputs.rows]
        used = {i: nights[i] for i in range(len(nights)) if weights[i] and labelled[i]}
        return score_by_type(inputs, targets, used, list(self.event_types_))

    def _probabilities(self, X: Any) -> tuple[EncoderInput, list[np.ndarray]]:
        check_is_fitted(self, "net_")
        inputs = self._read(X)
        outputs = self._outputs(inputs.names)
        return inputs, as_probabilities(inputs, outputs, self.log_odds_)

    def _detect(
        self, inputs: EncoderInput, nights: Sequence[np.ndarray], stages: Any
    ) -> tuple[list[NightEvents], np.ndarray]:
        """Events of each night, and its hours of sleep."""
        if stages is not None and len(stages) != len(nights):
            raise ValueError(
                f"stages must be {len(nights)} arrays, one a night; got {len(stages)}."
            )
        warn_of_lights(inputs.recordings)
        by_name = self._rules_by_type().items()
        rules = {name: {"gap": r.gap, "min_duration": r.min_duration} for name, r in by_name}
        detected, hours = [], np.empty(len(nights))
        for i, (recording, probabilities) in enumerate(zip(inputs.recordings, nights, strict=True)):
            own = None if stages is None else stages[i]
            asleep = seconds_asleep(recording, own, recording.n_epochs * EPOCH_SECONDS)
            hours[i] = asleep.sum() / 3600
            columns = zip(self.thresholds_.items(), probabilities.T, strict=True)
            detected.append(
                {
                    name: find_events(p > least, asleep, **rules[name])
                    for (name, least), p in columns
                }
            )
        return detected, hours

    def _rules_by_type(self) -> dict[str, EventRules]:
        """Rules of each type, whose shortest duration is a number."""
        rules = self._expand("rules", self.rules)
        shortest = {name: 3.0 if "arousal" in name else 10.0 for name in self.event_types_}
        durations = by_type(rules.min_duration, shortest, "min_duration")
        return {n: EventRules(gap=rules.gap, min_duration=d) for n, d in durations.items()}

    def _event_names(self) -> Mapping[str, str | None] | None:
        return self._expand("rules", self.rules).event_names

    def _check_parameters(self) -> None:
        super()._check_parameters()
        rules = self._expand("rules", self.rules)
        validate_params(rules)
        thresholds: list[Any] = [StrOptions(set(_TUNED)), _BETWEEN_0_AND_1]
        for name, value, accepted in (
            ("threshold", self.threshold, thresholds),
            ("min_duration", rules.min_duration, [POSITIVE]),
        ):
            for item in value.values() if isinstance(value, dict) else ():
                if not any(constraint.is_satisfied_by(item) for constraint in accepted):
                    listed = " or ".join(map(str, accepted))
                    raise ValueError(f"a value of {name} must be {listed}; got {item!r}.")

    def _read(self, X: Any) -> EncoderInput:
        inputs = super()._read(X.recordings if isinstance(X, EpochSequence) else X)
        if len(inputs.recordings) != inputs.n_rows:
            raise InvalidRecordingError(
                "X has a list of several nights as one element; events belong to one night. Pass "
                "one flat list of recordings."
            )
        if not isinstance(X, EpochSequence):
            return read_input(EpochSequence(inputs.recordings))
        if len(X) != sum(recording.n_epochs for recording in inputs.recordings):
            raise InvalidRecordingError(
                "X is some of the epochs of its nights, but events are detected in whole ones. "
                "Pass the recordings: X.recordings."
            )
        return read_input(X)

    def _encode_targets(self, inputs: EncoderInput, y: Any) -> Targets:
        names = self._event_names()
        targets = event_targets(inputs, y, self.event_types_, event_names=names)
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

    def _criterion(self) -> nn.Module:
        from ._losses import SecondsCrossEntropy

        return SecondsCrossEntropy(self.positive_weights_, self.log_odds_)

    def _try_outputs(self, outputs: np.ndarray) -> None:
        names = list(read_event_types(self.event_types_))
        weights, shape = (self.positive_weights_, self.log_odds_), (len(names),)
        if any(array.shape != shape or array.dtype != np.float32 for array in weights):
            raise ValueError(f"positive_weights_ or log_odds_ are not of shape {shape}")
        thresholds = self.thresholds_.values()
        if list(self.thresholds_) != names or not all(map(SHARE.is_satisfied_by, thresholds)):
            raise ValueError("thresholds_ are no probabilities of the event types")
        self._rules_by_type()

    def _finish_fit(self, inputs: EncoderInput, targets: Targets, held_out: tuple) -> None:
        """Tune the thresholds."""
        names = list(self.event_types_)
        self.thresholds_ = by_type(self.threshold, dict.fromkeys(names, "f1"), "threshold")
        self.tuned_on_, self.n_tuned_on_ = None, 0
        tuned = [name for name in names if self.thresholds_[name] in _TUNED]
        if not tuned:
            return
        labelled = [i for i, rows in enumerate(inputs.rows) if targets.labelled[rows].any()]
        used = list(held_out) or labelled
        part = read_input(EpochSequence([inputs.recordings[i] for i in used]))
        probabilities = as_probabilities(part, self._forward(part), self.log_odds_)
        self.tuned_on_, self.n_tuned_on_ = "held_out" if held_out else "training", len(used)
        nights = score_by_type(inputs, targets, dict(zip(used, probabilities, strict=True)), names)
        rules = self._rules_by_type()
        for name in tuned:
            criterion = self.thresholds_[name]
            self.thresholds_[name] = tune_threshold(nights[name], criterion, rules[name])

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = False
        return tags


def read_event_types(event_types: Any) -> dict[str, tuple[str, ...]]:
    """Name of each type to detect, and the scored types that count as one."""
    if event_types is None:
        return dict(_DEFAULT_TYPES)
    if isinstance(event_types, str):
        event_types = (event_types,)
    is_list = isinstance(event_types, list | tuple | set | Mapping)
    if not is_list or not all(isinstance(name, str) for name in event_types):
        raise ValueError(
            f"event_types is {shown(event_types)}; accepted are names such as ('apnea', "
            "'arousal'), a dict of name to scored types, or None. Pass for example 'apnea'."
        )
    if not isinstance(event_types, Mapping):
        event_types = {name: (name,) for name in event_types}
    groups = {
        k: (v,) if not isinstance(v, list | tuple | set) else tuple(v)
        for k, v in event_types.items()
    }
    named = [*groups, *(name for names in groups.values() for name in names)]
    if not groups or not all(groups.values()) or not all(isinstance(n, str) for n in named):
        raise ValueError(
            "event_types must be names such as ('apnea', 'arousal'), a dict of name to scored "
            f"types such as {{'respiratory': ('apnea', 'hypopnea')}}, or None; got {event_types!r}."
        )
    return groups


def by_type(value: Any, defaults: Mapping[str, Any], parameter: str) -> dict[str, Any]:
    """A parameter's value for each type, from one value, a dict of some, or None."""
    if not isinstance(value, Mapping):
        return dict(defaults) if value is None else dict.fromkeys(defaults, value)
    unknown = sorted(set(value) - set(defaults))
    if unknown:
        raise ValueError(
            f"{parameter} has {', '.join(map(repr, unknown))}; the types to detect are "
            f"{', '.join(defaults)}."
        )
    return {**defaults, **value}


def as_probabilities(
    inputs: EncoderInput, outputs: np.ndarray, log_odds: np.ndarray
) -> list[np.ndarray]:
    """Outputs of the head as probabilities, [n_seconds, n_types] of each night."""
    shape = (-1, len(log_odds))
    return [expit(outputs[rows].reshape(shape) + log_odds) for rows in inputs.rows]


def score_by_type(
    inputs: EncoderInput, targets: Targets, nights: Mapping[int, np.ndarray], names: Sequence[str]
) -> dict[str, list[ScoredEvents]]:
    """Labels and probabilities by type, of nights by their position in X."""
    scored: dict[str, list[ScoredEvents]] = {name: [] for name in names}
    for i, probabilities in nights.items():
        truth = targets.values[inputs.rows[i]].reshape(probabilities.shape)
        recording = inputs.recordings[i]
        for name, labels, p in zip(names, truth.T, probabilities.T, strict=True):
            scored[name].append(ScoredEvents(labels, p, recording.stages, id=recording.id))
    return scored


def events_table(
    names: Sequence, nights: Sequence[np.ndarray], detected: Sequence[NightEvents]
) -> pd.DataFrame:
    """One row per event, with its mean probability, in the order of nights and of time."""
    tables = []
    for name, probabilities, events in zip(names, nights, detected, strict=True):
        for column, (event_type, spans) in enumerate(events.items()):
            means = [float(probabilities[a:b, column].mean()) for a, b in spans]
            columns = {
                "recording": name,
                "onset": spans[:, 0].astype(float),
                "duration": (spans[:, 1] - spans[:, 0]).astype(float),
                "type": event_type,
                "probability": np.array(means, dtype=float),
            }
            tables.append(pd.DataFrame(columns))
    # an empty table among full ones would change the dtypes of columns
    full = [table for table in tables if len(table)] or tables[:1]
    order = {name: i for i, name in enumerate(names)}
    return pd.concat(full, ignore_index=True).sort_values(
        ["recording", "onset"],
        key=lambda column: column.map(order) if column.name == "recording" else column,
        kind="stable",
        ignore_index=True,
    )


def tune_threshold(nights: Sequence[ScoredEvents], criterion: str, rules: EventRules) -> float:
    """The best threshold by F1, the middle of equal ones, or by rates; 0.5 where none is."""
    if criterion == "index" and any(night.sleep_hours for night in nights):
        return fit_event_threshold(nights)
    scores = np.nan_to_num([pooled_f1(nights, threshold, rules) for threshold in _CANDIDATES])
    best = np.flatnonzero(scores == scores.max())
    return float(_CANDIDATES[best[len(best) // 2]]) if scores.max() else 0.5


def pooled_f1(nights: Sequence[ScoredEvents], threshold: float, rules: EventRules) -> float:
    """F1 of the events of all nights; NaN where there is none, scored or detected."""
    hits, n_true, n_detected = count_hits(nights, threshold, rules.gap, rules.min_duration)
    return divide(2 * hits, n_true + n_detected)
