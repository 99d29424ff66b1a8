# SPDX-License-Identifier: BSD-3-Clause
"""Parameters that are objects with parameters of their own, and None by default.

A default instance in a signature would be shared by all estimators. None stands for a fresh object
instead, whose parameters can be listed and set as if it were there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from sklearn.base import BaseEstimator


class NestedDefaultsMixin:
    """Lists and sets the parameters of nested objects while the parameter is None or a short form.

    Stands left of ``BaseEstimator``. ``_nested_defaults`` has, for each such parameter, the class
    that None or a word stands for.
    """

    _nested_defaults: ClassVar[Mapping[str, Mapping[str | None, type[BaseEstimator]]]] = {}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters of this estimator, and with ``deep`` of the objects nested in it."""
        params = super().get_params(deep=deep)  # type: ignore[misc]
        if deep:
            for name in self._nested_defaults:
                nested = self._expand(name, params[name])
                if nested is not params[name]:
                    params |= {f"{name}__{k}": value for k, value in nested.get_params().items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters, also of objects whose parameter still is None, which are made first."""
        for name in self._nested_defaults:
            keys = [key for key in params if key.startswith(f"{name}__")]
            if keys:
                value = params.get(name, getattr(self, name))
                nested = self._expand(name, value)
                if not hasattr(nested, "set_params"):
                    raise ValueError(
                        f"{keys[0]} cannot be set, as {name} is {value!r}, which has no such "
                        f"parameter. Set {name} to an object that has, or to None."
                    )
                params = {name: nested, **params, **({name: nested} if name in params else {})}
        return super().set_params(**params)  # type: ignore[misc]

    def _expand(self, name: str, value: Any) -> Any:
        """The object that the value of a nested parameter is, or stands for."""
        kinds = self._nested_defaults[name]
        short = value is None or isinstance(value, str)
        return kinds[value]() if short and value in kinds else value
