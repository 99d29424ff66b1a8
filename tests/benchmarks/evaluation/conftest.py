# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pandas as pd
import pytest

from sleep2vec_sklearn import Recording
from sleep2vec_sklearn.recordings import Cohort

N_EPOCHS = 40


@pytest.fixture(scope="module")
def cohort():
    """Six subjects with every stage but N1, the first epoch unscored."""
    nights = []
    for k in range(6):
        rng = np.random.default_rng(k)
        stages = rng.permutation(np.repeat([0, 2, 3, 4], 10))
        stages[0] = -1
        values = 0.9 + 0.05 * rng.standard_normal(N_EPOCHS * 120)
        signals = {"ibi": (values, 4), "actigraphy": (rng.gamma(1, 2, N_EPOCHS * 30), 1)}
        night = Recording(signals, stages=stages, id=f"n{k}", subject=f"s{k // 2 * 2}{k}")
        nights.append(night)
    return Cohort(nights, pd.DataFrame(index=[night.id for night in nights]))


@pytest.fixture(scope="module")
def telling(cohort):
    """Features that show wake and REM, more or less."""
    rng = np.random.default_rng(0)
    tables = [np.stack([n.stages == 0, n.stages == 4], axis=1) * 2.0 for n in cohort]
    return [table + 0.3 * rng.standard_normal(table.shape) for table in tables]


@pytest.fixture(scope="module")
def noise_alone(cohort):
    rng = np.random.default_rng(1)
    return [rng.standard_normal((r.n_epochs, 2)) for r in cohort]
