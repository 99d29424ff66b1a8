# SPDX-License-Identifier: BSD-3-Clause
"""Tables of embeddings with their provenance, to be used later without signals or torch.

One row per row of the table: its keys, the features, and the seconds of each modality behind it.
"""

from __future__ import annotations

import os
import reprlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._arguments import check_option
from .._files import sha256
from .._html import as_html
from .._untrusted import only_errors
from .._warnings import listed
from ..errors import InvalidRecordingError, ReadError, Sleep2VecError
from ..recordings.epochs import as_rows
from ..recordings.modality import EPOCH_SECONDS
from ..recordings.recording import Recording
from ._table_files import STORED, covariates_of, is_stored, read_table, write_parts, write_table
from ._table_rows import OFFSET, SECONDS, RepeatedRows, TableRows
from .inputs import EncoderInput, RowKeys

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from ._engine import EncodedNight

_VALUES_SHOWN = 3
_DIGITS = 16  # of a fingerprint; 64 bits
_BYTES = 65536  # read at both ends of a file
_ROWS_AT_ONCE = 16384
_SAME_NAME = (
    "two different recordings are both named {!r}, so that its rows could not be distinguished "
    "later. Give each recording an id of its own."
)
_ROW_COLUMNS = ("recording", "subject", "epoch", "stage")


