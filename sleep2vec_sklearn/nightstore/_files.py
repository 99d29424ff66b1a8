# SPDX-License-Identifier: BSD-3-Clause
"""Files of a store: one per night, written whole or not at all, and read by byte ranges.

```
store.json                          what is stored of each modality, and the version of the format
nights/3f/3f9c...e1.safetensors     one night, named by the hash of all that it depends on
manifest-<time>-<id>.json.gz        which recording is which night; .parquet in older stores
unfinished/                         files that are being written
```

Every call of :func:`prepare_cohort` adds a manifest of its own nights. Of two that name a recording
the later one holds; one that a later one repeats in full is deleted by it. So no writer waits for
another, and none can undo what another wrote.

Weighed: slices of ``safetensors.safe_open`` read 8,000 windows of 120 epochs a second, positioned
reads 23,000; and a map turns a failing disk into a dead process. zarr makes a file of each chunk.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import logging
import os
import re
import struct
import time
import uuid
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd
from safetensors.numpy import save

from .._files import (
    check_format_version,
    create_exclusive,
    list_differences,
    sweep_temporary,
    write_atomic,
)
from .._untrusted import LONGEST_JSON, open_parquet, parse_json, read_bytes
from ..errors import ReadError
from ..recordings._demographics import subject_table
from .content import PREPARATION_REVISION, Content, contents_from, describe_contents

FORMAT_VERSION = 1
_METADATA_KEY = "sleep2vec_sklearn"
_VALID = "valid"
_LENGTH = struct.Struct("<Q")
_LONGEST_HEADER = 2**20
_MANIFEST_NAME = re.compile(r"manifest-(\d{20})-[0-9a-f]{8}\.(?:json\.gz|parquet|npz)")
_TRIES = 5
_KEY = re.compile("[0-9a-f]{64}")
# ten years of epochs of 30 s, and manifests of 40,000 nights; more are prepared in several calls
MOST_EPOCHS = 10 * 366 * 2880
LONGEST_MANIFEST, MOST_MANIFEST_VALUES = 2**27, 5_000_000
_OTHER_FOLDER = "Prepare it into another folder, or delete this one."
_AGAIN = "run prepare_cohort again: the nights that are there are not made again."
_DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error)

_logger = logging.getLogger("sleep2vec_sklearn")


@dataclass(frozen=True, slots=True)
class StoredNight:
    """A night in memory, as the bytes of its file, or on disk, where no file is held open.

    ``key``, a hex sha256, names it. For the store's modalities, in order: ``masks``, the bits of
    their valid epochs, each from a new byte on; ``offsets``, their first bytes; ``sums``, their
    CRC-32. The last two are -1 where one is absent, or was written before there were checksums.
    """

    key: str
    n_epochs: int
    masks: bytes
    offsets: tuple[int, ...]
    sums: tuple[int, ...]
    source: StoreFolder | bytearray = field(compare=False)

    def unpack_masks(self) -> np.ndarray:
        """Which epochs are valid, bool of shape (n_modalities, n_epochs)."""
        bits = np.frombuffer(self.masks, np.uint8).reshape(len(self.offsets), -1)
        return np.unpackbits(bits, axis=1, count=self.n_epochs).view(bool)

    def read(self, content: Content, index: int, start: int, stop: int) -> np.ndarray:
        """Stored numbers of a modality's epochs; ReadError if the file is gone or cut short."""
        try:
            data = self._bytes(content, index, start, stop)
        except OSError as error:
            reason = f"{self.path}: cannot be read: {error.strerror or error}"
            raise ReadError(f"{reason}. Run prepare_cohort again, which replaces it.") from error
        return np.frombuffer(data, content.dtype).reshape(stop - start, content.width)

    def _bytes(self, content: Content, index: int, start: int, stop: int) -> bytearray | memoryview:
        row = content.width * content.dtype.itemsize
        first, size = self.offsets[index] + start * row, (stop - start) * row
        if isinstance(self.source, bytearray):
            return memoryview(self.source)[first : first + size]
        # one request, where a map of the file makes one a page from a cold disk
        with open(self.path, "rb", buffering=0) as file:
            if first + size > os.fstat(file.fileno()).st_size:
                raise OSError("it is shorter than it was written")
            data = bytearray(size)
            rest = memoryview(data)
            file.seek(first)
            while rest and (n_read := file.readinto(rest)):
                rest = rest[n_read:]
        if rest:
            raise OSError("it is shorter than it was written")
        return data

    @property
    def path(self) -> str:
        return "" if isinstance(self.source, bytearray) else self.source.night_path(self.key)

    def identity(self) -> list:
        """What distinguishes the stored numbers from others, ready for JSON."""
        if any(crc < 0 <= first for first, crc in zip(self.offsets, self.sums, strict=True)):
            return [self.key]
        return [max(crc, 0) for crc in self.sums]

    def damage(self) -> str | None:
        """What is wrong with the night's file, which is read in full, or None."""
        if isinstance(self.source, bytearray):
            return None
        try:
            if replace(self.source.read_night(self.key), sums=self.sums) != self:
                raise ValueError("it is not what the manifest says")
            for index, (name, content) in enumerate(self.source.contents.items()):
                crc = self.sums[index]
                if crc >= 0 and zlib.crc32(self._bytes(content, index, 0, self.n_epochs)) != crc:
                    raise ValueError(f"wrong checksum of {name}")
        except _DAMAGE as error:
            return f"{self.path}: {error}"
        return None


