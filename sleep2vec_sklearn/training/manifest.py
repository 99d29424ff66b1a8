# SPDX-License-Identifier: BSD-3-Clause
"""Which recording is which night of a store: Parquet for other tools to read, or numpy's .npz.

Every call of :func:`prepare_cohort` ends with a manifest of its own nights, which is never changed
afterwards. Together they are the table of the store; where two name the same recording, the later
one holds. One that a later one repeats in full is deleted by it. So no writer waits for another,
and none can undo what another wrote.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import re
import time
import uuid
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .._files import import_pyarrow, write_whole
from ..errors import ReadError
from .content import contents_from, describe_contents
from .night_table import COLUMNS, frame_of
from .nights import Presence
from .store_files import FORMAT_VERSION, StoredNight, StoreFolder, check_version

__all__ = ["Manifest", "list_manifests", "read_manifest", "read_manifests", "write_manifest"]

_NAME = re.compile(r"manifest-(\d{20})-[0-9a-f]{8}\.(parquet|npz)")
_METADATA_KEY = b"sleep2vec_sklearn"
_TRIES = 5


@dataclass(frozen=True)
class Manifest:
    """Nights in a folder, and whose they are.

    Attributes
    ----------
    sleepers : DataFrame
        Index ``recording``; subject, age, sex, site.
    nights : list of StoredNight
    failures : list of (str, str)
        Recording and reason of those that could not be prepared.
    """

    sleepers: object
    nights: Sequence[StoredNight]
    failures: Sequence[tuple[str, str]]


def write_manifest(folder: StoreFolder, manifest: Manifest) -> Path:
    """Write a manifest, and delete the older ones that it makes superfluous.

    Raises
    ------
    OSError
        If the folder cannot be written.
    """
    older = list_manifests(folder.path)
    stamp = max(time.time_ns(), *(_stamp(path) + 1 for path in older), 0)
    has_parquet = importlib.util.find_spec("pyarrow") is not None
    suffix, bytes_of = (".parquet", _parquet_of) if has_parquet else (".npz", _npz_of)
    path = folder.path / f"manifest-{stamp:020d}-{uuid.uuid4().hex[:8]}{suffix}"
    document = {
        "format_version": FORMAT_VERSION,
        "contents": describe_contents(folder.contents),
        "failures": [list(failure) for failure in manifest.failures],
    }
    write_whole(path, bytes_of(_columns_of(folder, manifest), document), folder.unfinished)
    mine = set(manifest.sleepers.index)
    for other in older:
        # what cannot be read is not known to be superfluous
        with contextlib.suppress(OSError, ImportError):
            if mine.issuperset(read_manifest(folder, other).sleepers.index):
                other.unlink()
    return path


def read_manifests(folder: StoreFolder) -> Manifest:
    """All manifests of a folder as one.

    Raises
    ------
    ReadError
        If there is none, or one is damaged or of a newer version.
    ImportError
        If one needs pyarrow, which is not installed.
    """
    import pandas as pd

    parts = _read_all(folder)
    if not parts:
        raise ReadError(
            f"{folder.path}: no preparation of this store has ended yet. Run prepare_cohort again: "
            "the nights that are there are not made again."
        )
    sleepers = pd.concat([part.sleepers for part in parts])
    nights = [night for part in parts for night in part.nights]
    latest = ~sleepers.index.duplicated(keep="last")
    sleepers = frame_of(sleepers.index[latest], sleepers[latest])
    known = set(sleepers.index)
    failures = {name: reason for part in parts for name, reason in part.failures}
    failures = [(name, reason) for name, reason in failures.items() if name not in known]
    return Manifest(sleepers, [nights[k] for k in np.flatnonzero(latest)], failures)


def _read_all(folder: StoreFolder) -> list[Manifest]:
    for _ in range(_TRIES):
        with contextlib.suppress(FileNotFoundError):
            return [read_manifest(folder, path) for path in list_manifests(folder.path)]
        # another process has just replaced one
    raise ReadError(f"{folder.path}: its manifests change all the time. Try again later.")


def list_manifests(folder: Path) -> list[Path]:
    """Manifests of a folder, the oldest first."""
    return sorted(path for path in folder.glob("manifest-*") if _NAME.fullmatch(path.name))


def _stamp(path: Path) -> int:
    return int(_NAME.fullmatch(path.name)[1])


def read_manifest(folder: StoreFolder, path: Path) -> Manifest:
    """Read one manifest.

    Raises
    ------
    FileNotFoundError
        If it is gone.
    ReadError
        If it is damaged, of a newer version, or of other contents.
    """
    read = _read_parquet if path.suffix == ".parquet" else _read_npz
    try:
        document, columns = read(path)
        check_version(path, document["format_version"])
        if contents_from(document["contents"]) != folder.contents:
            raise ReadError(f"{path}: does not belong to the store.json beside it. Delete it.")
        return _manifest_of(columns, document)
    except (ReadError, FileNotFoundError):
        raise
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ReadError(
            f"{path}: damaged: {error}. Delete it and run prepare_cohort again: the nights that "
            "are there are not made again."
        ) from error


def _columns_of(folder: StoreFolder, manifest: Manifest) -> dict[str, np.ndarray]:
    nights = manifest.nights
    columns = {"recording": manifest.sleepers.index.to_numpy(dtype=object)}
    columns |= {name: manifest.sleepers[name].to_numpy() for name in COLUMNS}
    columns["n_epochs"] = np.array([n.presence.n_epochs for n in nights], dtype=np.int64)
    columns["key"] = np.fromiter((n.key for n in nights), dtype=object, count=len(nights))
    offsets = np.array([n.offsets for n in nights], dtype=np.int64)
    sums = np.array([n.sums for n in nights], dtype=np.int64)
    for place, name in enumerate(folder.contents):
        counts = [np.count_nonzero(n.presence.mask(place)) for n in nights]
        columns[f"coverage_{name}"] = np.array(counts, dtype=np.int64)
        columns[f"offset_{name}"] = offsets[:, place]
        columns[f"crc32_{name}"] = sums[:, place]
    bits = [n.presence.bits for n in nights]
    columns["valid"] = np.fromiter(bits, dtype=object, count=len(nights))
    return columns


def _manifest_of(columns: dict, document: dict) -> Manifest:
    names = list(document["contents"])
    sleepers = frame_of(columns["recording"], columns)
    offsets = np.stack([columns[f"offset_{name}"] for name in names], axis=1)
    # manifests of before there were sums have none
    none = np.full(len(offsets), -1)
    sums = np.stack([columns.get(f"crc32_{name}", none) for name in names], axis=1)
    rows = zip(
        columns["key"],
        columns["n_epochs"].tolist(),
        columns["valid"],
        map(tuple, offsets.tolist()),
        map(tuple, sums.tolist()),
        strict=True,
    )
    nights = [
        StoredNight(key, Presence(n_epochs, bits), offset, crcs)
        for key, n_epochs, bits, offset, crcs in rows
    ]
    return Manifest(sleepers, nights, [tuple(failure) for failure in document["failures"]])


def _parquet_of(columns: dict[str, np.ndarray], document: dict):
    pa, parquet = import_pyarrow("")
    kinds = {"valid": pa.binary()}
    arrays = {
        name: pa.array(values, kinds.get(name, pa.string()) if values.dtype == object else None)
        for name, values in columns.items()
    }
    table = pa.table(arrays).replace_schema_metadata({_METADATA_KEY: json.dumps(document)})
    buffer = io.BytesIO()
    parquet.write_table(table, buffer, write_page_checksum=True)
    return buffer.getbuffer()


def _read_parquet(path: Path) -> tuple[dict, dict]:
    way_out = "Or run prepare_cohort into another folder, where it writes .npz."
    _, parquet = import_pyarrow(way_out)
    with parquet.ParquetFile(path, page_checksum_verification=True) as file:
        table = file.read()
    document = json.loads((table.schema.metadata or {})[_METADATA_KEY])
    numeric = ("n_epochs", "coverage_", "offset_", "crc32_")
    columns = {}
    for name in table.column_names:
        column = table[name]
        if name.startswith(numeric) or str(column.type) == "double":
            columns[name] = column.to_numpy()
        else:
            columns[name] = np.fromiter(column.to_pylist(), dtype=object, count=len(column))
    return document, columns


def _npz_of(columns: dict[str, np.ndarray], document: dict):
    arrays = {}
    for name, values in columns.items():
        if name == "valid":
            values = np.frombuffer(b"".join(values), dtype=np.uint8)
        elif values.dtype == object:
            # None, which an array of text cannot hold, is the empty text, which no value is
            values = np.array([value or "" for value in values], dtype=np.str_)
        arrays[name] = values
    buffer = io.BytesIO()
    np.savez_compressed(buffer, document=np.array(json.dumps(document)), **arrays)
    return buffer.getbuffer()


def _read_npz(path: Path) -> tuple[dict, dict]:
    with np.load(path, allow_pickle=False) as file:
        document = json.loads(str(file["document"]))
        columns = {name: file[name] for name in file.files if name != "document"}
    sizes = -(-columns["n_epochs"] // 8) * len(document["contents"])
    ends = np.cumsum(sizes)
    data = columns["valid"].tobytes()
    columns["valid"] = [data[end - size : end] for size, end in zip(sizes, ends, strict=True)]
    for name, values in columns.items():
        if getattr(values, "dtype", np.dtype(int)).kind == "U":
            texts = [text or None for text in values.tolist()]
            columns[name] = np.fromiter(texts, dtype=object, count=len(texts))
    return document, columns
