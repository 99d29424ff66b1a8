# SPDX-License-Identifier: BSD-3-Clause
"""Files that may be damaged or hostile: limits of what they hold, and one kind of error.

Checkpoints, estimators, states of runs, tables and stores pass from hand to hand. A file says how
large it is in many places, none of which is believed: sizes are compared with the file's own before
anything is allocated, and what a parser raises becomes an error of the library.

Weighed: torch's ``weights_only`` runs no code, but hashes nested tuples for hours, and makes
tensors of any size from a few bytes; safetensors checks offsets, but not how many tensors there
are; numpy believes the shape in a header.
"""

from __future__ import annotations

import gzip
import json
import math
import os
import pickletools
import reprlib
import stat
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from ._files import import_pyarrow
from .errors import Sleep2VecError

if TYPE_CHECKING:
    from torch import Tensor

# of a description, as JSON, YAML or pickle; each occurrence of a shared part counts
MOST_VALUES = 1_000_000
DEEPEST = 64
LONGEST_JSON = 16 * 2**20
LARGEST_INTEGER = 2**63 - 1
# of a dict in a pickle; a nested tuple is hashed at every look-up
_MOST_VALUES_OF_KEY = 64
_LONGEST_TEXT = 2**20
_MOST_STEPS = 2 * MOST_VALUES
MOST_TENSORS = 100_000
LONGEST_HEADER = 32 * 2**20
# a network under two names shares its tensors, and tables may compress well
_MOST_EXPANSION = 16
_MOST_COPIES = 100
_SPARE_BYTES = 2**24
_LONGEST_REASON, _LONGEST_SHOWN = 300, 160

_short = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = 60
_short.maxlevel, _short.maxlist, _short.maxtuple, _short.maxdict = 3, 6, 6, 6


def shown(value: Any) -> str:
    """A value of a file for a message, cut short whatever it is."""
    try:
        text = _short.repr(value)
    except ValueError:
        # an integer with more digits than Python prints
        return f"a large {type(value).__name__}"
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


@contextmanager
def only_errors(
    error: type[Sleep2VecError], path: str | os.PathLike, fix: str = "Get the file again."
) -> Iterator[None]:
    """Turn whatever the parsers of one file raise into ``error``, with the file's name.

    Also a MemoryError, as one file is parsed here and no more. Missing packages, warnings that are
    errors and the end of the process pass.
    """
    try:
        check_regular(path)
        yield
    except (ImportError, Warning):
        raise
    except Exception as problem:
        raise _named(error, path, problem, fix) from problem
    except BaseException as problem:
        # a panic of code in Rust is no Exception
        if type(problem).__module__ != "pyo3_runtime":
            raise
        raise _named(error, path, problem, fix) from problem


def _named(
    error: type[Sleep2VecError], path: str | os.PathLike, problem: BaseException, fix: str
) -> Sleep2VecError:
    text = " ".join(str(problem).split())
    if isinstance(problem, error):
        return problem if str(path) in text else type(problem)(f"{path}: {problem}")
    if isinstance(problem, Sleep2VecError | ValueError) and text:
        reason = text
    else:
        reason = f"{type(problem).__name__}: {text}" if text else type(problem).__name__
    if len(reason) > _LONGEST_REASON:
        reason = f"{reason[:_LONGEST_REASON]}..."
    return error(f"{path}: cannot be read ({reason}). {fix}")


