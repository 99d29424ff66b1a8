# SPDX-License-Identifier: BSD-3-Clause
import pandas as pd
import pytest

from benchmarks.evaluation.studies import compare_subsets, non_empty_subsets


def test_there_are_all_subsets_but_the_empty_one():
    subsets = [*non_empty_subsets(["eeg", "eog", "emg"])]
    assert len(subsets) == len({*subsets}) == 7
    assert subsets[-1] == ("eeg", "eog", "emg")


def table_of(*kappas):
    return pd.DataFrame({"kappa": kappas, "n_epochs": 5}, index=[*"abcd"])


def test_a_subset_is_held_against_the_best_single_sensor_in_it():
    tables = {
        "eeg": table_of(0.5, 0.6, 0.7, 0.8),
        "eog": table_of(0.3, 0.3, 0.3, 0.3),
        "emg": table_of(0.9, 0.9, 0.9, 0.9),
        "eeg + eog": table_of(0.4, 0.7, 0.6, 0.9),
        "eog + emg": table_of(0.6, 0.7, 0.6, 0.7),
    }
    found = compare_subsets(tables)
    assert found.loc[("eeg + eog", "kappa"), "best_single"] == "eeg"
    assert found.loc[("eeg + eog", "kappa"), "difference"] == pytest.approx(0.0)
    assert found["falls_below"].tolist() == [False, True]
