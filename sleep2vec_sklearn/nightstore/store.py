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
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from .._clusters import how_to_resume, lost_worker_errors
from .._progress import progress_bar
from .._torch import own_modes
from .._warnings import warn
from ..errors import (
    CheckpointError,
    ClusterError,
    InvalidRecordingError,
    ReadError,
    RecordingWarning,
    Sleep2VecError,
)
from ..model.checkpoint import as_checkpoint, require_sleep2vec
from ..model.config import EncoderConfig, ModalityConfig, TokenizerConfig
from ..recordings._demographics import describe_subjects, list_recordings, name_recordings
from ..recordings.modality import MODALITIES, list_modalities
from ..recordings.recording import Recording, describe_recording
from ._files import StoredNight, StoreFolder, parse_night, serialize_night
from .content import KINDS, Content, compute_contents, night_key


class NightStore:
    """Conditioned nights, in memory or in a folder, counted from 0 in the order of ``table``.

    Attributes
    ----------
    contents : dict of str to Content
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
        self, contents: Mapping[str, Content], subjects: pd.DataFrame,
        nights: Sequence[StoredNight], failures: Iterable[tuple[str, str]] = (),
    ):  # fmt: skip
        # not only in the table, where a look-up costs as much as reading a window
        self._coverage = np.array([night.unpack_masks().sum(axis=1) for night in nights])
        self.contents = dict(contents)
        self.failures = pd.DataFrame(list(failures), columns=["recording", "reason"])
        self._nights = tuple(nights)
        self._index_of = {name: index for index, name in enumerate(self.contents)}
        self.table = subjects.assign(
            n_epochs=np.array([night.n_epochs for night in nights], dtype=np.int64),
            **{f"coverage_{name}": self._coverage[:, k] for name, k in self._index_of.items()},
        )

    @classmethod
    def from_recordings(
        cls, recordings: Sequence[Recording | Mapping], contents: Mapping[str, Content], *,
        metadata: pd.DataFrame | None = None, n_jobs: int | None = None, on_error: str = "warn",
        verbose: int = 0,
    ) -> NightStore:  # fmt: skip
        """Prepare nights in memory, as exactly as a folder stores them.

        Parameters
        ----------
        recordings : sequence of Recording or dict
        contents : mapping of str to Content
            What to store of each modality; see :func:`contents_of`.
        metadata, n_jobs, on_error, verbose
            See :func:`prepare_cohort`, also for what it raises. Ids may be missing.
        """
        recordings = list_recordings(recordings)
        subjects = describe_subjects(recordings, metadata)
        options: dict[str, Any] = {"n_jobs": n_jobs, "on_error": on_error, "verbose": verbose}
        return prepare_folder(None, contents, recordings, subjects, **options)

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
            If it is no store, damaged, of a newer version or conditioned by other code.
        """
        opened = StoreFolder.open(Path(folder).expanduser().absolute())
        store = cls(opened.contents, *opened.read_manifests())
        if verify and len(damaged := store.verify()):
            raise ReadError(
                f"{opened.path}: {len(damaged)} of {len(store)} nights are damaged. Delete their "
                f"files and run prepare_cohort again. The first: {damaged['reason'][0]}"
            )
        return store

    def verify(self) -> pd.DataFrame:
        """Read every night in full, and compare checksums with those taken when it was written.

        Returns
        -------
        DataFrame
            ``recording`` and ``reason`` of the nights whose files are damaged or gone.
        """
        reasons = [night.damage() for night in self._nights]
        damaged = pd.DataFrame({"recording": self.table.index, "reason": reasons}, dtype=object)
        return damaged[[reason is not None for reason in reasons]].reset_index(drop=True)

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
        n_subjects = self.table["subject"].nunique()
        return (
            f"NightStore({len(self)} nights of {n_subjects} subjects, {', '.join(self.contents)})"
        )

    def valid(self, night: int, modality: str) -> np.ndarray:
        """Which epochs of a night have a signal; bool of shape (n_epochs,)."""
        return self._nights[night].unpack_masks()[self._index(modality)]

    def window(self, night: int, modality: str, start: int, length: int) -> np.ndarray:
        """Read ``length`` epochs of a night from ``start`` on; fewer where the night ends before.

        Returns
        -------
        float32 ndarray of shape (min(length, n_epochs - start), width)
            0 where the modality is missing.

        Raises
        ------
        KeyError, IndexError, ReadError
            Without the modality, from outside the night, or if its file is gone or damaged.
        """
        index = self._index(modality)
        content, stored = self.contents[modality], self._nights[night]
        if not (0 <= start < stored.n_epochs and length >= 0):
            raise IndexError(
                f"night {night} has {stored.n_epochs} epochs; got {length} from {start}."
            )
        stop = min(start + length, stored.n_epochs)
        if self._coverage[night, index] == 0:
            return np.zeros((stop - start, content.width), dtype=np.float32)
        return content.unpack(stored.read(content, index, start, stop))

    def present(self, night: int) -> list[str]:
        """Modalities of which a night has any valid epoch."""
        return [name for name, n in zip(self.contents, self._coverage[night], strict=True) if n]

    def take(self, nights: Any) -> NightStore:
        """Some of the nights, as ``table.iloc`` takes them."""
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


