# SPDX-License-Identifier: BSD-3-Clause
import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    RegressorMixin,
    clone,
    is_classifier,
    is_regressor,
)
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sleep2vec_sklearn import EpochSequence, Recording
from sleep2vec_sklearn.errors import InvalidRecordingError, LeakageWarning, RecordingWarning
from sleep2vec_sklearn.evaluation import (
    BaselineComparison,
    DemographicBaseline,
    compare_with_baseline,
)

RNG = np.random.default_rng(3)
N = 90
AGE, LEVEL = RNG.normal(55, 8, N), RNG.normal(93, 2, N)
NIGHTS = [
    Recording({"spo2": (np.full(30, level), 1)}, metadata={"age": age}, subject=number)
    for number, (age, level) in enumerate(zip(AGE, LEVEL, strict=True))
]
RISK = 0.25 * (AGE - 55) - 1.2 * (LEVEL - 93)
ILL = (RISK + RNG.logistic(size=N) > 0).astype(int)
SIGNAL = {"spo2": ([95.0] * 60, 1)}


def mean_spo2(X):
    return np.array([[night["spo2"].mean()] for night in X])


class LevelClassifier(ClassifierMixin, BaseEstimator):
    """Reads the recording and nothing else."""

    def fit(self, X, y):
        self.head_ = LogisticRegression().fit(mean_spo2(X), y)
        self.classes_ = self.head_.classes_
        return self

    def predict(self, X):
        return self.head_.predict(mean_spo2(X))

    def predict_proba(self, X):
        return self.head_.predict_proba(mean_spo2(X))


class LevelRegressor(RegressorMixin, BaseEstimator):
    def fit(self, X, y):
        self.head_ = LinearRegression().fit(mean_spo2(X), y)
        return self

    def predict(self, X):
        return self.head_.predict(mean_spo2(X))


@pytest.fixture(scope="module")
def compared():
    return compare_with_baseline(LevelClassifier(), NIGHTS, ILL, n_resamples=100)


def test_both_are_better_than_either(compared):
    value = compared.scores["value"].droplevel("metric")
    assert value["both"] > max(value["estimator"], value["baseline"])
    assert compared.differences.loc[("both", "roc_auc"), "low"] > 0
    assert compared.reference == "baseline"


def test_uninformative_recording_adds_nothing():
    by_age = (AGE + RNG.normal(0, 4, N) > 55).astype(int)
    comparison = compare_with_baseline(LevelClassifier(), NIGHTS, by_age, n_resamples=100)
    row = comparison.differences.loc[("both", "roc_auc")]
    assert row["low"] < 0.02
    assert abs(row["difference"]) < 0.1


def test_numbers_are_compared():
    target = RISK + RNG.normal(size=N)
    comparison = compare_with_baseline(LevelRegressor(), NIGHTS, target, n_resamples=100)
    assert comparison.differences.loc[("both", "neg_mean_absolute_error"), "low"] > 0


def test_weights_of_held_out_subjects():
    class Memorising(LevelClassifier):
        """Knows the outcome of every subject it was fitted to."""

        def fit(self, X, y):
            self.seen_ = dict(zip((night.subject for night in X), y, strict=True))
            return super().fit(X, y)

        def predict_proba(self, X):
            p = np.array([self.seen_.get(night.subject, 0.5) for night in X])
            return np.stack([1 - p, p], axis=1)

    both = BaselineComparison(Memorising(), DemographicBaseline(), random_state=0)
    of_memory, of_baseline = both.fit(NIGHTS, ILL).weights_.coef_[0]
    assert abs(of_memory) < 0.1 * of_baseline


def test_weights_of_held_out_groups():
    class Remembering(LevelClassifier):
        """Knows the outcome of each family that it was fitted to."""

        def fit(self, X, y):
            self.seen_ = dict(zip((night.metadata["family"] for night in X), y, strict=True))
            return super().fit(X, y)

        def predict_proba(self, X):
            p = np.array([self.seen_.get(night.metadata["family"], 0.5) for night in X])
            return np.stack([1 - p, p], axis=1)

    families = np.arange(N) // 2
    ill = np.repeat(ILL[::2], 2)
    nights = [
        Recording({"spo2": (n["spo2"], 1)}, metadata={"age": 50 + 9 * i + x, "family": family})
        for n, x, i, family in zip(NIGHTS, LEVEL - 93, ill, families, strict=True)
    ]
    both = BaselineComparison(Remembering(), DemographicBaseline(), random_state=0)
    of_memory, of_baseline = both.fit(nights, ill, families).weights_.coef_[0]
    assert abs(of_memory) < 0.1 * of_baseline
    comparison = compare_with_baseline(Remembering(), nights, ill, families, n_resamples=20)
    assert comparison.scores.loc[("both", "roc_auc"), "value"] > 0.95
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        both.fit(nights, ill, families[1:])


