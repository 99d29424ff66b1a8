# SPDX-License-Identifier: BSD-3-Clause
"""Leads are paired over subjects, changes are against all sensors."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.evaluation.simulated_psg import (
    outcome_table,
    shown,
    staging_table,
    write_table,
)


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


def test_lead_is_mean_paired_difference(staging):
    row = staging.loc["all", "other", "kappa"]
    assert row[["lead", "lead_low", "lead_high"]].tolist() == pytest.approx([0.1] * 3)
    assert staging.loc["eeg alone", "other", "kappa"]["lead"] == pytest.approx(0.0)
    assert np.isnan(staging.loc["all", "ours", "kappa"]["lead"])


def test_change_is_against_all_sensors(staging):
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


def test_subject_without_score_is_left():
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