def check_regular(path: str | os.PathLike) -> None:
    """Refuse pipes and devices, which have no end; what is not there is left to who opens it."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return
    check_mode(mode)


def check_mode(mode: int) -> None:
    """Refuse, by its mode, what is neither a file nor a folder."""
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise ValueError("a pipe, socket or device; accepted is a file on a disk")


def read_bytes(path: Path, most: int, unpack: bool = False) -> bytes:
    """The content of a regular file, with ``unpack`` of a gzip file, of limited size."""
    check_regular(path)
    with gzip.open(path) if unpack else path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"more than {most:,} bytes, which are accepted")
    return data


def parse_json(
    text: str | bytes, longest: int = LONGEST_JSON, finite: bool = True, most: int = MOST_VALUES
) -> Any:
    """JSON within the limits of :func:`check_plain`; ValueError says what is not."""
    if len(text) > longest:
        raise ValueError(f"JSON of {len(text):,} characters; accepted are up to {longest:,}")
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError(f"JSON nested deeper than {DEEPEST}") from None
    check_plain(value, finite, most)
    return value


def check_plain(value: Any, finite: bool = True, most: int = MOST_VALUES) -> None:
    """Refuse what is nested too deeply, too many, or a number beyond 64 bits or not finite."""
    rest, n_values = [(value, 0)], 0
    while rest:
        item, depth = rest.pop()
        n_values += 1
        if depth > DEEPEST:
            raise ValueError(f"values nested deeper than {DEEPEST}")
        if n_values > most:
            raise ValueError(f"more than {most:,} values")
        if isinstance(item, int) and abs(item) > LARGEST_INTEGER:
            raise ValueError("an integer beyond 64 bits")
        if finite and isinstance(item, float) and not math.isfinite(item):
            raise ValueError(f"the number {item}; accepted are finite ones")
        if isinstance(item, Mapping):
            rest += [(part, depth + 1) for pair in item.items() for part in pair]
        elif isinstance(item, list | tuple | set | frozenset):
            rest += [(part, depth + 1) for part in item]


def check_zip(path: Path) -> None:
    """Compare sizes and checksums of a zip file of torch, which does not look at checksums."""
    with zipfile.ZipFile(path) as archive:
        packed = [record.filename for record in archive.infolist() if record.compress_type]
        if packed:
            raise ValueError(f"{shown(packed[0])} is compressed; torch.save() compresses nothing")
        _check_claim(path, sum(record.file_size for record in archive.infolist()), 1)
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"wrong checksum of {shown(damaged)}")


def _check_claim(path: Path, n_bytes: int, times: int) -> None:
    """Refuse what is so many times larger than its file."""
    most = times * path.stat().st_size + _SPARE_BYTES
    if n_bytes > most:
        raise ValueError(f"it claims {n_bytes:,} bytes; accepted are up to {most:,} of such a file")


def check_npz(path: Path) -> None:
    """Refuse an .npz file with an array larger than its bytes, or than such a file may grow."""
    check_regular(path)
    with zipfile.ZipFile(path) as archive:
        _check_claim(path, sum(r.file_size for r in archive.infolist()), _MOST_EXPANSION)
        for record in archive.infolist():
            with archive.open(record) as file:
                _check_npy(file, record)


def _check_npy(file: IO[bytes], record: zipfile.ZipInfo) -> None:
    version = np.lib.format.read_magic(file)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0
    }  # fmt: skip
    if version not in readers:
        raise ValueError(f"{shown(record.filename)} is of another version of .npy")
    shape, _, dtype = readers[version](file)
    # numpy refuses objects, which would be pickled
    if not dtype.hasobject and math.prod(shape) * dtype.itemsize != record.file_size - file.tell():
        raise ValueError(f"{shown(record.filename)} has not the numbers that its header says")


@contextmanager
def open_parquet(path: Path, hint: str) -> Iterator[Any]:
    """A Parquet file whose values are not many more than its bytes; checksums are compared."""
    _, parquet = import_pyarrow(hint)
    check_regular(path)
    with parquet.ParquetFile(path, page_checksum_verification=True) as file:
        _check_claim(path, 8 * file.metadata.num_rows * file.metadata.num_columns, _MOST_COPIES)
        yield file


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors, which are maps of the file, and metadata."""
    from safetensors import safe_open

    check_regular(path)
    with path.open("rb") as start:
        length = int.from_bytes(start.read(8), "little")
    if LONGEST_HEADER < length <= path.stat().st_size:
        raise ValueError(f"a header of {length:,} bytes; accepted are up to {LONGEST_HEADER:,}")
    with safe_open(path, framework="pt") as file:
        names = list(file.keys())
        if len(names) > MOST_TENSORS:
            raise ValueError(f"{len(names):,} tensors; accepted are up to {MOST_TENSORS:,}")
        return {name: file.get_tensor(name) for name in names}, file.metadata() or {}


def check_finite(tensors: Mapping[str, Tensor]) -> None:
    """ValueError names the tensors with values that are not finite."""
    floating = {k: t for k, t in tensors.items() if t.is_floating_point()}
    unfit = sorted(k for k, t in floating.items() if not t.isfinite().all())
    if unfit:
        more = f" and {len(unfit) - 5} more" if len(unfit) > 5 else ""
        raise ValueError(f"NaN or infinite values in {', '.join(unfit[:5])}{more}")


def load_torch(path: Path, mmap: bool = False) -> Any:
    """What ``torch.save`` wrote, in plain types and dense tensors; no code of it is run."""
    import torch

    check_regular(path)
    is_zip = zipfile.is_zipfile(path)
    if is_zip:
        check_zip(path)
        with zipfile.ZipFile(path) as archive:
            for record in archive.infolist():
                if record.filename.endswith("data.pkl"):
                    with archive.open(record) as file:
                        check_pickle(file)
    else:
        with path.open("rb") as file:
            # magic number, version, sizes of types, the object, and keys of its storages
            for _ in range(5):
                check_pickle(file)
    value = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap and is_zip)
    _check_tensors(path, value)
    return value


