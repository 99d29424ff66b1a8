# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pandas as pd
import pytest

from sleep2vec_sklearn import Recording
from sleep2vec_sklearn.errors import InvalidRecordingError
from sleep2vec_sklearn.evaluation import (
    desaturations,
    hypoxic_burden,
    oximetry_statistics,
    saturation_per_second,
)
from sleep2vec_sklearn.recordings import Signal


def saturation(n_seconds, *dips, level=96.0):
    """Flat, with dips of (begin, end, drop)."""
    values = np.full(n_seconds, level)
    for begin, end, drop in dips:
        values[begin:end] -= drop
    return values


def recording(values, rate=1, **given):
    return Recording({"spo2": (values, rate)}, **given)


def apneas(*spans, type="obstructive_apnea"):
    rows = [(begin, end - begin, type) for begin, end in spans]
    return pd.DataFrame(rows, columns=["onset", "duration", "type"])


def test_artefacts_are_gaps():
    values = saturation(60)
    values[10:12], values[20], values[30], values[40] = 0, 101, 49.9, 70
    seen = saturation_per_second(values)
    assert np.flatnonzero(np.isnan(seen)).tolist() == [10, 11, 20, 30, 40]


def test_a_deep_fall_that_takes_its_time_is_no_artefact():
    values = 96 - np.interp(np.arange(60), [20, 35, 45], [0, 30, 0])
    assert np.isfinite(saturation_per_second(values)).all()


@pytest.mark.parametrize("rate", [0.5, 1, 4, 25])
def test_any_rate_becomes_one_value_per_second(rate):
    values = np.repeat(saturation(60, (20, 40, 5)), max(int(rate), 1))[:: 2 if rate < 1 else 1]
    seen = saturation_per_second(Signal(values, rate, "%"))
    np.testing.assert_array_equal(seen, saturation(60, (20, 40, 5)))


def test_a_desaturation_is_described():
    row = desaturations(saturation(300, (100, 140, 4), (110, 120, 2))).iloc[0]
    expected = {"onset": 100, "duration": 40, "nadir_time": 110, "baseline": 96, "nadir": 90}
    expected |= {"drop": 6, "area": (40 * 4 + 10 * 2) / 60}
    assert row.to_dict() == pytest.approx(expected)


@pytest.mark.parametrize(("drop", "n3", "n4"), [(2.9, 0, 0), (3, 1, 0), (4, 1, 1)])
def test_the_threshold_is_reached_or_not(drop, n3, n4):
    values = saturation(300, (100, 140, drop))
    assert len(desaturations(values, threshold=3)) == n3
    assert len(desaturations(values, threshold=4)) == n4


@pytest.mark.parametrize(("seconds", "count"), [(9, 0), (10, 1), (120, 1), (121, 0)])
def test_a_desaturation_lasts_from_10_seconds_to_two_minutes(seconds, count):
    assert len(desaturations(saturation(400, (100, 100 + seconds, 5)))) == count


def test_a_fall_before_full_recovery_is_the_next_one():
    values = saturation(400, (100, 160, 2), (105, 125, 4), (135, 155, 4))
    assert desaturations(values)["onset"].tolist() == [100, 135]


def test_a_slow_drift_is_none():
    assert len(desaturations(96 - np.arange(3000) / 300)) == 0


def test_the_baseline_follows_a_drift():
    values = 96 - np.arange(3000) / 600
    values[2000:2030] -= 3
    row = desaturations(values).iloc[0]
    assert row["drop"] == pytest.approx(3, abs=0.3)


def test_a_long_gap_ends_what_is_going_on():
    values = saturation(400, (100, 400, 5))
    values[110:130] = np.nan
    assert len(desaturations(values)) == 0
    values = saturation(400, (100, 140, 5))
    values[110:115] = np.nan
    assert len(desaturations(values)) == 1


