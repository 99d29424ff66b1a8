# SPDX-License-Identifier: BSD-3-Clause
"""The checks: parameters and state of an estimator, and what its rows may not depend on."""

from __future__ import annotations

import importlib.util
import pickle
import re
import tempfile
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache, wraps
from pathlib import Path
from unittest import SkipTest

import joblib
import numpy as np
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import _safe_indexing
from sklearn.utils.estimator_checks import set_random_state

from ..errors import ModalityWarning
from ..recordings.epochs import EpochSequence
from ..recordings.modality import EPOCH_SECONDS, MODALITIES
from ..recordings.recording import Recording

KINDS = ("night", "subject", "epoch")
_METHODS = ("transform", "predict", "predict_proba", "decision_function")
_N_NIGHTS, _N_EPOCHS = 5, 4


def check_estimators_empty_data_messages(name, estimator_orig):
    """Fit on nothing is a ValueError that says what is missing."""
    for empty in ([], EpochSequence([])):
        message = "no error"
        try:
            clone(estimator_orig).fit(empty, [])
        except ValueError as error:
            message = str(error)
        says_what = re.search(r"\b0 (recordings|nights|subjects|epochs|samples)", message)
        assert says_what, f"{name}: the error on empty X does not say '0 recordings': {message}"


def check_estimators_unfitted(name, estimator_orig):
    """Every method raises NotFittedError before fit."""
    for method in [m for m in _METHODS if hasattr(estimator_orig, m)]:
        try:
            getattr(clone(estimator_orig), method)(make_X("night"))
        except NotFittedError:
            continue
        raise AssertionError(f"{name}.{method} before fit did not raise NotFittedError.")


def check_estimators_fit_returns_self(name, estimator_orig, kind):
    """Fit returns the estimator."""
    estimator = clone(estimator_orig)
    assert _fit(estimator, make_X(kind)) is estimator, f"{name}.fit did not return self."


def check_estimators_overwrite_params(name, estimator_orig, kind):
    """Fit leaves every parameter as it was."""
    before = _hashes(estimator_orig.get_params())
    after = _hashes(_fit_clone(estimator_orig, make_X(kind)).get_params())
    changed = sorted(k for k in before if k != "random_state" and before[k] != after[k])
    assert not changed, f"{name}.fit changed the parameters {changed}."


def check_dont_overwrite_parameters(name, estimator_orig, kind):
    """What fit adds ends in an underscore, or begins with one."""
    added = set(vars(_fit_clone(estimator_orig, make_X(kind)))) - set(vars(clone(estimator_orig)))
    public = sorted(key for key in added if not key.endswith("_") and not key.startswith("_"))
    assert not public, f"{name}.fit added public attributes without a trailing '_': {public}."


def check_dict_unchanged(name, estimator_orig, kind):
    """No method but fit changes the estimator."""
    X = make_X(kind)
    estimator = _fit_clone(estimator_orig, X)
    before = _hashes(vars(estimator))
    _apply(estimator, X)
    changed = dict(_hashes(vars(estimator)).items() ^ before.items())
    assert not changed, f"{name}: transform or predict changed {sorted(changed)}."


def check_one_row_per_element(name, estimator_orig, kind):
    """Each method gives as many rows as X has elements."""
    X, _, outputs = _fitted(estimator_orig, kind)
    for method, values in outputs.items():
        assert len(values) == len(X), f"{name}.{method}: {len(values)} rows for {len(X)} {kind}s."


def _same_rows(variants: Callable) -> Callable:
    """A check that (estimator, X, rows) yielded for a fitted estimator give those rows of it."""

    @wraps(variants)
    def check(name, estimator_orig, kind):
        X, estimator, expected = _fitted(estimator_orig, kind)
        for variant, X_variant, rows in variants(estimator, X, kind):
            selected = {method: values[rows] for method, values in expected.items()}
            _assert_same(_apply(variant, X_variant), selected, f"{name} in {variants.__name__}")

    return check


@_same_rows
def check_fit_idempotent(estimator, X, kind):
    """A second fit on the same X changes no row."""
    set_random_state(estimator)
    _fit(estimator, X)
    yield estimator, X, slice(None)


@_same_rows
def check_methods_subset_invariance(estimator, X, kind):
    """A row is the same whether its element comes alone or among others."""
    for row in range(len(X)):
        yield estimator, X[row : row + 1], [row]


