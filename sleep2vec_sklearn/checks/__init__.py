# SPDX-License-Identifier: BSD-3-Clause
"""scikit-learn's estimator checks for X of recordings or epochs.

Those that need no two-dimensional X are run as they are, the others are here under their names.
Under ``python -O`` the former find less, as they consist of assert statements.
"""

import importlib.util
import pickle
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any
from unittest import SkipTest

import joblib
import numpy as np
from sklearn import config_context
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError, SkipTestWarning
from sklearn.utils import estimator_checks, shuffle
from sklearn.utils._testing import create_memmap_backed_data, raises, set_random_state

from .._warnings import ignored, warn
from ..errors import ModalityWarning
from ..recordings.epochs import EpochSequence
from ..recordings.modality import EPOCH_SECONDS, MODALITIES
from ..recordings.recording import Recording

if TYPE_CHECKING:
    import pytest

__all__ = [
    "check_sleep2vec_estimator", "parametrize_with_sleep2vec_checks", "sleep2vec_checks_generator",
]  # fmt: skip

KINDS = ("night", "subject", "epoch")
# the older scikit-learn is, the fewer there are
_SCIKIT_LEARN_CHECKS = (
    "check_estimator_cloneable", "check_estimator_tags_renamed", "check_valid_tag_types",
    "check_estimator_repr", "check_no_attributes_set_in_init",
    "check_do_not_raise_errors_in_init_or_set_params", "check_mixin_order",
    "check_parameters_default_constructible", "check_get_params_invariance", "check_set_params",
    "check_estimator_sparse_tag", "check_get_feature_names_out_error",
)  # fmt: skip
_METHODS = ("transform", "predict", "predict_proba", "decision_function")
_N_EPOCHS = 4
_RATES = {name: modality.conditioning.rate for name, modality in MODALITIES.items()}


def check_sleep2vec_estimator(
    estimator: BaseEstimator, *, kinds: Sequence[str] = KINDS,
    expected_failed_checks: Mapping[str, str] | None = None,
) -> None:  # fmt: skip
    """Run every check on an estimator; the first that fails raises, a skipped one warns.

    Parameters
    ----------
    estimator : estimator
        An instance; it is cloned, not changed.
    kinds : sequence of {"night", "subject", "epoch"}
        What elements of X it takes; all by default.
    expected_failed_checks : mapping of str to str, optional
        Checks that do not suit it: name to the reason. They warn, and raise if they pass.

    Examples
    --------
    >>> from sleep2vec_sklearn import TimeOfNight
    >>> from sleep2vec_sklearn.checks import check_sleep2vec_estimator
    >>> check_sleep2vec_estimator(TimeOfNight(), kinds=["night"])
    Traceback (most recent call last):
        ...
    sleep2vec_sklearn.errors.InvalidRecordingError: X holds nights, which have no one time ...
    """
    expected = dict(expected_failed_checks or {})
    for instance, check in sleep2vec_checks_generator(estimator, kinds=kinds):
        name = check.func.__name__
        try:
            check(instance)
        except SkipTest as reason:
            warn(f"{name}: {reason}", SkipTestWarning)
        except Exception:
            if name not in expected:
                raise
            warn(f"{name} failed as expected: {expected[name]}", SkipTestWarning)
        else:
            _require(
                name not in expected, f"{name} passed, but {expected.get(name)!r} was expected."
            )


def parametrize_with_sleep2vec_checks(
    estimators: Sequence[BaseEstimator], *, kinds: Sequence[str] = KINDS,
    expected_failed_checks: Callable[[BaseEstimator], Mapping[str, str]] | None = None,
) -> "pytest.MarkDecorator":  # fmt: skip
    """Decorate a test with every check on every estimator, as ``parametrize_with_checks`` does.

    The parameters are those of :func:`check_sleep2vec_estimator`, but ``expected_failed_checks`` is
    a function of the estimator, and its checks are marked as strict expected failures.

    Examples
    --------
    >>> from sleep2vec_sklearn import RecordingMetadata
    >>> from sleep2vec_sklearn.checks import parametrize_with_sleep2vec_checks
    >>> decorator = parametrize_with_sleep2vec_checks([RecordingMetadata()], kinds=["night"])
    >>> decorator.args[0]  # what the test takes; it calls check(estimator)
    ('estimator', 'check')
    """
    import pytest

    if isinstance(estimators, type) or any(isinstance(e, type) for e in estimators):
        raise TypeError("estimators holds a class; pass instances, e.g. [RecordingMetadata()].")
    pairs = []
    for instance in estimators:
        expected = expected_failed_checks(instance) if expected_failed_checks else {}
        for pair in sleep2vec_checks_generator(instance, kinds=kinds):
            reason = expected.get(pair[1].func.__name__)
            marks = () if reason is None else pytest.mark.xfail(reason=reason, strict=True)
            pairs.append(pytest.param(*pair, marks=marks))
    ids = estimator_checks._get_check_estimator_ids
    return pytest.mark.parametrize(("estimator", "check"), pairs, ids=ids)


