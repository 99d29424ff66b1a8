# SPDX-License-Identifier: BSD-3-Clause
"""Checks of what is passed to functions: numbers, options, arrays and labels.

scikit-learn's checks (``_validation``) serve the estimators; these need no scikit-learn, which
recordings are made without, and take what numpy converts with an error of its own: tensors that
require a gradient, masked arrays, gaps of pandas, integers too large for a float.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from numbers import Integral, Real
from typing import Any

import numpy as np

_Error = type[Exception]
# which Python or numpy count among the integers
_NO_NUMBERS = (bool, np.bool_, np.timedelta64)


def check_number(
    name: str, value: Any, low: float = -np.inf, high: float = np.inf, *, whole: bool = False,
    above: bool = False, below: bool = False, error: _Error = ValueError,
) -> Any:  # fmt: skip
    """A real number from ``low`` to ``high``, the ends without ``above`` or ``below`` included."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    is_number = (
        is_whole(value) if whole else isinstance(value, Real) and not isinstance(value, _NO_NUMBERS)
    )
    inside = is_number and low <= value <= high
    if inside and not whole and isinstance(value, Integral):
        inside = abs(int(value)) < 2**1000  # others have no float
    if inside and not (above and value <= low) and not (below and value >= high):
        return int(value) if whole else float(value)
    kind = "a whole number" if whole else "a number"
    ends = [f"{'above' if above else 'from'} {low:g}"] if low > -np.inf else []
    ends += [f"{'below' if below else 'up to'} {high:g}"] if high < np.inf else []
    raise error(
        f"{name} is {shown(value)}; accepted is {' '.join([kind, *ends])}. Pass {name}="
        f"{'int' if whole else 'float'}(...) of one value, or leave it out for the default."
    )


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number, and neither a truth nor a duration."""
    return isinstance(value, Integral) and not isinstance(value, _NO_NUMBERS)


def as_index(key: Any, n: int) -> int:
    """A whole number as an index of n rows; an IndexError where there is no such row."""
    if not -n <= key < n:
        raise IndexError(f"index {shown(key)} is out of range for {n} rows.")
    return int(key)


def is_missing(value: Any) -> bool:
    """Whether a cell of a table is empty."""
    import pandas as pd

    return bool(pd.api.types.is_scalar(value) and pd.isna(value))


def is_nan(value: Any) -> bool:
    """Whether a value is the float NaN, which an option takes for "none"."""
    return isinstance(value, Real) and not isinstance(value, Integral) and bool(value != value)


def check_option(name: str, value: Any, accepted: Collection[Any]) -> Any:
    """One of a few texts, numbers or None."""
    known = isinstance(value, str | bool | None) or is_whole(value)
    if not known or value not in accepted:
        words = ", ".join(map(repr, accepted))
        raise ValueError(f"{name} must be one of {words}; got {shown(value)}. Choose one.")
    return value


def check_text(name: str, value: Any) -> str:
    """A text."""
    if not isinstance(value, str):
        raise ValueError(f"{name} is {shown(value)}; accepted is text. Pass str(...) of it.")
    return value


def check_labels_map(name: str, value: Any) -> dict[Any, str]:
    """Texts by key; None is an empty mapping."""
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(text, str) for text in value.values()):
        raise ValueError(
            f"{name} is {shown(value)}; accepted is a dict of names to texts. Pass for example "
            f"{name}={{'value': 'AUROC'}}."
        )
    return dict(value)


def as_numbers(
    name: str, values: Any, ndim: Collection[int] = (1,), length: int | None = None,
    error: _Error = ValueError,
) -> np.ndarray:  # fmt: skip
    """Real numbers as float64, NaN where pandas, a mask or None says that there is none."""
    array = as_array(name, values, error)
    if array.dtype.kind == "O":
        array = _without_gaps(array)
    numbers = None
    if array.dtype.kind in "fiub" or _holds_numbers(array):
        try:
            with np.errstate(over="ignore"):
                numbers = array.astype(np.float64)
        except (TypeError, ValueError, OverflowError):
            pass
    if numbers is None:
        raise error(
            f"{name} holds {_kind(array)}; accepted are real numbers. Convert it with "
            f"pd.to_numeric, or durations into a number of one unit."
        )
    _check_shape(name, numbers, ndim, length, error)
    return numbers


def check_squares(name: str, numbers: np.ndarray) -> None:
    """Refuse infinity, and numbers whose squares have no sum."""
    huge = np.abs(numbers) > np.finfo(np.float32).max
    if huge.any():
        raise ValueError(
            f"{name} holds {numbers[huge][0]:g}; accepted are numbers up to 3e38, and NaN where "
            "one is not known. Leave the row out, or correct it."
        )


def as_real_array(name: str, values: Any, error: _Error = ValueError) -> np.ndarray:
    """As :func:`as_numbers` for many samples: numbers keep their type, and nothing is copied."""
    array = as_array(name, values, error)
    if array.dtype.kind in "fiub":
        return array
    return as_numbers(name, array, range(9), error=error)


def as_labels(name: str, values: Any, length: int | None = None) -> np.ndarray:
    """Classes, subjects or other names, one a row."""
    array = as_array(name, values)
    _check_shape(name, array, (1,), length, ValueError)
    if array.dtype.kind == "V":
        raise ValueError(
            f"{name} is an array of fields {array.dtype}; accepted is one label a row. Pass one of "
            f"its fields, {name}['field']."
        )
    return array


def as_array(name: str, values: Any, error: _Error = ValueError) -> np.ndarray:
    """Anything that is an array of values, whoever made it, for numpy."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()  # torch gives no array of what requires a gradient
    elif np.ma.isMA(values):
        mask, values = np.ma.getmaskarray(values), values.data
        if mask.any():
            values = values.astype(object)
            values[mask] = None
    elif hasattr(values, "to_numpy"):
        values = values.to_numpy()
    is_list = isinstance(values, Sequence) and not isinstance(values, str | bytes)
    if is_list or hasattr(values, "__array__"):
        try:
            array = np.asarray(values)
        except ValueError:
            # rows of different lengths
            array = None
        if array is not None and is_list and array.dtype.kind in "US":
            # numpy makes text of a gap among words
            same = array.ndim != 1 or all(isinstance(value, str | bytes) for value in values)
            array = array if same else np.fromiter(values, dtype=object, count=len(values))
        if array is not None:
            return array
    raise error(
        f"{name} is {shown(values)}; accepted is a list, a numpy array or a column of a table, "
        f"one value for each row. Pass list({name}), or the column itself."
    )


