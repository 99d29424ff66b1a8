# SPDX-License-Identifier: BSD-3-Clause
import itertools

import numpy as np
import pandas as pd
import pytest

from benchmarks.evaluation import studies as module
from benchmarks.evaluation.questions import THREE_STAGES
from benchmarks.evaluation.studies import (
    ALL,
    enough_people,
    label_efficiency,
    nested_subsets,
    summarise_sizes,
)


def test_nested_subsets_are_nested():
    people = [f"p{i}" for i in range(10)] * 3
    subsets = [*nested_subsets(people, (1, 2, 4, 8), 0).values()]
    assert [len(subset) for subset in subsets] == [1, 2, 4, 8, 10]
    assert all({*a} < {*b} for a, b in itertools.pairwise(subsets))


def test_draws_depend_on_their_number_and_sizes_end_at_everybody():
    people = [*"abcdefgh"]
    np.testing.assert_array_equal(*(nested_subsets(people, (3,), 5)[3] for _ in range(2)))
    drawn = {tuple(nested_subsets(people, (3,), seed)[3]) for seed in range(5)}
    assert len(drawn) > 1
    assert [*nested_subsets(people, (4, 8, 16), 0)] == [4, ALL]


def test_every_feature_set_gets_the_same_people_and_nobody_is_tested_on(
    cohort, telling, monkeypatch
):
    seen = []

    def spy(X_train, y_train, X_test, strengths, n_classes):
        seen.append((tuple(np.unique(X_train[:, 0])), tuple(np.unique(X_test[:, 0]))))
        return [np.full((len(X_test), n_classes), 1 / n_classes)] * len(strengths)

    monkeypatch.setattr(module, "logistic_path", spy)
    monkeypatch.setattr(module, "FEWEST_TO_CHOOSE", 99)
    marked = [np.full((r.n_epochs, 1), float(k)) for k, r in enumerate(cohort)]
    sets = {"a": [marked], "b": [marked]}
    scores = label_efficiency(sets, cohort, THREE_STAGES, sizes=(1, 2), n_repeats=2)
    half = len(seen) // 2
    assert seen[:half] == seen[half:]
    assert not any({*train} & {*test} for train, test in seen)
    # two draws of one and of two people, and all of them once, for each of five folds
    assert half == 5 * (2 * 2 + 1)
    assert scores.sort_index().loc[("a", "1")].shape == (6, 2)


def test_more_people_help_where_features_tell(cohort, telling, noise_alone):
    sets = {"good": [telling], "noise": [noise_alone, telling]}
    scores = label_efficiency(sets, cohort, THREE_STAGES, sizes=(1,), n_repeats=2)
    mean = scores.groupby(level=["features", "size"])["kappa"].mean()
    assert mean["good", ALL] > 0.8
    assert mean["noise", ALL] < mean["good", ALL]
    assert {*scores.index.get_level_values("size")} == {"1", ALL}


def made_up_scores():
    people = [*"wxyz"]
    levels = {("ours", "1"): 0.2, ("ours", "2"): 0.5, ("ours", ALL): 0.7}
    levels |= {("hand", "1"): 0.1, ("hand", "2"): 0.3, ("hand", ALL): 0.5}
    rows = {
        (*key, person): {"kappa": level + i / 100}
        for key, level in levels.items()
        for i, person in enumerate(people)
    }
    table = pd.DataFrame.from_dict(rows, orient="index")
    return table.rename_axis(["features", "size", "subject"])


def test_sizes_are_compared_with_the_yardstick_that_has_everybody():
    summary = summarise_sizes(made_up_scores(), "hand")
    row = summary.loc[("ours", "1", "kappa")]
    assert row["minus hand with all"] == pytest.approx(-0.3)
    # paired, so the spread over people is no part of it
    assert row["difference_low"] == pytest.approx(row["difference_high"])
    assert row["high"] > row["low"]


def test_the_fewest_people_that_are_enough_are_named():
    needed = enough_people(summarise_sizes(made_up_scores(), "hand"))
    assert needed.loc[("ours", "kappa"), "mean"] == "2"
    assert needed.loc[("hand", "kappa"), "mean"] == ALL
    worse = made_up_scores()
    worse.loc[worse.index.get_level_values(0) == "ours", "kappa"] = 0.0
    assert enough_people(summarise_sizes(worse, "hand")).loc[("ours", "kappa"), "mean"] == "-"