def sleep2vec_checks_generator(
    estimator: BaseEstimator, *, kinds: Sequence[str] = KINDS
) -> Iterator[tuple[BaseEstimator, partial]]:
    """Yield (estimator, check) pairs, with the parameters of :func:`check_sleep2vec_estimator`.

    Examples
    --------
    >>> from sleep2vec_sklearn import TimeOfNight
    >>> from sleep2vec_sklearn.checks import sleep2vec_checks_generator
    >>> next(sleep2vec_checks_generator(TimeOfNight()))[1].func.__name__
    'check_estimator_cloneable'
    """
    for kind in set(kinds) - set(KINDS):
        raise ValueError(f"kinds has {kind!r}; accepted are {', '.join(map(repr, KINDS))}.")
    own = [getattr(estimator_checks, name, None) for name in _SCIKIT_LEARN_CHECKS]
    checks: list[tuple] = [(check, {}) for check in filter(None, own)]
    checks += [(check, {"kind": kind}) for check in _CHECKS for kind in kinds]
    for check, options in checks:
        is_for_transformers = "transform" in check.__name__ or "feature_names" in check.__name__
        if not is_for_transformers or hasattr(estimator, "transform"):
            yield estimator, partial(check, type(estimator).__name__, **options)


def check_estimators_empty_data_messages(name: str, estimator_orig: Any, kind: str) -> None:
    message = f"{name}: the error on empty X does not say '0 recordings'."
    with raises(ValueError, match=r"\b0 (recording|night|subject|epoch|sample)s", err_msg=message):
        clone(estimator_orig).fit(EpochSequence([]) if kind == "epoch" else [], [])


def check_estimators_unfitted(name: str, estimator_orig: Any, kind: str) -> None:
    for method in [m for m in _METHODS if hasattr(estimator_orig, m)]:
        with raises(NotFittedError, err_msg=f"{name}.{method} did not raise NotFittedError."):
            getattr(clone(estimator_orig), method)(make_X(kind))


def check_estimators_fit_returns_self(name: str, estimator_orig: Any, kind: str) -> None:
    estimator = clone(estimator_orig)
    _require(_fit(estimator, make_X(kind)) is estimator, f"{name}.fit did not return self.")


def check_estimators_overwrite_params(name: str, estimator_orig: Any, kind: str) -> None:
    before = {key: joblib.hash(value) for key, value in estimator_orig.get_params().items()}
    after = _fit(clone(estimator_orig), make_X(kind)).get_params()
    changed = [k for k in before if k != "random_state" and before[k] != joblib.hash(after[k])]
    _require(not changed, f"{name}.fit changed the parameters {changed}.")


def check_dont_overwrite_parameters(name: str, estimator_orig: Any, kind: str) -> None:
    added = set(vars(_fit(clone(estimator_orig), make_X(kind)))) - set(vars(clone(estimator_orig)))
    public = sorted(key for key in added if not key.endswith("_") and not key.startswith("_"))
    _require(not public, f"{name}.fit added public attributes without a trailing '_': {public}.")


def check_dict_unchanged(name: str, estimator_orig: Any, kind: str) -> None:
    X = make_X(kind)
    estimator = _fit(clone(estimator_orig), X)
    before = {key: joblib.hash(value) for key, value in vars(estimator).items()}
    _apply(estimator, X)
    after = {key: joblib.hash(value) for key, value in vars(estimator).items()}
    changed = sorted(dict(before.items() ^ after.items()))
    _require(not changed, f"{name}: transform or predict changed {changed}.")


def check_one_row_per_element(name: str, estimator_orig: Any, kind: str) -> None:
    X = make_X(kind)
    for method, values in _fitted(estimator_orig, X)[1].items():
        _require(
            len(values) == len(X), f"{name}.{method}: {len(values)} rows for {len(X)} {kind}s."
        )


