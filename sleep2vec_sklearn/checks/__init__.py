# SPDX-License-Identifier: BSD-3-Clause
"""scikit-learn's estimator checks, for estimators whose X holds recordings or epochs.

Those of ``sklearn.utils.estimator_checks`` that need no two-dimensional X are run as they are. The
others are here under the same names, and run on lists of nights, of subjects, and on epochs.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from unittest import SkipTest

from sklearn.base import BaseEstimator
from sklearn.exceptions import SkipTestWarning
from sklearn.utils import estimator_checks

from .._warnings import warn
from ._checks import CHECKS, KINDS

__all__ = [
    "check_sleep2vec_estimator",
    "parametrize_with_sleep2vec_checks",
    "sleep2vec_checks_generator",
]

# the older scikit-learn is, the fewer there are
_SCIKIT_LEARN_CHECKS = (
    "check_estimator_cloneable", "check_estimator_tags_renamed", "check_valid_tag_types",
    "check_estimator_repr", "check_no_attributes_set_in_init",
    "check_do_not_raise_errors_in_init_or_set_params", "check_mixin_order",
    "check_parameters_default_constructible", "check_get_params_invariance", "check_set_params",
    "check_estimator_sparse_tag", "check_get_feature_names_out_error",
)  # fmt: skip


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
    >>> from sleep2vec_sklearn import TimeOfNight
    >>> from sleep2vec_sklearn.checks import check_sleep2vec_estimator
    >>> class Broken(TimeOfNight):
    ...     def transform(self, X):
    ...         return super().transform(X)[1:]
    >>> check_sleep2vec_estimator(Broken(), kinds=["epoch"])
    Traceback (most recent call last):
        ...
    AssertionError: Broken.transform: 19 rows for 20 epochs.
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
            assert name not in expected, f"{name} passed, but {expected[name]!r} was expected."


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
        As in :func:`check_sleep2vec_estimator`.
    expected_failed_checks : callable, optional
        Of an estimator, gives the mapping of :func:`check_sleep2vec_estimator`. Each of its checks
        is marked as a strict expected failure.

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
    return pytest.mark.parametrize(
        ("estimator", "check"), pairs, ids=estimator_checks._get_check_estimator_ids
    )


def sleep2vec_checks_generator(
    estimator: BaseEstimator, *, kinds: Sequence[str] = KINDS
) -> Iterator[tuple[BaseEstimator, partial]]:
    """Yield (estimator, check) pairs; ``check(estimator)`` raises if it fails.

    Parameters
    ----------
    estimator : estimator
        An instance.
    kinds : sequence of {"night", "subject", "epoch"}
        As in :func:`check_sleep2vec_estimator`.

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
    own = [getattr(estimator_checks, name, None) for name in _SCIKIT_LEARN_CHECKS]
    for check in [*filter(None, own), *CHECKS]:
        by_kind = "kind" in inspect.signature(check).parameters
        is_for_transformers = "transform" in check.__name__ or "feature_names" in check.__name__
        if not is_for_transformers or hasattr(estimator, "transform"):
            for options in [{"kind": kind} for kind in kinds] if by_kind else [{}]:
                yield estimator, partial(check, type(estimator).__name__, **options)
