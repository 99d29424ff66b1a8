# SPDX-License-Identifier: BSD-3-Clause
"""Every check on an estimator, in one go or as tests of pytest."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from unittest import SkipTest

from sklearn.base import BaseEstimator
from sklearn.exceptions import SkipTestWarning
from sklearn.utils import estimator_checks

from .._warnings import warn
from ._behaviour import CHECKS, CHECKS_BEFORE_FIT, TRANSFORMER_CHECKS
from ._nights import KINDS

__all__ = [
    "check_sleep2vec_estimator",
    "parametrize_with_sleep2vec_checks",
    "sleep2vec_checks_generator",
]

SCIKIT_LEARN_CHECKS = (
    "check_estimator_cloneable",
    "check_estimator_tags_renamed",
    "check_valid_tag_types",
    "check_estimator_repr",
    "check_no_attributes_set_in_init",
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_mixin_order",
    "check_parameters_default_constructible",
    "check_get_params_invariance",
    "check_set_params",
    "check_estimator_sparse_tag",
    "check_get_feature_names_out_error",
)


def parametrize_with_sleep2vec_checks(
    estimators: Sequence[BaseEstimator],
    *,
    kinds: Sequence[str] = KINDS,
    expected_failed_checks: Callable[[BaseEstimator], Mapping[str, str]] | None = None,
):
    """Decorate a test with every check on every estimator, as ``parametrize_with_checks`` does.

    Parameters
    ----------
    estimators : sequence of estimator
        Instances.
    kinds : sequence of {"night", "subject", "epoch"}
        What elements of X they take; all by default.
    expected_failed_checks : callable, optional
        Of an estimator, gives the checks that do not suit it: name of the check to the reason.
        Each is marked as a strict expected failure, so a reason that no longer holds is told.

    Returns
    -------
    pytest.MarkDecorator

    Examples
    --------
    >>> from sleep2vec_sklearn import RecordingMetadata
    >>> from sleep2vec_sklearn.checks import parametrize_with_sleep2vec_checks
    >>> @parametrize_with_sleep2vec_checks([RecordingMetadata()], kinds=["night"])
    ... def test_contract(estimator, check):
    ...     check(estimator)
    >>> test_contract.pytestmark[0].args[0]
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
    return pytest.mark.parametrize(("estimator", "check"), pairs, ids=_test_id)


def check_sleep2vec_estimator(
    estimator: BaseEstimator,
    *,
    kinds: Sequence[str] = KINDS,
    expected_failed_checks: Mapping[str, str] | None = None,
) -> None:
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
    >>> from sklearn.base import BaseEstimator
    >>> from sleep2vec_sklearn.checks import check_sleep2vec_estimator
    >>> class Doubled(BaseEstimator):
    ...     def __init__(self, gain=1.0):
    ...         self.gain = 2 * gain  # what clone cannot give back
    ...     def fit(self, X, y=None):
    ...         return self
    >>> check_sleep2vec_estimator(Doubled())
    Traceback (most recent call last):
        ...
    AssertionError: Cloning of Doubled failed with error: Cannot clone object ...
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
            told = f"{name} failed as expected: {expected[name]}"
            warn(told, SkipTestWarning)
        else:
            assert name not in expected, f"{name} passed, but {expected[name]!r} was expected."


def sleep2vec_checks_generator(
    estimator: BaseEstimator, *, kinds: Sequence[str] = KINDS
) -> Iterator[tuple[BaseEstimator, Callable]]:
    """Yield (estimator, check) pairs; ``check(estimator)`` raises if it fails.

    Parameters
    ----------
    estimator : estimator
        An instance.
    kinds : sequence of {"night", "subject", "epoch"}
        What elements of X it takes; all by default.

    Examples
    --------
    >>> from sleep2vec_sklearn import TimeOfNight
    >>> from sleep2vec_sklearn.checks import sleep2vec_checks_generator
    >>> pairs = list(sleep2vec_checks_generator(TimeOfNight(), kinds=["epoch"]))
    >>> len(pairs) > 20, pairs[0][1].func.__name__
    (True, 'check_estimator_cloneable')
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise ValueError(f"kinds has {unknown[0]!r}; accepted are {', '.join(map(repr, KINDS))}.")
    name = type(estimator).__name__
    for check_name in SCIKIT_LEARN_CHECKS:
        # the older scikit-learn is, the fewer there are
        check = getattr(estimator_checks, check_name, None)
        needed = "get_feature_names_out" if "feature_names" in check_name else "fit"
        if check is not None and hasattr(estimator, needed):
            yield estimator, partial(check, name)
    for check in CHECKS_BEFORE_FIT:
        yield estimator, partial(check, name)
    for check in CHECKS + (TRANSFORMER_CHECKS if hasattr(estimator, "transform") else ()):
        for kind in kinds:
            yield estimator, partial(check, name, kind=kind)


def _test_id(value) -> str:
    if isinstance(value, partial):
        options = ",".join(f"{k}={v}" for k, v in value.keywords.items())
        return f"{value.func.__name__}({options})"
    return re.sub(r"\s+", "", repr(value))
