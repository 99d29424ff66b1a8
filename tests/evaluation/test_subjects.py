# SPDX-License-Identifier: BSD-3-Clause
from fractions import Fraction

import numpy as np
import pytest

from sleep2vec_sklearn.evaluation._subjects import SubjectBootstrap, subjects_of


@pytest.mark.parametrize("groups", [[1.0, 1.0, np.nan], ["a", "a", np.nan]])
def test_nan_names_no_subject(groups):
    with pytest.raises(ValueError, match=r"names nobody \(NaN\) in 1 of 3 rows"):
        subjects_of(np.zeros((3, 2)), groups)
    # rows of nobody differ
    assert len(set(subjects_of(np.zeros((3, 2)), ["a", None, None]).tolist())) == 3


def test_whole_subjects_are_drawn():
    groups = np.array(["b", "a", "b", "c", "a", "b"])
    draws = SubjectBootstrap(groups, n_resamples=20)
    for counts, rows in zip(draws.counts, draws.rows(), strict=True):
        found = np.bincount(draws.codes[rows], minlength=3) / np.bincount(draws.codes)
        np.testing.assert_array_equal(found, counts)


def test_sums_equal_drawn_rows():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((40, 3))
    draws = SubjectBootstrap(rng.integers(6, size=40), n_resamples=10)
    expected = [values[rows].sum(axis=0) for rows in draws.rows()]
    np.testing.assert_allclose(draws.sums(values), expected)
    half = SubjectBootstrap(range(9), np.array(5), Fraction(1, 2))
    np.testing.assert_array_equal(half.interval(np.arange(5.0)), (1, 3))
    counts = [SubjectBootstrap(range(9), 5, random_state=seed).counts for seed in (0, 0, 1)]
    np.testing.assert_array_equal(counts[0], counts[1])
    assert (counts[0] != counts[2]).any()


def test_epochs_do_not_narrow_intervals():
    of_subject = np.random.default_rng(0).standard_normal(12)
    widths = []
    for n_epochs in (1, 50):
        groups, values = np.repeat(np.arange(12), n_epochs), np.repeat(of_subject, n_epochs)
        draws = SubjectBootstrap(groups, n_resamples=500)
        low, high = draws.interval(draws.sums(values) / draws.sums(np.ones_like(values)))
        widths.append(high - low)
    assert widths[0] == pytest.approx(widths[1])


def test_mean_skips_undefined_subjects():
    draws = SubjectBootstrap(list("abcd"), n_resamples=300)
    low, high = draws.mean_interval([0.2, 0.4, np.nan, 0.6])
    assert 0.2 <= low < 0.4 < high <= 0.6
    assert np.isnan(SubjectBootstrap(["a"] * 5, 10).interval(np.ones((10, 2)))).all()
    assert np.isnan(draws.mean_interval([0.2, np.nan, np.nan, np.nan])).all()


@pytest.mark.parametrize("wrong", [{"level": 95}, {"n_resamples": 0}])
def test_invalid_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SubjectBootstrap([1, 2], **wrong)
