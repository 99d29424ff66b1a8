# SPDX-License-Identifier: BSD-3-Clause
"""scikit-learn's estimator checks, for estimators whose X holds recordings or epochs.

``sklearn.utils.estimator_checks.check_estimator`` runs next to nothing on an estimator whose input
is not two-dimensional. The checks here have the names and the meaning of scikit-learn's, and run
on lists of nights, lists of subjects and sequences of epochs. They suit transformers, classifiers
and regressors. Where scikit-learn's own check works on any input, it is run as it is.
"""

from ._suite import (
    check_sleep2vec_estimator,
    parametrize_with_sleep2vec_checks,
    sleep2vec_checks_generator,
)

__all__ = [
    "check_sleep2vec_estimator",
    "parametrize_with_sleep2vec_checks",
    "sleep2vec_checks_generator",
]