def check_row_order(**tables: Any) -> None:
    """Refuse tables that label the same rows in another order: rows are matched by position."""
    labels = {}
    for name, table in tables.items():
        if not hasattr(table, "iloc"):
            name, table = f"{name}.metadata", getattr(table, "metadata", None)
        if hasattr(table, "iloc"):
            labels[name] = table.index
    for (first, wanted), (other, found) in combinations(labels.items(), 2):
        if len(wanted) != len(found) or wanted.equals(found):
            continue
        if wanted.isin(found).all() and found.isin(wanted).all():
            raise ValueError(
                f"{first} and {other} have the same rows in another order, by their index; rows "
                f"are matched by position. Sort one, such as {other}.loc[{first}.index], or "
                "reset_index(drop=True) of both if the positions are right."
            )


def shown(value: Any) -> str:
    """A short text of any value for an error; its type where it has no short one."""
    kind = type(value).__name__
    if not isinstance(value, str | bytes | Real | complex | list | tuple | dict | None):
        return f"of type {kind}"
    try:
        text = repr(value)
    except Exception:
        return f"of type {kind}"
    return text if len(text) <= 60 else f"{text[:50]}... (a {kind})"


def _check_shape(
    name: str, array: np.ndarray, ndim: Collection[int], length: int | None, error: _Error
) -> None:
    if array.ndim not in ndim:
        accepted = " or ".join("(n,)" if n == 1 else "(n, k)" for n in ndim)
        raise error(
            f"{name} has shape {array.shape}; accepted is {accepted}. Pass one column, such as "
            f"table[column] or {name}[:, 0]."
        )
    if length is not None and len(array) != length:
        raise error(
            f"{name} has {len(array)} values for {length} rows; accepted is one a row. Take them "
            "from the same rows as the others."
        )


def _without_gaps(array: np.ndarray) -> np.ndarray:
    gaps = np.array([is_missing(value) for value in array.flat], dtype=bool)
    return np.where(gaps.reshape(array.shape), np.nan, array)


def _holds_numbers(array: np.ndarray) -> bool:
    return array.dtype.kind == "O" and all(isinstance(v, Real | np.bool_) for v in array.flat)


def _kind(array: np.ndarray) -> str:
    names = {"U": "text", "S": "bytes", "M": "dates", "m": "durations", "c": "complex numbers"}
    if array.dtype.kind != "O":
        return names.get(array.dtype.kind, f"values of {array.dtype}")
    odd = next((v for v in array.flat if not isinstance(v, Real | np.bool_)), None)
    return f"objects, such as {shown(odd)}"
