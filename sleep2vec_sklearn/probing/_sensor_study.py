# SPDX-License-Identifier: BSD-3-Clause
"""Estimators fitted on intact nights and scored on altered ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_is_fitted

from .._files import sha256
from .._html import ShownAsTable
from .._validation import as_random_state
from .._warnings import warn
from ..encoding._base import components, signals_read
from ..errors import InvalidRecordingError, ModalityWarning
from ..evaluation._cross_validation import (
    HeldOutPredictions,
    ResampledScores,
    SubjectScorer,
    check_labels,
    fit_aligning_classes,
    kind_of,
    named_scorers,
)
from ..evaluation._subjects import SubjectBootstrap, folds_by_subject, subjects_of
from ..recordings.epochs import EpochSequence, as_epoch_sequence
from ..recordings.modality import MODALITIES, list_modalities
from ..recordings.recording import Recording, as_recording
from ..recordings.sources import Signal, SignalLayout

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike

PREFIT = "prefit"


class SensorStudy:
    """An estimator, as it is or fitted on each fold's intact nights, its test nights and scores."""

    def __init__(
        self, estimator: Any, X: Any, y: ArrayLike, groups: Iterable | None, cv: Any, scoring: Any,
        average: str, level: float, n_resamples: int, random_state: Any,
    ) -> None:  # fmt: skip
        if any(type(part).__name__ == "PrecomputedEmbeddings" for part in components(estimator)):
            raise TypeError(
                "PrecomputedEmbeddings looks rows up by recording, so a lost sensor would change "
                "nothing. Use a Sleep2VecTransformer; its cache encodes each signal once."
            )
        self.estimator = estimator
        self.nights = Nights(X)
        subjects = subjects_of(self.nights.X, groups)
        self.y, self.classes = check_target(y, self.nights.X, estimator)
        self.prefit = isinstance(cv, str) and cv == PREFIT
        if self.prefit:
            check_is_fitted(estimator)
            self.folds: list[tuple[Any, np.ndarray]] = [(None, np.arange(len(self.y)))]
        else:
            classify = self.classes is not None
            self.folds = folds_by_subject(cv, self.y, subjects, classify=classify)
        self.seed = draw_seed(random_state)
        self.draws = SubjectBootstrap(subjects, n_resamples, level, self.seed)
        scorers = named_scorers(scoring, self.y, estimator)
        self.scorer = SubjectScorer(scorers, self.y, self.draws, average)
        self._fitted: Any = [estimator] if self.prefit else None

    def choose_modalities(self, names: Iterable[str] | None = None) -> tuple[str, ...]:
        """The modalities named, else all that the nights have and the estimator reads."""
        present = self.nights.modalities
        # what a fitted transformer reads; any, if there is none
        supported = signals_read(self.estimator) or tuple(MODALITIES)
        chosen = tuple(list_modalities(names))
        if names is None:
            chosen = tuple(name for name in present if name in supported)
        absent = [name for name in chosen if name not in present]
        if absent or not chosen:
            raise InvalidRecordingError(
                f"{', '.join(absent) or 'no modality'}: in none of the "
                f"{len(self.nights.recordings)} nights that the estimator reads; they have "
                f"{', '.join(present)}. Leave it out."
            )
        unread = [name for name in chosen if name not in supported]
        if unread:
            raise InvalidRecordingError(
                f"{', '.join(unread)}: not read by this estimator, which was fitted for "
                f"{', '.join(supported)}. Leave it out, or fit one that reads it."
            )
        return chosen

    def score_intact(self) -> ResampledScores:
        """Score the nights as they are."""
        return self.score(self.nights.X, np.arange(len(self.y)))

    def score(self, X: Any, rows: np.ndarray, *, refit: bool = False) -> ResampledScores:
        """Score altered nights, which have ``rows`` of the intact X; NaN if there are none."""
        if self._fitted is None and len(rows) and not refit:
            every = np.arange(len(self.y))
            self._fitted = [self._fit_fold(self.nights.X, every, train) for train, _ in self.folds]
        parts, tested = [], []
        for fold, (train, test) in enumerate(self.folds):
            test_rows = np.intersect1d(test, rows)
            if not len(test_rows) or (refit and not np.isin(train, rows).any()):
                continue
            fitted = self._fit_fold(X, rows, train) if refit else self._fitted[fold]
            parts.append((fitted, _safe_indexing(X, np.searchsorted(rows, test_rows))))
            tested.append(test_rows)
        if not parts:
            shape = len(self.draws.subjects), len(self.scorer.scorers)
            return self.scorer.from_subjects(np.full(shape, np.nan))
        all_tested = np.concatenate(tested)
        predictions = held_out(parts, all_tested, len(self.y), self.classes)
        # on part of the rows, a metric may be undefined for lack of subjects
        return self.scorer.score(predictions, all_tested, strict=len(rows) == len(self.y))

    def _fit_fold(self, X: Any, rows: np.ndarray, train: np.ndarray) -> Any:
        train = np.intersect1d(train, rows)
        X = _safe_indexing(X, np.searchsorted(rows, train))
        groups = self.draws.subjects[self.draws.codes[train]]
        return fit_aligning_classes(self.estimator, X, self.y[train], self.classes, groups)

    def warn_of_untrained(self, modalities: Sequence[str]) -> None:
        """Warn of modalities that are tested but in no training night of a fold."""
        if self.prefit:
            return
        seen = [Nights(_safe_indexing(self.nights.X, train)).used() for train, _ in self.folds]
        unseen = {name: sum(name not in names for names in seen) for name in modalities}
        listed = [f"{name} ({n} of {len(seen)} folds)" for name, n in unseen.items() if n]
        if listed:
            warn(
                f"{', '.join(listed)}: in no training night. What is fitted after the encoder has "
                "never seen such tokens, so scores on them show the encoder's alignment alone. "
                "Leave the modality out, or choose folds that have it on both sides.",
                ModalityWarning,
            )


