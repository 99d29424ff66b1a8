# SPDX-License-Identifier: BSD-3-Clause
"""Tables of embeddings with their provenance, to be used later without signals or torch.

One row per row of the table: its keys, the features, and the seconds of each modality behind it.
The provenance is a JSON document: the metadata of the Parquet file's schema, an array in .npz.
"""

from __future__ import annotations

import io
import json
import os
import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._files import check_format_version, import_pyarrow, sha256, write_atomic
from ..errors import InvalidRecordingError, ReadError, Sleep2VecError
from ..recordings.modality import EPOCH_SECONDS
from ..recordings.recording import Recording
from .inputs import EncoderInput, RowKeys

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike

    from ._engine import EncodedNight

FORMAT_VERSION = 1
_METADATA_KEY = b"sleep2vec_sklearn"
_SECONDS = "_seconds"
_OFFSET = "_night_mean"
# keys, values, coverage, provenance, offsets
_Stored = tuple[RowKeys, np.ndarray, np.ndarray, dict, np.ndarray | None]
_PYARROW_HINT = "Or use a path that ends in .npz."
_ACCEPTED = "Accepted are .parquet and .npz files written by EmbeddingTable.save()."
_VALUES_SHOWN = 3
_DIGITS = 16  # of a fingerprint; 64 bits
_BYTES = 65536  # read at both ends of a file


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

    Raises
    ------
    InvalidRecordingError
        If two nights of one name have different rows.

    Examples
    --------
    >>> from sleep2vec_sklearn import Sleep2VecTransformer, make_sleep_cohort
    >>> nights = make_sleep_cohort(2, hours=1, modalities=["ibi"], random_state=0)
    >>> Sleep2VecTransformer().fit(nights).embed(nights).frame.shape
    (2, 601)
    """

    def __init__(
        self, keys: RowKeys, values: ArrayLike, coverage: ArrayLike, provenance: Mapping,
        offsets: ArrayLike | None = None,
    ):  # fmt: skip
        self.X = keys
        self.values = np.asarray(values, dtype=np.float32).view()
        self.values.flags.writeable = False
        self.provenance = dict(provenance)
        self._coverage = np.asarray(coverage, dtype=np.float32)
        self._offsets = None if offsets is None else _Repeated.of(np.asarray(offsets, np.float32))
        self._check_repeated()

    def __deepcopy__(self, memo: dict) -> EmbeddingTable:
        # scikit-learn clones a parameter by a deep copy, in every fold
        return self

    def __reduce__(self) -> tuple:
        # arrays come out of a pickle writable, and what was derived from them need not travel
        offsets = None if self._offsets is None else self._offsets[:]
        return EmbeddingTable, (self.X, self.values, self._coverage, self.provenance, offsets)

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return (
            f"EmbeddingTable({len(self)} {self.X.unit}s of {len(self.X.names)} recordings, "
            f"{len(self.feature_names)} features, {self.provenance.get('checkpoint')})"
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
        if center is None:
            return self.values[index]
        if center != "night":
            raise ValueError(f"center must be 'night' or None, got {center!r}.")
        if self._offsets is None:
            raise ValueError(
                f"center={center!r}: this table was made with center="
                f"{self.provenance.get('center')!r} and does not hold the nights' means. Embed "
                "the nights with Sleep2VecTransformer(center='night')."
            )
        return self.values[index] - self._offsets[index]

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The embeddings before centring, one named row and column each."""
        import pandas as pd

        return pd.DataFrame(self.values, index=self.index, columns=self.feature_names)

    @cached_property
    def coverage(self) -> pd.DataFrame:
        """Seconds of signal per row and modality, counted in whole epochs; 0 where missing."""
        import pandas as pd

        return pd.DataFrame(self._coverage, index=self.index, columns=self.provenance["modalities"])

    def save(self, path: str | os.PathLike) -> None:
        """Write the table to a .parquet or .npz file, all of it or nothing.

        The provenance is ``sleep2vec_sklearn`` in the metadata of Parquet's schema.

        Parameters
        ----------
        path : path-like
            ``.parquet`` needs pyarrow: ``pip install 'sleep2vec-sklearn[parquet]'``.

        Raises
        ------
        ValueError
            For another suffix, or names that are neither text nor integers.
        """
        path = Path(path)
        serialize = _by_suffix(path, {".parquet": _to_parquet, ".npz": _to_npz})
        names = {"recording": _storable(self.X.names), "subject": _storable(self.X.subjects)}
        document = json.dumps({**self.provenance, "format_version": FORMAT_VERSION}, sort_keys=True)
        write_atomic(path, serialize(names, self, self._coverage, json.loads(document)))

    @classmethod
    def load(cls, path: str | os.PathLike) -> EmbeddingTable:
        """Read a table written by :meth:`save`.

        Raises
        ------
        ReadError
            If the file is missing, damaged, foreign, or of a newer version.
        """
        path = Path(path)
        read = _by_suffix(path, {".parquet": _read_parquet, ".npz": _read_npz})
        try:
            return cls(*read(path))
        except Sleep2VecError:
            raise
        except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
            message = f"{path}: not a readable embedding table: {error}. {_ACCEPTED}"
            raise ReadError(message) from error

    @classmethod
    def concat(cls, tables: Sequence[EmbeddingTable]) -> EmbeddingTable:
        """One table of the rows of several, as the jobs of a cluster write them.

        Raises
        ------
        ValueError
            If there is none, or they were made by different checkpoints or parameters.
        """
        tables = list(tables)
        if not tables:
            raise ValueError("concat needs at least one table, got none.")
        # where and when does not matter, nor does the name of a file where the hash is the same
        ignored = dict.fromkeys(("versions", "device", "checkpoint", "contents"))
        first, *others = [{**table.provenance, **ignored} for table in tables]
        for i, other in enumerate(others, start=1):
            names = sorted({**first, **other})
            differences = [_difference(k, first.get(k), other.get(k)) for k in names]
            if any(differences):
                raise ValueError(
                    f"table {i} differs from the first in {', '.join(filter(None, differences))}. "
                    "Rows of different encoders cannot be compared; embed all nights with one "
                    "checkpoint and the same parameters."
                )
        contents = {k: v for t in tables for k, v in t.provenance.get("contents", {}).items()}
        offsets = [table._offsets[:] for table in tables if table._offsets is not None]
        return cls(
            RowKeys.concat([table.X for table in tables]),
            np.concatenate([table.values for table in tables]),
            np.concatenate([table._coverage for table in tables]),
            {**tables[0].provenance, "contents": contents},
            # of the same option, so all have them or none
            np.concatenate(offsets) if offsets else None,
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
                "kind, or embed a table of the other."
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
            raise InvalidRecordingError(
                f"recording {first.recording!r}{epoch} is not in the table ({len(missing)} of the "
                f"{len(keys)} rows asked for are not); it has {len(self)} rows of "
                f"{len(self.X.names)} recordings (such as {self.X.names[0]!r}). Embed those that "
                f"are missing with Sleep2VecTransformer({self.provenance.get('checkpoint')!r}) and "
                "join the tables by EmbeddingTable.concat, or leave these rows out of X."
            )
        return order[nearest]

    @cached_property
    def _codes(self) -> tuple[np.ndarray, np.ndarray]:
        """Codes of the rows, sorted, and the row of each."""
        codes = _code(self.X.recording_index.astype(np.int64), self.X.epoch_index)
        order = np.argsort(codes, kind="stable")
        return codes[order], order

    def _check_repeated(self) -> None:
        codes, order = self._codes
        repeated = np.flatnonzero(codes[1:] == codes[:-1]) + 1
        rows, before = self.values[order[repeated]], self.values[order[repeated - 1]]
        different = repeated[~((rows == before) | (np.isnan(rows) & np.isnan(before))).all(axis=1)]
        if len(different):
            name = self.X[int(order[different[0]])].recording
            raise InvalidRecordingError(
                f"two different recordings are both named {name!r}, so that its rows could not be "
                "distinguished later. Give each recording an id of its own."
            )


@dataclass(frozen=True, slots=True)
class _Repeated:
    """A matrix with few different rows."""

    different: np.ndarray
    index: np.ndarray

    @classmethod
    def of(cls, matrix: np.ndarray) -> _Repeated:
        # those of a night follow each other
        new = np.ones(len(matrix), dtype=bool)
        new[1:] = (matrix[1:] != matrix[:-1]).any(axis=1)
        return cls(matrix[new], (np.cumsum(new) - 1).astype(np.int32))

    def __getitem__(self, rows: Any) -> np.ndarray:
        return self.different[self.index[rows]]


def _code(recordings: np.ndarray, epochs: np.ndarray | None) -> np.ndarray:
    """One number per row; -1 for a recording that is unknown."""
    if epochs is None:
        return recordings
    return np.where(recordings < 0, -1, (recordings << 32) + epochs)


def _difference(name: str, first: object, other: object) -> str | None:
    if first == other:
        return None
    if isinstance(first, list) and isinstance(other, list):
        differing = [b for a, b in zip_longest(first, other, fillvalue="nothing") if a != b]
        shown = ", ".join(str(value) for value in differing[:_VALUES_SHOWN])
        more = ", ..." if len(differing) > _VALUES_SHOWN else ""
        return f"{name} ({len(differing)} of {max(len(first), len(other))} differ: {shown}{more})"
    return f"{name} ({reprlib.repr(other)}, not {reprlib.repr(first)})"


class CoverageCollector:
    """Seconds of each modality behind each row of X."""

    def __init__(self, inputs: EncoderInput, modalities: Sequence[str]):
        self.seconds = np.zeros((inputs.n_rows, len(modalities)), dtype=np.float32)
        self._inputs, self._modalities = inputs, tuple(modalities)

    def add(self, night: EncodedNight) -> None:
        rows, epochs = self._inputs.rows[night.position], self._inputs.epochs
        for name, encoded in night.modalities.items():
            valid = encoded.valid
            n_valid = valid.sum() if epochs is None else valid[epochs[night.position]]
            self.seconds[rows, self._modalities.index(name)] += EPOCH_SECONDS * n_valid


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
    parts: list[Any] = [repr([(name, night.rates[name], night.units[name]) for name in names])]
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


def _by_suffix(path: Path, functions: Mapping[str, Callable]) -> Callable:
    if path.suffix not in functions:
        raise ValueError(f"{path}: unknown kind of file {path.suffix!r}. {_ACCEPTED}")
    return functions[path.suffix]


def _to_parquet(
    names: Mapping, table: EmbeddingTable, coverage: np.ndarray, document: dict
) -> memoryview:
    pa, parquet = import_pyarrow(_PYARROW_HINT)
    keys = table.X
    rows, coded = pa.array(keys.recording_index), pa.DictionaryArray.from_arrays
    columns = {n: coded(rows, pa.array(values)).dictionary_decode() for n, values in names.items()}
    if keys.epoch_index is not None:
        columns |= {"epoch": pa.array(keys.epoch_index), "stage": pa.array(keys.stages)}
    features = zip(document["features"], table.values.T, strict=True)
    seconds = zip(document["modalities"], coverage.T, strict=True)
    columns |= {name: pa.array(values) for name, values in features}
    columns |= {f"{name}{_SECONDS}": pa.array(values) for name, values in seconds}
    if table._offsets is not None:
        index = pa.array(table._offsets.index)
        for name, values in zip(document["features"], table._offsets.different.T, strict=True):
            columns[f"{name}{_OFFSET}"] = coded(index, pa.array(values))
    stored = pa.table(columns).replace_schema_metadata({_METADATA_KEY: json.dumps(document)})
    buffer = io.BytesIO()
    parquet.write_table(stored, buffer)
    return buffer.getbuffer()


def _read_parquet(path: Path) -> _Stored:
    _, parquet = import_pyarrow(_PYARROW_HINT)
    with parquet.ParquetFile(path) as file:
        table = file.read()
    document = _checked(path, (table.schema.metadata or {}).get(_METADATA_KEY))

    def matrix(names: Sequence[str]) -> np.ndarray:
        values = np.empty((table.num_rows, len(names)), dtype=np.float32)
        for column, name in enumerate(names):
            values[:, column] = table[name].to_numpy()
        return values

    coded = table["recording"].combine_chunks().dictionary_encode()
    rows = coded.indices.to_numpy()
    first = np.unique(rows, return_index=True)[1]
    subjects = table["subject"].take(first).to_pylist()
    by_epoch = [n for n in ("epoch", "stage") if n in table.column_names]
    epochs = [table[name].to_numpy() for name in by_epoch]
    keys = RowKeys(coded.dictionary.to_pylist(), subjects, rows, *epochs)
    coverage = matrix([f"{name}{_SECONDS}" for name in document["modalities"]])
    offsets = None
    if f"{document['features'][0]}{_OFFSET}" in table.column_names:
        offsets = matrix([f"{name}{_OFFSET}" for name in document["features"]])
    return keys, matrix(document["features"]), coverage, document, offsets


def _to_npz(
    names: Mapping, table: EmbeddingTable, coverage: np.ndarray, document: dict
) -> memoryview:
    keys = table.X
    arrays = {**names, "recording_index": keys.recording_index}
    arrays |= {"values": table.values, "coverage": coverage}
    if keys.epoch_index is not None:
        arrays |= {"epoch": keys.epoch_index, "stage": keys.stages}
    if table._offsets is not None:
        arrays |= {"offsets": table._offsets.different, "offset_index": table._offsets.index}
    buffer = io.BytesIO()
    np.savez(buffer, provenance=np.array(json.dumps(document)), **arrays)
    return buffer.getbuffer()


def _read_npz(path: Path) -> _Stored:
    import zipfile

    try:
        with np.load(path, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile) or "provenance" not in file:
                _checked(path, None)
            document = _checked(path, str(file["provenance"]))
            epochs = [file[name] for name in ("epoch", "stage") if name in file]
            names, subjects = file["recording"].tolist(), file["subject"].tolist()
            keys = RowKeys(names, subjects, file["recording_index"], *epochs)
            offsets = file["offsets"][file["offset_index"]] if "offsets" in file else None
            return keys, file["values"], file["coverage"], document, offsets
    except zipfile.BadZipFile as error:
        raise ReadError(f"{path}: damaged or truncated ({error}). Write it again.") from error


def _checked(path: Path, document: bytes | str | None) -> dict:
    if document is None:
        raise ReadError(f"{path}: a file of something else, without provenance. {_ACCEPTED}")
    provenance = json.loads(document)
    check_format_version(path, provenance.pop("format_version"), FORMAT_VERSION, ReadError)
    return provenance


def _storable(names: np.ndarray) -> np.ndarray:
    """Names as an array of text or of integers."""
    for kind, dtype in ((str, np.str_), ((int, np.integer), np.int64)):
        if all(isinstance(name, kind) and not isinstance(name, bool) for name in names):
            stored = np.array(names.tolist(), dtype=dtype)
            # numpy forgets NULs at the end of a text
            if stored.tolist() == names.tolist():
                return stored
    unstorable = next(n for n in names if not isinstance(n, str) or n.endswith("\0"))
    raise ValueError(
        "names of recordings and subjects must be all text or all integers to be saved, and "
        f"text may not end with NUL; found {unstorable!r}. Give such ids to the "
        "recordings and embed them again."
    )
