# SPDX-License-Identifier: BSD-3-Clause
"""The probe itself: subjects held out, scores by subject, and honest intervals."""

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks import real_nights
from benchmarks.real_nights import (
    _bootstrap_interval,
    _chosen_strength,
    _fit_predict,
    _score,
    as_markdown,
    encoder_features,
    evaluate_features,
    main,
    paired_differences,
    random_twin,
    summarise,
    write_results,
)
from sleep2vec_sklearn import Recording
from sleep2vec_sklearn.datasets.public.assembly import as_cohort

N_EPOCHS = 40


@pytest.fixture(scope="module")
def cohort():
    """Six subjects with every stage, the first epoch unscored."""
    nights = []
    for k in range(6):
        rng = np.random.default_rng(k)
        stages = rng.permutation(np.repeat([0, 2, 3, 4], 10))
        stages[0] = -1
        values = 0.9 + 0.05 * rng.standard_normal(N_EPOCHS * 120)
        nights.append(
            Recording({"ibi": (values, 4)}, stages=stages, id=f"n{k}", subject=f"s{k // 2 * 2}{k}")
        )
    return as_cohort(nights)


def telling(cohort, noise=0.3):
    """Features that show wake and REM, more or less."""
    rng = np.random.default_rng(0)
    tables = [np.stack([n.stages == 0, n.stages == 4], axis=1) * 2.0 for n in cohort]
    return [table + noise * rng.standard_normal(table.shape) for table in tables]


def noise_alone(cohort, seed=1):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((r.n_epochs, 2)) for r in cohort]


def test_a_head_can_be_tried_on_the_rows_of_another_sensor(cohort):
    good = telling(cohort)
    same = evaluate_features(good, cohort, n_splits=3, test_features=good)
    pd.testing.assert_frame_equal(same, evaluate_features(good, cohort, n_splits=3))
    other = evaluate_features(good, cohort, n_splits=3, test_features=noise_alone(cohort))
    assert other["wake_auc"].mean() < 0.7


def test_features_that_tell_score_high_and_noise_at_chance(cohort):
    good = evaluate_features(telling(cohort), cohort, n_splits=3)
    chance = evaluate_features(noise_alone(cohort), cohort, n_splits=3)
    assert good[["wake_auc", "kappa"]].min().min() > 0.8
    assert abs(chance["wake_auc"].mean() - 0.5) < 0.15
    assert abs(chance["kappa"].mean()) < 0.2


def test_there_is_a_row_per_subject_over_scored_epochs(cohort):
    table = evaluate_features(telling(cohort), cohort, n_splits=3)
    assert table.index.name == "subject"
    assert set(table.index) == set(cohort.groups)
    assert (table["n_epochs"] == N_EPOCHS - 1).all()
    assert set(table.attrs["pooled"]) == {"wake_auc", "kappa"}


def test_nothing_of_a_subject_is_in_its_own_training(cohort, monkeypatch):
    seen = []

    def spy(X_train, y_train, X_test, strength):
        seen.append((set(X_train[:, 0]), set(X_test[:, 0])))
        return np.full((len(X_test), 3), 1 / 3)

    monkeypatch.setattr(real_nights, "_fit_predict", spy)
    marked = [np.full((r.n_epochs, 1), float(k)) for k, r in enumerate(cohort)]
    evaluate_features(marked, cohort, n_splits=99)
    assert len(seen) == 6
    assert all(not train & test for train, test in seen)
    assert set().union(*(test for _, test in seen)) == set(range(6))


def test_unscored_epochs_are_neither_trained_on_nor_scored(cohort):
    plain, spoilt = telling(cohort), telling(cohort)
    for table in spoilt:
        table[0] = 1e6
    first, second = (evaluate_features(f, cohort, n_splits=3) for f in (plain, spoilt))
    pd.testing.assert_frame_equal(first, second)


@pytest.mark.parametrize("change", [lambda f: f[:-1], lambda f: [t[1:] for t in f]])
def test_features_that_do_not_fit_the_nights_are_refused(cohort, change):
    with pytest.raises(ValueError, match="one array of n_epochs rows"):
        evaluate_features(change(telling(cohort)), cohort)


def test_a_missing_value_counts_as_the_training_mean():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], 30)
    X = rng.standard_normal((90, 2)) + y[:, None]
    missing, mean = (np.array([[value, 0.5]]) for value in (np.nan, X[:, 0].mean()))
    np.testing.assert_allclose(
        _fit_predict(X, y, missing, 0.1), _fit_predict(X, y, mean, 0.1), atol=1e-9
    )


