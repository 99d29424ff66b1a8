# SPDX-License-Identifier: BSD-3-Clause
"""What holds of the weights for any batch, whatever is missing of it."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn.pretraining import dash_weights

many = settings(max_examples=60, deadline=None)
EPS = 1e-6


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
def test_weights_are_those_of_the_definition(facts):
    found, expected = dash_weights(**facts), naive(**facts)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-9)
    np.testing.assert_array_equal(found[1], expected[1])


@many
@given(facts=batches(), seed=st.integers(0, 99), compat=st.sampled_from([None, "upstream"]))
def test_samples_can_come_in_any_order(facts, seed, compat):
    order = np.random.default_rng(seed).permutation(facts["n_samples"])
    shuffled = {k: v[order] if isinstance(v, np.ndarray) else v for k, v in facts.items()}
    expected = [v[order][:, order] for v in dash_weights(**facts, compat=compat)]
    found = dash_weights(**shuffled, compat=compat)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-9)
    np.testing.assert_array_equal(found[1], expected[1])


@many
@given(facts=batches())
def test_the_mean_over_the_negatives_of_a_row_is_one(facts):
    weights, history = dash_weights(**facts)
    other = ~np.eye(len(weights), dtype=bool)
    negative = other & ~history
    negative[~negative.any(axis=1)] = other[~negative.any(axis=1)]
    np.testing.assert_allclose(np.mean(weights, axis=1, where=negative), 1, rtol=1e-9)


@many
@given(
    facts=batches(),
    sample=st.integers(0, 6),
    also=st.sets(st.sampled_from(["sex", "site"])),
)
def test_no_missing_factor_ever_removes_a_sample(facts, sample, also):
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
def test_torch_gives_what_numpy_gives(facts, compat):
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


@many
@given(facts=batches())
def test_history_goes_both_ways_and_never_to_itself(facts):
    _, history = dash_weights(**facts)
    assert (history == history.T).all()
    assert not history.diagonal().any()


@many
@given(ages=st.lists(st.floats(0, 120), min_size=3, max_size=8, unique=True))
def test_the_nearer_in_age_the_heavier(ages):
    weights, _ = dash_weights(age=ages)
    gaps = np.abs(np.subtract.outer(ages, ages))
    for row, gap in zip(weights, gaps, strict=True):
        assert (np.diff(row[np.argsort(gap)][1:]) <= 1e-9).all()


@pytest.mark.parametrize("names", [["x", "y", "x", None], [10**18, 10**18 + 1, 10**18, -1]])
def test_labels_may_be_of_any_kind(names):
    _, history = dash_weights(subject=names)
    _, expected = dash_weights(subject=[5, 7, 5, -1])
    np.testing.assert_array_equal(history, expected)