# a fitted estimator and X, the rows asked for in another way, and which of the rows these are
_SAME_ROWS: dict[str, Callable] = {
    "check_fit_idempotent": lambda e, X: [(_fit(e, X), X, slice(None))],
    "check_methods_subset_invariance": lambda e, X: [(e, X[i : i + 1], [i]) for i in range(len(X))],
    "check_methods_sample_order_invariance": lambda e, X: [
        (e, *shuffle(X, np.arange(len(X)), random_state=0))
    ],
    "check_estimators_pickle": lambda e, X: [(pickle.loads(pickle.dumps(e)), X, slice(None))],
    "check_estimators_data_not_an_array": lambda e, X: [
        (e, c, slice(None)) for c in (list(X), tuple(X), np.fromiter(X, object, len(X)))
    ],
}


def _check_same_rows(check_name: str, name: str, estimator_orig: Any, kind: str) -> None:
    X = make_X(kind)
    estimator, expected = _fitted(estimator_orig, X)
    for variant, X_variant, rows in _SAME_ROWS[check_name](estimator, X):
        selected = {method: values[rows] for method, values in expected.items()}
        _assert_same(_apply(variant, X_variant), selected, f"{name} in {check_name}")


def check_readonly_memmap_input(name: str, estimator_orig: Any, kind: str) -> None:
    for plain in (False, True):
        _, expected = _fitted(estimator_orig, make_X(kind, plain=plain))
        try:
            _, outputs = _fitted(estimator_orig, make_X(kind, create_memmap_backed_data, plain))
        except ValueError as error:
            raise AssertionError(f"{name} with read-only memory maps: {error}") from error
        _assert_same(outputs, expected, f"{name} differs with memory maps")


def check_n_jobs_equality(name: str, estimator_orig: Any, kind: str) -> None:
    X = make_X(kind)
    _, expected = _fitted(estimator_orig, X)
    parallel = joblib.Parallel(n_jobs=2, backend="loky", max_nbytes=1000)  # as memory maps
    for _, outputs in parallel([joblib.delayed(_fitted)(estimator_orig, X)] * 2):
        _assert_same(outputs, expected, f"{name} differs in a worker process")


def check_missing_modality_closure(name: str, estimator_orig: Any, kind: str) -> None:
    """Fitted on all modalities, any of them alone, or all but one, gives rows of that width."""
    estimator, outputs = _fitted(estimator_orig, make_X(kind))
    names = [name for name in getattr(estimator, "modalities_", MODALITIES) if name in MODALITIES]
    for subset in [{n} for n in names] + [set(names) - {n} for n in names if len(names) > 2]:
        drop, blank = (
            lambda signals, kept=subset: {n: v for n, v in signals.items() if n in kept},
            lambda signals, kept=subset: {n: v if n in kept else None for n, v in signals.items()},
        )
        for method, values in _apply(estimator, make_X(kind, drop)[:2]).items():
            fits = values.shape[1:] == outputs[method].shape[1:] and np.isfinite(values).all()
            _require(
                fits, f"{name}.{method} of {sorted(subset)} alone: not finite, or not as wide."
            )
        absent, none = (make_X(kind, change, plain=True)[:2] for change in (drop, blank))
        _assert_same(_apply(estimator, none), _apply(estimator, absent), f"{name}: None for absent")


def check_modality_key_order(name: str, estimator_orig: Any, kind: str) -> None:
    estimator = _fit(clone(estimator_orig), make_X(kind))
    forward = _apply(estimator, make_X(kind, dict, plain=True))
    backward = _apply(estimator, make_X(kind, lambda s: dict(reversed(s.items())), plain=True))
    _assert_same(backward, forward, f"{name}: key order")


def check_transformer_get_feature_names_out(name: str, estimator_orig: Any, kind: str) -> None:
    estimator, outputs = _fitted(estimator_orig, make_X(kind))
    names, n_columns = list(estimator.get_feature_names_out()), outputs["transform"].shape[1]
    message = f"{name}: {len(set(names))} different names for {n_columns} columns."
    _require(len(set(names)) == len(names) == n_columns, message)


