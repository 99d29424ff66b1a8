# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pandas as pd
import pytest

from benchmarks import simulation_difficulty as difficulty
from benchmarks.simulation_difficulty import (
    BANDS,
    _concordance,
    _row,
    _summary,
    band_powers,
    night_features,
    stack_epochs,
    watch_features,
)
from sleep2vec_sklearn import Recording, make_sleep_cohort
from sleep2vec_sklearn.recordings import Signal

STAGES = [0, 2, 3, 4]


def eeg_night(values, unit="uV", **options):
    return Recording({"eeg": (values, 64)}, units={"eeg": unit}, **options)


def tone(hz, n_epochs=4):
    return 20 * np.sin(2 * np.pi * hz * np.arange(n_epochs * 30 * 64) / 64)


@pytest.mark.parametrize("band", range(len(BANDS)))
def test_a_tone_is_loudest_in_its_band(band):
    features = band_powers(eeg_night(tone(np.mean(BANDS[band]))))
    assert features.shape == (4, 12)
    assert (features[:, :6].argmax(axis=1) == band).all()
    np.testing.assert_allclose(features[:, 6:].sum(axis=1), 0, atol=1e-3)


def test_band_powers_do_not_depend_on_the_unit():
    values = tone(10)
    plain, volts = (band_powers(eeg_night(values * f, u)) for f, u in ((1, "uV"), (1e-6, "V")))
    np.testing.assert_allclose(plain, volts, atol=1e-3)


def test_a_louder_night_differs_in_absolute_powers_alone():
    rng = np.random.default_rng(0)
    values = 20 * rng.standard_normal(4 * 30 * 64)
    quiet, loud = (band_powers(eeg_night(g * values)) for g in (1, 3))
    np.testing.assert_allclose(loud[:, :6] - quiet[:, :6], np.log(9), atol=0.01)
    np.testing.assert_allclose(loud[:, 6:], quiet[:, 6:], atol=0.01)


def test_gaps_count_as_silence():
    values = tone(10)
    values[: 30 * 64] = np.nan
    features = band_powers(eeg_night(values))
    assert np.isfinite(features).all()
    np.testing.assert_allclose(features[0, :6], np.log(1e-4), atol=1e-3)


def watch_night(pulse, counts, n_epochs=30):
    signals = {
        "ibi": (np.repeat(np.broadcast_to(pulse, n_epochs).astype(float), 30), 1),
        "actigraphy": (np.repeat(np.broadcast_to(counts, n_epochs).astype(float), 30), 1),
    }
    return Recording(signals, units={"ibi": "bpm"})


def test_watch_features_follow_counts_and_pulse():
    counts, pulse = np.zeros(30), np.full(30, 60.0)
    counts[10], pulse[20] = 2, 75
    features = watch_features(watch_night(pulse, counts))
    assert features.shape == (30, 13)
    assert features[10, 0] == pytest.approx(np.log(61))
    np.testing.assert_allclose(features[[0, 20], 1], [0, 15], atol=1e-5)
    assert features[:, 0].nonzero()[0].tolist() == [10]
    np.testing.assert_allclose(features[:, -1], np.linspace(0, 1, 30))


def test_rolling_means_of_a_watch_are_centred():
    counts = np.zeros(30)
    counts[15] = 1
    near = watch_features(watch_night(60.0, counts))[:, 3]
    assert np.flatnonzero(near > 1e-9).tolist() == [13, 14, 15, 16, 17]


def test_a_night_without_sensors_has_missing_numbers_in_their_places():
    (night,) = make_sleep_cohort(1, hours=0.25, modalities=["spo2"], missing=0, random_state=0)
    features = night_features(night)
    assert features.shape == (24,)
    assert np.flatnonzero(np.isfinite(features)).tolist() == [8, 9, 10, 11]


def test_a_summary_is_level_spread_low_end_and_change():
    signal = Signal(np.repeat([90.0, 94.0, 92.0], 30), 1.0, "%")
    mean, spread, low, change = _summary(signal, 30)
    assert (mean, change) == (92, 3)
    assert spread == pytest.approx(np.std([90, 94, 92]))
    assert low == pytest.approx(90.2)
    assert np.isnan(_summary(None, 30)).all()


