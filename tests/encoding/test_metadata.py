# SPDX-License-Identifier: BSD-3-Clause
import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError

from sleep2vec_sklearn import EpochSequence, Recording, RecordingMetadata, make_sleep_cohort
from sleep2vec_sklearn.errors import InvalidRecordingError, RecordingWarning
from sleep2vec_sklearn.recordings import Cohort

KNOWN = {"age": 61, "sex": "F", "site": "north"}


def night(metadata, **details):
    return Recording({"actigraphy": np.ones(60)}, metadata=metadata, **details)


def columns_of(X, **parameters):
    return RecordingMetadata(**parameters).fit_transform(X)


def test_age_sex_site_are_columns():
    X = [night(KNOWN), night({"age": 40.5, "sex": "M", "site": "south"})]
    covariates = RecordingMetadata().fit(X)
    np.testing.assert_array_equal(covariates.transform(X), [[61, 0, 1, 0], [40.5, 1, 0, 1]])
    assert covariates.get_feature_names_out().tolist() == ["age", "sex", "site_north", "site_south"]


def test_missing_nan_and_unseen_zero():
    fitted = RecordingMetadata().fit([night(KNOWN)])
    fitted.set_params(handle_unknown="ignore")
    rows = fitted.transform([night({}), night({"site": "elsewhere"}), {"actigraphy": np.ones(60)}])
    np.testing.assert_array_equal(rows, [[np.nan] * 3, [np.nan, np.nan, 0], [np.nan] * 3])
    assert np.isnan(columns_of([night(KNOWN), {"eeg": None}])[1]).all()


@pytest.mark.parametrize("nothing", [None, "", " ", np.nan, pd.NA, pd.NaT, "unknown", "NaN"])
def test_many_ways_of_not_knowing(nothing):
    rows = columns_of([night(KNOWN), night(dict.fromkeys(KNOWN, nothing))])
    assert np.isnan(rows[1]).all()


@pytest.mark.parametrize(
    ("sex", "coded"),
    [("f", 0), ("Female", 0), (0, 0), ("m", 1), ("male ", 1), (np.float32(1), 1), (True, 1)],
)
def test_common_spellings_of_sex(sex, coded):
    assert columns_of([night({"sex": sex})], fields=["sex"]).item() == coded


@pytest.mark.parametrize("word", ["X", "u", "other"])
def test_other_sex_is_nan(word):
    rows = columns_of([night({"sex": word, "site": word})], fields=["sex", "site"])
    np.testing.assert_array_equal(rows, [[np.nan, 1]])


def test_numbers_in_other_forms():
    X = [night({"smoker": True}), night({"smoker": np.False_})]
    np.testing.assert_array_equal(columns_of(X, fields=["smoker"]), [[1], [0]])
    rows = RecordingMetadata().fit([night({"age": " 61 ", "site": 3}), night({"site": "10"})])
    assert rows.sites_ == ("10", "3")
    assert rows.transform([night({"age": "61", "site": 3})])[0, 0] == 61
    assert columns_of([night({"age": 40, "sex": "not told"})], fields=["age"]) == [[40]]


def test_fields_are_in_requested_order():
    X = make_sleep_cohort(3, hours=0.25, modalities=["ibi"], random_state=0)
    covariates = RecordingMetadata(fields=["bmi", "age"]).fit(X)
    expected = X.metadata[["bmi", "age"]].to_numpy(np.float32)
    np.testing.assert_array_equal(covariates.transform(X), expected)
    fitted = RecordingMetadata().fit([night(KNOWN)])
    fitted.set_params(fields=["age"])
    assert fitted.transform([night(KNOWN)]).shape == (1, 3)


def test_epochs_repeat_their_night():
    X = EpochSequence([night(KNOWN), night({"age": 40, "site": "south"})])
    rows = columns_of(X[[3, 0, 1]])
    np.testing.assert_array_equal(rows[:, 0], [40, 61, 61])
    table = RecordingMetadata().set_output(transform="pandas").fit_transform(X)
    assert table.index.equals(X.index)


def test_subject_averages_its_nights():
    X = [[night({**KNOWN, "age": 60}), night({"age": 62}), night({})], night(KNOWN)]
    np.testing.assert_array_equal(columns_of(X), [[61, 0, 1], [61, 0, 1]])
    X = [[night({"sex": "F"}), night({"sex": "M"}, id="n2")]]
    with pytest.raises(InvalidRecordingError, match=r"recording 0, night 1 \(n2\): 'sex' differs"):
        columns_of(X)


def test_no_signal_is_read(counting_source, noise):
    source = counting_source({"eeg": (*noise("eeg"), "uV")})
    columns_of([Recording.from_source(source, metadata=KNOWN)])
    assert source.reads == []


