# SPDX-License-Identifier: BSD-3-Clause
import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.exceptions import FitFailedWarning
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, RidgeClassifier
from sklearn.model_selection import GroupKFold, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sleep2vec_sklearn import Sleep2VecTransformer, make_sleep_cohort
from sleep2vec_sklearn.errors import RecordingWarning
from sleep2vec_sklearn.evaluation import phenome_scan, survival_outcome

N = 120
RNG = np.random.default_rng(0)
X, AGE = RNG.standard_normal((N, 3)), RNG.normal(60, 9, N)
TIME = RNG.exponential(np.exp(-X[:, 0]))
OUTCOMES = {
    "stroke": np.where(X[:, 0] + RNG.logistic(size=N) / 2 > 0, "yes", "no"),
    "bmi": 27 + 2 * X[:, 0] + RNG.normal(0, 2, N),
    "death": survival_outcome(TIME < 1, np.minimum(TIME, 1)),
    "chance": RNG.integers(0, 2, N),
}
HEADS = {"binary": RidgeClassifier(), "numeric": LinearRegression()}


def scan(outcomes=OUTCOMES, estimator=None, rows=X, n_resamples=0, **parameters):
    parameters = {"covariates": AGE, "heads": HEADS} | parameters
    return phenome_scan(estimator, rows, outcomes, n_resamples=n_resamples, **parameters)


class Counting(BaseEstimator):
    """A head that counts its fits; it refuses targets that are never above 100."""

    fits = 0

    def fit(self, X, y):
        type(self).fits += 1
        if y.max() > 100:
            raise RuntimeError("diverged")
        self.model_ = LinearRegression().fit(X, y)
        return self

    def predict(self, X):
        return self.model_.predict(X)


@pytest.fixture
def counting(monkeypatch):
    monkeypatch.setattr(Counting, "fits", 0)
    return {"numeric": Counting()}


@pytest.fixture(scope="module")
def scanned():
    return scan(n_resamples=60, heads=None)


def test_effects_are_found(scanned):
    table = scanned.to_frame().set_index("outcome")
    assert table.index[table["p_bonferroni"] < 0.01].tolist() == ["stroke", "bmi", "death"]
    assert table["kind"].tolist() == ["binary", "numeric", "survival", "binary"]
    assert table.loc["chance", "p_value"] > 0.05
    assert (table["estimate"] / table["std_error"])["stroke"] > 2.5
    np.testing.assert_allclose(
        table["p_bonferroni"], np.minimum(table["p_value"] * 4, 1), rtol=1e-12
    )


def test_scores_have_intervals(scanned):
    table = scanned.to_frame().set_index("outcome")
    assert table["metric"].tolist() == ["roc_auc", "r2", "harrell", "roc_auc"]
    assert ((table["low"] < table["score"]) & (table["score"] < table["high"])).all()
    assert (table["gain_low"][["stroke", "bmi", "death"]] > 0).all()
    assert (table["gain_low"] < table["gain"]).all()
    assert "p_value" in scanned.to_markdown()
    assert "3 by Bonferroni" in repr(scanned)


def test_no_covariates_no_gain():
    table = scan({"bmi": OUTCOMES["bmi"]}, covariates=None, n_resamples=20).table
    assert table["gain"].isna().all()
    assert table["low"].notna().all()
    assert table["p_value"].max() < 0.001


def test_unusable_outcomes_are_listed():
    dates = pd.date_range("2020-01-01", periods=N)
    unusable = {
        "region": np.resize(["a", "b", "c"], N), "all": np.ones(N), "rare": np.arange(N) < 3,
        "nobody": survival_outcome(np.zeros(N), TIME), "when": dates, "none": np.full(N, np.nan),
        "ages": np.where(np.arange(N) == 0, -1, TIME), "bmi": OUTCOMES["bmi"],
        "past": pd.DataFrame({"event": np.ones(N), "time": TIME - 5}),
    }  # fmt: skip
    result = scan(unusable, kinds={"ages": "binary"})
    reasons = result.not_tested.set_index("outcome")["reason"]
    words = {
        "region": "text of 3 values, such as 'a'", "all": "constant", "rare": "3 rows of the rarer",
        "nobody": "0 events, fewer than 10", "when": "dates", "none": "no value is known",
        "ages": "kind is binary, and there are", "past": "times are not above zero",
    }  # fmt: skip
    assert {name: word in reasons[name] for name, word in words.items()} == dict.fromkeys(
        words, True
    )
    assert result.tested["outcome"].tolist() == ["bmi"]
    assert result.tested["p_bh"].item() == result.tested["p_value"].item()


