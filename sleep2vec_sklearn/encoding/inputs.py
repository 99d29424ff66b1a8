# SPDX-License-Identifier: BSD-3-Clause
"""Forms of X: nights, subjects with several nights, epochs, and keys that stand for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np

from .._arguments import as_index, is_whole
from .._warnings import listed
from ..errors import InvalidRecordingError
from ..recordings.epochs import EpochSequence, as_epoch_sequence, as_rows
from ..recordings.recording import (
    Recording,
    as_names,
    as_recording,
    describe_recording,
    name_subjects,
)

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike


class RowKey(NamedTuple):
    """Name of one row: a night or subject, and its epoch where rows are epochs."""

    recording: object
    epoch: int | None = None


class RowKeys(Sequence):
    """Keys of rows, one element per row; indexed by scikit-learn as X is.

    A few bytes per row. ``EmbeddingTable.X`` is one, and stands for the recordings where no signal
    is at hand.

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

    def __init__(
        self, names: Sequence | np.ndarray, subjects: Sequence | np.ndarray,
        recording_index: ArrayLike, epoch_index: ArrayLike | None = None,
        stages: ArrayLike | None = None,
    ):  # fmt: skip
        self.names = np.fromiter(names, dtype=object, count=len(names))
        self.subjects = np.fromiter(subjects, dtype=object, count=len(subjects))
        self.recording_index = np.asarray(recording_index, dtype=np.int32)
        self.epoch_index = None if epoch_index is None else np.asarray(epoch_index, dtype=np.int32)
        self._stages = None if stages is None else np.asarray(stages, dtype=np.int8)

    @classmethod
    def from_input(cls, inputs: EncoderInput) -> RowKeys:
        """Keys of the rows that a transformer gives for X."""
        if inputs.epochs is None:
            subjects = as_names(_subjects_of_nights(inputs))
            return cls._merged(inputs.names, subjects, np.arange(inputs.n_rows))
        X = inputs.names
        names = as_names([recording.id for recording in X.recordings])
        rows = (X.recording_index, X.epoch_index, X.stages)
        return cls._merged(names, name_subjects(X.recordings), *rows)

    @classmethod
    def from_index(cls, index: pd.Index) -> RowKeys:
        """Keys from a pandas index, such as ``EmbeddingTable.index`` or a part of it."""
        epochs = None
        if index.nlevels == 2:
            epochs = index.get_level_values(1).to_numpy()
            index = index.get_level_values(0)
        names = np.fromiter(index, dtype=object, count=len(index))
        return cls._merged(names, names, np.arange(len(names)), epochs)

    @classmethod
    def _merged(
        cls, names: np.ndarray, subjects: np.ndarray, recording_index: np.ndarray,
        epochs: np.ndarray | None = None, stages: np.ndarray | None = None,
    ) -> RowKeys:  # fmt: skip
        """Make names unique: a night that X holds twice has its rows twice."""
        import pandas as pd

        # a missing name is one, too: without a code it would be taken for the last
        codes, unique = pd.factorize(names, use_na_sentinel=False)
        first = np.unique(codes, return_index=True)[1]
        return cls(unique, subjects[first], codes[recording_index], epochs, stages)

    @classmethod
    def concat(cls, parts: Sequence[RowKeys]) -> RowKeys:
        """The rows of several, all of one kind."""
        starts = np.cumsum([0, *(len(part.names) for part in parts)])
        shifted = [p.recording_index + start for p, start in zip(parts, starts, strict=False)]
        columns = ["names", "subjects"]
        if parts[0].epoch_index is not None:
            columns += ["epoch_index", "stages"]
        names, subjects, *rest = (np.concatenate([getattr(p, c) for p in parts]) for c in columns)
        return cls._merged(names, subjects, np.concatenate(shifted), *rest)

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
    def index(self) -> pd.Index:
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

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, tuple) and len(key) == 2 and key[1] is Ellipsis:
            key = key[0]
        if is_whole(key):
            key = as_index(key, len(self))
            epoch = None if self.epoch_index is None else int(self.epoch_index[key])
            return RowKey(self.names[self.recording_index[key]], epoch)
        key = as_rows(key)
        per_row = (self.recording_index, self.epoch_index, self._stages)
        selected: list = [None if values is None else values[key] for values in per_row]
        return RowKeys(self.names, self.subjects, *selected)

    def __iter__(self) -> Iterator[RowKey]:
        return (self[i] for i in range(len(self)))

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(
            "names of rows are not an array: put this step after a PrecomputedEmbeddings, which "
            "turns them into rows of numbers."
        )

    def __repr__(self) -> str:
        n_recordings = len(np.unique(self.recording_index))
        return f"RowKeys({len(self)} {self.unit}s of {n_recordings} recordings)"


