# SPDX-License-Identifier: BSD-3-Clause
"""Embedding tables as files: Parquet for other tools to read, or numpy's .npz.

One row per row of the table: its keys, the features, and the seconds of each modality behind it.
The provenance is a JSON document: the metadata of the Parquet file's schema, an array in .npz.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .._files import import_pyarrow, write_whole
from ..errors import ReadError
from .keys import RowKeys

__all__ = ["read_table", "write_table"]

FORMAT_VERSION = 1
_METADATA_KEY = b"sleep2vec_sklearn"
_SECONDS = "_seconds"
_NO_PYARROW = "Or use a path that ends in .npz."
_ACCEPTED = "Accepted are .parquet and .npz files written by EmbeddingTable.save()."


def write_table(path: Path, keys: RowKeys, values, coverage, provenance: Mapping) -> None:
    """Write a table, all of it or nothing.

    Raises
    ------
    ValueError
        If the suffix is neither .parquet nor .npz, or a name cannot be stored.
    ImportError
        If pyarrow is needed and not installed.
    """
    write = _choose(path, {".parquet": _parquet_of, ".npz": _npz_of})
    columns = {"recording": (_storable(keys.names), keys.recording_index)}
    columns["subject"] = (_storable(keys.subjects), keys.recording_index)
    document = json.dumps({**provenance, "format_version": FORMAT_VERSION}, sort_keys=True)
    data = write(columns, keys, values, coverage, json.loads(document))
    write_whole(path, data)


def read_table(path: Path) -> tuple[RowKeys, np.ndarray, np.ndarray, dict]:
    """Read keys, values, coverage and provenance back.

    Raises
    ------
    ReadError
        If the file is missing, damaged, foreign, or of a newer version.
    """
    read = _choose(path, {".parquet": _read_parquet, ".npz": _read_npz})
    try:
        return read(path)
    except ReadError:
        raise
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise ReadError(f"{path}: not a readable embedding table: {error}. {_ACCEPTED}") from error


def _choose(path: Path, formats: Mapping):
    if path.suffix not in formats:
        raise ValueError(f"{path}: unknown kind of file {path.suffix!r}. {_ACCEPTED}")
    return formats[path.suffix]


def _parquet_of(columns, keys: RowKeys, values, coverage, document: dict) -> bytes:
    pa, parquet = import_pyarrow(_NO_PYARROW)
    arrays = {
        name: pa.DictionaryArray.from_arrays(pa.array(rows), pa.array(names)).dictionary_decode()
        for name, (names, rows) in columns.items()
    }
    if keys.epoch_index is not None:
        arrays |= {"epoch": pa.array(keys.epoch_index), "stage": pa.array(keys.stages)}
    arrays |= {n: pa.array(v) for n, v in zip(document["features"], values.T, strict=True)}
    seconds = zip(document["modalities"], coverage.T, strict=True)
    arrays |= {f"{name}{_SECONDS}": pa.array(column) for name, column in seconds}
    table = pa.table(arrays).replace_schema_metadata({_METADATA_KEY: json.dumps(document)})
    buffer = io.BytesIO()
    parquet.write_table(table, buffer)
    return buffer.getbuffer()


def _read_parquet(path: Path):
    _, parquet = import_pyarrow(_NO_PYARROW)
    with parquet.ParquetFile(path) as file:
        table = file.read()
    document = _checked(path, (table.schema.metadata or {}).get(_METADATA_KEY))

    def matrix(names) -> np.ndarray:
        out = np.empty((table.num_rows, len(names)), dtype=np.float32)
        for place, name in enumerate(names):
            out[:, place] = table[name].to_numpy()
        return out

    coded = table["recording"].combine_chunks().dictionary_encode()
    rows = coded.indices.to_numpy()
    first = np.unique(rows, return_index=True)[1]
    subjects = table["subject"].take(first).to_pylist()
    epochs = (
        [table[name].to_numpy() for name in ("epoch", "stage")]
        if "epoch" in table.column_names
        else []
    )
    keys = RowKeys(coded.dictionary.to_pylist(), subjects, rows, *epochs)
    coverage = matrix([f"{name}{_SECONDS}" for name in document["modalities"]])
    return keys, matrix(document["features"]), coverage, document


def _npz_of(columns, keys: RowKeys, values, coverage, document: dict) -> bytes:
    arrays = {name: names for name, (names, _) in columns.items()}
    arrays |= {"recording_index": keys.recording_index, "values": values, "coverage": coverage}
    if keys.epoch_index is not None:
        arrays |= {"epoch": keys.epoch_index, "stage": keys.stages}
    buffer = io.BytesIO()
    np.savez(buffer, provenance=np.array(json.dumps(document)), **arrays)
    return buffer.getbuffer()


def _read_npz(path: Path):
    import zipfile

    try:
        with np.load(path, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile) or "provenance" not in file:
                _checked(path, None)
            document = _checked(path, str(file["provenance"]))
            epochs = [file[name] for name in ("epoch", "stage") if name in file]
            names, subjects = file["recording"].tolist(), file["subject"].tolist()
            keys = RowKeys(names, subjects, file["recording_index"], *epochs)
            return keys, file["values"], file["coverage"], document
    except zipfile.BadZipFile as error:
        raise ReadError(f"{path}: damaged or truncated ({error}). Write it again.") from error


def _checked(path: Path, document: bytes | str | None) -> dict:
    if document is None:
        raise ReadError(f"{path}: a file of something else, without provenance. {_ACCEPTED}")
    provenance = json.loads(document)
    version = provenance.pop("format_version")
    if version > FORMAT_VERSION:
        raise ReadError(
            f"{path}: written in format {version} by a newer version, this one reads up to "
            f"{FORMAT_VERSION}. Upgrade with: pip install -U sleep2vec-sklearn"
        )
    return provenance


def _storable(names: np.ndarray) -> np.ndarray:
    """Names as an array of text or of whole numbers."""
    for kind, dtype in ((str, np.str_), ((int, np.integer), np.int64)):
        if all(isinstance(name, kind) and not isinstance(name, bool) for name in names):
            stored = np.array(names.tolist(), dtype=dtype)
            # numpy forgets NULs at the end of a text
            if stored.tolist() == names.tolist():
                return stored
    strange = next(n for n in names if not isinstance(n, str) or n.endswith("\0"))
    raise ValueError(
        "names of recordings and subjects must be all text or all whole numbers to be saved, and "
        f"text may not end with NUL; found {strange!r}. Give such ids to the "
        "recordings and embed them again."
    )
