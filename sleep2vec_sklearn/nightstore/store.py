# SPDX-License-Identifier: BSD-3-Clause
"""Stores of conditioned nights, in memory or in a folder, of which training reads windows."""

from __future__ import annotations

import copy
import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from joblib import Parallel, delayed
from tqdm import tqdm

from .._files import sweep_temporary
from .._warnings import warn
from ..errors import InvalidRecordingError, ReadError, RecordingWarning, Sleep2VecError
from ..recordings._demographics import describe_subjects, list_recordings, name_recordings
from ..recordings.recording import Recording, describe_recording
from ._files import (
    StoredNight,
    StoreFolder,
    parse_night,
    read_manifests,
    serialize_night,
    unpack_masks,
    write_manifest,
)
from .content import Content, compute_contents, contents_of, night_key

if TYPE_CHECKING:
    import pandas as pd

_REASONS_SHOWN = 3


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
        subjects: pd.DataFrame,
        nights: Sequence[StoredNight],
        failures: Iterable[tuple[str, str]] = (),
    ):
        import pandas as pd

        self.contents = dict(contents)
        self.failures = pd.DataFrame(list(failures), columns=["recording", "reason"])
        self._nights = tuple(nights)
        self._index_of = {name: index for index, name in enumerate(self.contents)}
        # not only in the table, where a look-up costs as much as reading a window
        self._coverage = np.array([unpack_masks(night).sum(axis=1) for night in nights])
        self.table = subjects.assign(
            n_epochs=np.array([night.n_epochs for night in nights], dtype=np.int64),
            **{f"coverage_{name}": self._coverage[:, k] for name, k in self._index_of.items()},
        )

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
        """Prepare nights in memory, as exactly as a folder stores them.

        Parameters
        ----------
        recordings : sequence of Recording or dict
        contents : mapping of str to Content
            What to store of each modality; see :func:`contents_of`.
        metadata, n_jobs, on_error, verbose
            See :func:`prepare_cohort`.

        Raises
        ------
        InvalidRecordingError
            If ids are not unique, metadata do not match, or no recording can be used.
        """
        recordings = list_recordings(recordings)
        ids = name_recordings(recordings)
        subjects = describe_subjects(recordings, metadata)
        work = partial(_prepare_in_memory, contents=dict(contents))
        indices, nights, failures = _prepare_each(work, recordings, ids, n_jobs, on_error, verbose)
        return cls(contents, subjects.iloc[indices], nights, failures)

    @classmethod
    def open(cls, folder: str | os.PathLike, verify: bool = False) -> NightStore:
        """Open what one or more calls of :func:`prepare_cohort` wrote into a folder.

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
        store_folder = StoreFolder.open(Path(folder).expanduser().absolute())
        store = cls(store_folder.contents, *read_manifests(store_folder))
        if verify and len(damaged := store.verify()):
            first = "\n".join(f"- {reason}" for reason in damaged["reason"][:_REASONS_SHOWN])
            raise ReadError(
                f"{store_folder.path}: {len(damaged)} of {len(store)} nights are damaged; "
                "store.verify() lists them. Delete their files and run prepare_cohort again, which "
                f"makes them anew. The first:\n{first}"
            )
        return store

    def verify(self) -> pd.DataFrame:
        """Read every night in full, and compare checksums with those taken when it was written.

        Returns
        -------
        DataFrame
            Columns ``recording`` and ``reason``, with the night's file: those that are damaged
            or gone. Nights in memory, or written without checksums, are not checked.
        """
        import pandas as pd

        pairs = zip(self.table.index, self._nights, strict=True)
        reasons = ((name, night.damage()) for name, night in pairs)
        damaged = [(name, reason) for name, reason in reasons if reason is not None]
        return pd.DataFrame(damaged, columns=["recording", "reason"])

    def identify(self) -> list:
        """What distinguishes each night's stored numbers, in memory or a folder; ready for JSON."""
        return [night.identity() for night in self._nights]

    def __len__(self) -> int:
        return len(self.table)

    @property
    def shape(self) -> tuple[int]:
        """The number of nights, which scikit-learn asks before it splits."""
        return (len(self),)

    def __getitem__(self, nights: Any) -> NightStore:
        """:meth:`take`, in the notation of scikit-learn's splitters."""
        return self.take(nights[0] if isinstance(nights, tuple) else nights)

    def __repr__(self) -> str:
        subjects = self.table["subject"].nunique()
        return f"NightStore({len(self)} nights of {subjects} subjects, {', '.join(self.contents)})"

    def valid(self, night: int, modality: str) -> np.ndarray:
        """Which epochs of a night have a signal; bool of shape (n_epochs,)."""
        return unpack_masks(self._nights[night])[self._index(modality)]

    def window(self, night: int, modality: str, start: int, length: int) -> np.ndarray:
        """Read ``length`` epochs of a night from ``start`` on; fewer where the night ends before.

        Returns
        -------
        float32 ndarray of shape (min(length, n_epochs - start), width)
            0 where the modality is missing.

        Raises
        ------
        KeyError
            If the store does not have the modality.
        IndexError
            If the window does not start within the night.
        ReadError
            If the night's file is gone or damaged.
        """
        index = self._index(modality)
        content, stored = self.contents[modality], self._nights[night]
        if not (0 <= start < stored.n_epochs and length >= 0):
            raise IndexError(
                f"night {night} has {stored.n_epochs} epochs; got {length} epochs from {start}."
            )
        stop = min(start + length, stored.n_epochs)
        if self._coverage[night, index] == 0:
            return np.zeros((stop - start, content.width), dtype=np.float32)
        return content.unpack(stored.read(content, index, start, stop))

    def present(self, night: int) -> list[str]:
        """Modalities of which a night has any valid epoch."""
        return [name for name, n in zip(self.contents, self._coverage[night], strict=True) if n]

    def take(self, nights: Any) -> NightStore:
        """Some of the nights, as ``table.iloc`` takes them; for held-out subjects."""
        indices = np.atleast_1d(np.arange(len(self))[nights])
        smaller = copy.copy(self)
        smaller.table = self.table.iloc[indices]
        smaller._nights = tuple(self._nights[index] for index in indices)
        smaller._coverage = self._coverage[indices]
        return smaller

    def _index(self, modality: str) -> int:
        if modality not in self._index_of:
            raise KeyError(f"{modality!r}; the store has {', '.join(self.contents)}")
        return self._index_of[modality]


