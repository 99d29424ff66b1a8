# SPDX-License-Identifier: BSD-3-Clause
"""Heads see no subject, or site, that they are tested on; intervals are over subjects."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from benchmarks.evaluation import simulated_psg as psg_scores
from benchmarks.evaluation.simulated_psg import (
    LOSSES,
    UNSEEN,
    Epochs,
    bootstrap_auroc,
    fit_heads,
    folds_by_site,
    folds_by_subject,
    main,
    outcome_chances,
    outcome_table,
    predict_held_out,
    score_subjects,
    shown,
    staging_table,
    write_table,
)

N_SUBJECTS, N_SITES, N_EPOCHS = 12, 3, 60


@pytest.fixture(scope="module")
def epochs():
    """Twelve subjects of three sites, five stages in turn, the first epoch unscored."""
    stages = np.tile(np.arange(5), N_SUBJECTS * N_EPOCHS // 5)
    stages[::N_EPOCHS] = -1
    subjects = np.repeat([f"s{k:02d}" for k in range(N_SUBJECTS)], N_EPOCHS)
    sites = np.repeat([f"site-{k % N_SITES}" for k in range(N_SUBJECTS)], N_EPOCHS)
    return Epochs(stages, subjects, sites)


def telling(epochs, noise=0.3):
    noisy = noise * np.random.default_rng(0).standard_normal((len(epochs.stages), 6))
    return (np.eye(6)[epochs.stages] + noisy).astype(np.float32)


def scores_of(X, epochs, folds, seen=None):
    heads = fit_heads(X, epochs, folds)
    return score_subjects(predict_held_out(heads, X if seen is None else seen, folds), epochs)


def test_folds_share_no_subject(epochs):
    tested = []
    for train, test in folds_by_subject(epochs, 4):
        assert not set(epochs.subjects[train]) & set(epochs.subjects[test])
        assert set(epochs.sites[train]) == set(epochs.sites[test]) == set(epochs.sites)
        tested.extend(test)
    assert sorted(tested) == list(range(len(epochs.stages)))
    folds = folds_by_site(epochs)
    assert len(folds) == N_SITES
    for train, test in folds:
        assert len(set(epochs.sites[test])) == 1
        assert not set(epochs.sites[train]) & set(epochs.sites[test])


def test_informative_features_beat_noise(epochs):
    folds = folds_by_subject(epochs, 4)
    good = scores_of(telling(epochs), epochs, folds)
    assert list(good.index) == sorted(set(epochs.subjects))
    assert good.min().min() > 0.8
    chance = scores_of(np.random.default_rng(1).standard_normal((720, 6)), epochs, folds)
    assert abs(chance["kappa"].mean()) < 0.1


def test_head_scores_lossy_rows(epochs):
    folds = folds_by_subject(epochs, 4)
    lossy = telling(epochs)
    lossy[:, :3] = np.nan
    table = scores_of(telling(epochs), epochs, folds, seen=lossy)
    assert table["kappa"].between(0.05, 0.8).all()


def test_training_excludes_held_out(epochs, monkeypatch):
    seen = []
    monkeypatch.setattr(psg_scores, "_fit_head", lambda X, y, subjects: seen.append((X, y)))
    folds = folds_by_subject(epochs, 4)
    marked = np.arange(len(epochs.stages))[:, None]
    fit_heads(marked, epochs, folds)
    for (used, y), (_, test) in zip(seen, folds, strict=True):
        assert not set(used[:, 0]) & set(test)
        assert (y >= 0).all()


def test_penalty_chosen_on_training_subjects(epochs, monkeypatch):
    fitted = []
    original = psg_scores._logistic

    def spy(C, X, y, start=None):
        fitted.append((C, len(X)))
        return original(C, X, y, start)

    monkeypatch.setattr(psg_scores, "_logistic", spy)
    psg_scores._fit_head(telling(epochs), epochs.stages, epochs.subjects)
    assert [C for C, _ in fitted[:-1]] == list(psg_scores.EPOCH_STRENGTHS)
    assert {n for _, n in fitted[:-1]} == {N_EPOCHS * N_SUBJECTS * 3 // 4}
    assert fitted[-1][1] == N_EPOCHS * N_SUBJECTS


def test_macro_f1_over_scored_stages():
    epochs = Epochs(np.array([0, 0, 2, 2, -1]), np.array([*"aaaaa"]), np.array([*"xxxxx"]))
    table = score_subjects(np.array([0, 0, 2, 4, 1]), epochs)
    assert table.loc["a", "macro_f1"] == pytest.approx((1 + 2 / 3) / 2)
    assert table.attrs["pooled"]["kappa"] == table.loc["a", "kappa"]


@pytest.fixture(scope="module")
def outcome():
    rng = np.random.default_rng(0)
    y = np.tile([0, 0, 1], 10)
    X = rng.standard_normal((30, 4))
    X[:, 0] += 2.5 * y
    return X, y, np.array([f"s{k}" for k in range(30)])


def test_outcome_needs_informative_row(outcome, monkeypatch):
    monkeypatch.setattr(psg_scores, "NIGHT_STRENGTHS", (0.001, 0.1))
    X, y, subjects = outcome
    good = outcome_chances(X, y, subjects, n_repeats=2)
    assert good.shape == (2, 30)
    assert bootstrap_auroc(good, y)[0] > 0.8
    noise = outcome_chances(X[:, 1:], y, subjects, n_repeats=2)
    assert bootstrap_auroc(noise, y)[0] < 0.75


def test_outcome_folds_and_auroc(outcome):
    X, _, subjects = outcome
    y = np.zeros(30, dtype=int)
    y[[0, 9, 17, 25]] = 1
    assert np.isfinite(outcome_chances(X, y, subjects, n_repeats=1)).all()
    rng = np.random.default_rng(0)
    y, chances = np.tile([0, 1], 20), rng.random((3, 40)).round(1)
    value, resampled = bootstrap_auroc(chances, y)
    assert value == pytest.approx(np.mean([roc_auc_score(y, row) for row in chances]))
    assert abs(np.nanmean(resampled) - value) < 0.01


def test_resamples_are_paired():
    y, chances = np.tile([0, 1], 10), np.random.default_rng(0).random((1, 20))
    np.testing.assert_array_equal(bootstrap_auroc(chances, y)[1], bootstrap_auroc(chances, y)[1])
    shifted = bootstrap_auroc(chances + 1, y)[1]
    np.testing.assert_allclose(shifted, bootstrap_auroc(chances, y)[1])


def test_epochs_carry_subject_and_site():
    class Night:
        n_epochs, stages = 2, np.array([0, 1])

    class Nights(list):
        groups = np.array(["a", "b"], dtype=object)
        metadata = pd.DataFrame({"site": ["x", "y"]})

    found = Epochs.of_cohort(Nights([Night(), Night()]))
    assert found.subjects.tolist() == [*"aabb"]
    assert found.sites.tolist() == [*"xxyy"]


def subjects(values):
    table = pd.DataFrame({"kappa": values, "macro_f1": values}, index=[*"abcd"[: len(values)]])
    table.attrs["pooled"] = {"kappa": 0.5, "macro_f1": 0.6}
    return table


@pytest.fixture
def staging():
    scores = {
        ("all", "ours"): subjects([0.6, 0.7, 0.8]),
        ("eeg alone", "ours"): subjects([0.5, 0.5, 0.5]),
        ("all", "other"): subjects([0.5, 0.6, 0.7]),
        ("eeg alone", "other"): subjects([0.6, 0.4, 0.5]),
    }
    return staging_table(scores, "ours", "all")


def test_leads_and_changes_are_paired(staging):
    row = staging.loc["all", "other", "kappa"]
    assert row[["lead", "lead_low", "lead_high"]].tolist() == pytest.approx([0.1] * 3)
    assert staging.loc["eeg alone", "other", "kappa"]["lead"] == pytest.approx(0.0)
    assert np.isnan(staging.loc["all", "ours", "kappa"]["lead"])
    assert staging.loc["eeg alone", "ours", "kappa"]["change"] == pytest.approx(-0.2)
    assert staging.loc["eeg alone", "other", "kappa"]["change"] == pytest.approx(-0.1)
    assert np.isnan(staging.loc["all", "other", "kappa"]["change"])


def test_rows_hold_interval_and_pooled(staging):
    assert staging.index.unique(0).tolist() == ["all", "eeg alone"]
    assert staging.index.unique(1).tolist() == ["ours", "other"]
    row = staging.loc["all", "ours", "kappa"]
    assert row["value"] == pytest.approx(0.7)
    assert 0.59 < row["value_low"] < 0.7 < row["value_high"] < 0.81
    assert (row["pooled"], row["subjects"]) == (0.5, 3)


def test_subjects_are_paired_by_name():
    turned = subjects([0.6, 0.7, 0.8]).iloc[::-1]
    turned.attrs["pooled"] = {"kappa": 0, "macro_f1": 0}
    scores = {("all", "ours"): subjects([0.6, 0.7, 0.8]), ("all", "same"): turned}
    row = staging_table(scores, "ours", "all").loc["all", "same", "kappa"]
    assert row[["lead", "lead_low", "lead_high"]].tolist() == pytest.approx([0] * 3)
    scores = {("all", "ours"): subjects([0.6, np.nan, 0.8])}
    row = staging_table(scores, "ours", "all").loc["all", "ours", "kappa"]
    assert (row["value"], row["subjects"]) == (pytest.approx(0.7), 2)


def test_outcomes_share_their_resamples():
    y, good = np.tile([0, 1], 10), np.tile([0.1, 0.9], 10)[None]
    worse = good.copy()
    worse[0, :5] = 0.5
    chances = {("apnea", "ours"): (good, y), ("apnea", "other"): (worse, y)}
    row = outcome_table(chances, "ours").loc["apnea", "other", "auroc"]
    assert row["lead"] == pytest.approx(1 - row["value"])
    assert 0 <= row["lead_low"] < row["lead"] < row["lead_high"]


def test_output_is_marked_simulated(staging, tmp_path, capsys):
    write_table("simulated_staging", staging, tmp_path)
    printed = capsys.readouterr().out
    assert "kappa, ours leads by" in printed
    assert printed.startswith("| simulated input |")
    assert "+0.100 (+0.100 to +0.100)" in printed
    assert (tmp_path / "simulated_staging.md").read_text().strip() == printed.strip()
    assert pd.read_csv(tmp_path / "simulated_staging.csv")["pooled"].tolist()[:2] == [0.5, 0.6]
    assert shown(staging).loc["all", "ours"].iloc[1] == ""


@pytest.fixture(scope="module")
def run(tmp_path_factory, checkpoint_path):
    """Folder of a run with a small encoder that knows five of the nine sensors."""
    folder = tmp_path_factory.mktemp("psg")
    arguments = ["--checkpoint", str(checkpoint_path), "--out", str(folder / "out")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(psg_scores, "EPOCH_STRENGTHS", (0.01,))
        patch.setattr(psg_scores, "NIGHT_STRENGTHS", (0.01,))
        main([*arguments, "--nights", "12", "--hours", "0.25", "--jobs", "1", "--repeats", "1"])
    return folder / "out"


def test_every_input_is_scored(run):
    table = pd.read_csv(run / "simulated_staging.csv")
    inputs = {"all sensors", UNSEEN, *map(str, LOSSES)}
    inputs |= {f"{name} alone" for name in ("eeg", "ecg", "effort", "spo2", "ibi")}
    assert set(table["simulated input"]) == inputs
    assert set(table["features"]) == {"small", "small, random weights", "hand-crafted"}
    assert len(table) == len(inputs) * 3 * 2
    assert (table["subjects"] == 12).all()
    assert table["value"].notna().all()


def test_every_subject_is_scored(run):
    table = pd.read_csv(run / "simulated_outcomes.csv")
    assert set(table["simulated outcome"]) <= {"apnea", "hypertension", "event"}
    assert "age, sex and BMI" in set(table["features"])
    assert table["value"].between(0, 1).all()
    table = pd.read_csv(run / "simulated_subjects.csv")
    assert table["subject"].nunique() == 12
    assert {path.suffix for path in run.iterdir()} == {".csv", ".md"}
