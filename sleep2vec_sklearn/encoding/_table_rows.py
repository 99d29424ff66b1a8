# SPDX-License-Identifier: BSD-3-Clause
"""Rows of tables, written to Parquet and .npz part by part, and mapped from .npz.

A table of 6,000 nights by epochs is larger than memory: parts of it come one after the other, from
the encoder or from other files. In Parquet they become row groups. An .npz file is not compressed
and holds its arrays as .npy files at multiples of 64 bytes, so that they can be mapped, which
``np.load`` does not do. safetensors, which maps as well, has no text and no appending.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from .._files import import_pyarrow, sha256

METADATA_KEY = b"sleep2vec_sklearn"
DIGEST_KEY = b"sleep2vec_sklearn.sha256"
SECONDS = "_seconds"
OFFSET = "_night_mean"
PYARROW_HINT = "Or use a path that ends in .npz."
# of values in a row group, or copied at a time; a group a night would make a footer of gigabytes
_GROUP_BYTES = 32 * 2**20
_ALIGNMENT = 64
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # of a zip member: magic, lengths of name and extra
_ZIP64_BYTES = 20  # that zipfile adds to the extra field
_PADDING_ID = 0xD935  # of zipalign
_UNITS = ("s", "ms", "us", "ns")


@dataclass(frozen=True, slots=True)
class RepeatedRows:
    """A matrix with few different rows."""

    different: np.ndarray
    index: np.ndarray

    @classmethod
    def of(cls, matrix: np.ndarray) -> RepeatedRows:
        # those of a night follow each other
        new = np.ones(len(matrix), dtype=bool)
        new[1:] = (matrix[1:] != matrix[:-1]).any(axis=1)
        return cls(matrix[new], (np.cumsum(new) - 1).astype(np.int32))

    @classmethod
    def concat(cls, parts: Sequence[RepeatedRows]) -> RepeatedRows:
        """The rows of several."""
        starts = np.cumsum([0, *(len(part.different) for part in parts[:-1])])
        index = [part.index + start for part, start in zip(parts, starts, strict=True)]
        different = np.concatenate([part.different for part in parts])
        return cls(different, np.concatenate(index).astype(np.int32))

    def __getitem__(self, rows: Any) -> np.ndarray:
        return self.different[self.index[rows]]

    def part(self, rows: slice) -> RepeatedRows:
        """Some of the rows, without what others are made of."""
        used, index = np.unique(self.index[rows], return_inverse=True)
        return RepeatedRows(self.different[used], index.astype(np.int32))


@dataclass(frozen=True, slots=True)
class TableRows:
    """Some rows of a table, in order; their names are those at ``recording_index``."""

    recording_index: np.ndarray
    epochs: np.ndarray | None  # None where rows are nights
    stages: np.ndarray
    values: np.ndarray
    coverage: np.ndarray
    offsets: RepeatedRows | None

    @classmethod
    def concat(cls, parts: Sequence[TableRows]) -> TableRows:
        """The rows of several."""
        if len(parts) == 1:
            return parts[0]
        epochs = [part.epochs for part in parts if part.epochs is not None]
        offsets = [part.offsets for part in parts if part.offsets is not None]
        return cls(
            np.concatenate([part.recording_index for part in parts]),
            np.concatenate(epochs) if epochs else None,
            np.concatenate([part.stages for part in parts]),
            np.concatenate([part.values for part in parts]),
            np.concatenate([part.coverage for part in parts]),
            RepeatedRows.concat(offsets) if offsets else None,
        )

    def pieces(self, n_rows: int) -> Iterator[TableRows]:
        """The same in parts of at most so many rows; at least one."""
        if len(self.values) <= n_rows:
            yield self
            return
        for start in range(0, len(self.values), n_rows):
            rows = slice(start, start + n_rows)
            yield TableRows(
                self.recording_index[rows], None if self.epochs is None else self.epochs[rows],
                self.stages[rows], self.values[rows], self.coverage[rows],
                None if self.offsets is None else self.offsets.part(rows),
            )  # fmt: skip


@dataclass(frozen=True, slots=True)
class TableHead:
    """What a file says of all rows: names of recordings, their subjects, covariates, provenance."""

    names: Mapping[str, np.ndarray]  # "recording" and "subject", as text or integers
    covariates: Mapping[str, Any]
    document: dict
    n_rows: int


class ContentDigest:
    """A hash of all that a table holds, of rows that come one part after the other.

    Parquet has checksums of its pages, but none of what says where they are and what they mean.
    Rows are hashed as they are read back, however they are grouped.
    """

    def __init__(self) -> None:
        self._streams: dict[str, Any] = {}
        self._last_offsets = b""
        self._n_rows = 0

    def add(self, rows: TableRows) -> None:
        """Hash the numbers of some rows."""
        self._update("values", np.ascontiguousarray(rows.values, dtype="<f4"))
        self._update("coverage", np.ascontiguousarray(rows.coverage, dtype="<f4"))
        if rows.epochs is not None:
            self._update("epoch", np.ascontiguousarray(rows.epochs, dtype="<i8"))
            self._update("stage", np.ascontiguousarray(rows.stages, dtype="<i8"))
        if rows.offsets is not None:
            # each once where it begins, as they are those of a night
            index = rows.offsets.index
            for row in np.flatnonzero(np.diff(index, prepend=-1)).tolist():
                offsets = rows.offsets.different[index[row]].astype("<f4").tobytes()
                if offsets != self._last_offsets:
                    self._last_offsets = offsets
                    self._update("offsets", f"{self._n_rows + row} ".encode() + offsets)
        self._n_rows += len(rows.values)

    def _update(self, name: str, data: Any) -> None:
        self._streams.setdefault(name, hashlib.sha256()).update(data)

    def finish(self, recording_index: np.ndarray, described: Any, document: str | bytes) -> str:
        """Hex sha256; ``described`` is a table by the numbers of recordings, in their order."""
        self._update("recording", np.ascontiguousarray(recording_index, dtype="<i8"))
        streams = {name: stream.hexdigest() for name, stream in self._streams.items()}
        columns = {name: _as_plain(described[name]) for name in described.column_names}
        return sha256(document, json.dumps([self._n_rows, streams, columns], default=str))


def _as_plain(column: Any) -> list:
    """A column as JSON values that do not depend on the version of pyarrow; times in ns."""
    dtype = column.type
    if hasattr(dtype, "value_type"):
        column = column.cast(dtype.value_type)
    if not str(dtype).startswith("timestamp"):
        return column.to_pylist()
    times, scale = column.cast("int64").to_pylist(), 10 ** (9 - 3 * _UNITS.index(dtype.unit))
    return [dtype.tz, *(None if time is None else time * scale for time in times)]


def write_parquet(file: IO[bytes], head: TableHead, parts: Iterable[TableRows]) -> None:
    """Write a row group for each :data:`_GROUP_BYTES` of values."""
    pa, parquet = import_pyarrow(PYARROW_HINT)
    names = {name: pa.array(values) for name, values in head.names.items()}
    covariates = {name: pa.array(column) for name, column in head.covariates.items()}
    # the document announces the hash, without which older files are read
    document = json.dumps({**head.document, "checksum": "sha256"})
    features, writer, digest, index = head.document["features"], None, ContentDigest(), []
    try:
        for rows in _groups(parts):
            columns = _columns(pa, rows, head.document, names, covariates)
            table = pa.table(columns).replace_schema_metadata({METADATA_KEY: document})
            digest.add(rows)
            index.append(rows.recording_index)
            if writer is None:
                # the features have no two equal values, and an order of no use
                others = [name for name in columns if name not in set(features)]
                writer = parquet.ParquetWriter(
                    file, table.schema, use_dictionary=others, write_statistics=others,
                    write_page_checksum=True,
                )  # fmt: skip
            writer.write_table(table)
        if writer is not None:
            used, numbers = _by_appearance(np.concatenate(index))
            described = pa.table({**names, **covariates}).take(pa.array(used))
            sha256_of = digest.finish(numbers, described, document)
            writer.add_key_value_metadata({DIGEST_KEY: sha256_of})
    finally:
        if writer is not None:
            writer.close()


def _by_appearance(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Those in use, in the order of their first rows, and each row's number among them."""
    used, first, numbers = np.unique(index, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return used[order], np.argsort(order)[numbers]


def _groups(parts: Iterable[TableRows]) -> Iterator[TableRows]:
    held: list[TableRows] = []
    n_bytes = 0
    for part in parts:
        for piece in part.pieces(_rows_at_once(part.values)):
            held.append(piece)
            n_bytes += piece.values.nbytes
            if n_bytes >= _GROUP_BYTES:
                group, held, n_bytes = TableRows.concat(held), [], 0
                yield group
    if held:
        yield TableRows.concat(held)


def _rows_at_once(values: np.ndarray) -> int:
    return max(_GROUP_BYTES // (4 * max(values.shape[1], 1)), 1)


def _columns(
    pa: Any, rows: TableRows, document: dict, names: Mapping[str, Any], covariates: Mapping
) -> dict[str, Any]:
    index = pa.array(rows.recording_index)
    columns = {name: values.take(index) for name, values in names.items()}
    if rows.epochs is not None:
        columns |= {"epoch": pa.array(rows.epochs), "stage": pa.array(rows.stages)}
    columns |= {name: column.take(index) for name, column in covariates.items()}
    features = zip(document["features"], np.ascontiguousarray(rows.values.T), strict=True)
    columns |= {name: pa.array(values) for name, values in features}
    seconds = zip(document["modalities"], rows.coverage.T, strict=True)
    columns |= {f"{name}{SECONDS}": pa.array(values) for name, values in seconds}
    if rows.offsets is not None:
        coded, index = pa.DictionaryArray.from_arrays, pa.array(rows.offsets.index)
        for name, values in zip(document["features"], rows.offsets.different.T, strict=True):
            columns[f"{name}{OFFSET}"] = coded(index, pa.array(values))
    return columns


def write_npz(file: IO[bytes], head: TableHead, parts: Iterable[TableRows], folder: Path) -> None:
    """Write the values as they come; what is smaller follows, from temporary files in ``folder``.

    The file has to be one in which positions can be sought.
    """
    document, small = head.document, []
    widths = {"values": len(document["features"]), "coverage": len(document["modalities"])}
    has_offsets = False
    with (
        zipfile.ZipFile(file, "w") as archive,
        tempfile.TemporaryFile(dir=folder) as coverage,
        tempfile.TemporaryFile(dir=folder) as offsets,
    ):
        n_different = 0
        with _member(file, archive, "values", (head.n_rows, widths["values"])) as member:
            for part in parts:
                for rows in part.pieces(_rows_at_once(part.values)):
                    _append(member, rows.values)
                    _append(coverage, rows.coverage)
                    keys = [rows.recording_index, rows.epochs, rows.stages, None]
                    if rows.offsets is not None:
                        has_offsets = True
                        _append(offsets, rows.offsets.different)
                        keys[-1] = rows.offsets.index + np.int32(n_different)
                        n_different += len(rows.offsets.different)
                    small.append(keys)
        _copy(file, archive, "coverage", (head.n_rows, widths["coverage"]), coverage)
        if has_offsets:
            _copy(file, archive, "offsets", (n_different, widths["values"]), offsets)
        arrays = {"provenance": np.array(json.dumps(document)), **head.names}
        columns = zip(*small, strict=True)
        named = zip(("recording_index", "epoch", "stage", "offset_index"), columns, strict=True)
        arrays |= {n: np.concatenate(part) for n, part in named if part[0] is not None}
        if "epoch" not in arrays:
            arrays.pop("stage")
        for name, values in {**arrays, **head.covariates}.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(values), allow_pickle=False)


def _member(
    file: IO[bytes], archive: zipfile.ZipFile, name: str, shape: tuple[int, int]
) -> IO[bytes]:
    """A .npy file of float32 in a zip file, to be written; its numbers begin at a multiple of 64.

    The header of .npy is a multiple of 64 long; that of zip is padded by an extra field.
    """
    info = zipfile.ZipInfo(f"{name}.npy")
    begin = file.tell() + _LOCAL_HEADER.size + len(info.filename) + _ZIP64_BYTES
    n_padding = -(begin + 4) % _ALIGNMENT
    info.extra = struct.pack("<HH", _PADDING_ID, n_padding) + bytes(n_padding)
    member = archive.open(info, "w", force_zip64=True)
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(member, header)
    return member


def _append(file: IO[bytes], values: np.ndarray) -> None:
    if values.size:
        file.write(np.ascontiguousarray(values, dtype="<f4").data.cast("B"))


def _copy(
    file: IO[bytes], archive: zipfile.ZipFile, name: str, shape: tuple[int, int], source: IO[bytes]
) -> None:
    source.seek(0)
    with _member(file, archive, name, shape) as member:
        while block := source.read(_GROUP_BYTES):
            member.write(block)


def map_member(path: Path, archive: zipfile.ZipFile, name: str) -> np.ndarray | None:
    """A matrix of float32 in an .npz file, mapped read-only; None if it has to be read.

    Its checksum is compared, for which the file is read once, in small blocks.
    """
    info = archive.getinfo(f"{name}.npy")
    if info.compress_type != zipfile.ZIP_STORED:
        return None
    with archive.open(info) as member:
        while member.read(2**20):
            pass
    with path.open("rb") as file:
        file.seek(info.header_offset)
        _, n_name, n_extra = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
        begin = file.seek(n_name + n_extra, io.SEEK_CUR)
        if np.lib.format.read_magic(file) != (1, 0):
            return None
        shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
        offset = file.tell()
    n_bytes = int(np.prod(shape, dtype=object)) * 4
    is_plain = dtype == np.dtype("<f4") and not is_fortran and len(shape) == 2
    is_whole = n_bytes == info.file_size - (offset - begin)
    if not is_plain or not is_whole or n_bytes == 0 or offset % dtype.itemsize:
        return None
    return np.memmap(path, dtype, "r", offset, shape)