def test_a_night_counted_by_hand():
    values = saturation(7200, (600, 630, 5), (4000, 4060, 3.5), (5000, 5090, 7.5))
    row = oximetry_statistics(recording(values, stages=[0] * 120 + [2] * 120))
    expected = {
        "valid_hours": 1,
        "valid_pct": 100,
        "mean_spo2": 96 - (60 * 3.5 + 90 * 7.5) / 3600,
        "median_spo2": 96,
        "nadir_spo2": 88.5,
        "t90_min": 1.5,
        "t90_pct": 2.5,
        "t88_min": 0,
        "t88_pct": 0,
        "odi3": 2,
        "odi4": 1,
        "odi3_recording": 1.5,
        "odi4_recording": 1,
    }
    assert row.drop("hypoxic_burden").to_dict() == pytest.approx(expected)
    assert np.isnan(row["hypoxic_burden"])


def test_gaps_shorten_the_hours_that_rates_are_per():
    values = saturation(7200, (600, 630, 5))
    values[3600:] = np.nan
    row = oximetry_statistics(recording(values))
    assert (row["valid_hours"], row["valid_pct"], row["odi3"]) == (1, 50, 1)


def test_a_night_without_a_usable_second_is_nan():
    row = oximetry_statistics(recording(np.zeros(600), events=apneas((100, 120))))
    assert row["valid_hours"] == 0
    assert row.drop(["valid_hours", "valid_pct"]).isna().all()


def test_many_nights_are_a_table():
    table = oximetry_statistics([recording(saturation(600), id="a"), recording(saturation(900))])
    assert table.index.tolist() == ["a", 1]


def test_the_burden_is_the_area_of_the_falls_per_hour_of_sleep():
    ends = [600, 1200, 1800, 2400]
    values = saturation(3600, *[(end + 5, end + 35, 6) for end in ends])
    night = recording(values, stages=[2] * 120, events=apneas(*[(e - 20, e) for e in ends]))
    assert hypoxic_burden(night) == pytest.approx(4 * 3, rel=0.01)
    assert oximetry_statistics(night)["hypoxic_burden"] == hypoxic_burden(night)


def test_falls_without_an_event_and_events_awake_do_not_count():
    values = saturation(7200, (625, 655, 6), (2000, 2030, 6), (5025, 5055, 6))
    events = apneas((600, 620), (5000, 5020))
    night = recording(values, stages=[2] * 120 + [0] * 120, events=events)
    assert hypoxic_burden(night) == pytest.approx(3, rel=0.01)


def test_what_two_windows_share_counts_once():
    ends = np.arange(300, 3300, 30)
    values = saturation(3600, (300, 3330, 0))
    values[300:3330] -= 4 + 4 * np.sin(np.arange(3030) * 2 * np.pi / 30)
    night = recording(values, events=apneas(*[(e - 15, e) for e in ends]))
    assert hypoxic_burden(night) <= np.sum(values.max() - values) / 60 + 1e-6


def test_no_event_is_no_burden_and_no_signal_is_unknown():
    assert hypoxic_burden(recording(saturation(600), events=apneas())) == 0
    assert np.isnan(hypoxic_burden(recording(np.zeros(600), events=apneas((100, 120)))))


def test_a_burden_needs_scored_events():
    with pytest.raises(InvalidRecordingError, match=r"recording \(n1\) has no events"):
        hypoxic_burden(recording(saturation(600), id="n1"))


def test_a_night_without_saturation_is_refused_with_what_it_has():
    with pytest.raises(InvalidRecordingError, match="has no 'spo2', but ecg"):
        oximetry_statistics(Recording({"ecg": (np.zeros(6000), 100)}))


def test_shares_are_not_taken_for_percent():
    with pytest.raises(InvalidRecordingError, match="Multiply it by 100"):
        saturation_per_second(np.full(60, 0.96))


def test_a_threshold_within_recovery_is_refused():
    with pytest.raises(ValueError, match="threshold must be above 1"):
        desaturations(saturation(60), threshold=1)
