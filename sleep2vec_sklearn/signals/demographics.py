# SPDX-License-Identifier: BSD-3-Clause
"""How age, sex and other facts about a sleeper are read from whatever a table holds."""

from __future__ import annotations

import math
import numbers

import numpy as np

from ..errors import InvalidRecordingError

__all__ = ["OLDEST", "read_age", "read_number", "read_sex", "read_text"]

OLDEST = 120
_SEXES = {"f": 0.0, "female": 0.0, "woman": 0.0, "m": 1.0, "male": 1.0, "man": 1.0}
_UNKNOWN = ("", "?", "-", "n/a", "na", "nan", "<na>", "nat", "none", "null", "unknown")
_NO_SEX = ("x", "u", "other")


def read_text(value) -> str | None:
    """A value as text, None where it says that nothing is known."""
    text = "" if value is None else str(value).strip()
    return None if text.lower() in _UNKNOWN else text


def read_sex(value, place: str) -> float:
    """0 for female, 1 for male, NaN where it is not known.

    Parameters
    ----------
    value : object
        A word in a common spelling, 0 or 1, or one of many ways to say nothing.
    place : str
        Whose it is, for the error.

    Returns
    -------
    float

    Raises
    ------
    InvalidRecordingError
        If the word or the number is no such code.
    """
    text = read_text(value)
    if text is None or text.lower() in _NO_SEX:
        return np.nan
    if isinstance(value, numbers.Real | np.bool_) and float(value) in (0.0, 1.0):
        return float(value)
    if text.lower() not in _SEXES:
        raise InvalidRecordingError(
            f"{place}: 'sex' is {value!r}; accepted are F or female, M or male, 0 (female), "
            "1 (male), and None where it is not known."
        )
    return _SEXES[text.lower()]


def read_number(value, field: str, place: str) -> float:
    """A finite number, NaN where it is not known.

    Parameters
    ----------
    value : object
        A number, its text, True or False, or one of many ways to say nothing.
    field, place : str
        What it is, and whose, for the error.

    Returns
    -------
    float

    Raises
    ------
    InvalidRecordingError
        If it is no number, or infinite.
    """
    text = read_text(value)
    if text is None:
        return np.nan
    try:
        number = float(value if isinstance(value, bool | np.bool_) else text)
    except ValueError:
        number = math.inf
    if math.isinf(number):
        raise InvalidRecordingError(
            f"{place}: {field!r} is {value!r}; accepted is a finite number, or None where it is "
            "not known. Code categories as numbers, or leave the field out."
        )
    return number


def read_age(value, place: str) -> float:
    """Years, NaN where they are not known.

    Parameters
    ----------
    value : object
        As for :func:`read_number`.
    place : str
        Whose it is, for the error.

    Returns
    -------
    float

    Raises
    ------
    InvalidRecordingError
        If it is no number, below 0 or above 120.
    """
    age = read_number(value, "age", place)
    if age < 0 or age > OLDEST:
        raise InvalidRecordingError(
            f"{place}: 'age' is {value!r}; accepted are 0 to {OLDEST} years, and None where it is "
            "not known."
        )
    return age
