# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest

from sleep2vec_sklearn.evaluation._subjects import subjects_of


@pytest.mark.parametrize("groups", [[1.0, 1.0, np.nan], ["a", "a", np.nan]])
def test_a_subject_that_is_nan_is_nobody(groups):
    with pytest.raises(ValueError, match=r"names nobody \(NaN\) in 1 of 3 rows"):
        subjects_of(np.zeros((3, 2)), groups)


def test_rows_without_a_name_are_of_different_people():
    assert len(set(subjects_of(np.zeros((3, 2)), ["a", None, None]).tolist())) == 3
