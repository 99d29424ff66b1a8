# SPDX-License-Identifier: BSD-3-Clause
"""Counts from the published acceleration; the watch's motion is simulated."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from sleep2vec_sklearn.datasets import load_sleep_accel
from sleep2vec_sklearn.errors import ReadError

SECONDS = 240


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.fixture
def watch(tmp_path):
    """Four minutes; the wrist moves in the third, and nothing came for the first ten seconds."""
    rng = np.random.default_rng(0)
    times = np.sort(rng.uniform(-20, SECONDS + 20, 50 * (SECONDS + 40)))
    times = times[(times < 0) | (times > 10)]
    moving = (times >= 120) & (times < 180)
    z = np.where(moving, 0.5 * np.sin(2 * np.pi * times), 0.0) - 1.0
    rows = "".join(f"{t:.6f} 0.0 0.0 {a:.6f}\n" for t, a in zip(times, z, strict=True))
    write(tmp_path / "motion" / "7_acceleration.txt", rows)
    labels = "".join(f"{30 * i} 2\n" for i in range(SECONDS // 30))
    write(tmp_path / "labels" / "7_labeled_sleep.txt", labels)
    rates = "".join(f"{t},60\n" for t in range(0, SECONDS, 5))
    write(tmp_path / "heart_rate" / "7_heartrate.txt", rates)
    return tmp_path


def test_a_moving_wrist_is_counted_where_it_moved(watch):
    (night,) = load_sleep_accel(watch)
    assert night.modalities == ("ibi", "actigraphy")
    counts = night["actigraphy"]
    assert (len(counts), night.rates["actigraphy"]) == (SECONDS, 1.0)
    assert np.isnan(counts[:9]).all()
    assert counts[125:175].min() > 10 * counts[20:110].max()


def test_acceleration_is_read_late_and_only_for_counts(watch):
    (night,) = load_sleep_accel(watch)
    (watch / "motion" / "7_acceleration.txt").write_text("damaged\n")
    np.testing.assert_allclose(night["ibi"], 1.0)
    with pytest.raises(ReadError, match=r"7_acceleration\.txt"):
        night.read(["actigraphy"])


@pytest.mark.parametrize("text", ["", "1 2 3\n"])
def test_a_file_that_is_no_acceleration_is_named(watch, text):
    (watch / "motion" / "7_acceleration.txt").write_text(text)
    with pytest.raises(ReadError, match=r"7_acceleration\.txt"):
        load_sleep_accel(watch)[0].read()


def test_counts_that_are_there_are_taken_instead(watch):
    write(watch / "activity_counts" / "7_counts_30s.csv", "seconds,count\n0,60\n")
    np.testing.assert_allclose(load_sleep_accel(watch)[0]["actigraphy"][:30], 2.0)


def test_a_fingerprint_follows_each_modality_alone(watch):
    (night,) = load_sleep_accel(watch)
    whole, *parts = night.fingerprint, *map(night.signal_fingerprint, ("ibi", "actigraphy"))
    assert pickle.loads(pickle.dumps(night)).fingerprint == whole
    path = watch / "motion" / "7_acceleration.txt"
    path.write_text(path.read_text() + "239.99 1.0 1.0 1.0\n")
    (other,) = load_sleep_accel(watch)
    assert other.signal_fingerprint("ibi") == parts[0]
    assert other.signal_fingerprint("actigraphy") != parts[1]
    assert other.fingerprint != whole
