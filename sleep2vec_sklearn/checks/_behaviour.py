# SPDX-License-Identifier: BSD-3-Clause
"""Checks on every estimator: its parameters, its state, and what its rows may not depend on."""

from __future__ import annotations

import importlib.util
import pickle
import re
import tempfile
from pathlib import Path
from unittest import SkipTest

import joblib
import numpy as np
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import _safe_indexing
from sklearn.utils.estimator_checks import set_random_state

from ..recordings import MODALITIES
from ..recordings.epochs import EpochSequence
from ._nights import (
    METHODS,
    apply,
    assert_same,
    fit,
    fit_and_apply,
    fit_clone,
    make_X,
    names_of,
    select_rows,
    unsupported_ignored,
)

__all__ = [
    "CHECKS",
    "CHECKS_BEFORE_FIT",
    "TRANSFORMER_CHECKS",
]


def check_estimators_empty_data_messages(name, estimator_orig):
    """Fit on nothing is a ValueError that counts what was given."""
    for empty in ([], EpochSequence([])):
        said = None
        try:
            clone(estimator_orig).fit(empty, [])
        except ValueError as error:
            said = str(error)
        assert said is not None, f"{name} was fitted on empty X; a ValueError is expected."
        counted = re.search(r"\b0 (recordings|nights|subjects|epochs|samples)", said)
        assert counted, f"{name}: the error on empty X does not say '0 recordings': {said}"


def check_estimators_unfitted(name, estimator_orig):
    """Every method raises NotFittedError before fit."""
    for method in [m for m in METHODS if hasattr(estimator_orig, m)]:
        try:
            getattr(clone(estimator_orig), method)(make_X("night"))
        except NotFittedError:
            continue
        raise AssertionError(f"{name}.{method} before fit did not raise NotFittedError.")


def check_estimators_fit_returns_self(name, estimator_orig, kind):
    """Fit returns the estimator."""
    estimator = clone(estimator_orig)
    assert fit(estimator, make_X(kind)) is estimator, f"{name}.fit did not return self."


def check_estimators_overwrite_params(name, estimator_orig, kind):
    """Fit leaves every parameter as it was."""
    before = {key: joblib.hash(value) for key, value in estimator_orig.get_params().items()}
    for key, value in fit_clone(estimator_orig, make_X(kind)).get_params().items():
        assert key == "random_state" or joblib.hash(value) == before[key], (
            f"{name}.fit changed the parameter {key!r}."
        )


def check_dont_overwrite_parameters(name, estimator_orig, kind):
    """What fit adds ends in an underscore, or begins with one."""
    added = set(vars(fit_clone(estimator_orig, make_X(kind)))) - set(vars(clone(estimator_orig)))
    public = sorted(key for key in added if not key.endswith("_") and not key.startswith("_"))
    assert not public, f"{name}.fit added public attributes without a trailing '_': {public}."


def check_dict_unchanged(name, estimator_orig, kind):
    """No method but fit changes the estimator."""
    X = make_X(kind)
    estimator = fit_clone(estimator_orig, X)
    before = {key: joblib.hash(value) for key, value in vars(estimator).items()}
    apply(estimator, X)
    after = {key: joblib.hash(value) for key, value in vars(estimator).items()}
    changed = sorted(k for k in {*before, *after} if before.get(k) != after.get(k))
    assert not changed, f"{name}: transform or predict changed {changed}."


def check_fit_idempotent(name, estimator_orig, kind):
    """A second fit on the same X changes no row."""
    X = make_X(kind)
    estimator = fit_clone(estimator_orig, X)
    first = apply(estimator, X)
    set_random_state(estimator)
    fit(estimator, X)
    assert_same(apply(estimator, X), first, f"{name} differs after a second fit")


def check_one_row_per_element(name, estimator_orig, kind):
    """Each method gives as many rows as X has elements."""
    X = make_X(kind)
    for method, values in fit_and_apply(estimator_orig, X).items():
        assert len(values) == len(X), f"{name}.{method}: {len(values)} rows for {len(X)} {kind}s."


def check_methods_subset_invariance(name, estimator_orig, kind):
    """A row is the same whether its element comes alone or among others."""
    X = make_X(kind)
    estimator = fit_clone(estimator_orig, X)
    expected = apply(estimator, X)
    for row in range(len(X)):
        alone = apply(estimator, X[row : row + 1])
        assert_same(alone, select_rows(expected, [row]), f"{name}: row {row} differs when alone")


