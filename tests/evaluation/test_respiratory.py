# SPDX-License-Identifier: BSD-3-Clause
import contextlib

import numpy as np
import pandas as pd
import pytest

from sleep2vec_sklearn import Recording
from sleep2vec_sklearn.errors import InvalidRecordingError, RecordingWarning
from sleep2vec_sklearn.evaluation import (
    desaturations,
    hypoxic_burden,
    oximetry_statistics,
    respiratory_statistics,
    saturation_per_second,
    sleep_statistics,
)
from sleep2vec_sklearn.recordings import Signal

APNEA = (100, 20, "obstructive_apnea")
HYPOPNEA = (600, 20, "hypopnea")
ALL = {"hypopnea_rule": "scored"}
BURDEN = "hypoxic_burden"


def night(*rows, dips=(), spo2=True, stages=(2,) * 120, columns=(), lights=None):
    values = np.full(3600, 96.0)
    for begin, drop in dips:
        values[begin : begin + 30] -= drop
    signals = {"spo2": (values, 1)} if spo2 else {"actigraphy": (np.ones(3600), 1)}
    events = pd.DataFrame(rows, columns=["onset", "duration", "type", *columns])
    return Recording(signals, stages=stages, events=events, lights=lights, id="n1")


def test_indices_are_per_hour():
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
def test_rule_decides_on_hypopneas(dips, arousals, counted):
    recording = night(HYPOPNEA, *arousals, dips=dips)
    for rule, number in counted.items():
        row = respiratory_statistics(recording, hypopnea_rule=rule)
        assert (row["hypopneas"], row["hypopneas_left_out"]) == (number, 1 - number), rule


def test_desaturation_confirms_one_event():
    recording = night((600, 20, "hypopnea"), (630, 20, "hypopnea"), dips=[(635, 5)])
    row = respiratory_statistics(recording)
    assert (row["hypopneas"], row["hypopneas_left_out"]) == (1, 1)


@pytest.mark.parametrize("spo2", [True, False])
def test_apnea_needs_no_confirmation(spo2):
    assert respiratory_statistics(night(APNEA, spo2=spo2), hypopnea_rule="4%")["ahi"] == 1


@pytest.mark.parametrize("scored", ["hypopnea_with_arousal", "Hypopnea with an arousal|Hypopnea"])
def test_type_may_include_arousal(scored):
    recording = night((600, 20, scored))
    assert respiratory_statistics(recording)["hypopneas"] == 1
    assert respiratory_statistics(recording, hypopnea_rule="4%")["hypopneas"] == 0
    assert respiratory_statistics(recording)["arousal_index"] == 0


def test_only_sleep_in_bed_counts():
    recording = night(APNEA, (2000, 20, "apnea"), lights=(900, 2700))
    row = respiratory_statistics(recording)
    assert (row["apneas"], row["sleep_hours"], row["ahi"]) == (1, 0.5, 2)
    assert row["sleep_hours"] * 60 == sleep_statistics(recording)["tst_min"]


def test_short_or_awake_events_excluded():
    stages = [0] * 30 + [2] * 90
    recording = night((100, 20, "apnea"), (1000, 9.5, "apnea"), (1200, 10, "apnea"), stages=stages)
    assert respiratory_statistics(recording)["apneas"] == 1


def test_scored_desaturations_replace_spo2():
    rows = [HYPOPNEA, (615, 20, "SpO2 desaturation")]
    assert respiratory_statistics(night(*rows, spo2=False))["hypopneas"] == 1
    with pytest.warns(RecordingWarning, match=r"cannot judge.*recording \(n1\): 1"):
        row = respiratory_statistics(night(*rows, spo2=False), hypopnea_rule="4%")
    assert np.isnan(row["ahi"])
    deep = [(*HYPOPNEA, np.nan), (615, 20, "desaturation", 4.5)]
    recording = night(*deep, spo2=False, columns=["drop"])
    assert respiratory_statistics(recording, hypopnea_rule="4%")["hypopneas"] == 1


def blind(recording, *spans, reading=np.nan):
    """The night with an oximeter that reads this in spans of seconds."""
    values = recording["spo2"].copy()
    for begin, end in spans:
        values[begin:end] = reading
    kept = {"stages": recording.stages, "events": recording.events, "id": recording.id}
    return Recording({"spo2": (values, 1)}, **kept)


