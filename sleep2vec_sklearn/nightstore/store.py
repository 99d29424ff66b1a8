# SPDX-License-Identifier: BSD-3-Clause
"""Nights as training reads them: windows of one modality, from memory or a folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from .._files import sweep_unfinished
from ..errors import ReadError
from ..recordings import Recording
from ..recordings._demographics import describe_subjects, list_recordings, name_recordings
from ._files import FolderReader, Manifest, StoredNight, StoreFolder, read_manifests, write_manifest
from ._prepare import (
    NotWrittenError,
    PreparedNight,
    Presence,
    check_on_error,
    key_of,
    prepare_each,
    prepare_night,
    telling_of_writing,
)
from .content import Content, contents_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "NightStore",
    "NightTable",
    "RowReader",
    "open_folder",
    "prepare_cohort",
]


class RowReader(Protocol):
    """Where the stored numbers of the nights are."""

    def read(self, night: int, modality: str, start: int, stop: int) -> np.ndarray:
        """Stored numbers of these epochs, and of no others."""

    def map(self, night: int, modality: str, n_epochs: int) -> np.ndarray:
        """Stored numbers of the night, none of which is read yet."""

    def take(self, nights: np.ndarray) -> RowReader:
        """The same for some of the nights."""

    def identify(self, night: int) -> list:
        """What tells a night's stored numbers from others."""

    def check(self, night: int, presence: Presence) -> str | None:
        """What is wrong with a night, or None."""


@dataclass(frozen=True, slots=True)
class NightTable:
    """What is known of the nights of a store without reading one.

    Attributes
    ----------
    rows : DataFrame
        Index ``recording``; subject, age, sex, site, n_epochs, and ``coverage_<modality>``.
    presences : tuple of Presence
        One for each night.
    """

    rows: pd.DataFrame
    presences: tuple[Presence, ...]

    @classmethod
    def build(
        cls, sleepers: pd.DataFrame, presences: Sequence[Presence], modalities: Sequence[str]
    ) -> NightTable:
        """From the rows of :func:`describe_subjects`, and which modalities are kept."""
        rows = sleepers.assign(n_epochs=np.array([p.n_epochs for p in presences], dtype=np.int64))
        for place, name in enumerate(modalities):
            counts = [np.count_nonzero(presence.mask(place)) for presence in presences]
            rows[f"coverage_{name}"] = np.array(counts, dtype=np.int64)
        return cls(rows, tuple(presences))

    def take(self, nights: np.ndarray) -> NightTable:
        """The rows of some nights."""
        return NightTable(self.rows.iloc[nights], tuple(self.presences[k] for k in nights))


