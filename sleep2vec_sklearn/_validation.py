# SPDX-License-Identifier: BSD-3-Clause
"""Validation of parameters, random states and classes by scikit-learn's own checks.

An estimator lists what it accepts in ``_parameter_constraints``, as scikit-learn's own do, and
calls :func:`validate_params` in ``fit``. The constraints are private to scikit-learn but have been
stable since 1.2; this module is the one place that imports them.
"""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils import _param_validation, check_random_state
from sklearn.utils._param_validation import (
    Interval,
    InvalidParameterError,
    validate_parameter_constraints,
)
from sklearn.utils.multiclass import check_classification_targets

from ._arguments import shown

__all__ = ["validate_parameter_constraints"]


class StrOptions(_param_validation.StrOptions):
    """Strings, listed in errors in the order of the alphabet, not in a set's."""

    def __str__(self) -> str:
        return f"a str among {{{', '.join(map(repr, sorted(self.options)))}}}"


class Number(Interval):
    """An interval whose numbers are no booleans."""

    def is_satisfied_by(self, val: object) -> bool:
        # durations of numpy are its integers
        odd = isinstance(val, bool | np.bool_ | np.timedelta64)
        return not odd and super().is_satisfied_by(val)


def count(least: int = 1) -> Number:
    """Integers from ``least`` on."""
    return Number(Integral, least, None, closed="left")


POSITIVE = Number(Real, 0, np.inf, closed="neither")
NON_NEGATIVE = Number(Real, 0, np.inf, closed="left")
SHARE = Number(Real, 0, 1, closed="both")
BELOW_ONE = Number(Real, 0, 1, closed="left")
PRECISION = StrOptions({"float32", "bfloat16", "auto"})


def as_random_state(random_state: Any) -> np.random.RandomState:
    """What scikit-learn's ``check_random_state`` makes of it, with an error that says the fix."""
    try:
        return check_random_state(random_state)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        raise ValueError(
            f"random_state is {shown(random_state)}; accepted are None, a whole number from 0 to "
            "2**32 - 1, and a numpy RandomState. Pass random_state=0 for the same result again."
        ) from None


def find_classes(name: str, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The classes that labels name, in order, and the number of each label's class."""
    try:
        if labels.dtype.names:
            raise TypeError(f"fields {', '.join(labels.dtype.names)}")
        check_classification_targets(labels)
        return np.unique(labels, return_inverse=True)
    except (TypeError, ValueError, OverflowError) as error:
        mixed = isinstance(error, TypeError) and labels.dtype == object
        reason = "it mixes labels that cannot be sorted" if mixed else error
        raise ValueError(
            f"{name} holds what are no classes ({reason}); accepted are whole numbers, text or "
            "booleans. Give each class one label, or take a regressor for numbers."
        ) from error


def validate_params(estimator: Any) -> None:
    """Raise a ValueError for a parameter that ``_parameter_constraints`` does not accept."""
    name, parameters = type(estimator).__name__, estimator.get_params(deep=False)
    try:
        validate_parameter_constraints(estimator._parameter_constraints, parameters, name)
    except InvalidParameterError:
        # it is a TypeError as well, and says by itself what is accepted
        raise
    except TypeError as error:
        kinds = ", ".join(f"{key}={shown(value)}" for key, value in parameters.items())
        raise ValueError(
            f"a parameter of {name} cannot be compared with what is accepted ({error}); they are "
            f"{kinds}. Pass plain numbers, text or None."
        ) from error