@_same_rows
def check_methods_sample_order_invariance(estimator, X, kind):
    """A row does not depend on the order of X."""
    order = np.random.default_rng(0).permutation(len(X))
    yield estimator, _safe_indexing(X, order), order


@_same_rows
def check_estimators_pickle(estimator, X, kind):
    """A pickled estimator gives the same rows."""
    yield pickle.loads(pickle.dumps(estimator)), X, slice(None)


@_same_rows
def check_estimators_data_not_an_array(estimator, X, kind):
    """Tuples, object arrays and lists of the same elements give the same rows."""
    for container in (list(X), tuple(X), np.fromiter(X, dtype=object, count=len(X))):
        yield estimator, container, slice(None)


def check_readonly_memmap_input(name, estimator_orig, kind):
    """Read-only memory maps, as joblib's workers get them, give the rows of arrays."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:

        def map_signals(signals):
            path = Path(folder) / f"{joblib.hash(signals)}.joblib"
            joblib.dump(signals, path)
            return joblib.load(path, mmap_mode="r")

        for plain in (False, True):
            expected = _fit_and_apply(estimator_orig, make_X(kind, _copy_signals, plain))
            try:
                outputs = _fit_and_apply(estimator_orig, make_X(kind, map_signals, plain))
            except ValueError as error:
                raise AssertionError(f"{name} with read-only memory maps: {error}") from error
            _assert_same(outputs, expected, f"{name} differs with memory maps")


def check_n_jobs_equality(name, estimator_orig, kind):
    """Two worker processes, which get the signals as memory maps, give the rows of this one."""
    X, _, expected = _fitted(estimator_orig, kind)
    parallel = joblib.Parallel(n_jobs=2, backend="loky", max_nbytes=1000)
    for outputs in parallel([joblib.delayed(_fit_and_apply)(estimator_orig, X)] * 2):
        _assert_same(outputs, expected, f"{name} differs in a worker process")


def check_missing_modality_closure(name, estimator_orig, kind):
    """Fitted on all modalities, any of them alone, or all but one, gives rows of that width."""
    _, estimator, outputs = _fitted(estimator_orig, kind)
    names = tuple(getattr(estimator, "modalities_", MODALITIES))
    for subset in [{n} for n in names] + [set(names) - {n} for n in names if len(names) > 2]:

        def drop(signals, subset=subset):
            return {name: signals[name] for name in signals if name in subset}

        def blank(signals, subset=subset):
            return {name: signals[name] if name in subset else None for name in signals}

        for method, values in _apply(estimator, make_X(kind, drop)[:2]).items():
            fits = values.shape[1:] == outputs[method].shape[1:] and np.isfinite(values).all()
            assert fits, f"{name}.{method} of {sorted(subset)} alone: not finite, or not as wide."
        absent, none = (make_X(kind, change, plain=True)[:2] for change in (drop, blank))
        message = f"{name}: None differs from absent"
        _assert_same(_apply(estimator, none), _apply(estimator, absent), message)


def check_modality_key_order(name, estimator_orig, kind):
    """The order of a recording's keys changes no row."""
    estimator = _fit_clone(estimator_orig, make_X(kind))
    forward = _apply(estimator, make_X(kind, dict, plain=True))
    backward = _apply(estimator, make_X(kind, lambda s: dict(reversed(s.items())), plain=True))
    _assert_same(backward, forward, f"{name}: key order")


def check_transformer_get_feature_names_out(name, estimator_orig, kind):
    """There are as many different names as columns."""
    _, estimator, outputs = _fitted(estimator_orig, kind)
    names = [str(column) for column in estimator.get_feature_names_out()]
    n_columns = outputs["transform"].shape[1]
    message = f"{name}: {len(set(names))} different names for {n_columns} columns."
    assert len(set(names)) == len(names) == n_columns, message


def _output_check(check_name: str, library: str, by_config: bool) -> Callable:
    """A check that another library's output changes no value and names the elements of X."""

    def check(name, estimator_orig, kind):
        if importlib.util.find_spec(library) is None:
            raise SkipTest(f"{library} is not installed")
        X = make_X(kind)
        with config_context(transform_output="default"):
            estimator = _fit_clone(estimator_orig, X)
            names = [str(column) for column in estimator.get_feature_names_out()]
            values = estimator.transform(X)
        with config_context(transform_output=library) if by_config else nullcontext():
            fitted, unfitted = _fit_clone(estimator_orig, X), clone(estimator_orig)
            if not by_config:
                fitted.set_output(transform=library)
                unfitted.set_output(transform=library)
            tables = fitted.transform(X), _fit(unfitted, X, "fit_transform")
        for table in tables:
            package = type(table).__module__.split(".")[0]
            assert package == library, f"{name}: {library} was asked for, {package} came."
            assert list(table.columns) == names, f"{name}: {library} columns are not the names."
            np.testing.assert_array_equal(table.to_numpy(), values, err_msg=f"{name}: {library}")
            if library == "pandas":
                assert table.index.tolist() == _ids(X), f"{name}: the index does not name X."

    check.__name__ = check_name
    return check


