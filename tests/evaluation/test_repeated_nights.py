# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student

from sleep2vec_sklearn import EpochSequence, Sleep2VecTransformer, make_sleep_cohort
from sleep2vec_sklearn.evaluation import night_reliability, subject_means, visit_change

# six targets and four judges of Shrout & Fleiss (1979), table 2
TARGETS = np.array(
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
)
OF_TARGETS = np.repeat(np.arange(6), 4)
RNG = np.random.default_rng(0)
SUBJECTS = np.repeat(np.arange(30), RNG.integers(1, 4, 30))
NIGHTS = RNG.standard_normal((30, 3))[SUBJECTS] + RNG.standard_normal((len(SUBJECTS), 3))


def correlation(values, subjects):
    """Ratio of mean squares, and the intra-class correlation, by the textbook's loop."""
    groups = [values[subjects == name] for name in np.unique(subjects)]
    n, sizes = len(groups), np.array([len(group) for group in groups])
    between = sum(len(g) * (g.mean() - values.mean()) ** 2 for g in groups) / (n - 1)
    within = sum(((g - g.mean()) ** 2).sum() for g in groups) / (len(values) - n)
    size = (len(values) - (sizes**2).sum() / len(values)) / (n - 1)
    return between / within, (between - within) / (between + (size - 1) * within), size


def test_judges_as_published():
    judged = night_reliability(TARGETS.ravel(), OF_TARGETS)
    # table 4 of the paper: ICC(1,1) and ICC(1,4)
    assert judged.table["value"].round(2).tolist() == [0.17, 0.17]
    assert judged.mean_of(4)["value"].round(2).tolist() == [0.44, 0.44]
    # mean squares of table 3: 11.24 and 6.26
    assert judged.table["within"].iloc[0] == pytest.approx(6.26, abs=0.005)
    assert judged.table["between"].iloc[0] == pytest.approx((11.24 - 6.26) / 4, abs=0.005)


def test_limits_leave_subjects_out():
    table = night_reliability(NIGHTS, SUBJECTS, level=0.9).table
    ratio, value, size = correlation(NIGHTS[:, 1], SUBJECTS)
    others = [name != SUBJECTS for name in range(30)]
    logs = [np.log(correlation(NIGHTS[rest, 1], SUBJECTS[rest])[0]) for rest in others]
    pseudo = 30 * np.log(ratio) - 29 * np.array(logs)
    width = student.ppf(0.95, 29) * pseudo.std(ddof=1) / np.sqrt(30)
    limits = np.exp(pseudo.mean() + np.array([-width, width]))
    assert table.loc[1, "value"] == pytest.approx(value)
    assert table.loc[1, ["low", "high"]].tolist() == pytest.approx(
        ((limits - 1) / (limits - 1 + size)).tolist()
    )


def test_all_columns_sum_variances():
    table = night_reliability(NIGHTS, SUBJECTS).table
    sums = table.iloc[1:][["between", "within"]].sum()
    assert table.iloc[0][["between", "within"]].tolist() == pytest.approx(sums.tolist())
    turned = night_reliability(NIGHTS @ np.linalg.qr(RNG.standard_normal((3, 3)))[0], SUBJECTS)
    assert turned.table.iloc[0].tolist() == pytest.approx(table.iloc[0].tolist())
    far = night_reliability(1e6 + NIGHTS, SUBJECTS).table
    assert far["value"].tolist() == pytest.approx(table["value"].tolist(), rel=1e-6)


def test_nights_needed():
    judged = night_reliability(TARGETS.ravel(), OF_TARGETS)
    needed = judged.nights_needed(0.8).loc[0]
    assert needed["value"] == 21
    assert np.isinf(needed["high"])
    assert judged.mean_of(21)["value"][0] > 0.8 > judged.mean_of(20)["value"][0]
    with pytest.raises(ValueError, match="between 0 and 1"):
        judged.nights_needed(1.0)
    with pytest.raises(ValueError, match="from 1 on"):
        judged.mean_of(0)


