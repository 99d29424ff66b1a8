# SPDX-License-Identifier: BSD-3-Clause
"""The files of a store: one per night, written whole or not at all, and read by byte ranges.

```
store.json                          what is kept of each modality, and the version of the format
nights/3f/3f9c...e1.safetensors     one night, named by the hash of all that it depends on
manifest-<time>-<id>.parquet        which recording is which night; or .npz
unfinished/                         files that are being written
```

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
import logging
import os
import re
import struct
import time
import uuid
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from .._files import create_whole, import_pyarrow, write_whole
from ..errors import ReadError
from ..recordings._demographics import COLUMNS, subject_table
from ._prepare import PREPARATION_REVISION, PreparedNight, Presence
from .content import Content, contents_from, describe_contents

__all__ = [
    "FolderReader",
    "Manifest",
    "StoreFolder",
    "StoredNight",
    "list_manifests",
    "read_manifest",
    "read_manifests",
    "write_manifest",
]

FORMAT_VERSION = 1
_METADATA_KEY = "sleep2vec_sklearn"
_VALID = "valid"
_LENGTH = struct.Struct("<Q")
_LONGEST_HEADER = 2**20
_OTHER_FOLDER = "Prepare it into another folder, or delete this one."

_logger = logging.getLogger("sleep2vec_sklearn")


@dataclass(frozen=True, slots=True)
class StoredNight:
    """Where to find what of a night that is on disk.

    Attributes
    ----------
    key : str
        Hex sha256 that names the file.
    presence : Presence
    offsets : tuple of int
        First byte of each modality of the store, in its order; -1 where it is absent.
    sums : tuple of int
        CRC-32 of the stored numbers of each modality; -1 where it is absent, or where the night
        was written before sums were kept.
    """

    key: str
    presence: Presence
    offsets: tuple[int, ...]
    sums: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class StoreFolder:
    """A folder, and what is kept in it of each modality.

    Attributes
    ----------
    path : Path
    contents : dict of str to Content
    """

    path: Path
    contents: dict[str, Content]

    @property
    def unfinished(self) -> Path:
        """Where files are until they are whole."""
        return self.path / "unfinished"

    @classmethod
    def open(cls, path: Path) -> StoreFolder:
        """A store that is there.

        Raises
        ------
        ReadError
            If it is none, damaged, of a newer version, or conditioned by other code.
        """
        try:
            document = json.loads((path / "store.json").read_bytes())
            check_version(path, document["format_version"])
            _check_revision(path, document["revision"])
            return cls(path, contents_from(document["contents"]))
        except ReadError:
            raise
        except FileNotFoundError as error:
            raise ReadError(
                f"{path} is no store of nights: it has no store.json. Write one with "
                "prepare_cohort(recordings, folder)."
            ) from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ReadError(
                f"{path / 'store.json'}: cannot be read: {error!r}. Where the folder is a store, "
                "delete this file and run prepare_cohort again: the nights that are there are not "
                "made again."
            ) from error

    @classmethod
    def create(cls, path: Path, contents: Mapping[str, Content]) -> StoreFolder:
        """A store for these contents, new or as it was left.

        Raises
        ------
        ReadError
            If the folder holds a store of other contents or of a newer version.
        """
        folder = cls(path, dict(contents))
        folder.unfinished.mkdir(parents=True, exist_ok=True)
        described = {
            "format_version": FORMAT_VERSION,
            "revision": PREPARATION_REVISION,
            "contents": describe_contents(contents),
        }
        text = json.dumps(described, indent=1).encode()
        # of two that begin at once, one is first
        if not create_whole(path / "store.json", text, folder.unfinished):
            _refuse_other_contents(path, cls.open(path).contents, folder.contents)
        return folder

    def place_of(self, key: str) -> Path:
        """The file of a night."""
        # joined as text, as it is wanted for every window
        return Path(f"{self.path}/nights/{key[:2]}/{key}.safetensors")

    def find(self, key: str) -> StoredNight | None:
        """A night that is there whole; one that is damaged counts as absent, with a word."""
        try:
            return self._find(key)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
            _logger.warning("%s is damaged and made again: %r", self.place_of(key), error)
            return None

    def _find(self, key: str) -> StoredNight:
        with self.place_of(key).open("rb") as file:
            header, start, end = _read_header(file)
            if os.fstat(file.fileno()).st_size != end:
                raise ValueError("its size is wrong")
            metadata = json.loads(header["__metadata__"][_METADATA_KEY])
            if metadata["key"] != key:
                raise ValueError("it is another night")
            first, last = header[_VALID]["data_offsets"]
            file.seek(start + first)
            presence = Presence(metadata["n_epochs"], file.read(last - first))
        offsets = [
            header[n]["data_offsets"][0] + start if n in header else -1 for n in self.contents
        ]
        sums = metadata.get("crc32", {})
        sums = tuple(sums.get(name, -1) for name in self.contents)
        return StoredNight(key, presence, tuple(offsets), sums)

    def write(self, key: str, night: PreparedNight) -> StoredNight:
        """Write a night, all of it or nothing; a night that is there is replaced by its equal.

        Raises
        ------
        OSError
            If the folder cannot be written.
        """
        metadata = {
            "format_version": FORMAT_VERSION,
            "key": key,
            "n_epochs": night.presence.n_epochs,
            "crc32": night.sums(),
        }
        valid = np.frombuffer(night.presence.bits, dtype=np.uint8)
        data = save({**night.arrays, _VALID: valid}, metadata={_METADATA_KEY: json.dumps(metadata)})
        place = self.place_of(key)
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            write_whole(place, data, self.unfinished)
        except PermissionError:
            # on Windows a night that is being read cannot be replaced by its equal
            if self.find(key) is None:
                raise
        return self._find(key)


def check_version(path: Path, version: int) -> None:
    """Refuse what a newer version of the library wrote."""
    if version > FORMAT_VERSION:
        raise ReadError(
            f"{path}: a store of format {version}, written by a newer version; this one reads up "
            f"to {FORMAT_VERSION}. Upgrade with: pip install -U sleep2vec-sklearn"
        )


def _check_revision(path: Path, revision: int) -> None:
    if revision != PREPARATION_REVISION:
        raise ReadError(
            f"{path}: prepared by revision {revision} of the conditioning and the front ends, this "
            f"version has {PREPARATION_REVISION}: an encoder would be trained on what it never "
            f"gets afterwards. {_OTHER_FOLDER}"
        )


def _refuse_other_contents(path: Path, there: Mapping, wanted: Mapping) -> None:
    if list(there) != list(wanted):
        raise ReadError(
            f"{path}: holds nights of {', '.join(there)}, not of {', '.join(wanted)}; a store "
            f"keeps the same modalities of every night. {_OTHER_FOLDER}"
        )
    for name, content in wanted.items():
        if there[name] != content:
            differences = _differences(
                describe_contents(there)[name], describe_contents(wanted)[name]
            )
            raise ReadError(
                f"{path}: was prepared otherwise: {name!r} has {differences}. {_OTHER_FOLDER}"
            )


def _differences(there: Mapping, wanted: Mapping) -> str:
    there, wanted = ({**d, **d["conditioning"]} for d in (there, wanted))
    keys = [key for key in wanted if key != "conditioning" and there[key] != wanted[key]]
    return ", ".join(f"{key} {there[key]!r} there and {wanted[key]!r} here" for key in keys)


def _read_header(file) -> tuple[dict, int, int]:
    """Tensors of a safetensors file, first byte of the first, and the file's length."""
    (length,) = _LENGTH.unpack(file.read(_LENGTH.size))
    if length > _LONGEST_HEADER:
        raise ValueError("it has no safetensors header")
    header = json.loads(file.read(length))
    start = _LENGTH.size + length
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    return header, start, start + max(ends)