def test_events_are_of_subjects():
    subjects = np.arange(N) // 4
    rare = subjects < 5
    outcomes = {"rare": rare, "death": survival_outcome(rare, TIME[subjects])}
    reasons = scan(outcomes, groups=subjects).not_tested["reason"]
    assert reasons[0] == "5 subjects with rows of the rarer class, fewer than 10"
    assert reasons[1] == "5 subjects with events, fewer than 10"


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_saw_subjects_is_refused():
    frozen = FrozenEstimator(LinearRegression().fit(X, OUTCOMES["bmi"]))
    for heads in ({"estimator": frozen}, {"heads": {"numeric": make_pipeline(frozen)}}):
        with pytest.raises(ValueError, match=r"frozen \(LinearRegression\)"):
            scan(**heads)
    with pytest.warns(FitFailedWarning, match="1 of 1 outcomes"):
        divided = scan({"bmi": OUTCOMES["bmi"]}, groups=np.tile(np.arange(60), 2), cv=KFold(2))
    assert "of 60 subjects (0, 1, 2) in several folds" in divided.not_tested["reason"][0]


def test_missing_rows_are_left_out():
    bmi = OUTCOMES["bmi"].copy()
    bmi[:30] = np.nan
    table = scan({"bmi": bmi, "stroke": pd.Series(OUTCOMES["stroke"]).where(TIME > 0.2)}).table
    assert table["n"].tolist() == [90, (TIME > 0.2).sum()]
    fewer = scan({"bmi": bmi[30:]}, rows=X[30:], covariates=AGE[30:]).table
    assert fewer["p_value"][0] == pytest.approx(table["p_value"][0])


def test_survival_columns_are_paired():
    table = pd.DataFrame({"died": TIME < 1, "years": np.minimum(TIME, 1)})
    paired = scan(table, survival={"death": ("died", "years")}).table
    assert paired["outcome"].tolist() == ["death"]
    assert paired["p_value"][0] == scan({"death": OUTCOMES["death"]}).table["p_value"][0]
    with pytest.raises(ValueError, match="accepted are columns of outcomes"):
        scan(table, survival={"death": ("died", "months")})


def test_error_keeps_other_outcomes(counting, tmp_path):
    outcomes = {"large": 1000 + X[:, 0], "bmi": OUTCOMES["bmi"]}
    with pytest.warns(FitFailedWarning, match="1 of 2 outcomes raised an error"):
        result = scan(outcomes, heads=counting, path=tmp_path)
    assert result.not_tested["reason"].tolist() == ["RuntimeError: diverged"]
    assert result.tested["outcome"].tolist() == ["bmi"]


def test_finished_outcomes_are_kept(counting, tmp_path):
    outcomes = {"a": OUTCOMES["bmi"], "b": X[:, 1] + RNG.normal(size=N)}
    first = scan(outcomes, heads=counting, path=tmp_path)
    assert Counting.fits == 10
    again = scan(outcomes, heads=counting, path=tmp_path)
    pd.testing.assert_frame_equal(again.table, first.table)
    assert Counting.fits == 10
    scan(outcomes | {"b": -outcomes["b"]}, heads=counting, path=tmp_path)
    assert Counting.fits == 15
    scan(outcomes, heads=counting, path=tmp_path, covariates=None)
    assert Counting.fits == 25


def test_damaged_record_is_replaced(counting, tmp_path):
    outcomes = {"a": OUTCOMES["bmi"]}
    first = scan(outcomes, heads=counting, path=tmp_path)
    (tmp_path / "a.json").write_text("{")
    again = scan(outcomes, heads=counting, path=tmp_path)
    pd.testing.assert_frame_equal(again.table, first.table)
    assert Counting.fits == 10


def test_workers_change_nothing():
    with joblib.parallel_backend("threading"):
        parallel = scan(n_jobs=2, permutations={"bmi": 3}).table
    pd.testing.assert_frame_equal(parallel, scan(permutations={"bmi": 3}).table)