def prepare_cohort(
    recordings: Sequence[Recording],
    folder: str | os.PathLike,
    *,
    encoder: Any = None,
    modalities: str | Sequence[str] | None = None,
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
    n_jobs, verbose : int, optional
        Processes of joblib; a progress bar from 1 on.
    on_error : {"warn", "raise"}
        Whether a recording that cannot be used is left out and listed in ``store.failures``, or
        its error is raised.

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
    recordings = list_recordings(recordings)
    name_recordings(recordings, required=True)
    subjects = describe_subjects(recordings, metadata)
    contents = contents_of(encoder, content, modalities)
    path = Path(folder).expanduser().absolute()
    try:
        return prepare_folder(path, contents, recordings, subjects, n_jobs, on_error, verbose)
    except OSError as error:
        if isinstance(error, Sleep2VecError):
            raise
        raise OSError(
            error.errno,
            f"{error.strerror or error}: the store is not finished. What is written stays, and is "
            "not made again: make room or check the permissions, and call prepare_cohort again",
            str(path),
        ) from error


def prepare_folder(
    path: Path,
    contents: Mapping[str, Content],
    recordings: Sequence[Recording],
    subjects: pd.DataFrame,
    n_jobs: int | None = None,
    on_error: str = "raise",
    verbose: int = 0,
    with_manifest: bool = True,
) -> NightStore:
    """Nights of a folder, those that are not there yet prepared; ``subjects`` are its table's rows.

    Without a manifest the nights are found again by their recordings alone, as in a cache.
    """
    folder = StoreFolder.create(path, contents)
    sweep_temporary(folder.unfinished)
    work = partial(find_or_prepare, folder=folder)
    ids = [str(name) for name in subjects.index]
    indices, nights, failures = _prepare_each(work, recordings, ids, n_jobs, on_error, verbose)
    subjects = subjects.iloc[indices]
    if with_manifest:
        write_manifest(folder, (subjects, nights, failures))
    return NightStore(contents, subjects, nights, failures)


def find_or_prepare(recording: Recording, folder: StoreFolder) -> StoredNight:
    """The night of a recording in a folder, where it is prepared unless it is there."""
    # an error of the recording leaves it out, one of the folder ends the preparation
    with _naming_reading():
        key = night_key(recording, folder.contents)
    stored = folder.find_night(key)
    if stored is None:
        stored = folder.write_night(key, prepare_night(recording, folder.contents, key))
    return stored


def _prepare_in_memory(recording: Recording, contents: Mapping[str, Content]) -> StoredNight:
    data = bytearray(prepare_night(recording, contents, ""))
    return parse_night(io.BytesIO(data), "", contents, data)


def prepare_night(recording: Recording, contents: Mapping[str, Content], key: str) -> bytes:
    """The file of a night; InvalidRecordingError if it has no usable signal."""
    arrays = {}
    masks = dict.fromkeys(contents, np.zeros(recording.n_epochs, dtype=bool))
    with _naming_reading():
        for name, values, masks[name] in compute_contents(recording, contents):
            arrays[name] = contents[name].pack(values)
            arrays[name][~masks[name]] = 0
    return serialize_night(key, np.stack(list(masks.values())), arrays)


@contextmanager
def _naming_reading() -> Iterator[None]:
    try:
        yield
    except Sleep2VecError:
        raise
    except OSError as error:
        raise ReadError(str(error)) from error


def _prepare_each(
    work: Callable[[Recording], Any],
    recordings: Sequence[Recording],
    ids: Sequence[str],
    n_jobs: int | None,
    on_error: str,
    verbose: int,
) -> tuple[list[int], list, list[tuple[str, str]]]:
    """Apply ``work`` to every recording: indices and results where it worked, failures by id."""
    if on_error not in ("raise", "warn"):
        raise ValueError(f"on_error must be 'raise' or 'warn', got {on_error!r}.")
    results, errors = {}, {}
    # closed at once where an error ends it, or the others would go on
    tasks = (delayed(_attempt)(work, index, r) for index, r in enumerate(recordings))
    # unordered, or results would pile up behind a slow night
    with closing(Parallel(n_jobs, return_as="generator_unordered")(tasks)) as outcomes:
        for index, outcome in tqdm(
            outcomes, total=len(recordings), desc="preparing", unit="night", disable=not verbose
        ):
            if not isinstance(outcome, Sleep2VecError):
                results[index] = outcome
            elif on_error == "raise":
                raise outcome
            else:
                errors[index] = str(outcome)
    failures = [(ids[index], errors[index]) for index in sorted(errors)]
    reasons = [reason for _, reason in failures]
    if not results:
        first = f": {reasons[0]}" if reasons else ""
        raise InvalidRecordingError(f"none of {len(recordings)} recordings can be used{first}")
    if failures:
        shown = "\n".join(f"- {reason}" for reason in reasons[:_REASONS_SHOWN])
        warn(
            f"{len(failures)} of {len(recordings)} recordings are left out; all of them are in "
            f"store.failures. The first:\n{shown}",
            RecordingWarning,
        )
    indices = sorted(results)
    return indices, [results[index] for index in indices], failures


def _attempt(work: Callable[[Recording], Any], index: int, recording: Recording) -> tuple[int, Any]:
    try:
        return index, work(recording)
    except Sleep2VecError as error:
        return index, type(error)(f"{describe_recording(recording, index)}: {error}")
