# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pandas as pd
import pytest

from sleep2vec_sklearn import Recording
from sleep2vec_sklearn.errors import InvalidRecordingError
from sleep2vec_sklearn.evaluation import respiratory_statistics, sleep_statistics
from sleep2vec_sklearn.evaluation.events import is_type


def night(*rows, dips=(), spo2=True, stages=(2,) * 120, columns=(), lights=None):
    values = np.full(3600, 96.0)
    for begin, drop in dips:
        values[begin : begin + 30] -= drop
    signals = {"spo2": (values, 1)} if spo2 else {"actigraphy": (np.ones(3600), 1)}
    events = pd.DataFrame(rows, columns=["onset", "duration", "type", *columns])
    return Recording(signals, stages=stages, events=events, lights=lights, id="n1")


APNEA = (100, 20, "obstructive_apnea")
HYPOPNEA = (600, 20, "hypopnea")


def test_indices_are_per_hour_of_sleep():
    row = respiratory_statistics(
        night(APNEA, HYPOPNEA, dips=[(610, 5)], stages=[2] * 60 + [0] * 60)
    )
    expected = {"ahi": 4, "apnea_index": 2, "hypopnea_index": 2, "apneas": 1, "hypopneas": 1}
    assert row[list(expected)].to_dict() == expected
    assert (row["obstructive_apneas"], row["central_apneas"]) == (1, 0)
    assert (row["sleep_hours"], row["mean_event_s"]) == (0.5, 20)


@pytest.mark.parametrize(
    ("dips", "arousals", "counted"),
    [
        ([], [], {"3%": 0, "4%": 0, "scored": 1}),
        ([(610, 3)], [], {"3%": 1, "4%": 0, "scored": 1}),
        ([(610, 4)], [], {"3%": 1, "4%": 1, "scored": 1}),
        ([], [(618, 5, "arousal")], {"3%": 1, "4%": 0, "scored": 1}),
        ([(655, 5)], [(640, 5, "arousal")], {"3%": 0, "4%": 0, "scored": 1}),
    ],
    ids=["neither", "3 points", "4 points", "arousal", "too late"],
)
def test_a_hypopnea_counts_by_the_rule(dips, arousals, counted):
    recording = night(HYPOPNEA, *arousals, dips=dips)
    for rule, number in counted.items():
        row = respiratory_statistics(recording, hypopnea_rule=rule)
        assert (row["hypopneas"], row["hypopneas_left_out"]) == (number, 1 - number), rule


def test_a_desaturation_belongs_to_one_event_only():
    recording = night((600, 20, "hypopnea"), (630, 20, "hypopnea"), dips=[(635, 5)])
    row = respiratory_statistics(recording)
    assert (row["hypopneas"], row["hypopneas_left_out"]) == (1, 1)


def test_an_apnea_needs_neither():
    assert respiratory_statistics(night(APNEA), hypopnea_rule="4%")["ahi"] == 1


@pytest.mark.parametrize("scored", ["hypopnea_with_arousal", "Hypopnea with an arousal|Hypopnea"])
def test_a_type_that_says_arousal_has_one(scored):
    recording = night((600, 20, scored))
    assert respiratory_statistics(recording)["hypopneas"] == 1
    assert respiratory_statistics(recording, hypopnea_rule="4%")["hypopneas"] == 0
    assert respiratory_statistics(recording)["arousal_index"] == 0


def test_sleep_before_lights_off_and_after_lights_on_is_not_counted():
    recording = night(APNEA, (2000, 20, "apnea"), lights=(900, 2700))
    row = respiratory_statistics(recording)
    assert (row["apneas"], row["sleep_hours"], row["ahi"]) == (1, 0.5, 2)
    assert row["sleep_hours"] * 60 == sleep_statistics(recording)["tst_min"]


def test_short_events_and_events_awake_do_not_count():
    stages = [0] * 30 + [2] * 90
    recording = night((100, 20, "apnea"), (1000, 9.5, "apnea"), (1200, 10, "apnea"), stages=stages)
    assert respiratory_statistics(recording)["apneas"] == 1


def test_without_saturation_scored_desaturations_are_looked_at():
    rows = [HYPOPNEA, (615, 20, "SpO2 desaturation")]
    assert respiratory_statistics(night(*rows, spo2=False))["hypopneas"] == 1
    with pytest.raises(InvalidRecordingError, match=r"recording \(n1\) has hypopneas but neither"):
        respiratory_statistics(night(*rows, spo2=False), hypopnea_rule="4%")
    deep = [(*HYPOPNEA, np.nan), (615, 20, "desaturation", 4.5)]
    recording = night(*deep, spo2=False, columns=["drop"])
    assert respiratory_statistics(recording, hypopnea_rule="4%")["hypopneas"] == 1


def test_hypopneas_that_cannot_be_judged_are_refused_with_a_way_out():
    with pytest.raises(InvalidRecordingError, match="hypopnea_rule='scored'"):
        respiratory_statistics(night(HYPOPNEA, spo2=False))
    assert respiratory_statistics(night(APNEA, spo2=False))["ahi"] == 1


def test_a_night_awake_has_no_index():
    row = respiratory_statistics(night(APNEA, stages=[0] * 120))
    assert row["sleep_hours"] == 0
    assert np.isnan(row["ahi"])


def test_a_night_nobody_scored_is_refused_by_name():
    recording = Recording({"spo2": (np.full(60, 95.0), 1)}, id="n1")
    with pytest.raises(InvalidRecordingError, match=r"recording \(n1\) has no events"):
        respiratory_statistics(recording)
    with pytest.raises(InvalidRecordingError, match=r"recording 1 \(n1\) has no events"):
        respiratory_statistics([night(APNEA), recording])


def test_an_unknown_rule_is_refused():
    with pytest.raises(ValueError, match="hypopnea_rule must be one of '3%'"):
        respiratory_statistics(night(APNEA), hypopnea_rule="2%")


@pytest.mark.parametrize(
    ("scored", "wanted", "found"),
    [
        ("Obstructive apnea|Obstructive Apnea", "apnea", True),
        ("Central Apnoea", "apnea", True),
        ("Hypopnoea", "hypopnea", True),
        ("hypopnea", "apnea", False),
        ("obstructive_apnea_with_arousal", "apnea", True),
        ("obstructive_apnea_with_arousal", "arousal", False),
        ("Hypopnea with an arousal|Hypopnea", "arousal", False),
        ("Arousal|Arousal (ASDA)", "arousal", True),
        ("central_apnea", "obstructive_apnea", False),
        ("SpO2 desaturation|SpO2 desaturation", "desaturation", True),
    ],
)
def test_types_are_told_by_their_words(scored, wanted, found):
    assert is_type([scored], wanted).tolist() == [found]
