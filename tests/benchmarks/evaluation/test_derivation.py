# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

import numpy as np
import pytest

from benchmarks.evaluation.derivation import (
    agreement,
    breathing_table,
    breaths_per_minute,
    interval_table,
    read_signal,
    simulated_ecg,
)
from sleep2vec_sklearn.recordings.derivation import find_r_peaks


def pack_212(samples):
    pairs = np.asarray(samples).reshape(-1, 2) & 0xFFF
    triples = np.stack(
        [pairs[:, 0] & 0xFF, pairs[:, 0] >> 8 | (pairs[:, 1] >> 8) << 4, pairs[:, 1] & 0xFF], axis=1
    )
    return triples.astype(np.uint8).tobytes()


def test_twelve_bit_signal_is_unpacked(tmp_path):
    header = tmp_path / "slp01a.hea"
    header.write_text(
        "slp01a 2 250/0.0333(94) 3 23:07:00 19/1/1989\n"
        "slp01a.dat 212 500/mV 12 0 0 0 0 ECG\n"
        "slp01a.dat 212 77.6/mmHg 12 0 0 0 0 BP\n# 44 M 89\n"
    )
    assert read_signal(header, "ECG") is None
    ecg, pressure = [1, -1, 2047], [-2048, 300, -300]
    (tmp_path / "slp01a.dat").write_bytes(pack_212(np.stack([ecg, pressure], axis=1)))
    values, rate = read_signal(header, "ECG")
    assert (values.tolist(), rate) == (ecg, 250.0)
    values, _ = read_signal(header, "BP")
    np.testing.assert_array_equal(values, [np.nan, 300, -300])
    assert read_signal(header, "EEG") is None


def test_sixteen_bit_signal_is_read(tmp_path):
    header = tmp_path / "a01.hea"
    header.write_text("a01 1 100 4\na01.dat 16 200 12 0 -12 5827 0 ECG\n")
    np.array([1, -2, -32768, 400], dtype="<i2").tofile(tmp_path / "a01.dat")
    np.testing.assert_array_equal(read_signal(header, "ECG")[0], [1, -2, np.nan, 400])
    header.write_text("a01 1 100 4\na01.dat 80 200 12 0 -12 5827 0 ECG\n")
    with pytest.raises(ValueError, match="format '80'"):
        read_signal(header, "ECG")


def test_agreement_counts_shared_samples():
    reference = np.array([1.0, 1.0, 1.0, 1.0, np.nan])
    derived = np.array([1.01, 1.02, 1.2, np.nan, 1.0])
    found = agreement(derived, reference)
    assert found["median error, ms"] == pytest.approx(20)
    assert found["within 50 ms"] == pytest.approx(2 / 3)
    assert found["coverage"] == 0.75
    table = interval_table([("a", derived, reference), ("a", derived[:3], reference)])
    assert table.loc["a", "records"] == 2


def test_simulated_waves_mark_beats():
    beats = np.cumsum(np.random.default_rng(0).normal(0.9, 0.05, 100))
    found = find_r_peaks(simulated_ecg(beats, 128.0, 95.0), 128.0)
    nearest = np.abs(found[:, None] - beats[beats < 94.5]).min(axis=0)
    assert np.median(nearest) < 0.003


def test_breaths_per_minute():
    series = np.sin(2 * np.pi * 0.25 * np.arange(720) / 4)
    gap = series.copy()
    gap[300] = np.nan
    np.testing.assert_allclose(breaths_per_minute(series), 15, atol=0.3)
    assert np.isnan(breaths_per_minute(gap)).tolist() == [False, True, False]
    table = breathing_table([("a", gap, series)])
    assert table.loc["a", "minutes"] == 2
    assert table.loc["a", "within 2 breaths/min"] == 1