CHECKS = [
    *[check for name, check in list(globals().items()) if name.startswith("check_")],
    _output_check("check_set_output_transform_pandas", "pandas", by_config=False),
    _output_check("check_set_output_transform_polars", "polars", by_config=False),
    _output_check("check_global_output_transform_pandas", "pandas", by_config=True),
    _output_check("check_global_set_output_transform_polars", "polars", by_config=True),
]


def make_X(kind: str, change: Callable[[dict], dict] | None = None, plain: bool = False):
    """Nights of noise as X of a kind, after a change to their {name: (samples, rate)}."""
    nights: list = list(_make_nights())
    if change is not None:
        for number, night in enumerate(nights):
            signals = change({name: (s.values, s.rate) for name, s in night.read().items()})
            nights[number] = signals if plain else _make_night(signals, number)
    if kind == "subject":
        return [nights[:2], nights[2:4], nights[4]]
    return EpochSequence(nights) if kind == "epoch" else nights


@cache
def _make_nights() -> tuple[Recording, ...]:
    """Nights of plausible noise in all modalities; labels and metadata differ between them."""
    rng = np.random.default_rng(0)
    nights = []
    for number in range(_N_NIGHTS):
        signals = {}
        for name, modality in MODALITIES.items():
            rate = modality.conditioning.rate
            noise = rng.standard_normal(round(_N_EPOCHS * EPOCH_SECONDS * rate)).clip(-3, 3)
            level, spread = {"spo2": (95, 1), "ibi": (0.9, 0.05)}.get(name, (0, 30 + number))
            noise = np.abs(noise) if name == "actigraphy" else noise
            signals[name] = ((level + spread * noise).astype(np.float32), rate)
        nights.append(_make_night(signals, number))
    return tuple(nights)


def _make_night(signals: dict, number: int) -> Recording:
    return Recording(
        signals,
        subject=f"s{number // 2}",
        metadata={"age": 30.0 + number, "sex": "FM"[number // 2 % 2], "site": "abc"[number % 3]},
        stages=(np.arange(_N_EPOCHS) + number) % 5,
        duration=_N_EPOCHS * EPOCH_SECONDS,
        id=f"night-{number}",
    )


def _copy_signals(signals: dict) -> dict:
    return {name: (values.copy(), rate) for name, (values, rate) in signals.items()}


def _ids(X) -> list:
    """What a table's index holds: ids of nights, subjects, or (recording, epoch)."""
    if isinstance(X, EpochSequence):
        return X.index.tolist()
    return [x[0].subject if isinstance(x, list) else x.id for x in X]


def _fit(estimator, X, method: str = "fit"):
    """Fit with labels that any estimator takes; the checkpoint may lack some modalities."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ModalityWarning)
        return getattr(estimator, method)(X, np.arange(len(X)) % 2)


def _fit_clone(estimator, X):
    estimator = clone(estimator)
    set_random_state(estimator)
    _fit(estimator, X)
    return estimator


def _apply(estimator, X) -> dict[str, np.ndarray]:
    """Output of each method that the estimator has."""
    return {m: np.asarray(getattr(estimator, m)(X)) for m in _METHODS if hasattr(estimator, m)}


def _fit_and_apply(estimator, X) -> dict[str, np.ndarray]:
    return _apply(_fit_clone(estimator, X), X)


def _fitted(estimator, kind: str):
    X = make_X(kind)
    estimator = _fit_clone(estimator, X)
    return X, estimator, _apply(estimator, X)


def _hashes(values: dict) -> dict[str, str]:
    return {key: joblib.hash(value) for key, value in values.items()}


def _assert_same(outputs: dict, expected: dict, message: str) -> None:
    for method, values in expected.items():
        np.testing.assert_allclose(
            outputs[method], values, rtol=1e-5, atol=1e-6, err_msg=f"{method}: {message}"
        )
