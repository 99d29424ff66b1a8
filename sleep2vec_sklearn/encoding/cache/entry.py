# SPDX-License-Identifier: BSD-3-Clause
"""What a cache holds, the key it is found by, and its form on disk.

An entry on disk is a header (magic, format version, key, checksum) and a safetensors blob. The
checksum covers key and blob, so a half-written, damaged or misplaced entry is noticed.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

__all__ = ["DamagedEntryError", "EncodedModality", "pack", "token_key", "unpack"]

FORMAT_VERSION = 1
_MAGIC = b"s2vtoken"
_HEADER = struct.Struct("<8sI32s16s")
_BYTES_PER_ENTRY = 512


class DamagedEntryError(Exception):
    """Bytes that are no entry of this key and format; says what is wrong with them."""


@dataclass(frozen=True, slots=True)
class EncodedModality:
    """Tokens of one modality of one night.

    Attributes
    ----------
    tokens : float32 ndarray of shape (n_epochs, width)
        At missing epochs what the network makes of a gap; no row is made of it.
    valid : bool ndarray of shape (n_epochs,)
        False where the modality is missing.
    summary : float32 ndarray of shape (width,) or None
        The mean CLS vector over windows, where the checkpoint has one.
    """

    tokens: np.ndarray
    valid: np.ndarray
    summary: np.ndarray | None = None

    @classmethod
    def missing(cls) -> EncodedModality:
        """A sensor without any usable sample."""
        return cls(np.empty((0, 0), dtype=np.float32), np.zeros(0, dtype=bool))

    @property
    def n_bytes(self) -> int:
        """Memory held, with an allowance for the entry itself: a missing sensor has no tokens."""
        summary = 0 if self.summary is None else self.summary.nbytes
        return self.tokens.nbytes + self.valid.nbytes + summary + _BYTES_PER_ENTRY


def token_key(*parts) -> str:
    """Hex sha256 of everything tokens depend on.

    Parameters
    ----------
    *parts : str or int
        Fingerprint of the signal, modality, number of epochs, sha256 of the checkpoint, layer,
        precision, revision of the encoding.
    """
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def pack(key: str, entry: EncodedModality) -> bytes:
    """The bytes of an entry."""
    arrays = {"tokens": entry.tokens, "valid": entry.valid}
    if entry.summary is not None:
        arrays["summary"] = entry.summary
    body = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    raw = bytes.fromhex(key)
    return _HEADER.pack(_MAGIC, FORMAT_VERSION, raw, _checksum(raw, body)) + body


def unpack(key: str, data: bytes) -> EncodedModality:
    """The entry of these bytes.

    Raises
    ------
    DamagedEntryError
        If they are truncated, changed, of another key or of another format.
    """
    if len(data) < _HEADER.size:
        raise DamagedEntryError(f"it has {len(data)} bytes, less than a header")
    magic, version, raw, checksum = _HEADER.unpack_from(data)
    if magic != _MAGIC:
        raise DamagedEntryError("it is not an entry of this cache")
    if version != FORMAT_VERSION:
        raise DamagedEntryError(f"it has format {version}, this version reads {FORMAT_VERSION}")
    body = data[_HEADER.size :]
    if raw.hex() != key or checksum != _checksum(raw, body):
        raise DamagedEntryError("its checksum is wrong")
    try:
        arrays = load(body)
        entry = EncodedModality(arrays["tokens"], arrays["valid"], arrays.get("summary"))
    except (SafetensorError, KeyError) as error:
        raise DamagedEntryError(f"its arrays cannot be read ({error!r})") from error
    for array in arrays.values():
        array.flags.writeable = False
    return entry


def _checksum(raw: bytes, body: bytes) -> bytes:
    digest = hashlib.blake2b(raw, digest_size=16)
    digest.update(body)
    return digest.digest()