@dataclass(frozen=True)
class FolderReader:
    """Reads windows of the nights of a folder; holds no file open.

    One positioned read a window: as fast as a memory map from the page cache, one request instead
    of one a page from a cold disk, and a disk that fails is an error instead of a dead process.

    Attributes
    ----------
    folder : StoreFolder
    keys : tuple of str
        Of each night.
    offsets, sums : int64 ndarray of shape (n_nights, n_modalities)
        First byte, and CRC-32, of each modality; see :class:`StoredNight`.
    """

    folder: StoreFolder
    keys: tuple[str, ...]
    offsets: np.ndarray
    sums: np.ndarray

    def read(self, night: int, modality: str, start: int, stop: int) -> np.ndarray:
        """Stored numbers of these epochs; nothing else is read.

        Raises
        ------
        ReadError
            If the file is gone or shorter than it was.
        """
        content, path, first = self._locate(night, modality)
        row = content.width * content.dtype.itemsize
        try:
            data = _read_bytes(path, first + start * row, (stop - start) * row)
        except OSError as error:
            raise _lost(path, error) from error
        return np.frombuffer(data, content.dtype).reshape(stop - start, content.width)

    def map(self, night: int, modality: str, n_epochs: int) -> np.memmap:
        """All stored numbers of a modality, none of which is read yet.

        Raises
        ------
        ReadError
            If the file is gone or shorter than it was.
        """
        content, path, first = self._locate(night, modality)
        try:
            return np.memmap(path, content.dtype, "r", first, (n_epochs, content.width))
        except (OSError, ValueError) as error:
            raise _lost(path, error) from error

    def _locate(self, night: int, modality: str) -> tuple[Content, Path, int]:
        first = self.offsets[night, list(self.folder.contents).index(modality)]
        path = self.folder.place_of(self.keys[night])
        return self.folder.contents[modality], path, int(first)

    def take(self, nights: np.ndarray) -> FolderReader:
        """The same for some of the nights."""
        keys = tuple(self.keys[k] for k in nights)
        return FolderReader(self.folder, keys, self.offsets[nights], self.sums[nights])

    def identify(self, night: int) -> list:
        """What tells a night's stored numbers from others, without reading them."""
        sums = self.sums[night]
        if ((sums < 0) & (self.offsets[night] >= 0)).any():
            return [self.keys[night]]
        return np.maximum(sums, 0).tolist()

    def check(self, night: int, presence: Presence) -> str | None:
        """Read a night in full; what is wrong with its file, or None."""
        path = self.folder.place_of(self.keys[night])
        try:
            self._compare(night, presence, path)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
            return f"{path}: {error}"
        return None

    def _compare(self, night: int, presence: Presence, path: Path) -> None:
        there = self.folder._find(self.keys[night])
        if there.presence != presence or there.offsets != tuple(self.offsets[night].tolist()):
            raise ValueError("it is not what the manifest says")
        rows = zip(self.folder.contents.items(), there.offsets, self.sums[night], strict=True)
        for (name, content), first, kept in rows:
            size = presence.n_epochs * content.width * content.dtype.itemsize
            if kept >= 0 and zlib.crc32(_read_bytes(path, first, size)) != kept:
                raise ValueError(f"wrong checksum of {name}")


