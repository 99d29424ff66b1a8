# SPDX-License-Identifier: BSD-3-Clause
"""Honest intervals, and tables by subject that stay paired."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.evaluation.scores import (
    as_markdown,
    average_tables,
    bootstrap_interval,
    paired_differences,
    summarise,
    write_results,
)


def table_of(values, pooled=0.5):
    scores = {"wake_auc": values, "kappa": values, "n_epochs": 9}
    table = pd.DataFrame(scores, index=[*"abcd"[: len(values)]])
    table.attrs["pooled"] = {"wake_auc": pooled, "kappa": pooled}
    return table


def test_summary_columns():
    rows = summarise({"x": table_of([0.2, 0.4, 0.6, 0.8], 0.7)}, n_resamples=500)
    assert [*rows.index] == [("x", "wake_auc"), ("x", "kappa")]
    row = rows.loc[("x", "kappa")]
    assert (row["mean"], row["pooled"]) == (pytest.approx(0.5), 0.7)
    assert row["sd"] == pytest.approx(np.std([0.2, 0.4, 0.6, 0.8], ddof=1))
    assert 0.2 <= row["low"] < 0.5 < row["high"] <= 0.8
    rows = summarise({"x": table_of([0.2, np.nan, 0.6])}, n_resamples=50)
    assert rows.loc[("x", "wake_auc"), "mean"] == pytest.approx(0.4)
    assert rows["subjects"].tolist() == [2, 2]


def test_differences_are_paired():
    tables = {"ours": table_of([0.5, 0.6, 0.7]), "other": table_of([0.4, 0.7, 0.4])}
    rows = paired_differences(tables, "ours", n_resamples=200)
    row = rows.loc[("other", "kappa")]
    assert row["difference"] == pytest.approx(0.1)
    assert (row["subjects_better"], row["subjects"]) == (2, 3)
    assert set(rows.index.get_level_values(0)) == {"other"}
    turned = {"other": tables["other"].loc[[*"cab"]], "ours": tables["ours"]}
    pd.testing.assert_frame_equal(paired_differences(turned, "ours", n_resamples=200), rows)


def test_interval_pairs_subjects():
    rng = np.random.default_rng(0)
    person = rng.uniform(0, 1, 4)
    tables = {"ours": table_of(person + 0.1), "other": table_of(person)}
    row = paired_differences(tables, "ours").loc[("other", "kappa")]
    # people differ by far more than that, and the lead is the same in each
    assert (row["low"], row["high"]) == (pytest.approx(0.1), pytest.approx(0.1))


def test_interval_width_matches_normal():
    values = np.random.default_rng(0).standard_normal(100)
    low, high = bootstrap_interval(values, 4000)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 10, rel=0.1)
    assert bootstrap_interval(values, 4000) == (low, high)
    assert bootstrap_interval(np.full(5, 0.3), 10) == pytest.approx((0.3, 0.3))


def test_tables_are_averaged_and_shown():
    average = average_tables([table_of([0.2, 0.4], 0.1), table_of([0.4, 0.8], 0.3)])
    np.testing.assert_allclose(average["kappa"], [0.3, 0.6])
    assert average.attrs["pooled"]["kappa"] == pytest.approx(0.2)
    table = pd.DataFrame({"kappa": [0.12345], "n": [3]}, index=pd.Index(["x"], name="who"))
    assert as_markdown(table).splitlines() == [
        "| who | kappa | n |",
        "| --- | --- | --- |",
        "| x | 0.123 | 3 |",
    ]


def test_results_are_printed_and_written(tmp_path, capsys):
    table = table_of([0.2, 0.4])
    write_results({"scores": summarise({"x": table}, n_resamples=9)}, table, tmp_path / "out")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "scores.csv", "scores.md", "subjects.csv",
    }  # fmt: skip
    assert "| x | kappa | 0.300 |" in capsys.readouterr().out
    subjects = pd.read_csv(tmp_path / "out" / "subjects.csv")
    assert subjects["kappa"].tolist() == [0.2, 0.4]