@dataclass(frozen=True, slots=True)
class EncoderInput:
    """X in one form."""

    recordings: tuple[Recording, ...]  # each to be encoded once
    n_rows: int  # elements of X
    rows: tuple[np.ndarray, ...]  # those that each recording fills; one for nights
    epochs: tuple[np.ndarray, ...] | None  # of each recording for these rows; None for nights
    locations: tuple[str, ...]  # how errors name each recording: its position in X, and its id
    # name of each row's recording or subject, the index of a pandas column, or X if it holds epochs
    names: Any
    unusable: tuple[str, ...] = ()  # why elements of X are no recordings; their rows stay empty

    @property
    def unit(self) -> str:
        """What a row stands for."""
        return "night" if self.epochs is None else "epoch"

    def take(self, mask: np.ndarray) -> EncoderInput:
        """The same with the rows of a bool mask alone."""
        new_row = np.cumsum(mask) - 1
        in_mask = [mask[rows] for rows in self.rows]
        used = [i for i, selected in enumerate(in_mask) if selected.any()]
        epochs = self.epochs
        return replace(
            self,
            recordings=tuple(self.recordings[i] for i in used),
            n_rows=int(mask.sum()),
            rows=tuple(new_row[self.rows[i][in_mask[i]]] for i in used),
            epochs=None if epochs is None else tuple(epochs[i][in_mask[i]] for i in used),
            locations=tuple(self.locations[i] for i in used),
            names=self.names[mask],
        )

    @property
    def index(self) -> pd.Index:
        """pandas index of the rows."""
        import pandas as pd

        if isinstance(self.names, EpochSequence):
            return self.names.index
        if isinstance(self.names, pd.Index):
            return self.names
        return pd.Index(self.names.tolist(), name="recording", tupleize_cols=False)


def read_input(X: Any, on_error: str = "raise") -> EncoderInput:
    """Bring X to one form; with ``on_error="nan"``, dicts that are no recordings are unusable."""
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
    is_numeric = isinstance(X, np.ndarray) and X.dtype != object
    if is_numeric or not isinstance(X, Sequence | np.ndarray) or isinstance(X, str):
        # with the module, as scikit-learn's checks look for "sparse" in it
        kind = f"{type(X).__module__}.{type(X).__qualname__}".removeprefix("builtins.")
        what = f"an array of shape {X.shape}" if is_numeric else f"of type {kind}"
        raise InvalidRecordingError(
            f"X is {what}; accepted are a list of recordings (or dicts of modality to samples), a "
            "column of them in pandas, or an EpochSequence. Read a folder by read_cohort(folder)."
        )
    if len(X) == 0:
        raise InvalidRecordingError("X has 0 recordings; at least 1 is required.")
    return _read_nights(X, on_error)


def _read_epochs(epochs: EpochSequence) -> EncoderInput:
    if len(epochs) == 0:
        raise InvalidRecordingError("X has 0 epochs; at least 1 is required.")
    by_recording = list(epochs.rows_by_recording())
    return EncoderInput(
        tuple(epochs.recordings[i] for i, _ in by_recording),
        len(epochs),
        tuple(rows for _, rows in by_recording),
        tuple(epochs.epoch_index[rows] for _, rows in by_recording),
        tuple(describe_recording(epochs.recordings[i], i) for i, _ in by_recording),
        epochs,
    )


def _read_nights(X: Sequence | np.ndarray, on_error: str) -> EncoderInput:
    recordings: list[Recording] = []
    rows, locations, names, unusable = [], [], [], []
    for row, element in enumerate(X):
        nights = element if isinstance(element, list | tuple) else [element]
        _check_one_subject(nights, row)
        name = None
        for number, night in enumerate(nights):
            position = row if len(nights) == 1 else f"{row}, night {number}"
            try:
                recording = as_recording(night, position)
            except InvalidRecordingError as error:
                if on_error == "raise" or not isinstance(night, Mapping):
                    raise
                unusable.append(str(error))
                continue
            recordings.append(recording)
            rows.append(np.array([row]))
            locations.append(describe_recording(recording, position))
            if name is None:
                by_subject = len(nights) > 1 and recording.subject is not None
                name = recording.subject if by_subject else recording.id
        names.append(name)
    return EncoderInput(
        tuple(recordings), len(X), tuple(rows), None, tuple(locations), as_names(names),
        tuple(unusable),
    )  # fmt: skip


