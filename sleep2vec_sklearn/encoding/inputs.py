# SPDX-License-Identifier: BSD-3-Clause
"""What X may be: nights, subjects with several nights, or epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import InvalidRecordingError
from ..signals.epochs import EpochSequence, as_epoch_sequence
from ..signals.naming import as_names, describe_place
from ..signals.recording import Recording, as_recording

__all__ = ["EncoderInput", "read_input"]


@dataclass(frozen=True, slots=True)
class EncoderInput:
    """X in one form.

    Attributes
    ----------
    recordings : tuple of Recording
        Each to be encoded once.
    n_rows : int
        Elements of X.
    rows : tuple of int ndarray
        Rows of X that each recording fills; one row for nights.
    epochs : tuple of int ndarray, or None
        Epochs of each recording for these rows; None for nights.
    places : tuple of str
        How errors name each recording: its place in what was given, and its id.
    names : ndarray, pandas Index or EpochSequence
        Name of each row's recording or subject; the index of a pandas column of recordings; X
        itself where it holds epochs.
    unusable : tuple of str
        Why elements of X are no recordings; their rows are not filled.
    """

    recordings: tuple[Recording, ...]
    n_rows: int
    rows: tuple[np.ndarray, ...]
    epochs: tuple[np.ndarray, ...] | None
    places: tuple[str, ...]
    names: np.ndarray | EpochSequence
    unusable: tuple[str, ...] = ()

    @property
    def unit(self) -> str:
        """What a row stands for."""
        return "night" if self.epochs is None else "epoch"

    def take(self, kept: np.ndarray) -> EncoderInput:
        """The same without some rows.

        Parameters
        ----------
        kept : bool ndarray of shape (n_rows,)
        """
        number = np.cumsum(kept) - 1
        masks = [kept[rows] for rows in self.rows]
        used = [i for i, mask in enumerate(masks) if mask.any()]
        epochs = self.epochs
        return EncoderInput(
            tuple(self.recordings[i] for i in used),
            int(kept.sum()),
            tuple(number[self.rows[i][masks[i]]] for i in used),
            None if epochs is None else tuple(epochs[i][masks[i]] for i in used),
            tuple(self.places[i] for i in used),
            self.names[kept],
            self.unusable,
        )

    @property
    def index(self):
        """pandas index of the rows."""
        import pandas as pd

        if isinstance(self.names, EpochSequence):
            return self.names.index
        if isinstance(self.names, pd.Index):
            return self.names
        return pd.Index(self.names.tolist(), name="recording", tupleize_cols=False)


def read_input(X, on_error: str = "raise") -> EncoderInput:
    """Bring X to one form.

    Parameters
    ----------
    X : list or pandas Series of Recording or dict, list of lists of them, or EpochSequence
    on_error : {"raise", "nan"}
        What a dict does that cannot be a recording.

    Raises
    ------
    InvalidRecordingError
        If X is one recording, empty, or not a list of recordings or epochs; if an element lists
        nights of different subjects; or for such a dict.
    """
    if isinstance(X, Mapping):
        raise InvalidRecordingError(
            "X is one recording; accepted is a list of recordings, one row each. "
            "Wrap it: transform([recording])."
        )
    if hasattr(X, "iloc"):
        X = X.squeeze(axis=1) if X.ndim == 2 and X.shape[1] == 1 else X
    if hasattr(X, "iloc") and X.ndim == 1:
        return replace(read_input(X.tolist(), on_error), names=X.index)
    epochs = as_epoch_sequence(X)
    if epochs is not None:
        return _read_epochs(epochs)
    if not isinstance(X, Sequence | np.ndarray) or isinstance(X, str):
        raise InvalidRecordingError(
            f"X is a {type(X).__module__}.{type(X).__name__}; accepted are a list of recordings "
            "(or dicts of modality to samples), a column of them in pandas, or an EpochSequence."
        )
    if len(X) == 0:
        raise InvalidRecordingError("X has 0 recordings; at least 1 is required.")
    return _read_nights(X, on_error)


def _read_nights(X: Sequence, on_error: str) -> EncoderInput:
    recordings, rows, places, names, unusable = [], [], [], [], []
    for position, element in enumerate(X):
        nights = element if isinstance(element, list | tuple) else [element]
        if len(nights) == 0:
            raise InvalidRecordingError(
                f"recording {position} is an empty list of nights. Leave the subject out."
            )
        _check_one_subject(nights, position)
        name = None
        for number, night in enumerate(nights):
            place = position if len(nights) == 1 else f"{position}, night {number}"
            try:
                recording = as_recording(night, place)
            except InvalidRecordingError as error:
                if on_error == "raise" or not isinstance(night, Mapping):
                    raise
                unusable.append(str(error))
                continue
            recordings.append(recording)
            rows.append(np.array([position]))
            places.append(describe_place(recording, place))
            if name is None:
                by_subject = len(nights) > 1 and recording.subject is not None
                name = recording.subject if by_subject else recording.id
        names.append(name)
    recordings, rows, places = tuple(recordings), tuple(rows), tuple(places)
    return EncoderInput(recordings, len(X), rows, None, places, as_names(names), tuple(unusable))


def _check_one_subject(nights: Sequence, position: int) -> None:
    subjects = [night.subject for night in nights if isinstance(night, Recording)]
    known = [subject for subject in subjects if subject is not None]
    other = next((subject for subject in known if subject != known[0]), None)
    if other is not None:
        raise InvalidRecordingError(
            f"recording {position} lists nights of the subjects {known[0]!r} and {other!r}; "
            "accepted are nights of one, whose mean is that subject's row. Give each subject a "
            "list, or the nights a row each by one flat list."
        )


def _read_epochs(epochs: EpochSequence) -> EncoderInput:
    if len(epochs) == 0:
        raise InvalidRecordingError("X has 0 epochs; at least 1 is required.")
    parts = list(epochs.rows_by_recording())
    return EncoderInput(
        tuple(epochs.recordings[place] for place, _ in parts),
        len(epochs),
        tuple(rows for _, rows in parts),
        tuple(epochs.epoch_index[rows] for _, rows in parts),
        tuple(describe_place(epochs.recordings[place], place) for place, _ in parts),
        epochs,
    )
