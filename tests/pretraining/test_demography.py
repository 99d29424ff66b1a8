# SPDX-License-Identifier: BSD-3-Clause
"""Demographics of recordings, and the weights that follow from them."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn import make_sleep_cohort
from sleep2vec_sklearn.errors import InvalidRecordingError
from sleep2vec_sklearn.pretraining import Demography, dash_weights

NAN = np.nan
GOLDEN = Path(__file__).parents[1] / "data" / "parity" / "dash.npz"
CASES = [
    "normal", "normal_altconst", "all_age_missing", "all_sex_missing", "one_age_missing",
    "all_same_path", "two_same_two_other", "single", "pair_only_same", "age_zero",
]  # fmt: skip
OTHER_CONSTANTS = {
    "age_bandwidth": 10.0, "sex_factor": 0.5, "site_same": 2.0, "site_different": 0.5, "eps": 1e-4,
}  # fmt: skip
many = settings(max_examples=60, deadline=None)
EPS = 1e-6


def table(**columns):
    return pd.DataFrame(
        {"age": [61, None, 30], "sex": ["F", "male", None], "site": ["x", "y", "x"], **columns},
        index=["n1", "n2", "n3"],
    )


def test_rows_are_matched_by_id():
    cohort = Demography.from_metadata(table(), ["n3", "n1", "n2"], subjects=["a", "b", "a"])
    np.testing.assert_array_equal(cohort.age, [30, 61, NAN])
    np.testing.assert_array_equal(cohort.sex, [NAN, 0, 1])
    np.testing.assert_array_equal(cohort.site, [0, 0, 1])
    np.testing.assert_array_equal(cohort.subject, [0, 1, 0])
    np.testing.assert_array_equal(cohort.recording, [0, 1, 2])


def test_ids_select_their_rows():
    metadata = table()
    metadata.loc["elsewhere"] = [-5, "?!", "z"]
    assert Demography.from_metadata(metadata, ["n2"]).sex == [1]
    metadata = pd.DataFrame({"age": [10, 20]}, index=[200002, 200001])
    cohort = Demography.from_metadata(metadata, ["200001", "200002"])
    assert cohort.age.tolist() == [20, 10]


def test_rows_without_ids_keep_order():
    metadata = table().reset_index(drop=True)
    for ids in (None, [None, None, None]):
        cohort = Demography.from_metadata(metadata, ids)
        np.testing.assert_array_equal(cohort.age, [61, NAN, 30])
        assert len(set(cohort.recording)) == 3
    with pytest.raises(InvalidRecordingError, match="1 subjects are given for 3 recordings"):
        Demography.from_metadata(table(), ["n1", "n2", "n3"], ["a"])


def test_subjects_of_recordings_come_first():
    metadata = table(subject=["a", "b", "b"])
    ids = list(metadata.index)
    assert Demography.from_metadata(metadata, ids).subject.tolist() == [0, 1, 1]
    cohort = Demography.from_metadata(metadata, ids, subjects=["b", None, NAN])
    assert cohort.subject.tolist() == [0, 0, 0]
    assert Demography.from_metadata(table(), ids).subject.tolist() == [-1, -1, -1]


def test_any_column_may_lack():
    cohort = Demography.from_metadata(table()[["sex"]], ["n1", "n2", "n3"])
    assert np.isnan(cohort.age).all()
    assert (cohort.site == -1).all()
    cohort = Demography.from_metadata(None, ["n1", "n2", "n3"], ["a", "b", "a"])
    weights, history = cohort.weights()
    np.testing.assert_allclose(weights[1, [0, 2]], 1)
    assert np.argwhere(history).tolist() == [[0, 2], [2, 0]]


def test_tables_survive_a_file(tmp_path):
    table().to_csv(tmp_path / "table.csv")
    read = pd.read_csv(tmp_path / "table.csv", index_col=0)
    cohort, again = (Demography.from_metadata(t, ["n1", "n2", "n3"]) for t in (table(), read))
    for name in ("age", "sex", "site", "subject", "recording"):
        np.testing.assert_array_equal(getattr(again, name), getattr(cohort, name))


def test_cohorts_have_their_table():
    nights = make_sleep_cohort(
        3, nights_per_subject=2, hours=0.25, modalities=["actigraphy"], random_state=0
    )
    shuffled = nights.metadata.sample(frac=1, random_state=1)
    ids, subjects = ([getattr(n, key) for n in nights] for key in ("id", "subject"))
    cohort = Demography.from_metadata(shuffled, ids, subjects)
    np.testing.assert_array_equal(cohort.age, nights.metadata["age"])
    assert cohort.subject.tolist() == [0, 0, 1, 1, 2, 2]
    assert cohort.weights()[1].sum() == 6


def test_windows_of_night_are_history():
    cohort = Demography.from_metadata(table(), ["n1", "n2", "n3"], ["a", "b", "c"])
    some = cohort.take([2, 0, 2])
    assert len(some) == 3
    np.testing.assert_array_equal(some.age, [30, 61, 30])
    weights, history = some.weights(age_bandwidth=5)
    expected, _ = dash_weights([30, 61], [NAN, 0], [0, 0], [2, 0], age_bandwidth=5)
    np.testing.assert_allclose(weights[:2, :2], expected, rtol=1e-4)
    assert np.argwhere(history).tolist() == [[0, 2], [2, 0]]
    assert len(Demography.from_metadata(None, ["n1"]).take([])) == 0


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [("age", -1, "recording 'n2': 'age' is -1.*0 to 120 years"), ("age", 121, "'age' is 121"),
     ("age", "old", "'age' is 'old'"), ("sex", 2, "recording 'n2': 'sex' is 2.*F or female"),
     ("sex", "boy", "'sex' is 'boy'")],
)  # fmt: skip
def test_wrong_values_name_the_recording(column, value, message):
    metadata = table().astype(object)
    metadata.loc["n2", column] = value
    with pytest.raises(InvalidRecordingError, match=message):
        Demography.from_metadata(metadata, ["n1", "n2", "n3"])


@pytest.mark.parametrize(
    ("metadata", "ids", "message"),
    [(table(), ["n1", "n4"], "no row for 1 of 2 recordings, for example 'n4'; .*set_index"),
     (table().reset_index(), ["n1", "n2", "n3"], "no row for 3 of 3 .* holds '0', '1', '2'"),
     (table()[:0], ["n1"], "holds nothing"),
     (pd.concat([table(), table()]), ["n1"], "more than one row for recording 'n1'"),
     (table(), [None] * 3, "with an index of .*reset_index"),
     (table().reset_index(drop=True), [None] * 2, "3 rows, .* for 2 recordings without an id"),
     (table(), ["n1", None], "recording 1 has no id, but others have"),
     ({"age": [1]}, ["n1"], "must be a DataFrame .* got dict"), (None, None, "nothing is given")],
)  # fmt: skip
def test_rows_must_match_recordings(metadata, ids, message):
    with pytest.raises(InvalidRecordingError, match=message):
        Demography.from_metadata(metadata, ids)


def off_diagonal(matrix):
    return matrix[~np.eye(len(matrix), dtype=bool)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES)
def test_upstream_weights_are_the_authors(case, dtype):
    facts = f"cases/{case.removesuffix('_altconst')}"
    with np.load(GOLDEN) as golden:
        weights, history = dash_weights(
            golden[f"{facts}/age"].astype(dtype),
            golden[f"{facts}/sex"],
            golden[f"{facts}/center"],
            recording=golden[f"{facts}/path"],
            compat="upstream",
            **(OTHER_CONSTANTS if case.endswith("_altconst") else {}),
        )
        expected = golden[f"cases/{case}/w"], golden[f"cases/{case}/h"]
    np.testing.assert_allclose(*map(off_diagonal, (weights, expected[0])), rtol=1e-6)
    np.testing.assert_array_equal(history, expected[1])
    assert weights.dtype == dtype


def test_upstream_agrees_on_complete_facts():
    facts = {"age": [30, 50, 71, 8], "sex": [0, 1, 1, 0], "site": list("aabc")}
    ours, theirs = (
        dash_weights(**facts, recording=range(4), compat=compat)[0] for compat in (None, "upstream")
    )
    np.testing.assert_allclose(*map(off_diagonal, (ours, theirs)), rtol=1e-5)
    facts = {"age": [30, 40, 75, NAN], "sex": [0, 0, 0, 0], "recording": range(4)}
    assert dash_weights(**facts, compat="upstream")[0][:3, 3].max() < 1e-4
    assert dash_weights(**facts)[0][:3, 3].min() > 0.99


def test_other_nights_are_history():
    facts = {"age": [60, 60, 30, 61], "subject": list("aabc"), "recording": [0, 1, 2, 3]}
    weights, history = dash_weights(**facts)
    assert np.argwhere(history).tolist() == [[0, 1], [1, 0]]
    assert weights[0, 1] < 1e-5
    as_upstream, no_history = dash_weights(**facts, sex=[0] * 4, compat="upstream")
    assert as_upstream[0, 1] == as_upstream[0].max(where=~np.eye(4, dtype=bool)[0], initial=0)
    assert not no_history.any()


def test_unknown_labels_are_not_equal():
    weights, history = dash_weights(
        site=[-1, -1, 3, 3], subject=[-1, -1, 1, 2], recording=[NAN, NAN, 1.0, 2.0]
    )
    assert not history.any()
    np.testing.assert_allclose(weights[:2], 1, rtol=1e-5)
    _, all_one = dash_weights(n_samples=3, compat="upstream")
    assert off_diagonal(all_one).all()


@pytest.mark.parametrize("compat", [None, "upstream"])
def test_without_facts_weights_are_even(compat):
    weights, history = dash_weights(recording=np.arange(5), compat=compat)
    np.testing.assert_allclose(weights, 1, rtol=1e-6)
    assert not history.any()


def test_constants_switch_factors_off():
    facts = {"age": [20, 80, 21], "sex": [0, 0, 1], "site": ["x", "y", "x"]}
    off = {"age_bandwidth": np.inf, "sex_factor": 1, "site_same": 1, "site_different": 1}
    np.testing.assert_allclose(dash_weights(**facts, **off)[0], 1, rtol=1e-5)
    ratios = [
        weights[0, 2] / weights[0, 1]
        for bandwidth in (40, 20, 10)
        for weights, _ in [dash_weights(**facts, age_bandwidth=bandwidth)]
    ]
    assert ratios == sorted(ratios)
    assert dash_weights(sex=[0, 0, 1], sex_factor=0)[0][0, 2] < 1e-5


def test_one_tensor_gives_tensors():
    weights, history = dash_weights([30, 40], site=torch.tensor([1, 1]))
    assert (weights.dtype, history.dtype) == (torch.float32, torch.bool)
    assert dash_weights(torch.ones(2, dtype=torch.float64))[0].dtype == torch.float64
    assert dash_weights(torch.ones(2, dtype=torch.float16))[0].dtype == torch.float32


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
@pytest.mark.parametrize(
    ("facts", "message"),
    [({"age": [60.0, -1.0]}, r"age\[1\] is -1; accepted are 0 to 120 years, and NaN"),
     ({"age": [121.0, 60.0]}, r"age\[0\] is 121"), ({"age": [60.0, np.inf]}, r"age\[1\] is inf"),
     ({"sex": [0, 2]}, r"sex\[1\] is 2; accepted are 0 \(female\)"),
     ({"sex": [-1, 0]}, r"sex\[0\] is -1"),
     ({"age": [60.0], "sex": [1]}, "1 sample: .* at least two"), ({"age": []}, "0 sample"),
     ({"age": [60.0, 30.0], "sex": [1]}, "age has 2, sex has 1")],
)  # fmt: skip
def test_wrong_values_are_refused(kind, facts, message):
    with pytest.raises(ValueError, match=message):
        dash_weights(**{name: kind(values) for name, values in facts.items()})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"sex": ["F", "M"]}, "sex must hold numbers.*from_metadata reads words"),
     ({"age": [60, 30], "compat": "paper"}, "'compat' parameter of dash_weights"),
     ({"age": [60, 30], "age_bandwidth": 0}, "'age_bandwidth' parameter .*range"),
     ({"age": [60, 30], "eps": 0}, "'eps' parameter .*range"),
     ({"age": [60, 30], "sex_factor": -0.1}, "'sex_factor' parameter .*range"),
     ({"age": [60, 30], "site_same": np.nan}, "'site_same' parameter"),
     ({"age": [60, 30], "n_samples": 3}, "n_samples has 3"), ({}, "state n_samples")],
)  # fmt: skip
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        dash_weights(**arguments)


@pytest.mark.parametrize(
    "factors", [{"age_bandwidth": np.inf}, {"sex_factor": 0}, {"site_same": 0, "site_different": 0}]
)
def test_pretrainer_takes_the_constants(pretrainer, montage_store, factors):
    dash_weights([60, 30], [0, 1], [0, 1], **factors)
    fitted = pretrainer(**factors).fit(montage_store)
    assert np.isfinite(fitted.history_[:, "train_loss"]).all()
    described = fitted.checkpoint().card["parameters"]
    assert described.keys() > {f"objective__{name}" for name in factors}


@st.composite
def batches(draw, max_samples=7):
    """Facts of a batch; each of them may be missing, for a sample or for all."""
    n = draw(st.integers(2, max_samples))
    possible = {
        "age": st.floats(0, 120) | st.just(math.nan),
        "sex": st.sampled_from([0.0, 1.0, math.nan]),
        "site": st.integers(-1, 2),
        "subject": st.integers(-1, 3),
        "recording": st.integers(-1, 4),
    }
    facts = {k: draw(st.none() | st.lists(v, min_size=n, max_size=n)) for k, v in possible.items()}
    return {k: None if v is None else np.array(v) for k, v in facts.items()} | {"n_samples": n}


def naive(age, sex, site, subject, recording, n_samples):
    """The definition, one pair at a time."""
    n = range(n_samples)
    age, sex = (np.full(n_samples, math.nan) if v is None else v for v in (age, sex))
    site, subject, recording = (
        np.full(n_samples, -1) if v is None else v for v in (site, subject, recording)
    )

    def factors(i, j):
        yield math.exp(-abs(age[i] - age[j]) / 20) if not math.isnan(age[i] + age[j]) else None
        yield (1.0 if sex[i] == sex[j] else 0.8) if not math.isnan(sex[i] + sex[j]) else None
        yield (1.3 if site[i] == site[j] else 0.8) if min(site[i], site[j]) >= 0 else None

    def is_history(i, j):
        return i != j and any(v[i] == v[j] >= 0 for v in (subject, recording))

    weights = np.eye(n_samples)
    for i in n:
        others = [j for j in n if j != i]
        negatives = [j for j in others if not is_history(i, j)] or others
        table = [list(factors(i, j)) for j in n]
        for f in range(3):
            known = [table[j][f] for j in negatives if table[j][f] is not None]
            for row in table:
                row[f] = (np.mean(known) if known else 1.0) if row[f] is None else row[f]
        raw = {j: EPS + (math.prod(table[j]) if j in negatives else 0) for j in others}
        mean = np.mean([raw[j] for j in negatives])
        weights[i, others] = [raw[j] / mean for j in others]
    return weights, np.array([[is_history(i, j) for j in n] for i in n])


@many
@given(facts=batches())
def test_weights_are_their_definition(facts):
    found, expected = dash_weights(**facts), naive(**facts)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-9)
    np.testing.assert_array_equal(found[1], expected[1])


@many
@given(facts=batches(), seed=st.integers(0, 99), compat=st.sampled_from([None, "upstream"]))
def test_order_of_samples_is_free(facts, seed, compat):
    order = np.random.default_rng(seed).permutation(facts["n_samples"])
    shuffled = {k: v[order] if isinstance(v, np.ndarray) else v for k, v in facts.items()}
    expected = [v[order][:, order] for v in dash_weights(**facts, compat=compat)]
    found = dash_weights(**shuffled, compat=compat)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-9)
    np.testing.assert_array_equal(found[1], expected[1])


@many
@given(facts=batches(), sample=st.integers(0, 6), also=st.sets(st.sampled_from(["sex", "site"])))
def test_missing_factors_remove_no_sample(facts, sample, also):
    sample %= facts["n_samples"]
    for name, nothing in {"age": math.nan, "sex": math.nan, "site": -1}.items():
        if facts[name] is not None and name in {"age", *also}:
            facts[name][sample] = nothing
    weights, history = dash_weights(**facts)
    ordinary = ~history[sample]
    # what sex and site can do at most: 0.8 * 0.8 against a mean of 1 * 1.3
    assert weights[sample, ordinary].min() > 0.49
    assert weights[ordinary, sample].min() > 0.49


@many
@given(facts=batches(), compat=st.sampled_from([None, "upstream"]))
def test_torch_agrees_with_numpy(facts, compat):
    as_tensors = {k: torch.from_numpy(v) for k, v in facts.items() if isinstance(v, np.ndarray)}
    found = dash_weights(**as_tensors, n_samples=facts["n_samples"], compat=compat)
    expected = dash_weights(**facts, compat=compat)
    # without an age to say it, tensors are float32
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(np.asarray(a), b, rtol=1e-6 if facts["age"] is None else 0)


@many
@given(facts=batches())
def test_single_precision_is_enough(facts):
    double, _ = dash_weights(**facts)
    if facts["age"] is not None:
        facts["age"] = facts["age"].astype(np.float32)
        single, _ = dash_weights(**facts)
        assert single.dtype == np.float32
        np.testing.assert_allclose(single, double, rtol=1e-4)


@pytest.mark.parametrize("names", [["x", "y", "x", None], [10**18, 10**18 + 1, 10**18, -1]])
def test_labels_may_be_anything(names):
    _, history = dash_weights(subject=names)
    _, expected = dash_weights(subject=[5, 7, 5, -1])
    np.testing.assert_array_equal(history, expected)