def serialize_night(key: str, masks: np.ndarray, arrays: Mapping[str, np.ndarray]) -> bytes:
    """The file of a night: masks (n_modalities, n_epochs), and the arrays of what has a signal."""
    metadata = {
        "format_version": FORMAT_VERSION,
        "key": key,
        "n_epochs": masks.shape[1],
        "crc32": {n: zlib.crc32(np.ascontiguousarray(a).data) for n, a in arrays.items()},
    }
    tensors = {**arrays, _VALID: np.packbits(masks, axis=1).reshape(-1)}
    return save(tensors, metadata={_METADATA_KEY: json.dumps(metadata)})


def parse_night(
    file: IO[bytes], key: str, contents: Mapping[str, Content], source: StoreFolder | bytearray
) -> StoredNight:
    """A night by the header of its file; raises one of many errors where that is damaged."""
    (length,) = _LENGTH.unpack(file.read(_LENGTH.size))
    if length > _LONGEST_HEADER:
        raise ValueError("it has no safetensors header")
    header = parse_json(file.read(length))
    metadata = parse_json(header.pop("__metadata__")[_METADATA_KEY])
    spans = {name: entry["data_offsets"] for name, entry in header.items()}
    start = _LENGTH.size + length
    if file.seek(0, os.SEEK_END) != start + max(last for _, last in spans.values()):
        raise ValueError("its size is wrong")
    if metadata["key"] != key:
        raise ValueError("it is another night")
    for name, (first, last) in spans.items():
        row = 0 if name == _VALID else contents[name].width * contents[name].dtype.itemsize
        n_bytes = row * metadata["n_epochs"] if row else _mask_bytes(metadata, contents)
        if first < 0 or last - first != n_bytes:
            raise ValueError(f"{name} has another size")
    first, last = spans[_VALID]
    file.seek(start + first)
    masks = file.read(last - first)
    offsets = tuple(spans[name][0] + start if name in spans else -1 for name in contents)
    sums = tuple(metadata.get("crc32", {}).get(name, -1) for name in contents)
    night = StoredNight(key, metadata["n_epochs"], masks, offsets, sums, source)
    check_night(night, contents)
    return night