@pytest.mark.parametrize(
    ("X", "groups", "phrase"),
    [
        ([1.0, 2, 3], [0, 1, 2], "3 nights of 3 subjects, 0 of them with several"),
        ([1.0, 2, np.nan], [0, 1, 1], "1 of 3 nights with values that are missing"),
        ([1.0, 2, 3], [0, 1], "names 2 subjects, or None, for 3 nights"),
        ([1.0, 2, 3], None, "groups is None"),
    ],
)
def test_unusable_nights_are_refused(X, groups, phrase):
    with pytest.raises(ValueError, match=phrase):
        night_reliability(X, groups)


def test_recordings_have_to_be_embedded():
    with pytest.raises(TypeError, match="Embed recordings first"):
        night_reliability([{"eeg": None}, {"eeg": None}], groups=[0, 0])


def test_nothing_varies_is_undefined():
    table = night_reliability(np.ones(8), np.repeat(np.arange(4), 2)).table
    assert table[["value", "low", "high"]].isna().all(axis=None)


def test_embedding_tables_are_read():
    nights = make_sleep_cohort(
        3, nights_per_subject=2, hours=0.5, modalities=["ibi"], missing=0, random_state=0
    )
    encoder = Sleep2VecTransformer().fit(nights)
    table = encoder.embed(nights)
    reliability = night_reliability(table)
    assert (reliability.n_subjects, reliability.n_nights, reliability.n_repeated) == (3, 6, 3)
    assert subject_means(table).shape == (3, table.values.shape[1])
    tagged = type(table)(table.X, table.values, table.coverage, table.provenance, None, nights)
    change = visit_change(tagged, visits="night")
    wanted = table.values[1::2].astype(float) - table.values[::2]
    assert np.sort(change.changes.iloc[:, 0]) == pytest.approx(np.sort(wanted[:, 0]))
    with pytest.raises(ValueError, match="names no column"):
        visit_change(table, visits="wave")
    X = EpochSequence(nights)
    epochs = Sleep2VecTransformer().fit(X).embed(X)
    with pytest.raises(ValueError, match="table of 360 epochs"):
        subject_means(epochs)


def test_change_follows_visits():
    table = pd.DataFrame({"sleep": [7.0, 5, 6, 8, 4, 9]})
    dates = pd.to_datetime(["2020-01-02", "2019-01-01", "2020-01-01"] * 2)
    change = visit_change(table, list("aaabbb"), visits=dates)
    assert change.changes["sleep"].to_dict() == {"a": 2.0, "b": 4.0}
    row = change.table.loc["sleep"]
    assert row["value"] == 3.0
    assert row["first"] == 4.5
    assert row["high"] == pytest.approx(3 + student.ppf(0.975, 1) * np.sqrt(2) / np.sqrt(2))


def test_visits_have_an_order():
    words, changes = ["pre", "post"] * 2, [1.0, 3, 2, 5]
    for visits in (words, pd.Categorical(words), pd.Series(words, dtype="string")):
        with pytest.raises(ValueError, match="words have no order in time"):
            visit_change(changes, list("aabb"), visits=visits)
    ordered = pd.Categorical(words, categories=["pre", "post"], ordered=True)
    for visits in (ordered, pd.Series(ordered, index=[3, 2, 1, 0]), np.array([2, 10] * 2, object)):
        assert visit_change(changes, list("aabb"), visits=visits).table["value"][0] == 2.5


def test_negative_correlation_is_unreliable():
    nights = night_reliability([1.0, 5, 2, 4, 3, 3.5, 2.5, 4], list("aabbccdd"))
    assert nights.table["value"][0] < -0.5
    assert nights.mean_of(10)["value"].tolist() == [0.0, 0.0]
    assert nights.mean_of(10)["low"].tolist() == [0.0, 0.0]


def test_visits_are_required_twice():
    with pytest.raises(ValueError, match="1 of 2 subjects have two visits"):
        visit_change([1.0, 2, 3, 4], list("aabb"), visits=[1, 2, 1, 1])
    with pytest.raises(ValueError, match="1 of them missing"):
        visit_change([1.0, 2], list("aa"), visits=[1, np.nan])


def test_means_of_subjects():
    means = subject_means(pd.DataFrame({"x": [1.0, 3, 5]}), groups=["b", "b", "a"])
    assert means["x"].to_dict() == {"b": 2.0, "a": 5.0}
