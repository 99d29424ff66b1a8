# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn import EpochSequence, Sleep2VecTransformer
from sleep2vec_sklearn.encoding._pooling import n_around, with_context
from tests.strategies import recordings

pytestmark = pytest.mark.filterwarnings("ignore::sleep2vec_sklearn.errors.RecordingWarning")


@given(n_epochs=st.integers(1, 30), around=st.integers(1, 40), seed=st.integers(0, 99))
def test_context_is_mean_around(n_epochs, around, seed):
    rows = np.random.default_rng(seed).normal(size=(n_epochs, 3)).astype(np.float32)
    found = with_context(rows, np.arange(n_epochs), around)
    near = [rows[max(i - around, 0) : i + around + 1].mean(axis=0) for i in range(n_epochs)]
    np.testing.assert_array_equal(found[:, :3], rows)
    np.testing.assert_allclose(found[:, 3:], near, atol=1e-6)


@settings(max_examples=8)
@given(night=recordings(min_epochs=3, max_epochs=20), data=st.data())
def test_context_ignores_selection_of_epochs(embed, night, data):
    X = EpochSequence([night])
    idx = data.draw(st.lists(st.integers(0, len(X) - 1), min_size=1))
    whole = embed(X, context_minutes=5)
    np.testing.assert_array_equal(embed(X[idx], context_minutes=5), whole[idx])
    np.testing.assert_array_equal(whole[:, : whole.shape[1] // 2], embed(X))


def test_nights_have_no_context(embed, noise):
    night = {"ibi": noise("ibi")}
    np.testing.assert_array_equal(embed([night], context_minutes=5), embed([night]))


@pytest.mark.parametrize(("minutes", "n_epochs"), [(0, 0), (0.9, 0), (1, 1), (5, 5), (20.0, 20)])
def test_context_window_is_symmetric(minutes, n_epochs):
    assert n_around(minutes) == n_epochs


@pytest.mark.parametrize("minutes", [-1, True, None, "5", float("nan"), float("inf")])
def test_invalid_context_is_refused(checkpoint_path, noise, minutes):
    transformer = Sleep2VecTransformer(checkpoint_path, context_minutes=minutes)
    with pytest.raises(ValueError, match="'context_minutes' parameter"):
        transformer.fit([{"ibi": noise("ibi")}])


def test_context_columns_have_own_names(checkpoint_path, noise):
    X = EpochSequence([{"ibi": noise("ibi")}])
    fitted = Sleep2VecTransformer(checkpoint_path, context_minutes=5).fit(X)
    names = fitted.get_feature_names_out()
    assert len(set(names)) == fitted.transform(X).shape[1]
    assert names[0] == "sleep2vec_000"
    assert names[len(names) // 2] == "sleep2vec_around_000"