def test_the_strength_is_chosen_inside_the_training_subjects(monkeypatch):
    groups = np.repeat(np.arange(3.0), 30)
    y, X = np.tile([0, 1, 2], 30), groups[:, None]

    def only_a_tenth_is_right(X_train, y_train, X_test, strength):
        assert not set(X_train[:, 0]) & set(X_test[:, 0])
        right = np.eye(3)[np.tile([0, 1, 2], len(X_test) // 3)]
        return right if strength == 0.1 else 1 - right

    monkeypatch.setattr(real_nights, "_fit_predict", only_a_tenth_is_right)
    assert _chosen_strength(X, y, groups, (0.01, 0.1, 1.0)) == 0.1
    assert _chosen_strength(X, y, groups, 0.5) == 0.5


def test_scores_are_of_wake_and_of_three_stages():
    y = np.array([0, 0, 1, 1, 2, 2])
    right = np.eye(3)[y]
    assert _score(y, right) == {"wake_auc": 1, "kappa": 1}
    assert _score(y, 1 - right)["wake_auc"] == 0
    only_sleep = _score(y[2:], right[2:])
    assert np.isnan(only_sleep["wake_auc"])
    assert only_sleep["kappa"] == 1


def table_of(values, pooled=0.5):
    table = pd.DataFrame({"wake_auc": values, "kappa": values}, index=[*"abcd"[: len(values)]])
    table.attrs["pooled"] = {"wake_auc": pooled, "kappa": pooled}
    return table


def test_a_summary_holds_mean_spread_interval_and_pooled_value():
    row = summarise({"x": table_of([0.2, 0.4, 0.6, 0.8], 0.7)}, n_resamples=500)
    row = row.loc[("x", "kappa")]
    assert (row["mean"], row["pooled"]) == (pytest.approx(0.5), 0.7)
    assert row["sd"] == pytest.approx(np.std([0.2, 0.4, 0.6, 0.8], ddof=1))
    assert 0.2 <= row["low"] < 0.5 < row["high"] <= 0.8


def test_a_subject_without_a_score_is_left_out():
    rows = summarise({"x": table_of([0.2, np.nan, 0.6])}, n_resamples=50)
    assert rows.loc[("x", "wake_auc"), "mean"] == pytest.approx(0.4)


def test_differences_are_the_references_lead_paired_by_subject():
    tables = {"ours": table_of([0.5, 0.6, 0.7]), "other": table_of([0.4, 0.7, 0.4])}
    rows = paired_differences(tables, "ours", n_resamples=200)
    row = rows.loc[("other", "kappa")]
    assert row["difference"] == pytest.approx(0.1)
    assert (row["subjects_better"], row["subjects"]) == (2, 3)
    assert set(rows.index.get_level_values(0)) == {"other"}
    turned = {"other": tables["other"].loc[[*"cab"]], "ours": tables["ours"]}
    pd.testing.assert_frame_equal(paired_differences(turned, "ours", n_resamples=200), rows)


def test_an_interval_is_as_wide_as_the_means_scatter():
    values = np.random.default_rng(0).standard_normal(100)
    low, high = _bootstrap_interval(values, 4000)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 10, rel=0.1)
    assert _bootstrap_interval(values, 4000) == (low, high)
    assert _bootstrap_interval(np.full(5, 0.3), 10) == pytest.approx((0.3, 0.3))


def test_encoder_features_are_cut_at_the_ends_of_nights(checkpoint_in_memory, cohort, embed):
    from sleep2vec_sklearn import EpochSequence

    blocks = encoder_features(checkpoint_in_memory, cache=None)(cohort[:3])
    assert [len(block) for block in blocks] == [N_EPOCHS] * 3
    np.testing.assert_array_equal(blocks[1], embed(EpochSequence(cohort[1:2])))


def test_a_random_twin_shares_the_statistics_and_no_weight(checkpoint_in_memory):
    twin = random_twin(checkpoint_in_memory)
    assert twin.config == checkpoint_in_memory.config
    assert twin.sha256 != checkpoint_in_memory.sha256
    key = "tokenizers.eeg.feature_std"
    assert torch.equal(twin.state[key], checkpoint_in_memory.state[key])
    key = "encoder.blocks.0.feed_in.weight"
    assert not torch.equal(twin.state[key], checkpoint_in_memory.state[key])
    assert random_twin(checkpoint_in_memory).sha256 == twin.sha256
    assert random_twin(checkpoint_in_memory, seed=1).sha256 != twin.sha256


def test_a_markdown_table_has_three_decimals():
    table = pd.DataFrame({"kappa": [0.12345], "n": [3]}, index=pd.Index(["x"], name="who"))
    assert as_markdown(table).splitlines() == [
        "| who | kappa | n |",
        "| --- | --- | --- |",
        "| x | 0.123 | 3 |",
    ]


def test_results_are_printed_and_written(tmp_path, capsys):
    tables = {"x": table_of([0.2, 0.4])}
    write_results({"scores": summarise(tables, n_resamples=9)}, tables, tmp_path / "out")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "scores.csv", "scores.md", "subjects.csv",
    }  # fmt: skip
    assert "| x | kappa | 0.300 |" in capsys.readouterr().out
    subjects = pd.read_csv(tmp_path / "out" / "subjects.csv")
    assert subjects["kappa"].tolist() == [0.2, 0.4]


def test_the_whole_probe_runs_on_nights_in_the_published_layout(
    tmp_path, checkpoint_path, capsys, cohort
):
    folder = tmp_path / "sleep-accel"
    for name in ("labels", "heart_rate", "activity_counts"):
        (folder / name).mkdir(parents=True)
    for k, night in enumerate(cohort):
        codes = np.where(night.stages == 4, 5, night.stages)
        text = "".join(f"{30 * i} {code}\n" for i, code in enumerate(codes))
        (folder / "labels" / f"{k}_labeled_sleep.txt").write_text(text)
        rows = "".join(f"{t},{60 + (t // 30 * (k + 1)) % 11}\n" for t in range(0, 1200, 5))
        (folder / "heart_rate" / f"{k}_heartrate.txt").write_text(rows)
        rows = "".join(f"{30 * i},{30 * (code == 0) + i % 3}\n" for i, code in enumerate(codes))
        (folder / "activity_counts" / f"{k}_counts_30s.csv").write_text("seconds,count\n" + rows)
    out = tmp_path / "out"
    arguments = ["--data", str(tmp_path), "--out", str(out), "--folds", "2"]
    main([*arguments, "--checkpoint", str(checkpoint_path)])
    scores = pd.read_csv(out / "scores.csv")
    assert set(scores["features"]) == {
        "hand-made, short context", "hand-made, long context", "small",
        "small, random weights", "small, tokenizers only",
    }  # fmt: skip
    assert (out / "differences_small.csv").exists()
    assert "small minus" in capsys.readouterr().out