def _mask_bytes(metadata: Mapping, contents: Mapping) -> int:
    return len(contents) * -(-metadata["n_epochs"] // 8)


def check_night(night: StoredNight, contents: Mapping[str, Content]) -> None:
    """Refuse what a file says of a night, unless it can be; its key chooses what is read."""
    numbers = (night.n_epochs, *night.offsets, *night.sums)
    if not all(type(number) is int and -1 <= number < 2**53 for number in numbers):
        raise ValueError("offsets, checksums or n_epochs are no such numbers")
    if not 1 <= night.n_epochs <= MOST_EPOCHS:
        raise ValueError(f"a night of {night.n_epochs} epochs; accepted are up to {MOST_EPOCHS:,}")
    if night.key and not _KEY.fullmatch(night.key):
        raise ValueError("the key of a night is none")
    n_bytes = _mask_bytes({"n_epochs": night.n_epochs}, contents)
    if len(night.masks) != n_bytes or not len(contents) == len(night.offsets) == len(night.sums):
        raise ValueError(f"a night is not one of {', '.join(contents)}")


# a row of subject, age, sex and site for each night; id and reason of those that failed
Manifest = tuple[pd.DataFrame, list[StoredNight], list[tuple[str, str]]]


@dataclass(frozen=True)
class StoreFolder:
    """A folder of nights, and what is stored of each modality."""

    path: Path
    contents: dict[str, Content]

    @property
    def unfinished(self) -> Path:
        return self.path / "unfinished"

    @classmethod
    def open(cls, path: Path) -> StoreFolder:
        """A store that exists; ReadError if it cannot be used."""
        try:
            document = parse_json(read_bytes(path / "store.json", LONGEST_JSON))
            check_format_version(path, document["format_version"], FORMAT_VERSION, ReadError)
            if document["revision"] != PREPARATION_REVISION:
                raise ReadError(
                    f"{path}: prepared by revision {document['revision']} of the conditioning and "
                    f"the front ends, this version has {PREPARATION_REVISION}. {_OTHER_FOLDER}"
                )
            return cls(path, contents_from(document["contents"]))
        except FileNotFoundError as error:
            raise ReadError(f"{path} is no store of nights; prepare_cohort writes one.") from error
        except ReadError:
            raise
        except Exception as error:
            raise ReadError(
                f"{path / 'store.json'}: cannot be read: {error!r}. Where the folder is a store, "
                f"delete this file and {_AGAIN}"
            ) from error

    @classmethod
    def create(cls, path: Path, contents: Mapping[str, Content]) -> StoreFolder:
        """A store of these contents, new or as it was left; ReadError if it has other contents."""
        folder = cls(path, dict(contents))
        folder.unfinished.mkdir(parents=True, exist_ok=True)
        sweep_temporary(folder.unfinished)
        wanted = describe_contents(contents)
        document = {"format_version": FORMAT_VERSION, "revision": PREPARATION_REVISION}
        text = json.dumps({**document, "contents": wanted}, indent=1).encode()
        # of two that begin at once, one is first
        if create_exclusive(path / "store.json", text, folder.unfinished):
            return folder
        stored = describe_contents(cls.open(path).contents)
        if list(stored) != list(wanted):
            names = f"{', '.join(stored)}, not of {', '.join(wanted)}"
            raise ReadError(f"{path}: holds nights of {names}. {_OTHER_FOLDER}")
        if changed := list_differences(stored, wanted):
            raise ReadError(f"{path}: was prepared otherwise: {changed[0]}. {_OTHER_FOLDER}")
        return folder

    def night_path(self, key: str) -> str:
        # text, as one is made for every window
        return f"{self.path}/nights/{key[:2]}/{key}.safetensors"

    def find_night(self, key: str) -> StoredNight | None:
        """A night that is there whole; a damaged one is logged and counts as absent."""
        try:
            return self.read_night(key)
        except _DAMAGE as error:
            if not isinstance(error, FileNotFoundError):
                _logger.warning("%s is damaged and made again: %r", self.night_path(key), error)
            return None

    def read_night(self, key: str) -> StoredNight:
        with open(self.night_path(key), "rb") as file:
            return parse_night(file, key, self.contents, self)

    def write_night(self, key: str, data: bytes) -> StoredNight:
        """Write a night, all of it or nothing; one that is there is replaced by its equal."""
        path = Path(self.night_path(key))
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write_atomic(path, data, self.unfinished)
        except PermissionError:
            # Windows does not replace a file that is being read
            if self.find_night(key) is None:
                raise
        return self.read_night(key)

    def write_manifest(self, manifest: Manifest) -> None:
        """Write a manifest, and delete the older ones that it makes superfluous."""
        subjects, nights, failures = manifest
        older = _find_manifests(self.path)
        stamp = max(time.time_ns(), *(older_stamp + 1 for older_stamp, _ in older), 0)
        path = self.path / f"manifest-{stamp:020d}-{uuid.uuid4().hex[:8]}.json.gz"
        document = {
            "format_version": FORMAT_VERSION,
            "contents": describe_contents(self.contents),
            "failures": failures,
            "subjects": subjects.reset_index().to_dict("list"),
            "nights": [(n.key, n.n_epochs, n.masks.hex(), n.offsets, n.sums) for n in nights],
        }
        text = json.dumps(document, separators=(",", ":")).encode()
        write_atomic(path, gzip.compress(text, compresslevel=1, mtime=0), self.unfinished)
        written = set(subjects.index)
        for _, other in older:
            # one that cannot be read is not known to be superfluous
            with contextlib.suppress(OSError, ImportError):
                if written.issuperset(_read_manifest(self, other)[0].index):
                    other.unlink()

    def read_manifests(self) -> Manifest:
        """All manifests of a folder as one; ReadError if there is none, or one cannot be read."""
        # another process may replace one meanwhile
        for _ in range(_TRIES):
            with contextlib.suppress(FileNotFoundError):
                parts = [_read_manifest(self, path) for _, path in _find_manifests(self.path)]
                break
        else:
            raise ReadError(f"{self.path}: its manifests change all the time. Try again later.")
        if not parts:
            raise ReadError(f"{self.path}: no preparation of this store has ended; {_AGAIN}")
        subjects = pd.concat([rows for rows, _, _ in parts])
        nights = [night for _, part, _ in parts for night in part]
        latest = ~subjects.index.duplicated(keep="last")
        subjects = subject_table(subjects.index[latest], subjects[latest])
        reasons = {name: reason for _, _, failures in parts for name, reason in failures}
        failures = [(name, why) for name, why in reasons.items() if name not in subjects.index]
        return subjects, [nights[k] for k in np.flatnonzero(latest)], failures


def _find_manifests(folder: Path) -> list[tuple[int, Path]]:
    """Time stamps and paths of a folder's manifests, the oldest first."""
    matches = ((_MANIFEST_NAME.fullmatch(path.name), path) for path in folder.glob("manifest-*"))
    return sorted((int(match[1]), path) for match, path in matches if match)


def _read_manifest(folder: StoreFolder, path: Path) -> Manifest:
    try:
        if path.suffix == ".parquet":
            document = _read_parquet(path)
        else:
            text = read_bytes(path, LONGEST_MANIFEST, unpack=True)
            document = parse_json(text, LONGEST_MANIFEST, finite=False, most=MOST_MANIFEST_VALUES)
        check_format_version(path, document["format_version"], FORMAT_VERSION, ReadError)
        if contents_from(document["contents"]) != folder.contents:
            raise ReadError(f"{path}: does not belong to the folder's store.json. Delete it.")
        nights = [
            StoredNight(key, n_epochs, bytes.fromhex(masks), tuple(offsets), tuple(sums), folder)
            for key, n_epochs, masks, offsets, sums in document["nights"]
        ]
        for night in nights:
            check_night(night, folder.contents)
        names = document["subjects"]["recording"]
        if len(names) != len(nights) or not all(isinstance(name, str) for name in names):
            raise ValueError("its recordings have no names")
        words = [w for name in ("subject", "site") for w in document["subjects"][name]]
        if not all(w is None or isinstance(w, str | int | float) for w in words):
            raise ValueError("its subjects or sites have no names")
        subjects = subject_table(names, document["subjects"])
        return subjects, nights, [(str(name), str(why)) for name, why in document["failures"]]
    except (ReadError, FileNotFoundError, ImportError):
        raise
    # of gzip, JSON, Parquet or pandas
    except Exception as error:
        raise ReadError(
            f"{path}: damaged, or an .npz of an older version: {error}. Delete it and {_AGAIN}"
        ) from error


def _read_parquet(path: Path) -> dict:
    """A manifest of before they were JSON."""
    with open_parquet(path, f"Or delete {path.name} and {_AGAIN}") as file:
        table = file.read()
    document = parse_json(table.schema.metadata[_METADATA_KEY.encode()])
    columns = table.to_pydict()
    n_nights, names = table.num_rows, list(document["contents"])
    offsets = zip(*(columns[f"offset_{name}"] for name in names), strict=True)
    # the first manifests have no checksums
    sums = zip(*(columns.get(f"crc32_{name}", [-1] * n_nights) for name in names), strict=True)
    masks = [valid.hex() for valid in columns["valid"]]
    nights = zip(columns["key"], columns["n_epochs"], masks, offsets, sums, strict=True)
    return {**document, "subjects": columns, "nights": list(nights)}