def contents_of(
    encoder: Any = None, content: str = "features", modalities: str | Sequence[str] | None = None
) -> dict[str, Content]:
    """What an encoder is trained from.

    Parameters
    ----------
    encoder, modalities
        See :func:`prepare_cohort`.
    content : {"features", "samples"}
        Features need a tokenizer with a front end ("spectral", "expert"); of any other modality
        the samples are stored.

    Returns
    -------
    dict of str to Content

    Raises
    ------
    ValueError
        If ``content`` is not accepted: features need a tokenizer with a front end.
    CheckpointError
        If there is no such encoder, or it does not read one of the modalities.

    Examples
    --------
    >>> from sleep2vec_sklearn.pretraining import contents_of
    >>> {name: c.width for name, c in contents_of(modalities=["spo2", "ibi"]).items()}
    {'spo2': 42, 'ibi': 42}
    """
    available: Sequence[ModalityConfig]
    if encoder is None:
        spectral = TokenizerConfig("spectral", 1)
        available = [ModalityConfig(m.name, m.conditioning, spectral) for m in MODALITIES.values()]
    else:
        if not isinstance(encoder, EncoderConfig):
            encoder = require_sleep2vec(as_checkpoint(encoder), "a night store").config
        available = encoder.modalities
    names = [m.name for m in available]
    chosen = names if modalities is None else list_modalities(modalities)
    if unknown := [name for name in chosen if name not in names]:
        raise CheckpointError(
            f"the encoder reads {', '.join(names)}, not {', '.join(unknown)}. Leave them "
            "out of modalities, or give an encoder=EncoderConfig(...) that has them."
        )
    contents = {}
    for modality in (m for m in available if m.name in chosen):
        has_features = content == "features" and modality.tokenizer.has_front_end
        make = Content.features if has_features else Content.samples
        contents[modality.name] = make(modality.conditioning)
    if content not in {stored.kind for stored in contents.values()}:
        raise ValueError(
            f"content must be one of {KINDS}, features only where a tokenizer has a fixed front "
            f"end, which none of {', '.join(contents)} has; got {content!r}."
        )
    return contents