def check_methods_sample_order_invariance(name, estimator_orig, kind):
    """A row does not depend on the order of X."""
    X = make_X(kind)
    estimator = fit_clone(estimator_orig, X)
    order = np.random.default_rng(0).permutation(len(X))
    shuffled = apply(estimator, _safe_indexing(X, order))
    assert_same(shuffled, select_rows(apply(estimator, X), order), f"{name}: order matters")


def check_estimators_pickle(name, estimator_orig, kind):
    """A pickled estimator gives the same rows."""
    X = make_X(kind)
    estimator = fit_clone(estimator_orig, X)
    expected = apply(estimator, X)
    restored = pickle.loads(pickle.dumps(estimator))
    assert_same(apply(restored, X), expected, f"{name} differs after pickling")


def check_readonly_memmap_input(name, estimator_orig, kind):
    """Read-only memory maps, as joblib's workers get them, give the rows of arrays."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:

        def copy_signals(signals):
            return {n: (values.copy(), rate) for n, (values, rate) in signals.items()}

        def map_signals(signals):
            path = Path(folder) / f"{joblib.hash(signals)}.joblib"
            joblib.dump(signals, path)
            return joblib.load(path, mmap_mode="r")

        for plain in (False, True):
            expected = fit_and_apply(estimator_orig, make_X(kind, copy_signals, plain))
            try:
                found = fit_and_apply(estimator_orig, make_X(kind, map_signals, plain))
            except ValueError as error:
                raise AssertionError(f"{name} with read-only memory maps: {error}") from error
            assert_same(found, expected, f"{name} differs with memory maps")


def check_estimators_data_not_an_array(name, estimator_orig, kind):
    """Tuples, object arrays and lists of the same elements give the same rows."""
    X = make_X(kind)
    estimator = fit_clone(estimator_orig, X)
    expected = apply(estimator, X)
    objects = np.empty(len(X), dtype=object)
    for row, element in enumerate(X):
        objects[row] = element
    for container in (list(X), tuple(X), objects):
        message = f"{name}: X as {type(container).__name__}"
        assert_same(apply(estimator, container), expected, message)


def check_n_jobs_equality(name, estimator_orig, kind):
    """Two worker processes, which get the signals as memory maps, give the rows of this one."""
    X = make_X(kind)
    parallel = joblib.Parallel(n_jobs=2, backend="loky", max_nbytes=1000)
    expected = fit_and_apply(estimator_orig, X)
    for found in parallel([joblib.delayed(fit_and_apply)(estimator_orig, X)] * 2):
        assert_same(found, expected, f"{name} differs in a worker process")


def check_missing_modality_closure(name, estimator_orig, kind):
    """Fitted on all modalities, any of them alone, or all but one, gives rows of that width."""
    X = make_X(kind)
    estimator = fit_clone(estimator_orig, X)
    width = {method: values.shape[1:] for method, values in apply(estimator, X).items()}
    names = tuple(getattr(estimator, "modalities_", MODALITIES))
    for subset in [{n} for n in names] + [set(names) - {n} for n in names if len(names) > 2]:

        def keep(signals, kept=subset):
            return {n: signal for n, signal in signals.items() if n in kept}

        def blank(signals, kept=subset):
            return {n: signal if n in kept else None for n, signal in signals.items()}

        for method, values in apply(estimator, make_X(kind, keep)[:2]).items():
            fits = values.shape[1:] == width[method] and np.isfinite(values).all()
            assert fits, f"{name}.{method} of {sorted(subset)} alone: not finite, or not as wide."
        absent, none = (make_X(kind, change, plain=True)[:2] for change in (keep, blank))
        message = f"{name}: None differs from absent"
        assert_same(apply(estimator, none), apply(estimator, absent), message)


def check_modality_key_order(name, estimator_orig, kind):
    """The order of a recording's keys changes no row."""
    X = make_X(kind)
    estimator = fit_clone(estimator_orig, X)
    given, turned = (
        make_X(kind, lambda s, step=step: dict(list(s.items())[::step]), plain=True)
        for step in (1, -1)
    )
    assert_same(apply(estimator, turned), apply(estimator, given), f"{name}: key order")


CHECKS_BEFORE_FIT = (check_estimators_empty_data_messages, check_estimators_unfitted)
CHECKS = (
    check_estimators_fit_returns_self,
    check_estimators_overwrite_params,
    check_dont_overwrite_parameters,
    check_dict_unchanged,
    check_fit_idempotent,
    check_one_row_per_element,
    check_methods_subset_invariance,
    check_methods_sample_order_invariance,
    check_estimators_pickle,
    check_readonly_memmap_input,
    check_estimators_data_not_an_array,
    check_n_jobs_equality,
    check_missing_modality_closure,
    check_modality_key_order,
)


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
