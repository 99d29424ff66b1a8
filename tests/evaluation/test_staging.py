# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from sleep2vec_sklearn import EpochSequence, Recording, make_sleep_cohort, staging_report
from sleep2vec_sklearn.errors import InvalidRecordingError
from sleep2vec_sklearn.evaluation import merge_stages, sleep_statistics

FEW = {"n_resamples": 100}


@pytest.fixture(scope="module")
def X():
    cohort = make_sleep_cohort(
        3, nights_per_subject=2, hours=1.5, modalities=["ibi"], random_state=1
    )
    return EpochSequence(cohort)


@pytest.fixture(scope="module")
def predicted(X):
    """Every fifth epoch is random."""
    stages = np.array(X.stages)
    stages[::5] = np.random.default_rng(0).integers(0, 5, size=len(stages[::5]))
    return stages


@pytest.fixture(scope="module")
def report(X, predicted):
    return staging_report(X, predicted, **FEW)


def scored(X):
    return X.stages >= 0


def test_agreement_of_scored_epochs(X, predicted, report):
    kappa = cohen_kappa_score(X.stages[scored(X)], predicted[scored(X)])
    assert report.scores.loc["kappa", "value"] == pytest.approx(kappa)
    assert report.confusion.to_numpy().sum() == scored(X).sum()
    lines = repr(report).splitlines()
    assert "6 nights of 3 subjects, 5 classes" in lines[0]
    assert {line.split()[0] for line in lines[2:]} == {"accuracy", "kappa", "macro_f1"}


def test_intervals_include_their_value(report):
    table = report.to_frame().dropna()
    inside = (table["low"] <= table["value"] + 1e-9) & (table["value"] <= table["high"] + 1e-9)
    assert inside[table["part"] == "all"].all()
    assert set(table["part"]) == {"all", "class", "night"}


def test_subjects_of_the_recordings(X, predicted, report):
    assert [*report.by_subject.index] == [*np.unique(X.groups)]
    mine = (X.groups == X.groups[0]) & scored(X)
    expected = cohen_kappa_score(X.stages[mine], predicted[mine])
    assert report.by_subject["kappa"].iloc[0] == pytest.approx(expected)
    mean = report.by_subject["kappa"].mean()
    assert report.scores.loc["kappa", "subject_mean"] == pytest.approx(mean)


def test_nights_have_sleep_statistics(X, predicted, report):
    night = report.nights[report.nights["recording"] == X.recordings[0].id]
    night = night.set_index("measure")
    mine = X.recording_index == 0
    stages = np.where(X.stages[mine] < 0, -1, predicted[mine])
    expected = sleep_statistics(stages, lights=X.recordings[0].lights)
    for measure in ("tst_min", "sol_min", "waso_min", "rem_latency_min", "n3_pct"):
        assert night.loc[measure, "predicted"] == pytest.approx(expected[measure], nan_ok=True)
    assert set(night.columns) == {"recording", "subject", "reference", "predicted", "difference"}


def test_bland_altman_of_all_nights(report):
    differences = report.nights.loc[report.nights["measure"] == "tst_min", "difference"]
    row = report.bland_altman.loc["tst_min"]
    assert row["nights"] == 6
    assert row["bias"] == pytest.approx(differences.mean())
    assert row["upper"] - row["lower"] == pytest.approx(2 * 1.96 * differences.std(), rel=1e-3)


def test_epochs_in_any_order(X, predicted, report):
    rows = np.random.default_rng(0).permutation(np.flatnonzero(scored(X)))
    again = staging_report(X[rows], predicted[rows], **FEW)
    np.testing.assert_allclose(again.scores["value"], report.scores["value"])
    np.testing.assert_allclose(again.nights["predicted"], report.nights["predicted"])


def test_arrays_equal_the_sequence(X, predicted, report):
    names = X.index.get_level_values("recording")
    again = staging_report(X.stages, predicted, groups=X.groups, recordings=names, **FEW)
    np.testing.assert_allclose(again.scores, report.scores)
    assert [*again.nights["recording"].unique()] == [*report.nights["recording"].unique()]
    with pytest.raises(InvalidRecordingError, match="Leave it out"):
        staging_report(X, X.stages, recordings=X.groups)


def test_lights_limit_the_night():
    stages = [0] * 10 + [2] * 50
    night = Recording({"spo2": (np.full(1800, 95.0), 1)}, stages=stages, lights=(150, None))
    nights = staging_report(EpochSequence([night]), stages, **FEW).nights.set_index("measure")
    assert nights.loc["sol_min", "reference"] == 2.5
    dark = staging_report(stages, stages, **FEW).nights.set_index("measure")
    assert dark.loc["sol_min", "reference"] == 5


def test_fewer_classes_merge_both(X, predicted):
    for n_classes, names in ((4, ("W", "light", "N3", "R")), (3, ("W", "NREM", "R"))):
        merged = staging_report(X, predicted, n_classes=n_classes, **FEW)
        assert merged.classes == names
        sides = [merge_stages(s[scored(X)], n_classes) for s in (X.stages, predicted)]
        assert merged.scores.loc["kappa", "value"] == pytest.approx(cohen_kappa_score(*sides))
    assert "nrem_pct" in merged.bland_altman.index


def test_stages_may_be_names():
    report = staging_report(["W", "N2", "REM", "N3"], ["W", "N2", "R", "N2"], **FEW)
    assert report.scores.loc["accuracy", "value"] == 0.75
    assert np.isnan(report.scores["low"]).all()
    assert "at least two subjects" in repr(report)
    with pytest.raises(ValueError, match="one of 5, 4, 3"):
        merge_stages([0, 1], 2)


def test_missing_predictions_are_counted(X, predicted):
    holes = predicted.copy()
    holes[np.flatnonzero(scored(X))[:7]] = -1
    report = staging_report(X, holes, **FEW)
    assert report.n_unpredicted == 7
    assert "7 not predicted" in repr(report)


def test_perfect_predictions_score_one(X):
    report = staging_report(X, X.stages, **FEW)
    assert report.scores.loc["kappa", ["value", "low", "high"]].tolist() == [1, 1, 1]
    assert (report.nights["difference"].dropna() == 0).all()
    report = staging_report([2] * 6, [2] * 6, groups=list("aabbcc"), recordings=list("aabbcc"))
    assert np.isnan(report.scores.loc["kappa", "value"])
    assert report.scores.loc["accuracy", "value"] == 1


@pytest.mark.parametrize(
    ("y_true", "y_pred", "names", "message"),
    [([0, 1, 2], [0, 1], {}, "y_true has 3 epochs, but y_pred has 2"),
     ([0, 9], [0, 1], {}, "unknown sleep stage '9'"),
     ([-1, -1], [0, 1], {}, "none of the 2 epochs"),
     ([0, 1], [0, 1], {"groups": ["a", "b"], "recordings": ["n", "n"]}, "one subject per night")],
)  # fmt: skip
def test_invalid_epochs_are_refused(y_true, y_pred, names, message):
    with pytest.raises(InvalidRecordingError, match=message):
        staging_report(y_true, y_pred, **names)
