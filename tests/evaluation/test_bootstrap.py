# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest

from sleep2vec_sklearn.evaluation._subjects import SubjectBootstrap


def test_whole_subjects_are_drawn():
    groups = np.array(["b", "a", "b", "c", "a", "b"])
    draws = SubjectBootstrap(groups, n_resamples=20)
    for counts, rows in zip(draws.counts, draws.rows(), strict=True):
        found = np.bincount(draws.codes[rows], minlength=3) / np.bincount(draws.codes)
        np.testing.assert_array_equal(found, counts)


def test_sums_are_those_of_the_rows_drawn():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((40, 3))
    draws = SubjectBootstrap(rng.integers(6, size=40), n_resamples=10)
    expected = [values[rows].sum(axis=0) for rows in draws.rows()]
    np.testing.assert_allclose(draws.sums(values), expected)


def test_more_epochs_of_the_same_people_make_no_interval_narrower():
    person = np.random.default_rng(0).standard_normal(12)
    widths = []
    for n_epochs in (1, 50):
        groups, values = np.repeat(np.arange(12), n_epochs), np.repeat(person, n_epochs)
        draws = SubjectBootstrap(groups, n_resamples=500)
        low, high = draws.interval(draws.sums(values) / draws.sums(np.ones_like(values)))
        widths.append(high - low)
    assert widths[0] == pytest.approx(widths[1])


def test_one_subject_has_no_interval():
    draws = SubjectBootstrap(["a"] * 5, n_resamples=10)
    assert np.isnan(draws.interval(np.ones((10, 2)))).all()


def test_a_mean_is_over_the_subjects_that_have_a_value():
    draws = SubjectBootstrap(list("abcd"), n_resamples=300)
    low, high = draws.mean_interval([0.2, 0.4, np.nan, 0.6])
    assert 0.2 <= low < 0.4 < high <= 0.6
    assert np.isnan(draws.mean_interval([0.2, np.nan, np.nan, np.nan])).all()


def test_the_seed_decides():
    counts = [SubjectBootstrap(range(9), 5, random_state=seed).counts for seed in (0, 0, 1)]
    np.testing.assert_array_equal(counts[0], counts[1])
    assert (counts[0] != counts[2]).any()


@pytest.mark.parametrize("wrong", [{"level": 95}, {"n_resamples": 0}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SubjectBootstrap([1, 2], **wrong)