class NightStore:
    """Conditioned nights, of which training reads windows.

    Made by :meth:`from_recordings` in memory, by :func:`prepare_cohort` in a folder, and by
    :meth:`open` from one. Nights are counted from 0, in the order of ``table``.

    Attributes
    ----------
    contents : dict of str to Content
        What is kept of each modality.
    table : DataFrame
        One row per night, by the recording's id: ``subject``, ``age``, ``sex``, ``site``,
        ``n_epochs``, and ``coverage_<modality>``, the number of valid epochs, 0 if it is absent.
        Age and sex (0 female, 1 male) are NaN where they are not known, the others None.
    failures : DataFrame
        Columns ``recording`` and ``reason``: nights that could not be prepared.

    Examples
    --------
    >>> from sleep2vec_sklearn import make_sleep_cohort
    >>> from sleep2vec_sklearn.pretraining import NightStore, contents_of
    >>> nights = make_sleep_cohort(2, hours=0.25, modalities=["spo2", "ibi"], random_state=0)
    >>> store = NightStore.from_recordings(nights, contents_of(modalities=["spo2", "ibi"]))
    >>> len(store), store.window(0, "ibi", start=10, length=4).shape
    (2, (4, 42))
    """

    def __init__(
        self,
        contents: Mapping[str, Content],
        table: NightTable,
        reader: RowReader,
        failures: Iterable[tuple[str, str]] = (),
    ):
        import pandas as pd

        self.contents = dict(contents)
        self.table = table.rows
        self.failures = pd.DataFrame(list(failures), columns=["recording", "reason"])
        self._table = table
        self._reader = reader
        self._order = {name: place for place, name in enumerate(self.contents)}
        # a look-up in a table costs as much as reading a window
        self._coverage = table.rows[[f"coverage_{name}" for name in self.contents]].to_numpy()

    @classmethod
    def from_recordings(
        cls,
        recordings: Sequence[Recording | Mapping],
        contents: Mapping[str, Content],
        *,
        metadata: pd.DataFrame | None = None,
        n_jobs: int | None = None,
        on_error: str = "warn",
        verbose: int = 0,
    ) -> NightStore:
        """Prepare nights in memory, as exactly as a folder keeps them.

        Parameters
        ----------
        recordings : sequence of Recording or dict
        contents : mapping of str to Content
            What to keep of each modality; see :func:`contents_of`.
        metadata : DataFrame, optional
            Columns subject, age, sex and site; its index holds the recordings' ids. What it has
            no column for is taken from the recordings.
        n_jobs : int, optional
            Processes of joblib.
        on_error : {"warn", "raise"}
            What a recording does that cannot be used.
        verbose : int
            A progress bar from 1 on.

        Raises
        ------
        InvalidRecordingError
            If ids are not unique, metadata do not match, or no recording can be used.
        """
        check_on_error(on_error)
        recordings = list_recordings(recordings)
        ids = name_recordings(recordings)
        sleepers = describe_subjects(recordings, metadata)
        work = partial(prepare_night, contents=dict(contents))
        places, nights, failures = prepare_each(
            work, recordings, ids, n_jobs=n_jobs, on_error=on_error, verbose=verbose
        )
        presences = [night.presence for night in nights]
        table = NightTable.build(sleepers.iloc[places], presences, list(contents))
        return cls(contents, table, _Memory(tuple(nights), tuple(contents)), failures)

    @classmethod
    def open(cls, folder, verify: bool = False) -> NightStore:
        """Open what :func:`prepare_cohort` wrote into a folder, by however many calls.

        Parameters
        ----------
        folder : path-like
        verify : bool, default=False
            Whether to :meth:`verify` the nights, which reads all of them.

        Raises
        ------
        ReadError
            If it is no store, damaged, of a newer version, or conditioned by other code; with
            ``verify``, if a night is damaged.
        """

        return open_folder(folder, verify)

    def verify(self) -> pd.DataFrame:
        """Read every night in full, and compare checksums with those taken when it was written.

        Returns
        -------
        DataFrame
            Columns ``recording`` and ``reason``, with the night's file: those that are damaged,
            or gone. Nights in memory, or written by a version that kept no sums, are taken at
            their word.
        """
        import pandas as pd

        nights = enumerate(zip(self.table.index, self._table.presences, strict=True))
        found = ((name, self._reader.check(k, presence)) for k, (name, presence) in nights)
        damaged = [(name, reason) for name, reason in found if reason is not None]
        return pd.DataFrame(damaged, columns=["recording", "reason"])

    def identify(self) -> list:
        """What tells the stored numbers from others, night by night; ready for JSON.

        Equal for nights in memory and in a folder.
        """
        return [self._reader.identify(night) for night in range(len(self))]

    def __len__(self) -> int:
        return len(self.table)

    @property
    def shape(self) -> tuple[int]:
        """The number of nights, by which scikit-learn knows what it may split."""
        return (len(self),)

    def __getitem__(self, nights) -> NightStore:
        """:meth:`take`, as scikit-learn's splitters write it."""
        return self.take(nights[0] if isinstance(nights, tuple) else nights)

    def __repr__(self) -> str:
        subjects = self.table["subject"].nunique()
        return f"NightStore({len(self)} nights of {subjects} subjects, {', '.join(self.contents)})"

    def valid(self, night: int, modality: str) -> np.ndarray:
        """Which epochs of a night have a signal; bool of shape (n_epochs,)."""
        return self._table.presences[night].mask(self._place_of(modality))

    def window(self, night: int, modality: str, start: int, length: int) -> np.ndarray:
        """Read some epochs of a night.

        Parameters
        ----------
        night : int
        modality : str
        start : int
            First epoch.
        length : int
            Epochs to read; fewer come back at the end of the night.

        Returns
        -------
        float32 ndarray of shape (min(length, n_epochs - start), width)
            0 where the modality is missing.

        Raises
        ------
        KeyError
            If the store does not keep the modality.
        IndexError
            If the window does not start within the night.
        ReadError
            If the night's file is gone or damaged.
        """
        content, place = self.contents.get(modality), self._place_of(modality)
        n_epochs = self._table.presences[night].n_epochs
        if not (0 <= start < n_epochs and length >= 0):
            raise IndexError(
                f"night {night} has {n_epochs} epochs; got a window of {length} from {start}."
            )
        stop = min(start + length, n_epochs)
        if self._coverage[night, place] == 0:
            return np.zeros((stop - start, content.width), dtype=np.float32)
        return content.unpack(self._reader.read(night, modality, start, stop))

    def mapped(self, night: int, modality: str) -> np.ndarray:
        """Map the stored numbers of a night, for what looks at whole nights.

        Parameters
        ----------
        night : int
        modality : str

        Returns
        -------
        ndarray of shape (n_epochs, width)
            A read-only memory map of int16 or float16; times ``contents[modality].scale`` they
            are what :meth:`window` gives.

        Raises
        ------
        KeyError
            If the store does not keep the modality, or the night does not have it.
        ReadError
            If the night's file is gone or damaged.
        """
        if self._coverage[night, self._place_of(modality)] == 0:
            raise KeyError(f"night {night} has no {modality!r}; see table['coverage_{modality}']")
        n_epochs = self._table.presences[night].n_epochs
        return self._reader.map(night, modality, n_epochs)

    def take(self, nights) -> NightStore:
        """Some of the nights, without a copy; for held-out subjects.

        Parameters
        ----------
        nights : int array, bool array or slice
            As for ``table.iloc``.
        """
        places = np.atleast_1d(np.arange(len(self))[nights])
        smaller = NightStore(self.contents, self._table.take(places), self._reader.take(places))
        smaller.failures = self.failures
        return smaller

    def _place_of(self, modality: str) -> int:
        if modality not in self._order:
            raise KeyError(f"{modality!r}; the store keeps {', '.join(self.contents)}")
        return self._order[modality]


