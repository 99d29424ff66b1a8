# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from sleep2vec_sklearn import Recording, make_sleep_cohort, stage_night
from sleep2vec_sklearn.datasets import write_edf_cohort
from sleep2vec_sklearn.errors import InvalidRecordingError, UnknownModalityError
from sleep2vec_sklearn.evaluation import sleep_statistics

SENSORS = ("eeg", "eog", "spo2", "ibi")


@pytest.fixture(scope="module")
def night():
    """A simulated night that is in no training set: another seed."""
    return make_sleep_cohort(1, hours=3, modalities=SENSORS, missing=0, random_state=11)[0]


@pytest.fixture(scope="module")
def staged(night):
    return stage_night(night, cache=None)


def test_every_epoch_has_a_stage_and_five_probabilities(night, staged):
    assert staged.stages.shape == (night.n_epochs,)
    np.testing.assert_allclose(staged.probabilities.sum(axis=1), 1)
    np.testing.assert_array_equal(staged.probabilities.to_numpy().argmax(axis=1), staged.stages)


def test_a_simulated_night_is_staged_far_better_than_by_chance(night, staged):
    scored = night.stages >= 0
    assert cohen_kappa_score(night.stages[scored], staged.stages[scored]) > 0.4


@pytest.mark.parametrize("kept", [("ibi",), ("spo2",), ("eog", "ibi")])
def test_any_subset_of_the_sensors_is_enough(night, kept):
    found = stage_night(night.without(*(set(SENSORS) - set(kept))))
    assert found.modalities == kept
    assert (found.stages >= 0).all()


def test_modalities_that_are_chosen_are_those_of_a_night_without_the_others(night):
    chosen = stage_night(night, modalities=["ibi"])
    without = stage_night(night.without("eeg", "eog", "spo2"))
    np.testing.assert_array_equal(chosen.probabilities, without.probabilities)


def test_an_epoch_without_any_signal_is_unscored():
    rate = 4
    values = 0.9 + 0.05 * np.random.default_rng(0).standard_normal(60 * 30 * rate)
    values[20 * 30 * rate : 30 * 30 * rate] = np.nan
    staged = stage_night({"ibi": values})
    assert (staged.stages[20:30] == -1).all()
    assert staged.probabilities.iloc[20:30].isna().all(axis=None)
    assert (np.delete(staged.stages, np.s_[20:30]) >= 0).all()
    assert "10 without a signal" in repr(staged)


def test_a_flat_sensor_is_told(night):
    flat = {"eeg": (np.zeros(60 * 3840), 128), "spo2": (95 + np.arange(1800) % 3.0, 1)}
    staged = stage_night(Recording(flat))
    assert staged.left_out == ("eeg",)
    assert "without a signal: eeg" in staged.rests_on
    assert staged.modalities == ("spo2",)


def test_numbers_of_the_night_are_those_of_a_sleep_report(night, staged):
    expected = sleep_statistics(staged.stages, lights=night.lights)
    np.testing.assert_array_equal(staged.statistics(), expected)


def test_the_table_has_a_row_per_epoch(staged):
    table = staged.to_frame()
    assert [*table.columns] == ["onset", "stage", "W", "N1", "N2", "N3", "R", "n_modalities"]
    assert table["onset"].iloc[2] == 60
    assert set(table["stage"]) <= {"W", "N1", "N2", "N3", "R"}
    assert (table["n_modalities"] == 4).all()


def test_what_was_used_is_named(staged):
    assert staged.modalities == SENSORS
    assert "eeg 100 %" in staged.rests_on
    assert repr(staged).startswith("StagedNight(sim-0001-n1: W ")
    assert staged.card["real_people"]


def test_a_file_is_read(tmp_path):
    cohort = make_sleep_cohort(1, hours=0.25, modalities=["eeg"], missing=0, random_state=0)
    write_edf_cohort(cohort, tmp_path)
    staged = stage_night(next(tmp_path.glob("*.edf")), modalities=["eeg"])
    assert len(staged.stages) == 30


def test_several_nights_are_refused(night):
    with pytest.raises(InvalidRecordingError, match="stage them one by one"):
        stage_night([night, night])


def test_sensors_that_the_night_does_not_have_are_refused(night):
    with pytest.raises(InvalidRecordingError, match="none of which"):
        stage_night(night, modalities=["ppg"])
    with pytest.raises(UnknownModalityError):
        stage_night(night, modalities=["phone"])


def test_a_flat_night_is_told_nothing_of_a_transformer():
    flat = Recording({"spo2": (np.full(7200, 96.0), 4)}, id="flat")
    with pytest.raises(InvalidRecordingError, match="no usable signal: spo2 flat") as told:
        stage_night(flat)
    assert "on_error" not in str(told.value)