def _check_output(library: str, by_config: bool, name: str, estimator_orig: Any, kind: str) -> None:
    if importlib.util.find_spec(library) is None:
        raise SkipTest(f"{library} is not installed")
    X = make_X(kind)
    with config_context(transform_output="default"):
        estimator = _fit(clone(estimator_orig), X)
        names = [str(column) for column in estimator.get_feature_names_out()]
        values = estimator.transform(X)
    with config_context(transform_output=library if by_config else "default"):
        fitted, unfitted = _fit(clone(estimator_orig), X), clone(estimator_orig)
        for estimator in () if by_config else (fitted, unfitted):
            estimator.set_output(transform=library)
        tables = fitted.transform(X), _fit(unfitted, X, "fit_transform")
    for table in tables:
        package = type(table).__module__.split(".")[0]
        _require(package == library, f"{name}: {library} was asked for, {package} came.")
        _require(list(table.columns) == names, f"{name}: {library} columns are not the names.")
        np.testing.assert_array_equal(table.to_numpy(), values, err_msg=f"{name}: {library}")
        if library == "pandas":
            ids = [x[0].subject if isinstance(x, list) else getattr(x, "id", x) for x in X]
            ids = X.index.tolist() if kind == "epoch" else ids
            _require(table.index.tolist() == ids, f"{name}: the index does not name X.")


def _named(check_name: str, check: Callable, *options: Any) -> Callable:
    def named(name: str, estimator_orig: Any, kind: str) -> None:
        check(*options, name, estimator_orig, kind)

    named.__name__ = check_name
    return named


_CHECKS = [
    *(check for name, check in list(globals().items()) if re.match("check_(?!sleep2vec)", name)),
    *(_named(name, _check_same_rows, name) for name in _SAME_ROWS),
    _named("check_set_output_transform_pandas", _check_output, "pandas", False),
    _named("check_set_output_transform_polars", _check_output, "polars", False),
    _named("check_global_output_transform_pandas", _check_output, "pandas", True),
    _named("check_global_set_output_transform_polars", _check_output, "polars", True),
]


@cache
def _noise(number: int, name: str) -> np.ndarray:
    """A signal of one night; made once, as some checks take a hundred X."""
    rng = np.random.default_rng([number, list(MODALITIES).index(name)])
    noise = rng.standard_normal(_N_EPOCHS * MODALITIES[name].conditioning.width).clip(-3, 3)
    level, spread = {"spo2": (95, 1), "ibi": (0.9, 0.05)}.get(name, (0, 30 + number))
    return (level + spread * (abs(noise) if name == "actigraphy" else noise)).astype(np.float32)


def make_X(kind: str, change: Callable[[dict], dict] | None = None, plain: bool = False) -> Any:
    """Unlike nights of noise as X of a kind, after a change to their {name: (samples, rate)}."""
    nights: list[Any] = []
    for number in range(5):
        # copies, as an estimator may be wrong and work in place
        night: Any = {n: (_noise(number, n).copy(), rate) for n, rate in _RATES.items()}
        night = night if change is None else change(night)
        metadata = {"age": 30.0 + number, "sex": "FM"[number // 2 % 2], "site": "abc"[number % 3]}
        options: Any = {"metadata": metadata, "subject": f"s{number // 2}", "id": f"night-{number}"}
        options["stages"] = (np.arange(_N_EPOCHS) + number) % 5
        options["duration"] = _N_EPOCHS * EPOCH_SECONDS
        nights.append(night if plain else Recording(night, **options))
    if kind == "subject":
        return [nights[:2], nights[2:4], nights[4]]
    return EpochSequence(nights) if kind == "epoch" else nights


def _fit(estimator: Any, X: Any, method: str = "fit") -> Any:
    """Fit with labels that any estimator takes; the checkpoint may lack some modalities."""
    set_random_state(estimator)
    with ignored(ModalityWarning):
        return getattr(estimator, method)(X, np.arange(len(X)) % 2)


def _apply(estimator: Any, X: Any) -> dict[str, np.ndarray]:
    return {m: np.asarray(getattr(estimator, m)(X)) for m in _METHODS if hasattr(estimator, m)}


def _fitted(estimator: Any, X: Any) -> tuple:
    estimator = _fit(clone(estimator), X)
    return estimator, _apply(estimator, X)


def _require(is_so: bool, message: str) -> None:
    # no assert statement, which python -O leaves out
    if not is_so:
        raise AssertionError(message)


def _assert_same(outputs: dict, expected: dict, message: str) -> None:
    for method, rows in expected.items():
        np.testing.assert_allclose(
            outputs[method], rows, 1e-5, 1e-6, err_msg=f"{method}: {message}"
        )