@dataclass(frozen=True, slots=True)
class _Memory:
    nights: tuple[PreparedNight, ...]
    modalities: tuple[str, ...]

    def read(self, night: int, modality: str, start: int, stop: int) -> np.ndarray:
        return self.nights[night].arrays[modality][start:stop]

    def map(self, night: int, modality: str, n_epochs: int) -> np.ndarray:
        view = self.nights[night].arrays[modality][:n_epochs]
        view.flags.writeable = False
        return view

    def take(self, nights: np.ndarray) -> _Memory:
        return _Memory(tuple(self.nights[k] for k in nights), self.modalities)

    def identify(self, night: int) -> list:
        sums = self.nights[night].sums()
        return [sums.get(name, 0) for name in self.modalities]

    def check(self, night: int, presence: Presence) -> str | None:
        return None


_DAMAGES_SHOWN = 3


def prepare_cohort(
    recordings: Sequence[Recording],
    folder,
    *,
    encoder=None,
    modalities=None,
    content: str = "features",
    metadata: pd.DataFrame | None = None,
    n_jobs: int | None = None,
    on_error: str = "warn",
    verbose: int = 0,
) -> NightStore:
    """Condition every night once and write what training needs of it to a folder.

    Memory does not grow with the number of nights. A call that is interrupted, or killed at any
    moment, is repeated as it is: nights that are there are not made again. A call with other
    recordings adds theirs, also while another call is writing.

    Parameters
    ----------
    recordings : sequence of Recording
        Usually a :class:`~sleep2vec_sklearn.recordings.Cohort` of lazy ones; each with an id of its
        own, by which :meth:`NightStore.open` finds it again.
    folder : path-like
        Made if need be. A folder holds one kind of content.
    encoder : EncoderConfig, Checkpoint, name or path, optional
        Whose conditioning and front ends to use; by default what :class:`Sleep2VecPretrainer`
        takes by default.
    modalities : str or sequence of str, optional
        All of the encoder's by default.
    content : {"features", "samples"}
        What a spectral tokenizer computes, or conditioned samples, which any tokenizer reads and
        which take twenty times the space.
    metadata : DataFrame, optional
        Columns subject, age, sex and site; its index holds the recordings' ids. What it has no
        column for is taken from the recordings.
    n_jobs : int, optional
        Processes of joblib.
    on_error : {"warn", "raise"}
        What a recording does that cannot be used: it is left out and listed in
        ``store.failures``, or its error is raised.
    verbose : int
        A progress bar from 1 on.

    Returns
    -------
    NightStore
        The nights given, in their order; :meth:`NightStore.open` gives all that the folder holds.

    Raises
    ------
    InvalidRecordingError
        If an id is missing or not unique, metadata do not match, or no recording can be used.
    ReadError
        If the folder holds a store of other contents.
    OSError
        If the folder cannot be written. What is there stays.

    Examples
    --------
    >>> import tempfile
    >>> from sleep2vec_sklearn import make_sleep_cohort
    >>> from sleep2vec_sklearn.pretraining import prepare_cohort
    >>> nights = make_sleep_cohort(2, hours=0.25, modalities=["spo2", "ibi"], random_state=0)
    >>> prepare_cohort(nights, tempfile.mkdtemp(), modalities=["spo2", "ibi"])
    NightStore(2 nights of 2 subjects, spo2, ibi)
    """
    check_on_error(on_error)
    recordings = list_recordings(recordings)
    ids = name_recordings(recordings, required=True)
    sleepers = describe_subjects(recordings, metadata)
    contents = contents_of(encoder, content, modalities)
    path = Path(folder).expanduser().absolute()
    try:
        with telling_of_writing():
            there = StoreFolder.create(path, contents)
            sweep_unfinished(there.unfinished)
        places, nights, failures = prepare_each(
            partial(_store, folder=there),
            recordings,
            ids,
            n_jobs=n_jobs,
            on_error=on_error,
            verbose=verbose,
        )
        manifest = Manifest(sleepers.iloc[places], nights, failures)
        with telling_of_writing():
            write_manifest(there, manifest)
    except NotWrittenError as error:
        raise OSError(
            error.errno,
            f"{error.strerror}: the store is not finished. What is written stays, and is not made "
            "again: make room or check the permissions, and call prepare_cohort once more",
            str(path),
        ) from error
    return _as_store(there, manifest)


