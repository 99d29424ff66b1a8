# SPDX-License-Identifier: BSD-3-Clause
"""What X may be: nights, subjects with several nights, or epochs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ..errors import InvalidRecordingError
from ..recordings.epochs import EpochSequence, as_epoch_sequence
from ..recordings.recording import (
    Recording,
    as_names,
    as_recording,
    describe_recording,
    name_subjects,
)

__all__ = [
    "EncoderInput",
    "RowKey",
    "RowKeys",
    "as_row_keys",
    "read_input",
]


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
            places.append(describe_recording(recording, place))
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
        tuple(describe_recording(epochs.recordings[place], place) for place, _ in parts),
        epochs,
    )


class RowKey(NamedTuple):
    """Name of one row: a night or subject, and its epoch where rows are epochs."""

    recording: object
    epoch: int | None = None


class RowKeys(Sequence):
    """Keys of rows, one element per row; indexed by scikit-learn as X is.

    A flat view over shared names, a few bytes per row. ``EmbeddingTable.X`` is one, and stands
    for the recordings where no signal is at hand.

    Parameters
    ----------
    names : sequence
        Names of nights or subjects, all different.
    subjects : sequence
        Subject of each of them.
    recording_index : int array of shape (n,)
        Which name each row has.
    epoch_index : int array of shape (n,), optional
        Epoch of each row; None where rows are nights.
    stages : int8 array of shape (n,), optional
        Sleep stage of each row.

    Examples
    --------
    >>> from sleep2vec_sklearn.encoding import RowKeys
    >>> X = RowKeys(["n1", "n2"], ["ann", "bob"], [0, 0, 1], [0, 1, 0])
    >>> X[1:][0], X[[2, 0]].groups.tolist()
    (RowKey(recording='n1', epoch=1), ['bob', 'ann'])
    """

    ndim = 1

    def __init__(self, names, subjects, recording_index, epoch_index=None, stages=None):
        self.names = np.fromiter(names, dtype=object, count=len(names))
        self.subjects = np.fromiter(subjects, dtype=object, count=len(subjects))
        self.recording_index = np.asarray(recording_index, dtype=np.int32)
        self.epoch_index = None if epoch_index is None else np.asarray(epoch_index, dtype=np.int32)
        self._stages = None if stages is None else np.asarray(stages, dtype=np.int8)

    @classmethod
    def from_input(cls, given: EncoderInput) -> RowKeys:
        """Keys of the rows that a transformer gives for X."""
        if given.epochs is not None:
            epochs = given.names
            names = as_names([recording.id for recording in epochs.recordings])
            subjects = name_subjects(epochs.recordings)
            rows = (epochs.recording_index, epochs.epoch_index, epochs.stages)
        else:
            names = given.names
            subjects = as_names(_subjects_of_nights(given))
            rows = (np.arange(given.n_rows),)
        return cls._merged(names, subjects, *rows)

    @classmethod
    def from_index(cls, index) -> RowKeys:
        """Keys from a pandas index, such as ``EmbeddingTable.index`` or a part of it."""
        epochs = None
        if index.nlevels == 2:
            epochs = index.get_level_values(1).to_numpy()
            index = index.get_level_values(0)
        names = np.fromiter(index, dtype=object, count=len(index))
        return cls._merged(names, names, np.arange(len(names)), epochs)

    @classmethod
    def _merged(cls, names, subjects, recording_index, epochs=None, stages=None) -> RowKeys:
        """Make names unique: a night given twice has its rows twice."""
        import pandas as pd

        codes, unique = pd.factorize(names)
        first = np.unique(codes, return_index=True)[1]
        return cls(unique, subjects[first], codes[recording_index], epochs, stages)

    @classmethod
    def concat(cls, parts: Sequence[RowKeys]) -> RowKeys:
        """The rows of several, all of one kind."""
        starts = np.cumsum([0, *(len(part.names) for part in parts)])
        places = [p.recording_index + s for p, s in zip(parts, starts, strict=False)]
        epochs = stages = None
        if parts[0].epoch_index is not None:
            epochs = np.concatenate([part.epoch_index for part in parts])
            stages = np.concatenate([part.stages for part in parts])
        return cls._merged(
            np.concatenate([part.names for part in parts]),
            np.concatenate([part.subjects for part in parts]),
            np.concatenate(places),
            epochs,
            stages,
        )

    @property
    def unit(self) -> str:
        """What a row stands for, "night" or "epoch"."""
        return "night" if self.epoch_index is None else "epoch"

    @property
    def groups(self) -> np.ndarray:
        """Subject of each row, else its recording; object array of shape (n,)."""
        return self.subjects[self.recording_index]

    @property
    def stages(self) -> np.ndarray:
        """Sleep stage of each row, int8 of shape (n,); -1 where there is none."""
        return np.full(len(self), -1, dtype=np.int8) if self._stages is None else self._stages

    @property
    def index(self):
        """pandas index: recordings, or a MultiIndex (recording, epoch)."""
        import pandas as pd

        names = self.names[self.recording_index]
        if self.epoch_index is None:
            return pd.Index(names.tolist(), name="recording", tupleize_cols=False)
        return pd.MultiIndex.from_arrays([names, self.epoch_index], names=["recording", "epoch"])

    def __len__(self) -> int:
        return len(self.recording_index)

    @property
    def shape(self) -> tuple[int]:
        """(n,); scikit-learn counts samples and picks its way of indexing by it."""
        return (len(self),)

    def __getitem__(self, key):
        if isinstance(key, tuple) and len(key) == 2 and key[1] is Ellipsis:
            key = key[0]
        if isinstance(key, (int, np.integer)):
            epoch = None if self.epoch_index is None else int(self.epoch_index[key])
            return RowKey(self.names[self.recording_index[key]], epoch)
        if not isinstance(key, slice):
            key = np.asarray(key)
            key = key.astype(np.intp) if key.size == 0 else key
        per_row = (self.recording_index, self.epoch_index, self._stages)
        taken = (None if values is None else values[key] for values in per_row)
        return RowKeys(self.names, self.subjects, *taken)

    def __iter__(self) -> Iterator[RowKey]:
        return (self[i] for i in range(len(self)))

    def __array__(self, *args, **kwargs):
        raise TypeError(
            "names of rows are not an array: put this step after a PrecomputedEmbeddings, which "
            "turns them into rows of numbers."
        )

    def __repr__(self) -> str:
        used = len(np.unique(self.recording_index))
        return f"RowKeys({len(self)} {self.unit}s of {used} recordings)"


def as_row_keys(X) -> RowKeys:
    """Take as keys: some, a pandas index, recordings, subjects' nights, or epochs.

    Raises
    ------
    InvalidRecordingError
        If X is none of these, or a recording has no name to be looked up by.
    """
    if isinstance(X, RowKeys):
        return X
    if hasattr(X, "nlevels"):
        return RowKeys.from_index(X)
    if isinstance(X, list | tuple) and len(X) and all(isinstance(x, RowKey) for x in X):
        names = as_names([x.recording for x in X])
        epochs = None if X[0].epoch is None else np.array([x.epoch for x in X])
        return RowKeys._merged(names, names, np.arange(len(X)), epochs)
    given = read_input(X)
    _check_named(given)
    return RowKeys.from_input(given)


def _first_recordings(given: EncoderInput) -> dict[int, tuple]:
    """Row of a night or subject to its first recording and the number of its recordings."""
    found: dict[int, tuple] = {}
    for recording, rows in zip(given.recordings, given.rows, strict=True):
        first, count = found.get(int(rows[0]), (recording, 0))
        found[int(rows[0])] = first, count + 1
    return found


def _subjects_of_nights(given: EncoderInput) -> list:
    first = _first_recordings(given)
    subjects = [first[i][0].subject if i in first else None for i in range(given.n_rows)]
    return [given.names[i] if who is None else who for i, who in enumerate(subjects)]


def _check_named(given: EncoderInput) -> None:
    nights = {} if given.epochs is not None else _first_recordings(given)
    by_subject = {row for row, (r, count) in nights.items() if count > 1 and r.subject is not None}
    for recording, rows, place in zip(given.recordings, given.rows, given.places, strict=True):
        if recording.id is None and int(rows[0]) not in by_subject:
            raise InvalidRecordingError(
                f"recording {place.removeprefix('recording ')} has no id, and rows of a table are "
                "looked up by it. Make it a Recording(..., id=...) before embedding, "
                "or pass the table's own X or a part of it."
            )
