# SPDX-License-Identifier: BSD-3-Clause
"""What scikit-learn asks of every estimator, of those that fine-tune."""

import pytest

from sleep2vec_sklearn import Sleep2VecClassifier, Sleep2VecRegressor
from sleep2vec_sklearn.checks import sleep2vec_checks_generator

KIND_OF = {Sleep2VecClassifier: "epoch", Sleep2VecRegressor: "subject"}
# of the transformer these are tested already, on the reader and the cache that are used here too
APART = ("check_n_jobs_equality", "check_readonly_memmap_input", "check_modality_key_order")


@pytest.mark.parametrize("estimator", KIND_OF)
def test_the_contract_of_estimators_of_recordings(estimator, checkpoint_path):
    model = estimator(checkpoint_path, max_epochs=2, head_size=8, modality_dropout=0.3)
    for instance, check in sleep2vec_checks_generator(model, kinds=[KIND_OF[estimator]]):
        if check.func.__name__ not in APART:
            check(instance)