def test_generators_start_anew():
    cv = GroupKFold(3, shuffle=True, random_state=np.random.RandomState(0))
    chance = {"alone": OUTCOMES["chance"]}
    together = scan({"bmi": OUTCOMES["bmi"]} | chance, cv=cv).table
    assert scan(chance, cv=cv).table["p_value"][0] == together["p_value"][1]


def test_rows_are_made_once():
    calls = []

    def encode(rows):
        calls.append(len(rows))
        return rows * 2

    encoder = FunctionTransformer(encode)
    with_head = make_pipeline(encoder, RidgeClassifier(alpha=50))
    result = scan(estimator=with_head, heads=None).table
    assert calls == [N]
    expected = scan(rows=2 * X, heads={"binary": RidgeClassifier(alpha=50)}).table
    np.testing.assert_allclose(result["p_value"], expected["p_value"])


def test_embeddings_are_kept(monkeypatch, tmp_path):
    cohort = make_sleep_cohort(12, hours=0.5, modalities=["ibi"], random_state=0)
    asked = {"rows": cohort.by_subject(), "covariates": ["age"], "path": tmp_path, "cv": 2}
    encoder, outcomes = Sleep2VecTransformer(), {"ahi": cohort.metadata["ahi"]}
    first = scan(outcomes, encoder, **asked)
    monkeypatch.setattr(Sleep2VecTransformer, "transform", None)
    monkeypatch.setattr(Sleep2VecTransformer, "fit_transform", None)
    second = scan(outcomes | {"bmi": cohort.metadata["bmi"]}, encoder, **asked)
    assert second.table["p_value"][0] == first.table["p_value"][0]
    assert second.table["n"].tolist() == [12, 12]


def test_permutation_gives_p_value():
    table = scan(permutations={"bmi": 19, "chance": 19}).table.set_index("outcome")
    assert table.loc["bmi", "p_permutation"] == 1 / 20
    assert table.loc["chance", "p_permutation"] > 0.05
    assert np.isnan(table.loc["stroke", "p_permutation"])


def test_confounder_explains_score():
    age = (AGE - 60) / 9
    rows = np.column_stack([age + RNG.normal(0, 0.3, N), X[:, 1]])
    outcome = {"frail": age + RNG.normal(0, 0.7, N)}
    assert scan(outcome, rows=rows, covariates=None).table["p_value"][0] < 1e-6
    assert scan(outcome, rows=rows, covariates=AGE).table["p_value"][0] > 0.05


def test_covariates_take_categories():
    table = pd.DataFrame({"age": AGE, "race": np.resize(["a", "b", None], N)})
    table.loc[3, "age"] = np.nan
    assert scan({"bmi": OUTCOMES["bmi"]}, covariates=table).table["p_value"][0] < 1e-3
    with pytest.raises(ValueError, match="covariates has 119 rows for 120"):
        scan(covariates=table[1:])
    with pytest.raises(ValueError, match="accepted is a list"):
        scan(covariates="age")


def test_rows_without_embedding_warn():
    rows = X.copy()
    rows[:5] = np.nan
    with pytest.warns(RecordingWarning, match="5 of 120 rows have no embedding"):
        assert scan({"bmi": OUTCOMES["bmi"]}, rows=rows).table["n"].tolist() == [115]


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"heads": {"count": 1}}, "heads has 'count'"),
        ({"kinds": {"bmi": "count"}}, "kinds has 'count'"),
        ({"kinds": {"weight": "numeric"}}, "kinds has 'weight', which is no outcome"),
        ({"permutations": {"weight": 9}}, "permutations has 'weight'"),
        ({"n_resamples": -1}, "n_resamples"),
        ({"outcomes": {}}, "at least one column"),
        ({"outcomes": {"a": [1, 2]}}, "2 values for 120 rows"),
        ({"outcomes": {1: AGE, "1": AGE}}, "outcomes has '1' twice"),
        (
            {"outcomes": pd.DataFrame([[1, 2]] * N, columns=["bmi", "bmi"])},
            "outcomes has 'bmi' twice",
        ),
        ({"survival": [("died", "years")]}, "'survival' parameter"),
    ],
)
def test_parameters_are_checked(parameters, words):
    with pytest.raises(ValueError, match=words):
        scan(**parameters)


def test_rows_have_to_be_numbers():
    with pytest.raises(TypeError, match="no array of numbers"):
        scan(rows=np.full((N, 1), "a"))
    with pytest.raises(TypeError, match="outcomes is list"):
        scan([1])