class EmbeddingTable:
    """Rows of a transformer with their names and their provenance; immutable.

    Made by :meth:`Sleep2VecTransformer.embed`, or read by :meth:`load`, which needs no torch.

    Parameters
    ----------
    keys : RowKeys
        Names of the rows.
    values : float32 array of shape (n_rows, n_features)
        The embeddings.
    coverage : float32 array of shape (n_rows, n_modalities)
        Seconds of each modality behind each row.
    provenance : mapping
        JSON values; ``features`` and ``modalities`` name the columns of the arrays.
    offsets : float32 array of shape (n_rows, n_features), optional
        What centring takes off each row; few different ones a night.
    metadata : DataFrame or Cohort, optional
        Covariates: a row per recording, as of :meth:`save`.

    Attributes
    ----------
    X : RowKeys
        One key per row, for :class:`PrecomputedEmbeddings`; has ``groups`` and ``stages`` as an
        :class:`EpochSequence` has.
    values : read-only float32 ndarray of shape (n_rows, n_features)
        The rows before centring, as in :attr:`frame`; ``rows(center="night")`` gives those after.
    provenance : dict
        Name and sha256 of the checkpoint, the transformer's parameters, the versions used, and in
        ``contents`` a fingerprint of the signals of each recording.
    metadata : DataFrame or None
        The covariates that a file was saved with, a row per recording; see :meth:`to_frame`.

    Raises
    ------
    InvalidRecordingError
        If two nights of one name have different rows, or of ``metadata`` as by :meth:`save`.

    Examples
    --------
    >>> from sleep2vec_sklearn import Sleep2VecTransformer, make_sleep_cohort
    >>> nights = make_sleep_cohort(2, hours=1, modalities=["ibi"], random_state=0)
    >>> Sleep2VecTransformer().fit(nights).embed(nights).frame.shape
    (2, 601)
    """

    def __init__(
        self, keys: RowKeys, values: ArrayLike, coverage: ArrayLike, provenance: Mapping,
        offsets: ArrayLike | RepeatedRows | None = None, metadata: Any = None,
    ):  # fmt: skip
        self.X = keys
        # not with what it is a part of: rows may come with what centring takes off them
        self.values = np.ascontiguousarray(values, dtype=np.float32).view()
        self.values.flags.writeable = False
        self.provenance = dict(provenance)
        self._coverage = np.asarray(coverage, dtype=np.float32)
        if offsets is not None and not isinstance(offsets, RepeatedRows):
            offsets = RepeatedRows.of(np.asarray(offsets, np.float32))
        self._offsets = offsets
        self._check_repeated()
        self.metadata = None if metadata is None else self._covariates(metadata)

    def __deepcopy__(self, memo: dict) -> EmbeddingTable:
        # scikit-learn clones a parameter by a deep copy, in every fold
        return self

    def __reduce__(self) -> tuple:
        # arrays come out of a pickle writable, and what was derived from them need not travel
        parts = (self.X, self.values, self._coverage, self.provenance, self._offsets, self.metadata)
        return EmbeddingTable, parts

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return (
            f"EmbeddingTable({len(self)} {self.X.unit}s of {len(self.X.names)} recordings, "
            f"{len(self.feature_names)} features, {self.provenance.get('checkpoint')})"
        )

    def _repr_html_(self) -> str:
        told = ("checkpoint", "fusion", "pooling", "layer", "center", "precision")
        stated = self.provenance.items()
        facts = {name: value for name, value in stated if name in told and value is not None}
        tables = [self._named_values(copy=False)]  # a few of its rows are shown
        tables += [] if self.metadata is None else [self.metadata]
        return as_html(
            repr(self), pd.DataFrame([facts], index=["encoder"]), *tables, rest=".to_frame()"
        )

    @property
    def index(self) -> pd.Index:
        """Recordings, or a MultiIndex (recording, epoch)."""
        return self.X.index

    @property
    def feature_names(self) -> np.ndarray:
        """Names of the columns, as ``get_feature_names_out`` gives them; object array."""
        return np.array(self.provenance["features"], dtype=object)

    def rows(self, index: Any = slice(None), center: str | None = None) -> np.ndarray:
        """The embeddings of some rows, float32 of shape (n, n_features).

        Parameters
        ----------
        index : slice or int array, optional
        center : {"night"}, optional
            Relative to their night's mean, as the transformer's ``center="night"``.

        Raises
        ------
        ValueError
            If the table was made without ``center="night"``, so that it does not have that mean, or
            for another ``center``.
        """
        index = as_rows(index)
        if center is None:
            return self.values[index]
        check_option("center", center, ("night", None))
        if self._offsets is None:
            raise ValueError(
                f"center={center!r}: this table was made with center="
                f"{self.provenance.get('center')!r} and does not hold the nights' means. Embed "
                "the nights with Sleep2VecTransformer(center='night')."
            )
        # in place and in blocks: the rows of a cohort are not in memory three times
        rows = self.values[index]
        if not rows.flags.writeable:
            # of a slice, which is a view
            rows = rows.copy()
        of_rows = np.arange(len(self), dtype=np.int32)[index]
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            block = slice(start, start + _ROWS_AT_ONCE)
            rows[block] -= self._offsets[of_rows[block]]
        return rows

    def stored_rows(self, recording_index: np.ndarray | None = None) -> TableRows:
        """The rows as a file has them; of a part of a larger table with its numbers of names."""
        X = self.X
        rows = X.recording_index if recording_index is None else recording_index
        return TableRows(rows, X.epoch_index, X.stages, self.values, self._coverage, self._offsets)

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The embeddings before centring, one named row and column each."""
        return self._named_values(copy=True)

    def _named_values(self, copy: bool) -> pd.DataFrame:
        columns = self.feature_names
        return pd.DataFrame(self.values, index=self.index, columns=columns, copy=copy)

    @cached_property
    def coverage(self) -> pd.DataFrame:
        """Seconds of signal per row and modality, counted in whole epochs; 0 where missing."""
        return pd.DataFrame(self._coverage, index=self.index, columns=self.provenance["modalities"])

    def to_frame(self, metadata: Any = None) -> pd.DataFrame:
        """All of the table in columns, as Stata, R and statsmodels take it.

        Parameters
        ----------
        metadata : DataFrame or Cohort, optional
            Covariates, as of :meth:`save`; by default those the table has.

        Returns
        -------
        DataFrame
            A row per row: ``recording``, ``subject``, of epochs ``epoch`` (from 0, of 30 s) and
            ``stage``, the covariates, the features as the transformer gives them (after centring,
            if it centres), and ``eeg_seconds`` etc., the seconds of each modality behind the row.

        Raises
        ------
        InvalidRecordingError
            As of :meth:`save`.

        Examples
        --------
        >>> from sleep2vec_sklearn import Sleep2VecTransformer, make_sleep_cohort
        >>> nights = make_sleep_cohort(2, hours=1, modalities=["ibi"], random_state=0)
        >>> table = Sleep2VecTransformer().fit(nights).embed(nights)
        >>> table.to_frame(nights.metadata[["age"]]).columns[:4].tolist()
        ['recording', 'subject', 'age', 'sleep2vec_000']
        """
        keys = self.X
        named = {"recording": keys.names[keys.recording_index], "subject": keys.groups}
        if keys.epoch_index is not None:
            named |= {"epoch": keys.epoch_index, "stage": keys.stages}
        columns = [pd.DataFrame({n: pd.Series(values.tolist()) for n, values in named.items()})]
        covariates = self.metadata if metadata is None else self._covariates(metadata)
        if covariates is not None:
            columns.append(covariates.iloc[keys.recording_index].reset_index(drop=True))
        rows = self.rows(center=self.provenance.get("center"))
        columns.append(pd.DataFrame(rows, columns=self.feature_names))
        columns.append(self.coverage.reset_index(drop=True).add_suffix(SECONDS))
        return pd.concat(columns, axis=1)

    def save(self, path: str | os.PathLike, metadata: Any = None) -> None:
        """Write the table to a file, all of it or nothing.

        ``.parquet`` and ``.npz`` are read back by :meth:`load`; Parquet is also for pandas, polars
        and R's arrow, and ``.npz`` is not compressed and is mapped instead of read. ``.csv`` and
        Stata's ``.dta`` hold :meth:`to_frame` for other programs, with true as 1 and false as 0;
        the provenance is in a file beside it, ``rows.csv.json``.

        Parameters
        ----------
        path : path-like
            Ends in ``.parquet``, ``.npz``, ``.csv`` or ``.dta``. ``.parquet`` needs pyarrow:
            ``pip install 'sleep2vec-sklearn[parquet]'``.
        metadata : DataFrame or Cohort, optional
            Covariates: ``cohort.metadata`` or another table with a row for each recording of the
            table, which its index or a column ``recording`` names (subjects where rows stand for
            subjects). Rows of other recordings are left out, and so are the columns
            ``subject``, ``id``, ``path`` and ``hypnogram``. By default those the table has.

        Raises
        ------
        ValueError
            For another suffix, names that are neither text nor integers, or a table that Stata's
            format cannot hold (infinite values, more than 32767 columns).
        InvalidRecordingError
            If ``metadata`` has no or several rows for a recording, or a column of a name that the
            table has.
        PermissionError
            If the folder cannot be written.

        Notes
        -----
        Parquet's metadata has the provenance by the key ``sleep2vec_sklearn``, and a sha256 of all
        that :meth:`load` reads, which it compares; the rows are those before centring.
        In ``.npz``, categories become text and missing text is empty. In
        ``.dta`` (format 118: Stata 14 or later; up to 2048 columns for Stata/BE), names of
        columns that Stata does not accept are altered, and the labels of the variables and
        ``columns`` in the file beside it have the original ones; stages, categories
        and covariates of text with at most 20 different values are numbers from 0 with value
        labels, for ``i.sex``, and other text stays text; dates are Stata's.
        """
        covariates = self.metadata if metadata is None else self._covariates(metadata)
        write_table(Path(path), self, covariates)

    @classmethod
    def load(cls, path: str | os.PathLike) -> EmbeddingTable:
        """Read a .parquet or .npz file that :meth:`save` wrote; covariates are in ``metadata``.

        The values of an .npz file stay on disk: they are mapped read-only, and a study may be
        larger than memory.

        Raises
        ------
        ReadError
            If the file is missing, damaged, foreign, an export, or of a newer version.
        """
        with only_errors(ReadError, path, STORED):
            return cls(*read_table(Path(path)))

    @classmethod
    def concat(cls, tables: Sequence[EmbeddingTable]) -> EmbeddingTable:
        """One table of the rows of several, as the jobs of a cluster write them.

        Raises
        ------
        ValueError
            If there is none, they were made by different checkpoints or parameters, or some have
            covariates and others do not.
        """
        tables = list(tables)
        if not tables:
            raise ValueError("concat needs at least one table, got none.")
        for number, table in enumerate(tables):
            _check_same_encoder(tables[0].provenance, table.provenance, f"table {number}")
        offsets = [table._offsets for table in tables if table._offsets is not None]
        return cls(
            RowKeys.concat([table.X for table in tables]),
            np.concatenate([table.values for table in tables]),
            np.concatenate([table._coverage for table in tables]),
            _joined_provenance([table.provenance for table in tables]),
            # of the same option, so all have them or none
            RepeatedRows.concat(offsets) if offsets else None,
            _joined([table.metadata for table in tables]),
        )

    def rows_of(self, keys: RowKeys) -> np.ndarray:
        """Indices of the rows of these keys, an int array of shape (len(keys),).

        Raises
        ------
        InvalidRecordingError
            If a key is not in the table, or stands for the other kind of row.
        """
        if keys.unit != self.X.unit:
            raise InvalidRecordingError(
                f"X holds {keys.unit}s, but this table has rows of {self.X.unit}s. Pass the same "
                "kind (epochs as table.X, or as columns 'recording' and 'epoch'), or embed a table "
                "of the other."
            )
        index = {name: i for i, name in enumerate(self.X.names)}
        recordings = np.array([index.get(name, -1) for name in keys.names], dtype=np.int64)
        wanted = _code(recordings[keys.recording_index], keys.epoch_index)
        codes, order = self._codes
        nearest = np.minimum(np.searchsorted(codes, wanted), len(codes) - 1)
        missing = np.flatnonzero(codes[nearest] != wanted)
        if len(missing):
            first = keys[int(missing[0])]
            epoch = "" if first.epoch is None else f", epoch {first.epoch},"
            others = dict.fromkeys(repr(keys[int(i)].recording) for i in missing)
            known = {str(name): name for name in self.X.names}.get(str(first.recording))
            if known is not None and known != first.recording:
                raise InvalidRecordingError(
                    f"recording {first.recording!r} is not in the table, which has {known!r}. Pass "
                    f"names of the same kind, as by ids.astype({type(known).__name__})."
                )
            of = f", of {len(others)} recordings: {listed([*others], _VALUES_SHOWN)}"
            raise InvalidRecordingError(
                f"recording {first.recording!r}{epoch} is not in the table ({len(missing)} of the "
                f"{len(keys)} rows asked for are not{of if len(others) > 1 else ''}); it has "
                f"{len(self)} rows of {len(self.X.names)} recordings (such as "
                f"{self.X.names[0]!r}). Embed those that are missing with "
                f"Sleep2VecTransformer({self.provenance.get('checkpoint')!r}) and "
                "join the tables by EmbeddingTable.concat, or leave these rows out of X."
            )
        return order[nearest]

    @cached_property
    def _codes(self) -> tuple[np.ndarray, np.ndarray]:
        """Codes of the rows, sorted, and the row of each."""
        codes = _code(self.X.recording_index.astype(np.int64), self.X.epoch_index)
        if (codes[1:] > codes[:-1]).all():
            return codes, np.arange(len(codes), dtype=np.int32)
        order = np.argsort(codes, kind="stable").astype(np.int32)
        return codes[order], order

    def _covariates(self, metadata: Any) -> pd.DataFrame:
        return covariates_of(metadata, self.X, names_of_columns(self.provenance))

    def _check_repeated(self) -> None:
        codes, order = self._codes
        repeated = np.flatnonzero(codes[1:] == codes[:-1]) + 1
        if len(repeated) == 0:
            return
        rows, before = self.values[order[repeated]], self.values[order[repeated - 1]]
        different = repeated[~((rows == before) | (np.isnan(rows) & np.isnan(before))).all(axis=1)]
        if len(different):
            name = self.X[int(order[different[0]])].recording
            raise InvalidRecordingError(_SAME_NAME.format(name))


def _code(recordings: np.ndarray, epochs: np.ndarray | None) -> np.ndarray:
    """One number per row; -1 for a recording that is unknown."""
    if epochs is None:
        return recordings
    return np.where(recordings < 0, -1, (recordings << 32) + epochs)


def names_of_columns(provenance: Mapping) -> list[str]:
    """Names that covariates may not have."""
    features = provenance["features"]
    more = [f"{name}{SECONDS}" for name in provenance["modalities"]]
    return [*_ROW_COLUMNS, *features, *more, *(f"{name}{OFFSET}" for name in features)]


def join_files(paths: Sequence[Path], path: Path, metadata: Any = None) -> int:
    """Write the rows of several files to one; returns their number.

    A .parquet or .npz file is never in memory as a whole. As :meth:`EmbeddingTable.concat`, but
    that no two parts of such a file may have a recording of one name.
    """
    if not is_stored(path):
        whole = EmbeddingTable.concat([EmbeddingTable.load(part) for part in paths])
        whole.save(path, metadata)
        return len(whole)
    names, subjects, provenances, n_rows = [], [], [], 0
    for part in paths:
        # not held: a mapped file is an open one
        table = EmbeddingTable.load(part)
        provenances.append(table.provenance)
        _check_same_encoder(provenances[0], table.provenance, part)
        names.append(table.X.names)
        subjects.append(table.X.subjects)
        n_rows += len(table)
    keys = RowKeys(np.concatenate(names), np.concatenate(subjects), [])
    check_names(keys.names)
    provenance = _joined_provenance(provenances)
    covariates = None
    if metadata is not None:
        covariates = covariates_of(metadata, keys, names_of_columns(provenance))

    def parts() -> Iterator[TableRows]:
        start = 0
        for part in paths:
            table = EmbeddingTable.load(part)
            yield table.stored_rows(table.X.recording_index + np.int32(start))
            start += len(table.X.names)

    write_parts(path, keys, n_rows, provenance, covariates, parts())
    return n_rows


def check_names(names: Sequence | np.ndarray) -> None:
    """Refuse recordings of one name, whose rows could not be told apart."""
    for name, n_recordings in Counter(names).items():
        if n_recordings > 1:
            raise InvalidRecordingError(_SAME_NAME.format(name))


def _check_same_encoder(first: Mapping, other: Mapping, what: object) -> None:
    # where and when does not matter, nor does the name of a file where the hash is the same
    ignored = dict.fromkeys(("versions", "device", "checkpoint", "contents"))
    first, other = {**first, **ignored}, {**other, **ignored}
    names = sorted({**first, **other})
    differences = [_difference(name, first.get(name), other.get(name)) for name in names]
    if any(differences):
        raise ValueError(
            f"{what} differs from the first in {', '.join(filter(None, differences))}. "
            "Rows of different encoders cannot be compared; embed all nights with one "
            "checkpoint and the same parameters."
        )


def _joined_provenance(provenances: Sequence[Mapping]) -> dict:
    contents = {k: v for one in provenances for k, v in one.get("contents", {}).items()}
    return {**provenances[0], "contents": contents}


def _difference(name: str, first: object, other: object) -> str | None:
    if first == other:
        return None
    if isinstance(first, list) and isinstance(other, list):
        differing = [b for a, b in zip_longest(first, other, fillvalue="nothing") if a != b]
        shown = ", ".join(str(value) for value in differing[:_VALUES_SHOWN])
        more = ", ..." if len(differing) > _VALUES_SHOWN else ""
        return f"{name} ({len(differing)} of {max(len(first), len(other))} differ: {shown}{more})"
    return f"{name} ({reprlib.repr(other)}, not {reprlib.repr(first)})"


def _joined(tables: Sequence[pd.DataFrame | None]) -> pd.DataFrame | None:
    """Covariates of several tables, of a recording in several of them the first."""
    known = [table for table in tables if table is not None]
    if len(known) not in (0, len(tables)):
        raise ValueError(
            f"{len(known)} of the {len(tables)} tables have covariates, the others none. Save all "
            "with metadata, or pass it when the joined table is saved."
        )
    if not known:
        return None
    joined = pd.concat(known)
    return joined[~joined.index.duplicated()]


class CoverageCollector:
    """Seconds of each modality behind each row of X."""

    def __init__(self, inputs: EncoderInput, modalities: Sequence[str]):
        self._inputs, self._modalities = inputs, tuple(modalities)

    # made at the first night: those that are written to a file are never together in memory
    @cached_property
    def seconds(self) -> np.ndarray:
        return np.zeros((self._inputs.n_rows, len(self._modalities)), dtype=np.float32)

    def add(self, night: EncodedNight) -> None:
        """Take one night in."""
        self.seconds[self._inputs.rows[night.position]] += self.seconds_of(night)

    def seconds_of(self, night: EncodedNight) -> np.ndarray:
        """Seconds behind the rows of one night, float32 of shape (n_rows, n_modalities)."""
        rows, epochs = self._inputs.rows[night.position], self._inputs.epochs
        seconds = np.zeros((len(rows), len(self._modalities)), dtype=np.float32)
        for name, encoded in night.modalities.items():
            valid = encoded.valid
            n_valid = valid.sum() if epochs is None else valid[epochs[night.position]]
            seconds[:, self._modalities.index(name)] = EPOCH_SECONDS * n_valid
        return seconds


def contents_of(inputs: EncoderInput, modalities: Sequence[str]) -> dict[str, str]:
    """A short fingerprint of the signals behind each name of X, where they can be read."""
    found = {}
    for name, nights in _nights_by_name(inputs):
        contents = [_content(night, modalities) for night in nights]
        if all(contents):
            found[str(name)] = sha256(*contents)[:_DIGITS]
    return found


def check_contents(table: EmbeddingTable, inputs: EncoderInput) -> None:
    """Raise if recordings are not those of the same name that the table was made from."""
    contents = table.provenance.get("contents", {})
    signals: Any = table.provenance.get("signals", table.provenance["modalities"])
    now = contents_of(inputs, signals) if contents else {}
    subjects = dict(zip(map(str, table.X.names), table.X.subjects, strict=True))
    for name, nights in _nights_by_name(inputs):
        name, own, stored = str(name), nights[0].subject, subjects[str(name)]
        # of a night without a subject the table has the name
        stated = own is not None and str(stored) not in (name, str(own))
        if stated and not str(stored).startswith("recording "):
            raise InvalidRecordingError(
                f"recording {name!r} is of the subject {own!r}, that of the table of {stored!r}. "
                "Give nights of two studies ids of their own, or embed these nights anew."
            )
        if name in now and contents.get(name, now[name]) != now[name]:
            raise InvalidRecordingError(
                f"recording {name!r} holds other signals than the one in the table: another "
                "night of this name, or read with other channels or units. Embed it anew, or pass "
                "the table's own X if this is meant."
            )


def _nights_by_name(inputs: EncoderInput) -> Iterator[tuple[object, list[Recording]]]:
    """The names of a table's rows, and the recordings that each stands for."""
    if inputs.epochs is not None:
        yield from ((night.id, [night]) for night in inputs.recordings)
        return
    nights: dict[int, list[Recording]] = {}
    for night, rows in zip(inputs.recordings, inputs.rows, strict=True):
        nights.setdefault(int(rows[0]), []).append(night)
    yield from ((inputs.names[row], own) for row, own in nights.items())


def _content(night: Recording, modalities: Sequence[str]) -> str:
    """Hash of a night's signals, or of what is quickly read of its files; empty if nothing is."""
    names = [name for name in modalities if name in night.modalities]
    rates, units = night.rates, night.units
    parts: list[Any] = [repr([(name, rates[name], units[name]) for name in names])]
    try:
        for path in night.files:
            with path.open("rb") as file:
                begin, size = file.read(_BYTES), file.seek(0, os.SEEK_END)
                file.seek(max(size - _BYTES, 0))
                parts += [str(size), begin, file.read()]
        if not night.files:
            parts += [night.signal_fingerprint(name) for name in names]
    except (OSError, Sleep2VecError):
        # a table is used where the files are not
        return ""
    return sha256(*parts)