@pytest.mark.parametrize("reading", [np.nan, 0, 127])
@pytest.mark.parametrize(
    ("n_unseen", "spans", "index"), [(1, [(0, 240)], 9), (2, [(0, 540)], np.nan),
                                     (10, [(0, 3600)], np.nan), (0, [(0, 205)], 10)],
)  # fmt: skip
def test_unseen_hypopneas_are_apart(reading, n_unseen, spans, index):
    onsets = range(200, 3200, 300)
    whole = night(*[(s, 20, "hypopnea") for s in onsets], dips=[(s + 10, 5) for s in onsets])
    recording = blind(whole, *spans, reading=reading)
    with contextlib.nullcontext() if not n_unseen else pytest.warns(RecordingWarning, match=(
        f"cannot judge.*do not count: {n_unseen}\\."
    )):  # fmt: skip
        row = respiratory_statistics(recording)
    counts = row[["hypopneas", "hypopneas_left_out", "hypopneas_unjudged"]].tolist()
    assert counts == [10 - n_unseen, 0, n_unseen]
    assert row["ahi"] == pytest.approx(index, nan_ok=True)
    assert respiratory_statistics(recording, hypopnea_rule="scored")["ahi"] == 10


def test_others_confirm_without_oximeter():
    for rows in ([HYPOPNEA, (618, 5, "arousal")], [(600, 20, "Hypopnoe mit Entsättigung")]):
        assert respiratory_statistics(night(*rows, spo2=False))["hypopneas"] == 1


@pytest.mark.parametrize(
    "names",
    [("Hypopnoe", "Obstruktive Apnoe"), ("H", "OA"), ("Hipopnea", "Apnea obstructiva"),
     ("Hypopnée", "Apnée obstructive"), ("HYP-C", "APNEA-O"), ("Ipopnea", "Apnea ostruttiva")],
)  # fmt: skip
def test_names_of_any_language_count(names):
    row = respiratory_statistics(night(*[(s * 100, 20, names[s % 2]) for s in range(1, 31)]), **ALL)
    assert row[["ahi", "apneas", "obstructive_apneas", "hypopneas"]].tolist() == [30, 15, 15, 15]


@pytest.mark.parametrize("others", [[], [APNEA, HYPOPNEA]])
def test_unknown_names_are_no_zero(others):
    recording = night(*others, (900, 25, "Zeta"), (1900, 25, "Zeta"), (2000, 4, "Eta"))
    with pytest.warns(RecordingWarning, match=r"'Eta' \(2\)\. .*: \.\.\.}, one of") as caught:
        row = respiratory_statistics([recording, recording], **ALL)
    assert len(caught) == 1
    assert row.drop(columns="sleep_hours").isna().all(axis=None)
    own = {"zeta": "hypopnea", "ETA": None}
    row = respiratory_statistics(recording, event_names=own, **ALL)
    assert (row["ahi"], row["arousal_index"]) == (2 + len(others), 0)


def test_short_notes_are_no_events():
    recording = night(APNEA, (500, 5, "arousal"), (900, 0, "Frau Zeta steht auf"))
    with pytest.warns(RecordingWarning, match="'Frau Zeta steht auf'"):
        row = respiratory_statistics(recording)
    assert (row["ahi"], row["arousal_index"]) == (1, 1)


def test_events_without_length():
    row = respiratory_statistics(night(APNEA, (500, 0, "arousal")))
    assert (row["ahi"], row["arousal_index"]) == (1, 1)
    recording = night(APNEA, (900, 0, "Obstructive apnea"), (950, 4, "arousal"))
    with pytest.warns(RecordingWarning, match="last 0 s do not count: 1"):
        row = respiratory_statistics(recording)
    with pytest.warns(RecordingWarning, match="last 0 s do not count: 1"):
        assert np.isnan(hypoxic_burden(recording))
    assert row[["ahi", "apneas"]].isna().all()
    assert row["arousal_index"] == 1
    assert respiratory_statistics(recording, min_duration=0)["ahi"] == 2


def test_repeated_events_are_told():
    with pytest.warns(RecordingWarning, match="count twice: 1"):
        assert respiratory_statistics(night(APNEA, (105, 20, "apnea")))["ahi"] == 2
    assert respiratory_statistics(night(APNEA, (115, 20, "apnea")))["ahi"] == 2


@pytest.mark.parametrize("rows", [[(900, 0, "Zeta")], [(900, 0, "Zeta"), (0, 0, "Lights off")]])
def test_notes_alone_are_no_scoring(rows):
    with pytest.warns(RecordingWarning, match="'Zeta'") as caught:
        assert respiratory_statistics(night(*rows)).drop("sleep_hours").isna().all()
    assert len(caught) == 1


def test_marks_alone_are_no_scoring():
    recording = night((0, 0, "Lights off"), (60, 0, "Body position: supine"))
    with pytest.warns(RecordingWarning, match="nobody may have scored"):
        row = respiratory_statistics(recording)
    assert row.drop("sleep_hours").isna().all()
    assert respiratory_statistics(night())["ahi"] == 0
    assert oximetry_statistics(recording)[["odi3", BURDEN]].isna().tolist() == [False, True]


