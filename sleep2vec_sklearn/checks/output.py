# SPDX-License-Identifier: BSD-3-Clause
"""Checks on transformers: names of columns, and configured output, value by value."""

from __future__ import annotations

import importlib.util
from unittest import SkipTest

import numpy as np
from sklearn import config_context
from sklearn.base import clone

from .nights import fit_clone, make_X, names_of, unsupported_ignored

__all__ = ["TRANSFORMER_CHECKS"]


def check_transformer_get_feature_names_out(name, estimator_orig, kind):
    """There are as many different names as columns."""
    X = make_X(kind)
    estimator = fit_clone(estimator_orig, X)
    names = [str(column) for column in estimator.get_feature_names_out()]
    n_columns = np.shape(estimator.transform(X))[1]
    assert len(set(names)) == len(names) == n_columns, (
        f"{name}: {len(set(names))} different names for {n_columns} columns."
    )


def check_set_output_transform_pandas(name, estimator_orig, kind):
    """``set_output(transform="pandas")`` changes no value; its index names the elements of X."""
    _check_output(name, estimator_orig, kind, "pandas", lambda e: e.set_output(transform="pandas"))


def check_set_output_transform_polars(name, estimator_orig, kind):
    """``set_output(transform="polars")`` changes no value."""
    _check_output(name, estimator_orig, kind, "polars", lambda e: e.set_output(transform="polars"))


def check_global_output_transform_pandas(name, estimator_orig, kind):
    """``set_config(transform_output="pandas")`` does as ``set_output``."""
    with config_context(transform_output="default"):
        plain = fit_clone(estimator_orig, make_X(kind)).transform(make_X(kind))
    with config_context(transform_output="pandas"):
        _check_output(name, estimator_orig, kind, "pandas", lambda e: e, plain)


def check_global_set_output_transform_polars(name, estimator_orig, kind):
    """``set_config(transform_output="polars")`` does as ``set_output``."""
    with config_context(transform_output="default"):
        plain = fit_clone(estimator_orig, make_X(kind)).transform(make_X(kind))
    with config_context(transform_output="polars"):
        _check_output(name, estimator_orig, kind, "polars", lambda e: e, plain)


def _check_output(name, estimator_orig, kind, library, configure, plain=None):
    if importlib.util.find_spec(library) is None:
        raise SkipTest(f"{library} is not installed")
    X = make_X(kind)
    estimator = fit_clone(estimator_orig, X)
    plain = estimator.transform(X) if plain is None else plain
    after = configure(fit_clone(estimator_orig, X)).transform(X)
    with unsupported_ignored():
        at_once = configure(clone(estimator_orig)).fit_transform(X, np.arange(len(X)) % 2)
    for table in (after, at_once):
        found = type(table).__module__.split(".")[0]
        assert found == library, f"{name}: {library} was asked for, {found} came."
        names = [str(column) for column in estimator.get_feature_names_out()]
        assert list(table.columns) == names, f"{name}: {library} columns are not the names."
        np.testing.assert_array_equal(table.to_numpy(), plain, err_msg=f"{name}: {library}")
        if library == "pandas":
            assert table.index.tolist() == names_of(X), f"{name}: the index does not name X."


TRANSFORMER_CHECKS = (
    check_transformer_get_feature_names_out,
    check_set_output_transform_pandas,
    check_set_output_transform_polars,
    check_global_output_transform_pandas,
    check_global_set_output_transform_polars,
)
