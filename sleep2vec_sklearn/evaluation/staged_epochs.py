# SPDX-License-Identifier: BSD-3-Clause
"""Epochs with a scored and a predicted stage, and the nights they are of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..errors import InvalidRecordingError
from ..signals import SleepStage
from ..signals.epochs import EpochSequence, as_epoch_sequence
from ..signals.naming import as_names
from .stage_classes import merge_stages

__all__ = ["StagedEpochs", "StagedPair", "read_epochs"]


@dataclass(frozen=True, slots=True)
class StagedPair:
    """One night, scored and predicted; -1 in both where either is missing."""

    name: object
    subject: object
    scored: np.ndarray
    predicted: np.ndarray
    lights: tuple | None


@dataclass(frozen=True, slots=True)
class StagedEpochs:
    """Two labels per epoch.

    Attributes
    ----------
    y_true, y_pred : int8 ndarray of shape (n,)
    groups : ndarray of shape (n,)
        Subjects.
    place : int ndarray of shape (n,)
        Night of each epoch.
    epoch : int ndarray of shape (n,)
        Its place in the night.
    names : ndarray of shape (n_nights,)
    lengths : int ndarray of shape (n_nights,)
        Epochs of each night.
    lights : tuple
        Of each night.
    """

    y_true: np.ndarray
    y_pred: np.ndarray
    groups: np.ndarray
    place: np.ndarray
    epoch: np.ndarray
    names: np.ndarray
    lengths: np.ndarray
    lights: tuple

    @property
    def scored(self) -> np.ndarray:
        """Where there is a scored stage."""
        return self.y_true >= 0

    @property
    def predicted(self) -> np.ndarray:
        """Where there is a predicted one."""
        return self.y_pred >= 0

    @property
    def both(self) -> np.ndarray:
        """Where there are two to compare."""
        return self.scored & self.predicted

    def compared(self) -> tuple[np.ndarray, np.ndarray]:
        """The stages there."""
        return self.y_true[self.both], self.y_pred[self.both]

    def nights(self) -> Iterator[StagedPair]:
        """Yield each night that has such an epoch, whole."""
        for place in np.unique(self.place[self.both]):
            mine = (self.place == place) & self.both
            sides = []
            for labels in (self.y_true, self.y_pred):
                side = np.full(self.lengths[place], int(SleepStage.unscored), dtype=np.int8)
                side[self.epoch[mine]] = labels[mine]
                sides.append(side)
            subject = self.groups[mine][0]
            yield StagedPair(self.names[place], subject, *sides, self.lights[place])


def read_epochs(y_true, y_pred, groups, recordings, n_classes: int) -> StagedEpochs:
    """Bring what :func:`staging_report` takes to one form.

    Raises
    ------
    InvalidRecordingError
        If lengths differ, nights are given twice, a label is no stage, or nothing can be compared.
    """
    X = as_epoch_sequence(y_true)
    given = {"y_pred": y_pred, "groups": groups, "recordings": recordings}
    n = len(y_true)
    lengths = {name: len(values) for name, values in given.items() if values is not None}
    unlike = {name: length for name, length in lengths.items() if length != n}
    if unlike:
        raise InvalidRecordingError(
            f"y_true has {n} epochs, but {', '.join(f'{k} has {v}' for k, v in unlike.items())}; "
            "accepted is one element per epoch. Predict the epochs that y_true holds."
        )
    if X is not None and recordings is not None:
        raise InvalidRecordingError(
            "recordings is given beside an EpochSequence, which knows its own. Leave it out, or "
            "pass X.stages as y_true."
        )
    night = _nights_of_names(recordings, n) if X is None else _nights_of_sequence(X)
    if groups is None:
        groups = night["names"][night["place"]] if X is None else X.groups
    found = StagedEpochs(
        y_true=merge_stages(y_true if X is None else X.stages, n_classes),
        y_pred=merge_stages(y_pred, n_classes),
        groups=as_names(list(groups)),
        **night,
    )
    if not found.both.any():
        raise InvalidRecordingError(
            f"none of the {n} epochs has both a scored and a predicted stage: {found.scored.sum()} "
            f"are scored, {found.predicted.sum()} predicted. Read the recordings with their "
            "hypnograms, or pass the scored stages as y_true."
        )
    _check_subjects(found)
    return found


def _nights_of_sequence(X: EpochSequence) -> dict:
    return {
        "place": X.recording_index,
        "epoch": X.epoch_index,
        "names": as_names([recording.id for recording in X.recordings]),
        "lengths": np.array([recording.n_epochs for recording in X.recordings]),
        "lights": tuple(recording.lights for recording in X.recordings),
    }


def _nights_of_names(recordings, n: int) -> dict:
    names = as_names(list(np.zeros(n, dtype=int) if recordings is None else recordings))
    names, place = np.unique(names, return_inverse=True)
    lengths = np.bincount(place, minlength=len(names))
    order = np.argsort(place, kind="stable")
    epoch = np.empty(n, dtype=int)
    epoch[order] = np.arange(n) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    lights = (None,) * len(names)
    return {"place": place, "epoch": epoch, "names": names, "lengths": lengths, "lights": lights}


def _check_subjects(epochs: StagedEpochs) -> None:
    pairs = {(int(p), g) for p, g in zip(epochs.place, epochs.groups, strict=True)}
    if len(pairs) > len({place for place, _ in pairs}):
        seen: dict[int, str] = {}
        for place, group in sorted(pairs):
            if seen.setdefault(place, group) != group:
                raise InvalidRecordingError(
                    f"groups gives epochs of recording {epochs.names[place]!r} to the subjects "
                    f"{seen[place]!r} and {group!r}; accepted is one subject per night."
                )
