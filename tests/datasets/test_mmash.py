# SPDX-License-Identifier: BSD-3-Clause
"""MMASH: days of RR intervals and activity counts, as published and packed in npz files."""

from datetime import datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn.datasets import load_mmash
from sleep2vec_sklearn.errors import ReadError
from sleep2vec_sklearn.recordings.derivation import refine_beat_times
from tests.datasets.files import write

HEAD = ",In Bed Date,In Bed Time,Out Bed Date,Out Bed Time,Total Sleep Time (TST)\n"
# ten minutes around midnight, 20 s lost
AROUND_MIDNIGHT = 86_400 - 300 + np.concatenate([np.arange(200), np.arange(220, 600)])


def load_packed(folder, beat_seconds, diary="", count_seconds=None, intervals=None, counts=None):
    """A beat and a count of 7 per second by default."""
    count_seconds = beat_seconds if count_seconds is None else count_seconds
    np.savez(
        folder / "user_3.npz",
        rr_seconds=beat_seconds,
        rr_ibi_s=np.ones(len(beat_seconds)) if intervals is None else intervals,
        act_seconds=count_seconds,
        act_vector_magnitude=np.full(len(count_seconds), 7.0) if counts is None else counts,
    )
    write(folder / "user_3_sleep.csv", HEAD + diary)
    return load_mmash(folder)[0]


def load_published(folder, seconds, diary=""):
    clock = [f"{s // 3600 % 24:02d}:{s // 60 % 60:02d}:{s % 60:02d}" for s in seconds]
    stamps = [f"{1 + s // 86_400},{c}" for s, c in zip(seconds, clock, strict=True)]
    for name, column, value in (("RR", "ibi_s", 1), ("Actigraph", "Vector Magnitude", 7)):
        rows = "".join(f"{i},{value},{stamp}\n" for i, stamp in enumerate(stamps))
        write(folder / "user_3" / f"{name}.csv", f",{column},day,time\n{rows}")
    write(folder / "user_3" / "sleep.csv", HEAD + diary)
    return load_mmash(folder)[0]


@pytest.mark.parametrize("load", [load_packed, load_published])
def test_day_has_clock_and_gaps(tmp_path, load):
    day = load(tmp_path, AROUND_MIDNIGHT, "0,1,23:59,1,00:03,3\n")
    assert (day.id, day.n_epochs, day.rates) == ("user_3", 20, {"ibi": 4.0, "actigraphy": 1.0})
    assert day.start == datetime(1970, 1, 1, 23, 55)
    assert day.lights == (240.0, 480.0)
    assert day.events.to_dict("records") == [{"onset": 240.0, "duration": 240.0, "type": "in_bed"}]
    assert np.isnan(day["actigraphy"][200:220]).all()
    assert np.nansum(day["actigraphy"]) == 7 * 580
    assert np.isnan(day["ibi"][4 * 203 : 4 * 217]).all()
    np.testing.assert_allclose(day["ibi"][: 4 * 195], 1.0)


def test_user_info_gives_demographics(tmp_path):
    assert "age" not in load_published(tmp_path, AROUND_MIDNIGHT).metadata
    info = tmp_path / "user_3" / "user_info.csv"
    write(info, ",Gender,Weight,Height,Age\n0,M,65,169,0\n")
    metadata = load_mmash(tmp_path)[0].metadata
    assert (metadata["sex"], metadata["weight"], metadata["height"]) == ("M", 65, 169)
    assert np.isnan(metadata["age"])
    write(info, "nothing\n")
    with pytest.raises(ReadError, match=r"user_info\.csv cannot be read"):
        load_mmash(tmp_path)


def test_day_without_diary_or_date(tmp_path):
    day = load_packed(tmp_path, AROUND_MIDNIGHT)
    assert day.lights is None
    assert day.events.empty
    assert np.isnan(day.metadata["in_bed_min"])
    # published as day -29 for two men
    seconds = np.where(AROUND_MIDNIGHT >= 86_400, AROUND_MIDNIGHT - 31 * 86_400, AROUND_MIDNIGHT)
    assert load_packed(tmp_path, seconds).n_epochs == 20


def test_beats_lie_between_seconds(tmp_path):
    times = np.cumsum(np.full(300, 0.7))
    intervals = np.where(np.arange(300) < 150, 0.7, 0.75)
    day = load_packed(tmp_path, np.floor(times), "", np.arange(210.0), intervals)
    changed = np.flatnonzero(day["ibi"] > 0.725)[0] / 4
    assert changed == pytest.approx(times[150], abs=1.0)


@settings(max_examples=30)
@given(st.lists(st.floats(0.4, 1.4), min_size=40, max_size=90))
def test_beat_times_follow_the_clock(intervals):
    true = np.cumsum(intervals)
    refined = refine_beat_times(np.floor(true) + 0.5, np.array(intervals))
    assert (np.diff(refined) >= 0).all()
    assert np.abs(refined - true).max() <= 1.0


def test_stays_in_bed_are_events(tmp_path):
    seconds = 79_200 + np.arange(36_000.0)
    diary = "0,1,23:00,2,03:00,200\n1,2,04:00,2,06:00,100\n"
    day = load_packed(tmp_path, seconds, diary)
    assert day.events["onset"].tolist() == [3600, 6 * 3600]
    assert day.events["duration"].tolist() == [4 * 3600, 2 * 3600]
    assert day.lights == (3600, 8 * 3600)
    assert dict(day.metadata) == {
        "site": "mmash", "sex": "M", "in_bed_min": 360, "sleep_min": 300,
    }  # fmt: skip
    # the morning with the evening's date
    assert load_packed(tmp_path, seconds, "0,1,23:00,1,07:00,400\n").lights == (3600, 9 * 3600)


def test_day_starts_with_first_sensor(tmp_path):
    seconds = 79_200 + np.arange(36_000.0)
    day = load_packed(tmp_path, seconds, "", seconds + 60, counts=np.arange(36_000) % 7)
    assert day.start == datetime(1970, 1, 1, 22, 0)
    assert np.isnan(day["actigraphy"][:60]).all()
    np.testing.assert_array_equal(day["actigraphy"][60:74], [*range(7)] * 2)


@pytest.mark.parametrize("name", ["user_3.npz", "user_3_sleep.csv"])
@pytest.mark.parametrize("damaged", ["damaged", "PK\x03\x04", ""])
def test_damaged_file_is_named(tmp_path, name, damaged):
    load_packed(tmp_path, AROUND_MIDNIGHT)
    write(tmp_path / name, damaged)
    with pytest.raises(ReadError, match=name):
        load_mmash(tmp_path)


def test_day_without_beats_is_named(tmp_path):
    with pytest.raises(ReadError, match=r"user_3\.npz.*no row"):
        load_packed(tmp_path, np.zeros(0))
