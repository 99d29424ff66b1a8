# SPDX-License-Identifier: BSD-3-Clause
"""What scikit-learn asks of every estimator, of those that fine-tune."""

import pytest

from sleep2vec_sklearn import Sleep2VecClassifier, Sleep2VecRegressor
from sleep2vec_sklearn.checks import check_sleep2vec_estimator

KIND_OF = {Sleep2VecClassifier: "epoch", Sleep2VecRegressor: "subject"}


@pytest.mark.parametrize("estimator", KIND_OF)
def test_the_contract_of_estimators_of_recordings(estimator, checkpoint_path):
    model = estimator(checkpoint_path, max_epochs=2, head_size=8, modality_dropout=0.3)
    check_sleep2vec_estimator(model, kinds=[KIND_OF[estimator]])
