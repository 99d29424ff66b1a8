# SPDX-License-Identifier: BSD-3-Clause
"""Flat, indexable sequences of the epochs of many recordings."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn, overload

import numpy as np

from .._arguments import as_array, as_index, is_whole, shown
from .._html import as_html
from ..errors import InvalidRecordingError
from .recording import NOT_AN_ARRAY, Recording, as_names, as_recording, name_subjects
from .stages import SleepStage

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, eq=False)
class EpochView:
    """One epoch of one recording.

    Attributes
    ----------
    recording : Recording
        The whole night it belongs to.
    epoch : int
        Its index in the night.

    Examples
    --------
    >>> from sleep2vec_sklearn import EpochSequence, make_sleep_cohort
    >>> X = EpochSequence(make_sleep_cohort(2, hours=1, random_state=0))
    >>> X[130].recording.id, X[130].epoch, X[130].stage
    ('sim-0002-n1', 10, <SleepStage.N1: 1>)
    """

    recording: Recording
    epoch: int

    @property
    def stage(self) -> SleepStage:
        """The epoch's sleep stage; unscored where the recording has no labels."""
        stages = self.recording.stages
        return SleepStage.unscored if stages is None else SleepStage(int(stages[self.epoch]))

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(NOT_AN_ARRAY)