def draw_seed(random_state: Any) -> int:
    """A seed for NumPy's generators from what scikit-learn accepts as ``random_state``."""
    return int(as_random_state(random_state).randint(2**31 - 1))


def check_target(y: ArrayLike, X: Any, estimator: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Labels as an array, and their classes if the estimator is a classifier."""
    classify = is_classifier(estimator)
    y = check_labels(y, X, classify=classify)
    if not classify or y.ndim > 1:
        return y, None
    classes = np.unique(y)
    if len(classes) < 2:
        raise ValueError(
            f"y has one class ({classes[0]}); a classifier needs two. Check the labels, or "
            "which rows were chosen."
        )
    return y, classes


def held_out(
    parts: Sequence[tuple], rows: np.ndarray, n_rows: int, classes: np.ndarray | None
) -> HeldOutPredictions:
    """Predictions for held-out rows, from pairs of a fold's fitted estimator and its test X."""
    predictions = _LazyPredictions(parts, rows, n_rows)
    return HeldOutPredictions(predictions, kind_of(parts[0][0]), classes)


class _LazyPredictions:
    """By method, the predictions of all folds, made once when a scorer asks for them."""

    def __init__(self, parts: Sequence[tuple], rows: np.ndarray, n_rows: int):
        self._parts, self._rows, self._n_rows = list(parts), rows, n_rows
        self._computed: dict[str, np.ndarray] = {}

    def __contains__(self, method: str) -> bool:
        offered = all(hasattr(fitted, method) for fitted, _ in self._parts)
        # decision values of different fits have no common scale, so probabilities are preferred
        return offered and not (method == "decision_function" and "predict_proba" in self)

    def __getitem__(self, method: str) -> np.ndarray:
        if method not in self._computed:
            values = np.concatenate([getattr(fitted, method)(X) for fitted, X in self._parts])
            # rows that are not held out are never asked for
            self._computed[method] = np.zeros((self._n_rows, *values.shape[1:]), values.dtype)
            self._computed[method][self._rows] = values
        return self._computed[method]


def summarise(
    scorer: SubjectScorer, repeats: Sequence[ResampledScores]
) -> Iterator[tuple[str, tuple[float, ...], tuple]]:
    """Per metric its name; mean over repeats, confidence limits, SD; estimate and replicates."""
    mean = scorer.average_of(repeats)
    low, high = scorer.draws.interval(mean.replicates)
    columns = (mean.estimates, low, high, scorer.spread_of(repeats))
    values = zip(*(column.tolist() for column in columns), strict=True)
    yield from zip(
        scorer.scorers, values, zip(mean.estimates, mean.replicates.T, strict=True), strict=True
    )


def paired_differences(
    draws: SubjectBootstrap, replicates: Mapping[tuple, tuple], reference: tuple
) -> Iterator[tuple]:
    """Each score, by (..., metric), minus the reference's in that metric, and confidence limits."""
    for key, (estimate, resampled) in replicates.items():
        base, base_resampled = replicates[*reference, key[-1]]
        low, high = draws.interval(resampled - base_resampled)
        yield (*key, estimate - base, float(low), float(high))


class Nights:
    """The recordings of X, each once; X is a list of them, of lists of them, or of epochs."""

    def __init__(self, X: Any):
        self.X: Any = as_epoch_sequence(X)
        if self.X is not None:
            self.recordings: tuple[Recording, ...] = self.X.recordings
            return
        rows = X.tolist() if hasattr(X, "iloc") and X.ndim == 1 else X
        if not isinstance(rows, Sequence | np.ndarray) or isinstance(rows, str):
            raise InvalidRecordingError(
                f"X is a {type(X).__module__}.{type(X).__name__}; a study of sensors needs the "
                "recordings themselves: a list of them, or an EpochSequence."
            )
        self.X = [_read_row(row, index) for index, row in enumerate(rows)]
        flat = [night for row in self.X for night in (row if isinstance(row, list) else [row])]
        self.recordings = tuple({id(night): night for night in flat}.values())

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities of any night, in the catalogue's order."""
        return in_catalogue_order(name for night in self.recordings for name in night.modalities)

    def used(self) -> set[str]:
        """Modalities of any row; a slice of epochs keeps nights that none of its rows is of."""
        nights = self.recordings
        if isinstance(self.X, EpochSequence):
            nights = tuple(nights[index] for index in np.unique(self.X.recording_index))
        return {name for night in nights for name in night.modalities}

    def replace(self, function: Callable[..., Recording | None]) -> tuple:
        """X with ``function(night, index)`` for each night, None for none, and the rows left."""
        new = [function(night, index) for index, night in enumerate(self.recordings)]
        if isinstance(self.X, EpochSequence):
            return self._replace_epochs(new)
        new_of = {id(old): night for old, night in zip(self.recordings, new, strict=True)}
        X, rows = [], []
        for index, row in enumerate(self.X):
            several = isinstance(row, list)
            replaced = (new_of[id(night)] for night in (row if several else [row]))
            nights = [night for night in replaced if night is not None]
            if nights:
                X.append(nights if several else nights[0])
                rows.append(index)
        return X, np.array(rows, dtype=int)

    def _replace_epochs(self, new: Sequence[Recording | None]) -> tuple:
        exists = np.array([night is not None for night in new])
        rows = np.flatnonzero(exists[self.X.recording_index])
        if not len(rows):
            return [], rows
        nights = [night for night in new if night is not None]
        first_epochs = np.cumsum([0, *(night.n_epochs for night in nights)])
        new_index = np.cumsum(exists) - 1
        recording = new_index[self.X.recording_index[rows]]
        return EpochSequence(nights)[first_epochs[recording] + self.X.epoch_index[rows]], rows


def _read_row(row: Any, index: int) -> Recording | list[Recording]:
    if isinstance(row, list | tuple):
        return [as_recording(night, f"{index}, night {k}") for k, night in enumerate(row)]
    return as_recording(row, index)


def in_catalogue_order(names: Iterable[str]) -> tuple[str, ...]:
    """Names of modalities in the catalogue's order, each once."""
    names = set(names)
    return tuple(name for name in MODALITIES if name in names)


class Alteration:
    """A change to one modality: how to read it, and the hash of what its samples depend on."""

    apply: Callable[[Recording, str], Signal]
    fingerprint: Callable[[Recording, str], str]

    def layout(self, night: Recording, name: str) -> SignalLayout:
        """Rate, unit and length of the altered signal."""
        rate = night.rates[name]
        return SignalLayout(rate, night.units[name], round(night.duration * rate))


class StudyResult(ShownAsTable):
    """What results have in common whose ``summary`` has a row per condition and metric."""

    summary: pd.DataFrame
    average: str
    level: float

    def to_frame(self) -> pd.DataFrame:
        """:attr:`summary` with the scores in a column ``value``, as other results have it."""
        return self.summary.rename(columns={"score": "value"})

    def _headline(self) -> str:
        how = "all rows together" if self.average == "pooled" else "mean over subjects"
        return f"{type(self).__name__}({how}, {100 * self.level:g} % confidence intervals)"


def digest(*parts: object) -> str:
    """Hex sha256 of values by their ``repr``."""
    return sha256(repr(parts))


def alter(night: Recording, changes: Mapping[str, Alteration]) -> Recording:
    """The same night with some modalities altered; changes to those it lacks are ignored."""
    changes = {name: change for name, change in changes.items() if name in night.modalities}
    if not changes:
        return night
    return Recording.from_source(
        _AlteredSource(night, changes), subject=night.subject, metadata=night.metadata,
        stages=night.stages, events=night.events, start=night.start, lights=night.lights,
        duration=night.duration, id=night.id, notes=night.notes,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _AlteredSource:
    """Signals of a night, some of them altered."""

    night: Recording
    changes: Mapping[str, Alteration]

    derived = property(lambda self: self.night.derived)
    files = property(lambda self: self.night.files)

    @property
    def layout(self) -> dict[str, SignalLayout]:
        intact, names = Alteration(), self.night.modalities
        return {name: self.changes.get(name, intact).layout(self.night, name) for name in names}

    def read(self, names: Sequence[str]) -> dict[str, Signal]:
        signals = self.night.read([name for name in names if name not in self.changes])
        altered = [name for name in names if name in self.changes]
        signals |= {name: self.changes[name].apply(self.night, name) for name in altered}
        return {name: signals[name] for name in names}

    def fingerprint(self) -> str:
        return digest(*(self.signal_fingerprint(name) for name in self.night.modalities))

    def signal_fingerprint(self, name: str) -> str:
        if name in self.changes:
            return self.changes[name].fingerprint(self.night, name)
        return self.night.signal_fingerprint(name)