@pytest.mark.parametrize(
    ("metadata", "message"),
    [({"age": "old"}, r"recording 1 \(b\): 'age' is 'old'; accepted is a finite number"),
     ({"age": np.inf}, "'age' is inf"),
     ({"sex": 2}, "'sex' is 2; accepted are F or female, M or male, 0"),
     ({"sex": "femal"}, "'sex' is 'femal'"),
     ({"age": 999}, r"recording 1 \(b\): 'age' is 999; accepted are 0 to 120 years"),
     ({"age": -1}, "'age' is -1"),
     ({"bmi": -9}, "'bmi' is -9; accepted are above 0 to 150 kg/m2"),
     ({"bmi": 999}, "Codes such as -9 and 999"),
     ({"age": "90+"}, "'age' is '90\\+'; .* state an age of your choice"),
     ({"age": "> 89"}, "'age' is '> 89'; accepted are 0 to 120")],
)  # fmt: skip
def test_unreadable_value_is_named(metadata, message):
    fitted = RecordingMetadata(fields=["age", "sex", "bmi"]).fit([night(KNOWN | {"bmi": 25})])
    with pytest.raises(InvalidRecordingError, match=message):
        fitted.transform([night(KNOWN), night(metadata, id="b")])


@pytest.mark.parametrize("fields", [[], "age", ["age", "age"], [1], None])
def test_invalid_fields_are_refused(fields):
    with pytest.raises(ValueError, match="fields must be a list of different keys"):
        RecordingMetadata(fields=fields).fit([night(KNOWN)])


def test_absent_fields_are_refused():
    with pytest.raises(
        InvalidRecordingError, match=r"'bim', which no recording states; .* age, se"
    ):
        RecordingMetadata(fields=["age", "bim"]).fit([night(KNOWN)])
    assert columns_of([night({})]).shape == (1, 2)
    with pytest.raises(InvalidRecordingError, match="no recording states a site"):
        RecordingMetadata(fields=["site"]).fit([night({})])


def test_other_unit_or_unfitted_refused():
    with pytest.raises(NotFittedError):
        RecordingMetadata().transform([night(KNOWN)])
    fitted = RecordingMetadata().fit([night(KNOWN)])
    with pytest.raises(InvalidRecordingError, match="X holds epochs, but these columns were fit"):
        fitted.transform(EpochSequence([night(KNOWN)]))


@pytest.mark.parametrize("field", ["nsrr_age", "age_s1", "Age", "age_at_visit"])
def test_other_ages_are_checked(field):
    assert columns_of([night({field: 55})], fields=[field]) == [[55]]
    with pytest.raises(InvalidRecordingError, match=f"'{field}' is 888; accepted are 0 to 120"):
        columns_of([night({field: 888})], fields=[field])


def test_stages_are_no_ages():
    assert columns_of([night({"stage": 999, "voltage": -1})], fields=["stage", "voltage"]).shape


def test_words_are_categories():
    X = [night({"race": race, "site": 1}) for race in ("white", "asian", None)]
    fitted = RecordingMetadata(fields=["race", "site"]).fit(X)
    assert fitted.categories_ == {"race": ("asian", "white"), "site": ("1",)}
    assert fitted.get_feature_names_out().tolist() == ["race_asian", "race_white", "site_1"]
    np.testing.assert_array_equal(fitted.transform(X), [[0, 1, 1], [1, 0, 1], [np.nan, np.nan, 1]])


def test_unseen_categories_are_named():
    fitted = RecordingMetadata(fields=["race", "age"]).fit([night({"race": "white", "age": 50})])
    X = [night({"race": race}) for race in ("black", "white", "black", None)]
    with pytest.warns(RecordingWarning, match="race has 'black' in 2 recordings: not among"):
        rows = fitted.transform(X)
    np.testing.assert_array_equal(rows[:, 0], [0, 1, 0, np.nan])
    with pytest.raises(InvalidRecordingError, match=r"'black' in 2 recordings.*categories_"):
        fitted.set_params(handle_unknown="error").transform(X)


def test_missing_as_a_category():
    X = [night({"race": "white", "age": 50}), night({"race": "unknown"}), night({"race": "asian"})]
    fitted = RecordingMetadata(fields=["race", "age"], missing="category").fit(X)
    assert fitted.get_feature_names_out().tolist() == [
        "race_asian", "race_white", "race_missing", "age"]  # fmt: skip
    expected = [[0, 1, 0, 50], [0, 0, 1, np.nan], [1, 0, 0, np.nan]]
    np.testing.assert_array_equal(fitted.transform(X), expected)
    # a subject of whom one night states it
    rows = fitted.transform([[X[1], X[0]], X[1]])
    np.testing.assert_array_equal(rows, [expected[0], expected[1]])


def test_declared_codes_are_categories():
    X = [night({"race": code, "sex": sex}) for code, sex in ((1, 1), (2.0, 2), (1.0, 1), (None, 2))]
    fitted = RecordingMetadata(["race", "sex"], categorical=["race", "sex"]).fit(X)
    assert fitted.categories_ == {"race": ("1", "2"), "sex": ("1", "2")}
    np.testing.assert_array_equal(fitted.transform(X[:1]), [[1, 0, 1, 0]])
    assert columns_of(X, fields=["race"]).ravel()[:3].tolist() == [1, 2, 1]
    texts = [night({"race": "1"}), night({"race": "2"})]
    assert columns_of(texts, fields=["race"]).tolist() == [[1], [2]]
    assert columns_of(texts, fields=["race"], categorical=["race"]).shape == (2, 2)