class EpochSequence(Sequence[EpochView]):
    """The epochs of recordings, one element per 30-s epoch.

    A flat view: two small integer arrays over shared recordings. scikit-learn indexes it as any X
    (integer arrays, masks, slices), and a transformer returns one row per element.

    Parameters
    ----------
    recordings : sequence of Recording or dict
        Nights in order.

    Attributes
    ----------
    recordings : tuple of Recording
        The nights, shared by every view.
    recording_index, epoch_index : ndarray of shape (n,)
        Which recording, and which epoch of it, each element is.

    Examples
    --------
    >>> from sleep2vec_sklearn import EpochSequence, make_sleep_cohort
    >>> cohort = make_sleep_cohort(2, hours=1, random_state=0)
    >>> X = EpochSequence(cohort)
    >>> len(X), X[X.stages >= 0][:10].shape
    (240, (10,))
    """

    ndim = 1

    def __init__(self, recordings: Sequence[Any]):
        if isinstance(recordings, Recording):
            raise InvalidRecordingError(
                "EpochSequence takes a list of recordings, got one; wrap it: [recording]."
            )
        no_list = (
            isinstance(recordings, str | Mapping | type) or getattr(recordings, "ndim", 1) == 0
        )
        if no_list or not hasattr(recordings, "__iter__"):
            raise InvalidRecordingError(
                f"EpochSequence takes a list of recordings, got {shown(recordings)}. Read a folder "
                "by read_cohort(folder), or wrap one night: [recording]."
            )
        self.recordings = tuple(as_recording(r, i) for i, r in enumerate(recordings))
        lengths = [recording.n_epochs for recording in self.recordings]
        self.recording_index = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
        counts = [np.arange(n, dtype=np.int32) for n in lengths]
        self.epoch_index = np.concatenate(counts) if counts else np.empty(0, dtype=np.int32)

    @classmethod
    def _view(
        cls, recordings: tuple[Recording, ...], recording_index: np.ndarray, epoch_index: np.ndarray
    ) -> EpochSequence:
        view = cls.__new__(cls)
        view.recordings = recordings
        view.recording_index = recording_index
        view.epoch_index = epoch_index
        return view

    @classmethod
    def from_views(cls, views: Sequence[EpochView]) -> EpochSequence:
        """Gather single epochs, as some tools pass X on as a list of its elements."""
        recordings = {id(view.recording): view.recording for view in views}
        index = {key: i for i, key in enumerate(recordings)}
        return cls._view(
            tuple(recordings.values()),
            np.array([index[id(view.recording)] for view in views], dtype=np.int32),
            np.array([view.epoch for view in views], dtype=np.int32),
        )

    def __len__(self) -> int:
        return len(self.epoch_index)

    @property
    def shape(self) -> tuple[int]:
        """(n,); by it scikit-learn counts samples and chooses how to index."""
        return (len(self),)

    @overload
    def __getitem__(self, key: int) -> EpochView: ...

    @overload
    def __getitem__(self, key: Any) -> EpochSequence: ...

    def __getitem__(self, key: Any) -> EpochView | EpochSequence:
        if isinstance(key, tuple) and len(key) == 2 and key[1] is Ellipsis:
            key = key[0]
        if is_whole(key):
            key = as_index(key, len(self))
            return EpochView(self.recordings[self.recording_index[key]], int(self.epoch_index[key]))
        key = as_rows(key)
        return self._view(self.recordings, self.recording_index[key], self.epoch_index[key])

    def __iter__(self) -> Iterator[EpochView]:
        return (self[i] for i in range(len(self)))

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(NOT_AN_ARRAY)

    def __getstate__(self) -> dict[str, Any]:
        # without what is derived: joblib.Memory knows X by a hash of its pickle
        names = ("recordings", "recording_index", "epoch_index")
        return {name: getattr(self, name) for name in names}

    def __repr__(self) -> str:
        used = len(np.unique(self.recording_index))
        return f"EpochSequence({len(self)} epochs of {used} recordings)"

    def _repr_html_(self) -> str:
        import pandas as pd

        names = ["W", "N1", "N2", "N3", "R", "unscored"]
        counts = np.zeros((len(self.recordings), len(names)), dtype=int)
        np.add.at(counts, (self.recording_index, self.stages), 1)  # the last is -1
        table = pd.DataFrame(counts, columns=names)
        table.insert(0, "epochs", counts.sum(axis=1))
        starts = pd.Series([recording.start for recording in self.recordings], dtype=object)
        if starts.notna().any():
            table.insert(0, "start", starts.astype(str).where(starts.notna()))
        table.insert(0, "subject", name_subjects(self.recordings))
        table.index = pd.Index(as_names([recording.id for recording in self.recordings]).tolist())
        table = table[table["epochs"] > 0]
        return as_html(repr(self), table, rest=".recordings", na_rep="")

    @cached_property
    def stages(self) -> np.ndarray:
        """Sleep stage of each epoch, read-only int8 of shape (n,); -1 if unscored."""
        stages = np.full(len(self), SleepStage.unscored, dtype=np.int8)
        for i, rows in self.rows_by_recording():
            labels = self.recordings[i].stages
            if labels is not None:
                stages[rows] = labels[self.epoch_index[rows]]
        stages.flags.writeable = False
        return stages

    @cached_property
    def groups(self) -> np.ndarray:
        """Subject of each epoch, else its recording; object array of shape (n,)."""
        return name_subjects(self.recordings)[self.recording_index]

    @property
    def index(self) -> pd.MultiIndex:
        """pandas MultiIndex (recording, epoch) of the elements."""
        import pandas as pd

        names = as_names([recording.id for recording in self.recordings])
        return pd.MultiIndex.from_arrays(
            [names[self.recording_index], self.epoch_index], names=["recording", "epoch"]
        )

    def to_frame(self) -> pd.DataFrame:
        """A row per epoch: ``recording``, ``epoch`` (from 0), ``subject`` and ``stage``.

        The columns that :meth:`EmbeddingTable.to_frame` begins with.

        Examples
        --------
        >>> from sleep2vec_sklearn import EpochSequence, Recording
        >>> night = Recording({"spo2": [96.0] * 240}, id="n1", subject="s1", stages=["W", "N2"])
        >>> EpochSequence([night]).to_frame().values.tolist()
        [['n1', 0, 's1', 0], ['n1', 1, 's1', 2]]
        """
        import pandas as pd

        columns = {"recording": as_names([recording.id for recording in self.recordings])}
        columns |= {"subject": name_subjects(self.recordings)}
        named = {n: pd.Series(v[self.recording_index].tolist()) for n, v in columns.items()}
        epochs = {"epoch": self.epoch_index, "stage": self.stages}
        return pd.DataFrame(named | epochs)[["recording", "epoch", "subject", "stage"]]

    def rows_by_recording(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield pairs (index of a recording, rows of this sequence that are its epochs)."""
        order = np.argsort(self.recording_index, kind="stable")
        indices, starts = np.unique(self.recording_index[order], return_index=True)
        for i, rows in zip(indices, np.split(order, starts[1:]), strict=False):
            yield int(i), rows


def as_rows(key: Any) -> Any:
    """A slice, a mask or an array of positions, as numpy takes them; else an error that says so."""
    if isinstance(key, slice):
        with suppress(TypeError):
            ends = [
                None if end is None else operator.index(end)
                for end in (key.start, key.stop, key.step)
            ]
            if ends[2] != 0:
                return slice(*ends)
    elif not isinstance(key, tuple):
        rows = as_array("the index", key, TypeError)
        rows = rows.astype(np.intp) if rows.size == 0 else rows
        if rows.dtype.kind in "iub" and rows.ndim == 1:
            return rows
    raise TypeError(
        f"the index is {shown(key)}; accepted are a whole number, a slice, a mask, and an array of "
        "positions in one dimension. Take nights by their ids from a cohort: cohort[ids]."
    )


def as_epoch_sequence(X: Any) -> EpochSequence | None:
    """X as epochs, if it is an EpochSequence or a list of EpochView; else None."""
    if isinstance(X, EpochSequence):
        return X
    is_list = isinstance(X, list | tuple) or (isinstance(X, np.ndarray) and X.ndim > 0)
    if not is_list or not len(X) or not isinstance(X[0], EpochView):
        return None
    for i, element in enumerate(X):
        if not isinstance(element, EpochView):
            raise InvalidRecordingError(
                f"X mixes epochs with other things: element {i} is a {type(element).__name__}. "
                "Pass recordings only, or epochs only."
            )
    return EpochSequence.from_views(list(X))
