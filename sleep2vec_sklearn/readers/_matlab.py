# SPDX-License-Identifier: BSD-3-Clause
"""MATLAB files of level 5: a check that comes before scipy's reader, and vectors read without it.

scipy's reader ends the process on some damaged files, as it looks types up without comparing them,
follows cells to any depth and makes arrays of whatever shape is announced. The format is at
https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ._boundary import ARCHIVE_BYTES, ARCHIVE_RATIO, BadFileError, check_file

# numbers and letters; other elements are arrays, or compressed ones
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8",
          13: "u8", 16: "u1", 17: "u2", 18: "u4"}  # fmt: skip
_TEXT_BYTES, _INT32, _UINT32, _ARRAY, _COMPRESSED = 1, 5, 6, 14, 15
# classes of arrays
_CELL, _STRUCT, _OBJECT, _TEXT, _SPARSE, _FUNCTION, _OPAQUE = 1, 2, 3, 4, 5, 16, 17
# types of shapes, as some programs write them, and of names
_WHOLE, _NAMES = (_INT32, _UINT32), (_TEXT_BYTES, 16)
_PLAIN = (_TEXT, *range(6, 16))
_COMPLEX = 0x0800
_LEVEL = 0x0100
_DEEPEST = 32
_HEAD_BYTES = 128


def check_matlab(path: Path) -> None:
    """Refuse a file of level 5 that is damaged or would grow out of bounds; others are no matter.

    Raises BadFileError, and zlib's own error.
    """
    for content, order in _read_arrays(path):
        _check_array(content, order, 0)


def read_vectors(path: Path, names: Collection[str]) -> dict[str, str | np.ndarray]:
    """Vectors of numbers and lines of text of these names, as far as a file has them."""
    found: dict[str, str | np.ndarray] = {}
    for content, order in _read_arrays(path):
        _check_array(content, order, 0)
        (_, flags), (_, shape), (_, name), *numbers = _split(content, order)
        key, array_class = bytes(name).decode("latin-1"), _class_of(flags, order)
        if key not in names or array_class not in _PLAIN:
            continue
        kind, data = numbers[0]
        vector = np.frombuffer(data, np.dtype(_TYPES[kind]).newbyteorder(order))
        size = _shape_of(shape, order)
        if len(size) != 2 or min(size) > 1 or len(vector) != math.prod(size):
            raise BadFileError(f"{key} is no vector, or has not the numbers it announces.")
        found[key] = "".join(map(chr, vector.tolist())) if array_class == _TEXT else vector
    return found


def _read_arrays(path: Path) -> Iterator[tuple[memoryview, Any]]:
    """Content of each variable of a file of level 5, and the order of its bytes."""
    state = check_file(path)
    if state.st_size <= _HEAD_BYTES:
        return
    data = memoryview(np.memmap(path, np.uint8, mode="r"))  # type: ignore[arg-type]
    order: Any = {b"IM": "little", b"MI": "big"}.get(bytes(data[126:_HEAD_BYTES]))
    if order is None or int.from_bytes(data[124:126], order) != _LEVEL:
        return
    room = max(ARCHIVE_BYTES, ARCHIVE_RATIO * state.st_size)
    for kind, content in _split(data[_HEAD_BYTES:], order):
        if kind == _COMPRESSED:
            unpacker = zlib.decompressobj()
            unpacked = unpacker.decompress(content, room + 1)
            room -= len(unpacked)
            if room < 0:
                raise BadFileError("its variables grow out of bounds.")
            # its checksum is compared at the end
            if not unpacker.eof:
                raise BadFileError("one of its variables is cut.")
            parts = _split(memoryview(unpacked), order)
            kind, content = parts[0] if len(parts) == 1 else (0, content)
        if kind != _ARRAY:
            raise BadFileError("it holds something else than arrays.")
        yield content, order


def _check_array(content: memoryview, order: Any, depth: int) -> None:
    """Refuse an array whose parts are not those that its class has."""
    if not content:  # an empty cell
        return
    if depth > _DEEPEST:
        raise BadFileError(f"its cells are nested in more than {_DEEPEST} levels.")
    (kind, flags), *parts = _split(content, order)
    if kind != _UINT32 or len(flags) != 8:
        raise BadFileError("one of its arrays does not begin with its class.")
    array_class = _class_of(flags, order)
    kinds = [kind for kind, _ in parts]
    cells = [part for kind, part in parts if kind == _ARRAY]
    if array_class == _OPAQUE:
        is_sound = kinds == [_TEXT_BYTES, _TEXT_BYTES, _TEXT_BYTES, _ARRAY]
    elif len(kinds) < 2 or kinds[0] not in _WHOLE or kinds[1] not in _NAMES:
        is_sound = False
    else:
        size = _shape_of(parts[0][1], order)
        is_complex = bool(int.from_bytes(flags[:4], order) & _COMPLEX)
        is_sound = bool(size) and min(size) >= 0
        is_sound &= _has_parts(array_class, size, parts[2:], cells, is_complex, order)
    if not is_sound:
        raise BadFileError("one of its arrays has not the parts that it announces.")
    for part in cells:
        _check_array(part, order, depth + 1)


def _has_parts(
    array_class: int, size: tuple[int, ...], parts: list[tuple[int, memoryview]],
    cells: list[memoryview], is_complex: bool, order: Any,
) -> bool:  # fmt: skip
    """Whether what follows shape and name of an array is what its class has."""
    n, kinds = math.prod(size), [kind for kind, _ in parts]
    numbers = [(np.dtype(_TYPES[kind]), data) for kind, data in parts if kind in _TYPES]
    n_numbers = [len(data) // dtype.itemsize for dtype, data in numbers]
    if array_class in _PLAIN:
        # letters are stored in one to four bytes
        fits = all(k == n or (array_class == _TEXT and k >= n) for k in n_numbers)
        return fits and len(parts) == len(numbers) == 1 + is_complex
    if array_class == _SPARSE:
        if kinds[:2] != [_INT32, _INT32] or len(numbers) != len(parts) or len(size) != 2:
            return False
        rows, ends = (np.asarray(_shape_of(data, order)) for _, data in numbers[:2])
        # MATLAB may keep room for more than there are
        stored = int(ends[-1]) if len(ends) == size[1] + 1 and not ends[0] else -1
        is_sorted = stored >= 0 and bool((np.diff(ends) >= 0).all())
        rows = rows[: max(stored, 0)]
        inside = not len(rows) or (rows.min() >= 0 and rows.max() < size[0])
        # truth values have a byte each, whatever type is stated
        held = min(len(data) // (1 if i else 4) for i, (_, data) in enumerate(numbers) if i != 1)
        return is_sorted and inside and len(parts) == 3 + is_complex and held >= stored
    if array_class == _FUNCTION:
        return kinds == [_ARRAY]
    if array_class == _OBJECT:
        kinds, parts = kinds[1:] if kinds[:1] == [_TEXT_BYTES] else [], parts[1:]
    if array_class in (_STRUCT, _OBJECT):
        if kinds[:2] != [_INT32, _TEXT_BYTES] or len(parts[0][1]) != 4:
            return False
        (length,) = _shape_of(parts[0][1], order)
        if length < 1 or len(parts[1][1]) % length:
            return False
        n *= len(parts[1][1]) // length
        kinds = kinds[2:]
    elif array_class != _CELL:
        return False
    return len(cells) == len(kinds) == n


def _class_of(flags: memoryview, order: Any) -> int:
    return int.from_bytes(flags[:4], order) & 0xFF


def _shape_of(numbers: memoryview, order: Any) -> tuple[int, ...]:
    whole = numbers[: len(numbers) // 4 * 4]
    return tuple(np.frombuffer(whole, np.dtype("i4").newbyteorder(order)).tolist())


def _split(data: memoryview, order: Any) -> list[tuple[int, memoryview]]:
    """Type and content of elements that follow each other."""
    elements = []
    while data:
        first, size = (int.from_bytes(data[i : i + 4], order) for i in (0, 4))
        # up to four bytes are in the tag itself; others end at a multiple of eight
        begin, kind, size = (4, first & 0xFFFF, first >> 16) if first >> 16 else (8, first, size)
        padded = size if kind == _COMPRESSED else -(begin + size) % 8 + size
        if begin + size > len(data) or (begin == 4 and size > 4):
            raise BadFileError("one of its elements is longer than what holds it.")
        elements.append((kind, data[begin : begin + size]))
        data = data[begin + padded :]
    return elements