def test_events_outside_are_counted():
    early, late = (-60, 20, "hypopnea"), (3600, 20, "apnea")
    with pytest.warns(
        RecordingWarning, match=r"outside of their night do not count: 2\."
    ) as caught:
        row = respiratory_statistics(night(early, (-5, 20, "apnea"), APNEA, late), **ALL)
    assert len(caught) == 1
    assert row["ahi"] == 2
    with pytest.warns(RecordingWarning, match="recording 1"):
        table = respiratory_statistics([night(APNEA), night(early, late)])
    assert table["ahi"].tolist() == pytest.approx([1, np.nan], nan_ok=True)


@pytest.mark.parametrize(("end", "burden"), [(0, 39), (300, 36), (900, np.nan)])
def test_burden_needs_the_oximeter(end, burden):
    onsets = range(100, 3500, 280)
    whole = night(*[(s, 20, "apnea") for s in onsets], dips=[(s + 25, 6) for s in onsets])
    assert hypoxic_burden(blind(whole, (0, end))) == pytest.approx(burden, nan_ok=True)


def test_unknown_names_awake_are_ignored():
    recording = night(APNEA, (3000, 20, "Zeta"), stages=[2] * 60 + [0] * 60)
    with pytest.warns(RecordingWarning, match="'Zeta'"):
        assert respiratory_statistics(recording)["ahi"] == 2


def test_burden_needs_names():
    recording = night((600, 20, "Zeta"), dips=[(625, 6)])
    for statistic in (hypoxic_burden, lambda *a, **k: oximetry_statistics(*a, **k)[BURDEN]):
        with pytest.warns(RecordingWarning, match="'Zeta'"):
            assert np.isnan(statistic(recording))
        assert statistic(recording, event_names={"Zeta": "apnea"}) == pytest.approx(3)


def test_awake_night_has_no_index():
    row = respiratory_statistics(night(APNEA, stages=[0] * 120))
    assert row["sleep_hours"] == 0
    assert np.isnan(row["ahi"])


def test_unscored_nights_are_refused():
    recording = Recording({"spo2": (np.full(60, 95.0), 1)}, id="n1")
    with pytest.raises(InvalidRecordingError, match=r"recording 1 \(n1\) has no events"):
        respiratory_statistics([night(APNEA), recording])
    for statistics in (respiratory_statistics, hypoxic_burden):
        with pytest.raises(InvalidRecordingError, match=r"recording \(n1\) has no events"):
            statistics(recording)


def test_unknown_rule_is_refused():
    with pytest.raises(ValueError, match="hypopnea_rule must be one of '3%'"):
        respiratory_statistics(night(APNEA), hypopnea_rule="2%")


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


def test_slow_deep_drop_is_kept():
    values = 96 - np.interp(np.arange(60), [20, 35, 45], [0, 30, 0])
    assert np.isfinite(saturation_per_second(values)).all()


@pytest.mark.parametrize("rate", [0.5, 1, 4, 25])
def test_rates_become_one_hertz(rate):
    values = np.repeat(saturation(60, (20, 40, 5)), max(int(rate), 1))[:: 2 if rate < 1 else 1]
    seen = saturation_per_second(Signal(values, rate, "%"))
    np.testing.assert_array_equal(seen, saturation(60, (20, 40, 5)))


def test_desaturation_is_described():
    row = desaturations(saturation(300, (100, 140, 4), (110, 120, 2))).iloc[0]
    expected = {"onset": 100, "duration": 40, "nadir_time": 110, "baseline": 96, "nadir": 90}
    expected |= {"drop": 6, "area": (40 * 4 + 10 * 2) / 60}
    assert row.to_dict() == pytest.approx(expected)


@pytest.mark.parametrize(("drop", "n3", "n4"), [(2.9, 0, 0), (3, 1, 0), (4, 1, 1)])
def test_threshold_itself_counts(drop, n3, n4):
    values = saturation(300, (100, 140, drop))
    assert len(desaturations(values, threshold=3)) == n3
    assert len(desaturations(values, threshold=4)) == n4


@pytest.mark.parametrize(("seconds", "count"), [(9, 0), (10, 1), (120, 1), (121, 0)])
def test_duration_limits_of_desaturations(seconds, count):
    assert len(desaturations(saturation(400, (100, 100 + seconds, 5)))) == count


def test_partial_recovery_separates_desaturations():
    values = saturation(400, (100, 160, 2), (105, 125, 4), (135, 155, 4))
    assert desaturations(values)["onset"].tolist() == [100, 135]