def _lost(path: Path, error: Exception) -> ReadError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return ReadError(
        f"{path}: a night of the store cannot be read: {reason}. Run prepare_cohort again: what is "
        "gone or damaged is made anew."
    )


def _read_bytes(path: Path, start: int, size: int) -> bytearray:
    data = bytearray(size)
    rest = memoryview(data)
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        while rest and (n_read := file.readinto(rest)):
            rest = rest[n_read:]
    if rest:
        raise OSError("it is shorter than it was written")
    return data


_MANIFEST_NAME = re.compile(r"manifest-(\d{20})-[0-9a-f]{8}\.(parquet|npz)")
_MANIFEST_KEY = b"sleep2vec_sklearn"
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
    sleepers = subject_table(sleepers.index[latest], sleepers[latest])
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
    return sorted(path for path in folder.glob("manifest-*") if _MANIFEST_NAME.fullmatch(path.name))


def _stamp(path: Path) -> int:
    return int(_MANIFEST_NAME.fullmatch(path.name)[1])


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
    sleepers = subject_table(columns["recording"], columns)
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
    table = pa.table(arrays).replace_schema_metadata({_MANIFEST_KEY: json.dumps(document)})
    buffer = io.BytesIO()
    parquet.write_table(table, buffer, write_page_checksum=True)
    return buffer.getbuffer()


def _read_parquet(path: Path) -> tuple[dict, dict]:
    way_out = "Or run prepare_cohort into another folder, where it writes .npz."
    _, parquet = import_pyarrow(way_out)
    with parquet.ParquetFile(path, page_checksum_verification=True) as file:
        table = file.read()
    document = json.loads((table.schema.metadata or {})[_MANIFEST_KEY])
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