def test_dtype_of_table_is_kept():
    table = pd.DataFrame({"race": pd.Categorical([1, 2, None]), "mixed": ["a", "9", "a"]})
    table["mixed"] = table["mixed"].astype("category")
    table["grown"] = pd.cut(pd.Series([30, 40, 50]), [0, 35, 60])
    table["level"] = pd.Categorical([0.5, 1.5, 0.5])
    table.index = ["n0", "n1", "n2"]
    cohort = Cohort([night({"race": 1}, id="n0"), *(night({}, id=f"n{i}") for i in (1, 2))], table)
    # workers get recordings without their table
    left = [night(dict(n.metadata)) for n in cohort]
    for X in (cohort, pickle.loads(pickle.dumps(list(cohort))), left):
        fitted = RecordingMetadata(["race", "mixed", "grown", "level"]).fit(X)
        assert fitted.categories_ == {
            "race": ("1", "2"), "mixed": ("9", "a"), "grown": ("(0, 35]", "(35, 60]"),
            "level": ("0.5", "1.5")}  # fmt: skip
    assert (cohort[0].metadata["race"], cohort[1].metadata["level"]) == (1, 1.5)


def test_none_is_a_category():
    X = [night({"apnoea": word}) for word in ("none", "mild", "None", None)]
    with pytest.warns(RecordingWarning, match="apnoea has 'None' and 'none'"):
        fitted = RecordingMetadata(["apnoea"]).fit(X)
    assert fitted.categories_ == {"apnoea": ("None", "mild", "none")}
    assert RecordingMetadata(["apnoea"]).fit(X[:1]).categories_ == {"apnoea": ("none",)}
    # among numbers it is none
    counts = columns_of([night({"drinks": n}) for n in (2, "none")], fields=["drinks"])
    np.testing.assert_array_equal(counts, [[2], [np.nan]])


def test_declared_words_are_stated():
    words = ["none", "unknown", "missing", "mild"]
    table = pd.DataFrame({"apnoea": pd.Categorical(words)}, index=list("abcd"))
    cohort = Cohort([night({}, id=name) for name in "abcd"], table)
    fitted = RecordingMetadata(["apnoea"], missing="category").fit(cohort)
    assert fitted.categories_ == {"apnoea": ("mild", "none", "unknown", "missing")}
    np.testing.assert_array_equal(
        fitted.transform(cohort), [[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [1, 0, 0, 0]]
    )


def test_identifiers_are_no_categories():
    X = [night({"code": f"code {i}", "site": i % 30}) for i in range(60)]
    with pytest.raises(InvalidRecordingError, match="'code' has 60 categories in 60 recordings"):
        columns_of(X, fields=["code"])
    assert columns_of(X, fields=["site"]).shape == (60, 30)
    assert columns_of(X[:20], fields=["code"]).shape == (20, 20)


@pytest.mark.parametrize("categorical", ["age", ["race"], None])
def test_invalid_categorical_is_refused(categorical):
    with pytest.raises(ValueError, match=r"categorical is .*names that are in fields, which has"):
        columns_of([night(KNOWN)], categorical=categorical)


def test_decimal_comma_is_named():
    X = [night({"bmi": "27,5", "ahi": "3,1"}, id="n0")]
    for field in ("bmi", "ahi"):
        with pytest.raises(InvalidRecordingError, match=r"\(n0\): .*with a comma.*decimal=','"):
            columns_of(X, fields=[field])


def test_one_word_among_numbers():
    X = [night({"bmi": str(value)}, id=f"n{i}") for i, value in enumerate([20, 25.5, "3l"])]
    with pytest.raises(InvalidRecordingError, match=r"recording 2 \(n2\): 'bmi' is '3l'"):
        columns_of(X, fields=["bmi"])


def test_codes_of_sex_are_stated():
    nights = [night({"sex": code}, id=f"n{code}") for code in (1, 2)]
    cohort = Cohort(nights, pd.DataFrame({"sex": [1, 2]}, index=["n1", "n2"]))
    with pytest.raises(InvalidRecordingError, match=r"'sex' is 2; .*map\(\{1: 'M', 2: 'F'\}\)"):
        columns_of(cohort, fields=["sex"])
    cohort.metadata["sex"] = cohort.metadata["sex"].map({1: "M", 2: "F"})
    assert columns_of(cohort, fields=["sex"]).ravel().tolist() == [1, 0]


def test_other_names_are_named():
    X = [night({"gender": "F", "age": 50})]
    with pytest.warns(RecordingWarning, match="'sex', 'site'.* metadata has age, gender"):
        assert columns_of(X)[0, 0] == 50
