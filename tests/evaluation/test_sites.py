# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import cross_val_score, cross_validate

from sleep2vec_sklearn import EpochSequence, make_sleep_cohort
from sleep2vec_sklearn.errors import OutcomeWarning
from sleep2vec_sklearn.evaluation import LeaveOneSiteOut, compare_estimators, site_report

RNG = np.random.default_rng(0)
SITES = np.repeat(["bath", "hull", "york"], 40)
X = RNG.standard_normal((120, 2))
Y = (X[:, 0] + RNG.standard_normal(120) > 0).astype(int)


def test_subjects_of_two_sites():
    sites, subjects = ["a", "a", "b", "b", "c"], [1, 2, 2, 3, 4]
    folds = LeaveOneSiteOut(sites, min_subjects=1).split(np.zeros(5), groups=subjects)
    assert [(train.tolist(), test.tolist()) for train, test in folds] == [
        ([3, 4], [0, 1]), ([0, 4], [2, 3]), ([0, 1, 2, 3], [4]),
    ]  # fmt: skip


def test_sites_of_recordings():
    nights = make_sleep_cohort(
        4, nights_per_subject=2, hours=0.5, modalities=["ibi"], site_kinds=["laboratory"],
        random_state=0,
    )  # fmt: skip
    cv = LeaveOneSiteOut()
    epochs = EpochSequence(nights)
    assert cv.get_n_splits(epochs) == 2
    for train, test in cv.split(epochs):
        assert len({epochs.recordings[epochs.recording_index[i]].metadata["site"] for i in test})
        assert not set(epochs.groups[train]) & set(epochs.groups[test])
    subjects = nights.by_subject()
    assert [len(test) for _, test in cv.split(subjects)] == [2, 2]


def test_composes_with_scikit_learn():
    cv = LeaveOneSiteOut(SITES)
    scores = cross_val_score(LogisticRegression(), X, Y, groups=np.arange(120), cv=cv)
    assert len(scores) == cv.get_n_splits() == 3
    with config_context(enable_metadata_routing=True):
        routed = cross_validate(
            LogisticRegression(), X, Y, cv=cv, params={"groups": np.arange(120)}
        )
    assert routed["test_score"].tolist() == scores.tolist()
    models = {"one": LogisticRegression(), "two": LogisticRegression(C=1e-3)}
    comparison = compare_estimators(models, X, Y, cv=cv, n_resamples=20)
    assert comparison.fold.tolist() == np.repeat([0, 1, 2], 40).tolist()


def test_small_sites():
    sites = SITES.astype(object)
    sites[:2] = ["leeds", "poole"]
    with pytest.raises(ValueError, match="'leeds' of 1, 'poole' of 1"):
        next(LeaveOneSiteOut(sites).split(X))
    pooled = list(LeaveOneSiteOut(sites, small="pool").split(X))
    assert [0, 1] in [test.tolist() for _, test in pooled]
    assert len(pooled) == 4
    sites[0] = "bath"
    with pytest.raises(ValueError, match="fewer than 2 subjects: 'poole' of 1"):
        next(LeaveOneSiteOut(sites, small="pool").split(X))


@pytest.mark.parametrize(
    ("sites", "options", "phrase"),
    [
        ("site", {}, "X holds no recordings"),
        (["a"] * 120, {}, "all 120 rows are tested as the site 'a'"),
        (["a", "b"], {}, "2 elements, 0 of them missing, for 120 rows"),
        ([None, *SITES[1:]], {}, "120 elements, 1 of them missing"),
        (SITES, {"small": "drop"}, "'small' parameter"),
        (np.arange(120), {}, "'101' of 1 and 115 more; no interval"),
    ],
)
def test_unusable_sites_are_refused(sites, options, phrase):
    with pytest.raises(ValueError, match=phrase):
        list(LeaveOneSiteOut(sites, **options).split(X))


def test_nobody_left_to_train():
    cv = LeaveOneSiteOut(["a", "b", "a", "b"])
    with pytest.raises(ValueError, match="nobody is left to train on"):
        list(cv.split(np.zeros(4), groups=[1, 1, 2, 2]))
    with pytest.raises(ValueError, match="Pass X"):
        LeaveOneSiteOut().get_n_splits()


def test_report_scores_held_out_sites():
    report = site_report(LogisticRegression(), X, Y, sites=SITES, n_resamples=100)
    scores = cross_val_score(
        LogisticRegression(), X, Y, cv=LeaveOneSiteOut(SITES), scoring="roc_auc"
    )
    assert report.table["value"].iloc[:3].tolist() == pytest.approx(scores.tolist())
    assert report.spread == pytest.approx(np.ptp(scores))
    assert report.table["subjects"].tolist() == [40, 40, 40, 120, 120]
    mean, new = report.table.loc["mean of sites"], report.table.loc["new site"]
    assert new["low"] < mean["low"] < mean["value"] < mean["high"] < new["high"]
    assert "mean of sites" in report.to_markdown()


def test_sites_combine_as_published():
    # the random-effects mean of DerSimonian & Laird by their formulas, at sites that differ
    y = X @ [1.0, 1.0] + np.repeat([0.2, 1.0, 4.0], 40) * RNG.standard_normal(120)
    report = site_report(Ridge(), X, y, sites=SITES, n_resamples=200)
    sites = report.table.iloc[:3]
    value, variance = sites["value"].to_numpy(), sites["standard_error"].to_numpy() ** 2
    w = 1 / variance
    q = (w * (value - (w * value).sum() / w.sum()) ** 2).sum()
    tau2 = (q - 2) / (w.sum() - (w**2).sum() / w.sum())
    assert report.tau == pytest.approx(np.sqrt(tau2))
    assert report.i2 == pytest.approx(1 - 2 / q)
    both = 1 / (variance + tau2)
    mean = (both * value).sum() / both.sum()
    assert report.table.loc["mean of sites", "value"] == pytest.approx(mean)
    # Hartung & Knapp: quantile 4.303 of Student's t with 2 degrees of freedom
    error = np.sqrt(max(1.0, (both * (value - mean) ** 2).sum() / 2) / both.sum())
    low = report.table.loc["mean of sites", "low"]
    assert low == pytest.approx(mean - 4.3026527 * error)


def test_perfect_site_is_not_certain():
    rows, sites, y = (
        np.vstack([X, [[-9.0, 0]] * 3, [[9.0, 0]] * 3]),
        np.append(SITES, ["tiny"] * 6),
        np.append(Y, [0] * 3 + [1] * 3),
    )
    report = site_report(LogisticRegression(), rows, y, sites=sites, n_resamples=100)
    assert report.table.loc["tiny", ["value", "standard_error"]].tolist() == [1, 0]
    # six subjects weigh less than the three sites of forty, each of whom is more certain
    others = report.table["value"].iloc[[0, 1, 3]].mean()
    assert report.table.loc["mean of sites", "value"] < 0.85 * others + 0.15


def test_undefined_site_is_listed():
    y = np.where(SITES == "hull", 0, Y)
    with pytest.warns(OutcomeWarning, match=r"undefined at 1 of 3 sites \(hull\)"):
        report = site_report(LogisticRegression(), X, y, sites=SITES, n_resamples=50)
    assert np.isnan(report.table.loc["hull", "value"])
    assert np.isnan(report.table.loc["new site", "low"])
    assert isinstance(report.to_frame(), pd.DataFrame)
    with pytest.raises(ValueError, match="names 2 scores"):
        site_report(Ridge(), X, y, sites=SITES, scoring=["r2", "neg_mean_absolute_error"])
