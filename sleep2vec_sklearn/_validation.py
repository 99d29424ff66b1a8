# SPDX-License-Identifier: BSD-3-Clause
"""Parameter validation by scikit-learn's constraints.

An estimator lists what it accepts in ``_parameter_constraints``, as scikit-learn's own do, and
calls :func:`validate_params` in ``fit``. The constraints are private to scikit-learn but have been
stable since 1.2; this module is the one place that imports them.
"""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils import _param_validation
from sklearn.utils._param_validation import Interval, validate_parameter_constraints

__all__ = ["validate_parameter_constraints"]


class StrOptions(_param_validation.StrOptions):
    """Strings, listed in errors in the order of the alphabet, not in a set's."""

    def __str__(self) -> str:
        return f"a str among {{{', '.join(map(repr, sorted(self.options)))}}}"


class Number(Interval):
    """An interval whose numbers are no booleans."""

    def is_satisfied_by(self, val: object) -> bool:
        return not isinstance(val, bool | np.bool_) and super().is_satisfied_by(val)


def count(least: int = 1) -> Number:
    """Integers from ``least`` on."""
    return Number(Integral, least, None, closed="left")


POSITIVE = Number(Real, 0, np.inf, closed="neither")
NON_NEGATIVE = Number(Real, 0, np.inf, closed="left")
SHARE = Number(Real, 0, 1, closed="both")
BELOW_ONE = Number(Real, 0, 1, closed="left")
PRECISION = StrOptions({"float32", "bfloat16", "auto"})


def validate_params(estimator: Any) -> None:
    """Raise a ValueError for a parameter that ``_parameter_constraints`` does not accept."""
    validate_parameter_constraints(
        estimator._parameter_constraints,
        estimator.get_params(deep=False),
        type(estimator).__name__,
    )