def open_folder(folder, verify: bool = False) -> NightStore:
    """The store of a folder; see :meth:`NightStore.open`."""
    there = StoreFolder.open(Path(folder).expanduser().absolute())
    store = _as_store(there, read_manifests(there))
    damaged = store.verify() if verify else []
    if len(damaged):
        shown = "\n".join(f"- {reason}" for reason in damaged["reason"][:_DAMAGES_SHOWN])
        raise ReadError(
            f"{there.path}: {len(damaged)} of {len(store)} nights are damaged; store.verify() "
            f"lists them. Delete their files and run prepare_cohort again, which makes them anew. "
            f"The first:\n{shown}"
        )
    return store


def _store(recording: Recording, folder: StoreFolder) -> StoredNight:
    key = key_of(recording, folder.contents)
    found = folder.find(key)
    if found is None:
        night = prepare_night(recording, folder.contents)
        with telling_of_writing():
            found = folder.write(key, night)
    return found


def _as_store(folder: StoreFolder, manifest: Manifest) -> NightStore:
    nights = manifest.nights
    presences = [night.presence for night in nights]
    table = NightTable.build(manifest.sleepers, presences, list(folder.contents))
    offsets, sums = (
        np.array([getattr(night, kind) for night in nights], dtype=np.int64)
        for kind in ("offsets", "sums")
    )
    reader = FolderReader(folder, tuple(night.key for night in nights), offsets, sums)
    return NightStore(folder.contents, table, reader, manifest.failures)