def test_epochs_are_stacked_with_their_stages_and_subjects():
    nights = [
        eeg_night(tone(10), stages=STAGES, subject="a"),
        eeg_night(tone(2, 2), stages=STAGES[:2], subject="b"),
    ]
    cohort = _cohort(nights)
    x, y, subjects = stack_epochs(cohort, band_powers)
    assert (len(x), y.tolist()) == (6, [*STAGES, 0, 2])
    assert subjects.tolist() == ["a"] * 4 + ["b"] * 2


def _cohort(nights):
    from sleep2vec_sklearn.datasets._files import as_cohort

    return as_cohort(nights)


def test_concordance_is_over_pairs_whose_order_is_known():
    time, event = np.array([1.0, 2.0, 3.0]), np.array([1, 1, 1])
    assert _concordance(time, event, np.array([3, 2, 1])) == 1
    assert _concordance(time, event, np.array([1, 2, 3])) == 0
    assert _concordance(time, event, np.array([3, 1, 2])) == pytest.approx(2 / 3)
    # who leaves the study first is compared with nobody
    assert _concordance(time, np.array([0, 1, 1]), np.array([0, 2, 1])) == 1


def test_a_row_of_the_table_holds_mean_and_range():
    row = _row("task", "kappa", [0.5, 0.7001], "0.45-0.75")
    assert (row["mean"], row["lowest"], row["highest"]) == (0.6, 0.5, 0.7)


def short_nights(monkeypatch):
    def short(*given, **options):
        return make_sleep_cohort(*given, **{"hours": 1, **options})

    monkeypatch.setattr(difficulty, "make_sleep_cohort", short)


def test_staging_is_scored_by_subject_and_across_sites(monkeypatch):
    short_nights(monkeypatch)
    rows = difficulty.staging_rows(10, [0])
    assert [row["measure"] for row in rows] == [
        "kappa, by subject", "kappa, seen site", "kappa, unseen site",
    ]  # fmt: skip
    assert all(-1 <= row["mean"] <= 1 for row in rows)


def test_the_watch_has_no_aim_to_be_fitted_to(monkeypatch):
    short_nights(monkeypatch)
    rows = difficulty.watch_rows(6, [0])
    assert [row["aim"] for row in rows] == ["none", "none"]
    assert 0.3 < rows[0]["mean"] <= 1


def test_the_table_is_printed_and_written(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(difficulty, "watch_rows", lambda n, seeds: [_row("w", "m", [n], "none")])
    path = tmp_path / "table.csv"
    arguments = ["x", "--only", "watch", "--subjects", "3", "--output", str(path)]
    monkeypatch.setattr("sys.argv", arguments)
    difficulty.main()
    assert pd.read_csv(path)["mean"].tolist() == [3]
    assert "w" in capsys.readouterr().out


def test_outcomes_are_scored_with_their_prevalence(monkeypatch):
    rng = np.random.default_rng(0)
    signal = rng.standard_normal(40)

    class FakeCohort(list):
        metadata = pd.DataFrame({
            "apnea": (signal > 0).astype(int), "hypertension": (signal > 0.2).astype(int),
            "event": signal > 0, "survival_time": 10 - signal,
        })  # fmt: skip

    monkeypatch.setattr(difficulty, "make_sleep_cohort", lambda n, **_: FakeCohort(range(n)))
    monkeypatch.setattr(
        difficulty, "night_features", lambda k: np.array([signal[k], np.nan if k else 1.0])
    )
    rows = difficulty.outcome_rows(40, 0)
    assert [row["measure"] for row in rows].count("AUROC, 10-fold") == 3
    assert rows[-1]["measure"] == "concordance"
    assert all(row["mean"] > 0.8 for row in rows)
    assert f"({(signal > 0).mean():.0%} of 40)" in rows[0]["task"]


def test_reading_is_timed_for_three_kinds_of_site(monkeypatch):
    short_nights(monkeypatch)
    rows = difficulty.speed_rows()
    assert [row["task"].split(", ")[-1] for row in rows] == [
        "laboratory", "full_laboratory", "wearable",
    ]  # fmt: skip
    assert all(row["lowest"] <= row["mean"] <= row["highest"] for row in rows)