def _check_one_subject(nights: Sequence, row: int) -> None:
    if len(nights) == 0:
        raise InvalidRecordingError(
            f"recording {row} is an empty list of nights. Leave the subject out."
        )
    subjects = [night.subject for night in nights if isinstance(night, Recording)]
    subjects = [subject for subject in subjects if subject is not None]
    other = next((subject for subject in subjects if subject != subjects[0]), None)
    if other is not None:
        raise InvalidRecordingError(
            f"recording {row} lists nights of the subjects {subjects[0]!r} and {other!r}; "
            "accepted are nights of one, whose mean is that subject's row. Give each subject a "
            "list."
        )


def keys_of_names(X: Any, column: str, unit: str) -> RowKeys | None:
    """Keys of RowKeys, a pandas index, ids, or a table with a column of them; else None.

    Ids are text or integers. Where ``unit`` is "epoch", a table has the column "epoch" as well.
    """
    import pandas as pd

    if isinstance(X, RowKeys):
        return X
    if hasattr(X, "nlevels"):
        return RowKeys.from_index(X)
    if isinstance(X, list | tuple) and len(X) and all(isinstance(x, RowKey) for x in X):
        epochs = None if X[0].epoch is None else [x.epoch for x in X]
        return _keys_of_ids([x.recording for x in X], epochs)
    epochs = None
    if hasattr(X, "columns"):
        columns = list(X.columns)
        if len(columns) != 1 and column not in columns:
            raise InvalidRecordingError(
                f"X is a table without a column {column!r}; its columns are "
                f"{listed([*map(repr, columns)])}. Name the column of ids by column=, or pass it "
                "alone."
            )
        if unit == "epoch" and "epoch" in columns:
            epochs = X["epoch"]
        X = X[column if column in columns else columns[0]]
    elif isinstance(X, np.ndarray) and X.ndim == 2 and X.shape[1] == 1:
        X = X[:, 0]
    is_column = isinstance(X, Sequence | np.ndarray) or hasattr(X, "to_list")
    if not is_column or isinstance(X, str) or getattr(X, "ndim", 1) != 1:
        return None
    ids = X.to_list() if hasattr(X, "to_list") else X
    # gaps say nothing of what the others are
    first = next((x for x in ids if not (x is None or x is pd.NA or isinstance(x, float))), None)
    if not isinstance(first, str | int | np.integer) or isinstance(first, bool):
        return None
    return _keys_of_ids(ids, epochs)


def _keys_of_ids(ids: Sequence, epochs: Any) -> RowKeys:
    names = np.fromiter(ids, dtype=object, count=len(ids))
    if epochs is not None:
        numbers = np.asarray(epochs, dtype=float)
        if not (numbers == np.floor(numbers)).all():
            raise InvalidRecordingError(
                "X has epochs that are no whole numbers, such as "
                f"{numbers[numbers != np.floor(numbers)][0]}; accepted are those of the table, "
                "from 0. Leave out rows without one."
            )
        epochs = numbers.astype(np.int64)
    return RowKeys._merged(names, names, np.arange(len(names)), epochs)


def keys_of_recordings(X: Any) -> RowKeys:
    """Keys of recordings, subjects' nights, or epochs, which have to have ids."""
    inputs = read_input(X)
    nights = {} if inputs.epochs is not None else _nights_by_row(inputs)
    by_subject = {row for row, own in nights.items() if len(own) > 1 and own[0].subject is not None}
    columns = (inputs.recordings, inputs.rows, inputs.locations)
    for recording, rows, where in zip(*columns, strict=True):
        if recording.id is None and int(rows[0]) not in by_subject:
            raise InvalidRecordingError(
                f"{where} has no id, and rows of a table are looked up by it. Make it a "
                "Recording(..., id=...) before embedding, or pass the table's own X or a part of "
                "it."
            )
    return RowKeys.from_input(inputs)


def _subjects_of_nights(inputs: EncoderInput) -> list:
    nights = _nights_by_row(inputs)
    subjects = [nights[i][0].subject if i in nights else None for i in range(inputs.n_rows)]
    return [inputs.names[i] if subject is None else subject for i, subject in enumerate(subjects)]


def _nights_by_row(inputs: EncoderInput) -> dict[int, list[Recording]]:
    nights: dict[int, list[Recording]] = {}
    for recording, rows in zip(inputs.recordings, inputs.rows, strict=True):
        nights.setdefault(int(rows[0]), []).append(recording)
    return nights
