# SPDX-License-Identifier: BSD-3-Clause
"""The measures by which simulated nights are laid beside real ones."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.evaluation import simulation_realism
from benchmarks.evaluation.realism_measures import (
    NightView,
    bouts,
    effect_sizes,
    heart_changes,
    heart_spectrum,
    measure,
    simulated_nights,
    transitions,
    view,
)
from benchmarks.evaluation.simulation_realism import (
    _with_earlier,
    draw_figures,
    main,
    table_of_gaps,
    table_of_measures,
    table_of_transitions,
)
from sleep2vec_sklearn import Recording

W, N1, N2, N3, R = range(5)


@pytest.fixture(scope="module")
def nights():
    return simulated_nights(2, seed=1)


def night_of(*runs):
    """Stages from pairs of stage and number of epochs."""
    return np.repeat([stage for stage, _ in runs], [n for _, n in runs]).astype(np.int8)


def test_bouts_of_sleep_period():
    which, minutes = bouts(night_of((W, 8), (N1, 2), (N2, 10), (W, 1), (N2, 4), (W, 6)))
    assert which.tolist() == [N1, N2, W, N2]
    assert minutes.tolist() == [1, 5, 0.5, 2]
    which, minutes = bouts(night_of((W, 30)))
    assert len(which) == len(minutes) == 0


def test_changes_between_stages():
    night = NightView(stages=night_of((N2, 4), (W, 1), (N2, 4), (-1, 3), (N3, 2), (N2, 1)))
    chances = transitions([night, NightView()])
    assert chances[N2].tolist() == [1, 0, 0, 0, 0]
    assert chances[N3, N2] == 1
    assert chances[N1].sum() == 0
    usual = night_of((N1, 5), (N2, 80), (N3, 40), (N2, 40), (R, 20))
    odd = night_of((N1, 5), (N2, 80), (N3, 40), (N1, 1), (N3, 40), (R, 20))
    name = "share of changes into N3 not from N2, or from N3 to N1 or REM"
    assert measure(NightView(stages=usual))[name] == 0
    assert measure(NightView(stages=odd))[name] == pytest.approx(3 / 5)


def test_heart_changes_by_scale():
    level = 60 + np.tile([0.0, 2.0], 64)
    changes = heart_changes(NightView(heart=np.repeat(level[:, None], 120, axis=1)))
    assert changes[0] == 2
    assert (changes[1:] == 0).all()


def test_heart_spectrum_peaks_at_breathing():
    times = np.arange(120) / 4
    heart = 60 + 3 * np.sin(2 * np.pi * 0.25 * times) * np.ones((6, 1))
    heart[0, 5] = np.nan
    grid, power = heart_spectrum(heart)
    assert grid[power.argmax()] == pytest.approx(0.25, abs=0.04)
    grid, power = heart_spectrum(np.full((3, 120), np.nan))
    assert len(grid) == len(power)
    assert np.isnan(power).all()


def test_movement_detects_wake():
    stages = night_of((W, 40), (N2, 400))
    night = NightView(stages=stages, activity=np.where(stages == W, 50.0, 0.0))
    found = measure(night)
    assert found["share of epochs with movement, W"] == 1
    assert found["share of epochs with movement, N2"] == 0
    assert found["AUC of activity over 3.5 min for wake"] > 0.99


def test_view_measures_breathing():
    times = np.arange(20 * 120) / 4
    breath = np.sin(2 * np.pi * 0.25 * times)
    night = Recording({"resp": (breath, 4), "ibi": (np.ones(len(times)), 4)}, rates=None)
    assert view(night).breaths == pytest.approx(np.full(20, 15), abs=0.6)
    lossy = view(night, lossy=True)
    assert np.isnan(lossy.heart).mean() == pytest.approx(8 / 33, abs=0.02)
    assert not np.isnan(view(night).heart).any()


def test_effect_sizes():
    rng = np.random.default_rng(0)
    sets = {"sim": rng.normal(1, 1, 400), "many": rng.normal(0, 1, 400), "one": np.array([90.0])}
    rows = {(name, k): {"x": v} for name, values in sets.items() for k, v in enumerate(values)}
    frame = pd.DataFrame.from_dict(rows, orient="index")
    frame.index = pd.MultiIndex.from_tuples(rows, names=["set", "night"])
    table = effect_sizes(frame, {"one": "sim", "many": "sim", "absent": "sim"})
    assert table["set"].tolist() == ["many", "one"]
    assert table["d"][0] == pytest.approx(1, abs=0.2)
    assert table["d"][1] < -50


def test_simulated_nights_resemble_real_sets(nights):
    laboratory, watch = nights["simulated"][0], nights["simulated watch"][0]
    assert laboratory.beat_to_beat
    assert set(laboratory.spectra) <= set(range(5))
    for power in laboratory.spectra.values():
        assert power[:4].mean() > power[-4:].mean()
    assert not watch.beat_to_beat
    assert len(watch.activity) == len(watch.stages)
    for man in nights["simulated young"]:
        assert np.isnan(man.heart).mean() > 0.2


def test_tables_and_figures(nights, tmp_path):
    measures = table_of_measures(nights)
    assert len(measures) == sum(len(several) for several in nights.values())
    both = pd.concat([measures, measures.rename({"simulated": "ucddb"}, level=0).loc[["ucddb"]]])
    gaps = table_of_gaps(both, both)
    assert gaps.empty or (gaps["d"] == gaps["d_before"]).all()
    changes = table_of_transitions(nights)
    assert changes.filter(like="W to", axis=0).sum().between(0.99, 1.01).all()
    names = set(_with_earlier(measures, measures).index.get_level_values(0))
    assert {"before", "watch before", "simulated"} <= names
    for path in draw_figures(nights, _with_earlier(measures, measures), tmp_path):
        assert path.stat().st_size > 10_000


def test_script_needs_no_real_nights(tmp_path, capsys, monkeypatch):
    # drawn in the test above
    monkeypatch.setattr(simulation_realism, "draw_figures", lambda *_: [])
    main(["--data", str(tmp_path), "--out", str(tmp_path / "out"), "--subjects", "1"])
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"measures.csv", "gaps.csv", "gaps.md", "transitions.md"} <= written
    assert "measure" in capsys.readouterr().out