def test_slow_drift_is_followed():
    drift = 96 - np.arange(3000) / 600
    assert len(desaturations(2 * drift - 96)) == 0
    drift[2000:2030] -= 3
    assert desaturations(drift)["drop"].iloc[0] == pytest.approx(3, abs=0.3)


@pytest.mark.parametrize(("end", "gap", "count"), [(400, 20, 0), (140, 5, 1)])
def test_long_gap_ends_desaturations(end, gap, count):
    values = saturation(400, (100, end, 5))
    values[110 : 110 + gap] = np.nan
    assert len(desaturations(values)) == count


def test_oximetry_of_a_known_night():
    values = saturation(7200, (600, 630, 5), (4000, 4060, 3.5), (5000, 5090, 7.5))
    row = oximetry_statistics(recording(values, stages=[0] * 120 + [2] * 120))
    expected = {
        "valid_hours": 1, "valid_pct": 100, "mean_spo2": 96 - (60 * 3.5 + 90 * 7.5) / 3600,
        "median_spo2": 96, "nadir_spo2": 88.5, "t90_min": 1.5, "t90_pct": 2.5, "t88_min": 0,
        "t88_pct": 0, "odi3": 2, "odi4": 1, "odi3_recording": 1.5, "odi4_recording": 1,
    }  # fmt: skip
    assert row.drop("hypoxic_burden").to_dict() == pytest.approx(expected)
    assert np.isnan(row["hypoxic_burden"])


def test_rates_are_per_valid_hour():
    values = saturation(7200, (600, 630, 5))
    values[3600:] = np.nan
    row = oximetry_statistics(recording(values))
    assert (row["valid_hours"], row["valid_pct"], row["odi3"]) == (1, 50, 1)


def test_unusable_night_is_nan():
    row = oximetry_statistics(recording(np.zeros(600), events=apneas((100, 120))))
    assert row["valid_hours"] == 0
    assert row.drop(["valid_hours", "valid_pct"]).isna().all()


def test_many_nights_are_a_table():
    table = oximetry_statistics([recording(saturation(600), id="a"), recording(saturation(900))])
    assert table.index.tolist() == ["a", 1]


def test_burden_is_area_per_hour():
    ends = [600, 1200, 1800, 2400]
    values = saturation(3600, *[(end + 5, end + 35, 6) for end in ends])
    night = recording(values, stages=[2] * 120, events=apneas(*[(e - 20, e) for e in ends]))
    assert hypoxic_burden(night) == pytest.approx(4 * 3, rel=0.01)
    assert oximetry_statistics(night)["hypoxic_burden"] == hypoxic_burden(night)


def test_burden_needs_events_asleep():
    values = saturation(7200, (625, 655, 6), (2000, 2030, 6), (5025, 5055, 6))
    events = apneas((600, 620), (5000, 5020))
    night = recording(values, stages=[2] * 120 + [0] * 120, events=events)
    assert hypoxic_burden(night) == pytest.approx(3, rel=0.01)


def test_overlapping_windows_count_once():
    ends = np.arange(300, 3300, 30)
    values = saturation(3600, (300, 3330, 0))
    values[300:3330] -= 4 + 4 * np.sin(np.arange(3030) * 2 * np.pi / 30)
    night = recording(values, events=apneas(*[(e - 15, e) for e in ends]))
    assert hypoxic_burden(night) <= np.sum(values.max() - values) / 60 + 1e-6


def test_burden_without_events_or_signal():
    assert hypoxic_burden(recording(saturation(600), events=apneas())) == 0
    assert np.isnan(hypoxic_burden(recording(np.zeros(600), events=apneas((100, 120)))))


def test_missing_spo2_is_refused():
    with pytest.raises(InvalidRecordingError, match="has no 'spo2', but ecg"):
        oximetry_statistics(Recording({"ecg": (np.zeros(6000), 100)}))


def test_declared_fractions_are_percent():
    values = saturation(3600, (600, 630, 3), (1500, 1540, 45)) / 100
    night = recording(values, units={"spo2": "fraction"}, stages=[2] * 120)
    expected = oximetry_statistics(recording(100 * values.round(2), stages=[2] * 120))
    pd.testing.assert_series_equal(oximetry_statistics(night), expected)
    assert expected["odi3"] == 2


@pytest.mark.parametrize(("value", "unit"), [(0.96, "%"), (96.0, "fraction")])
def test_wrong_unit_is_refused(value, unit):
    with pytest.raises(InvalidRecordingError, match=rf"stated in {unit}\. Multiply it by"):
        saturation_per_second(Signal(np.full(60, value), 1.0, unit))


def test_threshold_within_recovery_is_refused():
    with pytest.raises(ValueError, match="threshold must be above 1"):
        desaturations(saturation(60), threshold=1)