def test_kind_follows_the_estimators():
    both = BaselineComparison(LevelClassifier(), DemographicBaseline())
    assert clone(both).get_params().keys() == both.get_params().keys()
    fitted = both.fit(NIGHTS, np.where(ILL, "ill", "well"))
    assert fitted.classes_.tolist() == ["ill", "well"]
    assert fitted.predict_proba(NIGHTS[:4]).shape == (4, 2)
    numbers = BaselineComparison(LevelRegressor(), DemographicBaseline("regressor"))
    assert numbers.fit(NIGHTS, RISK).predict(NIGHTS).shape == (N,)
    assert not hasattr(numbers, "predict_proba")


def test_nights_of_subjects_stay_together():
    nights = [Recording({"spo2": (n["spo2"], 1)}, metadata=n.metadata, subject=i // 2)
              for i, n in enumerate(NIGHTS)]  # fmt: skip
    with pytest.warns(LeakageWarning, match="90 nights of 45 subjects") as caught:
        comparison = compare_with_baseline(LevelClassifier(), nights, ILL, n_resamples=20)
    assert len(caught) == 1
    assert (comparison.fold[::2] == comparison.fold[1::2]).all()


@pytest.fixture(scope="module")
def nights():
    rng = np.random.default_rng(0)
    ages, bmis = 40 + 20 * rng.random(80), 25 + rng.normal(size=80)
    known = [{"age": a, "sex": "FM"[i % 2], "bmi": bmis[i]} for i, a in enumerate(ages)]
    return [Recording(SIGNAL, metadata=metadata, subject=i) for i, metadata in enumerate(known)]


@pytest.fixture(scope="module")
def ill(nights):
    noise = np.random.default_rng(1).normal(size=80)
    return np.array([night.metadata["age"] for night in nights]) + 2 * noise > 50


def test_regressor_predicts_numbers(nights):
    age = [night.metadata["age"] for night in nights]
    model = DemographicBaseline("regressor", penalty=1e-6).fit(nights, age)
    np.testing.assert_allclose(model.predict(nights), age, rtol=1e-3)
    assert model.score(nights, age) == pytest.approx(1)
    assert is_regressor(model)
    assert not hasattr(model, "classes_")


def test_classifier_by_default(nights, ill):
    assert is_classifier(DemographicBaseline())
    model = DemographicBaseline().fit(nights, np.where(ill, "ill", "well"))
    assert model.classes_.tolist() == ["ill", "well"]
    assert model.predict_proba(nights).shape == (80, 2)
    assert set(model.predict(nights)) <= {"ill", "well"}
    assert cross_val_score(DemographicBaseline(), nights, ill, scoring="roc_auc").mean() > 0.9


def test_missing_values_are_imputed(nights, ill):
    holes = [
        Recording(SIGNAL, metadata={**n.metadata, "bmi": None} if i % 3 else {"sex": "F"})
        for i, n in enumerate(nights)
    ]
    model = DemographicBaseline().fit(holes, ill)
    assert model.fields_ == ("age", "sex")
    assert np.isfinite(model.predict_proba([*holes, SIGNAL])).all()
    assert roc_auc_score(ill, model.predict_proba(holes)[:, 1]) > 0.7


def test_epochs_share_their_metadata(nights, ill):
    X = EpochSequence(nights)
    model = DemographicBaseline().fit(X, np.repeat(ill, 2))
    p = model.predict_proba(X)
    np.testing.assert_array_equal(p[::2], p[1::2])
    with pytest.raises(InvalidRecordingError, match=r"'age' or 'sex' or 'bmi'.*has site"):
        DemographicBaseline().fit([Recording(SIGNAL, metadata={"site": "a"})] * 2, [0, 1])


RACES = np.array(["a", "b", "c"])[np.arange(N) % 3]
RACED = [
    Recording(
        {"spo2": (n["spo2"], 1)},
        metadata={"age": n.metadata["age"], "race": race if i % 5 else None, "all": 1, "ill": ill},
        subject=i,
    )
    for i, (n, race, ill) in enumerate(zip(NIGHTS, RACES, ILL, strict=True))
]


def test_categories_are_covariates():
    by_race = (RACES == "a") | (np.arange(N) % 10 == 4)
    comparison = compare_with_baseline(
        LevelClassifier(), RACED, by_race, covariates=["age", "race"], cv=2, n_resamples=50
    )
    assert comparison.scores.loc[("baseline", "roc_auc"), "value"] > 0.7
    model = DemographicBaseline(fields=["age", "race"]).fit(RACED, by_race)
    assert model.model_[0].categories_ == {"race": ("a", "b", "c", "missing")}
    # a missing category is one of its own, so nothing is imputed but the age
    assert model.model_[-1].coef_.shape == (1, 5)
    other = Recording(SIGNAL, metadata={"age": 50, "race": "d"})
    with pytest.warns(RecordingWarning, match="race has 'd' in 1 recordings"):
        model.predict_proba([other])
    model.set_params(handle_unknown="error").fit(RACED, by_race)
    with pytest.raises(InvalidRecordingError, match="race has 'd'"):
        model.predict_proba([other])


def test_codes_of_baseline_are_declared():
    coded = [
        Recording(SIGNAL, metadata={"race": "abc".index(race)}, subject=i)
        for i, race in enumerate(RACES)
    ]
    is_middle = RACES == "b"
    scores = [
        DemographicBaseline(fields=["race"], categorical=codes).fit(coded, is_middle)
        .score(coded, is_middle)
        for codes in ([], ["race"])
    ]  # fmt: skip
    assert scores == [pytest.approx(2 / 3), 1]
    with pytest.raises(ValueError, match=r"categorical is \['site'\]"):
        DemographicBaseline(fields=["race"], categorical=["site"]).fit(coded, is_middle)


def test_joint_model_reads_both():
    model = make_pipeline(FunctionTransformer(mean_spo2), LogisticRegression())
    comparison = compare_with_baseline(
        model, RACED, ILL, covariates=["age", "race"], combine="joint", cv=3, n_resamples=50
    )
    value = comparison.scores["value"].droplevel("metric")
    assert value["both"] > max(value["estimator"], value["baseline"])


def test_joint_model_by_hand():
    model = make_pipeline(FunctionTransformer(mean_spo2), LogisticRegression())
    options = {"cv": GroupKFold(3), "covariates": ["age"], "n_resamples": 50}
    joint = compare_with_baseline(model, NIGHTS, ILL, combine="joint", **options)
    by_hand = make_pipeline(
        ColumnTransformer([("age", StandardScaler(), [1])], remainder="passthrough"),
        LogisticRegression(),
    )
    columns = np.column_stack([LEVEL, AGE])
    expected = cross_val_predict(
        by_hand, columns, ILL, groups=range(N), cv=GroupKFold(3), method="predict_proba"
    )
    np.testing.assert_allclose(joint.predictions["both"]["predict_proba"], expected, rtol=1e-4)


@pytest.mark.parametrize("combine", ["stacked", "joint"])
def test_fields_are_those_of_training(combine):
    rare = [Recording({"spo2": (n["spo2"], 1)}, metadata=n.metadata, subject=i)
            for i, n in enumerate(NIGHTS)]  # fmt: skip
    rare[0] = Recording({"spo2": (NIGHTS[0]["spo2"], 1)}, metadata={"age": AGE[0], "bmi": 25},
                        subject=0)  # fmt: skip
    model = make_pipeline(FunctionTransformer(mean_spo2), LogisticRegression())
    options = {"combine": combine, "cv": GroupKFold(3), "n_resamples": 20}
    stated = compare_with_baseline(model, rare, ILL, **options)
    without = compare_with_baseline(model, NIGHTS, ILL, **options)
    # the fold in which the subject is tested knows of no bmi
    tested = stated.fold == stated.fold[0]
    for name in ("baseline", "both"):
        np.testing.assert_allclose(
            stated.predictions[name]["predict_proba"][tested],
            without.predictions[name]["predict_proba"][tested],
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [({"covariates": ["ill"]}, "'ill', which is y itself or y in other words"),
     ({"covariates": ["age", "all"]}, "'all', which is the same in all 90 rows"),
     ({"covariates": ["bim"]}, "'bim', which no recording states; their metadata has age, all"),
     ({"covariates": "age"}, "covariates is 'age'; accepted is a list"),
     ({"covariates": []}, r"covariates is \[\]"),
     ({"covariates": ["age"], "baseline": DemographicBaseline()}, "both given"),
     ({"combine": "both"}, "accepted are 'stacked' and 'joint'"),
     ({"combine": "joint"}, "estimator of type LevelClassifier and a baseline of type Demog")],
)  # fmt: skip
def test_unusable_covariates_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        compare_with_baseline(LevelClassifier(), RACED, ILL, **options)


def test_outcome_in_other_words():
    y = pd.Series(AGE > 55, name="age")
    with pytest.raises(InvalidRecordingError, match="'age', which is y itself"):
        compare_with_baseline(LevelClassifier(), RACED, y, covariates=["age"])
    with pytest.raises(InvalidRecordingError, match="'age', which is y itself"):
        compare_with_baseline(LevelRegressor(), RACED, 2 * AGE + 1, covariates=["age"])
    with pytest.raises(ValueError, match="y has no label"):
        compare_with_baseline(LevelClassifier(), RACED, [None, *ILL[1:]], covariates=["age"])


@pytest.mark.parametrize(
    ("name", "value"), [("kind", "ranker"), ("penalty", -1), ("handle_unknown", 0)]
)
def test_invalid_parameters_are_refused(nights, ill, name, value):
    with pytest.raises(ValueError, match=f"'{name}' parameter of DemographicBaseline"):
        DemographicBaseline(**{name: value}).fit(nights, ill)


def test_scikit_learn_conventions(nights, ill):
    model = DemographicBaseline(penalty=2.0, fields=("age",))
    assert clone(model).get_params() == model.get_params()
    with pytest.raises(NotFittedError):
        model.predict(nights)
    again = pickle.loads(pickle.dumps(model.fit(nights, ill)))
    np.testing.assert_array_equal(again.predict_proba(nights), model.predict_proba(nights))
