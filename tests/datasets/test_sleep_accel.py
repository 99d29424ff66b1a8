# SPDX-License-Identifier: BSD-3-Clause
"""Sleep-accel: heart rate, counts and stages of a simulated watch."""

import pickle

import numpy as np
import pytest

from sleep2vec_sklearn.datasets import load_sleep_accel
from sleep2vec_sklearn.errors import ReadError
from tests.datasets.files import lines, write

SECONDS = 240


def write_night(folder, stages, heart=None, counts=None, name="5", offset=0):
    """Stages every 30 s from ``offset``, by default 60 beats per minute every 5 s."""
    seconds = range(offset, offset + 30 * len(stages), 30)
    rows = "".join(f"{t} {s}\n" for t, s in zip(seconds, stages, strict=True))
    write(folder / "labels" / f"{name}_labeled_sleep.txt", rows)
    times = np.arange(0, 30 * len(stages), 5)
    heart = heart or (times, np.full(len(times), 60))
    write(folder / "heart_rate" / f"{name}_heartrate.txt", lines(*heart))
    if counts is not None:
        path = folder / "activity_counts" / f"{name}_counts_30s.csv"
        write(path, "seconds,count\n" + lines(*counts))


def load(folder, *args, **options):
    write_night(folder, *args, **options)
    return load_sleep_accel(folder)[0]


def test_night_follows_its_labels(tmp_path):
    write_night(tmp_path, [-1, 0, 1, 2, 3, 4, 5], name="77")
    write_night(tmp_path, [0], name="8")
    cohort = load_sleep_accel(tmp_path)
    assert cohort.metadata.index.tolist() == ["8", "77"]
    night = cohort[1]
    assert night.stages.tolist() == [-1, 0, 1, 2, 3, 3, 4]
    assert (night.n_epochs, night.subject, night.rates) == (7, "77", {"ibi": 1.0})


def test_stages_match_their_signals(tmp_path):
    times = np.arange(0, 240, 5)
    rates = np.where(times // 30 == 5, 100, 50)
    night = load(tmp_path, [0, 0, 2, 2, 2, 5, 2, 2], (times, rates))
    fast = np.nanmean(night["ibi"].reshape(8, 30), axis=1) < 0.9
    np.testing.assert_array_equal(fast, night.stages == 4)


@pytest.mark.parametrize(
    ("labels", "offset", "stages"),
    [(["nan", 2, 9, 3], 0, [-1, 2, -1, 3]), ([2, 3, 5], 60, [-1, -1, 2, 3, 4]),
     ([3, 0, 2, 5], -30, [0, 2, 4])],
)  # fmt: skip
def test_labels_become_epochs(tmp_path, labels, offset, stages):
    night = load(tmp_path, labels, offset=offset)
    assert night.stages.tolist() == stages
    assert night.n_epochs == len(stages)


def test_invalid_heart_rates_are_ignored(tmp_path):
    times = np.arange(-60, 300, 5)
    invalid = (times < 0) | (times >= 120)
    rates = np.where(invalid, 180, np.where(times == 60, 0, 60))
    night = load(tmp_path, [0] * 4, (times, rates))
    np.testing.assert_allclose(night["ibi"][:110], 1.0, rtol=1e-5)


def test_readings_and_counts_per_second(tmp_path):
    night = load(tmp_path, [0] * 5, counts=([30, 60, 90, 120], [90, 0, 300, 0]))
    per_epoch = night["actigraphy"].reshape(5, -1).mean(axis=1)
    np.testing.assert_allclose(per_epoch, [np.nan, 3, 0, 10, 0])
    night = load(tmp_path, [0] * 7, ([100, 50, 100, 150], [60] * 4))
    np.testing.assert_allclose(night["ibi"][50:150], 1.0)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("text", ["1,2,3\n", "", "not a table"])
def test_broken_table_is_named(tmp_path, text):
    load(tmp_path, [0, 0])
    write(tmp_path / "heart_rate" / "5_heartrate.txt", text)
    with pytest.raises(ReadError, match=r"5_heartrate\.txt.*(seconds and values|cannot)"):
        load_sleep_accel(tmp_path)


@pytest.fixture
def motion(tmp_path):
    """Four minutes: movement in the third, no acceleration in the first ten seconds."""
    rng = np.random.default_rng(0)
    times = np.sort(rng.uniform(-20, SECONDS + 20, 50 * (SECONDS + 40)))
    times = times[(times < 0) | (times > 10)]
    moving = (times >= 120) & (times < 180)
    z = np.where(moving, 0.5 * np.sin(2 * np.pi * times), 0.0) - 1.0
    rows = "".join(f"{t:.6f} 0.0 0.0 {a:.6f}\n" for t, a in zip(times, z, strict=True))
    path = tmp_path / "motion" / "5_acceleration.txt"
    write(path, rows)
    write_night(tmp_path, [2] * (SECONDS // 30))
    return path


def test_movement_is_counted(motion, tmp_path):
    (night,) = load_sleep_accel(tmp_path)
    assert night.modalities == ("ibi", "actigraphy")
    counts = night["actigraphy"]
    assert (len(counts), night.rates["actigraphy"]) == (SECONDS, 1.0)
    assert np.isnan(counts[:9]).all()
    assert counts[125:175].min() > 10 * counts[20:110].max()


@pytest.mark.parametrize("text", ["damaged\n", "", "1 2 3\n"])
def test_acceleration_is_read_lazily(motion, tmp_path, text):
    (night,) = load_sleep_accel(tmp_path)
    motion.write_text(text)
    np.testing.assert_allclose(night["ibi"], 1.0)
    with pytest.raises(ReadError, match=r"5_acceleration\.txt"):
        night.read(["actigraphy"])


def test_counts_precede_acceleration(motion, tmp_path):
    write(tmp_path / "activity_counts" / "5_counts_30s.csv", "seconds,count\n0,60\n")
    np.testing.assert_allclose(load_sleep_accel(tmp_path)[0]["actigraphy"][:30], 2.0)


def test_fingerprint_follows_each_modality(motion, tmp_path):
    (night,) = load_sleep_accel(tmp_path)
    whole, *parts = night.fingerprint, *map(night.signal_fingerprint, ("ibi", "actigraphy"))
    assert pickle.loads(pickle.dumps(night)).fingerprint == whole
    motion.write_text(motion.read_text() + "239.99 1.0 1.0 1.0\n")
    (other,) = load_sleep_accel(tmp_path)
    assert other.signal_fingerprint("ibi") == parts[0]
    assert other.signal_fingerprint("actigraphy") != parts[1]
    assert other.fingerprint != whole