def prepare_cohort(
    recordings: Sequence[Recording], folder: str | os.PathLike, *, encoder: Any = None,
    modalities: str | Sequence[str] | None = None, content: str = "features",
    metadata: pd.DataFrame | None = None, n_jobs: int | None = None, on_error: str = "warn",
    verbose: int = 0,
) -> NightStore:  # fmt: skip
    """Condition every night once and write what training needs of it to a folder.

    Memory does not grow with their number. A call that is killed at any moment is repeated as it
    is: no night is made twice. Calls with other recordings add theirs, also at the same time.

    Parameters
    ----------
    recordings : sequence of Recording
        Usually a :class:`~sleep2vec_sklearn.recordings.Cohort` of lazy ones, each with its own id.
    folder : path-like
        Made if need be. A folder holds one kind of content.
    encoder : EncoderConfig, Checkpoint, name or path, optional
        Whose conditioning and front ends to use; by default as :class:`Sleep2VecPretrainer`, the
        catalogue's conditioning and spectral front ends.
    modalities : str or sequence of str, optional
        All of the encoder's by default.
    content : {"features", "samples"}
        What the front end of a tokenizer computes, or samples for any tokenizer in twenty times
        the space.
    metadata : DataFrame, optional
        Any of the columns subject, age, sex and site, in place of the recordings' own, by their id.
    n_jobs, verbose : int, optional
        Processes of joblib; a progress bar from 1 on.
    on_error : {"warn", "raise"}
        Whether unusable recordings are left out and listed in ``store.failures``, or raise.

    Returns
    -------
    NightStore
        These nights, in their order.

    Raises
    ------
    InvalidRecordingError
        If an id is missing or not unique, metadata do not match, or no recording can be used.
    ReadError, OSError
        If the folder holds a store of other contents, or cannot be written. What is there stays.

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
        options: dict[str, Any] = {"n_jobs": n_jobs, "on_error": on_error, "verbose": verbose}
        return prepare_folder(path, contents, recordings, subjects, **options)
    except OSError as error:
        if isinstance(error, Sleep2VecError):
            raise
        fix = "make room or check the permissions, and call prepare_cohort again: the rest stays"
        reason = f"{error.strerror or error}: the store is not finished; {fix}"
        raise OSError(error.errno, reason, str(path)) from error


def prepare_folder(
    path: Path | None, contents: Mapping[str, Content], recordings: Sequence[Recording],
    subjects: pd.DataFrame, with_manifest: bool = True, **options: Any,
) -> NightStore:  # fmt: skip
    """Nights in memory or of a folder; a cache finds its own without a manifest."""
    folder = None if path is None else StoreFolder.create(path, contents)
    work = partial(_prepare, contents=dict(contents), folder=folder)
    outcomes = _prepare_each(work, recordings, **options)
    is_error = np.array([isinstance(outcome, Sleep2VecError) for outcome in outcomes])
    failed = [(str(subjects.index[i]), str(outcomes[i])) for i in np.flatnonzero(is_error)]
    n_recordings, first = len(recordings), f"The first: {failed[0][1]}" if failed else ""
    if is_error.all():
        raise InvalidRecordingError(f"none of {n_recordings} recordings can be used. {first}")
    if failed:
        message = f"{len(failed)} of {n_recordings} recordings are left out, see store.failures."
        warn(f"{message} {first}", RecordingWarning)
    subjects, nights = subjects[~is_error], [outcomes[i] for i in np.flatnonzero(~is_error)]
    if folder is not None and with_manifest:
        folder.write_manifest((subjects, nights, failed))
    return NightStore(contents, subjects, nights, failed)


def _prepare(
    recording: Recording, contents: Mapping[str, Content], folder: StoreFolder | None = None
) -> StoredNight:
    """A night in memory, or in a folder, where it is found again."""
    if folder is None:
        data = bytearray(prepare_night(recording, contents, ""))
        return parse_night(io.BytesIO(data), "", contents, data)
    # an error of the recording leaves it out, one of the folder ends the preparation
    with _naming_reading():
        key = night_key(recording, contents)
    stored = folder.find_night(key)
    return stored or folder.write_night(key, prepare_night(recording, contents, key))


@own_modes()
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
    work: Callable[[Recording], StoredNight], recordings: Sequence[Recording],
    n_jobs: int | None = None, on_error: str = "raise", verbose: int = 0,
) -> list[Any]:  # fmt: skip
    """The night of every recording, or its error."""
    if on_error not in ("raise", "warn"):
        raise ValueError(f"on_error must be 'raise' or 'warn', got {on_error!r}.")
    outcomes: list[Any] = [None] * len(recordings)
    tasks = (delayed(_attempt)(work, index, r) for index, r in enumerate(recordings))
    # closed at once where an error ends it, or the others would go on; unordered, or results would
    # pile up behind a slow night
    try:
        with closing(Parallel(n_jobs, return_as="generator_unordered")(tasks)) as ended:
            progress = {"total": len(recordings), "desc": "preparing", "unit": "night"}
            for index, outcome in progress_bar(verbose, ended, **progress):
                if on_error == "raise" and isinstance(outcome, Sleep2VecError):
                    raise outcome
                outcomes[index] = outcome
    except lost_worker_errors() as error:
        n_done = sum(outcome is not None for outcome in outcomes)
        finished = (
            f"{n_done} of {len(recordings)} nights were prepared, and those in a folder are not "
            "prepared again"
        )
        raise ClusterError(how_to_resume(error, finished)) from error
    return outcomes


def _attempt(work: Callable[[Recording], Any], index: int, recording: Recording) -> tuple[int, Any]:
    try:
        return index, work(recording)
    except Sleep2VecError as error:
        return index, type(error)(f"{describe_recording(recording, index)}: {error}")
