# SPDX-License-Identifier: BSD-3-Clause
"""A cohort conditioned once, onto disk, for training that reads windows of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .._files import sweep_unfinished
from ..errors import ReadError
from ..signals import Recording
from .content import contents_of
from .manifest import Manifest, read_manifests, write_manifest
from .night_table import describe_sleepers, list_recordings, name_recordings
from .nights import (
    NotWrittenError,
    check_on_error,
    key_of,
    prepare_each,
    prepare_night,
    telling_of_writing,
)
from .store import NightStore, NightTable
from .store_files import FolderReader, StoredNight, StoreFolder

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["open_folder", "prepare_cohort"]

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
        Usually a :class:`~sleep2vec_sklearn.signals.Cohort` of lazy ones; each with an id of its
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
    >>> from sleep2vec_sklearn.training import prepare_cohort
    >>> nights = make_sleep_cohort(2, hours=0.25, modalities=["spo2", "ibi"], random_state=0)
    >>> prepare_cohort(nights, tempfile.mkdtemp(), modalities=["spo2", "ibi"])
    NightStore(2 nights of 2 subjects, spo2, ibi)
    """
    check_on_error(on_error)
    recordings = list_recordings(recordings)
    ids = name_recordings(recordings, required=True)
    sleepers = describe_sleepers(recordings, metadata)
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