def _check_tensors(path: Path, value: Any) -> None:
    """Refuse tensors that are no plain block of numbers in the file."""
    import torch

    rest, seen, total = [value], set(), 0
    while rest:
        item = rest.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, Mapping):
            rest += [*item.keys(), *item.values()]
        elif isinstance(item, list | tuple | set | frozenset):
            rest += item
        elif isinstance(item, torch.Tensor):
            plain = item.layout is torch.strided and item.device.type == "cpu"
            if not plain or item.is_quantized or item.is_nested:
                raise ValueError("a tensor that is sparse, quantized or without numbers")
            size = item.numel() * item.element_size()
            if size > item.untyped_storage().nbytes():
                raise ValueError(f"a tensor of shape {tuple(item.shape)} on fewer numbers")
            total += size
    _check_claim(path, total, _MOST_EXPANSION)


class _Value:
    """How many values something on the stack of a pickle is made of."""

    __slots__ = ("inside", "n_values")

    def __init__(self, n_values: int = 1) -> None:
        self.n_values = n_values
        self.inside = False  # another


_GROWING = {"APPEND": 1, "APPENDS": 0, "SETITEM": 2, "SETITEMS": 0, "BUILD": 1}
_PUTTING = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
_GETTING = {"GET", "BINGET", "LONG_BINGET"}


def check_pickle(file: IO[bytes]) -> None:
    """Follow the stack of one pickle without making a value, and refuse what would be too large.

    A shared tuple counts at each place, as it is printed and hashed there.
    """
    stack: list[Any] = []
    memo: dict[int, _Value] = {}
    for n_steps, (code, argument, _) in enumerate(pickletools.genops(file)):
        if n_steps > _MOST_STEPS:
            raise ValueError(f"a pickle of more than {_MOST_STEPS:,} steps")
        # the first number in older files of torch has 77 bits
        if isinstance(argument, int) and argument.bit_length() > 128:
            raise ValueError("an integer beyond 128 bits")
        if isinstance(argument, str | bytes) and len(argument) > _LONGEST_TEXT:
            raise ValueError(f"a text of {len(argument):,}; accepted are up to {_LONGEST_TEXT:,}")
        if code.name == "MARK":
            stack.append(None)
        elif code.name in _PUTTING:
            memo[len(memo) if code.name == "MEMOIZE" else int(str(argument))] = stack[-1]
        elif code.name in _GETTING:
            stack.append(memo[int(str(argument))])
        elif code.name in _GROWING:
            _grow(stack, code.name)
        elif code.name == "DUP":
            stack.append(stack[-1])
        else:
            _step(stack, code)


def _step(stack: list[Any], code: Any) -> None:
    """Take from the stack what an opcode does, and put on it what is made of that."""
    taken = code.stack_before
    if pickletools.markobject in taken:
        # what stands before the mark, as a class with its arguments, is taken as well
        parts = _above_mark(stack)
        taken = taken[: taken.index(pickletools.markobject)]
    else:
        parts = []
    parts += [stack.pop() for _ in taken]
    made = _Value(1 + sum(map(_put_inside, parts)))
    _check_count(made)
    stack += [made] * len(code.stack_after)


def _grow(stack: list[Any], name: str) -> None:
    """Add items to the container below them."""
    n_items = _GROWING[name]
    parts = [stack.pop() for _ in range(n_items)] if n_items else _above_mark(stack)
    container = stack[-1]
    if container.inside:
        raise ValueError("a container that grows within another")
    keys = parts[1::2] if name in ("SETITEM", "SETITEMS") else []
    if any(key.n_values > _MOST_VALUES_OF_KEY for key in keys):
        raise ValueError(f"a key of more than {_MOST_VALUES_OF_KEY} values")
    container.n_values += sum(map(_put_inside, parts))
    _check_count(container)


def _above_mark(stack: list[Any]) -> list[Any]:
    """Everything above the last mark, the last item first."""
    parts = []
    while (part := stack.pop()) is not None:
        parts.append(part)
    return parts


def _put_inside(part: _Value) -> int:
    part.inside = True
    return part.n_values


def _check_count(value: _Value) -> None:
    if value.n_values > MOST_VALUES:
        raise ValueError(f"more than {MOST_VALUES:,} values, counting shared ones at each place")
