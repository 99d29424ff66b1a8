# SPDX-License-Identifier: BSD-3-Clause
"""The weights of negatives: the authors' numbers, and where ours differ on purpose."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sleep2vec_sklearn.pretraining import dash_weights

GOLDEN = Path(__file__).parents[1] / "data" / "parity" / "dash.npz"
OTHER_CONSTANTS = {
    "age_bandwidth": 10.0,
    "sex_factor": 0.5,
    "site_same": 2.0,
    "site_different": 0.5,
    "eps": 1e-4,
}
CASES = {
    "normal": {},
    "normal_altconst": OTHER_CONSTANTS,
    "all_age_missing": {},
    "all_sex_missing": {},
    "one_age_missing": {},
    "all_same_path": {},
    "two_same_two_other": {},
    "single": {},
    "pair_only_same": {},
    "age_zero": {},
}
NAN = np.nan


def off_diagonal(matrix):
    return matrix[~np.eye(len(matrix), dtype=bool)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES)
def test_upstream_weights_and_history_are_the_authors(case, dtype):
    facts = f"cases/{case.removesuffix('_altconst')}"
    with np.load(GOLDEN) as golden:
        weights, history = dash_weights(
            golden[f"{facts}/age"].astype(dtype),
            golden[f"{facts}/sex"],
            golden[f"{facts}/center"],
            recording=golden[f"{facts}/path"],
            compat="upstream",
            **CASES[case],
        )
        expected = golden[f"cases/{case}/w"], golden[f"cases/{case}/h"]
    np.testing.assert_allclose(*map(off_diagonal, (weights, expected[0])), rtol=1e-6)
    np.testing.assert_array_equal(history, expected[1])
    assert weights.dtype == dtype


def test_with_everything_known_and_no_history_both_kinds_agree():
    facts = {"age": [30, 50, 71, 8], "sex": [0, 1, 1, 0], "site": list("aabc")}
    ours, theirs = (
        dash_weights(**facts, recording=range(4), compat=compat)[0] for compat in (None, "upstream")
    )
    np.testing.assert_allclose(*map(off_diagonal, (ours, theirs)), rtol=1e-5)


def test_a_row_is_the_formula_over_its_mean():
    weights, _ = dash_weights([40, 60, 20], [0, 1, 0], ["x", "x", "y"], eps=1e-12)
    raw = np.exp(-1) * np.array([0.8 * 1.3, 1.0 * 0.8])
    np.testing.assert_allclose(weights[0, 1:], raw / raw.mean())


def test_another_night_of_the_same_subject_is_history():
    facts = {"age": [60, 60, 30, 61], "subject": list("aabc"), "recording": [0, 1, 2, 3]}
    weights, history = dash_weights(**facts)
    assert np.argwhere(history).tolist() == [[0, 1], [1, 0]]
    assert weights[0, 1] < 1e-5
    as_upstream, no_history = dash_weights(**facts, sex=[0] * 4, compat="upstream")
    assert as_upstream[0, 1] == as_upstream[0].max(where=~np.eye(4, dtype=bool)[0], initial=0)
    assert not no_history.any()


def test_another_window_of_the_same_recording_is_history_without_a_subject():
    _, history = dash_weights(recording=["n1", "n2", "n1"], subject=[None, None, None])
    assert np.argwhere(history).tolist() == [[0, 2], [2, 0]]


def test_what_is_not_known_of_two_does_not_make_them_one():
    weights, history = dash_weights(
        site=[-1, -1, 3, 3], subject=[-1, -1, 1, 2], recording=[NAN, NAN, 1.0, 2.0]
    )
    assert not history.any()
    np.testing.assert_allclose(weights[:2], 1, rtol=1e-5)
    _, all_one = dash_weights(n_samples=3, compat="upstream")
    assert off_diagonal(all_one).all()


@pytest.mark.parametrize(
    ("field", "values"),
    [("age", [30, 40, 75, NAN]), ("sex", [0, 1, 0, NAN]), ("site", [2, 2, 5, -1])],
)
def test_a_missing_factor_makes_an_average_negative(field, values):
    weights, _ = dash_weights(**{field: values})
    np.testing.assert_allclose(weights[:, 3], 1, rtol=1e-5)
    np.testing.assert_allclose(weights[3], 1, rtol=1e-5)


def test_upstream_loses_the_sample_whose_age_is_missing():
    facts = {"age": [30, 40, 75, NAN], "sex": [0, 0, 0, 0], "recording": range(4)}
    assert dash_weights(**facts, compat="upstream")[0][:3, 3].max() < 1e-4
    assert dash_weights(**facts)[0][:3, 3].min() > 0.99


def test_a_missing_age_leaves_sex_and_site_to_speak():
    weights, _ = dash_weights([NAN, 40, 40], [0, 0, 1], ["x", "x", "x"])
    assert weights[0, 1] / weights[0, 2] == pytest.approx(1 / 0.8, rel=1e-5)


def test_the_mean_over_known_pairs_leaves_history_out():
    facts = {"age": [60, 60, 30, 50, NAN], "subject": [1, 1, 2, 3, 4]}
    weights, _ = dash_weights(**facts, eps=1e-12)
    known = np.exp([-30 / 20, -10 / 20])
    np.testing.assert_allclose(weights[0, 2:4], known / known.mean())
    assert weights[0, 4] == pytest.approx(1)


def test_in_a_batch_of_one_subject_history_takes_the_place_of_negatives():
    weights, history = dash_weights(age=[50, 50, 50], subject=[1, 1, 1])
    np.testing.assert_allclose(off_diagonal(weights), 1)
    assert off_diagonal(history).all()


@pytest.mark.parametrize("compat", [None, "upstream"])
def test_without_any_metadata_all_weigh_the_same(compat):
    weights, history = dash_weights(recording=np.arange(5), compat=compat)
    np.testing.assert_allclose(weights, 1, rtol=1e-6)
    assert not history.any()


def test_constants_switch_a_factor_off_or_up():
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


def test_one_tensor_among_the_arguments_gives_tensors():
    weights, history = dash_weights([30, 40], site=torch.tensor([1, 1]))
    assert (weights.dtype, history.dtype) == (torch.float32, torch.bool)
    assert dash_weights(torch.ones(2, dtype=torch.float64))[0].dtype == torch.float64
    assert dash_weights(torch.ones(2, dtype=torch.float16))[0].dtype == torch.float32


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"age": [60.0, -1.0]}, r"age\[1\] is -1; accepted are 0 to 120 years, and NaN"),
        ({"age": [121.0, 60.0]}, r"age\[0\] is 121"),
        ({"age": [60.0, np.inf]}, r"age\[1\] is inf"),
        ({"sex": [0, 2]}, r"sex\[1\] is 2; accepted are 0 \(female\)"),
        ({"sex": [-1, 0]}, r"sex\[0\] is -1"),
        ({"age": [60.0], "sex": [1]}, "1 sample: .* at least two"),
        ({"age": []}, "0 sample"),
        ({"age": [60.0, 30.0], "sex": [1]}, "age has 2, sex has 1"),
    ],
)
def test_values_that_cannot_be_are_refused(kind, facts, message):
    with pytest.raises(ValueError, match=message):
        dash_weights(**{name: kind(values) for name, values in facts.items()})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sex": ["F", "M"]}, "sex must hold numbers.*from_metadata reads words"),
        ({"age": [60, 30], "compat": "paper"}, "compat must be None or 'upstream'"),
        ({"age": [60, 30], "age_bandwidth": 0}, "age_bandwidth must be positive"),
        ({"age": [60, 30], "eps": 0}, "eps must be positive"),
        ({"age": [60, 30], "sex_factor": -0.1}, "sex_factor must be a finite number from 0"),
        ({"age": [60, 30], "site_same": np.nan}, "site_same must be"),
        ({"age": [60, 30], "n_samples": 3}, "n_samples has 3"),
        ({}, "state n_samples"),
    ],
)
def test_arguments_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        dash_weights(**arguments)


@pytest.mark.parametrize(
    "factors", [{"age_bandwidth": np.inf}, {"sex_factor": 0}, {"site_same": 0, "site_different": 0}]
)
def test_the_pretrainer_takes_the_constants_that_the_weights_take(
    pretrainer, montage_store, factors
):
    dash_weights([60, 30], [0, 1], [0, 1], **factors)
    fitted = pretrainer(**factors).fit(montage_store)
    assert np.isfinite(fitted.history_[:, "train_loss"]).all()
    assert fitted.checkpoint().card["parameters"].keys() > factors.keys()
